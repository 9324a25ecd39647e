//! `gateway.networking.k8s.io/v1` Gateway: where requests come in from outside.

use std::collections::BTreeMap;

use super::{Metadata, each, label, optional, port, slice};
use crate::gateway::{From, Gateway, Kinds, Listener};
use crate::resources::Id;
use crate::yaml::Value;
use crate::{Mistake, Place};

/// The class of gateways that `squall gateway` is.
const CLASS: &str = "squall";

const GROUP: &str = "gateway.networking.k8s.io";

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<Gateway> {
    let refused = [
        ("addresses", "`squall gateway --listen` says where it listens"),
        ("infrastructure", "Squall does not deploy the gateway: see deploy/kubernetes/gateway.yaml"),
        ("allowedListeners", "write the listeners in the Gateway itself"),
        ("tls", "certificates of clients are not asked for, and those of backends are the mesh's"),
        ("defaultScope", "name the Gateway in the parentRefs of its routes"),
    ];
    let fields = spec.fields_beside("Gateway spec", &["gatewayClassName", "listeners"], &refused)?;
    let class = fields.required("gatewayClassName").and_then(|value| value.choice(&[(CLASS, ())]));
    let namespace = metadata.id.0.clone();
    let listeners = fields.required("listeners").and_then(|list| each(list, |value| listener(value, &namespace)));
    let ((), listeners) = (class?, listeners?);
    if listeners.is_empty() {
        return fields.required("listeners")?.refuse("a Gateway needs a listener");
    }
    distinct(&listeners, spec);
    let account = match metadata.annotations.get(slice::ACCOUNT_ANNOTATION) {
        Some((account, place)) if account.is_empty() || account.contains(|c: char| c == '/' || c.is_whitespace()) => {
            spec.mistakes().push(Mistake::new(place, format!("`{account}` is not the name of a service account")));
            return None;
        }
        Some((account, _)) => Some(account.clone()),
        None => None,
    };
    Some(Gateway {
        account: account.unwrap_or_else(|| metadata.id.1.clone()),
        id: metadata.id,
        place: metadata.place,
        listeners,
    })
}

/// Each name once; each port either for TLS or for none; each host name once for its port.
fn distinct(listeners: &[Listener], spec: Value<'_>) {
    let mut names: BTreeMap<&str, &Listener> = BTreeMap::new();
    let mut ports: BTreeMap<u16, &Listener> = BTreeMap::new();
    let mut hostnames: BTreeMap<(u16, &str), &Listener> = BTreeMap::new();
    for listener in listeners {
        let said = |what: String, first: &Listener| {
            spec.mistakes().push(Mistake::new(&listener.place, what).label(&first.place, "the first"));
        };
        if let Some(first) = names.insert(&listener.name, listener) {
            said(format!("two listeners are named `{}`", listener.name), first);
            continue;
        }
        let first = *ports.entry(listener.port).or_insert(listener);
        if first.certificates.is_some() != listener.certificates.is_some() {
            said(format!("port {} cannot speak HTTP and HTTPS", listener.port), first);
        } else if let Some(first) = hostnames.insert((listener.port, &listener.hostname), listener) {
            let host = if listener.hostname.is_empty() { "every host" } else { &listener.hostname };
            said(format!("two listeners of port {} are for {host}", listener.port), first);
        }
    }
}

fn listener(value: Value<'_>, namespace: &str) -> Option<Listener> {
    let known = &["name", "hostname", "port", "protocol", "tls", "allowedRoutes"];
    let fields = value.fields("Gateway listener", known)?;
    let name = fields.required("name");
    let place = name.map_or_else(|| value.place().clone(), |name| name.place().clone());
    let name = name.and_then(label);
    let hostname = optional(&fields, "hostname", hostname);
    let number = fields.required("port").and_then(port);
    let is_secure = fields.required("protocol").and_then(|value| match value.scalar()? {
        "TLS" => {
            value.refuse("`TLS` is not supported here: HTTPS ends TLS at the gateway, and nothing passes it through")
        }
        other @ ("TCP" | "UDP") => {
            value.refuse(format!("`{other}` is not supported here: a gateway takes HTTP and HTTPS"))
        }
        _ => value.choice(&[("HTTP", false), ("HTTPS", true)]),
    });
    let certificates = optional(&fields, "tls", |value| certificates(value, namespace));
    let allowed = optional(&fields, "allowedRoutes", allowed);
    let (is_secure, certificates) = (is_secure?, certificates?);
    match (is_secure, &certificates) {
        (true, None) => return value.refuse("a listener of HTTPS needs `tls` with the certificates it shows"),
        (false, Some(_)) => {
            value.mistakes().push(Mistake::new(fields.place_of("tls"), "a listener of HTTP has no `tls`"));
            return None;
        }
        (true, Some(_)) | (false, None) => {}
    }
    let (from, kinds) = allowed?.unwrap_or((From::Same, Kinds::default()));
    Some(Listener {
        place,
        name: name?,
        hostname: hostname?.unwrap_or_default(),
        port: number?,
        certificates,
        from,
        kinds,
    })
}

