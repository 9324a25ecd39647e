//! Names for the reasons to try again, as policy files and the wire write them.

use squall_policy::RetryOn;

/// The reasons that have a plain name, each with it. Statuses are written `503`, gRPC statuses `grpc-14` (or by name,
/// `grpc-unavailable`).
pub const NAMED: &[(&str, RetryOn)] = &[
    ("connect-failure", RetryOn::ConnectFailure),
    ("reset", RetryOn::Reset),
    ("refused-stream", RetryOn::RefusedStream),
    ("per-try-timeout", RetryOn::PerTryTimeout),
    ("5xx", RetryOn::Status5xx),
    ("gateway-error", RetryOn::GatewayError),
];

/// gRPC's statuses by name, from 1. Source: gRPC's `statuscodes.md`.
pub const GRPC: &[&str] = &[
    "cancelled",
    "unknown",
    "invalid-argument",
    "deadline-exceeded",
    "not-found",
    "already-exists",
    "permission-denied",
    "resource-exhausted",
    "failed-precondition",
    "aborted",
    "out-of-range",
    "unimplemented",
    "internal",
    "unavailable",
    "data-loss",
    "unauthenticated",
];

/// The name of a reason; [`parse`] of it is the reason again.
#[must_use]
pub fn name(on: RetryOn) -> String {
    match on {
        RetryOn::Status(status) => status.to_string(),
        RetryOn::Grpc(code) => match GRPC.get(usize::from(code).wrapping_sub(1)) {
            Some(name) => format!("grpc-{name}"),
            None => format!("grpc-{code}"),
        },
        RetryOn::ConnectFailure
        | RetryOn::Reset
        | RetryOn::RefusedStream
        | RetryOn::PerTryTimeout
        | RetryOn::Status5xx
        | RetryOn::GatewayError => NAMED
            .iter()
            .find(|(_, reason)| *reason == on)
            .map(|(name, _)| (*name).to_owned())
            .expect("every reason without a number is in NAMED"),
    }
}

/// The reason of this name. `None`: there is none. Statuses are 400 to 599, gRPC statuses 1 to 16.
#[must_use]
pub fn parse(name: &str) -> Option<RetryOn> {
    if let Some((_, reason)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(*reason);
    }
    if let Some(grpc) = name.strip_prefix("grpc-") {
        let code = match GRPC.iter().position(|known| *known == grpc) {
            Some(index) => index + 1,
            None => grpc.parse().ok()?,
        };
        return (1..=16).contains(&code).then(|| u8::try_from(code).map(RetryOn::Grpc).ok()).flatten();
    }
    let status = name.parse::<u16>().ok()?;
    (400..=599).contains(&status).then_some(RetryOn::Status(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_name_that_leads_back_to_it() {
        let named = NAMED.iter().map(|(_, on)| *on);
        let all = named.chain((400..=599).map(RetryOn::Status)).chain((1..=16).map(RetryOn::Grpc));
        for on in all {
            assert_eq!(parse(&name(on)), Some(on));
        }
        for wrong in ["399", "600", "grpc-0", "grpc-17", "5XX", "", "resets"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
