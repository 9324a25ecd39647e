//! The terminal: what is said where, and in which colours.

use std::io::{self, IsTerminal, Write};

use clap::ColorChoice;

use crate::exit::Exit;
use crate::fold::{self, fold, fold_command};

/// Lines grow with a terminal up to this width.
const WIDTH_MAX: usize = 100;

/// Results go to stdout and are the same bytes for the same command; progress, times and mistakes go to stderr.
pub(crate) struct Screen {
    /// Colours in results.
    pub(crate) color: bool,
    /// Colours in mistakes.
    pub(crate) color_stderr: bool,
    /// Whether stderr can redraw a line.
    pub(crate) bars: bool,
    /// No line of a result has more columns: 80, on a wider terminal as many as that has, up to 100.
    pub(crate) width: usize,
    /// The same for what is said beside it; `None`: no terminal, and a line is searched for as it is.
    width_stderr: Option<usize>,
    /// Curves may be drawn with block characters.
    pub(crate) unicode: bool,
    /// Only failures and totals.
    pub(crate) quiet: bool,
    /// Mistakes are annotations of this job too.
    pub(crate) github: Option<crate::github::Job>,
    /// Why a part of the result is lost: stdout is on a disk that is full, say.
    lost: Option<io::Error>,
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
        Self {
            color: wanted(stdout),
            color_stderr: wanted(stderr),
            bars,
            width: width(&io::stdout()),
            width_stderr: stderr.then(|| width(&io::stderr())),
            unicode: speaks_utf8(),
            quiet,
            github: None,
            lost: None,
        }
    }

    /// What a file gets: no colours, 80 columns, the same on every machine.
    pub(crate) fn plain() -> Self {
        Self {
            color: false,
            color_stderr: false,
            bars: false,
            width: fold::WIDTH,
            width_stderr: None,
            unicode: true,
            quiet: false,
            github: None,
            lost: None,
        }
    }

    /// A line of the result, folded where it is too wide.
    pub(crate) fn say(&mut self, line: &str) {
        fold(line, self.width).iter().for_each(|line| self.say_whole(line));
    }

    /// A command of the result; folded, it can still be copied to a shell.
    pub(crate) fn say_command(&mut self, line: &str) {
        fold_command(line, self.width).iter().for_each(|line| self.say_whole(line));
    }

    /// A line of the result for a machine, as it is.
    pub(crate) fn say_whole(&mut self, line: &str) {
        self.say_if_read(line);
    }

    /// A line of a result without end. False: nobody reads it any more.
    pub(crate) fn say_if_read(&mut self, line: &str) -> bool {
        match writeln!(io::stdout(), "{line}") {
            Ok(()) => true,
            // A reader that went away (`squall test | head`) is not a failure of the run.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => false,
            Err(error) => {
                self.lost = Some(error);
                false
            }
        }
    }

    /// How the process ends if all else came to `exit`: a result that could not be written is none.
    pub(crate) fn ended(&mut self, exit: Exit) -> Exit {
        let Some(error) = self.lost.take() else { return exit };
        self.aside(&format!("error: cannot write the result to stdout: {error}"));
        exit.max(Exit::Infrastructure)
    }

    /// A line beside the result: progress, time taken, what is wrong with the input.
    pub(crate) fn aside(&mut self, line: &str) {
        match self.width_stderr {
            Some(width) => fold(line, width).iter().for_each(|line| self.aside_whole(line)),
            None => self.aside_whole(line),
        }
    }

    /// The same as it is: a drawing.
    pub(crate) fn aside_whole(&mut self, line: &str) {
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

/// Columns of what a stream leads to.
fn width(stream: &impl std::os::fd::AsFd) -> usize {
    let found = terminal_size::terminal_size_of(stream).map(|(width, _)| usize::from(width.0));
    found.unwrap_or(fold::WIDTH).clamp(fold::WIDTH, WIDTH_MAX)
}

/// Whether the locale, if there is one, is of UTF-8.
fn speaks_utf8() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
    locale.is_none_or(|locale| {
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}
