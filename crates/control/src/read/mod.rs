//! Documents of Kubernetes YAML as resources.

mod authorization;
mod balancing;
mod client;
mod fault;
mod gateway;
mod grpc_route;
mod limits;
mod peers;
mod policy;
mod protection;
mod route;
mod secret;
mod service;
mod slice;

use std::collections::BTreeMap;

use crate::resources::{Id, Resources, ServiceRef};
use crate::yaml::{self, Fields, Value};
use crate::{Mistake, Mistakes, Place};

/// Reads all documents. References between them are not checked yet.
pub(crate) fn files(files: &[(&str, &str)]) -> Result<Resources, Vec<Mistake>> {
    let mistakes = Mistakes::new();
    let mut resources = Resources::default();
    let mut seen: BTreeMap<(String, Id), Place> = BTreeMap::new();
    for (file, text) in files {
        let documents = match yaml::parse(file, text) {
            Ok(documents) => documents,
            Err(found) => {
                mistakes.extend(found);
                continue;
            }
        };
        for document in &documents {
            read(Value::new(document, &mistakes), &mut resources, &mut seen);
        }
    }
    mistakes.check(resources)
}

/// The kinds that are read, each with its API version.
const KINDS: [(&str, &str); 10] = [
    ("Service", "v1"),
    ("EndpointSlice", "discovery.k8s.io/v1"),
    ("HTTPRoute", "gateway.networking.k8s.io/v1"),
    ("GRPCRoute", "gateway.networking.k8s.io/v1"),
    ("Gateway", "gateway.networking.k8s.io/v1"),
    ("Secret", "v1"),
    ("TrafficPolicy", "squall.dev/v1alpha1"),
    ("FaultInjection", "squall.dev/v1alpha1"),
    ("AuthorizationPolicy", "squall.dev/v1alpha1"),
    ("PeerAuthentication", "squall.dev/v1alpha1"),
];

/// What metadata has. After the first four comes what the API server keeps there for itself: `kubectl get -o yaml` shows it, and it
/// sets nothing.
const METADATA: &[&str] = &[
    "name",
    "namespace",
    "labels",
    "annotations",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "generateName",
    "ownerReferences",
    "managedFields",
    "finalizers",
];

fn read(document: Value<'_>, resources: &mut Resources, seen: &mut BTreeMap<(String, Id), Place>) -> Option<()> {
    let mistakes = document.mistakes();
    let kind = value_of(document, "kind")?;
    if kind.text() == Some("List") {
        // As kubectl shows several.
        let fields = document.fields("List", &["apiVersion", "kind", "metadata", "items"])?;
        for item in fields.required("items")?.list()? {
            read(item, resources, seen);
        }
        return Some(());
    }
    let (Some(name), Some(version)) = (kind.name(), value_of(document, "apiVersion").and_then(|v| v.name())) else {
        return None;
    };
    let Some((_, wanted)) = KINDS.iter().find(|(known, _)| *known == name) else {
        let mistake = Mistake::new(kind.place(), format!("resources of kind `{name}` are not supported"));
        mistakes.push(mistake.suggest(name, KINDS.map(|(known, _)| known)));
        return None;
    };
    if version != *wanted {
        let place = value_of(document, "apiVersion")?.place();
        let mistake = Mistake::new(place, format!("`{version}` of `{name}` is not supported"));
        mistakes.push(mistake.help(format!("write `{wanted}`")));
        return None;
    }
    let known: &[&str] = match name {
        "EndpointSlice" => &["apiVersion", "kind", "metadata", "addressType", "endpoints", "ports"],
        "Secret" => &["apiVersion", "kind", "metadata", "type", "data", "stringData", "immutable"],
        // What the cluster says of it sets nothing.
        _ => &["apiVersion", "kind", "metadata", "spec", "status"],
    };
    let fields = document.fields(name, known)?;
    let before = mistakes.len();
    // What follows is read under any name, so that its mistakes are found too.
    let metadata = fields.required("metadata").and_then(metadata).unwrap_or_else(|| Metadata {
        id: Id::default(),
        place: document.place().clone(),
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
    });
    let ours: &[&str] = match name {
        "EndpointSlice" => &[slice::ACCOUNT_ANNOTATION, slice::WEIGHT_ANNOTATION],
        "Gateway" => &[slice::ACCOUNT_ANNOTATION],
        _ => &[],
    };
    for (key, (_, place)) in metadata.annotations.iter().filter(|(key, _)| key.starts_with("squall.dev/")) {
        if !ours.contains(&key.as_str()) {
            let mistake = Mistake::new(place, format!("`{key}` is not an annotation of {name}"));
            mistakes.push(mistake.suggest(key, ours.iter().copied()));
        }
    }
    if mistakes.len() == before
        && let Some(first) = seen.insert((name.to_owned(), metadata.id.clone()), metadata.place.clone())
    {
        let (namespace, twice) = &metadata.id;
        let mistake = Mistake::new(&metadata.place, format!("{name} `{namespace}/{twice}` is given twice"));
        mistakes.push(mistake.label(&first, "first given here"));
    }
    match name {
        "Service" => {
            let service = service::read(metadata, fields.required("spec")?)?;
            resources.services.insert(service.id.clone(), service);
        }
        "EndpointSlice" => resources.slices.push(slice::read(&metadata, &fields)?),
        "FaultInjection" => {
            let fault = fault::read(metadata, fields.required("spec")?)?;
            resources.faults.insert(fault.id.clone(), fault);
        }
        "AuthorizationPolicy" => {
            let policy = authorization::read(metadata, fields.required("spec")?)?;
            resources.access.push(policy);
        }
        "PeerAuthentication" => resources.peers.push(peers::read(metadata, fields.required("spec")?)?),
        "Gateway" => {
            let gateway = gateway::read(metadata, fields.required("spec")?)?;
            resources.gateways.insert(gateway.id.clone(), gateway);
        }
        "Secret" => {
            let secret = secret::read(metadata, &fields)?;
            resources.secrets.insert(secret.id.clone(), secret);
        }
        "GRPCRoute" => resources.routes.push(grpc_route::read(metadata, fields.required("spec")?)?),
        "HTTPRoute" => resources.routes.push(route::read(metadata, fields.required("spec")?)?),
        _ => resources.policies.push(policy::read(metadata, fields.required("spec")?)?),
    }
    Some(())
}

