//! The admin side: what probes, scrapers and people ask a running proxy. It must be reachable from its own host only.

use std::sync::Arc;

use http::Method;
use squall_net::page::{Answer, Asked, Page};
use squall_policy::{
    EndpointView, GatewayListener, HeaderMatch, PathMatch, QueryMatch, Route, RouteMatch, Speaks, VirtualHost,
};

use crate::admit::Cell;
use crate::json::{Object, list, string};
use crate::snapshot::ApplicationView;
use crate::{Metrics, Proxy, Tap};

/// What there is, for people who ask for `/`.
const INDEX: &str = "\
GET  /ready     200 when it has a mesh and (if it is to have one) a certificate, and does not drain; else 503 and why
GET  /live      200 while the process serves anything at all
GET  /config    the mesh in force, as JSON: version, hosts and routes, backends with their policies, the own application's ports with their
                PeerAuthentication mode (null: none is said; what the listener was told holds), a gateway's listeners
GET  /clusters  backends and endpoints with their state, as JSON: in flight, breaker, ejected, expected latency
GET  /metrics   Prometheus metrics
GET  /tap       requests as they end, one JSON object per line, until you go: ?path=/cart*&status=5xx, or `squall tap`
GET  /log-level what is in the process' log; PUT or POST sets it from now on: info, or squall_proxy=debug,info
POST /drain     ends the process gracefully, as SIGTERM does";

/// What others than the own host may ask: `/ready` and `/live`, for probes.
#[must_use]
pub fn probes(proxy: Arc<Proxy>) -> Answer {
    Arc::new(move |&Asked { method, path, .. }| match path {
        "/ready" | "/live" if method != Method::GET && method != Method::HEAD => Page::wrong_method("GET, HEAD"),
        "/ready" => ready(&proxy),
        "/live" => Page::text(200, "live"),
        _ => Page::text(404, format!("there is no {path:?} here: only /ready and /live")),
    })
}

/// The pages of a proxy. `drain` is called on POST /drain, `log_level` for /log-level, with the method and the words that came along;
/// they must not block.
#[must_use]
pub fn pages(
    proxy: Arc<Proxy>,
    metrics: Arc<Metrics>,
    tap: Arc<Tap>,
    drain: impl Fn() + Send + Sync + 'static,
    log_level: impl Fn(&Method, &str) -> Page + Send + Sync + 'static,
) -> Answer {
    Arc::new(move |&Asked { method, path, query, words }| {
        let known = ["/", "/ready", "/live", "/config", "/clusters", "/metrics", "/tap", "/drain", "/log-level"];
        if !known.contains(&path) {
            return Page::text(404, format!("there is no {path:?} here; see /"));
        }
        if path == "/drain" {
            if method != Method::POST {
                return Page::wrong_method("POST");
            }
            drain();
            return Page::text(200, "draining");
        }
        if path == "/log-level" {
            return log_level(method, words);
        }
        if method != Method::GET && method != Method::HEAD {
            return Page::wrong_method("GET, HEAD");
        }
        match path {
            "/ready" => ready(&proxy),
            "/live" => Page::text(200, "live"),
            "/config" => Page::json(config(&proxy)),
            "/clusters" => Page::json(clusters(&proxy)),
            "/tap" => tap.page(query),
            "/metrics" => {
                metrics.see_ready(proxy.is_ready() && !proxy.is_draining());
                Page::metrics(metrics.render())
            }
            _ => Page::text(200, INDEX),
        }
    })
}

fn ready(proxy: &Proxy) -> Page {
    if proxy.is_draining() {
        return Page::text(503, "draining");
    }
    let missing = proxy.waits_for();
    if missing.is_empty() {
        Page::text(200, "ready")
    } else {
        Page::text(503, format!("waits for {}", missing.join(" and ")))
    }
}

fn config(proxy: &Proxy) -> String {
    let Some(snapshot) = proxy.snapshot() else { return Object::new().raw("version", "null").finish() };
    let backends = snapshot.cells().map(|cell| {
        let policy = cell.policy(|policy| format!("{policy:?}"));
        Object::new().text("name", cell.name().as_str()).text("policy", &policy).finish()
    });
    Object::new()
        .text("version", &snapshot.version)
        .raw("hosts", &list(snapshot.hosts.iter().map(host)))
        .raw("backends", &list(backends))
        .raw("applications", &list(snapshot.applications().map(|application| self::application(&application))))
        .raw("gateway", &list(snapshot.listeners.iter().map(|listener| outside(proxy, listener))))
        .finish()
}

