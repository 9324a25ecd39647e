//! `v1` Service.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Metadata, each, label, optional, port, texts};
use crate::resources::{Service, ServicePort, TargetPort};
use crate::yaml::Value;
use crate::{Mistake, stream};

const REFUSED: &[(&str, &str)] = &[
    ("externalName", "Squall routes only to pods"),
    ("externalIPs", "Squall routes only to pods"),
    ("publishNotReadyAddresses", "pods get requests when they are ready"),
    ("externalTrafficPolicy", "Squall carries traffic within the mesh"),
    ("trafficDistribution", "use zones and a TrafficPolicy"),
    ("sessionAffinityConfig", "session affinity is not supported"),
];

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<Service> {
    // `ipFamilies` and `ipFamilyPolicy` say which addresses the cluster gave it.
    let known = &[
        "selector",
        "ports",
        "type",
        "clusterIP",
        "clusterIPs",
        "sessionAffinity",
        "internalTrafficPolicy",
        "ipFamilies",
        "ipFamilyPolicy",
    ];
    let fields = spec.fields_beside("Service spec", known, REFUSED)?;
    optional(&fields, "type", |value| value.choice(&[("ClusterIP", ()), ("NodePort", ()), ("LoadBalancer", ())]))?;
    let one = optional(&fields, "clusterIP", address)?.flatten();
    let all = optional(&fields, "clusterIPs", |list| each(list, address))?.unwrap_or_default();
    optional(&fields, "sessionAffinity", |value| value.choice(&[("None", ())]))?;
    optional(&fields, "internalTrafficPolicy", |value| value.choice(&[("Cluster", ())]))?;
    let selector = optional(&fields, "selector", texts);
    let ports = fields.required("ports").and_then(|ports| each(ports, service_port).map(|read| (ports, read)));
    let (selector, (value, ports)) = (selector?, ports?);
    if ports.is_empty() {
        return value.refuse("a Service needs a port");
    }
    let mut numbers: BTreeMap<u16, &ServicePort> = BTreeMap::new();
    let mut names: BTreeMap<&str, &ServicePort> = BTreeMap::new();
    for port in &ports {
        if port.name.is_empty() && ports.len() > 1 {
            spec.mistakes().push(Mistake::new(&port.place, "a Service with several ports needs a name for each"));
        }
        let twice = [
            numbers.insert(port.number, port).map(|first| (first, format!("port {} is given twice", port.number))),
            names.insert(&port.name, port).map(|first| (first, format!("port name `{}` is given twice", port.name))),
        ];
        for (first, message) in twice.into_iter().flatten() {
            spec.mistakes().push(Mistake::new(&port.place, message).label(&first.place, "first given here"));
        }
    }
    Some(Service {
        id: metadata.id,
        place: metadata.place,
        selector: selector.unwrap_or_default(),
        addresses: stream::addresses(one, all.into_iter().flatten().collect()),
        ports,
    })
}

/// An address of the Service's own; `Some(None)`: it has none.
fn address(value: Value<'_>) -> Option<Option<IpAddr>> {
    value.parsed(|text| match text {
        "None" => Ok(None),
        text => text.parse().map(Some).map_err(|_| format!("`{text}` is not an IP address, and not `None`")),
    })
}

fn service_port(value: Value<'_>) -> Option<ServicePort> {
    let known = &["name", "port", "targetPort", "protocol", "appProtocol"];
    let refused = [("nodePort", "it is a door for clients outside of the mesh: let the cluster choose it")];
    let fields = value.fields_beside("Service port", known, &refused)?;
    optional(&fields, "protocol", |value| value.choice(&[("TCP", ())]))?;
    let name = optional(&fields, "name", label)?.unwrap_or_default();
    let number = fields.required("port").and_then(port);
    let target = optional(&fields, "targetPort", |value| {
        if value.scalar()?.bytes().all(|byte| byte.is_ascii_digit()) {
            port(value).map(TargetPort::Number)
        } else {
            label(value).map(TargetPort::Name)
        }
    })?;
    let protocol = optional(&fields, "appProtocol", |value| value.choice(stream::SPOKEN))?;
    let number = number?;
    let (protocol, declared) = stream::spoken(protocol, &name, number);
    Some(ServicePort {
        place: value.place().clone(),
        name,
        number,
        target: target.unwrap_or(TargetPort::Number(number)),
        protocol,
        declared,
    })
}
