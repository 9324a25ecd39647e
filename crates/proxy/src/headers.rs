//! What a proxy must change in a head: hop-by-hop fields (RFC 9110 §7.6.1), request ids, trace context (W3C Trace Context),
//! the caller's certificate, and the changes a route asks for.

use std::borrow::Cow;
use std::fmt::Write as _;

use http::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderName, HeaderValue, MAX_FORWARDS,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, Method};
use squall_policy::{Class, HeaderChange, Rank};

use crate::json;
use crate::seen::Seen;

pub(crate) const REASON: HeaderName = HeaderName::from_static("squall-reason");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const ATTEMPT_COUNT: HeaderName = HeaderName::from_static("x-envoy-attempt-count");
pub(crate) const CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");
/// How much a request matters ([`Class`]); set by applications, or by a route, and passed on like `traceparent`.
pub(crate) const PRIORITY: HeaderName = HeaderName::from_static("squall-priority");
pub(crate) const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
pub(crate) const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_AUTHENTICATION_INFO: HeaderName = HeaderName::from_static("proxy-authentication-info");

/// What belongs to one connection whether `Connection` names it or not, besides `Connection`, `TE` and `Transfer-Encoding`.
pub(crate) const OF_ONE_CONNECTION: [HeaderName; 7] = [
    KEEP_ALIVE,
    PROXY_CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_AUTHENTICATION_INFO,
    UPGRADE,
    HTTP2_SETTINGS,
];

/// Removes what concerns only the connection it came on: `Connection` and every field it names, and the fields that are
/// hop-by-hop whether named or not. `TE: trailers` stays, for trailers do pass through (RFC 9110 §10.1.4). `seen` are the fields
/// of `headers`, at least.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap, seen: Seen) {
    let trailers = seen.any(Seen::TE) && wants_trailers(headers);
    if seen.any(Seen::CONNECTION) {
        strip_named(headers);
    }
    if seen.any(Seen::TRANSFER_ENCODING) && headers.remove(TRANSFER_ENCODING).is_some() {
        // It overrides a length, which must not be passed on with it (RFC 9112 §6.3).
        headers.remove(CONTENT_LENGTH);
    }
    if seen.any(Seen::HOP) {
        for name in &OF_ONE_CONNECTION {
            headers.remove(name);
        }
    }
    if seen.any(Seen::TE) {
        headers.remove(TE);
    }
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Removes `Connection` and the fields it names.
fn strip_named(headers: &mut HeaderMap) {
    // Most name no field: `close` is none, and `Keep-Alive` is removed anyway.
    let is_usual = |word: &[u8]| word.eq_ignore_ascii_case(b"keep-alive") || word.eq_ignore_ascii_case(b"close");
    let mut lines = headers.get_all(CONNECTION).iter();
    if lines.next().is_some_and(|line| !is_usual(line.as_bytes())) || lines.next().is_some() {
        let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
        let words = lines.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !is_usual(word.as_bytes()));
        let names = words.filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        for name in names.collect::<Vec<_>>() {
            // `Host` is not the connection's, whatever a peer says: without it the request has no destination.
            if name != HOST {
                headers.remove(name);
            }
        }
    }
    headers.remove(CONNECTION);
}

/// Removes from trailers what may not be there: fields of one connection, and those that frame or route a message (RFC 9110
/// §6.5.1). An HTTP/2 peer would take them for a malformed message.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap) {
    strip_hop_by_hop(trailers, Seen::of(trailers));
    for name in [&CONTENT_LENGTH, &HOST, &TE, &TRAILER] {
        trailers.remove(name);
    }
}

fn wants_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(TE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|coding| coding.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("trailers"))
}

/// Removes `Expect: 100-continue`: the server side of this proxy answers it itself, by reading the body.
pub(crate) fn strip_expect(headers: &mut HeaderMap, seen: Seen) {
    if seen.any(Seen::EXPECT)
        && headers.get(EXPECT).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    {
        headers.remove(EXPECT);
    }
}

/// How often a TRACE or OPTIONS may still be forwarded (RFC 9110 §7.6.2); other methods count nothing.
pub(crate) fn forwards_left(method: &Method, headers: &HeaderMap) -> Option<u64> {
    if *method == Method::TRACE || *method == Method::OPTIONS { number(headers, MAX_FORWARDS) } else { None }
}

/// Counts this forwarding of a TRACE or OPTIONS.
pub(crate) fn count_forward(method: &Method, headers: &mut HeaderMap) {
    if let Some(left) = forwards_left(method, headers) {
        headers.insert(MAX_FORWARDS, HeaderValue::from(left.saturating_sub(1)));
    }
}

