//! `squall new --random`: a mesh that nobody thought of, of the shape that those of large companies have.
//!
//! Luo et al. (Characterizing Microservice Dependency and Performance: Alibaba Trace Analysis, SoCC 2021) found call graphs that grow like
//! trees, with sizes and fan-outs that are heavy-tailed, in which one service in twenty is shared by most of the others. So it is here:
//!
//! | what | how it is drawn |
//! |---|---|
//! | who calls whom | a tree: each service has one caller, drawn by 1 + how many it calls already, which makes fan-outs heavy-tailed (Yule, Simon), among those that are not too deep |
//! | shared services | one in twenty, at least one from six services on; every second of the others calls one of them, the first of them most (by 1/rank) |
//! | whether a call is made | half of the calls always, three of ten for every second request, two of ten for every tenth |
//! | whether it can be done without | three of twenty calls |
//! | in which order | one after the other; for half of the services with several calls, the first two to four at once |
//! | own times | lognormal: medians of 1, 2, 3, 5 and 8 ms (3:3:2:1:1), 99th percentiles 3, 5 and 8 times as long (3:2:1) |
//! | pods | two or three of each |
//!
//! Only the first two are measured; the rest is a guess that can be changed in the files. The same numbers and seed give the same files on every
//! machine: dice and arithmetic are whole numbers.

use squall_control::units;
use squall_policy::Rng;

use super::{ON_THE_WAY_MS, Outcome, outcome, rate_text, round_up};
use crate::draft::{Draft, Load, Service, Step};
use crate::numbers::count;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// How many services, 2 to 1000.
    pub(super) services: u32,
    /// No service is more calls away from the first, at least 1.
    pub(super) depth: u32,
    pub(super) seed: u64,
    /// Thousandths of a request per second; `None`: as many as make 2000 requests per second over all services, 1 to 100.
    pub(super) rate_milli: Option<u64>,
    pub(super) replicas: Option<u32>,
}

/// Requests per second over all services, if nobody says how many arrive.
const VISITS_PER_SECOND: u64 = 2000;
/// One service in so many is shared.
const SHARED_ONE_IN: usize = 20;
/// Fewer services share nothing.
const SHARED_FROM: usize = 6;

#[derive(Debug)]
struct Node {
    /// Calls from the first service.
    level: u32,
    is_shared: bool,
    calls: Vec<Call>,
    /// So many of the first calls are made at once.
    at_once: usize,
    p50_ms: u64,
    p99_ms: u64,
    replicas: u32,
}

#[derive(Debug)]
struct Call {
    to: usize,
    permille: u32,
    optional: bool,
}

/// One of these, by weight.
fn one<T: Copy>(rng: &mut Rng, of: &[(u64, T)]) -> T {
    let mut left = rng.below(of.iter().map(|(weight, _)| weight).sum());
    for (weight, value) in of {
        if left < *weight {
            return *value;
        }
        left -= weight;
    }
    unreachable!("the die has as many sides as the weights' sum")
}

/// The services, callers before those whom they call.
fn nodes(wish: Wish) -> Vec<Node> {
    let rng = Rng::from_seed(wish.seed);
    let all = wish.services as usize;
    let shared = if all < SHARED_FROM { 0 } else { (all / SHARED_ONE_IN).max(1) };
    let mut nodes = tree(all - shared, wish.depth, &mut rng.fork("tree"));
    let callers = nodes.len();
    share(&mut nodes, shared, wish.depth, &mut rng.fork("shared"));
    let (mut calls, mut times) = (rng.fork("calls"), rng.fork("times"));
    for node in &mut nodes {
        for call in node.calls.iter_mut().filter(|call| call.to < callers) {
            call.permille = one(&mut calls, &[(5, 1000), (3, 500), (2, 100)]);
        }
        for call in &mut node.calls {
            call.optional = calls.chance(150);
        }
        if node.calls.len() > 1 && calls.chance(500) {
            node.at_once = (2 + calls.below(3) as usize).min(node.calls.len());
        }
        node.p50_ms = one(&mut times, &[(3, 1), (3, 2), (2, 3), (1, 5), (1, 8)]);
        node.p99_ms = node.p50_ms * one(&mut times, &[(3, 3), (2, 5), (1, 8)]);
        let drawn = 2 + times.below(2) as u32;
        node.replicas = wish.replicas.unwrap_or(drawn);
    }
    // Every request calls somebody.
    if let Some(first) = nodes[0].calls.first_mut() {
        (first.permille, first.optional) = (1000, false);
    }
    nodes
}

