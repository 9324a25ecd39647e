//! The slots of one application: so many requests served at once, a bounded queue in order of arrival before them.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The slots and the queue of one pod.
pub(crate) struct Slots {
    state: Mutex<State>,
}

struct State {
    /// Free slots; `None`: no limit.
    free: Option<u32>,
    /// Room in the queue; `None`: no limit.
    queue: Option<u32>,
    waiting: VecDeque<oneshot::Sender<Slot>>,
}

/// Leave to be served; dropping it lets the next in.
#[must_use]
pub(crate) struct Slot(Option<Arc<Slots>>);

/// The queue is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// How a request got in.
pub(crate) enum Entry {
    /// A slot was free.
    Slot(Slot),
    /// It waits: await the turn.
    Turn(Turn),
}

/// A place in the queue; dropping it leaves the queue.
pub(crate) struct Turn(oneshot::Receiver<Slot>);

impl Slots {
    /// `slots` requests at once, at least 1, and `queue` waiting; `None`: no limit.
    pub(crate) fn new(slots: Option<u32>, queue: Option<u32>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: slots, queue, waiting: VecDeque::new() }) })
    }

    /// A slot, a place in the queue, or neither.
    pub(crate) fn enter(self: &Arc<Self>) -> Result<Entry, Full> {
        let mut state = self.lock();
        match &mut state.free {
            None => return Ok(Entry::Slot(Slot(None))),
            Some(0) => {}
            Some(free) => {
                *free -= 1;
                return Ok(Entry::Slot(Slot(Some(Arc::clone(self)))));
            }
        }
        state.waiting.retain(|waiter| !waiter.is_closed());
        if state.queue.is_some_and(|room| state.waiting.len() as u64 >= u64::from(room)) {
            return Err(Full);
        }
        let (give, take) = oneshot::channel();
        state.waiting.push_back(give);
        Ok(Entry::Turn(Turn(take)))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The slot, when it is this one's turn.
    pub(crate) async fn wait(self) -> Slot {
        self.0.await.expect("the queue outlives those who wait: a pod's slots end with its tasks")
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(slots) = self.0.take() else { return };
        let mut next = Some(Self(Some(Arc::clone(&slots))));
        loop {
            let Some(waiter) = slots.lock().waiting.pop_front() else { break };
            let offered = next.take().expect("kept until it is taken");
            match waiter.send(offered) {
                Ok(()) => return,
                Err(refused) => next = Some(refused),
            }
        }
        if let Some(mut unused) = next {
            unused.0 = None;
        }
        if let Some(free) = &mut slots.lock().free {
            *free += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(slots: &Arc<Slots>) -> Slot {
        match slots.enter() {
            Ok(Entry::Slot(slot)) => slot,
            Ok(Entry::Turn(_)) => panic!("had to wait"),
            Err(Full) => panic!("was full"),
        }
    }

    fn turn(slots: &Arc<Slots>) -> Turn {
        match slots.enter() {
            Ok(Entry::Turn(turn)) => turn,
            Ok(Entry::Slot(_)) => panic!("had a slot"),
            Err(Full) => panic!("was full"),
        }
    }

    #[test]
    fn a_freed_slot_goes_to_the_first_who_still_waits() {
        let slots = Slots::new(Some(1), Some(2));
        let held = slot(&slots);
        let gone = turn(&slots);
        let mut waits = turn(&slots);
        assert!(slots.enter().is_err(), "two wait already");
        drop(gone);
        drop(held);
        let got = waits.0.try_recv().expect("it is its turn");
        assert!(matches!(slots.enter(), Ok(Entry::Turn(_))), "the slot is taken");
        drop(got);
        let _free = slot(&slots);
    }

    #[test]
    fn a_slot_offered_to_one_who_left_is_not_lost() {
        let slots = Slots::new(Some(1), None);
        let held = slot(&slots);
        let waits = turn(&slots);
        drop(held);
        drop(waits);
        let _free = slot(&slots);
    }

    #[test]
    fn no_room_means_refused_at_once() {
        let slots = Slots::new(Some(1), Some(0));
        let _held = slot(&slots);
        assert!(slots.enter().is_err());
    }
}