/// Whether the codings of a message are ones that this proxy undoes: `chunked`, once, or none. What else there is would be passed
/// on without its name, for `Transfer-Encoding` is one hop's.
pub(crate) fn is_plainly_coded(headers: &HeaderMap, seen: Seen) -> bool {
    if !seen.any(Seen::TRANSFER_ENCODING) {
        return true;
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => true,
        (Some(coding), None) => coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"),
        (Some(_), Some(_)) => false,
    }
}

/// HTTP/2 may send one cookie a line, HTTP/1.1 must have them in one (RFC 9113 §8.2.3).
pub(crate) fn join_cookies(headers: &mut HeaderMap) {
    let mut lines = headers.get_all(COOKIE).iter();
    let Some(first) = lines.next() else { return };
    let mut joined = first.as_bytes().to_vec();
    let mut several = false;
    for line in lines {
        several = true;
        joined.extend_from_slice(b"; ");
        joined.extend_from_slice(line.as_bytes());
    }
    if several {
        let joined = HeaderValue::from_bytes(&joined).expect("joined from valid values by valid bytes");
        headers.insert(COOKIE, joined);
    }
}

/// Whether a request speaks gRPC, so that a local reply must too.
pub(crate) fn is_grpc(headers: &HeaderMap, seen: Seen) -> bool {
    seen.any(Seen::CONTENT_TYPE)
        && headers.get(CONTENT_TYPE).is_some_and(|value| {
            let value = value.as_bytes();
            value.strip_prefix(b"application/grpc").is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
        })
}

/// Makes up an `x-request-id` (a random UUID) if there is none.
pub(crate) fn ensure_request_id(headers: &mut HeaderMap, seen: Seen, rng: impl FnOnce() -> [u64; 2]) {
    if seen.any(Seen::REQUEST_ID) {
        return;
    }
    let [high, low] = rng();
    // RFC 9562 §5.4: version 4, variant 10.
    let high = high & !0xf000 | 0x4000;
    let low = low & (u64::MAX >> 2) | 1 << 63;
    let mut id = [b'-'; 36];
    write_hex(high >> 32, &mut id[..8]);
    write_hex(high >> 16, &mut id[9..13]);
    write_hex(high, &mut id[14..18]);
    write_hex(low >> 48, &mut id[19..23]);
    write_hex(low, &mut id[24..]);
    headers.insert(REQUEST_ID, unique(&id));
}

/// How much the request matters, by `squall-priority` and `x-request-id`. What is no class is the default one.
pub(crate) fn rank(headers: &HeaderMap, seen: Seen) -> Rank {
    let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
    let class = if seen.any(Seen::PRIORITY) { text(&PRIORITY).and_then(Class::parse) } else { None };
    let class = class.unwrap_or_default();
    Rank::new(class, text(&REQUEST_ID).unwrap_or_default())
}

/// A number as a value. Small ones cost nothing.
pub(crate) fn decimal(number: u64) -> HeaderValue {
    const FEW: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];
    if let Some(text) = usize::try_from(number).ok().and_then(|place| FEW.get(place)) {
        return HeaderValue::from_static(text);
    }
    let mut text = String::with_capacity(20);
    json::push_number(&mut text, number);
    HeaderValue::try_from(text).expect("digits")
}

/// The lowest digits of `word`, as many as there is room for.
pub(crate) fn write_hex(mut word: u64, room: &mut [u8]) {
    for place in room.iter_mut().rev() {
        *place = b"0123456789abcdef"[(word & 15) as usize];
        word >>= 4;
    }
}

/// A value that never comes again. HTTP/2 does not take it into its table of headers (RFC 7541 §6.2.3), where it would cost both
/// sides work and push out what does come again.
pub(crate) fn unique(text: &[u8]) -> HeaderValue {
    let mut value = HeaderValue::from_bytes(text).expect("hexadecimal digits and dashes");
    value.set_sensitive(true);
    value
}

/// Leaves the caller's trace as it came, sound or not, and begins none: who tells nobody of its spans has none that could be a parent, and a
/// collector would look for it in vain. Whether a trace begins, and whether it is sampled, is left to who traces behind.
pub(crate) fn pass_trace_on(headers: &mut HeaderMap, seen: Seen) {
    if !seen.any(Seen::TRACE) {
        return;
    }
    if let http::header::Entry::Occupied(mut lines) = headers.entry(TRACEPARENT) {
        lines.iter_mut().for_each(|line| line.set_sensitive(true));
    }
}

/// The caller's `traceparent`, if it is one. Of two neither is.
pub(crate) fn traceparent(headers: &HeaderMap, seen: Seen) -> Option<&[u8]> {
    if !seen.any(Seen::TRACE) {
        return None;
    }
    let mut lines = headers.get_all(TRACEPARENT).iter().map(HeaderValue::as_bytes);
    lines.next().filter(|line| is_traceparent(line) && lines.next().is_none())
}

