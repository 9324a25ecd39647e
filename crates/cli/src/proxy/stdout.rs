//! The access log's way out: a thread that writes lines to stdout, so that a reader that stands still or a full disk never stops
//! requests. Lines for which there is no room are dropped and counted.

use std::io::{self, BufWriter, Write};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};

use squall_proxy::Metrics;

use super::Spawn;

/// Lines that may wait to be written.
const WAITING: usize = 8192;

/// A line, or `None`: it was the last.
type Message = Option<String>;

/// Where lines go.
pub(super) struct Lines(SyncSender<Message>);

impl Lines {
    /// Starts the thread.
    pub(super) fn start(spawn: &Spawn<'_>) -> Self {
        let (sender, receiver) = sync_channel(WAITING);
        spawn(Box::new(move || write(&receiver)));
        Self(sender)
    }

    /// Takes lines from the proxy, without blocking.
    pub(super) fn sink(&self, metrics: Arc<Metrics>) -> Box<dyn Fn(String) + Send + Sync> {
        let sender = self.0.clone();
        Box::new(move |line| {
            if sender.try_send(Some(line)).is_err() {
                metrics.line_dropped();
            }
        })
    }

    /// What waits is written, then the thread ends.
    pub(super) fn end(self) {
        let _ = self.0.send(None);
    }
}

fn write(lines: &Receiver<Message>) {
    let mut out = BufWriter::new(io::stdout().lock());
    loop {
        let next = match lines.try_recv() {
            Ok(next) => next,
            Err(TryRecvError::Empty) => {
                // Nobody waits for a whole buffer. What cannot be written is lost: the requests matter more.
                let _ = out.flush();
                lines.recv().unwrap_or(None)
            }
            Err(TryRecvError::Disconnected) => None,
        };
        let Some(line) = next else {
            let _ = out.flush();
            return;
        };
        let _ = writeln!(out, "{line}");
    }
}
