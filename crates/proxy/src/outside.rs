//! Requests from outside the mesh, as a gateway takes them: TLS ends here, and what only the mesh may say is taken from them.
//!
//! The callers prove nothing, so nothing is believed that the mesh acts on: who called (`x-forwarded-client-cert`), where from
//! (`x-forwarded-for` and its kind), how long there is time (`grpc-timeout`: many short ones would open breakers for everybody), how much
//! it matters (`squall-priority`), and which request it is (`x-request-id`, by which queues choose). Their trace goes on
//! (`traceparent`): it decides nothing but what is seen.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use http::header::{CONNECTION, FORWARDED, HOST, HeaderMap, HeaderName, HeaderValue, TE, UPGRADE};
use http::request::Parts;
use squall_net::Accepted;
use squall_net::edge::{Certificates, EdgeAcceptor, ServerCertificate};
use squall_net::http::Version;
use squall_policy::{Astray, LocalReply, Reason, Route};

use crate::accept::{self, Gate};
use crate::deadline::GRPC_TIMEOUT;
use crate::headers::REQUEST_ID;
use crate::identity::H2;
use crate::respond::Reply;
use crate::route;
use crate::serve::Door;
use crate::snapshot::{Snapshot, View};
use crate::{Entrance, Refusal, balancer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// What begins so is said by proxies, and acted on by them or by applications that trust them.
const OF_PROXIES: [&str; 3] = ["squall-", "x-envoy-", "x-forwarded-"];

/// Where a connection from outside came in.
#[derive(Clone)]
pub(crate) struct Outside {
    /// The Gateway's port.
    pub(crate) port: u16,
    /// It came over TLS.
    pub(crate) is_secure: bool,
    /// The name that the client asked for in its handshake.
    pub(crate) server_name: Option<Arc<str>>,
    /// Who connected: the client, or whatever stands before the gateway and does not say for whom.
    pub(crate) client: IpAddr,
}

/// The certificates of a gateway, by `namespace/name`.
#[derive(Default)]
pub(crate) struct Vault(Mutex<Arc<BTreeMap<String, ServerCertificate>>>);

impl Vault {
    pub(crate) fn put(&self, certificates: BTreeMap<String, ServerCertificate>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificates);
    }

    pub(crate) fn current(&self) -> Arc<BTreeMap<String, ServerCertificate>> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The certificates of one port: what its listeners name now, as far as it is there.
pub(crate) struct OfPort {
    pub(crate) view: Arc<View>,
    pub(crate) vault: Arc<Vault>,
    pub(crate) port: u16,
}

impl Certificates for OfPort {
    fn of(&self, server_name: Option<&str>) -> Vec<ServerCertificate> {
        let Some(mesh) = self.view.current() else { return Vec::new() };
        let vault = self.vault.current();
        let wanted = mesh.gateway.port(self.port).map_or(&[][..], |port| port.certificates(server_name));
        wanted.iter().filter_map(|name| vault.get(&**name).cloned()).collect()
    }
}

/// Serves one connection from outside to its end.
pub(crate) async fn enter(gate: &Arc<Gate>, accepted: Accepted, entrance: Entrance, acceptor: &EdgeAcceptor) {
    let Accepted { mut conn, mut peer, dialed: _ } = accepted;
    let port = entrance.port;
    if entrance.proxy_protocol {
        let Some(found) = Box::pin(balancer::read_header(gate, conn, peer)).await else { return };
        (conn, peer) = found;
    }
    let client = peer.ip().to_canonical();
    let mesh = gate.view.current();
    let Some(is_secure) = mesh.and_then(|mesh| Some(mesh.gateway.port(port)?.is_secure())) else {
        conn.abort();
        return accept::refused(gate, peer, Refusal::UnknownPort);
    };
    let mut outside = Outside { port, is_secure, server_name: None, client };
    if !is_secure {
        return accept::http(gate, conn, None, Door::Gateway(outside), None).await;
    }
    let Some(secured) = accept::handshake(gate, conn, peer, |conn| acceptor.accept(conn)).await else { return };
    outside.server_name = secured.server_name;
    let version = match secured.alpn.as_deref() {
        Some(alpn) if alpn == H2 => Some(Version::Http2),
        Some(_) => Some(Version::Http1),
        None => None,
    };
    accept::http(gate, secured.conn, version, Door::Gateway(outside), None).await;
}

impl Outside {
    /// The route of a request, and whether its fault is meant for the request.
    pub(crate) fn find(&self, mesh: &Snapshot, head: &Parts, authority: &str) -> Result<(Arc<Route>, bool), Reply> {
        let port = mesh.gateway.port(self.port).ok_or_else(|| LocalReply::of(Reason::NoRoute))?;
        // What must be encrypted now was not when the connection was made.
        if port.is_secure() != self.is_secure {
            return Err(Reply::MISDIRECTED);
        }
        let found = route::with_line(head, authority, |line| {
            let route = port.find(self.server_name.as_deref(), line)?;
            Ok((Arc::clone(route), route.fault.as_ref().is_some_and(|fault| fault.hits(line))))
        });
        found.map_err(|astray| match astray {
            Astray::Misdirected => Reply::MISDIRECTED,
            Astray::NoRoute => LocalReply::of(Reason::NoRoute).into(),
        })
    }

    /// Takes from a head what only the mesh may say, and says where it came from.
    pub(crate) fn cleanse(&self, head: &mut Parts) {
        keep_to_the_connection(&mut head.headers);
        let headers = &mut head.headers;
        let is_of_proxies = |name: &HeaderName| OF_PROXIES.iter().any(|begin| name.as_str().starts_with(begin));
        let found: Vec<HeaderName> = headers.keys().filter(|name| is_of_proxies(name)).cloned().collect();
        for name in found.iter().chain(&[FORWARDED, REAL_IP, REQUEST_ID, GRPC_TIMEOUT]) {
            headers.remove(name);
        }
        let client = HeaderValue::try_from(self.client.to_string()).expect("an address is visible ASCII");
        headers.insert(FORWARDED_FOR, client);
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static(if self.is_secure { "https" } else { "http" }));
        let host = match head.uri.authority() {
            Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
            None => headers.get(HOST).cloned(),
        };
        if let Some(host) = host {
            headers.insert(FORWARDED_HOST, host);
        }
    }
}

