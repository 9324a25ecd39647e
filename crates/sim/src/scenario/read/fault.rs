//! Reads `faults`: the schedule of what goes wrong.

use std::time::Duration;

use squall_control::Mistake;
use squall_control::units::show;
use squall_control::yaml::{Fields, Value};

use super::names::{Names, Role};
use super::network::pair;
use super::value;
use crate::engine::CrashMode;
use crate::scenario::{
    ControlSpec, Crashing, Ends, Fault, FaultKind, OutageArrivals, Restart, Start, Strike, Target, units,
};

const KINDS: &[&str] = &[
    "latency",
    "jitter",
    "loss",
    "bandwidth",
    "partition",
    "crash",
    "pause",
    "errors",
    "slow",
    "outage",
    "controlDown",
    "rollingRestart",
];
const FAULT: &[&str] = &[
    "at",
    "afterRequest",
    "for",
    "latency",
    "jitter",
    "loss",
    "bandwidth",
    "partition",
    "crash",
    "pause",
    "errors",
    "slow",
    "outage",
    "controlDown",
    "rollingRestart",
];

/// The faults of the scenario.
pub(super) fn faults(spec: Fields<'_>, duration: Duration, names: &Names) -> Vec<Fault> {
    let list = spec.get("faults").and_then(|faults| faults.list()).unwrap_or_default();
    list.into_iter().filter_map(|entry| fault(entry, duration, names)).collect()
}

fn fault(entry: Value<'_>, duration: Duration, names: &Names) -> Option<Fault> {
    let fields = entry.fields("a fault", FAULT)?;
    // `controlDown:` needs no value, so that it is looked for by its key.
    let entries = entry.entries()?;
    let given: Vec<_> = entries.iter().filter(|(key, _)| KINDS.contains(&key.name.as_str())).collect();
    let (kind, value) = match given.as_slice() {
        [(key, value)] => (key.name.as_str(), *value),
        [] => {
            let mistake = Mistake::new(entry.place(), "this fault does nothing");
            entry.mistakes().push(mistake.help(format!("give one of {}", KINDS.join(", "))));
            return None;
        }
        [(first, _), (second, _), ..] => {
            let mistake = Mistake::new(&second.place, format!("`{}` and `{}` in one fault", first.name, second.name));
            entry.mistakes().push(mistake.label(&first.place, "the first").help("write two faults"));
            return None;
        }
    };
    let start = match (fields.get("at"), fields.get("afterRequest")) {
        (Some(at), None) => {
            let at_span = value::span(at)?;
            if at_span >= duration {
                return at.refuse(format!("the scenario lasts only {}", show(duration)));
            }
            Start::At(at_span)
        }
        (None, Some(count)) => Start::AfterRequest(count.integer(1, u64::MAX)?),
        (None, None) => return entry.refuse("a fault needs `at` or `afterRequest`"),
        (Some(_), Some(count)) => return count.refuse("`at` and `afterRequest` in one fault"),
    };
    let lasts = match fields.get("for") {
        None => None,
        Some(span) => Some((value::positive(span)?, span)),
    };
    if let (Start::At(at), Some((lasts, span))) = (start, lasts)
        && at + lasts > duration
    {
        let end = show(at + lasts);
        return span.refuse(format!("the fault ends at {end}, the scenario at {}", show(duration)));
    }
    let (kind, name) = read(kind, value, names)?;
    if let FaultKind::RollingRestart(restart) = &kind {
        if let Some((_, span)) = lasts {
            return span.refuse("a rolling restart ends when its last pod is back: leave out `for`");
        }
        let turn = restart.drain + restart.down + restart.gap;
        let all = turn.saturating_mul(names.hosts(&restart.target));
        if let Start::At(at) = start
            && at + all > duration
        {
            let (end, most) = (show(at + all), show(duration));
            return entry.refuse(format!("the rolling restart takes to {end}, the scenario ends at {most}"));
        }
    }
    Some(Fault { place: entry.place().clone(), name, start, lasts: lasts.map(|(lasts, _)| lasts), kind })
}

