//! What happened, as a rolling hash: two runs are the same run if their digests are equal.
//!
//! Every event folds (time, host, kind, two numbers) into one 64-bit hash. Checkpoints keep the hash every
//! [`CHECKPOINT_EVERY`] events, so that two different runs are bisected to the window in which they part
//! ([`Trace::parting`]); a second run with [`Mode::Window`] keeps the events of that window, and [`first_difference`]
//! names the first that differs. Lengths and times only, never ciphertext: TLS randomness is not seeded.

use std::sync::{Mutex, MutexGuard, PoisonError};

use squall_policy::Instant;

/// How many events lie between two checkpoints.
pub const CHECKPOINT_EVERY: u64 = 4096;

/// What a trace keeps besides its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Checkpoints only.
    Digest,
    /// Checkpoints, and every event whose index lies in `from..to`.
    Window {
        /// The first event kept.
        from: u64,
        /// The first event not kept any more.
        to: u64,
    },
}

/// One event of a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in the run, from 0.
    pub index: u64,
    /// When, in the world's time.
    pub at: Instant,
    /// Where: the number of the host, `u32::MAX` for the world itself.
    pub host: u32,
    /// What: `deliver`, `timer`.
    pub kind: &'static str,
    /// First number: a connection, a task.
    pub a: u64,
    /// Second number: a length.
    pub b: u64,
}

/// A record that its only writer has taken out of its [`Trace`].
#[derive(Debug)]
pub(crate) struct Recording {
    mode: Mode,
    state: State,
}

impl Recording {
    /// A record of nothing, for a writer that has given its own back.
    pub(crate) fn nothing() -> Self {
        Self { mode: Mode::Digest, state: State::new() }
    }

    /// As [`Trace::note`].
    pub(crate) fn note(&mut self, at: Instant, host: u32, kind: &'static str, a: u64, b: u64) {
        self.state.note(self.mode, at, host, kind, a, b);
    }

    /// Adds an event at a lower price: of `kind`, only the first eight bytes and the length count. Inlined, so that both are
    /// constants.
    #[inline]
    pub(crate) fn note_short(&mut self, at: Instant, host: u32, kind: &'static str, a: u64, b: u64) {
        let mut word = [0; 8];
        let length = kind.len().min(8);
        word[..length].copy_from_slice(&kind.as_bytes()[..length]);
        let tag = u64::from_le_bytes(word).rotate_left(kind.len() as u32) ^ u64::from(host) << 32;
        let hash = mix(mix(self.state.hash ^ tag, at.as_nanos()), a.rotate_left(32) ^ b);
        self.state.add(self.mode, hash, Event { index: 0, at, host, kind, a, b });
    }
}

/// The hash after so many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Events so far.
    pub events: u64,
    /// When the last of them was.
    pub at: Instant,
    /// The hash over them.
    pub hash: u64,
}

/// The record of a run. Shared by engine, proxies and services of one world.
#[derive(Debug)]
pub struct Trace {
    mode: Mode,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    events: u64,
    hash: u64,
    at: Instant,
    checkpoints: Vec<Checkpoint>,
    kept: Vec<Event>,
}

impl State {
    fn new() -> Self {
        Self { events: 0, hash: 0x5153_5541_4c4c_0001, at: Instant::ZERO, checkpoints: Vec::new(), kept: Vec::new() }
    }

    fn note(&mut self, mode: Mode, at: Instant, host: u32, kind: &'static str, a: u64, b: u64) {
        let mut hash = self.hash;
        hash = mix(hash, at.as_nanos());
        hash = mix(hash, u64::from(host) ^ (kind.len() as u64) << 32);
        for part in kind.as_bytes().chunks(8) {
            let mut word = [0; 8];
            word[..part.len()].copy_from_slice(part);
            hash = mix(hash, u64::from_le_bytes(word));
        }
        hash = mix(mix(hash, a), b);
        self.add(mode, hash, Event { index: 0, at, host, kind, a, b });
    }

    #[inline]
    fn add(&mut self, mode: Mode, hash: u64, event: Event) {
        let index = self.events;
        self.hash = hash;
        self.at = event.at;
        self.events += 1;
        if let Mode::Window { from, to } = mode
            && (from..to).contains(&index)
        {
            self.kept.push(Event { index, ..event });
        }
        if self.events.is_multiple_of(CHECKPOINT_EVERY) {
            let (events, at) = (self.events, event.at);
            self.checkpoints.push(Checkpoint { events, at, hash });
        }
    }
}