/// `Connection` names fields that go no further. A caller that names those that are set here would have them removed again: so its own are
/// removed now, and it names no more than how the connection itself goes on.
fn keep_to_the_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(CONNECTION) {
        return;
    }
    let lines = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let words: Vec<String> =
        lines.flat_map(|value| value.split(',')).map(|word| word.trim().to_ascii_lowercase()).collect();
    let is_own = |word: &String| {
        ["close", "keep-alive", UPGRADE.as_str(), TE.as_str(), HTTP2_SETTINGS.as_str()].contains(&word.as_str())
    };
    let (own, named): (Vec<String>, Vec<String>) = words.into_iter().partition(is_own);
    for name in named.iter().filter(|name| *name != HOST.as_str()) {
        headers.remove(name.as_str());
    }
    match HeaderValue::try_from(own.join(", ")) {
        Ok(value) if !own.is_empty() => headers.insert(CONNECTION, value),
        Ok(_) | Err(_) => headers.remove(CONNECTION),
    };
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn cleansed(uri: &str, lines: &[(&str, &str)]) -> Vec<String> {
        let mut request = Request::builder().uri(uri);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        let mut head = request.body(()).expect("a test's request").into_parts().0;
        let client = IpAddr::from([198, 51, 100, 7]);
        Outside { port: 443, is_secure: true, server_name: None, client }.cleanse(&mut head);
        let lines = head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().expect("ascii")));
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    }

    const OURS: [&str; 2] = ["x-forwarded-for: 198.51.100.7", "x-forwarded-proto: https"];

    #[test]
    fn what_only_the_mesh_may_say_is_not_believed() {
        for spoof in [
            "x-forwarded-client-cert",
            "x-forwarded-for",
            "x-forwarded-proto",
            "x-forwarded-port",
            "forwarded",
            "x-real-ip",
            "x-request-id",
            "grpc-timeout",
            "x-envoy-expected-rq-timeout-ms",
            "x-envoy-attempt-count",
            "squall-priority",
            "squall-reason",
        ] {
            let left = cleansed("/", &[(spoof, "1"), (spoof, "2"), ("accept", "*/*")]);
            assert_eq!(left, [&["accept: */*"], &OURS[..]].concat(), "{spoof}");
        }
    }

    #[test]
    fn a_trace_goes_on_and_so_does_what_concerns_the_application_alone() {
        let kept =
            [("authorization", "Bearer x"), ("cookie", "a=1"), ("traceparent", "00-1-2-01"), ("tracestate", "x=1")];
        let left = cleansed("/", &kept);
        assert_eq!(left.len(), kept.len() + OURS.len(), "{left:?}");
    }

    #[test]
    fn the_host_that_was_asked_for_is_told_however_it_was_said() {
        for (uri, lines, want) in [
            ("/", &[("host", "shop.example.com")][..], "x-forwarded-host: shop.example.com"),
            ("https://shop.example.com/", &[], "x-forwarded-host: shop.example.com"),
            ("/", &[("host", "a"), ("x-forwarded-host", "b")], "x-forwarded-host: a"),
        ] {
            let left = cleansed(uri, lines);
            let told: Vec<&String> = left.iter().filter(|line| line.starts_with("x-forwarded-host")).collect();
            assert_eq!(told, [want], "{uri}");
        }
    }

    #[test]
    fn a_caller_cannot_have_removed_what_is_told_of_it() {
        let lines = [("connection", "X-Forwarded-For, upgrade, x-own, Host"), ("upgrade", "websocket"), ("x-own", "1")];
        let left = cleansed("/", &[&lines[..], &[("host", "a")]].concat());
        let want = ["connection: upgrade", "host: a", "upgrade: websocket"];
        assert_eq!(left, [&want[..], &[OURS[0], "x-forwarded-host: a", OURS[1]]].concat());
        assert_eq!(cleansed("/", &[("connection", "x-forwarded-proto")]), OURS);
    }
}
