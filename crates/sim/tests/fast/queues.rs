//! Queues whose answers are known.

use std::collections::BTreeMap;

use squall_sim::{Field, History};

use crate::small::Small;

/// No latency: what remains is the queue.
const NO_NETWORK: &str = "  network: {links: [{latency: 0ms}]}\n";

/// When the application got, began and answered each request, and the time it drew for it.
struct Served {
    arrived: u64,
    time: u64,
    answered: u64,
}

fn served(history: &History) -> Vec<Served> {
    let mut served: BTreeMap<u64, Served> = BTreeMap::new();
    for entry in history.entries() {
        let Some(request) = entry.request else { continue };
        let line = served.entry(request).or_insert(Served { arrived: 0, time: 0, answered: 0 });
        let number = |name: &str| match entry.fields.iter().find(|(field, _)| *field == name) {
            Some((_, Field::Number(number))) => *number,
            _ => panic!("{entry:?} has no number {name}"),
        };
        match entry.kind {
            "arrived" => line.arrived = entry.at.as_nanos(),
            "begins" => line.time = number("time_ns"),
            "answers" => line.answered = entry.at.as_nanos(),
            _ => {}
        }
    }
    served.into_values().collect()
}

/// Kiefer and Wolfowitz (1955): each request takes the slot that is free first; with one slot this is Lindley's recursion.
fn check_against_the_recursion(slots: usize, links: &str, rate: u32) {
    let service = format!("{{slots: {slots}, time: {{exponential: 1ms}}}}");
    let load = format!("{{to: shop, rate: {rate}/s}}");
    let more = format!("  network: {{links: [{{latency: {links}}}]}}\n");
    let ran = Small { duration: "3s", service: &service, load: &load, more: &more, ..Small::default() }.ran(7, true);
    let mut order = served(ran.history.as_ref().expect("it was kept"));
    order.sort_by_key(|line| line.arrived);
    assert!(order.len() as u32 > rate * 5 / 2, "{} requests", order.len());
    let mut free = vec![0; slots];
    let mut waits = 0;
    for line in order {
        let first = free.iter_mut().min().expect("there is a slot");
        waits += u64::from(*first > line.arrived);
        *first = (*first).max(line.arrived) + line.time;
        assert_eq!(line.answered, *first);
    }
    assert!(waits > u64::from(rate), "at 80 % load many requests wait: {waits}");
}

#[test]
fn slots_serve_as_the_recursion_says_to_the_nanosecond() {
    check_against_the_recursion(1, "200us", 800);
    check_against_the_recursion(10, "0ms", 8000);
    check_against_the_recursion(3, "{p50: 1ms, p99: 5ms}", 2400);
}

/// Mean and 99th percentile of `count` requests at a rate per second, in service times of 1 ms; waits are exponential.
fn queue(slots: u32, rate: u32, count: u32, seed: u64) -> (f64, f64) {
    let seconds = count / rate;
    let duration = format!("{seconds}s");
    let service = format!("{{slots: {slots}, time: {{exponential: 1ms}}}}");
    let load = format!("{{to: shop, rate: {rate}/s}}");
    let small = Small { duration: &duration, service: &service, load: &load, more: NO_NETWORK, ..Small::default() };
    let summary = small.ran(seed, false).summary;
    assert_eq!((summary.succeeded, summary.unanswered), (summary.requests, 0));
    let ms = |span: std::time::Duration| span.as_secs_f64() * 1e3;
    (ms(summary.latency.mean), ms(summary.latency.p99))
}

#[track_caller]
fn check(measured: f64, expected: f64, tolerance: f64) {
    assert!((measured / expected - 1.0).abs() < tolerance, "{measured} instead of {expected}");
}

#[test]
fn one_slot_is_an_m_m_1_queue() {
    let (mean, p99) = queue(1, 500, 100_000, 1);
    check(mean, 2.0, 0.03);
    check(p99, 9.2103, 0.06);
    let (mean, p99) = queue(1, 800, 200_000, 1);
    check(mean, 5.0, 0.07);
    check(p99, 23.026, 0.1);
}

#[test]
fn several_slots_are_an_m_m_c_queue() {
    // W at a load of .8 per slot.
    for (slots, expected) in [(2, 2.777_778), (5, 1.554_113), (10, 1.204_590)] {
        let (mean, _) = queue(slots, slots * 800, 100_000, 3);
        check(mean, expected, 0.06);
    }
}
