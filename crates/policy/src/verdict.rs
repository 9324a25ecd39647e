//! What one try says about its endpoint: for the breakers, the outlier detection and the latency estimate.

use crate::exchange::Answer;

/// What one try says about its endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answered properly.
    Success,
    /// It did not.
    Failure(Cause),
    /// Neither: the caller went away, or too much was asked (429).
    Nothing,
}

/// Whose failure it is. To a breaker they are all the same; outlier detection counts them apart, as Envoy does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The endpoint said so: a status of 500 or more but 502, 503 and 504; gRPC 8 RESOURCE_EXHAUSTED, 13 INTERNAL.
    Server,
    /// It said that something behind it failed: 502, 503, 504; gRPC 4 DEADLINE_EXCEEDED, 14 UNAVAILABLE (which Envoy
    /// maps to 504 and 503).
    Gateway,
    /// It said nothing, or broke off (Envoy's local origin): no connection, no TLS, a reset, a refused stream, a try out
    /// of time.
    Local,
}

impl Verdict {
    /// Nobody answered.
    pub(crate) const NO_ANSWER: Self = Self::Failure(Cause::Local);

    pub(crate) fn is_failure(self) -> bool {
        matches!(self, Self::Failure(_))
    }
}

/// What a head says about its endpoint.
pub(crate) fn judge_head(answer: Answer) -> Verdict {
    match answer.status {
        // There is too much of something, which is said quickly: neither an illness nor a latency.
        429 => Verdict::Nothing,
        502..=504 => Verdict::Failure(Cause::Gateway),
        500.. => Verdict::Failure(Cause::Server),
        _ => judge_grpc(answer.grpc),
    }
}

/// What a gRPC status says about its endpoint.
pub(crate) fn judge_grpc(status: Option<u8>) -> Verdict {
    match status {
        Some(4 | 14) => Verdict::Failure(Cause::Gateway),
        Some(8 | 13) => Verdict::Failure(Cause::Server),
        Some(_) | None => Verdict::Success,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_server_s_own_failures_count_against_the_endpoint() {
        let (server, gateway) = (Verdict::Failure(Cause::Server), Verdict::Failure(Cause::Gateway));
        for (status, grpc, want) in [
            (200, None, Verdict::Success),
            (404, None, Verdict::Success),
            (429, None, Verdict::Nothing),
            (429, Some(8), Verdict::Nothing),
            (500, None, server),
            (501, None, server),
            (502, None, gateway),
            (503, Some(0), gateway),
            (504, None, gateway),
            (505, None, server),
            (200, Some(0), Verdict::Success),
            (200, Some(5), Verdict::Success),
            (200, Some(4), gateway),
            (200, Some(8), server),
            (200, Some(13), server),
            (200, Some(14), gateway),
        ] {
            let answer = Answer { status, grpc, retry_after: None, replayable: true };
            assert_eq!(judge_head(answer), want, "{status} {grpc:?}");
        }
    }
}
