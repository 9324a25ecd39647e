//! Where every record of a run goes: into the rolling hash, and, when asked for, into the history.

use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_policy::Instant;

use crate::history::{Entry, Field, History, StoryLine};
use crate::note::Note;
use crate::outcome::Checkpoint;

/// Records between two checkpoints.
const CHECKPOINT_EVERY: u64 = 4096;

/// The journal of a run. Cheap to clone; clones are the same journal.
#[derive(Clone)]
pub(crate) struct Journal(Arc<Mutex<Pages>>);

struct Pages {
    hosts: Vec<Arc<str>>,
    digest: Fold,
    records: u64,
    checkpoints: Vec<Checkpoint>,
    history: Option<Vec<(Instant, Entry)>>,
    story: Vec<(Instant, String)>,
}

/// What the journal gives in the end.
pub(crate) struct Told {
    pub(crate) digest: u64,
    pub(crate) records: u64,
    pub(crate) checkpoints: Vec<Checkpoint>,
    pub(crate) history: Option<History>,
    pub(crate) story: Vec<StoryLine>,
}

/// What a record says about itself, asked only if history is kept.
pub(crate) struct Words {
    pub(crate) kind: &'static str,
    pub(crate) request: Option<u64>,
    pub(crate) text: String,
    pub(crate) fields: Vec<(&'static str, Field)>,
}

impl Journal {
    /// An empty journal for hosts of these names; `keep`: with history.
    pub(crate) fn new(hosts: Vec<Arc<str>>, keep: bool) -> Self {
        Self(Arc::new(Mutex::new(Pages {
            hosts,
            digest: Fold::default(),
            records: 0,
            checkpoints: Vec::new(),
            history: keep.then(Vec::new),
            story: Vec::new(),
        })))
    }

    /// Takes a record of host number `host` at world time `at`.
    pub(crate) fn take(&self, at: Instant, host: u32, record: &impl Hash, words: impl FnOnce() -> Words) {
        let mut pages = self.pages();
        pages.digest.write_u64(at.as_nanos());
        pages.digest.write_u32(host);
        record.hash(&mut pages.digest);
        pages.records += 1;
        if pages.records.is_multiple_of(CHECKPOINT_EVERY) {
            let checkpoint = Checkpoint { records: pages.records, at, digest: pages.digest.finish() };
            pages.checkpoints.push(checkpoint);
        }
        if pages.history.is_some() {
            let Words { kind, request, text, fields } = words();
            let host = Arc::clone(&pages.hosts[host as usize]);
            let entry = Entry { at, before_start_ns: 0, host, kind, request, text, fields };
            if let Some(history) = &mut pages.history {
                history.push((at, entry));
            }
        }
    }

    /// Takes a note of the world itself.
    pub(crate) fn note(&self, at: Instant, host: u32, note: &Note<'_>) {
        self.take(at, host, note, || Words {
            kind: note.kind(),
            request: note.request(),
            text: note.to_string(),
            fields: Vec::new(),
        });
    }

    /// A line for the story of the run.
    pub(crate) fn tell(&self, at: Instant, line: String) {
        self.pages().story.push((at, line));
    }

    /// All there is, with times since `start`.
    pub(crate) fn finish(&self, start: Instant) -> Told {
        let mut pages = self.pages();
        let history = pages.history.take().map(|entries| {
            History::new(entries.into_iter().map(|(at, entry)| Entry {
                at: Instant::ZERO + at.since(start),
                before_start_ns: u64::try_from(start.since(at).as_nanos()).unwrap_or(u64::MAX),
                ..entry
            }))
        });
        let mut story = std::mem::take(&mut pages.story);
        story.sort_by_key(|(at, _)| *at);
        Told {
            digest: pages.digest.finish(),
            records: pages.records,
            checkpoints: std::mem::take(&mut pages.checkpoints),
            history,
            story: story
                .into_iter()
                .map(|(at, text)| StoryLine { at: Instant::ZERO + at.since(start), text })
                .collect(),
        }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A rolling hash that is the same in every process: FNV-1a over words, mixed at the end (SplitMix64). Not for adversaries.
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
