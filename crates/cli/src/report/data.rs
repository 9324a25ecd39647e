//! The numbers of a page, for its script and for whoever wants to read them: one JSON object.

use serde_json::{Map, Value, json};
use squall_sim::Case;
use squall_sim::timeline::{LaneState, Observed};

use crate::results::{COLUMNS, MadeBy, row};

/// The numbers of a case, as the CSV has them: by column, digit for digit.
pub(super) fn run(case: &Case, by: MadeBy) -> Value {
    let cells = COLUMNS.iter().zip(row(case, by)).map(|(name, cell)| ((*name).to_owned(), Value::String(cell)));
    Value::Object(cells.collect::<Map<_, _>>())
}

/// A run over time. Times are in seconds, latencies in milliseconds, both with all the digits that matter.
pub(super) fn detail(observed: &Observed, duration_s: f64) -> Value {
    let line = &observed.timeline;
    let per_bin =
        |pick: &dyn Fn(&squall_sim::timeline::Bin) -> Value| -> Value { line.bins.iter().map(pick).collect() };
    let millis = |span: std::time::Duration| Value::from(span.as_nanos() as f64 / 1e6);
    let heat = per_bin(&|bin| {
        let cells = bin.heat.iter().enumerate().filter(|(_, count)| **count > 0);
        cells.flat_map(|(bucket, count)| [Value::from(bucket), Value::from(*count)]).collect()
    });
    let faults = observed.outcome.faults.iter().filter_map(|fault| {
        let seconds = |at: squall_policy::Instant| at.as_nanos() as f64 / 1e9;
        let began = fault.began?;
        Some(json!({ "what": fault.what, "from": seconds(began), "to": fault.ended.map_or(duration_s, seconds) }))
    });
    let services = line.services.iter().map(|service| {
        json!({ "name": service.name, "queue": service.queue_max, "inFlight": service.in_flight_max,
                "proven": service.proven, "unproven": service.unproven })
    });
    let edges = line.edges.iter().map(|edge| {
        json!({ "from": edge.from, "to": edge.to, "requests": edge.requests, "failed": edge.failed,
                "attempts": edge.attempts, "proven": edge.proven, "unproven": edge.unproven })
    });
    let lanes = line.lanes.iter().take(super::svg::LANES_MAX).map(|lane| {
        json!({ "name": lane.name, "states": lane.states.iter().map(|state| letter(*state)).collect::<String>() })
    });
    json!({
        "seed": observed.outcome.seed,
        "duration": duration_s,
        "bin": line.bin.as_secs_f64(),
        "requests": per_bin(&|bin| bin.requests.into()),
        "succeeded": per_bin(&|bin| bin.succeeded.into()),
        "attempts": per_bin(&|bin| bin.attempts.into()),
        "firsts": per_bin(&|bin| bin.firsts.into()),
        "inFlight": per_bin(&|bin| bin.in_flight_max.into()),
        "p50": per_bin(&|bin| millis(bin.p50)),
        "p90": per_bin(&|bin| millis(bin.p90)),
        "p99": per_bin(&|bin| millis(bin.p99)),
        "max": per_bin(&|bin| millis(bin.max)),
        "heat": heat,
        "buckets": line.buckets_ns.iter().map(|nanos| *nanos as f64 / 1e6).collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
        "services": services.collect::<Vec<_>>(),
        "queues": super::svg::deepest(line),
        "edges": edges.collect::<Vec<_>>(),
        "lanes": lanes.collect::<Vec<_>>(),
    })
}

fn letter(state: LaneState) -> char {
    match state {
        LaneState::Fine => '.',
        LaneState::HalfOpen => 'h',
        LaneState::Unhealthy => 'u',
        LaneState::Ejected => 'e',
        LaneState::Open => 'o',
    }
}

/// As text inside a script element, which it cannot end.
pub(super) fn embed(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c").replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029")
}
