//! `gateway.networking.k8s.io/v1` GRPCRoute, as the HTTPRoute that it is: a method is a path (gRPC over HTTP/2, "Requests").

use squall_policy::{HeaderMatch, PathMatch, RouteMatch};

use super::route::{self, Beginning};
use super::{Metadata, each, label, optional};
use crate::resources::{HttpRoute, Rule, RuleTimeouts};
use crate::yaml::Value;

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<HttpRoute> {
    let fields = spec.fields("GRPCRoute spec", &["parentRefs", "hostnames", "rules"])?;
    let namespace = metadata.id.0.clone();
    let rules = fields.required("rules").and_then(|list| each(list, |value| rule(value, &namespace)));
    let Beginning { parents, gateways, hostnames } = route::beginning(&fields, &namespace)?;
    Some(HttpRoute {
        id: metadata.id,
        place: metadata.place,
        parents,
        gateways,
        hostnames,
        is_grpc: true,
        rules: rules?,
    })
}

fn rule(value: Value<'_>, namespace: &str) -> Option<Rule> {
    let refused = [("sessionPersistence", "requests are balanced one by one")];
    let fields = value.fields_beside("GRPCRoute rule", &["name", "matches", "filters", "backendRefs"], &refused)?;
    optional(&fields, "name", label)?;
    let matches =
        optional(&fields, "matches", |list| each(list, |value| Some((route_match(value)?, value.place().clone()))));
    let filters = optional(&fields, "filters", |list| route::filters(list, namespace, &route::FILTERS[..3]));
    let backends = optional(&fields, "backendRefs", |list| each(list, |value| route::backend(value, namespace)));
    let mut matches = matches?.unwrap_or_default();
    if matches.is_empty() {
        matches.push((route::everything(), value.place().clone()));
    }
    let route::Filters { request_headers, response_headers, fault, redirect: _ } = filters?.unwrap_or_default();
    Some(Rule {
        place: value.place().clone(),
        matches,
        request_headers,
        response_headers,
        backends: backends?.unwrap_or_default(),
        fault,
        redirect: None,
        timeouts: RuleTimeouts::default(),
        retry: None,
    })
}

fn route_match(value: Value<'_>) -> Option<RouteMatch> {
    let fields = value.fields("GRPCRoute match", &["method", "headers"])?;
    let path = optional(&fields, "method", method);
    let headers = optional(&fields, "headers", |list| {
        each(list, |value| {
            let (name, value) = route::pair(value, "header match")?;
            Some(HeaderMatch { name: name.to_lowercase(), value })
        })
    });
    let path = path?.unwrap_or_else(|| PathMatch::Prefix("/".to_owned()));
    Some(RouteMatch { path, headers: headers?.unwrap_or_default(), ..route::everything() })
}

fn method(value: Value<'_>) -> Option<PathMatch> {
    let fields = value.fields("method match", &["type", "service", "method"])?;
    optional(&fields, "type", |value| match value.scalar()? {
        "RegularExpression" => value.refuse("`RegularExpression` is not supported: use Exact"),
        _ => value.choice(&[("Exact", ())]),
    })?;
    let part = |name| {
        optional(&fields, name, |value| {
            let text = value.name()?;
            let is_good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_');
            if text.bytes().all(is_good) { Some(text) } else { value.refuse(format!("`{text}` is not a name in gRPC")) }
        })
    };
    match (part("service")?, part("method")?) {
        (Some(service), Some(method)) => Some(PathMatch::Exact(format!("/{service}/{method}"))),
        (Some(service), None) => Some(PathMatch::Prefix(format!("/{service}"))),
        (None, Some(_)) => value.refuse("a method without its service is not supported: name the `service`"),
        (None, None) => value.refuse("name a `service`, or a `service` and a `method`"),
    }
}
