//! `squall.dev/v1alpha1` FaultInjection. Its reference is [`crate::fault_injection`].

use std::time::Duration;

use squall_policy::{AbortWith, FaultAbort, FaultDelay, HeaderMatch, RouteFault};
use squall_xds::retry_on::GRPC;

use super::{Metadata, each, optional};
use crate::Mistake;
use crate::resources::FaultInjection;
use crate::yaml::Value;

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<FaultInjection> {
    let fields = spec.fields("FaultInjection spec", &["match", "delay", "abort"])?;
    let headers = optional(&fields, "match", |value| {
        let fields = value.fields("match", &["headers"])?;
        fields.required("headers").and_then(|list| each(list, header))
    });
    let delay = optional(&fields, "delay", |value| {
        let fields = value.fields("delay", &["fixed", "percentage"])?;
        let (span, ppm) = (fields.required("fixed"), fields.required("percentage"));
        let most = Duration::from_secs(3600);
        let span = span.and_then(|value| value.duration_within(Duration::from_nanos(1), most));
        Some(FaultDelay { ppm: ppm.and_then(share)?, span: span? })
    });
    let abort = optional(&fields, "abort", |value| {
        let fields = value.fields("abort", &["status", "grpc", "percentage"])?;
        let ppm = fields.required("percentage").and_then(share);
        let with = match (fields.get("status"), fields.get("grpc")) {
            (Some(status), None) => {
                let status = status.integer(400, 599).and_then(|status| u16::try_from(status).ok());
                status.map(AbortWith::Status)
            }
            (None, Some(name)) => grpc(name).map(AbortWith::Grpc),
            (_, _) => value.refuse("an abort needs just one of `status` and `grpc`"),
        };
        Some(FaultAbort { with: with?, ppm: ppm? })
    });
    let (headers, delay, abort) = (headers?.unwrap_or_default(), delay?, abort?);
    if delay.is_none() && abort.is_none() {
        return spec.refuse("a fault without `delay` and `abort` has no effect");
    }
    Some(FaultInjection { id: metadata.id, place: metadata.place, fault: RouteFault { headers, delay, abort } })
}

fn header(value: Value<'_>) -> Option<HeaderMatch> {
    let fields = value.fields("header match", &["name", "value"])?;
    let (name, value) = (fields.required("name"), fields.required("value"));
    Some(HeaderMatch { name: super::route::header_name(name?)?, value: value?.text()?.to_owned() })
}

/// More than nothing, in millionths.
fn share(value: Value<'_>) -> Option<u32> {
    match value.permille(1000)? {
        0 => value.refuse("must be more than 0 %"),
        permille => Some(permille * 1000),
    }
}

fn grpc(value: Value<'_>) -> Option<u8> {
    let text = value.scalar()?;
    if let Some(place) = GRPC.iter().position(|name| *name == text) {
        return u8::try_from(place + 1).ok();
    }
    let mistake = Mistake::new(value.place(), format!("`{text}` is not a gRPC status"));
    value.mistakes().push(mistake.suggest(text, GRPC.iter().copied()));
    None
}
