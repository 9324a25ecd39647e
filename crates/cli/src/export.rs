//! Result files in formats that programs for data and traces read. Those that tell of single requests are written run by run, as the
//! runs end: no more than some of them wait in memory.

mod hdr;
mod otlp;
mod parquet;
mod perfetto;

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Condvar, Mutex, PoisonError};

use squall_sim::spans::{Span, spans};
use squall_sim::{Case, Scenario};

use crate::files::Pending;
use crate::results::{self, COLUMNS, MadeBy};

/// As many bytes may wait for the runs before them; then threads that are ahead wait.
const WAITING_BYTES: usize = 128 << 20;

/// A format that tells of single requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Every record, as JSON lines.
    History,
    /// Histograms of latency.
    Hdr,
    /// Slices over time.
    Perfetto,
    /// Traces.
    Otlp,
}

/// A file to which runs are written in their order, whoever ends first.
pub(crate) struct Stream {
    format: Format,
    state: Mutex<InOrder>,
    moved: Condvar,
}

struct InOrder {
    out: Pending,
    next: usize,
    waiting: BTreeMap<usize, Vec<u8>>,
    waiting_bytes: usize,
    failed: Option<String>,
}

impl InOrder {
    fn write(&mut self, bytes: &[u8]) {
        if let Err(error) = self.out.write_all(bytes) {
            self.failed.get_or_insert(format!("cannot write a result: {error}"));
        }
    }
}

impl Stream {
    pub(crate) fn new(format: Format, out: Pending) -> Self {
        let mut state = InOrder { out, next: 0, waiting: BTreeMap::new(), waiting_bytes: 0, failed: None };
        match format {
            Format::History | Format::Otlp => {}
            Format::Hdr => state.write(&hdr::head()),
            Format::Perfetto => state.write(&perfetto::head()),
        }
        Self { format, state: Mutex::new(state), moved: Condvar::new() }
    }

    /// What is to be written of a run, the `number`th. Called from any thread.
    pub(crate) fn add(&self, number: usize, case: &Case, by: MadeBy, spans: &[Span]) {
        let bytes = match (self.format, &case.result) {
            (Format::History, _) => results::history_lines(case, by),
            (_, Err(_)) => Vec::new(),
            (Format::Hdr, Ok(outcome)) => hdr::run(case, outcome),
            (Format::Perfetto, Ok(outcome)) => perfetto::run(number, case, outcome, spans),
            (Format::Otlp, Ok(outcome)) => otlp::run(case, outcome, spans),
        };
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Whose turn it is never waits, and threads take runs in order: there is always one that goes on.
        while state.next != number && state.waiting_bytes + bytes.len() > WAITING_BYTES {
            state = self.moved.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting_bytes += bytes.len();
        state.waiting.insert(number, bytes);
        loop {
            let next = state.next;
            let Some(bytes) = state.waiting.remove(&next) else { break };
            state.next += 1;
            state.waiting_bytes -= bytes.len();
            state.write(&bytes);
        }
        self.moved.notify_all();
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// What the machine says.
    pub(crate) fn finish(self) -> Result<(), String> {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        if self.format == Format::Perfetto {
            state.write(&perfetto::tail());
        }
        match state.failed {
            Some(error) => Err(error),
            None => state.out.finish(),
        }
    }
}

/// The spans of a run, if one of these formats shows any.
pub(crate) fn wanted_spans(streams: &[Stream], scenario: &Scenario, case: &Case) -> Vec<Span> {
    let wanted = streams.iter().any(|stream| matches!(stream.format, Format::Perfetto | Format::Otlp));
    case.result.as_ref().ok().filter(|_| wanted).map_or_else(Vec::new, |outcome| spans(scenario, outcome))
}

/// Writes what the CSV says, in its columns.
///
/// # Errors
/// What the machine says.
pub(crate) fn write_parquet(out: &mut dyn Write, cases: &[Case], by: MadeBy) -> std::io::Result<()> {
    let rows: Vec<Vec<String>> = cases.iter().map(|case| results::row(case, by)).collect();
    let column = |(at, name): (usize, &&'static str)| {
        let cells = || rows.iter().map(|row| Some(row[at].as_str()).filter(|cell| !cell.is_empty()));
        let column = match *name {
            "scenario" | "engine" | "model" | "verdict" | "digest" | "recovery" | "failed" => {
                parquet::Column::Texts(cells().map(|cell| cell.map(str::to_owned)).collect())
            }
            "seed" | "records" | "requests" | "succeeded" | "unanswered" => {
                parquet::Column::Counts(cells().map(|cell| cell.and_then(|cell| cell.parse().ok())).collect())
            }
            _ => parquet::Column::Numbers(cells().map(|cell| cell.and_then(|cell| cell.parse().ok())).collect()),
        };
        (*name, column)
    };
    let columns: Vec<(&str, parquet::Column)> = COLUMNS.iter().enumerate().map(column).collect();
    parquet::write(out, &columns, rows.len())
}
