//! What an answer's head, or the lack of one, tells the policy.

use std::io;
use std::time::Duration;

use http::header::RETRY_AFTER;
use http::response::Parts;
use http::{HeaderMap, Response, StatusCode};
use squall_net::tcp::is_shortage;
use squall_net::tls::TlsError;
use squall_policy::{Answer, Failure, Reason};

use crate::headers::{self, GRPC_STATUS, REASON};
use crate::seen::Seen;
use crate::tunnel::Wanted;

/// Why a sidecar refuses requests with 429.
const TOO_MANY: [Reason; 2] = [Reason::Outranked, Reason::RateLimited];

/// What the policy must know of a head.
pub(crate) fn answer(head: &Parts, seen: Seen, replayable: bool) -> Answer {
    // A sidecar that tells a gRPC caller of too many requests has 429 in mind; gRPC's word for it means an ill endpoint too.
    let too_many = seen.any(Seen::REASON)
        && head.headers.get(REASON).is_some_and(|why| TOO_MANY.iter().any(|word| word.as_str() == why));
    Answer {
        status: if too_many { 429 } else { head.status.as_u16() },
        grpc: grpc_status(&head.headers, seen),
        retry_after: if seen.any(Seen::RETRY_AFTER) {
            headers::number(&head.headers, RETRY_AFTER).map(Duration::from_secs)
        } else {
            None
        },
        replayable,
    }
}

/// Whether an answer is one that can be passed on: not a switch of protocols that nobody asked for (RFC 9110 §15.2.2), and in no
/// transfer coding that this proxy cannot undo (RFC 9112 §6.1).
pub(crate) fn is_sound<B>(response: &Response<B>, seen: Seen, wanted: Option<&Wanted>) -> bool {
    let is_fit = match wanted {
        Some(wanted) => wanted.is_sound(response),
        None => response.status() != StatusCode::SWITCHING_PROTOCOLS,
    };
    is_fit && headers::is_plainly_coded(response.headers(), seen)
}

/// The `grpc-status` of a head or of trailers.
pub(crate) fn grpc_status(headers: &HeaderMap, seen: Seen) -> Option<u8> {
    if seen.any(Seen::GRPC_STATUS) { headers::number(headers, GRPC_STATUS) } else { None }
}

/// Why there is no connection.
pub(crate) fn connect_failure(error: &io::Error) -> Failure {
    if is_shortage(error) {
        tracing::debug!(%error, "no connection can be made");
        return Failure::Shortage;
    }
    if error.kind() == io::ErrorKind::TimedOut { Failure::ConnectTimeout } else { Failure::ConnectRefused }
}

/// Why there is no TLS.
pub(crate) fn tls_failure(error: &TlsError) -> Failure {
    tracing::debug!(%error, "an endpoint could not be trusted");
    Failure::Tls
}

/// Why there is no head.
pub(crate) fn send_failure(not_sent: bool, caller_broke: bool) -> Failure {
    if caller_broke {
        Failure::CallerGone
    } else if not_sent {
        Failure::RefusedStream
    } else {
        Failure::Reset
    }
}
