//! What happened, for people and for machines.

use std::io;

use squall_policy::Instant;

/// One line of the story of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoryLine {
    /// Scenario time.
    pub at: Instant,
    /// `catalog[0] slow ×20 (touched 412 requests)`.
    pub text: String,
}

/// Every record of a run, in order.
#[derive(Clone, Debug, Default)]
pub struct History {
    entries: Vec<Entry>,
}

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Scenario time; records of the warm-up before it have `before_start` set and count back from it.
    pub at: Instant,
    /// Nanoseconds before the scenario's time 0, for records of the warm-up; else 0.
    pub before_start_ns: u64,
    /// The host's name: `catalog-v1-0`, `load-0`, `control`.
    pub host: std::sync::Arc<str>,
    /// What kind: `route`, `try`, `head`, `retry`, `breaker`, `fault`.
    pub kind: &'static str,
    /// The request it belongs to: the number of the load's request it was made for, from 1.
    pub request: Option<u64>,
    /// For people.
    pub text: String,
    /// For machines: names with units, in a fixed order.
    pub fields: Vec<(&'static str, Field)>,
}

/// A value in a record.
#[derive(Clone, Debug, PartialEq)]
pub enum Field {
    /// A whole number.
    Number(u64),
    /// Text.
    Text(String),
}

impl History {
    /// A history of these records, in order of time.
    pub(crate) fn new(entries: impl Iterator<Item = Entry>) -> Self {
        Self { entries: entries.collect() }
    }

    /// The records in order of time.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// What happened to one request of the load, over all hosts: a head line and one line per event, each with scenario
    /// time. `None`: there was no such request.
    #[must_use]
    pub fn story(&self, request: u64) -> Option<Vec<String>> {
        let mine: Vec<&Entry> = self.entries.iter().filter(|entry| entry.request == Some(request)).collect();
        let first = mine.first()?;
        let mut lines = vec![format!("{request}  {}", first.text)];
        lines.extend(mine.iter().skip(1).map(|entry| format!("  {}  {:<16} {}", entry.at, entry.host, entry.text)));
        Some(lines)
    }

    /// Writes one JSON object per record: `at_ns`, `host`, `kind`, `request`, then the record's own fields, with units in
    /// their names.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write_json_lines(&self, out: &mut dyn io::Write) -> io::Result<()> {
        for entry in &self.entries {
            let mut object = serde_json::Map::new();
            let at = i128::from(entry.at.as_nanos()) - i128::from(entry.before_start_ns);
            object.insert("at_ns".into(), i64::try_from(at).unwrap_or(i64::MAX).into());
            object.insert("host".into(), (*entry.host).into());
            object.insert("kind".into(), entry.kind.into());
            if let Some(request) = entry.request {
                object.insert("request".into(), request.into());
            }
            for (name, value) in &entry.fields {
                let value = match value {
                    Field::Number(number) => serde_json::Value::from(*number),
                    Field::Text(text) => serde_json::Value::from(text.as_str()),
                };
                object.insert((*name).into(), value);
            }
            object.insert("text".into(), entry.text.as_str().into());
            writeln!(out, "{}", serde_json::Value::Object(object))?;
        }
        Ok(())
    }
}
