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
use crate::mesh::{BackendName, Mesh, PathMatch, Route, RouteMatch};

/// The virtual hosts of a mesh, ready for look-up.
#[derive(Debug)]
pub struct RouteTable {
    hosts: Vec<Vec<Arc<Route>>>,
    /// Domains and their hosts, sorted by domain.
    exact: Vec<(String, usize)>,
    /// What follows the `*` of wildcard domains (`.example.com`), sorted.
    suffixes: Vec<(String, usize)>,
    any: Option<usize>,
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
    pub fn new(mesh: &Mesh) -> Self {
        let mut table = Self { hosts: Vec::new(), exact: Vec::new(), suffixes: Vec::new(), any: None };
        for (number, host) in mesh.hosts.iter().enumerate() {
            table.hosts.push(host.routes.iter().cloned().map(Arc::new).collect());
            for domain in &host.domains {
                let domain = domain.to_ascii_lowercase();
                if domain == "*" {
                    table.any.get_or_insert(number);
                } else if let Some(suffix) = domain.strip_prefix('*') {
                    table.suffixes.push((suffix.to_owned(), number));
                } else {
                    table.exact.push((domain, number));
                }
            }
        }
        for domains in [&mut table.exact, &mut table.suffixes] {
            domains.sort_by(|a, b| a.0.cmp(&b.0));
            domains.dedup_by(|later, first| later.0 == first.0);
        }
        table
    }

    /// The route for this request: exact domain before `*.suffix` before `*`, then the first matching route of it.
    /// `None`: no virtual host, or no route of it, matches. A domain without port stands for every port that has no
    /// domain of its own.
    #[must_use]
    pub fn find(&self, request: &RequestLine<'_>) -> Option<&Arc<Route>> {
        let host = self.host(request.authority)?;
        self.hosts[host].iter().find(|route| matches(&route.matches, request))
    }

    fn host(&self, authority: &str) -> Option<usize> {
        let authority = if authority.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(authority.to_ascii_lowercase())
        } else {
            Cow::Borrowed(authority)
        };
        let bare = without_port(&authority);
        look_up(&self.exact, &authority)
            .or_else(|| look_up(&self.exact, bare))
            .or_else(|| self.longest_suffix(&authority))
            .or_else(|| self.longest_suffix(bare))
            .or(self.any)
    }

    fn longest_suffix(&self, name: &str) -> Option<usize> {
        if self.suffixes.is_empty() {
            return None;
        }
        // From the left, so the longest comes first. The `*` stands for at least one character.
        (1..name.len()).filter(|&at| name.is_char_boundary(at)).find_map(|at| look_up(&self.suffixes, &name[at..]))
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
    let mut left = rng.below(total);
    for backend in &route.backends {
        let weight = u64::from(backend.weight);
        if left < weight {
            return Some(&backend.backend);
        }
        left -= weight;
    }
    unreachable!("a draw below the sum of the weights falls to one of them")
}

fn look_up(domains: &[(String, usize)], name: &str) -> Option<usize> {
    domains.binary_search_by(|(domain, _)| domain.as_str().cmp(name)).ok().map(|at| domains[at].1)
}

/// The host of an authority, without port and without the root's dot: `[::1]:80` is `[::1]`.
fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => {
            if host.starts_with('[') && !host.ends_with(']') { authority } else { host }
        }
        Some(_) | None => authority,
    };
    host.strip_suffix('.').unwrap_or(host)
}

fn matches(wanted: &RouteMatch, request: &RequestLine<'_>) -> bool {
    let path = match &wanted.path {
        PathMatch::Exact(path) => path == request.path,
        PathMatch::Prefix(prefix) => has_prefix(request.path, prefix),
    };
    path && wanted.method.as_deref().is_none_or(|method| method == request.method)
        && wanted.headers.iter().all(|header| (request.header)(&header.name).is_some_and(|value| value == header.value))
        && wanted.query.iter().all(|query| parameter(request.query, &query.name) == Some(query.value.as_str()))
}

/// Whether `path` begins with the segments of `prefix`.
fn has_prefix(path: &str, prefix: &str) -> bool {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The first parameter of that name.
fn parameter<'q>(query: Option<&'q str>, name: &str) -> Option<&'q str> {
    query?
        .split('&')
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(key, _)| *key == name)
        .map(|(_, value)| value)
}
