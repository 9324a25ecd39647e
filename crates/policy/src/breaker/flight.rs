//! The calls in flight that are not slow yet, the oldest first, so that a call counts as slow the moment it is.
//!
//! Calls begin in the order of time and are slow after the same span, so the front is always the next one to be slow. A call
//! that ends in between is marked, and leaves with those before it. Source: ours; resilience4j and Sentinel wait for the end
//! of a call, and learn nothing from a backend that hangs.

use std::collections::VecDeque;
use std::time::Duration;

use crate::Instant;
use crate::backend::SlotId;

/// The machine.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    calls: VecDeque<Call>,
    /// The number of the call at the front.
    first: u64,
}

/// One call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    /// Whose.
    pub(crate) slot: SlotId,
    /// The epoch of its breaker when it began.
    pub(crate) epoch: u32,
    began: Instant,
    over: bool,
}

impl InFlight {
    /// A call begins; its number.
    pub(crate) fn begin(&mut self, now: Instant, slot: SlotId, epoch: u32) -> u64 {
        self.calls.push_back(Call { slot, epoch, began: now, over: false });
        self.first + self.calls.len() as u64 - 1
    }

    /// The call is over, or has its head. Whether it was neither, nor slow, before.
    pub(crate) fn settle(&mut self, number: u64) -> bool {
        let Some(place) = number.checked_sub(self.first) else { return false };
        let Some(call) = usize::try_from(place).ok().and_then(|place| self.calls.get_mut(place)) else { return false };
        let open = mutant!("slow-calls-count-twice", !std::mem::replace(&mut call.over, true), true);
        self.drop_settled();
        open
    }

    /// When the next call is slow, if it does not end before.
    pub(crate) fn next_slow(&self, slower_than: Duration) -> Option<Instant> {
        self.calls.front().map(|call| call.began + slower_than)
    }

    /// The next call that is slow by now; it is settled with that.
    pub(crate) fn pop_slow(&mut self, now: Instant, slower_than: Duration) -> Option<Call> {
        self.calls.front().filter(|call| now >= call.began + slower_than)?;
        let call = self.calls.pop_front();
        self.first += 1;
        self.drop_settled();
        call
    }

    /// Forgets all calls, because other settings hold now.
    pub(crate) fn clear(&mut self) {
        self.first += self.calls.len() as u64;
        self.calls.clear();
    }

    fn drop_settled(&mut self) {
        while self.calls.front().is_some_and(|call| call.over) {
            self.calls.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model is a list of all calls ever.
        #[test]
        fn each_call_is_settled_once_and_slow_just_when_its_time_is_up(
            script in prop::collection::vec((0_u64..3, 0_u8..4, any::<prop::sample::Index>()), 1..200)
        ) {
            let slower_than = Duration::from_nanos(5);
            let mut flight = InFlight::default();
            // Began, open.
            let mut story: Vec<(u64, bool)> = Vec::new();
            let mut now = 0;
            for (gap, kind, which) in script {
                now += gap;
                if kind == 0 && !story.is_empty() {
                    let number = which.index(story.len());
                    let was = std::mem::replace(&mut story[number].1, false);
                    prop_assert_eq!(flight.settle(number as u64), was);
                } else if kind == 1 {
                    flight.clear();
                    story.iter_mut().for_each(|call| call.1 = false);
                } else {
                    let number = flight.begin(Instant::from_nanos(now), SlotId::default(), 0);
                    prop_assert_eq!(number, story.len() as u64);
                    story.push((now, true));
                }
                let mut slow = 0;
                let next = story.iter().find(|call| call.1).map(|call| Instant::from_nanos(call.0 + 5));
                prop_assert_eq!(flight.next_slow(slower_than), next);
                while flight.pop_slow(Instant::from_nanos(now), slower_than).is_some() {
                    slow += 1;
                }
                let due = story.iter_mut().filter(|call| call.1 && now >= call.0 + 5);
                prop_assert_eq!(slow, due.map(|call| call.1 = false).count());
            }
        }
    }
}
