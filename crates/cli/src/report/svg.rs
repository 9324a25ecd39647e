//! Pictures that need no script: the timeline and the service graph of one run.

use std::fmt::Write as _;

use squall_sim::Outcome;
use squall_sim::timeline::{Bin, EdgeLine, LaneState, Timeline};

use super::html::escape;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 112.0;
const RIGHT: f64 = 24.0;
/// More lanes or lines than this are not drawn; the page says how many are left out.
pub(super) const LANES_MAX: usize = 24;
pub(super) const QUEUES_MAX: usize = 6;
/// How dark a cell of the heat map can be.
const SHADES: usize = 5;

/// The services with the deepest queues, deepest first.
pub(super) fn deepest(timeline: &Timeline) -> Vec<usize> {
    let peak = |index: &usize| timeline.services[*index].queue_max.iter().max().copied().unwrap_or(0);
    let mut all: Vec<usize> = (0..timeline.services.len()).filter(|index| peak(index) > 0).collect();
    all.sort_by_key(|index| (std::cmp::Reverse(peak(index)), *index));
    all.truncate(QUEUES_MAX);
    all
}

/// The panels of a run under each other on one time axis, with bands where faults were.
pub(super) fn timeline(timeline: &Timeline, outcome: &Outcome, duration_s: f64) -> String {
    let mut draw = Draw { svg: String::new(), top: 22.0, duration_s, bin_s: timeline.bin.as_secs_f64() };
    draw.success(timeline);
    draw.latency(timeline);
    draw.amplification(timeline);
    draw.queues(timeline);
    draw.lanes(timeline);
    let bottom = draw.top;
    let mut bands = String::new();
    for (number, fault) in outcome.faults.iter().enumerate() {
        let Some(began) = fault.began else { continue };
        let from = draw.x(began.as_nanos() as f64 / 1e9);
        let to = draw.x(fault.ended.map_or(duration_s, |ended| ended.as_nanos() as f64 / 1e9));
        let what = escape(&fault.what);
        let _ = write!(
            bands,
            "<g class=\"fault\"><title>{what}</title><rect x=\"{from:.1}\" y=\"16\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text x=\"{:.1}\" y=\"12\">{}</text></g>",
            (to - from).max(1.0),
            bottom - 16.0,
            from,
            number + 1
        );
    }
    draw.axis();
    let height = draw.top;
    format!(
        "<svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"Timeline of {}, seed {}: success \
         rate, latency, amplification, queues and what was out of service\">{bands}{}</svg>",
        escape(&outcome.scenario),
        outcome.seed,
        draw.svg
    )
}

struct Draw {
    svg: String,
    top: f64,
    duration_s: f64,
    bin_s: f64,
}

impl Draw {
    fn x(&self, at_s: f64) -> f64 {
        LEFT + (WIDTH - LEFT - RIGHT) * (at_s / self.duration_s).clamp(0.0, 1.0)
    }

    /// The left edge of a bin.
    fn left(&self, bin: usize) -> f64 {
        self.x(bin as f64 * self.bin_s)
    }

    fn panel(&mut self, title: &str, height: f64, ticks: &[(f64, String)]) -> f64 {
        let top = self.top + 16.0;
        let _ = write!(self.svg, "<text class=\"title\" x=\"0\" y=\"{:.1}\">{}</text>", top + 10.0, escape(title));
        for (part, label) in ticks {
            let y = top + height * (1.0 - part);
            let _ = write!(
                self.svg,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 3.5,
                escape(label)
            );
        }
        self.top = top + height;
        top
    }

    /// A stepped line through values between 0 and 1; `None` breaks it.
    fn steps(&mut self, class: &str, top: f64, height: f64, values: impl Iterator<Item = Option<f64>>) {
        let mut path = String::new();
        let mut pen_down = false;
        for (bin, value) in values.enumerate() {
            let Some(value) = value else {
                pen_down = false;
                continue;
            };
            let y = top + height * (1.0 - value.clamp(0.0, 1.0));
            let (from, to) = (self.left(bin), self.left(bin + 1));
            let _ = match pen_down {
                true => write!(path, "V{y:.1}H{to:.1}"),
                false => write!(path, "M{from:.1} {y:.1}H{to:.1}"),
            };
            pen_down = true;
        }
        let _ = write!(self.svg, "<path class=\"line {class}\" d=\"{path}\"/>");
    }

