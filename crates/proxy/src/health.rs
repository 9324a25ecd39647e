//! One health check of an endpoint, as the policy orders it.
//!
//! It makes a connection of its own: over one that requests keep open it would not notice that the endpoint takes no new ones.
//! Where requests have mutual TLS it has it too, so that an endpoint which cannot prove who it is does not pass.

use std::sync::Arc;

use http::Request;
use http::header::{HOST, HeaderValue, USER_AGENT};
use squall_net::timeout;
use squall_policy::{Probe, ProbeOrder, ProbeResult, Protocol};

use crate::body::RequestBody;
use crate::connect;
use crate::core::Core;
use crate::pool::Key;

const AGENT: HeaderValue = HeaderValue::from_static("squall-health-check");

/// Makes the check. Dropping it at its time closes the connection.
pub(crate) async fn probe(core: Arc<Core>, order: ProbeOrder, protocol: Protocol, tls: bool) -> ProbeResult {
    let asking = Box::pin(ask(&core, &order, protocol, tls));
    timeout(core.host.clock().as_ref(), order.until, asking).await.unwrap_or(ProbeResult::TimedOut)
}

async fn ask(core: &Core, order: &ProbeOrder, protocol: Protocol, tls: bool) -> ProbeResult {
    let key = Key { address: order.address, identity: tls.then(|| Arc::clone(&order.identity)), protocol };
    let secrets = if tls { core.keyring.current() } else { None };
    let Ok(mut sender) = connect::open(core, secrets, &key).await else { return ProbeResult::Broken };
    let Probe::Http { path, .. } = &order.probe else { return ProbeResult::Passed };
    let target = match protocol {
        Protocol::Http1 => path.clone(),
        Protocol::Http2 => format!("{}://{}{path}", if tls { "https" } else { "http" }, order.address),
    };
    let Ok(mut request) = Request::get(target).header(USER_AGENT, AGENT).body(RequestBody::Empty) else {
        // The path is no path after all: nothing is asked, and nothing passes.
        return ProbeResult::Broken;
    };
    if protocol == Protocol::Http1 {
        let host = HeaderValue::try_from(order.address.to_string()).expect("an address is visible ASCII");
        request.headers_mut().insert(HOST, host);
    }
    match sender.send(request).await {
        Ok(response) => order.judge(response.status().as_u16()),
        Err(_) => ProbeResult::Broken,
    }
}
