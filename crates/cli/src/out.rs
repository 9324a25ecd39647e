//! Lines on their way out of a process: its access log to stdout, its own log to stderr. A thread of their own writes them, so that a
//! reader that stands still or a full disk never stops what the process is for. Lines for which there is no room, or that cannot be
//! written, are lost and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::threads;

/// Bytes of lines that may wait to be written, or one line that is longer.
const ROOM: usize = 1024 * 1024;

/// So many bytes are written at once, however short they have waited.
const ENOUGH: usize = 64 * 1024;

/// How long a line waits for others to be written with it. To wake the thread costs several times what a line does (`reports/proxy.md`).
const GATHERED: Duration = Duration::from_millis(10);

/// How long a process that ends waits for its last lines to be written.
const END_TIME: Duration = Duration::from_secs(1);

/// What changes back and forth is told so often at most.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Told how many lines were lost.
pub(crate) type Lost = Arc<dyn Fn(u64) + Send + Sync>;

/// What the thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// It waits for a line.
    Idle,
    /// It waits for more.
    Gathers,
    Writes,
}

struct Waiting {
    /// Lines with their ends.
    bytes: Vec<u8>,
    writer: Writer,
    /// Nothing is taken any more.
    over: bool,
}

/// Lines that wait for the thread.
struct Queue {
    waiting: Mutex<Waiting>,
    /// There is something to do for the thread.
    due: Condvar,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there was room. It wakes the thread seldom: that is what costs.
    fn put(&self, line: &[u8]) -> bool {
        let mut waiting = self.waiting();
        let is_full = !waiting.bytes.is_empty() && waiting.bytes.len() + line.len() >= ROOM;
        if waiting.over || is_full {
            return false;
        }
        waiting.bytes.extend_from_slice(line);
        waiting.bytes.push(b'\n');
        let is_due = match waiting.writer {
            Writer::Idle => true,
            Writer::Gathers => waiting.bytes.len() >= ENOUGH,
            Writer::Writes => false,
        };
        if is_due {
            waiting.writer = Writer::Writes;
            drop(waiting);
            self.due.notify_one();
        }
        true
    }

    /// Nothing is taken any more; what waits is still written.
    fn end(&self) {
        self.waiting().over = true;
        self.due.notify_one();
    }

