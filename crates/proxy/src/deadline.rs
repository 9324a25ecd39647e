//! Deadlines that travel: `grpc-timeout` (gRPC over HTTP/2) and `x-envoy-expected-rq-timeout-ms` (Envoy).
//!
//! Both say how much time is left, not when it ends, so each hop takes off what it used.

use std::fmt::Write as _;
use std::time::Duration;

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use squall_policy::Instant;

use crate::headers;
use crate::seen::Seen;

pub(crate) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
pub(crate) const EXPECTED: HeaderName = HeaderName::from_static("x-envoy-expected-rq-timeout-ms");

/// When the caller wants its answer, the earlier of what both headers say.
pub(crate) fn read(headers: &HeaderMap, seen: Seen, now: Instant) -> Option<Instant> {
    if !seen.any(Seen::TIMEOUT) {
        return None;
    }
    let grpc = headers.get(GRPC_TIMEOUT).and_then(|value| parse_grpc(value.as_bytes()));
    // Envoy sends 0 for "no limit".
    let expected = headers::number(headers, EXPECTED).filter(|ms| *ms > 0).map(Duration::from_millis);
    let least = match (grpc, expected) {
        (Some(a), Some(b)) => a.min(b),
        (a, b) => a.or(b)?,
    };
    Some(now + least)
}

/// Tells the next hop how much of `until` is left. `None` removes what the caller said: it is not limited here. `decimal` writes
/// milliseconds.
pub(crate) fn write(
    headers: &mut HeaderMap,
    seen: Seen,
    now: Instant,
    until: Option<Instant>,
    grpc: bool,
    decimal: impl FnOnce(u64) -> HeaderValue,
) {
    if seen.any(Seen::TIMEOUT) {
        headers.remove(EXPECTED);
        headers.remove(GRPC_TIMEOUT);
    }
    let Some(until) = until else { return };
    let left = until.since(now);
    // Less than a millisecond is still some time; 0 would mean no limit.
    let ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
    headers.insert(EXPECTED, decimal(ms));
    if grpc {
        headers.insert(GRPC_TIMEOUT, format_grpc(left));
    }
}

/// At most eight digits and a unit.
fn parse_grpc(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let count = digits.iter().fold(0_u64, |count, digit| count * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// In the finest unit that needs no more than eight digits, rounded down.
fn format_grpc(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let (count, unit) = [(1, 'n'), (1_000, 'u'), (1_000_000, 'm'), (1_000_000_000, 'S'), (60_000_000_000, 'M')]
        .into_iter()
        .map(|(size, unit)| (nanos / size, unit))
        .find(|(count, _)| *count < 100_000_000)
        .unwrap_or((99_999_999, 'H'));
    let mut text = String::with_capacity(9);
    // Cannot fail: it is a string.
    let _ = write!(text, "{count}{unit}");
    HeaderValue::try_from(text).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn reads(lines: &[(&'static str, &str)], want: Option<u64>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.insert(*name, HeaderValue::from_str(value).expect("a test's value"));
        }
        let now = Instant::from_nanos(5);
        assert_eq!(
            read(&headers, Seen::of(&headers), now),
            want.map(|nanos| now + Duration::from_nanos(nanos)),
            "{lines:?}"
        );
    }

    #[test]
    fn a_deadline_is_read_in_every_unit() {
        reads(&[("grpc-timeout", "2H")], Some(7_200_000_000_000));
        reads(&[("grpc-timeout", "2M")], Some(120_000_000_000));
        reads(&[("grpc-timeout", "2S")], Some(2_000_000_000));
        reads(&[("grpc-timeout", "250m")], Some(250_000_000));
        reads(&[("grpc-timeout", "7u")], Some(7_000));
        reads(&[("grpc-timeout", "99999999n")], Some(99_999_999));
        reads(&[("grpc-timeout", "0S")], Some(0));
        reads(&[("x-envoy-expected-rq-timeout-ms", "15")], Some(15_000_000));
    }

    #[test]
    fn the_earlier_deadline_counts() {
        reads(&[("grpc-timeout", "1S"), ("x-envoy-expected-rq-timeout-ms", "15")], Some(15_000_000));
        reads(&[("grpc-timeout", "1m"), ("x-envoy-expected-rq-timeout-ms", "15")], Some(1_000_000));
    }

    #[test]
    fn what_is_no_deadline_is_none() {
        for wrong in ["", "S", "1", "123456789S", "1s", "-1S", "1.5S", " 1S"] {
            reads(&[("grpc-timeout", wrong)], None);
        }
        reads(&[("x-envoy-expected-rq-timeout-ms", "0")], None);
        reads(&[("x-envoy-expected-rq-timeout-ms", "soon")], None);
    }

    #[test]
    fn the_rest_of_the_time_is_sent_on() {
        let check = |left: u64, grpc, want_ms: &str, want_grpc: Option<&str>| {
            let mut headers = HeaderMap::new();
            let now = Instant::from_nanos(17);
            let seen = Seen::of(&headers);
            write(&mut headers, seen, now, Some(now + Duration::from_nanos(left)), grpc, headers::decimal);
            assert_eq!(headers[EXPECTED], want_ms);
            assert_eq!(headers.get(GRPC_TIMEOUT).map(HeaderValue::as_bytes), want_grpc.map(str::as_bytes));
        };
        check(999_999, false, "1", None);
        check(1_999_999, true, "1", Some("1999999n"));
        check(250_000_000, true, "250", Some("250000u"));
        check(100_000_000_000, true, "100000", Some("100000m"));
        check(0, true, "1", Some("0n"));
    }

    #[test]
    fn what_is_sent_on_is_never_more_than_what_is_left() {
        for left in [1, 99_999_999, 100_000_000, 123_456_789_012, 99_999_999_999_999, 400_000_000_000_000_000] {
            let left = Duration::from_nanos(left);
            let sent = parse_grpc(format_grpc(left).as_bytes()).expect("what we write we read");
            assert!(sent <= left && sent.as_nanos() * 1000 >= left.as_nanos() * 999, "{left:?} {sent:?}");
        }
    }

    #[test]
    fn no_deadline_leaves_no_header() {
        let mut headers = HeaderMap::new();
        let seen = Seen::of(&headers);
        write(&mut headers, seen, Instant::ZERO, Some(Instant::MAX), true, headers::decimal);
        let seen = Seen::of(&headers);
        write(&mut headers, seen, Instant::ZERO, None, true, headers::decimal);
        assert!(headers.is_empty());
    }
}
