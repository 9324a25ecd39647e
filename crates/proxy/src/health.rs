//! One health check of an endpoint, as the policy orders it.
//!
//! It makes a connection of its own: over one that requests keep open it would not notice that the endpoint takes no new ones.
//! Where requests have mutual TLS it has it too, so that an endpoint which cannot prove who it is does not pass.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderValue, TE, USER_AGENT};
use http::{Request, Response};
use http_body::Body;
use squall_net::http::Incoming;
use squall_net::timeout;
use squall_policy::{Probe, ProbeOrder, ProbeResult, Protocol};

use crate::body::RequestBody;
use crate::connect;
use crate::core::Core;
use crate::pool::Key;

const AGENT: HeaderValue = HeaderValue::from_static("squall-health-check");
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const CHECK: &str = "/grpc.health.v1.Health/Check";
/// No answer to a health check is longer.
const LONGEST: usize = 4096;

/// Makes the check. Dropping it at its time closes the connection.
pub(crate) async fn probe(core: Arc<Core>, order: ProbeOrder, protocol: Protocol, tls: bool) -> ProbeResult {
    let asking = Box::pin(ask(&core, &order, protocol, tls));
    timeout(core.host.clock().as_ref(), order.until, asking).await.unwrap_or(ProbeResult::TimedOut)
}

async fn ask(core: &Core, order: &ProbeOrder, protocol: Protocol, tls: bool) -> ProbeResult {
    let key = Key { address: order.address, identity: tls.then(|| Arc::clone(&order.identity)), protocol };
    let secrets = if tls { core.keyring.current() } else { None };
    let Ok(mut sender) = connect::open(core, secrets, &key).await else { return ProbeResult::Broken };
    let base = match protocol {
        Protocol::Http1 | Protocol::Tcp => String::new(),
        Protocol::Http2 => format!("{}://{}", if tls { "https" } else { "http" }, order.address),
    };
    let request = match &order.probe {
        Probe::Connect => return ProbeResult::Passed,
        Probe::Http { path, .. } => Request::get(base + path).header(USER_AGENT, AGENT).body(RequestBody::Empty),
        Probe::Grpc { service } => Request::post(base + CHECK)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, GRPC)
            .header(TE, HeaderValue::from_static("trailers"))
            .body(RequestBody::Whole(Some(question(service)))),
    };
    let Ok(mut request) = request else {
        // The path is no path after all: nothing is asked, and nothing passes.
        return ProbeResult::Broken;
    };
    if protocol == Protocol::Http1 {
        let host = HeaderValue::try_from(order.address.to_string()).expect("an address is visible ASCII");
        request.headers_mut().insert(HOST, host);
    }
    let Ok(response) = sender.send(request).await else { return ProbeResult::Broken };
    match (order.judge(response.status().as_u16()), &order.probe) {
        (ProbeResult::Passed, Probe::Grpc { .. }) => verdict(order, response).await.unwrap_or(ProbeResult::Broken),
        (result, _) => result,
    }
}

/// A `grpc.health.v1.HealthCheckRequest { service = 1 }` behind its gRPC prefix.
fn question(service: &str) -> Bytes {
    let mut message = Vec::with_capacity(8 + service.len());
    if !service.is_empty() {
        message.push(0x0a);
        let mut left = service.len();
        while left >= 0x80 {
            message.push(left as u8 | 0x80);
            left >>= 7;
        }
        message.push(left as u8);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).expect("a name of 256 bytes at most");
    [&[0][..], &length.to_be_bytes(), &message].concat().into()
}

/// Reads a gRPC answer to its end. `None`: it broke, or is too long to be one.
async fn verdict(order: &ProbeOrder, response: Response<Incoming>) -> Option<ProbeResult> {
    let (head, mut body) = response.into_parts();
    let mut status = status_of(&head.headers);
    let mut message = Vec::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.ok()?;
        if let Some(trailers) = frame.trailers_ref() {
            status = status.or(status_of(trailers));
        } else if let Some(data) = frame.data_ref() {
            if message.len() + data.len() > LONGEST {
                return None;
            }
            message.extend_from_slice(data);
        }
    }
    Some(order.judge_grpc(status, &message))
}

/// What is no number is taken for 2, unknown (the gRPC specification says so).
fn status_of(headers: &HeaderMap) -> Option<u8> {
    let value = headers.get("grpc-status")?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_names_its_service_or_nobody() {
        assert_eq!(question(""), &[0, 0, 0, 0, 0][..]);
        assert_eq!(question("a.B"), &[0, 0, 0, 0, 5, 0x0a, 3, b'a', b'.', b'B'][..]);
        let long = question(&"s".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
        assert_eq!(long.len(), 208);
    }
}
