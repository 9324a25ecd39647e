//! Requests for another protocol: `Upgrade` (RFC 9110 §7.8, WebSocket and any other), WebSockets over HTTP/2 (RFC 8441), and
//! CONNECT (§9.3.6).
//!
//! ```text
//!   Upgrade: x        ─▶ Upgrade: x    ─▶ 101 ─▶ 101     bytes both ways, whatever x is
//!   CONNECT + websocket (h2) ─▶ Upgrade: websocket ─▶ 101 ─▶ 200
//!   CONNECT host:port ─▶ CONNECT host:port ─▶ 2xx ─▶ 2xx  only where a route names the method; 501 elsewhere
//! ```
//!
//! They are requests like others until the head of the answer: routed, admitted, balanced, repeated while nobody has agreed. They
//! take an HTTP/1.1 hop, also where the Service speaks HTTP/2. An agreed one holds its place until its last byte, and no HTTP is
//! read from its connection any more. Silence ends it after the route's idle time-out or [`SILENCE`], a draining proxy at the end
//! of its patience.

use std::sync::Arc;
use std::time::Duration;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, TE,
    UPGRADE,
};
use http::request::Parts;
use http::{Method, Response, StatusCode, Version};
use squall_net::http::Incoming;
use squall_net::upgrade::{Upgrade, base64, connect_protocol, websocket_accept};
use squall_net::{Carried, RelayEnd, RelayLimits, RelayOutcome, relay};
use squall_policy::{Ended, HeaderChange, Protocol, RouteTimeouts};

use crate::accept::{Gate, unless_first};
use crate::admit::Held;
use crate::attempt::Got;
use crate::body::Meter;
use crate::respond::AnswerBody;
use crate::route::Unfit;
use crate::seen::Seen;
use crate::{HowEnded, Record, headers};

/// The longest silence where the route sets none: as for connections whose bytes nobody looks at (Envoy's).
pub(crate) const SILENCE: Duration = Duration::from_secs(3600);

const WEBSOCKET: &str = "websocket";
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What a request asks for instead of an answer.
pub(crate) struct Ask {
    wanted: Wanted,
    /// The caller's bytes, once it is answered.
    caller: Upgrade,
}

/// What an answer must say for the protocol to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// One of these protocols, by 101.
    Upgrade(HeaderValue),
    /// This protocol, for a caller who asked by an extended CONNECT; and how its key is to be answered, if it is a WebSocket.
    Extended { protocol: HeaderValue, accept: Option<String> },
    /// A tunnel, by any success.
    Connect,
}

/// What is asked for, if anything. Makes an extended CONNECT the request that HTTP/1.1 has for it. `key` makes up a key.
pub(crate) fn ask(head: &mut Parts, bodiless: bool, key: impl FnOnce() -> [u64; 2]) -> Result<Option<Box<Ask>>, Unfit> {
    let Some(caller) = Upgrade::of_request(head) else { return Ok(None) };
    let wanted = if let Some(protocol) = connect_protocol(head) {
        let protocol = HeaderValue::from_str(protocol).map_err(|_| Unfit::BadTarget)?;
        head.method = Method::GET;
        let accept = protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()).then(|| {
            let key = base64(&key().map(u64::to_be_bytes).concat());
            head.headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_str(&key).expect("base64 is visible ASCII"));
            websocket_accept(&key)
        });
        Wanted::Extended { protocol, accept }
    } else if head.method == Method::CONNECT {
        Wanted::Connect
    } else {
        match protocols(&head.headers) {
            Some(protocols) => Wanted::Upgrade(protocols),
            None => return Ok(None),
        }
    };
    if !bodiless {
        return match wanted {
            // Content of CONNECT has no meaning (RFC 9110 §9.3.6).
            Wanted::Connect | Wanted::Extended { .. } => Err(Unfit::BadTarget),
            // An upgrade may be ignored: the content must come before the other protocol, and it is not worth it.
            Wanted::Upgrade(_) => Ok(None),
        };
    }
    // Boxed: it is seldom, and every request has room for it.
    Ok(Some(Box::new(Ask { wanted, caller })))
}

/// What `Upgrade` asks for that can be passed on: not another HTTP, nor TLS, which each hop has of its own.
fn protocols(headers: &HeaderMap) -> Option<HeaderValue> {
    if !lists(headers, &CONNECTION, "upgrade") {
        return None;
    }
    let others: Vec<&str> = words(headers, &UPGRADE).filter(|word| !is_of_this_hop(word)).collect();
    if others.is_empty() { None } else { HeaderValue::from_str(&others.join(", ")).ok() }
}