    fn success(&mut self, timeline: &Timeline) {
        let ticks = [(0.0, "0 %".to_owned()), (0.5, "50 %".to_owned()), (1.0, "100 %".to_owned())];
        let top = self.panel("Success", 70.0, &ticks);
        self.steps("success", top, 70.0, timeline.bins.iter().map(success));
    }

    fn latency(&mut self, timeline: &Timeline) {
        let (Some(most), Some(least)) = (timeline.buckets_ns.last(), timeline.buckets_ns.first()) else { return };
        let scale = LogScale::new(*least, *most);
        let ticks: Vec<(f64, String)> =
            scale.decades().map(|nanos| (scale.of(nanos), crate::numbers::span(nanos_of(nanos)))).collect();
        let height = 130.0;
        let top = self.panel("Latency", height, &ticks);
        let peak = timeline.bins.iter().flat_map(|bin| &bin.heat).max().copied().unwrap_or(0).max(1);
        let mut shades = vec![String::new(); SHADES];
        for (number, bin) in timeline.bins.iter().enumerate() {
            for (bucket, count) in bin.heat.iter().enumerate().filter(|(_, count)| **count > 0) {
                let above = scale.of(timeline.buckets_ns[bucket]);
                let below = bucket.checked_sub(1).map_or(0.0, |below| scale.of(timeline.buckets_ns[below]));
                let y = top + height * (1.0 - above);
                let (from, wide, tall) =
                    (self.left(number), self.left(number + 1) - self.left(number), height * (above - below));
                let shade = &mut shades[shade(*count, peak)];
                let _ = write!(shade, "M{from:.1} {y:.1}h{wide:.1}v{tall:.1}h-{wide:.1}z");
            }
        }
        for (number, path) in shades.iter().enumerate().filter(|(_, path)| !path.is_empty()) {
            let _ = write!(self.svg, "<path class=\"heat{number}\" d=\"{path}\"/>");
        }
        let at = |span: std::time::Duration| scale.of(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        self.steps("p50", top, height, timeline.bins.iter().map(|bin| (bin.requests > 0).then(|| at(bin.p50))));
        self.steps("p99", top, height, timeline.bins.iter().map(|bin| (bin.requests > 0).then(|| at(bin.p99))));
    }

    fn amplification(&mut self, timeline: &Timeline) {
        let most = timeline.bins.iter().filter_map(amplification).fold(2.0, f64::max).ceil();
        let ticks = [(0.0, "1".to_owned()), (1.0, format!("{most}"))];
        let top = self.panel("Amplification", 50.0, &ticks);
        let part = |bin: &Bin| amplification(bin).map(|value| (value - 1.0) / (most - 1.0));
        self.steps("amplification", top, 50.0, timeline.bins.iter().map(part));
    }

    fn queues(&mut self, timeline: &Timeline) {
        let deepest = deepest(timeline);
        let peak = deepest.first().and_then(|first| timeline.services[*first].queue_max.iter().max()).copied();
        let Some(peak) = peak else { return };
        let top = self.panel("Queue depth", 60.0, &[(0.0, "0".to_owned()), (1.0, peak.to_string())]);
        for (rank, service) in deepest.iter().enumerate() {
            let queue = &timeline.services[*service].queue_max;
            let parts = queue.iter().map(|depth| Some(*depth as f64 / peak as f64));
            self.steps(&format!("s{rank}"), top, 60.0, parts);
        }
    }

    fn lanes(&mut self, timeline: &Timeline) {
        if timeline.lanes.is_empty() {
            return;
        }
        self.top += 10.0;
        for lane in timeline.lanes.iter().take(LANES_MAX) {
            let y = self.top;
            let name = escape(&short(&lane.name, 18));
            let _ = write!(
                self.svg,
                "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{name}</text><path class=\"grid\" d=\"M{LEFT} {:.1}H{:.1}\"/>",
                LEFT - 6.0,
                y + 10.0,
                y + 12.0,
                WIDTH - RIGHT
            );
            let mut from = 0;
            while from < lane.states.len() {
                let state = lane.states[from];
                let to = from + lane.states[from..].iter().take_while(|other| **other == state).count();
                if state != LaneState::Fine {
                    let (x, end) = (self.left(from), self.left(to));
                    let word = word(state);
                    let _ = write!(
                        self.svg,
                        "<rect class=\"lane {word}\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{:.1}\" height=\"11\"><title>{name}: {word}</title></rect>",
                        end - x
                    );
                }
                from = to;
            }
            self.top += 14.0;
        }
    }

    fn axis(&mut self) {
        let y = self.top + 6.0;
        let _ = write!(self.svg, "<path class=\"axis\" d=\"M{LEFT} {y:.1}H{:.1}\"/>", WIDTH - RIGHT);
        let step = nice(self.duration_s / 8.0);
        let mut at = 0.0;
        while at <= self.duration_s * 1.000_001 {
            let x = self.x(at);
            let digits = if step < 1.0 { 2 } else { 0 };
            let _ = write!(self.svg, "<text class=\"time\" x=\"{x:.1}\" y=\"{:.1}\">{at:.digits$} s</text>", y + 15.0);
            at += step;
        }
        self.top = y + 20.0;
    }
}

/// What a lane's state is called, in words and in classes.
pub(super) fn word(state: LaneState) -> &'static str {
    match state {
        LaneState::Fine => "fine",
        LaneState::HalfOpen => "half-open",
        LaneState::Unhealthy => "unhealthy",
        LaneState::Ejected => "ejected",
        LaneState::Open => "open",
    }
}