/// A port of the own application, and how connections to it are taken.
fn application(application: &ApplicationView) -> String {
    let speaks = match application.speaks {
        Speaks::Http => "HTTP",
        Speaks::Tcp => "TCP",
        Speaks::Unknown => "detected",
    };
    let shown = Object::new().number("port", u64::from(application.port)).text("speaks", speaks);
    let shown = match application.peers {
        Some(mode) => shown.text("peer_authentication", mode.word()),
        None => shown.raw("peer_authentication", "null"),
    };
    shown.flag("takes_plain", application.takes_plain).finish()
}

/// A listener of the gateway. Of its certificates only what anybody is shown.
fn outside(proxy: &Proxy, listener: &GatewayListener) -> String {
    let held = proxy.certificates();
    let certificates = listener.certificates.iter().flatten().map(|name| {
        let shown = Object::new().text("name", name);
        match held.get(&**name) {
            Some(certificate) => shown.number("not_after_s", certificate.not_after_s()).finish(),
            None => shown.raw("not_after_s", "null").finish(),
        }
    });
    Object::new()
        .text("name", &listener.name)
        .number("port", u64::from(listener.port))
        .text("hostname", if listener.hostname.is_empty() { "*" } else { &listener.hostname })
        .text("protocol", if listener.certificates.is_some() { "HTTPS" } else { "HTTP" })
        .raw("certificates", &list(certificates))
        .raw("hosts", &list(listener.hosts.iter().map(host)))
        .finish()
}

fn host(host: &VirtualHost) -> String {
    Object::new()
        .text("name", &host.name)
        .raw("domains", &list(host.domains.iter().map(|domain| string(domain))))
        .raw("routes", &list(host.routes.iter().map(route)))
        .finish()
}

fn route(route: &Route) -> String {
    let backends = route.backends.iter().map(|weighted| {
        let backend = Object::new().text("backend", weighted.backend.as_str());
        backend.number("weight", u64::from(weighted.weight)).finish()
    });
    let shown = Object::new().text("name", &route.name).raw("match", &matched(&route.matches));
    if let Some(redirect) = &route.redirect {
        return shown.text("redirect", &format!("{redirect:?}")).finish();
    }
    shown
        .raw("backends", &list(backends))
        .text("timeouts", &format!("{:?}", route.timeouts))
        .text("retry", &route.retry.as_ref().map_or_else(|| "none".to_owned(), |retry| format!("{retry:?}")))
        .finish()
}

fn matched(matches: &RouteMatch) -> String {
    let object = match &matches.path {
        PathMatch::Exact(path) => Object::new().text("path", path),
        PathMatch::Prefix(path) => Object::new().text("prefix", path),
    };
    let pair = |name: &str, value: &str| Object::new().text("name", name).text("value", value).finish();
    let headers = matches.headers.iter().map(|HeaderMatch { name, value }| pair(name, value));
    let query = matches.query.iter().map(|QueryMatch { name, value }| pair(name, value));
    let object = match &matches.method {
        Some(method) => object.text("method", method),
        None => object,
    };
    object.raw("headers", &list(headers)).raw("query", &list(query)).finish()
}

fn clusters(proxy: &Proxy) -> String {
    let Some(snapshot) = proxy.snapshot() else { return Object::new().raw("backends", "[]").finish() };
    Object::new().raw("backends", &list(snapshot.cells().map(cluster))).finish()
}

fn cluster(cell: &Arc<Cell>) -> String {
    cell.look(|now, backend| {
        let (in_flight, waiting) = backend.load();
        Object::new()
            .text("name", cell.name().as_str())
            .number("in_flight", u64::from(in_flight))
            .number("in_flight_limit", u64::from(backend.places()))
            .number("waiting", u64::from(waiting))
            .raw("endpoints", &list(backend.endpoints(now).map(|view| endpoint(&view))))
            .finish()
    })
}

fn endpoint(view: &EndpointView) -> String {
    Object::new()
        .text("name", &view.name)
        .text("address", &view.address.to_string())
        .text("zone", &view.zone)
        .text("identity", &view.identity)
        .flag("draining", view.draining)
        .number("in_flight", u64::from(view.in_flight))
        .text("breaker", view.breaker.unwrap_or("none"))
        .flag("healthy", view.healthy)
        .flag("ejected", view.ejected)
        .number("expected_latency_us", u64::try_from(view.expected.as_micros()).unwrap_or(u64::MAX))
        .finish()
}
