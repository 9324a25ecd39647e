//! `gateway.networking.k8s.io/v1` HTTPRoute, for Services (GAMMA) and for gateways.

use std::time::Duration;

use squall_policy::{HeaderChange, HeaderMatch, PathMatch, QueryMatch, Redirect, RedirectPath, RouteMatch};

use super::{Metadata, each, gateway, label, optional, port, service_port_ref};
use crate::gateway::GatewayRef;
use crate::resources::{HttpRoute, Id, Rule, RuleRetry, RuleTimeouts, ServiceRef};
use crate::yaml::{Fields, Value};
use crate::{Mistake, Place};

/// The largest weight of a backend (Gateway API).
const WEIGHT_MAX: u32 = 1_000_000;

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<HttpRoute> {
    let fields = spec.fields("HTTPRoute spec", &["parentRefs", "hostnames", "rules"])?;
    let namespace = metadata.id.0.clone();
    let beginning = beginning(&fields, &namespace);
    let rules = fields.required("rules").and_then(|list| each(list, |value| rule(value, &namespace)));
    let (Beginning { parents, gateways, hostnames }, rules) = (beginning?, rules?);
    Some(HttpRoute { id: metadata.id, place: metadata.place, parents, gateways, hostnames, is_grpc: false, rules })
}

/// What routes of every kind say first.
pub(super) struct Beginning {
    pub(super) parents: Vec<ServiceRef>,
    pub(super) gateways: Vec<GatewayRef>,
    pub(super) hostnames: Vec<(String, Place)>,
}

pub(super) fn beginning(fields: &Fields<'_>, namespace: &str) -> Option<Beginning> {
    let refs = fields.required("parentRefs").and_then(|list| each(list, |value| parent(value, namespace)));
    let hostnames = optional(fields, "hostnames", |list| {
        each(list, |value| Some((gateway::hostname(value)?, value.place().clone())))
    });
    let (refs, hostnames) = (refs?, hostnames?.unwrap_or_default());
    if refs.is_empty() {
        return fields.required("parentRefs")?.refuse("a route without a parent has no effect");
    }
    let (mut parents, mut gateways) = (Vec::new(), Vec::new());
    for found in refs {
        match found {
            Parent::Service(service) => parents.push(service),
            Parent::Gateway(gateway) => gateways.push(gateway),
        }
    }
    if !parents.is_empty() && !hostnames.is_empty() {
        let (key, value) = fields.keyed("hostnames")?;
        let mistake = Mistake::new(&key.place, "`hostnames` of a route of a Service are not supported");
        let help = "a route of a Service is reached by the Service's names: leave them out";
        value.mistakes().push(mistake.help(help).label(&parents[0].place, "the Service"));
        return None;
    }
    Some(Beginning { parents, gateways, hostnames })
}

enum Parent {
    Service(ServiceRef),
    Gateway(GatewayRef),
}

fn parent(value: Value<'_>, namespace: &str) -> Option<Parent> {
    let known = &["group", "kind", "name", "namespace", "port", "sectionName"];
    let fields = value.fields("parentRef", known)?;
    let kind = optional(&fields, "kind", |value| value.name())?.unwrap_or("Gateway");
    if kind != "Gateway" {
        if let Some((key, _)) = fields.keyed("sectionName") {
            let mistake = Mistake::new(&key.place, "`sectionName` of parentRef is not supported for a Service");
            value.mistakes().push(mistake.help("use `port`"));
            return None;
        }
        return service_port_ref(&fields, namespace, ("", "Service")).map(Parent::Service);
    }
    let group = optional(&fields, "group", |value| value.choice(&[("gateway.networking.k8s.io", ())]));
    let name = fields.required("name");
    let other = optional(&fields, "namespace", label);
    let port = optional(&fields, "port", |value| Some((port(value)?, value.place().clone())));
    let section = optional(&fields, "sectionName", |value| Some((label(value)?, value.place().clone())));
    group?;
    let name = name?;
    Some(Parent::Gateway(GatewayRef {
        gateway: (other?.unwrap_or_else(|| namespace.to_owned()), label(name)?),
        place: name.place().clone(),
        port: port?,
        section: section?,
    }))
}

/// Matches any request.
pub(super) fn everything() -> RouteMatch {
    RouteMatch { path: PathMatch::Prefix("/".to_owned()), method: None, headers: Vec::new(), query: Vec::new() }
}