/// The value of a key that decides which fields there are. That it is missing is a mistake.
fn value_of<'a>(document: Value<'a>, name: &str) -> Option<Value<'a>> {
    let entries = document.entries()?;
    match entries.into_iter().find(|(key, _)| key.name == name) {
        Some((_, value)) => Some(value),
        None => document.refuse(format!("the resource needs `{name}`")),
    }
}

/// Who a resource is.
pub(super) struct Metadata {
    pub(super) id: Id,
    /// Of the name.
    pub(super) place: Place,
    pub(super) labels: BTreeMap<String, String>,
    /// With the place of each value.
    pub(super) annotations: BTreeMap<String, (String, Place)>,
}

fn metadata(value: Value<'_>) -> Option<Metadata> {
    let fields = value.fields("metadata", METADATA)?;
    let name = fields.required("name")?;
    let namespace = match fields.get("namespace") {
        Some(namespace) => label(namespace)?,
        None => "default".to_owned(),
    };
    let mut annotations = BTreeMap::new();
    if let Some(value) = fields.get("annotations") {
        texts(value)?;
        for (key, value) in value.entries()? {
            annotations.insert(key.name.clone(), (value.text()?.to_owned(), value.place().clone()));
        }
    }
    let labels = fields.get("labels").map_or(Some(BTreeMap::new()), texts)?;
    Some(Metadata { id: (namespace, label(name)?), place: name.place().clone(), labels, annotations })
}

/// A DNS label (RFC 1123): what names of resources are made of.
pub(super) fn label(value: Value<'_>) -> Option<String> {
    let text = value.name()?;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    let good =
        text.len() <= 253 && text.bytes().all(inner) && !text.starts_with(['-', '.']) && !text.ends_with(['-', '.']);
    if good {
        return Some(text.to_owned());
    }
    value.refuse(format!("`{text}` is not a name: use lower-case letters, digits and -"))
}

/// A mapping of texts, such as labels.
pub(super) fn texts(value: Value<'_>) -> Option<BTreeMap<String, String>> {
    let entries = value.entries()?.into_iter().map(|(key, value)| Some((key.name.clone(), value.text()?.to_owned())));
    // All of them, so that every mistake is found.
    let entries: Vec<Option<(String, String)>> = entries.collect();
    entries.into_iter().collect()
}

/// Reads every item of a list; mistakes in one do not hide those in the next.
pub(super) fn each<'a, T>(list: Value<'a>, read: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
    let items: Vec<Option<T>> = list.list()?.into_iter().map(read).collect();
    items.into_iter().collect()
}

/// A port number.
pub(super) fn port(value: Value<'_>) -> Option<u16> {
    value.integer(1, 65_535).and_then(|number| u16::try_from(number).ok())
}

/// A field that reads with `read`, if it is there: `None` is a mistake in it, `Some(None)` that it is not there.
pub(super) fn optional<'a, T>(
    fields: &Fields<'a>,
    name: &str,
    read: impl FnOnce(Value<'a>) -> Option<T>,
) -> Option<Option<T>> {
    match fields.get(name) {
        Some(value) => read(value).map(Some),
        None => Some(None),
    }
}

/// A reference to an object that must be a core Service of `namespace`. `fields` has group, kind, name and namespace; `default` are
/// group and kind if it does not say.
pub(super) fn service_ref(fields: &Fields<'_>, namespace: &str, default: (&str, &str)) -> Option<ServiceRef> {
    let group = optional(fields, "group", |value| value.text())?.unwrap_or(default.0);
    let kind = optional(fields, "kind", |value| value.name())?.unwrap_or(default.1);
    if (group, kind) != ("", "Service") {
        let place = if fields.get("kind").is_some() { fields.place_of("kind") } else { fields.whole().place() };
        let full = if group.is_empty() { kind.to_owned() } else { format!("{group}/{kind}") };
        let mistake = Mistake::new(place, format!("a reference to `{full}` is not supported"));
        fields.whole().mistakes().push(mistake.help("write {group: \"\", kind: Service, name: …}"));
        return None;
    }
    let name = fields.required("name")?;
    let other = optional(fields, "namespace", label)?;
    if let Some(other) = other.filter(|other| other != namespace) {
        let message = format!("a reference to another namespace (`{other}` from `{namespace}`) is not supported");
        fields.whole().mistakes().push(Mistake::new(fields.place_of("namespace"), message));
        return None;
    }
    Some(ServiceRef {
        service: (namespace.to_owned(), label(name)?),
        port: None,
        place: name.place().clone(),
        port_place: name.place().clone(),
    })
}

/// As [`service_ref`], with a `port`, which may be missing.
pub(super) fn service_port_ref(fields: &Fields<'_>, namespace: &str, default: (&str, &str)) -> Option<ServiceRef> {
    let service = service_ref(fields, namespace, default);
    let found = optional(fields, "port", |value| Some((port(value)?, value.place().clone())))?;
    let mut service = service?;
    if let Some((port, place)) = found {
        service.port = Some(port);
        service.port_place = place;
    }
    Some(service)
}
