//! Reads `network`: zones and links.

use std::sync::Arc;

use squall_control::Mistake;
use squall_control::yaml::{Fields, Value};

use super::names::Names;
use super::value;
use crate::scenario::{Between, LinkRule, LinkSetting, units};

const NETWORK: &[&str] = &["zones", "links"];

/// The zones; one called `zone` if none are given.
pub(super) fn zones(spec: Fields<'_>) -> Vec<Arc<str>> {
    let mut zones: Vec<Arc<str>> = Vec::new();
    let given = spec.get("network").and_then(|network| network.fields("network", NETWORK)?.get("zones")?.list());
    for zone in given.unwrap_or_default() {
        let Some(name) = value::dns_label(zone) else { continue };
        if zones.iter().any(|known| &**known == name) {
            let _ = zone.refuse::<()>(format!("zone `{name}` is given twice"));
        } else {
            zones.push(name.into());
        }
    }
    if zones.is_empty() {
        zones.push(super::zone_default());
    }
    zones
}

/// The rules for links.
pub(super) fn links(spec: Fields<'_>, names: &Names) -> Vec<LinkRule> {
    // The unknown fields of `network` were reported with the zones.
    let Some(network) = spec.get("network").filter(Value::is_map) else { return Vec::new() };
    let entries = network.entries().unwrap_or_default();
    let links = entries.into_iter().find(|(key, value)| key.name == "links" && !value.is_null());
    let rules = links.and_then(|(_, links)| links.list()).unwrap_or_default();
    rules.into_iter().filter_map(|rule| link(rule, names)).collect()
}

fn link(rule: Value<'_>, names: &Names) -> Option<LinkRule> {
    const LINK: &[&str] = &["within", "between", "from", "to", "latency", "jitter", "loss", "bandwidth"];
    let fields = rule.fields("a link", LINK)?;
    let between = match (fields.get("within"), fields.get("between"), fields.get("from"), fields.get("to")) {
        (None, None, None, None) => Between::All,
        (Some(within), None, None, None) => within.choice(&[("zone", Between::WithinZones)])?,
        (None, Some(between), None, None) if between.is_scalar() => between.choice(&[("zones", Between::Zones)])?,
        (None, Some(between), None, None) => {
            let [a, b] = pair(between)?;
            Between::Both(names.target(a)?, names.target(b)?)
        }
        (None, None, Some(from), Some(to)) => Between::OneWay(names.target(from)?, names.target(to)?),
        (None, None, _, _) => return rule.refuse("`from` and `to` go together"),
        (_, _, _, _) => return rule.refuse("give one of `within`, `between`, or `from` and `to`"),
    };
    let read = |name: &str| fields.get(name);
    let setting = LinkSetting {
        latency: read("latency").and_then(value::delay),
        jitter: read("jitter").and_then(value::span),
        loss_ppm: read("loss").and_then(|loss| loss.parsed(units::share)),
        bandwidth_bps: read("bandwidth").and_then(|bandwidth| bandwidth.parsed(units::bandwidth)),
    };
    if ["latency", "jitter", "loss", "bandwidth"].iter().all(|name| fields.get(name).is_none()) {
        let mistake = Mistake::new(rule.place(), "this link says nothing");
        rule.mistakes().push(mistake.help("give `latency`, `jitter`, `loss` or `bandwidth`"));
        return None;
    }
    Some(LinkRule { between, setting })
}

/// A list of two.
pub(super) fn pair(value: Value<'_>) -> Option<[Value<'_>; 2]> {
    match value.list()?.as_slice() {
        [a, b] => Some([*a, *b]),
        many => value.refuse(format!("needs two ends, found {}", many.len())),
    }
}
