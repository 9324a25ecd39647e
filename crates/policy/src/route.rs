//! Which route a request takes.
//!
//! ```text
//!  authority ─▶ exact domain ─▶ exact without port ─▶ longest *.suffix ─▶ *      (sorted, binary search)
//!                   └──────────────┴───────┬──────────────┴───────────────┘
//!                         routes of that host, in order: path, method, headers, query ─▶ the first that matches
//! ```
//!
//! Sources: Gateway API HTTPRoute matching; Envoy's domain search order.

use std::borrow::Cow;
use std::sync::Arc;

use crate::Rng;
use crate::domains::Domains;
use crate::mesh::{BackendName, HeaderMatch, PathMatch, Route, RouteMatch, VirtualHost};

/// The virtual hosts of a mesh, ready for look-up.
#[derive(Debug)]
pub struct RouteTable {
    hosts: Vec<Vec<Arc<Route>>>,
    domains: Domains,
}

/// What a request looks like, borrowed from its head.
#[derive(Clone, Copy)]
pub struct RequestLine<'a> {
    /// `Host` or `:authority`, any case, with or without port.
    pub authority: &'a str,
    /// Such as `GET`.
    pub method: &'a str,
    /// Path without query, such as `/cart`.
    pub path: &'a str,
    /// After the `?`, without it.
    pub query: Option<&'a str>,
    /// Looks a header up by its lower-case name; several lines joined by `,`.
    pub header: &'a dyn Fn(&str) -> Option<Cow<'a, str>>,
}

impl RouteTable {
    /// Builds the table. Virtual hosts with equal domains: the first wins (the compiler refuses them).
    #[must_use]
    pub fn new(hosts: &[VirtualHost]) -> Self {
        let domains = hosts.iter().enumerate();
        let domains =
            domains.flat_map(|(number, host)| host.domains.iter().map(move |domain| (domain.as_str(), number)));
        Self {
            domains: Domains::new(domains),
            hosts: hosts.iter().map(|host| host.routes.iter().cloned().map(Arc::new).collect()).collect(),
        }
    }

    /// The route for this request: exact domain before `*.suffix` before `*`, then the first matching route of it.
    /// `None`: no virtual host, or no route of it, matches. A domain without port stands for every port that has no
    /// domain of its own.
    #[must_use]
    pub fn find(&self, request: &RequestLine<'_>) -> Option<&Arc<Route>> {
        let host = self.domains.find(request.authority)?;
        self.hosts[host].iter().find(|route| matches(&route.matches, request))
    }
}

/// Picks a backend of the route by weight. `None`: it has none with a weight.
pub fn pick_backend<'r>(route: &'r Route, rng: &mut Rng) -> Option<&'r BackendName> {
    if let [only] = route.backends.as_slice() {
        return (only.weight > 0).then_some(&only.backend);
    }
    let total: u64 = route.backends.iter().map(|backend| u64::from(backend.weight)).sum();
    if total == 0 {
        return None;
    }
    let mut left = mutant!("first-backend-gets-all", rng.below(total), 0);
    for backend in &route.backends {
        let weight = u64::from(backend.weight);
        if left < weight {
            return Some(&backend.backend);
        }
        left -= weight;
    }
    unreachable!("a draw below the sum of the weights falls to one of them")
}

fn matches(wanted: &RouteMatch, request: &RequestLine<'_>) -> bool {
    let path = match &wanted.path {
        PathMatch::Exact(path) => path == request.path,
        PathMatch::Prefix(prefix) => has_prefix(request.path, prefix),
    };
    path && wanted.method.as_deref().is_none_or(|method| method == request.method)
        && has_headers(&wanted.headers, request)
        && wanted.query.iter().all(|query| parameter(request.query, &query.name) == Some(query.value.as_str()))
}

/// Whether the request has all of these.
pub(crate) fn has_headers(wanted: &[HeaderMatch], request: &RequestLine<'_>) -> bool {
    wanted.iter().all(|header| (request.header)(&header.name).is_some_and(|value| value == header.value))
}

/// Whether `path` begins with the segments of `prefix`.
fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix)
        .is_some_and(|rest| mutant!("prefix-cuts-a-segment", rest.is_empty() || rest.starts_with('/'), true))
}