fn is_of_this_hop(protocol: &str) -> bool {
    let name = protocol.split('/').next().unwrap_or_default();
    ["h2c", "http", "tls"].iter().any(|own| name.eq_ignore_ascii_case(own))
}

fn words<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|word| !word.is_empty())
}

fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    words(headers, name).any(|one| one.eq_ignore_ascii_case(word))
}

impl Ask {
    pub(crate) fn wanted(&self) -> &Wanted {
        &self.wanted
    }
}

impl Wanted {
    /// Writes it into a head that was stripped for its next hop.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        let protocol = match self {
            Self::Upgrade(protocols) => protocols,
            Self::Extended { protocol, .. } => protocol,
            Self::Connect => return,
        };
        headers.remove(TE);
        headers.remove(HTTP2_SETTINGS);
        headers.insert(UPGRADE, protocol.clone());
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }

    /// Whether an answer of this status changes the protocol.
    pub(crate) fn is_met_by(&self, status: StatusCode) -> bool {
        match self {
            Self::Upgrade(_) | Self::Extended { .. } => status == StatusCode::SWITCHING_PROTOCOLS,
            Self::Connect => status.is_success(),
        }
    }

    /// Whether an answer is one that can be given for it: a server may not choose what it was not asked for (RFC 9110 §7.8), and
    /// to an extended CONNECT a success would mean that the protocol has changed.
    pub(crate) fn is_sound<B>(&self, response: &Response<B>) -> bool {
        let (status, headers) = (response.status(), response.headers());
        let switches = status == StatusCode::SWITCHING_PROTOCOLS;
        let asked = |asked: &HeaderValue| {
            let asked = asked.to_str().unwrap_or_default();
            let mut chosen = words(headers, &UPGRADE).peekable();
            chosen.peek().is_some() && chosen.all(|one| asked.split(", ").any(|word| word.eq_ignore_ascii_case(one)))
        };
        match self {
            Self::Upgrade(protocols) => !switches || asked(protocols),
            Self::Extended { protocol, accept } => {
                let accepts =
                    |want: &String| headers.get(SEC_WEBSOCKET_ACCEPT).is_some_and(|said| said == want.as_str());
                if switches { asked(protocol) && accept.as_ref().is_none_or(accepts) } else { !status.is_success() }
            }
            Self::Connect => !switches,
        }
    }

    /// A word for statistics, of few.
    fn word(&self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Upgrade(protocol) | Self::Extended { protocol, .. } => {
                let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes());
                if is_websocket { WEBSOCKET } else { "other" }
            }
        }
    }
}

/// Has both sides agreed: passes the endpoint's word on, and carries bytes from then on.
pub(crate) fn open(
    gate: &Arc<Gate>,
    mut held: Held,
    got: Got,
    ask: Ask,
    changes: &[HeaderChange],
    timeouts: RouteTimeouts,
) -> Response<AnswerBody> {
    // Its connection is no longer one for requests; the lease is of no more use.
    let Got { mut response, lease: _, pool_idle: _, seen: _ } = got;
    let Ask { wanted, caller } = ask;
    let endpoint = Upgrade::of_response(&mut response);
    let head = answer(&wanted, response, changes);
    let core = Arc::clone(&gate.core);
    held.log.status = head.status().as_u16();
    let meter = Arc::new(Meter::new(None));
    held.log.meter = Some(Arc::clone(&meter));
    core.record(core.host.now(), &Record::Upgraded { request: held.log.request, protocol: wanted.word() });
    let limits = RelayLimits {
        idle: Some(timeouts.idle.unwrap_or(SILENCE)),
        until: timeouts.stream.map(|span| held.log.started + span),
    };
    let (gate, mark) = (Arc::clone(gate), gate.running.mark());
    core.host.clone().spawn("proxy tunnel", async move {
        let _mark = mark;
        let carried = Carried::default();
        let carrying = async {
            let Ok(endpoint) = endpoint.conn().await else { return (Ended::Broken, HowEnded::Broken) };
            let Ok(caller) = caller.conn().await else { return (Ended::CallerGone, HowEnded::CallerGone) };
            let outcome = relay(core.host.clock(), caller, bytes::Bytes::new(), endpoint, limits, &carried).await;
            match outcome {
                RelayOutcome::Complete => (Ended::Complete { grpc: None }, HowEnded::Complete),
                RelayOutcome::Broken(RelayEnd::Endpoint, _) => (Ended::Broken, HowEnded::Broken),
                RelayOutcome::Broken(RelayEnd::Caller, _) => (Ended::CallerGone, HowEnded::CallerGone),
                // Neither says anything about the endpoint.
                RelayOutcome::Idle => (Ended::CallerGone, HowEnded::Idle),
                RelayOutcome::TooLong => (Ended::CallerGone, HowEnded::TooLong),
            }
        };
        let ended = unless_first(gate.killed.wait(), carrying).await;
        // Cut off with everything else, for the proxy ends.
        let (ended, how) = ended.unwrap_or((Ended::CallerGone, HowEnded::CallerGone));
        let relayed = carried.so_far();
        meter.carried(relayed.sent_bytes);
        held.log.bytes_down = relayed.received_bytes;
        held.finish(ended, how);
    });
    head
}

