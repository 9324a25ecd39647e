//! The terminal: what is said where, and in which colours.

use std::io::{self, IsTerminal, Write};

use clap::ColorChoice;

/// Results go to stdout and are the same bytes for the same command; progress, times and mistakes go to stderr.
pub(crate) struct Screen {
    /// Colours in results.
    pub(crate) color: bool,
    /// Colours in mistakes.
    pub(crate) color_stderr: bool,
    /// Whether stderr can redraw a line.
    pub(crate) bars: bool,
    /// Only failures and totals.
    pub(crate) quiet: bool,
    /// Mistakes are annotations of this job too.
    pub(crate) github: Option<crate::github::Job>,
}

/// How a word is drawn.
#[derive(Clone, Copy)]
pub(crate) enum Paint {
    Good,
    Bad,
    Strong,
    Faint,
}

impl Screen {
    pub(crate) fn new(choice: ColorChoice, quiet: bool) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let plain = set("NO_COLOR") || set("CI");
        let wanted = |terminal: bool| match choice {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !plain,
        };
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let bars = stderr && !set("CI") && !quiet;
        Self { color: wanted(stdout), color_stderr: wanted(stderr), bars, quiet, github: None }
    }

    /// A screen without colours.
    pub(crate) fn plain() -> Self {
        Self { color: false, color_stderr: false, bars: false, quiet: false, github: None }
    }

    /// A line of the result.
    pub(crate) fn say(&mut self, line: &str) {
        // A reader that went away (`squall test | head`) is not a failure of the run.
        let _ = writeln!(io::stdout(), "{line}");
    }

    /// A line of a result without end. False: nobody reads it any more.
    pub(crate) fn say_if_read(&mut self, line: &str) -> bool {
        writeln!(io::stdout(), "{line}").is_ok()
    }

    /// A line beside the result: progress, time taken, what is wrong with the input.
    pub(crate) fn aside(&mut self, line: &str) {
        let _ = writeln!(io::stderr(), "{line}");
    }

    /// `text` in colour, if results have colours.
    pub(crate) fn paint(&self, paint: Paint, text: &str) -> String {
        if !self.color {
            return text.to_string();
        }
        let code = match paint {
            Paint::Good => "1;32",
            Paint::Bad => "1;31",
            Paint::Strong => "1",
            Paint::Faint => "2",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}
