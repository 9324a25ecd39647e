//! Which listener of a gateway a request from outside belongs to, and where it goes from there.
//!
//! ```text
//!            ┌ TLS:   server name ─▶ listener that shows its certificate ─┐ another, or none: 421
//!  port ─────┤                                                           ├─▶ its routes, by host, path, … ─▶ route, or 404
//!            └ Host ──▶ the most precise listener of the port ────────────┘
//! ```
//!
//! A request belongs to one listener, that with the most precise host name, and only the routes of that one are looked at. Over TLS
//! the connection was made to a listener already; a request for another is misdirected (421, RFC 9110 §15.5.20): its client
//! used a connection again that was made for another name, and makes another one. Without a server name in the handshake the listener is
//! the one without a host name.
//!
//! Sources: Gateway API `Listener.hostname`, `HTTPRoute.hostnames`; GEP-3567 (connection coalescing).

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::domains::Domains;
use crate::mesh::{GatewayListener, Route};
use crate::route::{RequestLine, RouteTable};

/// The listeners of a gateway, ready for look-up.
#[derive(Debug, Default)]
pub struct GatewayTable {
    ports: BTreeMap<u16, GatewayPort>,
}

/// The listeners of one port.
#[derive(Debug)]
pub struct GatewayPort {
    names: Domains,
    listeners: Vec<Listener>,
}

#[derive(Debug)]
struct Listener {
    certificates: Option<Vec<Arc<str>>>,
    routes: RouteTable,
}

/// Why a request goes nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Astray {
    /// It is for another listener than its connection: 421.
    Misdirected,
    /// No listener, or no route, is for it: 404.
    NoRoute,
}

impl GatewayTable {
    /// Builds the table. Listeners of one port with equal host names: the first wins (the compiler refuses them).
    #[must_use]
    pub fn new(listeners: &[GatewayListener]) -> Self {
        let mut of_port: BTreeMap<u16, Vec<&GatewayListener>> = BTreeMap::new();
        for listener in listeners {
            of_port.entry(listener.port).or_default().push(listener);
        }
        Self { ports: of_port.into_iter().map(|(port, listeners)| (port, GatewayPort::new(&listeners))).collect() }
    }

    /// The listeners of a port; `None`: the gateway has none there.
    #[must_use]
    pub fn port(&self, port: u16) -> Option<&GatewayPort> {
        self.ports.get(&port)
    }
}

impl GatewayPort {
    fn new(listeners: &[&GatewayListener]) -> Self {
        let names = listeners.iter().enumerate().map(|(number, listener)| (listener.hostname.as_str(), number));
        let listeners = listeners.iter().map(|listener| Listener {
            certificates: listener.certificates.clone(),
            routes: RouteTable::new(&listener.hosts),
        });
        Self { names: Domains::new(names), listeners: listeners.collect() }
    }

    /// Whether clients must speak TLS.
    #[must_use]
    pub fn is_secure(&self) -> bool {
        self.listeners.iter().any(|listener| listener.certificates.is_some())
    }

    /// The certificates that may be shown to a client that asks for `server_name`, `namespace/name` each, the best first. Empty: no
    /// listener is for it, and the handshake is to be refused.
    #[must_use]
    pub fn certificates(&self, server_name: Option<&str>) -> &[Arc<str>] {
        let found = self.names.find(server_name.unwrap_or_default()).map(|number| &self.listeners[number]);
        found.and_then(|listener| listener.certificates.as_deref()).unwrap_or_default()
    }

