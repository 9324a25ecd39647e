//! What the fast model cannot do, refused by name before a run, so that no setting is taken and ignored.

use squall_policy::{Authorization, BackendPolicy, Balancing, HashKey, Mesh, Speaks};

use super::NAME;
use super::plan::changed;
use crate::engine::Unsupported;
use crate::scenario::{Call, FaultKind, LinkRule, Scenario, Step};

/// The most bytes that a connection carries before the reader must have read some: a TCP window of the full world.
const WINDOW_BYTES: u64 = 256 * 1024;
/// Headers that every hop writes or reads itself.
const HOPS_OWN: [&str; 14] = [
    "x-request-id",
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
    "content-type",
    "grpc-status",
    "grpc-timeout",
    "retry-after",
    "x-envoy-expected-rq-timeout-ms",
];

/// Refuses a scenario that needs TCP, TLS or HTTP.
pub(crate) fn refuse(scenario: &Scenario) -> Result<(), Unsupported> {
    links(scenario)?;
    faults(scenario)?;
    for service in &scenario.services {
        let place = &service.name.place;
        if !service.cpu_per_poll.is_zero() {
            return Err(unsupported(format!("cpuPerPoll ({place})"), "there are no tasks to poll"));
        }
        for route in service.versions.iter().flat_map(|version| &version.routes) {
            body(route.work.response_bytes, || format!("a responseSize ({})", route.place))?;
            steps(&route.steps)?;
        }
    }
    for load in &scenario.load {
        for request in &load.mix {
            body(request.request_bytes, || format!("a requestSize ({})", request.place))?;
            if request.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("grpc-timeout")) {
                return Err(unsupported(format!("a grpc-timeout header ({})", request.place), "there is no HTTP"));
            }
        }
    }
    Ok(())
}

/// Refuses a mesh whose routes look at what only HTTP has.
pub(super) fn refuse_mesh(mesh: &Mesh) -> Result<(), Unsupported> {
    if let Some((name, _)) = mesh.backends.iter().find(|(_, policy)| policy.health.is_some()) {
        return Err(unsupported(format!("the health checks of {name}"), "they take connections of their own"));
    }
    if let Some((port, _)) = mesh.inbound.iter().find(|(_, inbound)| inbound.access != Authorization::default()) {
        return Err(unsupported(format!("an AuthorizationPolicy for port {port}"), "nobody has an identity"));
    }
    if let Some(to) = mesh.destinations.iter().find(|to| to.speaks == Speaks::Tcp) {
        return Err(unsupported(format!("the port of TCP of {}", to.backend), "there are no connections"));
    }
    for route in mesh.hosts.iter().flat_map(|host| &host.routes) {
        if route.redirect.is_some() {
            return Err(unsupported(format!("the redirect of route {}", route.name), "there is no HTTP"));
        }
        let keys = route.backends.iter().filter_map(|weighted| mesh.backends.get(&weighted.backend)).flat_map(keys_of);
        let changes: Vec<&str> = route.request_headers.iter().map(changed).collect();
        if let Some(name) = keys.into_iter().find(|name| changes.contains(name)) {
            let knob = format!("the header {name}, a key of balancing that route {} changes", route.name);
            return Err(unsupported(knob, "keys are read off HTTP heads"));
        }
        let matched = route.matches.headers.iter().map(|header| header.name.as_str());
        let made = route.request_headers.iter().chain(&route.response_headers).map(changed);
        if let Some(name) = matched.chain(made).find(|name| HOPS_OWN.contains(name)) {
            return Err(unsupported(format!("the header {name} in route {}", route.name), "every hop writes it anew"));
        }
    }
    Ok(())
}

/// The headers that a backend balances by.
fn keys_of(policy: &BackendPolicy) -> Vec<&str> {
    let Balancing::Hash(hashing) = &policy.balancing else { return Vec::new() };
    let names = hashing.keys.iter().filter_map(|key| match key {
        HashKey::Header(name) => Some(name.as_str()),
        HashKey::Cookie(_) => Some("cookie"),
        HashKey::Query(_) | HashKey::Path | HashKey::Source => None,
    });
    names.collect()
}

fn links(scenario: &Scenario) -> Result<(), Unsupported> {
    for LinkRule { setting, .. } in &scenario.network.links {
        if setting.loss_ppm.is_some_and(|ppm| ppm > 0) {
            return Err(unsupported("loss of a link".to_owned(), "only TCP feels a lost packet, and there is no TCP"));
        }
        if setting.bandwidth_bps.is_some_and(|bps| bps < super::link::WIDE_BPS) {
            return Err(unsupported(
                "a link's bandwidth below 1Gbps".to_owned(),
                "it shapes packets, and there are only messages",
            ));
        }
    }
    Ok(())
}

fn faults(scenario: &Scenario) -> Result<(), Unsupported> {
    for fault in &scenario.faults {
        let why = match &fault.kind {
            FaultKind::Loss { .. } => "only TCP feels a lost packet, and there is no TCP",
            FaultKind::Bandwidth { .. } => "it shapes packets, and there are only messages",
            FaultKind::RollingRestart(_) => "connections drain by HTTP's rules, and there is no HTTP",
            FaultKind::Latency { .. }
            | FaultKind::Jitter { .. }
            | FaultKind::Partition { .. }
            | FaultKind::Crash(_)
            | FaultKind::Pause { .. }
            | FaultKind::Errors { .. }
            | FaultKind::Slow { .. }
            | FaultKind::Outage { .. } => continue,
        };
        return Err(unsupported(format!("{} ({})", fault.name, fault.place), why));
    }
    Ok(())
}

fn steps(steps: &[Step]) -> Result<(), Unsupported> {
    for step in steps {
        match step {
            Step::Sleep(_) => {}
            Step::Call(Call { request_bytes, place, headers, .. }) => {
                body(*request_bytes, || format!("a requestSize ({place})"))?;
                if headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("grpc-timeout")) {
                    return Err(unsupported(format!("a grpc-timeout header ({place})"), "there is no HTTP"));
                }
            }
            Step::Parallel(branches) => {
                for branch in branches {
                    self::steps(branch)?;
                }
            }
        }
    }
    Ok(())
}

fn body(bytes: u64, what: impl FnOnce() -> String) -> Result<(), Unsupported> {
    if bytes > WINDOW_BYTES {
        return Err(unsupported(
            format!("{} of more than 256KiB", what()),
            "it takes several windows of TCP, and there is no TCP",
        ));
    }
    Ok(())
}

fn unsupported(knob: String, why: &str) -> Unsupported {
    Unsupported { engine: NAME, knob, why: why.to_owned() }
}
