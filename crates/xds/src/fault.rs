//! Faults on purpose on the wire: Envoy's fault filter, configured route by route.

use std::collections::BTreeMap;

use prost::Message as _;
use squall_policy::{AbortWith, FaultAbort, FaultDelay, HeaderMatch, RouteFault};

use crate::decode::span as read;
use crate::encode::{any, header, span};
use crate::{proto, tables};

/// The filter's name, and the key of its configuration beside a route.
pub(crate) const FILTER: &str = "envoy.filters.http.fault";

const MILLION: i32 = 2;

/// The filter in the listener, which does nothing by itself.
pub(crate) fn filter() -> proto::Filter {
    let nothing = proto::HttpFault::default();
    proto::Filter { name: FILTER.to_owned(), typed_config: Some(any(&tables::fault::HTTP_FAULT, &nothing)) }
}

/// The configuration beside a route.
pub(crate) fn encode(fault: Option<&RouteFault>) -> BTreeMap<String, proto::Any> {
    let share = |ppm| Some(proto::FractionalPercent { numerator: ppm, denominator: MILLION });
    let configured = fault.map(|fault| {
        let delay =
            fault.delay.map(|delay| proto::FaultDelay { fixed_delay: span(delay.span), percentage: share(delay.ppm) });
        let abort = fault.abort.map(|abort| {
            let (http_status, grpc_status) = match abort.with {
                AbortWith::Status(status) => (Some(u32::from(status)), None),
                AbortWith::Grpc(code) => (None, Some(u32::from(code))),
            };
            proto::FaultAbort { http_status, percentage: share(abort.ppm), grpc_status }
        });
        let headers = fault.headers.iter().map(|wanted| header(&wanted.name, &wanted.value)).collect();
        let message = proto::HttpFault { delay, abort, headers };
        (FILTER.to_owned(), any(&tables::fault::HTTP_FAULT, &message))
    });
    configured.into_iter().collect()
}

/// Reads the configuration beside a route. The wire check has seen its type. `Err`: field and what is wrong with it.
pub(crate) fn decode(configured: &BTreeMap<String, proto::Any>) -> Result<Option<RouteFault>, (&'static str, String)> {
    let mut found = None;
    for (key, any) in configured {
        if key != FILTER {
            return Err(("typed_per_filter_config", format!("`{key}` is not supported: use {FILTER}")));
        }
        found = proto::HttpFault::decode(&any.value[..]).ok();
    }
    let Some(found) = found else { return Ok(None) };
    let mut headers = Vec::new();
    for matcher in &found.headers {
        let string = matcher.string_match.as_ref().and_then(|string| string.exact.as_ref());
        let Some(value) = string.or(matcher.exact_match.as_ref()) else {
            return Err(("typed_per_filter_config.headers", format!("`{}` must be compared exactly", matcher.name)));
        };
        let name = &matcher.name;
        if name.is_empty() || name.starts_with(':') || *name != name.to_lowercase() {
            return Err(("typed_per_filter_config.headers.name", format!("`{name}` cannot be compared")));
        }
        headers.push(HeaderMatch { name: name.clone(), value: value.clone() });
    }
    let wrong = |why: &str| ("typed_per_filter_config", why.to_owned());
    let delay = found.delay.as_ref().map(|delay| {
        let span = read(delay.fixed_delay).map_err(wrong)?.ok_or_else(|| wrong("delay needs fixed_delay"))?;
        Ok(FaultDelay { span, ppm: share(delay.percentage)? })
    });
    let abort = found.abort.as_ref().map(|abort| {
        let number = |found: u32| u16::try_from(found).unwrap_or(u16::MAX);
        let with = match (abort.http_status, abort.grpc_status) {
            (Some(status), None) => AbortWith::Status(number(status)),
            (None, Some(code)) => AbortWith::Grpc(u8::try_from(code).unwrap_or(u8::MAX)),
            (_, _) => return Err(wrong("abort needs just one of http_status and grpc_status")),
        };
        Ok(FaultAbort { with, ppm: share(abort.percentage)? })
    });
    let fault = RouteFault { headers, delay: delay.transpose()?, abort: abort.transpose()? };
    fault.check().map_err(|invalid| wrong(&invalid.to_string()))?;
    Ok(Some(fault))
}

fn share(found: Option<proto::FractionalPercent>) -> Result<u32, (&'static str, String)> {
    let field = "typed_per_filter_config.percentage";
    let Some(found) = found else { return Err((field, "is missing".to_owned())) };
    let scale = match found.denominator {
        0 => 10_000,
        1 => 100,
        MILLION => 1,
        other => return Err((field, format!("denominator {other} is unknown"))),
    };
    found.numerator.checked_mul(scale).ok_or_else(|| (field, format!("{} is more than all", found.numerator)))
}