impl Trace {
    /// An empty trace.
    #[must_use]
    pub fn new(mode: Mode) -> Self {
        Self { mode, state: Mutex::new(State::new()) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds an event. `kind` counts by its bytes; what `a` and `b` mean is up to the kind.
    pub fn note(&self, at: Instant, host: u32, kind: &'static str, a: u64, b: u64) {
        self.state().note(self.mode, at, host, kind, a, b);
    }

    /// Takes the record out, to write in it without a lock; [`Trace::put`] gives it back. Nothing may be noted meanwhile.
    pub(crate) fn take(&self) -> Recording {
        let mut state = self.state();
        Recording { mode: self.mode, state: std::mem::replace(&mut state, State::new()) }
    }

    /// Gives the record back.
    pub(crate) fn put(&self, recording: Recording) {
        *self.state() = recording.state;
    }

    /// The hash over everything so far, with how many events that were and when the last one was.
    #[must_use]
    pub fn digest(&self) -> Checkpoint {
        let state = self.state();
        Checkpoint { events: state.events, at: state.at, hash: state.hash }
    }

    /// The hash every [`CHECKPOINT_EVERY`] events.
    #[must_use]
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        self.state().checkpoints.clone()
    }

    /// The events kept by [`Mode::Window`].
    #[must_use]
    pub fn kept(&self) -> Vec<Event> {
        self.state().kept.clone()
    }

    /// The window of event indices in which this run and `other` part, or `None` if they are the same run.
    #[must_use]
    pub fn parting(&self, other: &Self) -> Option<Mode> {
        let (mine, others) = (self.digest(), other.digest());
        if mine == others {
            return None;
        }
        let (a, b) = (self.checkpoints(), other.checkpoints());
        let same = a.iter().zip(&b).take_while(|(a, b)| a == b).count() as u64;
        let to = ((same + 1) * CHECKPOINT_EVERY).min(mine.events.max(others.events));
        Some(Mode::Window { from: same * CHECKPOINT_EVERY, to })
    }
}

/// The first place where two lists of events differ: what the one and the other did there (`None`: it had ended).
#[must_use]
pub fn first_difference(a: &[Event], b: &[Event]) -> Option<(Option<Event>, Option<Event>)> {
    let longer = a.len().max(b.len());
    (0..longer).map(|at| (a.get(at).copied(), b.get(at).copied())).find(|(a, b)| a != b)
}

/// One round of a multiply-rotate hash; every bit of `word` reaches every bit of the result within two rounds.
#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let mixed = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(mode: Mode, events: u64, odd: Option<u64>) -> Trace {
        let trace = Trace::new(mode);
        for index in 0..events {
            let length = if odd == Some(index) { 1 } else { 0 };
            trace.note(Instant::from_nanos(index), 3, "deliver", index, length);
        }
        trace
    }

    #[test]
    fn one_odd_event_among_ten_thousand_is_found() {
        let window = run(Mode::Digest, 10_000, None).parting(&run(Mode::Digest, 10_000, Some(9_000)));
        assert_eq!(window, Some(Mode::Window { from: 8192, to: 10_000 }));
        let mode = window.expect("the runs differ");
        let (a, b) = (run(mode, 10_000, None), run(mode, 10_000, Some(9_000)));
        let (is, other) = first_difference(&a.kept(), &b.kept()).expect("the window holds it");
        assert_eq!((is.map(|e| (e.index, e.b)), other.map(|e| (e.index, e.b))), (Some((9_000, 0)), Some((9_000, 1))));
    }

    #[test]
    fn a_run_that_stops_early_differs() {
        assert_eq!(run(Mode::Digest, 100, None).parting(&run(Mode::Digest, 100, None)), None);
        let window = run(Mode::Digest, 100, None).parting(&run(Mode::Digest, 99, None));
        assert_eq!(window, Some(Mode::Window { from: 0, to: 100 }));
    }

    #[test]
    fn kinds_that_share_a_beginning_differ() {
        let digest = |kind| {
            let trace = Trace::new(Mode::Digest);
            trace.note(Instant::ZERO, 0, kind, 0, 0);
            trace.digest().hash
        };
        assert_ne!(digest("deliver"), digest("deliver\0"));
    }
}