/// Says whose child the next request is.
pub(crate) fn set_traceparent(headers: &mut HeaderMap, trace: u128, span: u64, sampled: bool) {
    let mut line = *b"00-                                -                -00";
    write_hex((trace >> 64) as u64, &mut line[3..19]);
    write_hex(trace as u64, &mut line[19..35]);
    write_hex(span, &mut line[36..52]);
    line[54] += u8::from(sampled);
    headers.insert(TRACEPARENT, unique(&line));
}

fn is_traceparent(value: &[u8]) -> bool {
    let digits = |range: std::ops::Range<usize>| {
        value[range].iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f'))
    };
    let zeroes = |range: std::ops::Range<usize>| value[range].iter().all(|byte| *byte == b'0');
    (value.len() == 55 || value.len() > 55 && value[..2] != *b"00" && value[55] == b'-')
        && [2, 35, 52].into_iter().all(|place| value[place] == b'-')
        && digits(0..2)
        && value[..2] != *b"ff"
        && digits(3..35)
        && !zeroes(3..35)
        && digits(36..52)
        && !zeroes(36..52)
        && digits(53..55)
}

/// Says who the caller proved to be, in Envoy's form, whatever came from outside.
pub(crate) fn set_client_cert(headers: &mut HeaderMap, seen: Seen, identity: Option<&str>) {
    if seen.any(Seen::CLIENT_CERT) {
        headers.remove(CLIENT_CERT);
    }
    let Some(identity) = identity else { return };
    let mut text = String::with_capacity(4 + identity.len());
    // Cannot fail: it is a string.
    let _ = write!(text, "URI={identity}");
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(CLIENT_CERT, value);
    }
}

/// Applies a route's changes, in their order. A change that is not a valid header was refused when the mesh was compiled;
/// here it is skipped.
pub(crate) fn apply(changes: &[HeaderChange], headers: &mut HeaderMap) {
    for change in changes {
        match change {
            HeaderChange::Set { name, value } => {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    headers.insert(name, value);
                }
            }
            HeaderChange::Add { name, value } => {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    headers.append(name, value);
                }
            }
            HeaderChange::Remove { name } => {
                headers.remove(name.as_str());
            }
        }
    }
}

/// The lines of a header as one text, joined by `,` as routes compare them.
pub(crate) fn joined<'h>(headers: &'h HeaderMap, name: &str) -> Option<Cow<'h, str>> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok()?;
    let mut text = Cow::Borrowed(first);
    for line in lines {
        let text = text.to_mut();
        text.push(',');
        text.push_str(line.to_str().ok()?);
    }
    Some(text)
}

