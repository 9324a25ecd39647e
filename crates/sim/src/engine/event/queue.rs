//! What happens next: an agenda of (time, sequence), and the timers in it.

use std::task::Waker;

use crate::agenda::Agenda;

/// A place in a slab and how often it was used before; an old key finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) index: u32,
    pub(super) generation: u32,
}

/// Something that will happen. A stale key makes it happen to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// A sleep ends.
    Timer(Key),
    /// A SYN reaches its host.
    Syn(Key),
    /// A SYN-ACK reaches the client.
    SynAck(Key),
    /// The answer to a SYN did not come.
    SynRetry(Key),
    /// A SYN was answered with RST.
    Refused(Key),
    /// Nobody has the address.
    Unreachable(Key),
    /// Segments of the connection reach the side opposite to the given one.
    Deliver(Key, u8),
    /// An acknowledgement did not come to the given side.
    Retry(Key, u8),
    /// The writer on the given side learns that there is room.
    Window(Key, u8),
    /// The writer on the given side asks whether there is room.
    Probe(Key, u8),
    /// An RST reaches the given side.
    Reset(Key, u8),
    /// The virtual core of a host has finished a poll; `generation` is the host's boot.
    Core(Key),
}

struct Timer {
    generation: u32,
    host: u32,
    waker: Option<Waker>,
}

/// The events to come.
#[derive(Default)]
pub(super) struct Queue {
    agenda: Agenda<Event>,
    timers: Vec<Timer>,
    free: Vec<u32>,
    /// Entries of timers that were cancelled. They are swept when they are most of the agenda, so that it stays bounded by
    /// what is alive.
    dead: usize,
}

impl Queue {
    pub(super) fn push(&mut self, at: u64, event: Event) {
        self.agenda.push(at, event);
    }

    /// The next event before `until`.
    pub(super) fn pop(&mut self, until: u64) -> Option<(u64, Event)> {
        self.agenda.pop(until).map(|entry| (entry.at, entry.event))
    }

    pub(super) fn add_timer(&mut self, at: u64, host: u32, waker: Waker) -> Key {
        let key = match self.free.pop() {
            Some(index) => {
                let timer = &mut self.timers[index as usize];
                timer.host = host;
                timer.waker = Some(waker);
                Key { index, generation: timer.generation }
            }
            None => {
                let index = u32::try_from(self.timers.len()).expect("fewer than 2^32 timers fit in memory");
                self.timers.push(Timer { generation: 0, host, waker: Some(waker) });
                Key { index, generation: 0 }
            }
        };
        self.push(at, Event::Timer(key));
        key
    }

    fn timer(&mut self, key: Key) -> Option<&mut Timer> {
        self.timers.get_mut(key.index as usize).filter(|timer| timer.generation == key.generation)
    }

    /// Makes a timer wake `waker`; gives back what is to be dropped outside the lock.
    pub(super) fn rewake(&mut self, key: Key, waker: &Waker) -> Option<Waker> {
        let timer = self.timer(key)?;
        match &timer.waker {
            Some(old) if old.will_wake(waker) => None,
            Some(_) | None => timer.waker.replace(waker.clone()),
        }
    }

    /// Takes a timer out; gives its host and waker.
    fn end(&mut self, key: Key) -> Option<(u32, Option<Waker>)> {
        let timer = self.timer(key)?;
        timer.generation = timer.generation.wrapping_add(1);
        let ended = (timer.host, timer.waker.take());
        self.free.push(key.index);
        Some(ended)
    }

    /// The timer's entry has come up: its host and waker, or `None` if it was cancelled.
    pub(super) fn fire(&mut self, key: Key) -> Option<(u32, Option<Waker>)> {
        let ended = self.end(key);
        if ended.is_none() {
            self.dead = self.dead.saturating_sub(1);
        }
        ended
    }

    /// Removes a timer that has not fired; gives back what is to be dropped outside the lock.
    pub(super) fn cancel(&mut self, key: Key) -> Option<Waker> {
        let (_, waker) = self.end(key)?;
        self.dead += 1;
        if self.dead > 1024 && self.dead * 2 > self.agenda.len() {
            let timers = &self.timers;
            self.agenda.retain(|event| match *event {
                Event::Timer(key) => timers[key.index as usize].generation == key.generation,
                Event::Syn(_)
                | Event::SynAck(_)
                | Event::SynRetry(_)
                | Event::Refused(_)
                | Event::Unreachable(_)
                | Event::Deliver(..)
                | Event::Retry(..)
                | Event::Window(..)
                | Event::Probe(..)
                | Event::Reset(..)
                | Event::Core(_) => true,
            });
            self.dead = 0;
        }
        waker
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cancelled_timers_do_not_pile_up() {
        let mut queue = Queue::default();
        let kept: Vec<Key> = (0..100).map(|at| queue.add_timer(at, 0, Waker::noop().clone())).collect();
        for at in 0..100_000 {
            let key = queue.add_timer(1_000_000 + at, 0, Waker::noop().clone());
            assert!(queue.cancel(key).is_some());
            assert!(queue.cancel(key).is_none(), "cancelled twice");
        }
        assert!(queue.agenda.len() < 2500, "{} entries for 100 timers", queue.agenda.len());
        assert!(queue.timers.len() <= 101);
        let mut fired = Vec::new();
        while let Some((_, event)) = queue.pop(u64::MAX) {
            if let Event::Timer(key) = event
                && queue.fire(key).is_some()
            {
                fired.push(key);
            }
        }
        assert_eq!(fired, kept);
    }
}
