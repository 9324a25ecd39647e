//! Where a request goes: its authority and path, the route they match, and the head that is sent on.

use std::borrow::Cow;

use http::header::{CONNECTION, HOST, HeaderValue, TE};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Method, Uri, Version};
use squall_policy::{Instant, Protocol, RequestFacts, RequestLine};

use crate::seen::Seen;
use crate::{deadline, headers, tunnel};

/// Why a head cannot be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// No destination, several of them, or one that is not a name: 400 (RFC 9112 §3.2).
    NoAuthority,
    /// A target in a form that its method does not have: 400 (RFC 9112 §3.2).
    BadTarget,
    /// A transfer coding that this proxy cannot undo: 501 (RFC 9112 §6.1).
    TransferCoding,
    /// An OPTIONS that may not be forwarded: answered here (RFC 9110 §7.6.2).
    LastOptions,
    /// A TRACE that may not be forwarded: 501, for this proxy shows nobody its own requests.
    LastTrace,
}

/// The destination as the caller named it: the target's authority, else `Host` (RFC 9112 §3.2.2, RFC 9113 §8.3.1).
pub(crate) fn authority(head: &Parts, seen: Seen) -> Result<&str, Unfit> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() || host.is_none() && head.version == Version::HTTP_11 {
        return Err(Unfit::NoAuthority);
    }
    let authority = match head.uri.authority() {
        Some(authority) => {
            // In HTTP/2 both name the same, or somebody is fooled (RFC 9113 §8.3.1).
            let same = host.is_none_or(|host| host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
            if head.version == Version::HTTP_2 && !same {
                return Err(Unfit::NoAuthority);
            }
            authority.as_str()
        }
        None => {
            let host = host.and_then(|host| host.to_str().ok()).ok_or(Unfit::NoAuthority)?;
            if !is_plain_authority(host) && (host.is_empty() || host.parse::<Authority>().is_err()) {
                return Err(Unfit::NoAuthority);
            }
            host
        }
    };
    // User information has no meaning in a request (RFC 9110 §4.2.4).
    if authority.contains('@') {
        return Err(Unfit::NoAuthority);
    }
    check_form(head, seen)?;
    Ok(authority)
}

/// Whether it is a name or an address, perhaps with a port, and nothing that takes a parser.
fn is_plain_authority(host: &str) -> bool {
    let (name, port) = host.split_once(':').unwrap_or((host, "0"));
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty()
        && name.bytes().all(is_of_names)
        && (1..=5).contains(&port.len())
        && port.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the request can be served as far as its own form is concerned.
fn check_form(head: &Parts, seen: Seen) -> Result<(), Unfit> {
    if head.method == Method::CONNECT {
        // Somewhere to go, and nothing else (RFC 9112 §3.2.3, RFC 9110 §9.3.6).
        let names_a_port =
            head.uri.authority().is_some_and(|authority| authority.port_u16().is_some_and(|port| port > 0));
        return if names_a_port && head.uri.path_and_query().is_none() { Ok(()) } else { Err(Unfit::BadTarget) };
    }
    let is_options = head.method == Method::OPTIONS;
    let path = head.uri.path();
    let is_of_its_method = path.starts_with('/') || is_options && path == "*";
    if !is_of_its_method {
        return Err(Unfit::BadTarget);
    }
    if !headers::is_plainly_coded(&head.headers, seen) {
        return Err(Unfit::TransferCoding);
    }
    match headers::forwards_left(&head.method, &head.headers) {
        Some(0) if is_options => Err(Unfit::LastOptions),
        Some(0) => Err(Unfit::LastTrace),
        Some(_) | None => Ok(()),
    }
}

/// A head as routes look at it.
pub(crate) fn with_line<T>(head: &Parts, authority: &str, look: impl FnOnce(&RequestLine<'_>) -> T) -> T {
    let header = |name: &str| -> Option<Cow<'_, str>> { headers::joined(&head.headers, name) };
    look(&RequestLine {
        authority,
        method: head.method.as_str(),
        // OPTIONS of a whole server goes where everything goes (RFC 9110 §9.3.7); CONNECT has no path.
        path: if matches!(head.uri.path(), "*" | "") { "/" } else { head.uri.path() },
        query: head.uri.query(),
        header: &header,
    })
}

/// When the caller wants its answer.
pub(crate) fn deadline(head: &Parts, seen: Seen, now: Instant) -> Option<Instant> {
    deadline::read(&head.headers, seen, now)
}

/// What the policy must know of a head.
pub(crate) fn facts<'p>(
    head: &Parts,
    seen: Seen,
    deadline: Option<Instant>,
    caller: Option<&'p str>,
) -> RequestFacts<'p> {
    RequestFacts {
        idempotent: head.method.is_idempotent(),
        deadline,
        rank: headers::rank(&head.headers, seen),
        caller,
        hash: None,
    }
}