fn node(level: u32, is_shared: bool) -> Node {
    Node { level, is_shared, calls: Vec::new(), at_once: 0, p50_ms: 1, p99_ms: 1, replicas: 1 }
}

fn call(to: usize) -> Call {
    Call { to, permille: 1000, optional: false }
}

fn tree(size: usize, depth: u32, rng: &mut Rng) -> Vec<Node> {
    let mut nodes = vec![node(0, false)];
    while nodes.len() < size {
        let may: Vec<(u64, usize)> = (nodes.iter().enumerate())
            .filter(|(_, node)| node.level < depth)
            .map(|(at, node)| (1 + node.calls.len() as u64, at))
            .collect();
        let caller = one(rng, &may);
        let (level, to) = (nodes[caller].level + 1, nodes.len());
        nodes.push(node(level, false));
        nodes[caller].calls.push(call(to));
    }
    nodes
}

fn share(nodes: &mut Vec<Node>, shared: usize, depth: u32, rng: &mut Rng) {
    if shared == 0 {
        return;
    }
    let first = nodes.len();
    let may: Vec<usize> = (0..first).filter(|at| nodes[*at].level < depth).collect();
    let ranks: Vec<(u64, usize)> = (0..shared).map(|nth| (1_000_000 / (nth as u64 + 1), first + nth)).collect();
    nodes.extend((0..shared).map(|_| node(1, true)));
    for caller in may.iter().copied().filter(|caller| *caller > 0) {
        if rng.chance(500) {
            let to = one(rng, &ranks);
            nodes[caller].calls.push(call(to));
        }
    }
    for to in first..first + shared {
        if !nodes[..first].iter().any(|node| node.calls.iter().any(|call| call.to == to)) {
            let caller = may[rng.below(may.len() as u64) as usize];
            nodes[caller].calls.push(call(to));
        }
        let levels = nodes[..first].iter().filter(|node| node.calls.iter().any(|call| call.to == to));
        nodes[to].level = 1 + levels.map(|node| node.level).max().unwrap_or(0);
    }
}

/// How often each is asked per thousand requests that arrive.
fn visits(nodes: &[Node]) -> Vec<u64> {
    let mut visits = vec![0; nodes.len()];
    visits[0] = 1000;
    for (at, node) in nodes.iter().enumerate() {
        for call in &node.calls {
            visits[call.to] += visits[at] * u64::from(call.permille) / 1000;
        }
    }
    visits
}

/// How long answers take, calls included: the mean at most, and the 99th percentiles one after the other.
fn spans(nodes: &[Node]) -> Vec<(u64, u64)> {
    let mut spans = vec![(0, 0); nodes.len()];
    for (at, node) in nodes.iter().enumerate().rev() {
        let of = |call: &Call| (spans[call.to].0 + ON_THE_WAY_MS, spans[call.to].1 + ON_THE_WAY_MS);
        let (at_once, after) = node.calls.split_at(node.at_once);
        let together = at_once.iter().map(of).fold((0, 0), |(a, b): (u64, u64), (c, d)| (a.max(c), b.max(d)));
        let below = after.iter().map(of).fold(together, |(a, b), (c, d)| (a + c, b + d));
        // The mean of a lognormal whose 99th percentile is eight times its median is half as long again.
        spans[at] = (node.p50_ms * 2 + below.0, node.p99_ms + below.1);
    }
    spans
}

fn names(nodes: &[Node]) -> Vec<String> {
    let first = nodes.iter().position(|node| node.is_shared).unwrap_or(nodes.len());
    let width = first.to_string().len();
    let name = |at: usize| match at {
        0 => "entry".to_owned(),
        at if at < first => format!("s{at:0width$}"),
        at => format!("shared-{}", at - first + 1),
    };
    (0..nodes.len()).map(name).collect()
}

