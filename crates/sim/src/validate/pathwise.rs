//! Every request of a queue against the textbook's recursion.
//!
//! A first-come-first-served queue with `c` slots has no freedom left once its arrivals and service times are known: request n
//! begins when it has arrived *and* the first slot is free. The recursion takes the arrivals and service times that a run drew
//! and gives every begin and end to the nanosecond. That is exact, cheap, and says which request was the first to go astray,
//! where a mean over millions of requests says only that something is wrong.
//!
//! Sources: Lindley, "The theory of queues with a single server" (1952), for one slot; Kiefer and Wolfowitz, "On the theory of
//! queues with many servers" (1955), for several. With a bounded queue an arrival that finds it full is lost.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use squall_policy::Instant;

/// A request as it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Visit {
    pub(crate) arrived: Instant,
    /// When it got a slot; `None`: it was lost.
    pub(crate) began: Option<Instant>,
    /// Its service time.
    pub(crate) time: Duration,
    /// When it left.
    pub(crate) ended: Option<Instant>,
}

/// The textbook's queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Queue {
    /// At least 1.
    pub(crate) slots: u32,
    /// Room in the queue; `None`: no limit.
    pub(crate) room: Option<u32>,
}

impl Queue {
    /// Compares every visit, in order of arrival, with the recursion; the first that differs is told.
    pub(crate) fn check(self, visits: &[Visit]) -> Result<(), String> {
        // When each slot is free again.
        let mut slots: BinaryHeap<Reverse<Instant>> = (0..self.slots).map(|_| Reverse(Instant::ZERO)).collect();
        // When those who wait, or waited, begin: in order, since they begin in order of arrival.
        let mut waiting: VecDeque<Instant> = VecDeque::new();
        for (number, visit) in visits.iter().enumerate() {
            let astray = |what: &str, should: Instant, is: Option<Instant>| {
                let is = is.map_or_else(|| "never".to_owned(), |is| format!("{} s", seconds(is)));
                let arrived = seconds(visit.arrived);
                Err(format!(
                    "visit {} (arrived {arrived} s, takes {:?}) should {what} at {} s, but did {is}",
                    number + 1,
                    visit.time,
                    seconds(should)
                ))
            };
            let Reverse(free) = *slots.peek().expect("there is a slot");
            let begins = visit.arrived.max(free);
            while waiting.front().is_some_and(|begin| *begin <= visit.arrived) {
                waiting.pop_front();
            }
            let finds_full = |waiting: usize| self.room.is_some_and(|room| waiting as u64 >= u64::from(room));
            if visit.began.is_none() && begins > visit.arrived && finds_full(waiting.len()) {
                continue;
            }
            // Someone may leave at the very instant of an arrival: then either may have been first.
            if visit.began.is_none() && free == visit.arrived && finds_full(waiting.len() + 1) {
                continue;
            }
            if visit.began != Some(begins) {
                return astray("begin", begins, visit.began);
            }
            if begins > visit.arrived && finds_full(waiting.len()) {
                return Err(format!("visit {} should have found the queue full, and waited", number + 1));
            }
            let ends = begins + visit.time;
            if visit.ended != Some(ends) {
                return astray("end", ends, visit.ended);
            }
            slots.pop();
            slots.push(Reverse(ends));
            if begins > visit.arrived {
                waiting.push_back(begins);
            }
        }
        Ok(())
    }
}

