//! Listeners of a gateway, beside the one listener that Envoy is told of: Squall says with each the routes it has, so that both change at
//! once. Envoy would need listeners and certificates of its own and is not told.

use std::collections::{BTreeMap, BTreeSet};

use squall_policy::GatewayListener;

use crate::encode::virtual_hosts;
use crate::proto::{self, squall};
use crate::{Nack, decode_route};

pub(crate) fn encode(listener: &GatewayListener) -> squall::GatewayListener {
    squall::GatewayListener {
        name: listener.name.to_string(),
        port: u32::from(listener.port),
        hostname: listener.hostname.clone(),
        secure: listener.certificates.is_some(),
        certificates: listener.certificates.iter().flatten().map(ToString::to_string).collect(),
        routes: Some(proto::RouteConfiguration {
            name: listener.name.to_string(),
            virtual_hosts: virtual_hosts(&listener.hosts),
            validate_clusters: None,
            metadata: None,
        }),
    }
}

pub(crate) fn decode(found: Vec<squall::GatewayListener>) -> Result<Vec<GatewayListener>, Nack> {
    let mut listeners = Vec::with_capacity(found.len());
    let (mut names, mut hostnames) = (BTreeSet::new(), BTreeSet::new());
    for each in found {
        let bad = |field: &str, why: String| Nack {
            resource: format!("Listener {}", each.name),
            field: format!("squall.v1alpha1.GatewayListener.{field}"),
            why,
        };
        let port = u16::try_from(each.port).ok().filter(|port| *port > 0);
        let port = port.ok_or_else(|| bad("port", format!("{} is not a port", each.port)))?;
        if each.hostname != each.hostname.to_lowercase() {
            return Err(bad("hostname", format!("`{}` must be lower case", each.hostname)));
        }
        if each.name.is_empty() || !names.insert(each.name.clone()) {
            return Err(bad("name", "must be there, and only once".to_owned()));
        }
        if !hostnames.insert((port, each.hostname.clone())) {
            return Err(bad("hostname", format!("`{}` belongs to two listeners of port {port}", each.hostname)));
        }
        if each.secure == each.certificates.is_empty() {
            return Err(bad("certificates", "must be there if the listener is `secure`, and only then".to_owned()));
        }
        let routes = each.routes.unwrap_or_default();
        if routes.metadata.is_some() {
            return Err(bad("routes.metadata", "has no meaning here".to_owned()));
        }
        let certificates = each.certificates.iter().map(|name| name.as_str().into()).collect();
        listeners.push(GatewayListener {
            hosts: decode_route::hosts(&each.name, routes.virtual_hosts)?,
            name: each.name.into(),
            port,
            hostname: each.hostname,
            certificates: each.secure.then_some(certificates),
        });
    }
    let mut secure = BTreeMap::new();
    for listener in &listeners {
        let is_secure = listener.certificates.is_some();
        if *secure.entry(listener.port).or_insert(is_secure) != is_secure {
            return Err(Nack {
                resource: format!("Listener {}", listener.name),
                field: "squall.v1alpha1.GatewayListener.secure".to_owned(),
                why: format!("port {} cannot have TLS and none", listener.port),
            });
        }
    }
    listeners.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(listeners)
}