/// The scenario of a mesh drawn like this.
pub(super) fn draft(name: &str, wish: Wish) -> Draft {
    let nodes = nodes(wish);
    let (names, visits, spans) = (names(&nodes), visits(&nodes), spans(&nodes));
    let per_request: u64 = visits.iter().sum();
    let usual = (VISITS_PER_SECOND * 1000 / per_request.max(1)).clamp(1, 100) * 1000;
    let rate_milli = wish.rate_milli.unwrap_or(usual);
    let callers = |of: usize| nodes.iter().filter(|node| node.calls.iter().any(|call| call.to == of)).count();
    let service = |(at, node): (usize, &Node)| {
        // In millionths of a request per second, times milliseconds.
        let busy = u128::from(rate_milli) * u128::from(visits[at]) * u128::from(spans[at].0) / 1_000_000_000;
        let slots = (busy as u64 * 4 / u64::from(node.replicas)).max(8).next_power_of_two().min(1_000_000);
        // Of a lognormal with the longest tail here, one in a million takes longer.
        let attempt = round_up(spans[at].1 * 8).max(200);
        let notes = match (at, node.is_shared) {
            (0, _) => drawn(wish),
            (_, true) => vec![format!("Shared: {} of the others call it.", callers(at))],
            (_, false) => Vec::new(),
        };
        let milli = |ms: u64| units::show(std::time::Duration::from_millis(ms));
        Service {
            name: names[at].clone(),
            notes,
            replicas: node.replicas,
            port: 8080,
            entry: at == 0,
            fields: vec![
                (format!("slots: {slots}"), String::new()),
                (format!("time: {{p50: {}ms, p99: {}ms}}", node.p50_ms, node.p99_ms), String::new()),
            ],
            steps: steps(node, &names),
            timeouts: Some((milli(attempt * 3), milli(attempt))),
            retries: true,
            ..Service::default()
        }
    };
    let most = (1..nodes.len()).max_by_key(|at| (visits[*at], std::cmp::Reverse(*at))).unwrap_or(0);
    let Outcome { question, fault, expect } =
        outcome(&names[most], nodes[most].replicas, round_up(spans[0].1 * 3).min(30_000));
    let deepest = nodes.iter().map(|node| node.level).max().unwrap_or(0);
    Draft {
        name: name.to_owned(),
        question: vec![format!(
            "{question} In a mesh drawn at random: {}, up to {deepest} calls deep.",
            count(nodes.len(), "service")
        )],
        namespace: name.to_owned(),
        duration: "30s".to_owned(),
        services: nodes.iter().enumerate().map(service).collect(),
        loads: vec![Load {
            to: names[0].clone(),
            arrivals: format!("rate: {}", rate_text(rate_milli)),
            mix: Vec::new(),
            note: format!("Each asks {}.{} services on average.", per_request / 1000, per_request % 1000 / 100),
        }],
        faults: vec![fault],
        expect,
        ..Draft::default()
    }
}

/// How to have the same again, and what it is like.
fn drawn(wish: Wish) -> Vec<String> {
    let Wish { services, depth, seed, .. } = wish;
    vec![
        format!("Drawn: squall new --random {services} --depth {depth} --seed {seed}"),
        "Its shape is that of the call graphs in Luo et al., Characterizing Microservice Dependency and".to_owned(),
        "Performance, SoCC 2021: a tree with heavy-tailed fan-outs, one service in twenty shared by many.".to_owned(),
        "Times and probabilities are made up.".to_owned(),
    ]
}

