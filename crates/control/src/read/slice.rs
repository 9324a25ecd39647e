//! `discovery.k8s.io/v1` EndpointSlice.

use super::{Metadata, each, label, optional, port};
use crate::Mistake;
use crate::resources::{Slice, SliceEndpoint};
use crate::yaml::{Fields, Value};

const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Whose pods the slice's endpoints are, where no API server tells: the service account that their sidecars prove.
pub(super) const ACCOUNT_ANNOTATION: &str = "squall.dev/service-account";

/// The share of the load of each of the slice's endpoints, for which Kubernetes has no word.
pub(super) const WEIGHT_ANNOTATION: &str = "squall.dev/weight";

pub(super) fn read(metadata: &Metadata, fields: &Fields<'_>) -> Option<Slice> {
    let address_type =
        fields.required("addressType").and_then(|value| value.choice(&[("IPv4", true), ("IPv6", false)]));
    let Some(service) = metadata.labels.get(SERVICE_LABEL) else {
        return fields.required("metadata")?.refuse(format!("an EndpointSlice needs the label `{SERVICE_LABEL}`"));
    };
    let account = match metadata.annotations.get(ACCOUNT_ANNOTATION) {
        Some((account, place)) if !is_account(account) => {
            let message = format!("`{account}` is not the name of a service account, nor a SPIFFE id");
            fields.whole().mistakes().push(Mistake::new(place, message));
            return None;
        }
        Some((account, _)) => account.clone(),
        None => "default".to_owned(),
    };
    let weight = match metadata.annotations.get(WEIGHT_ANNOTATION) {
        None => None,
        Some((text, place)) => match text.parse().ok().filter(|weight| (1..=1000).contains(weight)) {
            Some(weight) => Some((weight, place.clone())),
            None => {
                let message = format!("`{text}` is not a weight, 1 to 1000");
                fields.whole().mistakes().push(Mistake::new(place, message));
                return None;
            }
        },
    };
    let endpoints = optional(fields, "endpoints", |list| each(list, |value| endpoints(value, address_type)));
    let ports = optional(fields, "ports", |list| each(list, slice_port))?;
    Some(Slice {
        service: (metadata.id.0.clone(), service.clone()),
        place: metadata.place.clone(),
        service_account: account,
        weight,
        ports: ports.unwrap_or_default(),
        endpoints: endpoints?.unwrap_or_default().into_iter().flatten().collect(),
    })
}

/// A name, or the whole id of somebody in another trust domain.
fn is_account(text: &str) -> bool {
    let spaced = text.contains(char::is_whitespace);
    match text.strip_prefix("spiffe://") {
        Some(id) => !spaced && id.split_once('/').is_some_and(|(domain, path)| !domain.is_empty() && !path.is_empty()),
        None => !spaced && !text.is_empty() && !text.contains('/'),
    }
}

fn slice_port(value: Value<'_>) -> Option<(String, u16)> {
    let fields = value.fields("EndpointSlice port", &["name", "port", "protocol", "appProtocol"])?;
    optional(&fields, "protocol", |value| value.choice(&[("TCP", ())]))?;
    // The Service's own decides.
    optional(&fields, "appProtocol", |value| value.name())?;
    let name = optional(&fields, "name", |value| value.text())?.unwrap_or_default();
    Some((name.to_owned(), fields.required("port").and_then(port)?))
}

fn endpoints(value: Value<'_>, ipv4: Option<bool>) -> Option<Vec<SliceEndpoint>> {
    let known = &["addresses", "conditions", "zone", "nodeName", "hostname", "targetRef"];
    let fields = value.fields("endpoint", known)?;
    let conditions = match fields.get("conditions") {
        None => [None; 3],
        Some(value) => {
            let conditions = value.fields("conditions", &["ready", "serving", "terminating"])?;
            let read = |name| optional(&conditions, name, |value| value.boolean());
            [read("ready")?, read("serving")?, read("terminating")?]
        }
    };
    let ready = conditions[0].unwrap_or(true);
    let zone = optional(&fields, "zone", |value| value.text())?.unwrap_or_default();
    // Where it runs and what it is called decides nothing.
    optional(&fields, "nodeName", |value| value.text())?;
    optional(&fields, "hostname", |value| value.text())?;
    let pod = optional(&fields, "targetRef", |value| {
        let target = value.fields("targetRef", &["kind", "name", "namespace", "uid"])?;
        optional(&target, "uid", |value| value.text())?;
        optional(&target, "namespace", label)?;
        target.required("kind")?.choice(&[("Pod", ())])?;
        target.required("name").and_then(label)
    })?;
    let addresses = each(fields.required("addresses")?, |value| {
        value.parsed(|text| match text.parse::<std::net::IpAddr>() {
            Ok(address) if ipv4.is_none_or(|ipv4| ipv4 == address.is_ipv4()) => Ok(address),
            Ok(_) => Err(format!("`{text}` is not of the EndpointSlice's addressType")),
            Err(_) => Err(format!("`{text}` is not an IP address")),
        })
    })?;
    let endpoint = |address| SliceEndpoint {
        address,
        pod: pod.clone(),
        zone: zone.to_owned(),
        ready,
        serving: conditions[1].unwrap_or(ready),
        terminating: conditions[2].unwrap_or(false),
    };
    Some(addresses.into_iter().map(endpoint).collect())
}