fn rule(value: Value<'_>, namespace: &str) -> Option<Rule> {
    let known = &["name", "matches", "filters", "backendRefs", "timeouts", "retry"];
    let refused = [("sessionPersistence", "requests are balanced one by one")];
    let fields = value.fields_beside("HTTPRoute rule", known, &refused)?;
    optional(&fields, "name", label)?;
    let matches =
        optional(&fields, "matches", |list| each(list, |value| Some((route_match(value)?, value.place().clone()))));
    let filters = optional(&fields, "filters", |list| filters(list, namespace, &FILTERS));
    let backends = optional(&fields, "backendRefs", |list| each(list, |value| backend(value, namespace)));
    let timeouts = optional(&fields, "timeouts", timeouts);
    let retry = optional(&fields, "retry", retry);
    let mut matches = matches?.unwrap_or_default();
    if matches.is_empty() {
        matches.push((everything(), value.place().clone()));
    }
    let Filters { request_headers, response_headers, fault, redirect } = filters?.unwrap_or_default();
    let (backends, timeouts, retry) = (backends?.unwrap_or_default(), timeouts?.unwrap_or_default(), retry?);
    if let Some((redirect, place)) = &redirect {
        let beside = [
            (!backends.is_empty(), "backendRefs"),
            (timeouts != RuleTimeouts::default(), "timeouts"),
            (retry.is_some(), "retry"),
        ];
        let filters = !request_headers.is_empty() || !response_headers.is_empty() || fault.is_some();
        let beside = beside.into_iter().chain([(filters, "another filter")]);
        if let Some((_, what)) = beside.into_iter().find(|(is_said, _)| *is_said) {
            let message = format!("a redirect is answered at once: {what} beside it has no effect");
            value.mistakes().push(Mistake::new(place, message));
            return None;
        }
        let is_exact = |(matched, _): &&(RouteMatch, Place)| matches!(matched.path, PathMatch::Exact(_));
        if let (Some(RedirectPath::Prefix(_)), Some((_, matched))) = (&redirect.path, matches.iter().find(is_exact)) {
            let mistake = Mistake::new(place, "`ReplacePrefixMatch` needs a match of `PathPrefix`");
            value.mistakes().push(mistake.label(matched, "this matches the whole path"));
            return None;
        }
    }
    Some(Rule {
        place: value.place().clone(),
        matches,
        request_headers,
        response_headers,
        backends,
        fault,
        redirect,
        timeouts,
        retry,
    })
}

fn route_match(value: Value<'_>) -> Option<RouteMatch> {
    let fields = value.fields("HTTPRoute match", &["path", "headers", "queryParams", "method"])?;
    let path = optional(&fields, "path", path);
    let method = optional(&fields, "method", |value| {
        let methods = ["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"];
        value.choice(&methods.map(|method| (method, method.to_owned())))
    });
    let headers = optional(&fields, "headers", |list| {
        each(list, |value| {
            let (name, value) = pair(value, "header match")?;
            Some(HeaderMatch { name: name.to_lowercase(), value })
        })
    });
    let query = optional(&fields, "queryParams", |list| {
        each(list, |value| pair(value, "queryParams match").map(|(name, value)| QueryMatch { name, value }))
    });
    Some(RouteMatch {
        path: path?.unwrap_or_else(|| PathMatch::Prefix("/".to_owned())),
        method: method?,
        headers: headers?.unwrap_or_default(),
        query: query?.unwrap_or_default(),
    })
}

fn path(value: Value<'_>) -> Option<PathMatch> {
    let fields = value.fields("path match", &["type", "value"])?;
    let exact = optional(&fields, "type", |value| match value.scalar()? {
        "RegularExpression" => value.refuse("`RegularExpression` is not supported: use Exact or PathPrefix"),
        _ => value.choice(&[("Exact", true), ("PathPrefix", false)]),
    })?;
    let text = optional(&fields, "value", |value| {
        let text = value.name()?;
        let good = text.starts_with('/') && !text.contains("//") && !text.contains(['?', '#']);
        if good {
            Some(text)
        } else {
            value.refuse(format!("`{text}` is not a path: it starts with / and has no //, ? or #"))
        }
    })?;
    let text = text.unwrap_or("/");
    if exact == Some(true) {
        return Some(PathMatch::Exact(text.to_owned()));
    }
    let trimmed = text.trim_end_matches('/');
    Some(PathMatch::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()))
}

/// Name and value, compared exactly.
pub(super) fn pair(value: Value<'_>, what: &'static str) -> Option<(String, String)> {
    let fields = value.fields(what, &["type", "name", "value"])?;
    optional(&fields, "type", |value| value.choice(&[("Exact", ())]))?;
    let (name, value) = (fields.required("name"), fields.required("value"));
    Some((name?.name()?.to_owned(), value?.text()?.to_owned()))
}

/// What a rule's filters do.
#[derive(Default)]
pub(super) struct Filters {
    pub(super) request_headers: Vec<HeaderChange>,
    pub(super) response_headers: Vec<HeaderChange>,
    pub(super) fault: Option<(Id, Place)>,
    pub(super) redirect: Option<(Redirect, Place)>,
}

