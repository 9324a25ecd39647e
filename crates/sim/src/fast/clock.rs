//! What happens next: an agenda of (time, sequence), and beside it lanes of timers that all wait equally long.
//!
//! Most timers of a mesh are limits that are never reached, and there are few different ones: 250 ms per try, 10 s per
//! request. Timers of one span expire in the order in which they were set, so each span has a queue of its own, and only
//! its first one stands in the agenda. A timer that no longer matters is dropped when it gets to the front. Each timer keeps
//! the sequence number it was given, so lanes change nothing about the order in which things happen.

use std::collections::VecDeque;

use super::slab::Key;
use crate::agenda::{Agenda, Entry};

/// Something that will happen. A stale key makes it happen to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next request of an open loop arrives at this load host.
    Arrival(u32),
    /// A client of a closed loop has thought, or may go on.
    Client(u32),
    /// The generator gives up waiting for its answer.
    GiveUp(Key),
    /// A message of this try arrives.
    Hop(Key),
    /// A message of this try met a cut link and is sent again.
    Resend(Key),
    /// The goodbye of this try met a cut link and is sent again.
    Goodbye(Key),
    /// The remote side of this try learns that nobody waits for it any more.
    Quit(Key),
    /// The caller of this try learns that its connection is broken.
    Broken(Key),
    /// This try must have its connection by now.
    ConnectLate(Key),
    /// A request in a sidecar named this time to be called again.
    Alarm(Key),
    /// A backend's own timer: host, its boot, cell.
    Backend(u32, u32, u32),
    /// A request's own time in its application is over.
    Worked(Key),
    /// A strand of a script has slept, or its call took too long; with the strand's count of waits.
    Strand(Key, u32),
    /// The pooled connections of a host to another, which crashed, are gone: host, the other, the other's boot.
    PoolReset(u32, u32, u32),
    /// A mesh of this version reaches a host's sidecar, if it is still the host's boot: host, boot, version.
    Push(u32, u32, u32),
    /// A push to a host met a cut link and is sent again: host, boot.
    PushAgain(u32, u32),
    /// A sidecar tries to reach the control plane: host, boot.
    Join(u32, u32),
    /// It has reached it: host, boot, the control plane's boot.
    Joined(u32, u32, u32),
    /// It has lost it: host, boot.
    Lost(u32, u32),
    /// The first of a lane is due.
    Lane(u32),
}

struct Lane {
    span: u64,
    queue: VecDeque<Entry<Event>>,
    armed: bool,
}

/// The events to come.
#[derive(Default)]
pub(super) struct Clock {
    agenda: Agenda<Event>,
    lanes: Vec<Lane>,
}

impl Clock {
    /// Timers of this span (in nanoseconds) are frequent and seldom expire.
    pub(super) fn add_lane(&mut self, span: u64) {
        if !self.lanes.iter().any(|lane| lane.span == span) {
            self.lanes.push(Lane { span, queue: VecDeque::new(), armed: false });
        }
    }

    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.agenda.push(at, event);
    }

    /// Sets a timer that is likely not to matter when it expires; `is_live`: whether a timer that was set for this time
    /// still does.
    pub(super) fn arm(&mut self, now: u64, at: u64, event: Event, is_live: impl Fn(u64, Event) -> bool) {
        let span = at - now;
        let Some(number) = self.lanes.iter().position(|lane| lane.span == span) else {
            self.push(at, event);
            return;
        };
        let sequence = self.agenda.take_number();
        let lane = &mut self.lanes[number];
        lane.prune(is_live);
        lane.queue.push_back(Entry { at, sequence, event });
        self.re_arm(number);
    }

    /// The time of the next event, if it is before `until`, and the event.
    pub(super) fn pop(&mut self, until: u64, is_live: impl Fn(u64, Event) -> bool) -> Option<(u64, Event)> {
        loop {
            let Entry { at, sequence, event } = self.agenda.pop(until)?;
            let Event::Lane(number) = event else { return Some((at, event)) };
            let number = number as usize;
            let lane = &mut self.lanes[number];
            lane.armed = false;
            lane.prune(&is_live);
            // What stood here when the lane was armed may be gone already.
            let due = lane.queue.pop_front_if(|first| (first.at, first.sequence) == (at, sequence));
            self.re_arm(number);
            if let Some(due) = due {
                return Some((due.at, due.event));
            }
        }
    }

    fn re_arm(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        if lane.armed {
            return;
        }
        if let Some(Entry { at, sequence, .. }) = lane.queue.front() {
            let (at, sequence) = (*at, *sequence);
            lane.armed = true;
            let event = Event::Lane(u32::try_from(number).expect("there are few lanes"));
            self.agenda.put(Entry { at, sequence, event });
        }
    }
}

impl Lane {
    fn prune(&mut self, is_live: impl Fn(u64, Event) -> bool) {
        while let Some(first) = self.queue.front()
            && !is_live(first.at, first.event)
        {
            self.queue.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_lane_holds_what_is_alive_and_one_place_in_the_agenda() {
        let mut clock = Clock::default();
        clock.add_lane(1000);
        for now in 0..100_000 {
            clock.arm(now, now + 1000, Event::Arrival(now as u32), |at, _| at + 10 > now + 1000);
        }
        assert!(clock.lanes[0].queue.len() < 20 && clock.agenda.len() == 1);
    }

    proptest! {
        /// The model is a sorted list without lanes.
        #[test]
        fn lanes_change_nothing_about_the_order(
            steps in prop::collection::vec((0_u64..4, 0_u64..6, any::<bool>()), 1..300),
        ) {
            let mut clock = Clock::default();
            clock.add_lane(3);
            clock.add_lane(5);
            let mut model: Vec<(u64, usize, Event)> = Vec::new();
            let mut dead: Vec<Event> = Vec::new();
            let mut now = 0;
            for (number, (advance, span, dies)) in steps.into_iter().enumerate() {
                let event = Event::Arrival(number as u32);
                clock.arm(now, now + span, event, |_, event| !dead.contains(&event));
                model.push((now + span, number, event));
                if dies {
                    dead.push(event);
                }
                now += advance;
                let is_live = |_: u64, event: Event| !dead.contains(&event);
                model.sort_by_key(|(at, number, _)| (*at, *number));
                let due = model.iter().take_while(|(at, _, _)| *at < now).count();
                let want: Vec<_> = model.drain(..due).map(|(at, _, event)| (at, event)).filter(|e| is_live(e.0, e.1)).collect();
                let mut got = Vec::new();
                while let Some((at, event)) = clock.pop(now, is_live) {
                    // Outside lanes the dead come up too.
                    if is_live(at, event) {
                        got.push((at, event));
                    }
                }
                prop_assert_eq!(got, want);
            }
        }
    }
}
