//! What a control plane tells its operators: a log line per event through `tracing`, and counts for Prometheus.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use squall_net::Seldom;
use squall_net::exposition::{Exposition, Kind};
use squall_policy::Instant;

use crate::{ControlRecord, ControlRecorder};

/// Callers refused that are said in ten seconds: with a wrong token, say.
const CALLERS: u32 = 10;

/// Logs and counts what a control plane does.
#[derive(Debug, Default)]
pub struct Report(Mutex<Counts>, AtomicU64);

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    listening: bool,
    proxies: u64,
    pushed: u64,
    acked: u64,
    nacked: u64,
    not_compiled: u64,
    signed: u64,
    refused: u64,
    /// Which of those who failed in the handshake are said, and which of the others: anybody may come as far as either.
    handshakes: Seldom,
    callers: Seldom,
    taken: u64,
    files_refused: u64,
    mistakes: u64,
}

impl Report {
    /// Nothing told yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether the control plane listens.
    #[must_use]
    pub fn is_listening(&self) -> bool {
        self.counts().listening
    }

    /// Files were taken.
    pub fn files_taken(&self, files: usize) {
        let mut counts = self.counts();
        counts.taken += 1;
        counts.mistakes = 0;
        tracing::info!(files, "the files are in force");
    }

    /// Files were refused for so many mistakes.
    pub fn files_refused(&self, mistakes: usize) {
        let mut counts = self.counts();
        counts.files_refused += 1;
        counts.mistakes = mistakes as u64;
        tracing::warn!(mistakes, "the files are refused; the last good mesh stays");
    }

    /// Lines of the control plane's own log were not written. Takes no lock, for the log is written to under the one that is here.
    pub fn log_lines_dropped(&self, lines: u64) {
        self.1.fetch_add(lines, Ordering::Relaxed);
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All counts in the exposition format.
    #[must_use]
    pub fn render(&self) -> String {
        use Kind::{Counter, Gauge};
        let counts = *self.counts();
        let mut page = Exposition::default();
        for (name, kind, help, value) in [
            ("squall_control_proxies", Gauge, "Proxies whose stream is up.", counts.proxies),
            ("squall_control_pushes_total", Counter, "Meshes on their way to a proxy.", counts.pushed),
            ("squall_control_acks_total", Counter, "Meshes that a proxy took.", counts.acked),
            ("squall_control_nacks_total", Counter, "Meshes that a proxy refused.", counts.nacked),
            (
                "squall_control_not_compiled_total",
                Counter,
                "Changes that suit no mesh of a proxy.",
                counts.not_compiled,
            ),
            ("squall_control_certificates_signed_total", Counter, "Certificates signed.", counts.signed),
            (
                "squall_control_callers_refused_total",
                Counter,
                "Callers refused: TLS, tokens, identities.",
                counts.refused,
            ),
            ("squall_control_files_taken_total", Counter, "Times changed files were put in force.", counts.taken),
            ("squall_control_files_refused_total", Counter, "Times changed files were refused.", counts.files_refused),
            ("squall_control_mistakes", Gauge, "Mistakes in the files now; 0: they are in force.", counts.mistakes),
            (
                "squall_log_dropped_total",
                Counter,
                "Lines of the control plane's own log not written.",
                self.1.load(Ordering::Relaxed),
            ),
        ] {
            page.single(name, kind, help, value);
        }
        page.finish()
    }
}

fn refused(peer: &str, why: &str, left_out: u64) {
    if left_out == 0 {
        tracing::warn!(peer, why, "a caller is refused");
    } else {
        tracing::warn!(peer, why, left_out, "a caller is refused, as others were since this was last said");
    }
}

impl ControlRecorder for Report {
    fn record(&self, now: Instant, record: &ControlRecord) {
        let mut counts = self.counts();
        match record {
            ControlRecord::Listening { at } => {
                counts.listening = true;
                tracing::info!(%at, "the control plane listens");
            }
            ControlRecord::Connected { node } => {
                counts.proxies += 1;
                tracing::info!(node, "a proxy is connected");
            }
            ControlRecord::Disconnected { node } => {
                counts.proxies = counts.proxies.saturating_sub(1);
                tracing::info!(node, "a proxy is gone");
            }
            ControlRecord::Pushed { node, version } => {
                counts.pushed += 1;
                tracing::info!(node, version, "a mesh is pushed");
            }
            ControlRecord::Acked { node, version } => {
                counts.acked += 1;
                tracing::info!(node, version, "a proxy has taken its mesh");
            }
            ControlRecord::Nacked { node, version, why } => {
                counts.nacked += 1;
                tracing::warn!(node, version, why, "a proxy refused its mesh and keeps the one before");
            }
            ControlRecord::NotCompiled { node, why } => {
                counts.not_compiled += 1;
                tracing::warn!(node, why, "there is no mesh for a proxy; it keeps the one before");
            }
            ControlRecord::Signed { identity, not_after_s } => {
                counts.signed += 1;
                tracing::info!(identity, not_after_s, "a certificate is signed");
            }
            ControlRecord::HandshakeFailed { peer, why } => {
                counts.refused += 1;
                if let Some(left_out) = counts.handshakes.may_say(now, 1) {
                    refused(peer, why, left_out);
                }
            }
            ControlRecord::Refused { peer, why } => {
                counts.refused += 1;
                if let Some(left_out) = counts.callers.may_say(now, CALLERS) {
                    refused(peer, why, left_out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_is_counted() {
        let report = Report::new();
        let node = || "shop/front-0".to_owned();
        for record in [
            ControlRecord::Connected { node: node() },
            ControlRecord::Pushed { node: node(), version: 1 },
            ControlRecord::Connected { node: node() },
            ControlRecord::Disconnected { node: node() },
        ] {
            report.record(Instant::ZERO, &record);
        }
        report.files_refused(2);
        let page = report.render();
        for line in [
            "squall_control_proxies 1",
            "squall_control_pushes_total 1",
            "squall_control_files_refused_total 1",
            "squall_control_mistakes 2",
        ] {
            assert!(page.lines().any(|found| found == line), "no `{line}` in\n{page}");
        }
        report.files_taken(3);
        assert!(report.render().contains("squall_control_mistakes 0\n"), "mended");
    }
}
