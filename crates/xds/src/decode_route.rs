//! Route configurations as virtual hosts.

use std::collections::BTreeSet;
use std::time::Duration;

use squall_policy::{
    BackendName, Backoff, HeaderChange, HeaderMatch, Jitter, PathMatch, QueryMatch, RetryOn, RetryPolicy, Route,
    RouteMatch, RouteTimeouts, VirtualHost, WeightedBackend,
};

use crate::decode::{Routed, extension, invalid, jitter, nack, resource, span};
use crate::encode::IDEMPOTENT;
use crate::proto::{self, squall};
use crate::{Kind, Nack, fault, redirect, retry_on, stream};

/// The largest weight of a backend, as in the Gateway API.
const WEIGHT_MAX: u32 = 1_000_000;

/// What is kept of a body for repetition, if the resource does not say.
const BUFFER_BYTES: u32 = 64 * 1024;

/// A field and what is wrong with it.
type Wrong = (&'static str, String);

fn wrong(field: &'static str, why: impl Into<String>) -> Wrong {
    (field, why.into())
}

/// Decodes a `RouteConfiguration`.
pub(crate) fn configuration(wire: &[u8]) -> Result<(String, Routed), Nack> {
    let found: proto::RouteConfiguration =
        resource(Kind::Routes, wire, |found: &proto::RouteConfiguration| &found.name)?;
    let name = found.name;
    let hosts = hosts(&name, found.virtual_hosts)?;
    let destinations = stream::decode(&name, found.metadata.as_ref())?;
    Ok((name, Routed { hosts, destinations }))
}

/// The virtual hosts of the configuration called `name`.
pub(crate) fn hosts(name: &str, found: Vec<proto::VirtualHost>) -> Result<Vec<VirtualHost>, Nack> {
    let mut domains = BTreeSet::new();
    let mut hosts = Vec::new();
    for host in found {
        for domain in &host.domains {
            if domain.is_empty() || *domain != domain.to_lowercase() {
                let why = format!("`{domain}` must be lower case and not empty");
                return Err(nack(Kind::Routes, name, "virtual_hosts.domains", why));
            }
            if !domains.insert(domain.clone()) {
                let why = format!("`{domain}` belongs to two virtual hosts");
                return Err(nack(Kind::Routes, name, "virtual_hosts.domains", why));
            }
        }
        let mut routes = Vec::new();
        for found in &host.routes {
            routes.push(route(name, found)?);
        }
        hosts.push(VirtualHost { name: host.name, domains: host.domains, routes });
    }
    Ok(hosts)
}

fn route(configuration: &str, found: &proto::Route) -> Result<Route, Nack> {
    let bad = |field: &str, why: &str| {
        let why = if found.name.is_empty() { why.to_owned() } else { format!("{why} (in route `{}`)", found.name) };
        nack(Kind::Routes, configuration, &format!("virtual_hosts.routes.{field}"), why)
    };
    let matches = found.matches.as_ref().ok_or_else(|| bad("match", "is missing"))?;
    let extension: squall::Route = extension(found.metadata.as_ref()).unwrap_or_default();
    let redirect = found.redirect.as_ref().map(redirect::decode).transpose().map_err(|why| bad("redirect", &why))?;
    // What Envoy has defaults for is said to be none.
    let none = Some(proto::Span::default());
    let nowhere = proto::RouteAction { timeout: none, idle_timeout: none, ..proto::RouteAction::default() };
    let action = match (&found.action, &extension.unserved, &found.direct_response) {
        (None, None, None) if redirect.is_some() => &nowhere,
        _ if redirect.is_some() => return Err(bad("redirect", "does not go with another action")),
        (Some(action), None, None) => action,
        (None, Some(action), Some(direct)) if direct.status == 500 => action,
        (_, _, Some(_)) => return Err(bad("direct_response", "is only supported for routes without backends")),
        (_, _, None) => return Err(bad("route", "is missing")),
    };
    let timeouts = timeouts(action).map_err(|(field, why)| bad(field, &why))?;
    timeouts.check().map_err(|wrong| bad("route.timeout", &wrong.to_string()))?;
    let retry = retry(found, action, &extension).map_err(|(field, why)| bad(field, &why))?;
    if let Some(retry) = &retry {
        retry
            .check()
            .map_err(|wrong| invalid(Kind::Routes, configuration, "virtual_hosts.routes.retry_policy", &wrong))?;
    }
    let backends = if redirect.is_some() { Ok(Vec::new()) } else { backends(action) };
    let backends = backends.map_err(|(field, why)| bad(field, &why))?;
    if found.action.is_some() && backends.iter().all(|backend| backend.weight == 0) {
        return Err(bad("route.weighted_clusters", "the weights must not all be 0"));
    }
    Ok(Route {
        name: found.name.as_str().into(),
        matches: route_match(matches).map_err(|(field, why)| bad(field, &why))?,
        request_headers: header_changes(&found.request_headers_to_remove, &found.request_headers_to_add)
            .map_err(|why| bad("request_headers_to_add", &why))?,
        response_headers: header_changes(&found.response_headers_to_remove, &found.response_headers_to_add)
            .map_err(|why| bad("response_headers_to_add", &why))?,
        backends,
        timeouts,
        retry,
        fault: fault::decode(&found.filter_config).map_err(|(field, why)| bad(field, &why))?,
        redirect,
    })
}

fn route_match(found: &proto::RouteMatch) -> Result<RouteMatch, Wrong> {
    if found.case_sensitive.is_some_and(|sensitive| !sensitive.value) {
        return Err(wrong("match.case_sensitive", "Squall always compares case"));
    }
    let path = match (&found.prefix, &found.path, &found.path_separated_prefix) {
        (Some(prefix), None, None) if prefix.is_empty() || prefix == "/" => PathMatch::Prefix("/".to_owned()),
        (Some(prefix), None, None) => {
            let why = format!("`{prefix}` would match in mid-segment: use path_separated_prefix");
            return Err(wrong("match.prefix", why));
        }
        (None, Some(path), None) if path.starts_with('/') => PathMatch::Exact(path.clone()),
        (None, None, Some(prefix)) if prefix.starts_with('/') && prefix.len() > 1 && !prefix.ends_with('/') => {
            PathMatch::Prefix(prefix.clone())
        }
        (None, Some(path), None) => return Err(wrong("match.path", format!("`{path}` must start with /"))),
        (None, None, Some(prefix)) => {
            let why = format!("`{prefix}` must start with / and not end with it");
            return Err(wrong("match.path_separated_prefix", why));
        }
        (_, _, _) => return Err(wrong("match", "just one of prefix, path and path_separated_prefix is needed")),
    };
    let (mut method, mut headers) = (None, Vec::new());
    for header in &found.headers {
        let string = header.string_match.as_ref().and_then(|string| string.exact.as_ref());
        let Some(value) = string.or(header.exact_match.as_ref()) else {
            return Err(wrong("match.headers", format!("`{}` must be compared exactly", header.name)));
        };
        match header.name.as_str() {
            ":method" if method.is_none() => method = Some(value.clone()),
            name if name.is_empty() || name.starts_with(':') || name != name.to_lowercase() => {
                return Err(wrong("match.headers.name", format!("`{name}` cannot be compared")));
            }
            name => headers.push(HeaderMatch { name: name.to_owned(), value: value.clone() }),
        }
    }
    let mut query = Vec::new();
    for parameter in &found.query {
        let Some(value) = parameter.string_match.as_ref().and_then(|string| string.exact.as_ref()) else {
            return Err(wrong("match.query_parameters", format!("`{}` must be compared exactly", parameter.name)));
        };
        query.push(QueryMatch { name: parameter.name.clone(), value: value.clone() });
    }
    Ok(RouteMatch { path, method, headers, query })
}

fn header_changes(remove: &[String], add: &[proto::HeaderValueOption]) -> Result<Vec<HeaderChange>, String> {
    let name = |name: &String| {
        let bad = name.is_empty() || name.starts_with(':') || *name != name.to_lowercase();
        if bad { Err(format!("`{name}` cannot be changed")) } else { Ok(name.clone()) }
    };
    let mut changes = Vec::new();
    for removed in remove {
        changes.push(HeaderChange::Remove { name: name(removed)? });
    }
    for option in add {
        let header = option.header.as_ref().ok_or("header is missing")?;
        let (name, value) = (name(&header.key)?, header.value.clone());
        if value.is_empty() && !option.keep_empty_value {
            return Err(format!("`{name}` has no value, and keep_empty_value is not set"));
        }
        // Envoy's format commands; a literal percent sign is written twice.
        if value.replace("%%", "").contains('%') {
            return Err(format!("`{name}`: format commands (`%…%`) are not supported"));
        }
        let value = value.replace("%%", "%");
        changes.push(match option.append_action {
            0 => HeaderChange::Add { name, value },
            2 => HeaderChange::Set { name, value },
            other => return Err(format!("`{name}`: append_action {other} is not supported")),
        });
    }
    Ok(changes)
}

fn backends(action: &proto::RouteAction) -> Result<Vec<WeightedBackend>, Wrong> {
    let one = |name: &String, weight: u32| {
        if name.is_empty() {
            return Err(wrong("route.cluster", "a cluster needs a name"));
        }
        if weight > WEIGHT_MAX {
            return Err(wrong("route.weighted_clusters", format!("weight {weight} is more than {WEIGHT_MAX}")));
        }
        Ok(WeightedBackend { backend: BackendName::from_wire(name), weight })
    };
    match (&action.cluster, &action.weighted) {
        (Some(name), None) => Ok(vec![one(name, 1)?]),
        (None, Some(weighted)) => {
            let backends = weighted
                .clusters
                .iter()
                .map(|cluster| one(&cluster.name, cluster.weight.map_or(1, |weight| weight.value)))
                .collect::<Result<Vec<_>, _>>()?;
            let sum: u64 = backends.iter().map(|backend| u64::from(backend.weight)).sum();
            match weighted.total_weight {
                Some(total) if u64::from(total.value) != sum => {
                    Err(wrong("route.weighted_clusters.total_weight", format!("must be {sum}, the sum")))
                }
                Some(_) | None => Ok(backends),
            }
        }
        (_, _) => Err(wrong("route", "just one of cluster and weighted_clusters is needed")),
    }
}

/// Envoy's defaults where nothing is said: 15 s for the whole, 5 min of silence. 0 is no limit.
fn timeouts(action: &proto::RouteAction) -> Result<RouteTimeouts, Wrong> {
    let limit = |found, field, default| match span(found) {
        Ok(limit) => Ok(limit.or(default).filter(|limit: &Duration| !limit.is_zero())),
        Err(why) => Err(wrong(field, why)),
    };
    let per_try = action.retry_policy.as_ref().and_then(|retry| retry.per_try_timeout);
    Ok(RouteTimeouts {
        request: limit(action.timeout, "route.timeout", Some(Duration::from_secs(15)))?,
        per_try: limit(per_try, "route.retry_policy.per_try_timeout", None)?,
        idle: limit(action.idle_timeout, "route.idle_timeout", Some(Duration::from_secs(300)))?,
        stream: limit(
            action.max_stream_duration.and_then(|found| found.max_stream_duration),
            "route.max_stream_duration.max_stream_duration",
            None,
        )?,
    })
}

fn retry(
    route: &proto::Route,
    action: &proto::RouteAction,
    extension: &squall::Route,
) -> Result<Option<RetryPolicy>, Wrong> {
    let Some(found) = &action.retry_policy else { return Ok(None) };
    let retries = found.num_retries.map_or(1, |retries| retries.value);
    if retries == 0 || found.retry_on.is_empty() && extension.retry.is_none() {
        return Ok(None);
    }
    let (on, jitter, non_idempotent) = match &extension.retry {
        Some(exact) => {
            let on = exact
                .on
                .iter()
                .map(|name| {
                    retry_on::parse(name)
                        .ok_or_else(|| wrong("metadata.retry.on", format!("`{name}` is not a reason to retry")))
                })
                .collect::<Result<Vec<_>, _>>()?;
            let jitter = jitter(exact.jitter)
                .ok_or_else(|| wrong("metadata.retry.jitter", format!("{} is unknown", exact.jitter)))?;
            (on, jitter, exact.non_idempotent)
        }
        None => (envoy_reasons(found)?, Jitter::Full, envoy_non_idempotent(found)?),
    };
    let (first, last) = match &found.back_off {
        None => (None, None),
        Some(back_off) => (
            span(back_off.base_interval)
                .map_err(|why| wrong("route.retry_policy.retry_back_off.base_interval", why))?,
            span(back_off.max_interval).map_err(|why| wrong("route.retry_policy.retry_back_off.max_interval", why))?,
        ),
    };
    // Envoy's default: 25 ms, and ten times the first for the last.
    let first = first.unwrap_or(Duration::from_millis(25));
    let last = last.unwrap_or(first.saturating_mul(10));
    Ok(Some(RetryPolicy {
        retries,
        on,
        backoff: Backoff { first, last, jitter },
        non_idempotent,
        buffer_bytes: route.buffer_bytes.map_or(BUFFER_BYTES, |bytes| bytes.value),
    }))
}

/// Envoy's `retry_on`, with all that its words imply.
fn envoy_reasons(found: &proto::RetryPolicy) -> Result<Vec<RetryOn>, Wrong> {
    let mut reasons = BTreeSet::new();
    for word in found.retry_on.split(',').map(str::trim) {
        match word {
            "5xx" => {
                let more = [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::RefusedStream, RetryOn::PerTryTimeout];
                reasons.extend(more);
                reasons.insert(RetryOn::Status5xx);
            }
            "reset" => {
                let more = [RetryOn::ConnectFailure, RetryOn::Reset, RetryOn::RefusedStream, RetryOn::PerTryTimeout];
                reasons.extend(more);
            }
            "retriable-status-codes" => {
                for &code in &found.retriable_status_codes {
                    let status = u16::try_from(code).ok().filter(|status| (400..=599).contains(status));
                    let status = status.ok_or_else(|| {
                        wrong("route.retry_policy.retriable_status_codes", format!("{code} is not 400 to 599"))
                    })?;
                    reasons.insert(RetryOn::Status(status));
                }
            }
            "connect-failure" | "refused-stream" | "gateway-error" => reasons.extend(retry_on::parse(word)),
            "cancelled" | "deadline-exceeded" | "internal" | "resource-exhausted" | "unavailable" => {
                reasons.extend(retry_on::parse(&format!("grpc-{word}")));
            }
            other => return Err(wrong("route.retry_policy.retry_on", format!("`{other}` is not supported"))),
        }
    }
    Ok(reasons.into_iter().collect())
}

/// Envoy repeats every method unless it is told which.
fn envoy_non_idempotent(found: &proto::RetryPolicy) -> Result<bool, Wrong> {
    let mut methods = BTreeSet::new();
    for header in &found.retriable_request_headers {
        match header.string_match.as_ref().and_then(|string| string.exact.as_deref()) {
            Some(method) if header.name == ":method" => methods.insert(method),
            Some(_) | None => {
                return Err(wrong("route.retry_policy.retriable_request_headers", "must be exact matches of :method"));
            }
        };
    }
    if methods.is_empty() {
        return Ok(true);
    }
    if methods.into_iter().eq(IDEMPOTENT) {
        return Ok(false);
    }
    Err(wrong(
        "route.retry_policy.retriable_request_headers",
        format!("must be just the idempotent methods: {}", IDEMPOTENT.join(", ")),
    ))
}