    /// The route of a request on a connection that was made to `server_name` (`None`: no name was sent, or there is no TLS).
    ///
    /// # Errors
    /// [`Astray`].
    pub fn find(&self, server_name: Option<&str>, request: &RequestLine<'_>) -> Result<&Arc<Route>, Astray> {
        let wanted = self.names.find(request.authority).ok_or(Astray::NoRoute)?;
        let listener = &self.listeners[wanted];
        if listener.certificates.is_some() {
            let made_to = self.names.find(server_name.unwrap_or_default());
            if mutant!("sni-is-not-compared", made_to != Some(wanted), false) {
                return Err(Astray::Misdirected);
            }
        }
        listener.routes.find(request).ok_or(Astray::NoRoute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{PathMatch, RouteMatch, RouteTimeouts, VirtualHost};

    fn route(name: &str) -> Route {
        Route {
            name: name.into(),
            matches: RouteMatch {
                path: PathMatch::Prefix("/".to_owned()),
                method: None,
                headers: Vec::new(),
                query: Vec::new(),
            },
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            backends: Vec::new(),
            timeouts: RouteTimeouts::default(),
            retry: None,
            fault: None,
            redirect: None,
        }
    }

    /// A listener each of whose domains has a route named `LISTENER/DOMAIN`.
    fn listener(port: u16, hostname: &str, tls: bool, domains: &[&str]) -> GatewayListener {
        let hosts = domains.iter().map(|domain| VirtualHost {
            name: (*domain).to_owned(),
            domains: vec![(*domain).to_owned()],
            routes: vec![route(&format!("{hostname}/{domain}"))],
        });
        GatewayListener {
            name: format!("edge {hostname}").into(),
            port,
            hostname: hostname.to_owned(),
            certificates: tls.then(|| vec![format!("shop/{hostname}").into()]),
            hosts: hosts.collect(),
        }
    }

    #[track_caller]
    fn check(table: &GatewayTable, port: u16, server_name: Option<&str>, authority: &str, want: Result<&str, Astray>) {
        let header = |_: &str| None;
        let request = RequestLine { authority, method: "GET", path: "/", query: None, header: &header };
        let found = table.port(port).expect("a port of the table").find(server_name, &request);
        assert_eq!(found.map(|route| &*route.name), want, "{port} {server_name:?} {authority}");
    }

    #[test]
    fn a_request_belongs_to_the_most_precise_listener_and_its_routes_alone() {
        let table = GatewayTable::new(&[
            listener(80, "", false, &["*", "only.here"]),
            listener(80, "*.example.com", false, &["*.example.com", "cart.example.com"]),
            listener(80, "shop.example.com", false, &["shop.example.com"]),
            listener(8080, "shop.example.com", false, &["shop.example.com"]),
        ]);
        for (authority, want) in [
            ("shop.example.com", "shop.example.com/shop.example.com"),
            ("SHOP.example.com.:80", "shop.example.com/shop.example.com"),
            ("cart.example.com", "*.example.com/cart.example.com"),
            ("a.b.example.com", "*.example.com/*.example.com"),
            ("example.com", "/*"),
            ("only.here:8080", "/only.here"),
            ("127.0.0.1:80", "/*"),
        ] {
            check(&table, 80, None, authority, Ok(want));
        }
        check(&table, 8080, None, "cart.example.com", Err(Astray::NoRoute));
        assert!(table.port(81).is_none());
    }

    #[test]
    fn over_tls_a_request_for_another_listener_than_its_connections_is_misdirected() {
        let table = GatewayTable::new(&[
            listener(443, "*.example.com", true, &["*.example.com"]),
            listener(443, "shop.example.com", true, &["shop.example.com"]),
            listener(444, "", true, &["*"]),
        ]);
        let (shop, other) = ("shop.example.com", "pay.example.com");
        check(&table, 443, Some(shop), shop, Ok("shop.example.com/shop.example.com"));
        check(&table, 443, Some(shop), other, Err(Astray::Misdirected));
        check(&table, 443, Some(other), shop, Err(Astray::Misdirected));
        // One certificate, one listener: the connection may be shared.
        check(&table, 443, Some(other), "cart.example.com:443", Ok("*.example.com/*.example.com"));
        check(&table, 443, Some(shop), "elsewhere.com", Err(Astray::NoRoute));
        check(&table, 444, None, "elsewhere.com", Ok("/*"));
        check(&table, 443, None, shop, Err(Astray::Misdirected));
    }

    #[test]
    fn a_certificate_is_shown_for_a_name_that_a_listener_is_for() {
        let table = GatewayTable::new(&[
            listener(443, "*.example.com", true, &[]),
            listener(443, "shop.example.com", true, &[]),
            listener(444, "", true, &[]),
            listener(80, "", false, &[]),
        ]);
        for (port, name, want) in [
            (443, Some("shop.example.com"), &["shop/shop.example.com"][..]),
            (443, Some("Pay.Example.com"), &["shop/*.example.com"]),
            (443, Some("example.com"), &[]),
            (443, None, &[]),
            (444, None, &["shop/"]),
            (444, Some("any.thing"), &["shop/"]),
            (80, None, &[]),
        ] {
            let port = table.port(port).expect("it is there");
            let found: Vec<&str> = port.certificates(name).iter().map(|name| &**name).collect();
            assert_eq!(found, want, "{name:?}");
        }
        assert!(table.port(443).is_some_and(GatewayPort::is_secure));
        assert!(!table.port(80).is_some_and(GatewayPort::is_secure));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        /// How precise a host name is for a name; `None`: it is not for it.
        fn precision(hostname: &str, name: &str) -> Option<(bool, usize)> {
            match hostname.strip_prefix('*') {
                Some(suffix) => {
                    (name.ends_with(suffix) && name.len() > suffix.len()).then_some((false, hostname.len()))
                }
                None if hostname.is_empty() => Some((false, 0)),
                None => (hostname == name).then_some((true, 0)),
            }
        }

        proptest! {
            /// The model looks at every listener.
            #[test]
            fn misdirected_is_who_is_not_where_its_connection_was_made_to(
                hostnames in prop::collection::btree_set("((\\*\\.)?[ab](\\.[ab]){0,2})?", 1..6),
                server_name in prop::option::of("[ab](\\.[ab]){0,3}"),
                host in "[ab](\\.[ab]){0,3}",
                is_secure: bool,
            ) {
                let listeners: Vec<_> =
                    hostnames.iter().map(|hostname| listener(443, hostname, is_secure, &["*"])).collect();
                let table = GatewayTable::new(&listeners);
                let best = |name: &str| {
                    let found = hostnames.iter().filter_map(|hostname| Some((precision(hostname, name)?, hostname)));
                    found.max().map(|(_, hostname)| hostname)
                };
                let want = match best(&host) {
                    None => Err(Astray::NoRoute),
                    Some(wanted) if is_secure && best(server_name.as_deref().unwrap_or("")) != Some(wanted) => {
                        Err(Astray::Misdirected)
                    }
                    Some(wanted) => Ok(format!("{wanted}/*")),
                };
                let header = |_: &str| None;
                let request = RequestLine { authority: &host, method: "GET", path: "/", query: None, header: &header };
                let found = table.port(443).expect("it is there").find(server_name.as_deref(), &request);
                prop_assert_eq!(found.map(|route| route.name.to_string()), want);
            }
        }
    }
}