/// A header's number, if it is one.
pub(crate) fn number<T: std::str::FromStr>(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<T> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).expect("a test's header name"),
                HeaderValue::from_str(value).expect("a test's header value"),
            );
        }
        headers
    }

    #[track_caller]
    fn check(change: impl FnOnce(&mut HeaderMap), before: &[(&str, &str)], after: &[(&str, &str)]) {
        let mut headers = map(before);
        change(&mut headers);
        assert_eq!(headers, map(after));
    }

    #[test]
    fn what_concerns_one_connection_does_not_pass() {
        let keep = ("accept", "*/*");
        for gone in [
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("proxy-authenticate", "Basic"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-authentication-info", "x"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("connection", "close"),
        ] {
            check(|headers| strip_hop_by_hop(headers, Seen::of(headers)), &[keep, gone], &[keep]);
        }
    }

    #[test]
    fn what_connection_names_does_not_pass_but_host_does() {
        check(
            |headers| strip_hop_by_hop(headers, Seen::of(headers)),
            &[("host", "a"), ("connection", "X-One, host"), ("connection", "x-two"), ("x-one", "1"), ("x-two", "2")],
            &[("host", "a")],
        );
    }

    #[test]
    fn te_trailers_passes_and_the_rest_of_te_does_not() {
        check(
            |headers| strip_hop_by_hop(headers, Seen::of(headers)),
            &[("te", "gzip;q=0.5, Trailers"), ("connection", "te")],
            &[("te", "trailers")],
        );
    }

    #[test]
    fn a_length_does_not_pass_with_a_coding() {
        check(
            |headers| strip_hop_by_hop(headers, Seen::of(headers)),
            &[("content-length", "3"), ("transfer-encoding", "chunked")],
            &[],
        );
    }

    #[test]
    fn trailers_carry_no_framing_and_nothing_of_a_connection() {
        let bad = ["content-length", "transfer-encoding", "connection", "host", "te", "trailer", "keep-alive"];
        let mut before: Vec<_> = bad.iter().map(|name| (*name, "x")).collect();
        before.push(("x-sum", "1"));
        check(strip_trailers, &before, &[("x-sum", "1")]);
    }

    #[test]
    fn only_trace_and_options_count_their_forwards() {
        for (method, after) in [(Method::TRACE, "1"), (Method::OPTIONS, "1"), (Method::GET, "2")] {
            check(|h| count_forward(&method, h), &[("max-forwards", "2")], &[("max-forwards", after)]);
        }
    }

    #[test]
    fn cookies_of_several_lines_become_one_line() {
        check(join_cookies, &[("cookie", "a=1"), ("cookie", "b=2")], &[("cookie", "a=1; b=2")]);
        check(join_cookies, &[("cookie", "a=1")], &[("cookie", "a=1")]);
    }

    #[test]
    fn a_request_keeps_its_id_or_gets_a_uuid() {
        check(
            |h| ensure_request_id(h, Seen::of(h), || [1, 2]),
            &[("x-request-id", "mine")],
            &[("x-request-id", "mine")],
        );
        check(
            |h| ensure_request_id(h, Seen::of(h), || [u64::MAX, 0]),
            &[],
            &[("x-request-id", "ffffffff-ffff-4fff-8000-000000000000")],
        );
    }

    #[test]
    fn a_request_ranks_by_its_class_and_then_by_its_id() {
        let of = |lines: &[(&str, &str)]| {
            let headers = map(lines);
            rank(&headers, Seen::of(&headers))
        };
        let plain = of(&[("x-request-id", "7")]);
        assert_eq!(plain, Rank::new(Class::Default, "7"));
        for (value, class) in [("critical", Class::Critical), ("Sheddable", Class::Sheddable), ("u=0", Class::Default)]
        {
            assert_eq!(of(&[("squall-priority", value), ("x-request-id", "7")]), Rank { class, ..plain });
        }
    }

    #[test]
    fn a_trace_goes_on_as_it_came_and_none_begins() {
        const SOUND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let several =
            [("x-b3-traceid", "64fe8b2a57d3eff7"), ("x-b3-spanid", "e457b5a2e4d86bd1"), ("x-b3-sampled", "0")];
        for came in [
            &[][..],
            &[("traceparent", SOUND), ("tracestate", "x=1"), ("tracestate", "y=2"), ("b3", "1")],
            &[("traceparent", "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-of-tomorrow")],
            &[("traceparent", SOUND), ("traceparent", SOUND)],
            &[("traceparent", "none"), ("tracestate", "x=1")],
            &[("tracestate", "x=1")],
            &[("b3", "64fe8b2a57d3eff7-e457b5a2e4d86bd1")],
            &[("b3", "0")],
            &[("b3", "none")],
            &several,
        ] {
            let came = map(came);
            let mut headers = came.clone();
            pass_trace_on(&mut headers, Seen::of(&came));
            assert_eq!(headers, came);
            assert!(headers.get_all("traceparent").iter().all(HeaderValue::is_sensitive), "none comes again");
        }
    }

    #[test]
    fn what_is_no_traceparent_is_not_followed() {
        for broken in [
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf9",
            "",
        ] {
            assert_eq!(traceparent(&map(&[("traceparent", broken)]), Seen::TRACE), None, "{broken}");
        }
        let twice = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(traceparent(&map(&[("traceparent", twice)]), Seen::TRACE), Some(twice.as_bytes()));
        assert_eq!(traceparent(&map(&[("traceparent", twice), ("traceparent", twice)]), Seen::TRACE), None);
    }

    #[test]
    fn the_callers_certificate_is_never_taken_from_outside() {
        check(|h| set_client_cert(h, Seen::of(h), None), &[("x-forwarded-client-cert", "URI=spiffe://evil")], &[]);
        check(
            |h| set_client_cert(h, Seen::of(h), Some("spiffe://m/ns/a/sa/b")),
            &[("x-forwarded-client-cert", "URI=spiffe://evil")],
            &[("x-forwarded-client-cert", "URI=spiffe://m/ns/a/sa/b")],
        );
    }

    #[test]
    fn only_grpc_is_grpc() {
        for (content_type, want) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;charset=x", true),
            ("application/grpc-web", false),
            ("application/json", false),
        ] {
            let headers = map(&[("content-type", content_type)]);
            assert_eq!(is_grpc(&headers, Seen::of(&headers)), want, "{content_type}");
        }
    }

    #[test]
    fn a_route_sets_adds_and_removes() {
        let changes = [
            HeaderChange::Set { name: "a".into(), value: "new".into() },
            HeaderChange::Add { name: "b".into(), value: "more".into() },
            HeaderChange::Remove { name: "c".into() },
        ];
        check(
            |h| apply(&changes, h),
            &[("a", "1"), ("a", "2"), ("b", "1"), ("c", "1")],
            &[("a", "new"), ("b", "1"), ("b", "more")],
        );
    }
}
