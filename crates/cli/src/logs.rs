//! The log of a process: what happens to it, on stderr, as text or as JSON lines.

use clap::ValueEnum;
use tracing_subscriber::EnvFilter;

/// How the log looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One object per line
    Json,
}

/// Starts the log. `RUST_LOG` says what is in it; by default everything from `info` on.
pub(crate) fn start(format: LogFormat, color: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    match format {
        LogFormat::Text => log.with_ansi(color).init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
