//! Tests of load, service model and measures alone: one load host asks one pod directly, without sidecars or control plane.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use squall_net::Host;
use squall_policy::{Instant, Rng};

use crate::arrivals::Schedule;
use crate::engine::{Engine, EventEngine, HostSpec, Stopped};
use crate::history::{Entry, Field, History};
use crate::journal::Journal;
use crate::knobs::{Gate, Knobs};
use crate::ledger::{Gauge, Ledger, Party};

use crate::scenario::{IsotopeLoad, Memory, Scenario, load_file};
use crate::service::App;
use crate::shared::{Shared, Targets, Triggers};
use crate::window::{Measures, Span};
use crate::workload::Generator;
use crate::world::EPOCH;

const POD: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 2));
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 3));

fn scenario(service: &str, load: &str, duration: &str) -> Arc<Scenario> {
    let mesh = "{apiVersion: v1, kind: Service, metadata: {name: shop, namespace: test}, \
                spec: {selector: {app: shop}, ports: [{port: 80}]}}";
    let text = format!(
        "apiVersion: squall.dev/v1alpha1\nkind: Scenario\nmetadata: {{name: bare}}\nspec:\n  mesh: [mesh.yaml]\n  \
         duration: {duration}\n  services:\n    shop: {service}\n  load:\n    - {load}\n  expect:\n    \
         - {{overall: 'requests > 0'}}\n"
    );
    let files = Memory::new([("mesh.yaml", mesh), ("bare.yaml", &text)]);
    let scenario = load_file(Path::new("bare.yaml"), &files, &IsotopeLoad::default());
    Arc::new(scenario.unwrap_or_else(|refusal| panic!("{refusal}")))
}

struct Ran {
    measures: Measures,
    history: History,
    digest: u64,
}

fn run(scenario: &Arc<Scenario>, seed: u64, links: Duration) -> Ran {
    let mut engine = EventEngine::new(seed, EPOCH);
    let names: Vec<Arc<str>> = vec!["shop-0".into(), "load-0".into()];
    let dice = Rng::from_seed(seed);
    let shared = Arc::new(Shared {
        scenario: Arc::clone(scenario),
        ledger: Ledger::new(1, 0),
        journal: Journal::new(Arc::clone(engine.trace()), names.clone(), true),
        targets: Targets::new([(("test".into(), "shop".to_owned()), Party(0))]),
        start: Gate::default(),
        schedules: scenario.load.iter().map(|load| Schedule::new(load, &dice).map(Mutex::new)).collect(),
        triggers: Triggers::default(),
        interrupt: engine.interrupt(),
        pods: BTreeMap::from([("shop-0".into(), Party(0))]),
        parties: vec!["shop".to_owned(), "load".to_owned()],
        told: Mutex::default(),
    });
    let at = SocketAddr::new(POD, 80);
    let pod = {
        let shared = Arc::clone(&shared);
        move |host: Host| {
            let app = App::new(&shared, &host, 0, Party(0), 0, Knobs::default(), at);
            async move { app.serve(at, &Gate::default()).await.expect("the port is free") }
        }
    };
    let client = {
        let shared = Arc::clone(&shared);
        move |host: Host| Generator::new(&shared, &host, 1, 0, at).run(0)
    };
    let spec = |name: usize, address, boot| HostSpec {
        name: Arc::clone(&names[name]),
        address,
        boot,
        clock_ahead: Duration::ZERO,
        cpu_per_poll: Duration::ZERO,
    };
    let pod = engine.add_host(spec(0, POD, Arc::new(move |host| Box::pin(pod(host)))));
    let client = engine.add_host(spec(1, CLIENT, Arc::new(move |host| Box::pin(client(host)))));
    let link = crate::engine::Link { latency: crate::engine::Delay::Constant(links), ..Default::default() };
    for (from, to) in [(pod, client), (client, pod)] {
        let action = crate::engine::Action::SetLink { from: vec![from], to: vec![to], link: link.clone() };
        engine.apply(action).expect("constant latency is possible");
    }
    let start = Instant::ZERO + Duration::from_secs(1);
    engine.run(start).expect("nothing happens yet");
    shared.start.open(start);
    let end = start + scenario.duration;
    assert_eq!(engine.run(end + scenario.drain), Ok(Stopped::Reached));
    let book = std::mem::take(&mut *shared.ledger.book());
    let history = shared.journal.finish(start).history.expect("it was kept");
    let measures = Measures::new(book, Span { from: start, to: end }, None, shared.parties.clone());
    Ran { measures, history, digest: engine.trace().digest().hash }
}

fn number(entry: &Entry, name: &str) -> u64 {
    match entry.fields.iter().find(|(field, _)| *field == name) {
        Some((_, Field::Number(number))) => *number,
        _ => panic!("{entry:?} has no number {name}"),
    }
}

