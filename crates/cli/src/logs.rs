//! The log of a process: what happens to it, on stderr, as text or as JSON lines; and what is in it, which can be changed while it runs.

use std::sync::Arc;

use clap::ValueEnum;
use http::Method;
use squall_control::closest;
use squall_net::page::Page;
use tracing_subscriber::EnvFilter;

use crate::out::{Lines, Sink};

/// What says how much is said.
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
/// What says something.
const PARTS: [&str; 5] = ["squall", "squall_control", "squall_net", "squall_proxy", "h2"];

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One object per line
    Json,
}

/// The log that was started.
#[derive(Clone)]
pub(crate) struct Log {
    show: Arc<dyn Fn() -> Option<String> + Send + Sync>,
    set: Arc<dyn Fn(EnvFilter) -> bool + Send + Sync>,
    sink: Sink,
}

/// Starts the log. `RUST_LOG` says what is in it; by default everything from `info` on.
pub(crate) fn start(format: LogFormat, color: bool, lines: &Lines) -> Log {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(lines.sink()).with_target(false);
    // The two have types of their own, and so have their handles.
    match format {
        LogFormat::Text => {
            let log = log.with_ansi(color).with_filter_reloading();
            let (shown, set) = (log.reload_handle(), log.reload_handle());
            log.init();
            Log {
                show: Arc::new(move || shown.with_current(ToString::to_string).ok()),
                set: Arc::new(move |filter| set.reload(filter).is_ok()),
                sink: lines.sink(),
            }
        }
        LogFormat::Json => {
            let log = log.json().flatten_event(true).with_filter_reloading();
            let (shown, set) = (log.reload_handle(), log.reload_handle());
            log.init();
            Log {
                show: Arc::new(move || shown.with_current(ToString::to_string).ok()),
                set: Arc::new(move |filter| set.reload(filter).is_ok()),
                sink: lines.sink(),
            }
        }
    }
}

impl Log {
    /// Shows this as it is, among the events.
    pub(crate) fn aside(&self, text: &str) {
        self.sink.send(text.as_bytes());
    }

    /// Answers for `/log-level`: shows what is in the log, or sets it to `words`.
    pub(crate) fn page(&self, method: &Method, words: &str) -> Page {
        match *method {
            Method::GET | Method::HEAD => match (self.show)() {
                Some(filter) => Page::text(200, filter),
                None => Page::text(500, "the log is gone"),
            },
            Method::PUT | Method::POST => match filter(words) {
                Ok(filter) => {
                    let said = filter.to_string();
                    if !(self.set)(filter) {
                        return Page::text(500, "the log is gone");
                    }
                    tracing::info!(filter = said, "what is in the log was changed");
                    Page::text(200, said)
                }
                Err(why) => Page::text(400, why),
            },
            _ => Page::wrong_method("GET, HEAD, PUT, POST"),
        }
    }
}

/// What `words` say is in the log: a level, or levels of parts, separated by commas. A part's own level comes before that of all. What
/// the filter would take for the name of a part that says nothing is a mistake here.
fn filter(words: &str) -> Result<EnvFilter, String> {
    let hint = "say a level (off, error, warn, info, debug, trace), or parts with theirs too: squall_proxy=debug,info";
    if words.is_empty() {
        return Err(format!("nothing was said in the body; {hint}"));
    }
    let near = |wrong: &str, known: &[&str], what: &str| {
        let help = closest(wrong, known).map_or_else(|| hint.to_owned(), |near| format!("did you mean `{near}`?"));
        format!("`{wrong}` is not {what}; {help}")
    };
    for directive in words.split(',').map(str::trim) {
        let level = match directive.split_once('=') {
            None => directive,
            Some((target, level)) => {
                let part = target.split("::").next().unwrap_or_default();
                if !PARTS.contains(&part) {
                    return Err(near(part, &PARTS, "a part that says anything"));
                }
                level
            }
        };
        if !LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            return Err(near(level, &LEVELS, "a level"));
        }
    }
    let words: String = words.split_whitespace().collect();
    EnvFilter::try_new(words).map_err(|error| format!("{error}; {hint}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_and_levels_of_parts_are_taken() {
        for (words, is) in [
            ("debug", "debug"),
            ("WARN", "warn"),
            ("off", "off"),
            ("squall_proxy=debug, info", "squall_proxy=debug,info"),
            ("squall_proxy::serve=trace,h2=warn,error", "squall_proxy::serve=trace,h2=warn,error"),
        ] {
            assert_eq!(filter(words).expect(words).to_string(), is);
        }
    }

    #[test]
    fn what_would_change_nothing_is_refused_with_a_hint() {
        for (words, want) in [
            ("", "nothing was said"),
            ("debgu", "did you mean `debug`?"),
            ("loud", "say a level"),
            ("info,", "`` is not a level"),
            ("squall_proxy", "is not a level"),
            ("squall_prxy=debug", "did you mean `squall_proxy`?"),
            ("squall_proxy=debgu", "did you mean `debug`?"),
            ("[span]=info", "a part that says anything"),
            ("squall_proxy::[=info", "say a level"),
        ] {
            match filter(words) {
                Err(why) => assert!(why.contains(want), "`{words}`: {why}"),
                Ok(filter) => panic!("`{words}` is taken as {filter}"),
            }
        }
    }
}
