//! How far a campaign is: a bar on a terminal, a line now and then elsewhere.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::numbers;
use crate::screen::Screen;

/// Without a terminal, a line at most this often.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Counts runs. All of it goes to stderr.
pub(crate) struct Progress {
    bar: ProgressBar,
    began: Instant,
    last_line: Instant,
    runs: usize,
    done: usize,
    failed: usize,
    plain: bool,
}

impl Progress {
    pub(crate) fn new(screen: &Screen, runs: usize) -> Self {
        let target = if screen.bars { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} runs{msg}   {elapsed} so far, {eta} to go")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(Some(runs as u64), target).with_style(style);
        let now = Instant::now();
        Self { bar, began: now, last_line: now, runs, done: 0, failed: 0, plain: !screen.bars && !screen.quiet }
    }

    /// A run ended.
    pub(crate) fn tick(&mut self, screen: &mut Screen, passed: bool) {
        self.done += 1;
        self.failed += usize::from(!passed);
        if self.failed > 0 {
            self.bar.set_message(format!(", {} failed", self.failed));
        }
        self.bar.inc(1);
        if self.plain && self.done < self.runs && self.last_line.elapsed() >= LINE_EVERY {
            self.last_line = Instant::now();
            let failed = if self.failed == 0 { String::new() } else { format!(", {} failed", self.failed) };
            screen.aside(&format!("... {}/{} runs{failed}", self.done, self.runs));
        }
    }

    /// Says something without tearing the bar.
    pub(crate) fn around(&self, say: impl FnOnce()) {
        self.bar.suspend(say);
    }

    /// Takes the bar away; `180 runs in 11.0 s`.
    pub(crate) fn end(self) -> String {
        self.bar.finish_and_clear();
        format!("{} in {}", numbers::count(self.runs, "run"), numbers::span(self.began.elapsed()))
    }
}
