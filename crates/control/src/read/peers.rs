//! `squall.dev/v1alpha1` PeerAuthentication. Its reference is [`crate::peer_authentication`].

use std::collections::BTreeMap;

use squall_policy::PeerMode;

use super::{Metadata, optional, texts};
use crate::Mistake;
use crate::resources::PeerPolicy;
use crate::yaml::Value;

/// `UNSET` says nothing.
const MODES: &[(&str, Option<PeerMode>)] = &[
    ("STRICT", Some(PeerMode::Strict)),
    ("PERMISSIVE", Some(PeerMode::Permissive)),
    ("DISABLE", Some(PeerMode::Disable)),
    ("UNSET", None),
];

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<PeerPolicy> {
    let fields = spec.fields("PeerAuthentication spec", &["selector", "mtls", "portLevelMtls"])?;
    let labels = optional(&fields, "selector", |value| {
        let labels = texts(value.fields("selector", &["matchLabels"])?.required("matchLabels")?)?;
        if labels.is_empty() {
            value.refuse("a selector without labels: leave it out to mean all")
        } else {
            Some(labels)
        }
    });
    let mode = optional(&fields, "mtls", mode);
    let ports = optional(&fields, "portLevelMtls", ports);
    let (labels, mode, ports) = (labels?, mode?.flatten(), ports?.unwrap_or_default());
    if labels.is_none() && !ports.is_empty() {
        let mistake =
            Mistake::new(fields.place_of("portLevelMtls"), "ports are those of a workload: a selector must say which");
        spec.mistakes().push(mistake.help("add `selector: {matchLabels: …}`"));
        return None;
    }
    Some(PeerPolicy { id: metadata.id, place: metadata.place, labels, mode, ports })
}

fn mode(value: Value<'_>) -> Option<Option<PeerMode>> {
    value.fields("mtls", &["mode"])?.required("mode")?.choice(MODES)
}

fn ports(value: Value<'_>) -> Option<BTreeMap<u16, (Option<PeerMode>, crate::Place)>> {
    let mut found = BTreeMap::new();
    let mut is_good = true;
    for (key, value) in value.entries()? {
        let port = key.name.parse().ok().filter(|port: &u16| *port > 0);
        match (port, mode(value)) {
            (Some(port), Some(mode)) => drop(found.insert(port, (mode, key.place.clone()))),
            (Some(_), None) => is_good = false,
            (None, _) => {
                let message = format!("`{}` is not a port number", key.name);
                value.mistakes().push(Mistake::new(&key.place, message).help("a port of the pod, 1 to 65535"));
                is_good = false;
            }
        }
    }
    is_good.then_some(found)
}