fn seconds(at: Instant) -> String {
    format!("{}.{:09}", at.as_nanos() / 1_000_000_000, at.as_nanos() % 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ns: u64) -> Instant {
        Instant::from_nanos(ns)
    }

    fn visit(arrived: u64, began: u64, time: u64) -> Visit {
        Visit {
            arrived: at(arrived),
            began: Some(at(began)),
            time: Duration::from_nanos(time),
            ended: Some(at(began + time)),
        }
    }

    fn lost(arrived: u64) -> Visit {
        Visit { arrived: at(arrived), began: None, time: Duration::ZERO, ended: Some(at(arrived)) }
    }

    #[test]
    fn one_slot_is_lindleys_recursion() {
        let queue = Queue { slots: 1, room: None };
        assert_eq!(queue.check(&[visit(0, 0, 10), visit(4, 10, 3), visit(20, 20, 1)]), Ok(()));
    }

    #[test]
    fn the_first_request_astray_is_named() {
        let queue = Queue { slots: 1, room: None };
        let why = queue.check(&[visit(0, 0, 10), visit(4, 11, 3)]).expect_err("it began too late");
        assert!(why.contains("visit 2") && why.contains("begin at 0.000000010 s, but did 0.000000011 s"), "{why}");
        let mut late = visit(0, 0, 10);
        late.ended = Some(at(11));
        assert!(queue.check(&[late]).expect_err("it ended too late").contains("should end"));
        late.ended = None;
        assert!(queue.check(&[late]).expect_err("it never ended").contains("but did never"));
    }

    #[test]
    fn a_full_queue_loses_and_only_a_full_one() {
        let queue = Queue { slots: 1, room: Some(1) };
        assert_eq!(queue.check(&[visit(0, 0, 10), visit(1, 10, 10), lost(2), visit(11, 20, 1)]), Ok(()));
        assert!(queue.check(&[visit(0, 0, 10), lost(2)]).is_err(), "there was room");
        assert!(queue.check(&[visit(0, 0, 10), visit(1, 10, 10), visit(2, 20, 1)]).is_err(), "there was none");
        let none = Queue { slots: 2, room: Some(0) };
        assert_eq!(none.check(&[visit(0, 0, 10), visit(1, 1, 10), lost(2), visit(10, 10, 5)]), Ok(()));
        assert!(none.check(&[visit(0, 0, 10), lost(2)]).is_err(), "a slot was free");
    }

    #[test]
    fn who_leaves_as_another_comes_may_be_first_or_not() {
        let queue = Queue { slots: 1, room: Some(0) };
        assert_eq!(queue.check(&[visit(0, 0, 10), visit(10, 10, 10)]), Ok(()));
        assert_eq!(queue.check(&[visit(0, 0, 10), lost(10)]), Ok(()));
    }

    /// A slow and obvious queue: time moves from event to event.
    fn simulated(queue: Queue, arrivals: &[(u64, u64)]) -> Vec<Visit> {
        let mut visits: Vec<Visit> = Vec::new();
        let mut line: VecDeque<usize> = VecDeque::new();
        let mut busy: Vec<u64> = Vec::new();
        let start = |visits: &mut Vec<Visit>, busy: &mut Vec<u64>, index: usize, now: u64| {
            visits[index].began = Some(at(now));
            visits[index].ended = Some(at(now) + visits[index].time);
            busy.push(now + visits[index].time.as_nanos() as u64);
        };
        for &(arrival, time) in arrivals {
            while let Some(end) = busy.iter().copied().filter(|end| *end <= arrival).min() {
                let slot = busy.iter().position(|busy| *busy == end).expect("it was found");
                busy.swap_remove(slot);
                if let Some(next) = line.pop_front() {
                    start(&mut visits, &mut busy, next, end);
                }
            }
            let time = Duration::from_nanos(time);
            visits.push(Visit { arrived: at(arrival), began: None, time, ended: Some(at(arrival)) });
            let index = visits.len() - 1;
            if busy.len() < queue.slots as usize {
                start(&mut visits, &mut busy, index, arrival);
            } else if queue.room.is_none_or(|room| line.len() < room as usize) {
                line.push_back(index);
                visits[index].ended = None;
            }
        }
        busy.sort_unstable();
        while let Some(next) = line.pop_front() {
            let end = busy.remove(0);
            start(&mut visits, &mut busy, next, end);
            busy.sort_unstable();
        }
        visits
    }

    proptest! {
        #[test]
        fn the_recursion_agrees_with_a_queue_that_moves_from_event_to_event(
            slots in 1..5_u32,
            room in prop::option::of(0..4_u32),
            gaps in prop::collection::vec((0..30_u64, 0..80_u64), 1..60),
            broken in any::<prop::sample::Index>(),
        ) {
            let queue = Queue { slots, room };
            let mut now = 0;
            let arrivals: Vec<(u64, u64)> = gaps.iter().map(|(gap, time)| { now += gap; (now, *time) }).collect();
            let mut visits = simulated(queue, &arrivals);
            prop_assert_eq!(queue.check(&visits), Ok(()));
            let index = broken.index(visits.len());
            if let Some(ended) = visits[index].ended.filter(|_| visits[index].began.is_some()) {
                visits[index].ended = Some(ended + Duration::from_nanos(1));
                prop_assert!(queue.check(&visits).is_err(), "one nanosecond is seen");
            }
        }
    }
}
