//! `limits` and `inbound` of a TrafficPolicy, as the proxies get them, and what a person reads when they are wrong.

#[expect(dead_code, reason = "shared with the tests of references, which use the rest")]
mod shop;

use std::time::Duration;

use shop::SHOP;
use squall_control::Resources;
use squall_policy::{
    Adaptive, BackendName, Codel, Gradient, Inbound, Limits, Mesh, Protocol, Queue, QueueOrder, Rate, RateLimit, Vegas,
};

fn mesh(policy: &str) -> Mesh {
    shop::mesh(&format!("{SHOP}{policy}")).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
}

#[track_caller]
fn outbound(limits: &str) -> Limits {
    mesh(&format!("  limits: {limits}\n")).backends[&BackendName::new("shop", "catalog", 80)].limits
}

#[track_caller]
fn inbound(limits: &str) -> Inbound {
    mesh(&format!("  inbound: {limits}\n")).inbound[&80].clone()
}

#[test]
fn an_adaptive_limit_is_a_limit_on_both_sides() {
    let gradient = Gradient::default();
    let want = Limits { in_flight: 1000, adaptive: Some(Adaptive::Gradient(gradient)), ..Limits::default() };
    assert_eq!(outbound("{inFlight: {adaptive: Gradient}}"), want);
    let text = "{pending: 7, inFlight: {adaptive: Gradient, min: 2, max: 50, window: 1s, buffer: 12.5%, \
                percentile: 90%, minRtt: {interval: 10s, jitter: 0%, requests: 9}}}";
    let gradient = Gradient {
        min: 2,
        buffer_permille: 125,
        percentile_permille: 900,
        window: Duration::from_secs(1),
        min_rtt_interval: Duration::from_secs(10),
        min_rtt_jitter_permille: 0,
        min_rtt_requests: 9,
    };
    let adaptive = Some(Adaptive::Gradient(gradient));
    let limits = Limits { in_flight: 50, pending: 7, adaptive, ..Limits::default() };
    assert_eq!(
        inbound(text),
        Inbound {
            limits,
            rate: None,
            protocol: Protocol::Http1,
            detect: true,
            access: Default::default(),
            peers: None
        }
    );
    let vegas = |text: &str| match outbound(text) {
        Limits { in_flight, adaptive: Some(Adaptive::Vegas(vegas)), .. } => (in_flight, vegas),
        other => panic!("{other:?}"),
    };
    assert_eq!(vegas("{inFlight: {adaptive: Vegas}}"), (1000, Vegas::default()));
    let few = Vegas { min: 2, initial: 9, window: Duration::from_millis(50), probe: 5 };
    let text = "{inFlight: {adaptive: Vegas, min: 2, max: 9, window: 50ms, probe: 5}}";
    assert_eq!(vegas(text), (9, few), "the first limit is no more than the most");
}

#[test]
fn a_queue_has_a_discipline() {
    let queue = |text: &str| inbound(&format!("{{queue: {text}}}")).limits.queue;
    assert_eq!(queue("{}"), Queue::default());
    let order = QueueOrder::AdaptiveLifo { after: Duration::from_millis(100) };
    assert_eq!(queue("{order: AdaptiveLifo}"), Queue { order, ..Queue::default() });
    assert_eq!(
        queue("{order: AdaptiveLifo, lifoAfter: 1s, priorities: true, codel: {target: 200ms}, deadlineAware: true}"),
        Queue {
            order: QueueOrder::AdaptiveLifo { after: Duration::from_secs(1) },
            priorities: true,
            codel: Some(Codel { target: Duration::from_millis(200), interval: Duration::from_millis(200) }),
            deadline_aware: true,
        }
    );
}

#[test]
fn rates_are_for_all_or_for_each_caller() {
    let rate = |requests, per, burst| Rate { requests, per: Duration::from_secs(per), burst };
    let found = inbound(
        "{rateLimit: {total: {requests: 100}, perCaller: {requests: 5, per: 60s, burst: 1}, \
         overrides: [{caller: 'spiffe://cluster.local/ns/shop/sa/web', requests: 50, burst: 70}]}}",
    );
    let want = RateLimit {
        total: Some(rate(100, 1, 100)),
        per_caller: Some(rate(5, 60, 1)),
        overrides: vec![("spiffe://cluster.local/ns/shop/sa/web".into(), rate(50, 1, 70))],
    };
    assert_eq!(found.rate, Some(want));
    let mesh = mesh("  limits: {rateLimit: {total: {requests: 3}}}\n");
    let total = RateLimit { total: Some(rate(3, 1, 3)), ..RateLimit::default() };
    assert_eq!(mesh.backends[&BackendName::new("shop", "catalog", 80)].rate, Some(total));
    assert_eq!(mesh.inbound[&80].rate, None);
}

#[track_caller]
fn refused(policy: &str, want: &[&str]) {
    let text = format!("{SHOP}  {policy}\n");
    let mistakes = Resources::read(&[("shop.yaml", &text)]).expect_err("it is wrong");
    let found: Vec<&str> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(found, want);
}

#[test]
fn what_has_no_meaning_is_refused() {
    refused("limits: {inFlight: {min: 3}}", &["inFlight needs `adaptive`"]);
    refused("limits: {inFlight: {adaptive: Gradient, probe: 3}}", &["`probe` has no meaning with `Gradient`"]);
    refused("inbound: {inFlight: {adaptive: Vegas, buffer: 3%}}", &["`buffer` has no meaning with `Vegas`"]);
    refused("inbound: {inFlight: {adaptive: Aimd}}", &["`Aimd` is not supported here"]);
    refused("inbound: {queue: {lifoAfter: 1s}}", &["`lifoAfter` has no meaning with `Fifo`"]);
    refused("inbound: {pending: 0, queue: {priorities: true}}", &["a queue for nobody has no effect"]);
    refused("inbound: {rateLimit: {}}", &["a limit without a rate has no effect"]);
    refused("inbound: {rateLimit: {perCaller: {per: 1s}}}", &["rate needs `requests`"]);
    refused(
        "limits: {rateLimit: {perCaller: {requests: 1}}}",
        &["`perCaller` has no meaning here: a client is its only caller"],
    );
}

#[test]
fn values_out_of_range_are_refused() {
    refused("limits: {inFlight: {adaptive: Gradient, min: 9, max: 8}}", &["`min` is 9, more than `max` (8)"]);
    refused("limits: {inFlight: {adaptive: Vegas, initial: 1001}}", &["`initial` is 1001, more than `max` (1000)"]);
    refused("limits: {inFlight: {adaptive: Vegas, min: 30, initial: 20}}", &["`min` is 30, more than `initial` (20)"]);
    refused("limits: {inFlight: {adaptive: Gradient, percentile: 0%}}", &["must be more than 0%"]);
    refused("inbound: {queue: {codel: {target: 2s, interval: 1s}}}", &["`target` is 2s, more than `interval` (1s)"]);
    let override_twice =
        "inbound: {rateLimit: {overrides: [{caller: 'spiffe://a', requests: 1}, {caller: 'spiffe://a', requests: 2}]}}";
    refused(override_twice, &["`spiffe://a` has two rates"]);
    refused("inbound: {rateLimit: {overrides: [{caller: web, requests: 1}]}}", &["`web` is not a SPIFFE id"]);
}
