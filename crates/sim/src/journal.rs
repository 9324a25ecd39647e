//! Where every record of a run goes: into the rolling hash, and, when asked for, into the history.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_policy::Instant;

use crate::history::{Entry, Field, History, StoryLine};
use crate::note::Note;
use crate::trace::{Recording, Trace};

/// The journal of a run. Cheap to clone; clones are the same journal.
#[derive(Clone)]
pub(crate) struct Journal {
    /// Shared with the engine, which notes its own events in it.
    trace: Arc<Trace>,
    pages: Arc<Mutex<Pages>>,
}

struct Pages {
    hosts: Vec<Arc<str>>,
    history: Option<Vec<Entry>>,
    story: Vec<(Instant, String)>,
}

/// What the journal gives in the end, besides the trace.
pub(crate) struct Told {
    pub(crate) history: Option<History>,
    pub(crate) story: Vec<StoryLine>,
}

/// What a record says about itself, asked only if history is kept.
pub(crate) struct Words {
    pub(crate) text: String,
    pub(crate) fields: Vec<(&'static str, Field)>,
}

impl Journal {
    /// A journal for hosts of these names; `keep`: with history.
    pub(crate) fn new(trace: Arc<Trace>, hosts: Vec<Arc<str>>, keep: bool) -> Self {
        let pages = Pages { hosts, history: keep.then(Vec::new), story: Vec::new() };
        Self { trace, pages: Arc::new(Mutex::new(pages)) }
    }

    /// Takes a record of host number `host` at world time `at`, made for this request of the load.
    pub(crate) fn take(
        &self,
        at: Instant,
        host: u32,
        kind: &'static str,
        request: Option<u64>,
        record: &impl Hash,
        words: impl FnOnce() -> Words,
    ) {
        let mut fold = Fold::default();
        record.hash(&mut fold);
        self.trace.note(at, host, kind, fold.finish(), request.unwrap_or(0));
        self.keep(at, host, kind, request, words);
    }

    /// Whether records are kept.
    pub(crate) fn keeps(&self) -> bool {
        self.pages().history.is_some()
    }

    /// Keeps a record, if records are kept, for one who writes into the rolling hash himself.
    pub(crate) fn keep(
        &self,
        at: Instant,
        host: u32,
        kind: &'static str,
        request: Option<u64>,
        words: impl FnOnce() -> Words,
    ) {
        let mut pages = self.pages();
        if pages.history.is_some() {
            let Words { text, fields } = words();
            let host = Arc::clone(&pages.hosts[host as usize]);
            let entry = Entry { at, before_start_ns: 0, host, kind, request, text, fields };
            if let Some(history) = &mut pages.history {
                history.push(entry);
            }
        }
    }

    /// Takes a note of the world itself.
    pub(crate) fn note(&self, at: Instant, host: u32, note: &Note<'_>) {
        let words = || Words { text: note.to_string(), fields: note.fields() };
        self.take(at, host, note.kind(), note.request(), note, words);
    }

    /// Takes a note of the world itself while its only writer has the rolling hash.
    pub(crate) fn note_in(&self, recording: &mut Recording, at: Instant, host: u32, note: &Note<'_>) {
        let mut fold = Fold::default();
        note.hash(&mut fold);
        recording.note(at, host, note.kind(), fold.finish(), note.request().unwrap_or(0));
        self.keep(at, host, note.kind(), note.request(), || Words { text: note.to_string(), fields: note.fields() });
    }

    /// The name of host number `host`.
    pub(crate) fn host(&self, host: u32) -> Arc<str> {
        Arc::clone(&self.pages().hosts[host as usize])
    }

    /// A line for the story of the run.
    pub(crate) fn tell(&self, at: Instant, line: String) {
        self.pages().story.push((at, line));
    }

    /// All there is, with times since `start`.
    pub(crate) fn finish(&self, start: Instant) -> Told {
        let mut pages = self.pages();
        let history = pages.history.take().map(|entries| {
            History::new(entries.into_iter().map(|entry| Entry {
                at: Instant::ZERO + entry.at.since(start),
                before_start_ns: u64::try_from(start.since(entry.at).as_nanos()).unwrap_or(u64::MAX),
                ..entry
            }))
        });
        let mut story = std::mem::take(&mut pages.story);
        story.sort_by_key(|(at, _)| *at);
        let story = story.into_iter().map(|(at, text)| StoryLine { at: Instant::ZERO + at.since(start), text });
        Told { history, story: story.collect() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A hash of one record that is the same in every process: multiply and rotate over words, mixed at the end (SplitMix64).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fold {
    fn word(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x0000_0100_0000_01b3);
        self.0 ^= self.0 >> 32;
    }
}

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.word(u64::from_le_bytes(word) ^ ((chunk.len() as u64) << 56));
        }
    }

    fn write_u8(&mut self, number: u8) {
        self.word(u64::from(number));
    }

    fn write_u16(&mut self, number: u16) {
        self.word(u64::from(number));
    }

    fn write_u32(&mut self, number: u32) {
        self.word(u64::from(number));
    }

    fn write_u64(&mut self, number: u64) {
        self.word(number);
    }

    fn write_usize(&mut self, number: usize) {
        self.word(number as u64);
    }
}
