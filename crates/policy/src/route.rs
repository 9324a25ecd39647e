//! Which route a request takes.

use std::sync::Arc;

use crate::Rng;
use crate::mesh::{BackendName, Mesh, Route};

/// The virtual hosts of a mesh, ready for look-up.
#[derive(Debug)]
pub struct RouteTable {}

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
    pub header: &'a dyn Fn(&str) -> Option<std::borrow::Cow<'a, str>>,
}

impl RouteTable {
    /// Builds the table. Virtual hosts with equal domains: the first wins (the compiler refuses them).
    #[must_use]
    pub fn new(mesh: &Mesh) -> Self {
        let _ = mesh;
        todo!()
    }

    /// The route for this request: exact domain before `*.suffix` before `*`, then the first matching route of it.
    /// `None`: no virtual host, or no route of it, matches.
    #[must_use]
    pub fn find(&self, request: &RequestLine<'_>) -> Option<&Arc<Route>> {
        let _ = request;
        todo!()
    }
}

/// Picks a backend of the route by weight. `None`: it has none with a weight.
pub fn pick_backend<'r>(route: &'r Route, rng: &mut Rng) -> Option<&'r BackendName> {
    let _ = (route, rng);
    todo!()
}