/// The answer's head as the caller needs it.
fn answer(wanted: &Wanted, response: Response<Incoming>, changes: &[HeaderChange]) -> Response<AnswerBody> {
    let (mut head, _) = response.into_parts();
    let chosen = head.headers.remove(UPGRADE);
    let seen = Seen::of(&head.headers);
    headers::strip_hop_by_hop(&mut head.headers, seen);
    // What follows is no content (RFC 9110 §9.3.6).
    head.headers.remove(CONTENT_LENGTH);
    headers::apply(changes, &mut head.headers);
    head.version = Version::HTTP_11;
    head.extensions = http::Extensions::new();
    match wanted {
        Wanted::Upgrade(_) => {
            head.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(chosen) = chosen {
                head.headers.insert(UPGRADE, chosen);
            }
        }
        Wanted::Extended { .. } => {
            head.status = StatusCode::OK;
            head.headers.remove(SEC_WEBSOCKET_ACCEPT);
        }
        Wanted::Connect => {}
    }
    Response::from_parts(head, AnswerBody::Empty)
}

/// The version of the hop that a request takes.
pub(crate) fn protocol(ask: Option<&Ask>, of_service: Protocol) -> Protocol {
    if ask.is_some() { Protocol::Http1 } else { of_service }
}

/// Makes the head of CONNECT one for HTTP/1.1: its target is the authority (RFC 9112 §3.2.3).
pub(crate) fn address_connect(head: &mut Parts) {
    head.version = Version::HTTP_11;
    if let Some(authority) = head.uri.authority() {
        let host = HeaderValue::from_str(authority.as_str()).expect("an authority is visible ASCII");
        head.headers.insert(HOST, host);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|&(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[track_caller]
    fn asks(lines: &[(&'static str, &'static str)], want: Option<&str>) {
        let found = protocols(&headers(lines));
        assert_eq!(found.as_ref().map(|value| value.to_str().expect("text")), want);
    }

    #[test]
    fn an_upgrade_is_one_that_connection_names_and_that_is_not_of_this_hop() {
        asks(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")], Some("websocket"));
        asks(&[("connection", "upgrade"), ("upgrade", "chat/2 , websocket")], Some("chat/2, websocket"));
        asks(&[("connection", "upgrade"), ("upgrade", "h2c, websocket, TLS/1.0, HTTP/2.0")], Some("websocket"));
        asks(&[("connection", "upgrade"), ("upgrade", "h2c")], None);
        asks(&[("connection", "keep-alive"), ("upgrade", "websocket")], None);
        asks(&[("connection", "upgrade")], None);
    }

    #[track_caller]
    fn is_sound(wanted: &Wanted, status: u16, lines: &[(&'static str, &'static str)], want: bool) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).expect("a status");
        *response.headers_mut() = headers(lines);
        assert_eq!(wanted.is_sound(&response), want, "{wanted:?} {status} {lines:?}");
    }

    #[test]
    fn nothing_is_chosen_that_was_not_asked_for() {
        let upgrade = Wanted::Upgrade(HeaderValue::from_static("chat/2, websocket"));
        is_sound(&upgrade, 101, &[("upgrade", "WebSocket")], true);
        is_sound(&upgrade, 101, &[("upgrade", "chat/1")], false);
        is_sound(&upgrade, 101, &[], false);
        is_sound(&upgrade, 200, &[], true);
        let accept = Some("right".to_owned());
        let extended = Wanted::Extended { protocol: HeaderValue::from_static("websocket"), accept };
        is_sound(&extended, 101, &[("upgrade", "websocket"), ("sec-websocket-accept", "right")], true);
        is_sound(&extended, 101, &[("upgrade", "websocket"), ("sec-websocket-accept", "wrong")], false);
        is_sound(&extended, 101, &[("upgrade", "websocket")], false);
        is_sound(&extended, 200, &[], false);
        is_sound(&extended, 403, &[], true);
        is_sound(&Wanted::Connect, 101, &[("upgrade", "x")], false);
        is_sound(&Wanted::Connect, 200, &[], true);
    }
}