/// When the application got and answered each request, and the time it drew for it.
fn served(history: &History) -> BTreeMap<u64, (u64, u64, u64)> {
    let mut served: BTreeMap<u64, (u64, u64, u64)> = BTreeMap::new();
    for entry in history.entries() {
        let Some(request) = entry.request else { continue };
        let line = served.entry(request).or_default();
        match entry.kind {
            "arrived" => line.0 = entry.at.as_nanos(),
            "begins" => line.1 = number(entry, "time_ns"),
            "answers" => line.2 = entry.at.as_nanos(),
            _ => {}
        }
    }
    served
}

#[test]
fn one_slot_serves_as_lindleys_recursion_says_to_the_nanosecond() {
    let scenario = scenario("{slots: 1, time: {exponential: 1ms}}", "{to: shop, rate: 800/s}", "3s");
    let ran = run(&scenario, 7, Duration::from_micros(200));
    let mut order: Vec<(u64, u64, u64)> = served(&ran.history).into_values().collect();
    order.sort_unstable();
    assert!(order.len() > 2_200, "{} requests", order.len());
    let mut free = 0;
    let mut waits = 0;
    for (arrived, time, answered) in order {
        waits += u64::from(free > arrived);
        free = free.max(arrived) + time;
        assert_eq!(answered, free);
    }
    assert!(waits > 1_000, "at 80 % load most requests wait: {waits}");
}

#[test]
fn latency_is_the_wait_the_work_and_the_way() {
    let scenario = scenario("{time: 5ms}", "{to: shop, rate: 10/s, arrivals: constant}", "2s");
    let ran = run(&scenario, 1, Duration::from_millis(1));
    let summary = ran.measures.summary(1);
    assert_eq!((summary.requests, summary.succeeded), (20, 20));
    // The first request also connects; the kept connection then carries the rest.
    assert_eq!(summary.latency.p50, Duration::from_millis(7));
    assert_eq!(summary.latency.max, Duration::from_millis(9));
    assert_eq!(summary.goodput_per_s, 10.0);
}

#[test]
fn littles_law_holds_over_the_whole_run() {
    let scenario = scenario("{slots: 3, time: {p50: 2ms, p99: 30ms}}", "{to: shop, rate: 500/s}", "2s");
    let ran = run(&scenario, 3, Duration::from_micros(100));
    let sum: u64 = served(&ran.history).into_values().map(|(arrived, _, answered)| answered - arrived).sum();
    let steps = ran.measures.gauge_steps(Gauge::Inside(Party(0)));
    let area: i64 = steps
        .windows(2)
        .map(|pair| pair[0].1 * i64::try_from(pair[1].0.since(pair[0].0).as_nanos()).expect("a short run"))
        .sum();
    assert_eq!(area, i64::try_from(sum).expect("a short run"));
}

#[test]
fn a_full_queue_refuses_and_the_rest_is_served() {
    let scenario = scenario("{slots: 2, queue: 3, time: 10ms}", "{to: shop, rate: 1000/s, arrivals: constant}", "1s");
    let ran = run(&scenario, 5, Duration::ZERO);
    let summary = ran.measures.summary(1);
    let service = &summary.services[0];
    assert_eq!(service.in_flight_max, 5, "two served and three wait; the refused are gone in the same instant");
    assert_eq!(service.queue_max, 3);
    assert_eq!(summary.requests, 1000);
    assert_eq!(summary.succeeded + service.refused, 1000);
    assert!((200..=206).contains(&summary.succeeded), "two slots serve 200 a second: {}", summary.succeeded);
}

#[test]
fn a_closed_loop_asks_one_at_a_time_per_client() {
    let scenario = scenario("{time: 10ms}", "{to: shop, clients: 4, think: 15ms}", "1s");
    let ran = run(&scenario, 5, Duration::ZERO);
    let summary = ran.measures.summary(1);
    assert_eq!(summary.services[0].in_flight_max, 4);
    assert_eq!(summary.requests, 4 * 40);
}

#[test]
fn a_client_gives_up_after_its_timeout_and_the_work_goes_on() {
    let scenario = scenario("{time: 300ms}", "{to: shop, rate: 10/s, arrivals: constant, timeout: 100ms}", "1s");
    let ran = run(&scenario, 5, Duration::ZERO);
    let summary = ran.measures.summary(1);
    assert_eq!((summary.requests, summary.succeeded, summary.unanswered), (10, 0, 10));
    assert_eq!(summary.latency.p50, Duration::from_millis(100));
    assert_eq!(summary.services[0].succeeded, 10, "the application does not notice");
}

#[test]
fn one_seed_gives_one_digest() {
    let scenario = scenario("{slots: 2, time: {exponential: 2ms}}", "{to: shop, rate: 300/s}", "1s");
    let digest = |seed| run(&scenario, seed, Duration::from_micros(300)).digest;
    assert_eq!(digest(1), digest(1));
    assert_ne!(digest(1), digest(2));
}