/// The Secrets that hold the certificates.
fn certificates(value: Value<'_>, namespace: &str) -> Option<Vec<(Id, Place)>> {
    let refused = [
        ("frontendValidation", "certificates of clients are not asked for"),
        ("options", "TLS 1.2 and 1.3 are spoken, with the library's ciphers"),
    ];
    let fields = value.fields_beside("tls", &["mode", "certificateRefs"], &refused)?;
    let mode = optional(&fields, "mode", |value| match value.scalar()? {
        "Passthrough" => value.refuse("`Passthrough` is not supported: TLS ends at the gateway"),
        _ => value.choice(&[("Terminate", ())]),
    });
    let list = fields.required("certificateRefs")?;
    let refs = each(list, |value| {
        let fields = value.fields("certificateRef", &["group", "kind", "name", "namespace"])?;
        let group = optional(&fields, "group", |value| value.text())?.unwrap_or_default();
        let kind = optional(&fields, "kind", |value| value.name())?.unwrap_or("Secret");
        if (group, kind) != ("", "Secret") {
            return value.refuse("a certificate is in a Secret: write {kind: Secret, name: …}");
        }
        let name = fields.required("name")?;
        let other = optional(&fields, "namespace", label)?;
        if let Some(other) = other.filter(|other| other != namespace) {
            let message = format!("a reference to another namespace (`{other}` from `{namespace}`) is not supported");
            value.mistakes().push(Mistake::new(fields.place_of("namespace"), message));
            return None;
        }
        Some(((namespace.to_owned(), label(name)?), name.place().clone()))
    });
    mode?;
    let refs = refs?;
    if refs.is_empty() {
        return list.refuse("a listener of HTTPS needs a certificate");
    }
    Some(refs)
}

fn allowed(value: Value<'_>) -> Option<(From, Kinds)> {
    let fields = value.fields("allowedRoutes", &["namespaces", "kinds"])?;
    let from = optional(&fields, "namespaces", |value| {
        let refused = [("selector", "namespaces have no labels here: use `from: All` or `from: Same`")];
        let fields = value.fields_beside("allowedRoutes namespaces", &["from"], &refused)?;
        optional(&fields, "from", |value| match value.scalar()? {
            "Selector" => value.refuse("`Selector` is not supported: namespaces have no labels here"),
            _ => value.choice(&[("Same", From::Same), ("All", From::All), ("None", From::Nobody)]),
        })
    });
    let kinds = optional(&fields, "kinds", |list| {
        each(list, |value| {
            let fields = value.fields("route kind", &["group", "kind"])?;
            optional(&fields, "group", |value| value.choice(&[(GROUP, ())]))?;
            fields.required("kind")?.choice(&[("HTTPRoute", false), ("GRPCRoute", true)])
        })
    });
    let (from, kinds) = (from?.flatten().unwrap_or(From::Same), kinds?);
    let kinds = kinds
        .filter(|kinds| !kinds.is_empty())
        .map_or_else(Kinds::default, |kinds| Kinds { http: kinds.contains(&false), grpc: kinds.contains(&true) });
    Some((from, kinds))
}

/// A host name without port: `shop.example.com`, or `*.example.com`.
pub(super) fn hostname(value: Value<'_>) -> Option<String> {
    let text = value.name()?;
    let name = text.strip_prefix("*.").unwrap_or(text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_address = name.split('.').all(|label| label.bytes().all(|byte| byte.is_ascii_digit()));
    if text.len() <= 253 && name.split('.').all(is_label) && !is_address {
        return Some(text.to_owned());
    }
    let why = if is_address {
        "is an address, which no host name is"
    } else {
        "is not a host name, such as shop.example.com or *.example.com"
    };
    value.refuse(format!("`{text}` {why}"))
}