/// The first parameter of that name.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{QueryMatch, RouteTimeouts, WeightedBackend};

    fn any() -> RouteMatch {
        RouteMatch { path: PathMatch::Prefix("/".to_owned()), method: None, headers: Vec::new(), query: Vec::new() }
    }

    fn route(name: &str, matches: RouteMatch) -> Route {
        Route {
            name: name.into(),
            matches,
            request_headers: Vec::new(),
            response_headers: Vec::new(),
            backends: Vec::new(),
            timeouts: RouteTimeouts::default(),
            retry: None,
            fault: None,
            redirect: None,
        }
    }

    fn table(hosts: &[(&str, &[&str])]) -> RouteTable {
        let hosts: Vec<VirtualHost> = hosts
            .iter()
            .map(|(name, domains)| VirtualHost {
                name: (*name).to_owned(),
                domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
                routes: vec![route(name, any())],
            })
            .collect();
        RouteTable::new(&hosts)
    }

    fn found<'t>(table: &'t RouteTable, authority: &str) -> Option<&'t str> {
        let header = |_: &str| None;
        let request = RequestLine { authority, method: "GET", path: "/", query: None, header: &header };
        table.find(&request).map(|route| &*route.name)
    }

    #[test]
    fn the_most_precise_domain_wins() {
        let table = table(&[
            ("any", &["*"]),
            ("wide", &["*.com"]),
            ("narrow", &["*.shop.com"]),
            ("bare", &["cart", "CART.shop.com"]),
            ("port", &["cart:81", "cart.shop.com:81"]),
            ("second", &["cart"]),
            ("six", &["[::1]"]),
        ]);
        for (authority, want) in [
            ("cart", "bare"),
            ("Cart", "bare"),
            ("cart:80", "bare"),
            ("cart:81", "port"),
            ("cart:810", "bare"),
            ("cart.", "bare"),
            ("cart.shop.com", "bare"),
            ("cart.shop.com:81", "port"),
            ("pay.shop.com", "narrow"),
            ("a.pay.shop.com:9", "narrow"),
            ("shop.com", "wide"),
            (".com", "any"),
            ("else", "any"),
            ("", "any"),
            ("[::1]:80", "six"),
            ("[::1]", "six"),
        ] {
            assert_eq!(found(&table, authority), Some(want), "{authority}");
        }
    }

    #[test]
    fn an_unknown_host_has_no_route() {
        assert_eq!(found(&table(&[("a", &["a"])]), "b"), None);
        assert_eq!(found(&RouteTable::new(&[]), "b"), None);
    }

    #[test]
    fn a_prefix_matches_whole_segments() {
        for (prefix, path, want) in [
            ("/a", "/a", true),
            ("/a", "/a/", true),
            ("/a", "/a/b", true),
            ("/a", "/ab", false),
            ("/a/", "/a", true),
            ("/a/", "/a/b", true),
            ("/a/", "/ab", false),
            ("/", "/", true),
            ("/", "/x", true),
            ("/a/b", "/a", false),
        ] {
            assert_eq!(has_prefix(path, prefix), want, "{prefix} {path}");
        }
    }

    #[test]
    fn all_parts_of_a_match_must_hold_and_the_first_route_wins() {
        let part = |change: fn(&mut RouteMatch)| {
            let mut matches = any();
            change(&mut matches);
            matches
        };
        let routes = vec![
            route("exact", part(|m| m.path = PathMatch::Exact("/cart".to_owned()))),
            route("post", part(|m| m.method = Some("POST".to_owned()))),
            route(
                "header",
                part(|m| {
                    m.headers = vec![
                        HeaderMatch { name: "x-user".to_owned(), value: "ann".to_owned() },
                        HeaderMatch { name: "x-env".to_owned(), value: "a,b".to_owned() },
                    ];
                }),
            ),
            route("query", part(|m| m.query = vec![QueryMatch { name: "v".to_owned(), value: "2".to_owned() }])),
            route("rest", part(|m| m.path = PathMatch::Prefix("/x".to_owned()))),
        ];
        let hosts = vec![VirtualHost { name: "h".to_owned(), domains: vec!["*".to_owned()], routes }];
        let table = RouteTable::new(&hosts);
        let find = |method: &str, path: &str, query: Option<&str>, headers: &[(&str, &str)]| {
            let header = |name: &str| {
                headers.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Owned((*value).to_owned()))
            };
            let request = RequestLine { authority: "h", method, path, query, header: &header };
            table.find(&request).map(|route| route.name.to_string())
        };
        for (method, path, query, headers, want) in [
            ("GET", "/cart", None, [].as_slice(), Some("exact")),
            ("GET", "/cart/", None, &[], None),
            ("POST", "/cart", None, &[], Some("exact")),
            ("POST", "/x", None, &[], Some("post")),
            ("post", "/x", None, &[], Some("rest")),
            ("GET", "/x", None, &[("x-user", "ann"), ("x-env", "a,b")], Some("header")),
            ("GET", "/x", None, &[("x-user", "ann")], Some("rest")),
            ("GET", "/x", None, &[("x-user", "Ann"), ("x-env", "a,b")], Some("rest")),
            ("GET", "/y", Some("a&v=2&v=3"), &[], Some("query")),
            ("GET", "/y", Some("v=3&v=2"), &[], None),
            ("GET", "/y", Some("vv=2"), &[], None),
            ("GET", "/y", None, &[], None),
        ] {
            assert_eq!(find(method, path, query, headers).as_deref(), want, "{method} {path} {query:?} {headers:?}");
        }
    }

    fn split(weights: &[u32]) -> Route {
        let backends = weights
            .iter()
            .enumerate()
            .map(|(number, &weight)| WeightedBackend { backend: BackendName::from_wire(&number.to_string()), weight })
            .collect();
        Route { backends, ..route("split", any()) }
    }

    #[test]
    fn backends_share_by_weight() {
        let route = split(&[900, 0, 100]);
        let mut rng = Rng::from_seed(2);
        let mut seen = [0_u32; 3];
        for _ in 0..10_000 {
            let name = pick_backend(&route, &mut rng).expect("the weights are not all 0");
            seen[name.as_str().parse::<usize>().expect("named by number above")] += 1;
        }
        assert!((8900..9100).contains(&seen[0]) && seen[1] == 0, "{seen:?}");
        for none in [&[][..], &[0], &[0, 0]] {
            assert_eq!(pick_backend(&split(none), &mut rng), None);
        }
        assert!(pick_backend(&split(&[0, 1]), &mut rng).is_some_and(|name| name.as_str() == "1"));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model tries every domain in order of precision.
            #[test]
            fn finds_what_a_search_through_all_domains_finds(
                domains in prop::collection::btree_set("(\\*\\.)?[ab](\\.[ab]){0,2}(:8[01])?|\\*", 1..8),
                authority in "[abAB](\\.[abAB]){0,3}(:8[01])?",
            ) {
                let hosts: Vec<(String, Vec<String>)> =
                    domains.iter().map(|domain| (domain.clone(), vec![domain.clone()])).collect();
                let borrowed: Vec<(&str, Vec<&str>)> = hosts
                    .iter()
                    .map(|(name, domains)| (name.as_str(), domains.iter().map(String::as_str).collect()))
                    .collect();
                let sliced: Vec<(&str, &[&str])> =
                    borrowed.iter().map(|(name, domains)| (*name, domains.as_slice())).collect();
                let table = table(&sliced);

                let full = authority.to_lowercase();
                let bare = full.split(':').next().expect("a split has a first part").to_owned();
                let longest = |name: &str| {
                    domains
                        .iter()
                        .filter(|domain| domain.len() > 1)
                        .filter(|domain| {
                            domain.strip_prefix('*').is_some_and(|s| name.ends_with(s) && name.len() > s.len())
                        })
                        .max_by_key(|domain| domain.len())
                };
                let want = domains
                    .get(&full)
                    .or_else(|| domains.get(&bare))
                    .or_else(|| longest(&full))
                    .or_else(|| longest(&bare))
                    .or_else(|| domains.get("*"));
                prop_assert_eq!(found(&table, &authority), want.map(String::as_str));
            }
        }
    }
}