    /// Waits for lines, and for as long as is said for more. They take the place of what `batch` holds; whether they are the last.
    fn take(&self, batch: &mut Vec<u8>, gathered: Duration) -> bool {
        let mut waiting = self.waiting();
        while waiting.bytes.is_empty() && !waiting.over {
            waiting.writer = Writer::Idle;
            waiting = self.due.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        if !gathered.is_zero() && !waiting.over && waiting.bytes.len() < ENOUGH {
            waiting.writer = Writer::Gathers;
            let few = |waiting: &mut Waiting| !waiting.over && waiting.bytes.len() < ENOUGH;
            (waiting, _) = self.due.wait_timeout_while(waiting, gathered, few).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.writer = Writer::Writes;
        std::mem::swap(&mut waiting.bytes, batch);
        waiting.over
    }
}

/// A thread that writes lines.
pub(crate) struct Lines {
    queue: Arc<Queue>,
    /// Its other end is gone when the thread is.
    ended: Receiver<()>,
    lost: Lost,
}

impl Lines {
    /// To stdout, where lines of ten milliseconds are written together. What the lines are is for the log, which is told once when they
    /// cannot be written, and when they can again.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn to_stdout(what: &'static str, lost: Lost) -> io::Result<Self> {
        Ok(Self::start(descriptor(&io::stdout())?, GATHERED, Some(Teller::new(what)), lost))
    }

    /// To stderr, at once and quietly: where should it be told?
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn to_stderr(lost: Lost) -> io::Result<Self> {
        Ok(Self::start(descriptor(&io::stderr())?, Duration::ZERO, None, lost))
    }

    fn start(out: impl Write + Send + 'static, gathered: Duration, teller: Option<Teller>, lost: Lost) -> Self {
        let waiting = Waiting { bytes: Vec::new(), writer: Writer::Writes, over: false };
        let queue = Arc::new(Queue { waiting: Mutex::new(waiting), due: Condvar::new() });
        let (ends, ended) = channel();
        let (told, queued) = (Arc::clone(&lost), Arc::clone(&queue));
        threads::aside(move || {
            write(&queued, out, gathered, teller, &told);
            drop(ends);
        });
        Self { queue, ended, lost }
    }

    /// Takes lines, without their ends, and never waits for who reads them.
    pub(crate) fn sink(&self) -> Sink {
        Sink { queue: Arc::clone(&self.queue), lost: Arc::clone(&self.lost) }
    }

    /// What waits is written, if that takes no longer than a second.
    pub(crate) fn end(self) {
        self.queue.end();
        // Nothing is ever sent: it ends, or the time does.
        let _ = self.ended.recv_timeout(END_TIME);
    }
}

/// Without the buffer that std has before it, which would keep what could not be written.
fn descriptor(of: &impl AsFd) -> io::Result<File> {
    of.as_fd().try_clone_to_owned().map(File::from)
}

/// The way in.
#[derive(Clone)]
pub(crate) struct Sink {
    queue: Arc<Queue>,
    lost: Lost,
}

impl Sink {
    pub(crate) fn send(&self, line: &[u8]) {
        if !self.queue.put(line) {
            (self.lost)(1);
        }
    }
}

/// An event of the log comes in one piece, with its end of line.
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.send(bytes.strip_suffix(b"\n").unwrap_or(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'s> MakeWriter<'s> for Sink {
    type Writer = Self;

    fn make_writer(&'s self) -> Self {
        self.clone()
    }
}

/// The thread's work.
fn write(queue: &Queue, mut out: impl Write, gathered: Duration, mut teller: Option<Teller>, lost: &Lost) {
    let mut batch = Batch::default();
    loop {
        let is_last = queue.take(&mut batch.bytes, gathered);
        if !batch.bytes.is_empty() {
            let (lines_lost, failed) = batch.write(&mut out);
            if lines_lost > 0 {
                lost(lines_lost);
            }
            if let Some(teller) = &mut teller {
                teller.saw(failed.as_ref());
            }
        }
        if is_last {
            return;
        }
        if batch.bytes.capacity() > ENOUGH * 2 {
            batch.bytes = Vec::new();
        }
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    /// With their ends.
    bytes: Vec<u8>,
    /// What was written last was a part of a line.
    torn: bool,
}

impl Batch {
    /// Writes it, and is empty afterwards. How many lines were lost, and why.
    fn write(&mut self, out: &mut impl Write) -> (u64, Option<io::Error>) {
        if self.torn {
            self.bytes.insert(0, b'\n');
        }
        let (mut written, mut failed) = (0, None);
        while written < self.bytes.len() && failed.is_none() {
            match out.write(&self.bytes[written..]) {
                Ok(0) => failed = Some(io::ErrorKind::WriteZero.into()),
                Ok(more) => written += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => failed = Some(error),
            }
        }
        let ends = self.bytes[written..].iter().filter(|byte| **byte == b'\n').count() as u64;
        // The first end is that of an earlier line, which has been counted.
        let lines_lost = ends.saturating_sub(u64::from(written == 0 && self.torn));
        self.torn = match self.bytes[..written].last() {
            Some(last) => *last != b'\n',
            None => self.torn,
        };
        self.bytes.clear();
        (lines_lost, failed)
    }
}

/// Tells the log when lines cannot be written any more, and when they can again.
struct Teller {
    what: &'static str,
    fails: bool,
    said: Option<Instant>,
}

impl Teller {
    fn new(what: &'static str) -> Self {
        Self { what, fails: false, said: None }
    }

    fn saw(&mut self, failed: Option<&io::Error>) {
        let is_news = self.fails != failed.is_some();
        match failed {
            // A disk that is full, and has room, and is full would say so with every line.
            Some(error) if is_news && self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) => {
                self.said = Some(Instant::now());
                self.fails = true;
                tracing::warn!(%error, "{} cannot be written; its lines are lost, and counted", self.what);
            }
            Some(_) => {}
            None if is_news => {
                self.fails = false;
                tracing::info!("{} is written again", self.what);
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A disk with so much room.
    struct Disk<'d> {
        room: usize,
        holds: &'d mut Vec<u8>,
    }

    impl Write for Disk<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.holds.extend_from_slice(&bytes[..taken]);
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_broke_off_does_not_run_into_the_next() {
        let mut batch = Batch::default();
        let mut holds = Vec::new();
        for (room, lines, lost) in [
            (100, &["one", "two"][..], 0),
            (8, &["three", "four", "five"], 2),
            (0, &["six", "seven"], 2),
            (1, &["eight"], 1),
            (0, &["nine"], 1),
            (100, &["ten"], 0),
        ] {
            lines.iter().for_each(|line| batch.bytes.extend(line.bytes().chain([b'\n'])));
            let (found, failed) = batch.write(&mut Disk { room, holds: &mut holds });
            assert_eq!((found, failed.is_some()), (lost, lost > 0), "{lines:?}");
        }
        assert_eq!(String::from_utf8_lossy(&holds), "one\ntwo\nthree\nfo\nten\n");
    }

    #[test]
    fn lines_that_nobody_reads_are_lost_and_counted_and_the_end_does_not_wait_for_them() {
        /// A reader that stands still until its other end is dropped.
        struct Still(Receiver<()>);
        impl Write for Still {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                Err(io::ErrorKind::BrokenPipe.into())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (still, stands) = channel();
        let counted = Arc::new(Mutex::new(0));
        let counts = Arc::clone(&counted);
        let lost = move |lines| *counts.lock().expect("no panic here") += lines;
        let lines = Lines::start(Still(stands), GATHERED, None, Arc::new(lost));
        let sink = lines.sink();
        // As many as may wait, those that the thread may hold already, and ten more.
        let line = [b'x'; 1023];
        let sent = 2 * ROOM / (line.len() + 1) + 10;
        (0..sent).for_each(|_| sink.send(&line));
        assert!(*counted.lock().expect("no panic here") >= 10);
        lines.end();
        drop(still);
    }
}
