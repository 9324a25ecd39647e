use std::time::Duration;

use super::*;
use crate::mesh::{Codel as CodelConfig, Queue as QueueConfig, QueueOrder};
use crate::priority::Class;

const LIMITS: Limits = Limits { in_flight: 2, pending: 2, queue_timeout: None, adaptive: None, queue: FIFO };
const FIFO: QueueConfig =
    QueueConfig { order: QueueOrder::Fifo, priorities: false, codel: None, deadline_aware: false };

const fn ms(millis: u64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

fn new() -> Admission {
    with(&LIMITS)
}

fn with(limits: &Limits) -> Admission {
    Admission::new(ms(0), limits, Rng::from_seed(1))
}

fn plain(number: u64) -> Asker {
    Asker { ticket: Ticket(number), rank: Rank::default(), deadline: None }
}

fn ranked(number: u64, class: Class, key: u32) -> Asker {
    Asker { rank: Rank { class, key }, ..plain(number) }
}

fn leave(admission: &mut Admission, at: u64, limits: &Limits) {
    admission.leave(ms(at), (ms(at), Left::Unused), limits);
}

fn woken(admission: &mut Admission) -> Vec<u64> {
    std::iter::from_fn(|| admission.poll_granted()).map(|ticket| ticket.0).collect()
}

fn full_house() -> Admission {
    let mut admission = new();
    let entries: Vec<_> = (1..=5).map(|n| admission.enter(ms(0), plain(n), &LIMITS)).collect();
    let refused = Entry::Refused(Reason::QueueFull);
    assert_eq!(entries, [Entry::Placed, Entry::Placed, Entry::Queued, Entry::Queued, refused]);
    assert_eq!(admission.load(), (2, 2));
    admission
}

#[test]
fn a_free_place_goes_to_the_first_in_the_queue() {
    let mut admission = full_house();
    leave(&mut admission, 1, &LIMITS);
    assert_eq!(admission.poll_granted(), Some(Ticket(3)));
    assert_eq!(admission.poll_granted(), None);
    let claims = [4, 3, 3].map(|ticket| admission.claim(Ticket(ticket)));
    assert_eq!(claims, [Claim::Waits, Claim::Placed, Claim::Waits]);
    assert_eq!(admission.load(), (2, 1));
}

#[test]
fn who_gives_up_leaves_the_queue_or_passes_the_place_on() {
    let mut admission = full_house();
    leave(&mut admission, 1, &LIMITS);
    admission.withdraw(ms(1), Ticket(3), &LIMITS);
    assert_eq!(admission.poll_granted(), Some(Ticket(4)), "the place of 3 has gone on");
    assert_eq!(admission.claim(Ticket(4)), Claim::Placed);
    assert_eq!(admission.load(), (2, 0));
    admission.withdraw(ms(1), Ticket(9), &LIMITS);
    assert_eq!(admission.load(), (2, 0), "strangers change nothing");
}

#[test]
fn raised_limits_let_the_queue_in_and_lowered_ones_wait_for_leavers() {
    let mut admission = full_house();
    let high = Limits { in_flight: 4, ..LIMITS };
    admission.set_limits(ms(1), &LIMITS, &high);
    assert_eq!(admission.load(), (4, 0));
    let low = Limits { in_flight: 1, ..LIMITS };
    admission.set_limits(ms(1), &high, &low);
    assert_eq!(admission.enter(ms(1), plain(6), &low), Entry::Queued);
    (0..3).for_each(|_| leave(&mut admission, 2, &low));
    assert_eq!(admission.load(), (1, 1));
    leave(&mut admission, 2, &low);
    assert_eq!(admission.load(), (1, 0));
}

#[test]
fn without_a_queue_the_next_is_refused_at_once() {
    let mut admission = new();
    let limits = Limits { in_flight: 1, pending: 0, ..LIMITS };
    assert_eq!(admission.enter(ms(0), plain(1), &limits), Entry::Placed);
    assert_eq!(admission.enter(ms(0), plain(2), &limits), Entry::Refused(Reason::QueueFull));
    let limits = Limits { queue: QueueConfig { priorities: true, ..FIFO }, ..limits };
    let critical = ranked(3, Class::Critical, 0);
    assert_eq!(admission.enter(ms(0), critical, &limits), Entry::Refused(Reason::QueueFull));
}

#[test]
fn a_better_one_takes_the_place_of_the_worst_in_a_full_queue() {
    let limits = Limits { in_flight: 1, queue: QueueConfig { priorities: true, ..FIFO }, ..LIMITS };
    let mut admission = with(&limits);
    let mut enter = |number, class, key| admission.enter(ms(0), ranked(number, class, key), &limits);
    let refused = Entry::Refused(Reason::Outranked);
    assert_eq!(enter(1, Class::Sheddable, 9), Entry::Placed);
    assert_eq!(enter(2, Class::Sheddable, 3), Entry::Queued);
    assert_eq!(enter(3, Class::Sheddable, 7), Entry::Queued);
    assert_eq!(enter(4, Class::Sheddable, 7), refused, "equals do not drive out");
    assert_eq!(enter(5, Class::Sheddable, 6), Entry::Queued, "for 3");
    assert_eq!(enter(6, Class::Default, 99), Entry::Queued, "for 5");
    assert_eq!(enter(7, Class::Critical, 0), Entry::Queued, "for 2");
    assert_eq!(enter(8, Class::Default, 98), Entry::Queued, "for 6");
    assert_eq!(woken(&mut admission), [3, 5, 2, 6]);
    for shed in [3, 5, 2, 6] {
        assert_eq!(admission.claim(Ticket(shed)), Claim::Shed(Reason::Outranked));
        assert_eq!(admission.claim(Ticket(shed)), Claim::Waits, "told once");
    }
    (0..2).for_each(|_| leave(&mut admission, 1, &limits));
    assert_eq!(woken(&mut admission), [7, 8], "the higher class first, though it came later");
}

#[test]
fn in_a_standing_queue_the_last_comer_is_first() {
    let order = QueueOrder::AdaptiveLifo { after: Duration::from_millis(100) };
    let limits = Limits { in_flight: 1, pending: 9, queue: QueueConfig { order, ..FIFO }, ..LIMITS };
    let mut admission = with(&limits);
    for number in 1..=6 {
        let _ = admission.enter(ms(0), plain(number), &limits);
    }
    leave(&mut admission, 99, &limits);
    leave(&mut admission, 100, &limits);
    leave(&mut admission, 101, &limits);
    assert_eq!(woken(&mut admission), [2, 6, 5]);
    // Once empty, the queue begins anew.
    (0..3).for_each(|_| leave(&mut admission, 102, &limits));
    let _ = admission.enter(ms(102), plain(7), &limits);
    let _ = admission.enter(ms(103), plain(8), &limits);
    let _ = woken(&mut admission);
    leave(&mut admission, 190, &limits);
    assert_eq!(woken(&mut admission), [8], "7 had a place at once");
}

#[test]
fn a_standing_queue_is_shed_from_its_old_end_or_by_rank() {
    let codel = Some(CodelConfig::default());
    let fifo = Limits { in_flight: 1, pending: 9, queue: QueueConfig { codel, ..FIFO }, ..LIMITS };
    let ranks = Limits { queue: QueueConfig { codel, priorities: true, ..FIFO }, ..fifo };
    for (limits, shed, served) in [(fifo, 4, 5), (ranks, 7, 4)] {
        let mut admission = with(&limits);
        for number in 1..=7 {
            let _ = admission.enter(ms(0), ranked(number, Class::Default, number as u32), &limits);
        }
        leave(&mut admission, 10, &limits);
        leave(&mut admission, 60, &limits);
        assert_eq!(woken(&mut admission), [2, 3]);
        leave(&mut admission, 110, &limits);
        assert_eq!(woken(&mut admission), [shed, served]);
        assert_eq!(admission.claim(Ticket(shed)), Claim::Shed(Reason::QueueDelay));
    }
}

#[test]
fn who_would_be_late_is_refused_at_the_door_or_passed_over() {
    let limits = Limits { in_flight: 1, pending: 9, queue: QueueConfig { deadline_aware: true, ..FIFO }, ..LIMITS };
    let mut admission = with(&limits);
    let until = |number, deadline| Asker { deadline: Some(ms(deadline)), ..plain(number) };
    // Places are held for 100 ms, always.
    for number in 0..40 {
        assert_eq!(admission.enter(ms(number * 100), plain(number), &limits), Entry::Placed);
        admission.leave(ms(number * 100 + 100), (ms(number * 100), Left::Served), &limits);
    }
    let _ = admission.enter(ms(4000), until(41, 0), &limits);
    let mut enter = |number, deadline| admission.enter(ms(4000), until(number, deadline), &limits);
    assert_eq!(enter(42, 4199), Entry::Refused(Reason::WouldBeLate), "100 ms until its place, 100 in it");
    assert_eq!(enter(43, 4201), Entry::Queued);
    assert_eq!(enter(44, 4299), Entry::Refused(Reason::WouldBeLate), "one is ahead");
    assert_eq!(enter(45, 4301), Entry::Queued);
    // The place is held longer than expected.
    admission.leave(ms(4150), (ms(4000), Left::Unused), &limits);
    assert_eq!(woken(&mut admission), [43, 45]);
    assert_eq!(admission.claim(Ticket(43)), Claim::Shed(Reason::WouldBeLate));
    assert_eq!(admission.claim(Ticket(45)), Claim::Placed);
}

#[test]
fn those_who_wait_are_ranked_anew_when_ranks_begin_to_count() {
    let off = Limits { in_flight: 1, ..LIMITS };
    let on = Limits { queue: QueueConfig { priorities: true, ..FIFO }, ..off };
    let mut admission = with(&off);
    for (number, class) in [(1, Class::Default), (2, Class::Sheddable), (3, Class::Critical)] {
        let _ = admission.enter(ms(0), ranked(number, class, 0), &off);
    }
    admission.set_limits(ms(1), &off, &on);
    assert_eq!(admission.enter(ms(1), ranked(4, Class::Default, 0), &on), Entry::Queued, "for 2");
    admission.set_limits(ms(1), &on, &off);
    (0..2).for_each(|_| leave(&mut admission, 1, &off));
    assert_eq!(woken(&mut admission), [2, 3, 4], "2 was sent away; then in order of arrival");
    assert_eq!(admission.claim(Ticket(2)), Claim::Shed(Reason::Outranked));
}

mod properties;