fn read(kind: &str, value: Value<'_>, names: &Names) -> Option<(FaultKind, String)> {
    match kind {
        "latency" => {
            let (fields, ends, where_) = link(value, "latency", &["add"], names)?;
            let add = fields.required("add")?;
            let delay = value::delay(add)?;
            let shown = if add.is_scalar() { format!(" +{}", add.scalar()?) } else { String::new() };
            Some((FaultKind::Latency { ends, add: delay }, format!("latency{shown} {where_}")))
        }
        "jitter" => {
            let (fields, ends, where_) = link(value, "jitter", &["add"], names)?;
            let add = value::positive(fields.required("add")?)?;
            Some((FaultKind::Jitter { ends, add }, format!("jitter +{} {where_}", show(add))))
        }
        "loss" => {
            let (fields, ends, where_) = link(value, "loss", &["rate"], names)?;
            let rate = fields.required("rate")?;
            let ppm = rate.parsed(units::share)?;
            if ppm == 0 {
                return rate.refuse("a loss of 0% is no fault");
            }
            Some((FaultKind::Loss { ends, ppm }, format!("loss {} {where_}", rate.scalar()?)))
        }
        "bandwidth" => {
            let (fields, ends, where_) = link(value, "bandwidth", &["limit"], names)?;
            let limit = fields.required("limit")?;
            let bps = limit.parsed(units::bandwidth)?;
            Some((FaultKind::Bandwidth { ends, bps }, format!("bandwidth {} {where_}", limit.scalar()?)))
        }
        "partition" => {
            let (_, ends, where_) = link(value, "partition", &[], names)?;
            if (&ends.from, &ends.to) == (&Target::All, &Target::All) {
                let mistake = Mistake::new(value.place(), "a partition of everyone from everyone");
                value.mistakes().push(mistake.help("name its ends: `zone`, `target`, `between`, or `from` and `to`"));
                return None;
            }
            Some((FaultKind::Partition { ends }, format!("partition {where_}")))
        }
        "crash" => {
            let (target, mode) = if value.is_map() && !is_zone(value) {
                let fields = value.fields("a crash", &["target", "mode"])?;
                (fields.required("target")?, fields.get("mode").map_or(Some(CrashMode::Reset), mode)?)
            } else {
                (value, CrashMode::Reset)
            };
            let target = names.target(target)?;
            if matches!(&target, Target::Service(name) | Target::Replica(name, _) if names.role(name) == Some(Role::Load))
            {
                return value.refuse("a load cannot crash: it measures");
            }
            let name = format!("crash {target}");
            Some((FaultKind::Crash(Crashing { target, mode }), name))
        }
        "controlDown" => {
            let mode = if value.is_null() {
                CrashMode::Reset
            } else {
                value.fields("controlDown", &["mode"])?.get("mode").map_or(Some(CrashMode::Reset), mode)?
            };
            let target = Target::Service(ControlSpec::HOST.into());
            Some((FaultKind::Crash(Crashing { target, mode }), "control plane down".to_owned()))
        }
        "pause" => {
            let target = names.target(value)?;
            if matches!(&target, Target::Service(name) | Target::Replica(name, _) if names.role(name) == Some(Role::Load))
            {
                return value.refuse("a load cannot be paused: it measures");
            }
            let name = format!("pause {target}");
            Some((FaultKind::Pause { target }, name))
        }
        "errors" => {
            let fields = value.fields("errors", &["target", "rate", "status"])?;
            let target = names.serving(fields.required("target")?, "`errors`")?;
            let rate = fields.required("rate")?;
            let ppm = rate.parsed(units::share)?;
            if ppm == 0 {
                return rate.refuse("an error rate of 0% is no fault");
            }
            let status = fields.get("status").map_or(Some(500), |status| status.integer(400, 599))?;
            let name = format!("errors {} of {target}", rate.scalar()?);
            Some((FaultKind::Errors { target, ppm, status: u16::try_from(status).ok()? }, name))
        }
        "slow" => {
            let fields = value.fields("slow", &["target", "by", "add", "to"])?;
            let target = names.serving(fields.required("target")?, "`slow`")?;
            let (strike, shown) = match (fields.get("by"), fields.get("add"), fields.get("to")) {
                (Some(by), None, None) => {
                    let factor = by.parsed(units::factor)?;
                    (Strike::Times(factor), format!("×{}", by.scalar()?.trim_end_matches(['x', '×'])))
                }
                (None, Some(add), None) => {
                    let span = value::positive(add)?;
                    (Strike::Add(span), format!("+{}", show(span)))
                }
                (None, None, Some(to)) => {
                    let span = value::positive(to)?;
                    (Strike::To(span), show(span))
                }
                (_, _, _) => return value.refuse("needs one of `by: 20x`, `add: 100ms` and `to: 2s`"),
            };
            let name = format!("{target} slow {shown}");
            Some((FaultKind::Slow { target, strike }, name))
        }
        "outage" => {
            let fields = value.fields("an outage", &["target", "arrivals", "status"])?;
            let target = names.serving(fields.required("target")?, "`outage`")?;
            let kinds = [
                ("held", OutageArrivals::Held),
                ("refused", OutageArrivals::Refused(503)),
                ("lost", OutageArrivals::Lost),
            ];
            let mut arrivals = fields.required("arrivals")?.choice(&kinds)?;
            if let Some((key, given)) = fields.keyed("status") {
                let OutageArrivals::Refused(status) = &mut arrivals else {
                    let mistake = Mistake::new(&key.place, "`status` goes with `arrivals: refused`");
                    value.mistakes().push(mistake);
                    return None;
                };
                *status = u16::try_from(given.integer(400, 599)?).ok()?;
            }
            let name = format!("outage of {target}");
            Some((FaultKind::Outage { target, arrivals }, name))
        }
        "rollingRestart" => {
            let (target, fields) = if value.is_map() && !is_zone(value) {
                let fields = value.fields("a rolling restart", &["target", "drain", "down", "gap"])?;
                (fields.required("target")?, Some(fields))
            } else {
                (value, None)
            };
            let target = names.serving(target, "a rolling restart")?;
            let read = |name: &str, default: u64| match fields.and_then(|fields| fields.get(name)) {
                Some(span) => value::span(span),
                None => Some(Duration::from_secs(default)),
            };
            let name = format!("rolling restart of {target}");
            let (drain, down, gap) = (read("drain", 5)?, read("down", 1)?, read("gap", 1)?);
            Some((FaultKind::RollingRestart(Restart { target, drain, down, gap }), name))
        }
        other => unreachable!("`{other}` is not among the kinds"),
    }
}