/// The types of filters, with the field that each one reads.
pub(super) const FILTERS: [(&str, &str); 4] = [
    ("RequestHeaderModifier", "requestHeaderModifier"),
    ("ResponseHeaderModifier", "responseHeaderModifier"),
    ("ExtensionRef", "extensionRef"),
    ("RequestRedirect", "requestRedirect"),
];

/// `may` are those of [`FILTERS`], from the first on, that this kind of route may have.
pub(super) fn filters(list: Value<'_>, namespace: &str, may: &[(&'static str, &'static str)]) -> Option<Filters> {
    let mut filters = Filters::default();
    let mut seen: [Option<Place>; 4] = [const { None }; 4];
    let mut good = true;
    for value in list.list()? {
        let why = "only header modifiers, redirects and references to a FaultInjection are supported";
        let mut refused = ["requestMirror", "urlRewrite", "cors", "externalAuth"].map(|name| (name, why)).to_vec();
        if !may.iter().any(|(_, field)| *field == "requestRedirect") {
            refused.push(("requestRedirect", "no gRPC client follows a redirect"));
        }
        let known = ["type"].into_iter().chain(may.iter().map(|(_, field)| *field)).collect::<Vec<_>>();
        let fields = value.fields_beside("HTTPRoute filter", &known, &refused)?;
        let kinds: Vec<(&str, usize)> = may.iter().enumerate().map(|(index, (kind, _))| (*kind, index)).collect();
        let kind = fields.required("type")?.choice(&kinds)?;
        for (_, other) in may.iter().enumerate().filter(|(index, _)| *index != kind).map(|(_, filter)| filter) {
            if let Some((key, _)) = fields.keyed(other) {
                value.mistakes().push(Mistake::new(&key.place, format!("`{other}` does not go with this `type`")));
                good = false;
            }
        }
        if let Some(first) = &seen[kind] {
            let mistake = Mistake::new(value.place(), "a rule has one filter of each type");
            value.mistakes().push(mistake.label(first, "the first"));
            good = false;
        }
        seen[kind] = Some(value.place().clone());
        let body = fields.required(FILTERS[kind].1);
        good &= match kind {
            0 => body.and_then(header_changes).map(|changes| filters.request_headers = changes).is_some(),
            1 => body.and_then(header_changes).map(|changes| filters.response_headers = changes).is_some(),
            2 => body.and_then(|body| fault_ref(body, namespace)).map(|found| filters.fault = Some(found)).is_some(),
            _ => {
                let found = body.and_then(|body| Some((redirect(body)?, body.place().clone())));
                found.map(|found| filters.redirect = Some(found)).is_some()
            }
        };
    }
    good.then_some(filters)
}

fn redirect(value: Value<'_>) -> Option<Redirect> {
    let fields = value.fields("requestRedirect", &["scheme", "hostname", "path", "port", "statusCode"])?;
    let https = optional(&fields, "scheme", |value| value.choice(&[("http", false), ("https", true)]));
    let hostname = optional(&fields, "hostname", |value| {
        let name = gateway::hostname(value)?;
        if name.starts_with('*') { value.refuse("nobody can be sent to a wildcard") } else { Some(name) }
    });
    let port = optional(&fields, "port", port);
    let path = optional(&fields, "path", |value| {
        let fields = value.fields("redirect path", &["type", "replaceFullPath", "replacePrefixMatch"])?;
        let is_full = fields.required("type")?.choice(&[("ReplaceFullPath", true), ("ReplacePrefixMatch", false)])?;
        let (own, other) =
            if is_full { ("replaceFullPath", "replacePrefixMatch") } else { ("replacePrefixMatch", "replaceFullPath") };
        if let Some((key, value)) = fields.keyed(other) {
            value.mistakes().push(Mistake::new(&key.place, format!("`{other}` does not go with this `type`")));
            return None;
        }
        let value = fields.required(own)?;
        let text = value.text()?;
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        match (text, is_full) {
            ("", true) => value.refuse("a path begins with /"),
            ("", false) => Some(RedirectPath::Prefix("/".to_owned())),
            (text, _) if !text.starts_with('/') || !is_plain => {
                value.refuse(format!("`{text}` is not a path: it starts with / and has no ? or #"))
            }
            (text, true) => Some(RedirectPath::Full(text.to_owned())),
            (text, false) => {
                let trimmed = text.trim_end_matches('/');
                Some(RedirectPath::Prefix(if trimmed.is_empty() { "/" } else { trimmed }.to_owned()))
            }
        }
    });
    let status = optional(&fields, "statusCode", |value| {
        value.choice(&[("301", 301), ("302", 302), ("303", 303), ("307", 307), ("308", 308)])
    });
    let redirect =
        Redirect { https: https?, hostname: hostname?, port: port?, path: path?, status: status?.unwrap_or(302) };
    let Redirect { https, hostname, port, path, status: _ } = &redirect;
    if https.is_none() && hostname.is_none() && port.is_none() && path.is_none() {
        return value.refuse("this would send clients where they came from: say a scheme, hostname, port or path");
    }
    Some(redirect)
}