/// Makes the head one that can be sent to a peer of `protocol`: target and `Host` in the form it needs.
pub(crate) fn address(head: &mut Parts, seen: Seen, protocol: Protocol, tls: bool) {
    match protocol {
        Protocol::Http1 | Protocol::Tcp if head.method == Method::CONNECT => tunnel::address_connect(head),
        Protocol::Http1 | Protocol::Tcp => {
            head.version = Version::HTTP_11;
            if let Some(authority) = head.uri.authority() {
                let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
                head.headers.insert(HOST, host);
                head.uri = head.uri.path_and_query().map_or_else(|| Uri::from_static("/"), |path| path.clone().into());
            }
            if seen.any(Seen::COOKIE) {
                headers::join_cookies(&mut head.headers);
            }
            if seen.any(Seen::TE) && head.headers.contains_key(TE) {
                head.headers.insert(CONNECTION, HeaderValue::from_static("te"));
            }
        }
        Protocol::Http2 => {
            head.version = Version::HTTP_2;
            let host = head.headers.remove(HOST);
            let mut parts = std::mem::take(&mut head.uri).into_parts();
            parts.scheme = Some(if tls { Scheme::HTTPS } else { Scheme::HTTP });
            if parts.authority.is_none() {
                let host = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
                parts.authority = Some(host.expect("checked when the request came"));
            }
            parts.path_and_query.get_or_insert_with(|| PathAndQuery::from_static("/"));
            head.uri = Uri::from_parts(parts).expect("scheme, authority and path are there");
        }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn head(method: &str, uri: &str, hosts: &[&str]) -> Parts {
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).expect("a test's request").into_parts().0
    }

    fn authority_of(head: &Parts) -> Result<&str, Unfit> {
        authority(head, Seen::of(&head.headers))
    }

    #[test]
    fn the_destination_is_the_targets_or_the_host() {
        for (uri, hosts, want) in [
            ("/a", &["shop:80"][..], Ok("shop:80")),
            ("http://cart/a", &["shop"], Ok("cart")),
            ("http://cart/a", &[], Err(Unfit::NoAuthority)),
            ("http://me@cart/a", &["cart"], Err(Unfit::NoAuthority)),
            ("cart:80", &["cart:80"], Err(Unfit::BadTarget)),
            ("*", &["cart"], Err(Unfit::BadTarget)),
            ("/a", &[], Err(Unfit::NoAuthority)),
            ("/a", &[""], Err(Unfit::NoAuthority)),
            ("/a", &["a b"], Err(Unfit::NoAuthority)),
            ("/a", &["shop", "cart"], Err(Unfit::NoAuthority)),
        ] {
            let head = head("GET", uri, hosts);
            assert_eq!(authority_of(&head), want, "{uri} {hosts:?}");
        }
        assert_eq!(authority_of(&head("CONNECT", "shop:80", &["shop:80"])), Ok("shop:80"));
        assert_eq!(authority_of(&head("CONNECT", "shop", &["shop"])), Err(Unfit::BadTarget));
        assert_eq!(authority_of(&head("OPTIONS", "*", &["shop"])), Ok("shop"));
    }

    #[test]
    fn in_http2_the_authority_needs_no_host_but_both_must_agree() {
        for (hosts, want) in [(&[][..], Ok("cart")), (&["Cart"], Ok("cart")), (&["shop"], Err(Unfit::NoAuthority))] {
            let mut head = head("GET", "http://cart/a", hosts);
            head.version = Version::HTTP_2;
            assert_eq!(authority_of(&head), want, "{hosts:?}");
        }
    }

    #[test]
    fn what_cannot_be_passed_on_is_answered_here() {
        for (method, name, value, want) in [
            ("POST", "transfer-encoding", "gzip, chunked", Err(Unfit::TransferCoding)),
            ("POST", "transfer-encoding", "Chunked", Ok("shop")),
            ("TRACE", "max-forwards", "0", Err(Unfit::LastTrace)),
            ("OPTIONS", "max-forwards", "0", Err(Unfit::LastOptions)),
            ("OPTIONS", "max-forwards", "1", Ok("shop")),
            ("GET", "max-forwards", "0", Ok("shop")),
        ] {
            let mut head = head(method, "/", &["shop"]);
            head.headers.insert(name, HeaderValue::from_static(value));
            assert_eq!(authority_of(&head), want, "{method} {name}: {value}");
        }
    }

    #[track_caller]
    fn check(uri: &str, hosts: &[&str], protocol: Protocol, want: (&str, Option<&str>)) {
        let mut head = head("GET", uri, hosts);
        let seen = Seen::of(&head.headers);
        address(&mut head, seen, protocol, true);
        let host = head.headers.get(HOST).map(|host| host.to_str().expect("ascii"));
        assert_eq!((head.uri.to_string().as_str(), host), want);
    }

    #[test]
    fn a_head_takes_the_form_of_the_next_hop() {
        check("/a?b", &["shop"], Protocol::Http1, ("/a?b", Some("shop")));
        check("http://shop/a?b", &["other"], Protocol::Http1, ("/a?b", Some("shop")));
        check("http://shop", &[], Protocol::Http1, ("/", Some("shop")));
        check("/a?b", &["shop"], Protocol::Http2, ("https://shop/a?b", None));
        check("http://shop/a", &[], Protocol::Http2, ("https://shop/a", None));
        check("*", &["shop"], Protocol::Http1, ("*", Some("shop")));
    }
}