fn is_zone(value: Value<'_>) -> bool {
    value.entries().is_some_and(|entries| entries.iter().any(|(key, _)| key.name == "zone"))
}

fn mode(value: Value<'_>) -> Option<CrashMode> {
    value.choice(&[("reset", CrashMode::Reset), ("silent", CrashMode::Silent)])
}

/// The ends of a link, and the fields of the fault: `between: [a, b]`, `from: a, to: b`, `target: a`, `zone: a`, or none for
/// all links.
fn link<'a>(value: Value<'a>, what: &'a str, own: &[&str], names: &Names) -> Option<(Fields<'a>, Ends, String)> {
    const PLAIN: &[&str] = &["between", "from", "to", "target", "zone"];
    const ADD: &[&str] = &["between", "from", "to", "target", "zone", "add"];
    const RATE: &[&str] = &["between", "from", "to", "target", "zone", "rate"];
    const LIMIT: &[&str] = &["between", "from", "to", "target", "zone", "limit"];
    let known = match own {
        ["add"] => ADD,
        ["rate"] => RATE,
        ["limit"] => LIMIT,
        _ => PLAIN,
    };
    let fields = value.fields(what, known)?;
    let given: Vec<&str> = PLAIN.iter().copied().filter(|name| fields.get(name).is_some()).collect();
    let one = |name: &str| fields.get(name).expect("it is the field that is given");
    let ends = match given.as_slice() {
        [] => Ends { from: Target::All, to: Target::All, both: true },
        ["between"] => {
            let [a, b] = pair(one("between"))?;
            Ends { from: names.target(a)?, to: names.target(b)?, both: true }
        }
        ["from", "to"] => Ends { from: names.target(one("from"))?, to: names.target(one("to"))?, both: false },
        ["from"] => Ends { from: names.target(one("from"))?, to: Target::All, both: false },
        ["to"] => Ends { from: Target::All, to: names.target(one("to"))?, both: false },
        ["target"] => Ends { from: names.target(one("target"))?, to: Target::All, both: true },
        ["zone"] => {
            let zone = value::zone(one("zone"), &names.zones)?;
            if names.zones.len() == 1 {
                return value.refuse("with one zone there is no one else");
            }
            Ends { from: Target::Zone(zone), to: Target::All, both: true }
        }
        many => return value.refuse(format!("cannot be {} at once", many.join(" and "))),
    };
    let shown = match (&ends.from, &ends.to, ends.both) {
        (Target::All, Target::All, _) => "everywhere".to_owned(),
        (from, Target::All, true) => format!("around {from}"),
        (from, to, true) => format!("between {from} and {to}"),
        (from, to, false) => format!("from {from} to {to}"),
    };
    Some((fields, ends, shown))
}