/// Successes ÷ requests of a bin that has any.
pub(super) fn success(bin: &Bin) -> Option<f64> {
    (bin.requests > 0).then(|| bin.succeeded as f64 / bin.requests as f64)
}

/// Attempts ÷ calls that sent any.
pub(super) fn amplification(bin: &Bin) -> Option<f64> {
    (bin.firsts > 0).then(|| bin.attempts as f64 / bin.firsts as f64)
}

/// Which shade so many are: even a few are seen, so it goes by the root.
fn shade(count: u64, peak: u64) -> usize {
    let part = (count as f64 / peak as f64).sqrt();
    ((part * SHADES as f64).ceil() as usize).clamp(1, SHADES) - 1
}

fn nanos_of(nanos: u64) -> std::time::Duration {
    std::time::Duration::from_nanos(nanos)
}

/// 1, 2 or 5 × 10ⁿ, not below `least`.
fn nice(least: f64) -> f64 {
    let mut tens = 1e-6;
    loop {
        if let Some(step) = [1.0, 2.0, 5.0].iter().map(|factor| factor * tens).find(|step| *step >= least) {
            return step;
        }
        tens *= 10.0;
    }
}

fn short(name: &str, most: usize) -> String {
    match name.chars().count() > most {
        true => format!("{}…", name.chars().take(most - 1).collect::<String>()),
        false => name.to_owned(),
    }
}

/// Nanoseconds to a place between 0 and 1.
struct LogScale {
    from: f64,
    to: f64,
}

impl LogScale {
    /// From a little below `least`, the upper bound of the lowest bucket, to `most`.
    fn new(least: u64, most: u64) -> Self {
        let from = (least.max(2) as f64 * 0.6).ln();
        Self { from, to: (most.max(2) as f64).ln().max(from + 1.0) }
    }

    fn of(&self, nanos: u64) -> f64 {
        (((nanos.max(1) as f64).ln() - self.from) / (self.to - self.from)).clamp(0.0, 1.0)
    }

    /// The powers of ten in it.
    fn decades(&self) -> impl Iterator<Item = u64> {
        let (from, to) = (self.from, self.to);
        (0..19).map(|power| 10_u64.pow(power)).filter(move |nanos| {
            let place = (*nanos as f64).ln();
            place >= from && place <= to
        })
    }
}

