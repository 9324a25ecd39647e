//! Destinations of connections, beside the routes of requests. Envoy would need a listener for each address and is not told.

use std::collections::BTreeSet;

use squall_policy::{BackendName, Backoff, Destination, Speaks, StreamPolicy};

use crate::decode::{extension, jitter, nack, span};
use crate::encode::{jitter_number, span as encode_span};
use crate::proto::{self, squall};
use crate::{Kind, Nack};

/// ALPN of connections that are carried as bytes.
pub(crate) const TCP_ALPN: &str = "squall-tcp";
/// ALPN that the mesh's own TLS offers besides, by which a port that takes other TLS too knows it. No server chooses it.
pub(crate) const MESH_ALPN: &str = "squall";

pub(crate) fn encode(destination: &Destination) -> squall::Destination {
    let StreamPolicy { idle, longest, retries, backoff } = destination.stream;
    squall::Destination {
        backend: destination.backend.as_str().to_owned(),
        addresses: destination.addresses.iter().map(ToString::to_string).collect(),
        port: u32::from(destination.port),
        names: destination.names.clone(),
        speaks: match destination.speaks {
            Speaks::Http => 1,
            Speaks::Tcp => 2,
            Speaks::Unknown => 3,
        },
        idle: idle.and_then(encode_span),
        longest: longest.and_then(encode_span),
        retries,
        backoff_first: encode_span(backoff.first),
        backoff_last: encode_span(backoff.last),
        jitter: jitter_number(backoff.jitter),
    }
}

/// The destinations beside a route configuration.
pub(crate) fn decode(name: &str, metadata: Option<&proto::Metadata>) -> Result<Vec<Destination>, Nack> {
    let found: squall::Destinations = extension(metadata).unwrap_or_default();
    let mut known = BTreeSet::new();
    let mut destinations = Vec::with_capacity(found.destinations.len());
    for each in &found.destinations {
        let read = destination(each).map_err(|why| {
            nack(Kind::Routes, name, "metadata.destinations", format!("{why} (in `{}`)", each.backend))
        })?;
        if !known.insert(read.backend.clone()) {
            let why = format!("`{}` is given twice", each.backend);
            return Err(nack(Kind::Routes, name, "metadata.destinations.backend", why));
        }
        destinations.push(read);
    }
    destinations.sort_by(|one, other| one.backend.cmp(&other.backend));
    Ok(destinations)
}

fn destination(found: &squall::Destination) -> Result<Destination, String> {
    let address = |text: &String| text.parse().map_err(|_| format!("`{text}` is not an address"));
    if found.backend.is_empty() {
        return Err("the backend is missing".to_owned());
    }
    if let Some(name) = found.names.iter().find(|name| name.is_empty() || **name != name.to_lowercase()) {
        return Err(format!("`{name}` must be lower case and not empty"));
    }
    let stream = StreamPolicy {
        idle: span(found.idle)?,
        longest: span(found.longest)?,
        retries: found.retries,
        backoff: Backoff {
            first: span(found.backoff_first)?.unwrap_or_default(),
            last: span(found.backoff_last)?.unwrap_or_default(),
            jitter: jitter(found.jitter).ok_or_else(|| format!("jitter {} is unknown", found.jitter))?,
        },
    };
    stream.check().map_err(|invalid| invalid.to_string())?;
    Ok(Destination {
        backend: BackendName::from_wire(&found.backend),
        addresses: found.addresses.iter().map(address).collect::<Result<_, _>>()?,
        port: u16::try_from(found.port).map_err(|_| format!("{} is not a port", found.port))?,
        names: found.names.clone(),
        speaks: match found.speaks {
            1 => Speaks::Http,
            2 => Speaks::Tcp,
            3 => Speaks::Unknown,
            other => return Err(format!("what speaks {other} is unknown")),
        },
        stream,
    })
}
