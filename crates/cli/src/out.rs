//! Lines on their way out of a process: its access log to stdout, its own log to stderr. A thread of their own writes them, so that a
//! reader that stands still or a full disk never stops what the process is for. Lines for which there is no room, or that cannot be
//! written, are lost and counted.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

use crate::threads;

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// Lines are written together, up to so many bytes.
const BATCH_BYTES: usize = 16 * 1024;

/// How long a process that ends waits for its last lines to be written.
const END_TIME: Duration = Duration::from_secs(1);

/// What changes back and forth is told so often at most.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// A line, or `None`: it was the last.
type Message = Option<String>;

/// Told how many lines were lost.
pub(crate) type Lost = Arc<dyn Fn(u64) + Send + Sync>;

/// A thread that writes lines.
pub(crate) struct Lines {
    sender: SyncSender<Message>,
    /// Its other end is gone when the thread is.
    ended: Receiver<()>,
    lost: Lost,
}

impl Lines {
    /// To stdout. What the lines are is for the log, which is told once when they cannot be written, and when they can again.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn to_stdout(what: &'static str, lost: Lost) -> io::Result<Self> {
        Ok(Self::start(descriptor(&io::stdout())?, Some(Teller::new(what)), lost))
    }

    /// To stderr, quietly: where should it be told?
    ///
    /// # Errors
    /// There is no descriptor left.
    pub(crate) fn to_stderr(lost: Lost) -> io::Result<Self> {
        Ok(Self::start(descriptor(&io::stderr())?, None, lost))
    }

    fn start(out: impl Write + Send + 'static, teller: Option<Teller>, lost: Lost) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        let (ends, ended) = channel();
        let told = Arc::clone(&lost);
        threads::aside(move || {
            write(&receiver, out, teller, &told);
            drop(ends);
        });
        Self { sender, ended, lost }
    }

    /// Takes lines, without their ends, and never blocks.
    pub(crate) fn sink(&self) -> Sink {
        Sink { sender: self.sender.clone(), lost: Arc::clone(&self.lost) }
    }

    /// What waits is written, if that takes no longer than a second.
    pub(crate) fn end(self) {
        let until = Instant::now() + END_TIME;
        loop {
            match self.sender.try_send(None) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => break,
                Err(TrySendError::Full(_)) if Instant::now() > until => return,
                Err(TrySendError::Full(_)) => match self.ended.recv_timeout(Duration::from_millis(1)) {
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                    Err(RecvTimeoutError::Timeout) => {}
                },
            }
        }
        // Nothing is ever sent: it ends, or the time does.
        let _ = self.ended.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Without the buffer that std has before it, which would keep what could not be written.
fn descriptor(of: &impl AsFd) -> io::Result<File> {
    of.as_fd().try_clone_to_owned().map(File::from)
}

/// The way in.
#[derive(Clone)]
pub(crate) struct Sink {
    sender: SyncSender<Message>,
    lost: Lost,
}

impl Sink {
    pub(crate) fn send(&self, line: String) {
        if self.sender.try_send(Some(line)).is_err() {
            (self.lost)(1);
        }
    }
}

/// An event of the log comes in one piece, with its end of line.
impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        self.send(String::from_utf8_lossy(text).into_owned());
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
fn write(lines: &Receiver<Message>, mut out: impl Write, mut teller: Option<Teller>, lost: &Lost) {
    let mut batch = Batch::default();
    loop {
        // Nobody waits for a whole batch.
        let next = match lines.try_recv() {
            Ok(next) => Some(next),
            Err(TryRecvError::Empty) if batch.bytes.is_empty() => Some(lines.recv().unwrap_or(None)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(None),
        };
        if let Some(Some(line)) = &next {
            batch.add(line);
            if batch.bytes.len() < BATCH_BYTES {
                continue;
            }
        }
        let (lines_lost, failed) = batch.write(&mut out);
        if lines_lost > 0 {
            lost(lines_lost);
        }
        if let Some(teller) = &mut teller {
            teller.saw(failed.as_ref());
        }
        if let Some(None) = next {
            return;
        }
    }
}

/// Lines that are written together.
#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    /// What was written last was a part of a line.
    torn: bool,
}

impl Batch {
    fn add(&mut self, line: &str) {
        if self.bytes.is_empty() && self.torn {
            self.bytes.push(b'\n');
        }
        self.bytes.extend_from_slice(line.as_bytes());
        self.bytes.push(b'\n');
    }

    /// Writes it, and is empty afterwards. How many lines were lost, and why.
    fn write(&mut self, out: &mut impl Write) -> (u64, Option<io::Error>) {
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
            lines.iter().for_each(|line| batch.add(line));
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
        let lines = Lines::start(Still(stands), None, Arc::new(lost));
        let sink = lines.sink();
        // As many as may wait, those that the thread may hold already, and ten more.
        let sent = WAITING + BATCH_BYTES + 10;
        (0..sent).for_each(|_| sink.send("x".to_owned()));
        assert!(*counted.lock().expect("no panic here") >= 10);
        lines.end();
        drop(still);
    }
}