/// A reference to a FaultInjection of the same namespace.
fn fault_ref(value: Value<'_>, namespace: &str) -> Option<(Id, Place)> {
    let fields = value.fields("extensionRef", &["group", "kind", "name"])?;
    let group = fields.required("group")?.choice(&[("squall.dev", ())]);
    let kind = fields.required("kind")?.choice(&[("FaultInjection", ())]);
    let name = fields.required("name")?;
    group?;
    kind?;
    Some(((namespace.to_owned(), label(name)?), name.place().clone()))
}

/// Removals first, then what is set, then what is added: one name may be in one of them only, so the order is free.
fn header_changes(value: Value<'_>) -> Option<Vec<HeaderChange>> {
    let fields = value.fields("header modifier", &["set", "add", "remove"])?;
    let remove = optional(&fields, "remove", |list| {
        each(list, |value| Some((header_name(value)?, String::new(), value.place().clone())))
    });
    let pairs = |name| {
        optional(&fields, name, |list| {
            each(list, |value| {
                let fields = value.fields("header", &["name", "value"])?;
                let (name, text) = (fields.required("name"), fields.required("value"));
                Some((header_name(name?)?, text?.text()?.to_owned(), value.place().clone()))
            })
        })
    };
    let (set, add) = (pairs("set"), pairs("add"));
    let mut changes: Vec<HeaderChange> = Vec::new();
    let mut seen: Vec<(String, Place)> = Vec::new();
    let lists = [remove?.unwrap_or_default(), set?.unwrap_or_default(), add?.unwrap_or_default()];
    for (index, list) in lists.into_iter().enumerate() {
        for (name, value_text, place) in list {
            if let Some((_, first)) = seen.iter().find(|(known, _)| *known == name) {
                let mistake = Mistake::new(&place, format!("header `{name}` is changed twice"));
                value.mistakes().push(mistake.label(first, "first changed here"));
                continue;
            }
            seen.push((name.clone(), place));
            changes.push(match index {
                0 => HeaderChange::Remove { name },
                1 => HeaderChange::Set { name, value: value_text },
                _ => HeaderChange::Add { name, value: value_text },
            });
        }
    }
    Some(changes)
}

pub(super) fn header_name(value: Value<'_>) -> Option<String> {
    let text = value.name()?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.bytes().all(token) {
        return Some(text.to_lowercase());
    }
    value.refuse(format!("`{text}` is not a header name"))
}

pub(super) fn backend(value: Value<'_>, namespace: &str) -> Option<(ServiceRef, u32)> {
    let known = &["group", "kind", "name", "namespace", "port", "weight"];
    let refused = [("filters", "put the filter on the rule")];
    let fields = value.fields_beside("backendRef", known, &refused)?;
    let service = service_port_ref(&fields, namespace, ("", "Service"));
    let weight = optional(&fields, "weight", |value| value.integer_u32(0, WEIGHT_MAX))?.unwrap_or(1);
    fields.required("port")?;
    Some((service?, weight))
}

fn timeouts(value: Value<'_>) -> Option<RuleTimeouts> {
    let fields = value.fields("HTTPRoute timeouts", &["request", "backendRequest"])?;
    let limit = |name| {
        optional(&fields, name, |value| {
            Some((Some(value.duration()?).filter(|span| !span.is_zero()), value.place().clone()))
        })
    };
    let (request, per_try) = (limit("request"), limit("backendRequest"));
    Some(RuleTimeouts { request: request?, per_try: per_try? })
}

fn retry(value: Value<'_>) -> Option<RuleRetry> {
    let fields = value.fields("HTTPRoute retry", &["codes", "attempts", "backoff"])?;
    let code = |value: Value<'_>| value.integer(400, 599).and_then(|code| u16::try_from(code).ok());
    let codes = optional(&fields, "codes", |list| each(list, code));
    let attempts = optional(&fields, "attempts", |value| value.integer_u32(1, 1000));
    let backoff =
        optional(&fields, "backoff", |value| value.duration_within(Duration::from_millis(1), Duration::from_secs(30)));
    Some(RuleRetry {
        place: fields.whole().place().clone(),
        codes: codes?.unwrap_or_default(),
        attempts: attempts?.unwrap_or(1),
        backoff: backoff?,
    })
}
