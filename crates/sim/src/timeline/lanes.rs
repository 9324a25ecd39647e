//! When endpoints were out of service, and why.

use std::collections::BTreeMap;

use squall_policy::Instant;

use super::{Frame, text};
use crate::history::History;

/// An endpoint, or a Service as a whole, over time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The endpoint's name; for the breaker of a whole Service, the backend's.
    pub name: String,
    /// The worst that any sidecar thought of it, by bin.
    pub states: Vec<LaneState>,
}

/// What a sidecar thought of an endpoint. Ordered from best to worst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LaneState {
    /// In service.
    #[default]
    Fine,
    /// Its breaker lets probes through.
    HalfOpen,
    /// It failed its health checks.
    Unhealthy,
    /// Outlier detection took it out.
    Ejected,
    /// Its breaker refuses.
    Open,
}

/// Who thinks so of what, by which machine: breakers, ejections and health are independent of each other.
type Key<'h> = (&'h str, &'h str, &'h str, u8);

/// One lane for each endpoint that ever was out of service, by name.
pub(super) fn lanes(history: &History, frame: &Frame) -> Vec<Lane> {
    let mut lanes: BTreeMap<&str, Vec<LaneState>> = BTreeMap::new();
    let mut now: BTreeMap<Key<'_>, (LaneState, Instant)> = BTreeMap::new();
    let end = Instant::ZERO + frame.whole.length();
    let mut paint = |name, state, from: Instant, to: Instant| {
        let lane: &mut Vec<LaneState> = lanes.entry(name).or_insert_with(|| vec![LaneState::Fine; frame.count]);
        let first = frame.at(from).unwrap_or(frame.count);
        let last = frame.at(to).unwrap_or(frame.count - 1);
        for cell in lane.iter_mut().take(last + 1).skip(first) {
            *cell = (*cell).max(state);
        }
    };
    for entry in history.entries().iter().filter(|entry| entry.kind == "backend") {
        let Some((machine, state)) = turn(text(entry, "turn")) else { continue };
        let backend = text(entry, "backend");
        let name = match text(entry, "endpoint") {
            "" => backend,
            endpoint => endpoint,
        };
        let key = (&*entry.host, backend, name, machine);
        let at = if entry.before_start_ns > 0 { Instant::ZERO } else { entry.at };
        if let Some((was, since)) = now.remove(&key) {
            paint(name, was, since, at);
        }
        if state != LaneState::Fine {
            now.insert(key, (state, at));
        }
    }
    for ((_, _, name, _), (state, since)) in now {
        paint(name, state, since, end);
    }
    let out = |states: &Vec<LaneState>| states.iter().any(|state| *state != LaneState::Fine);
    let kept = lanes.into_iter().filter(|(_, states)| out(states));
    kept.map(|(name, states)| Lane { name: name.to_owned(), states }).collect()
}

/// Which machine moved, and where to.
fn turn(name: &str) -> Option<(u8, LaneState)> {
    let turn = match name {
        "breaker-opened" | "service-breaker-opened" => (0, LaneState::Open),
        "breaker-half-open" | "service-breaker-half-open" => (0, LaneState::HalfOpen),
        "breaker-closed" | "service-breaker-closed" => (0, LaneState::Fine),
        "ejected" => (1, LaneState::Ejected),
        "returned" => (1, LaneState::Fine),
        "unhealthy" => (2, LaneState::Unhealthy),
        "healthy" => (2, LaneState::Fine),
        _ => return None,
    };
    Some(turn)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Entry, Field};
    use crate::window::Span;
    use std::time::Duration;

    fn at(ms: u64) -> Instant {
        Instant::from_nanos(ms * 1_000_000)
    }

    #[track_caller]
    fn check(turns: &[(u64, &str, &str)], want: &[(&str, &str)]) {
        let entry = |&(ms, host, turn): &(u64, &str, &str)| Entry {
            at: at(ms),
            before_start_ns: 0,
            host: host.into(),
            kind: "backend",
            request: None,
            text: String::new(),
            fields: vec![
                ("backend", Field::Text("shop/catalog:80".into())),
                ("turn", Field::Text(turn.into())),
                ("endpoint", Field::Text("catalog-0".into())),
            ],
        };
        let frame = Frame { whole: Span { from: at(5000), to: at(11_000) }, bin: Duration::from_secs(1), count: 6 };
        let found = lanes(&History::new(turns.iter().map(entry)), &frame);
        let letter = |state: &LaneState| match state {
            LaneState::Fine => '.',
            LaneState::HalfOpen => 'h',
            LaneState::Unhealthy => 'u',
            LaneState::Ejected => 'e',
            LaneState::Open => 'o',
        };
        let shown: Vec<(String, String)> =
            found.iter().map(|lane| (lane.name.clone(), lane.states.iter().map(letter).collect())).collect();
        let want: Vec<(String, String)> = want.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
        assert_eq!(shown, want);
    }

    #[test]
    fn a_lane_shows_the_worst_of_all_sidecars_in_each_bin() {
        let opened = [(1500, "a", "breaker-opened"), (3200, "a", "breaker-half-open"), (3900, "a", "breaker-closed")];
        check(&opened, &[("catalog-0", ".ooo..")]);
        check(
            &[(1500, "a", "ejected"), (2500, "b", "breaker-opened"), (2600, "b", "breaker-closed")],
            &[("catalog-0", ".eoeee")],
        );
    }

    #[test]
    fn who_is_never_out_has_no_lane() {
        check(&[(100, "a", "healthy"), (200, "a", "limit"), (300, "a", "returned")], &[]);
    }
}