fn steps(node: &Node, names: &[String]) -> Vec<Step> {
    let step = |call: &Call| {
        let share = (call.permille < 1000).then(|| format!("probability: {}%", call.permille / 10));
        let optional = call.optional.then(|| "optional: true".to_owned());
        Step::Call(names[call.to].clone(), share.into_iter().chain(optional).collect::<Vec<_>>().join(", "))
    };
    let (at_once, after) = node.calls.split_at(node.at_once);
    let mut steps = Vec::new();
    if !at_once.is_empty() {
        steps.push(Step::Parallel(at_once.iter().map(|call| vec![step(call)]).collect()));
    }
    steps.extend(after.iter().map(step));
    steps
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use proptest::prelude::*;
    use squall_sim::scenario::{IsotopeLoad, Memory, Scenario, load_file};
    use squall_sim::{EngineKind, Model, RunOptions};

    use super::*;

    fn wish(services: u32, depth: u32, seed: u64) -> Wish {
        Wish { services, depth, seed, rate_milli: None, replicas: None }
    }

    fn scenario(wish: Wish) -> Scenario {
        let draft = draft("drawn", wish);
        let files = Memory::new([("scenario.yaml", draft.scenario().as_str()), ("mesh.yaml", &draft.mesh())]);
        let read = load_file(Path::new("scenario.yaml"), &files, &IsotopeLoad::default());
        read.unwrap_or_else(|refusal| panic!("{wish:?}: {refusal}"))
    }

    /// Calls from the first service to the farthest.
    fn depth(nodes: &[Node]) -> u32 {
        let mut far = vec![0; nodes.len()];
        for (at, node) in nodes.iter().enumerate() {
            node.calls.iter().for_each(|call| far[call.to] = far[call.to].max(far[at] + 1));
        }
        far.into_iter().max().unwrap_or(0)
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn whatever_is_drawn_is_a_scenario_of_what_was_asked(services in 2_u32..90, most in 1_u32..9, seed: u64) {
            let wish = wish(services, most, seed);
            let nodes = nodes(wish);
            prop_assert_eq!(nodes.len(), services as usize);
            prop_assert!(depth(&nodes) <= most);
            prop_assert!(nodes.iter().enumerate().all(|(at, node)| node.calls.iter().all(|call| call.to > at)));
            for to in 1..nodes.len() {
                prop_assert!(nodes.iter().any(|node| node.calls.iter().any(|call| call.to == to)), "nobody calls {}", to);
            }
            let found = scenario(wish);
            prop_assert_eq!(found.services.len(), services as usize);
            let twice = [draft("drawn", wish), draft("drawn", wish)].map(|draft| draft.scenario() + &draft.mesh());
            prop_assert_eq!(&twice[0], &twice[1]);
        }
    }

    #[test]
    fn what_is_drawn_passes_on_the_fast_model() {
        for (services, depth, seed) in
            [(2, 1, 1), (3, 4, 2), (7, 2, 3), (18, 4, 4), (18, 4, 5), (40, 6, 6), (60, 3, 7), (120, 8, 8)]
        {
            let scenario = Arc::new(scenario(wish(services, depth, seed)));
            let options = RunOptions { engine: EngineKind::Event, model: Model::Fast, keep_history: false };
            let outcome = squall_sim::run(&scenario, 1, options).expect("it runs");
            let failed: Vec<String> = outcome
                .verdict
                .failures()
                .map(|check| format!("{} {}: {}", check.when, check.that, check.finding()))
                .collect();
            assert!(failed.is_empty(), "{services} services, {depth} deep, seed {seed}: {failed:?}");
        }
    }

    #[test]
    fn fan_outs_are_heavy_tailed_and_shared_services_are_shared() {
        let nodes = nodes(wish(1000, 6, 1));
        let mut fans: Vec<usize> = nodes.iter().map(|node| node.calls.len()).collect();
        fans.sort_unstable();
        let calls: usize = fans.iter().sum();
        let top: usize = fans[fans.len() - fans.len() / 20..].iter().sum();
        assert!(fans[500] <= 1 && top * 3 > calls, "half call nobody or one; one in twenty makes a third of the calls");
        let first = nodes.iter().position(|node| node.is_shared).expect("fifty are shared");
        assert_eq!(nodes.len() - first, 50);
        let callers = |to: usize| nodes.iter().filter(|node| node.calls.iter().any(|call| call.to == to)).count();
        let shared: usize = (first..nodes.len()).map(callers).sum();
        assert!(callers(first) > 50 && shared > 200, "{} and {shared}", callers(first));
    }
}