/// The services and loads in columns, callers left of whom they call; `data-edge` is an edge's place in the timeline.
pub(super) fn graph(timeline: &Timeline) -> String {
    let mut names: Vec<&str> = Vec::new();
    for edge in &timeline.edges {
        for name in [edge.from.as_str(), edge.to.as_str()] {
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let place = |name: &str| names.iter().position(|other| *other == name).unwrap_or(0);
    let edges: Vec<(usize, usize)> = timeline.edges.iter().map(|edge| (place(&edge.from), place(&edge.to))).collect();
    // Longest paths; a circle ends when every node had its turn.
    let mut depth = vec![0_usize; names.len()];
    for _ in 0..names.len().min(12) {
        for (from, to) in edges.iter().filter(|(from, to)| from != to) {
            depth[*to] = depth[*to].max((depth[*from] + 1).min(12));
        }
    }
    let columns = depth.iter().max().map_or(1, |deepest| deepest + 1);
    let mut rows = vec![0_usize; columns];
    let row: Vec<usize> = depth
        .iter()
        .map(|column| {
            rows[*column] += 1;
            rows[*column] - 1
        })
        .collect();
    let tallest = rows.iter().max().copied().unwrap_or(1).max(1);
    let (wide, tall) = (150.0, 34.0);
    let gap = ((WIDTH - wide) / (columns.max(2) - 1) as f64).min(280.0);
    let height = tallest as f64 * 56.0 + 8.0;
    let spot = |node: usize| {
        let of = rows[depth[node]] as f64;
        (depth[node] as f64 * gap, (row[node] as f64 + 0.5) * height / of - tall / 2.0)
    };
    let sums: Vec<(u64, u64)> =
        timeline.edges.iter().map(|edge| (edge.requests.iter().sum(), edge.failed.iter().sum())).collect();
    let most = sums.iter().map(|(requests, _)| *requests).max().unwrap_or(1).max(1);
    let mut svg = String::new();
    for (number, (from, to)) in edges.iter().enumerate() {
        let ((x0, y0), (x1, y1)) = (spot(*from), spot(*to));
        let (x0, y0, y1) = (x0 + wide, y0 + tall / 2.0, y1 + tall / 2.0);
        let bend = ((x1 - x0) / 2.0).abs().max(24.0);
        let (requests, failed) = sums[number];
        let stroke = 1.0 + 5.0 * (requests as f64 / most as f64).sqrt();
        let class = class_of(failed, requests);
        let edge = &timeline.edges[number];
        let _ = write!(
            svg,
            "<path class=\"edge {class}\" data-edge=\"{number}\" stroke-width=\"{stroke:.1}\" d=\"M{x0:.1} {y0:.1}C{:.1} {y0:.1} {:.1} \
             {y1:.1} {x1:.1} {y1:.1}\"><title>{} → {}: {requests} requests, {failed} failed, {}</title></path>\
             <text class=\"proof unproven\" data-proof=\"{number}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x0 + bend,
            x1 - bend,
            escape(&edge.from),
            escape(&edge.to),
            proof(edge),
            // Beyond the fork, where it is this edge's alone.
            x0 + 0.72 * (x1 - x0),
            y0 + 0.84 * (y1 - y0) - 6.0,
            // What is as it should be needs no words in the picture.
            if edge.unproven.iter().any(|count| *count > 0) { proof(edge) } else { String::new() }
        );
    }
    for (node, name) in names.iter().enumerate() {
        let (x, y) = spot(node);
        let proof = timeline.services.iter().find(|service| service.name == *name).map(|service| {
            let (proven, not): (u64, u64) = (service.proven.iter().sum(), service.unproven.iter().sum());
            match proven + not {
                0 => "no requests".to_owned(),
                all => format!("mTLS {}", crate::numbers::percent(proven, all)),
            }
        });
        let under = proof.unwrap_or_else(|| if *name == "unknown" { "" } else { "load" }.to_owned());
        let name = escape(&short(name, 20));
        let _ = write!(
            svg,
            "<g class=\"node\" data-node=\"{name}\"><rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{wide}\" height=\"{tall}\" rx=\"6\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{name}</text><text class=\"proof\" x=\"{:.1}\" y=\"{:.1}\">{under}</text></g>",
            x + 10.0,
            y + 14.5,
            x + 10.0,
            y + 27.5
        );
    }
    let width = (columns - 1) as f64 * gap + wide;
    format!(
        "<svg class=\"graph\" viewBox=\"-2 0 {:.0} {height:.0}\" style=\"max-width:{:.0}px\" role=\"img\" aria-label=\"Who called whom: {} \
         services and loads, {} edges; the table below has the numbers\">{svg}</svg>",
        width + 4.0,
        width + 4.0,
        names.len(),
        edges.len()
    )
}

/// How many of an edge's callers proved who they are.
pub(super) fn proof(edge: &EdgeLine) -> String {
    let (proven, not): (u64, u64) = (edge.proven.iter().sum(), edge.unproven.iter().sum());
    match (proven, not) {
        (0, 0) => "nothing came through".to_owned(),
        (0, _) => "no mTLS".to_owned(),
        (proven, not) => format!("mTLS {}", crate::numbers::percent(proven, proven + not)),
    }
}

/// How an edge with so many failures looks.
fn class_of(failed: u64, requests: u64) -> &'static str {
    match failed {
        0 => "good",
        some if some * 100 < requests => "fair",
        _ => "bad",
    }
}
