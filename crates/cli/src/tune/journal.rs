//! Every run of a tuning, as it ends: JSON lines in the output directory. A search is decided by what its runs gave, so that one
//! that finds them here goes the way it went before.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use squall_sim::tune::{RunKey, Sample, Tuning};

use crate::exit::Exit;
use crate::screen::Screen;

const NAME: &str = "journal.jsonl";

pub(super) struct Journal {
    path: PathBuf,
    file: File,
    known: BTreeMap<RunKey, Sample>,
    /// The first thing that went wrong while writing.
    broken: Option<String>,
}

/// Why there is no journal.
pub(super) enum Refused {
    Input(String),
    Machine(String),
}

impl Refused {
    pub(super) fn say(&self, screen: &mut Screen) -> Exit {
        let (Self::Input(why) | Self::Machine(why)) = self;
        screen.aside(&format!("error: {why}"));
        match self {
            Self::Input(_) => Exit::BadInput,
            Self::Machine(_) => Exit::Infrastructure,
        }
    }
}

impl Journal {
    /// Opens the journal in a directory, which is made if it is not there.
    pub(super) fn open(directory: &Path, tuning: &Tuning, resume: bool, fresh: bool) -> Result<Self, Refused> {
        let path = directory.join(NAME);
        let cannot = |error: io::Error| Refused::Machine(format!("cannot write {}: {error}", path.display()));
        fs::create_dir_all(directory).map_err(cannot)?;
        let head = json!({
            "squall": env!("CARGO_PKG_VERSION"),
            "tuning": tuning.name,
            "inputs": format!("{:016x}", fingerprint(tuning)),
        });
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(cannot(error)),
        };
        // The last line may have been cut off in the middle.
        let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
        let done = whole.lines().last().is_some_and(|line| line == "{\"done\":true}");
        let mut known = BTreeMap::new();
        let keep = !whole.is_empty() && resume;
        if keep {
            let values = tuning.objectives.len() + tuning.constraints.len();
            known = read(whole, &head, values, &path).map_err(Refused::Input)?;
        } else if !whole.is_empty() && !done && !fresh {
            return Err(Refused::Input(format!(
                "{} holds a search that was not finished: go on with --resume, or begin anew with --fresh",
                path.display()
            )));
        }
        let mut file = OpenOptions::new().create(true).write(true).truncate(false).open(&path).map_err(cannot)?;
        file.set_len(if keep { whole.len() as u64 } else { 0 }).map_err(cannot)?;
        io::Seek::seek(&mut file, io::SeekFrom::End(0)).map_err(cannot)?;
        if !keep {
            writeln!(file, "{head}").map_err(cannot)?;
        }
        file.sync_data().map_err(cannot)?;
        Ok(Self { path: path.clone(), file, known, broken: None })
    }

    pub(super) fn known(&self) -> usize {
        self.known.len()
    }

    pub(super) fn find(&self, key: &RunKey) -> Option<Sample> {
        self.known.get(key).cloned()
    }

    /// Adds a run. In one write, so that a kill leaves the lines before it whole.
    pub(super) fn add(&mut self, key: &RunKey, sample: &Sample) {
        let mut line = json!({
            "variant": key.variant, "model": key.model, "scenario": key.scenario, "seed": key.seed.to_string(),
        });
        match sample {
            // Rust writes the shortest text that reads back as the same number; JSON's readers may not.
            Ok(values) => line["values"] = values.iter().map(|value| format!("{value:?}")).collect(),
            Err(why) => line["refused"] = Value::from(why.as_str()),
        }
        let written = self.file.write_all(format!("{line}\n").as_bytes());
        self.note(written);
    }

    /// What was added outlives the machine.
    pub(super) fn sync(&mut self) {
        let synced = self.file.sync_data();
        self.note(synced);
    }

    fn note(&mut self, result: io::Result<()>) {
        if let (Err(error), None) = (result, &self.broken) {
            self.broken = Some(format!("cannot write {}: {error}", self.path.display()));
        }
    }

    /// All that was added is kept.
    pub(super) fn keep(&mut self) -> Result<(), String> {
        self.sync();
        self.broken.clone().map_or(Ok(()), Err)
    }

    /// The search is finished, and its results are written.
    pub(super) fn done(mut self) -> Result<(), String> {
        let written = self.file.write_all(b"{\"done\":true}\n");
        self.note(written);
        self.keep()
    }
}

/// `values`: how many numbers each run came to.
fn read(text: &str, head: &Value, values: usize, path: &Path) -> Result<BTreeMap<RunKey, Sample>, String> {
    let mut known = BTreeMap::new();
    for (nth, line) in text.lines().enumerate() {
        let wrong = || format!("{}:{}: this is no line of a journal; begin anew with --fresh", path.display(), nth + 1);
        let value: Value = serde_json::from_str(line).map_err(|_| wrong())?;
        if nth == 0 {
            if value != *head {
                return Err(format!(
                    "{} is of other inputs (or of another version of squall): begin anew with --fresh, or give another --out",
                    path.display()
                ));
            }
            continue;
        }
        if value.get("done").is_some() {
            continue;
        }
        let (key, sample) = entry(&value).ok_or_else(wrong)?;
        if sample.as_ref().is_ok_and(|found| found.len() != values) {
            return Err(wrong());
        }
        known.insert(key, sample);
    }
    Ok(known)
}

fn entry(value: &Value) -> Option<(RunKey, Sample)> {
    let text = |name: &str| value.get(name)?.as_str();
    let model = [squall_sim::Model::Fast, squall_sim::Model::Full].into_iter().map(squall_sim::Model::name);
    let key = RunKey {
        variant: text("variant")?.to_owned(),
        model: model.into_iter().find(|model| Some(*model) == text("model"))?,
        scenario: text("scenario")?.to_owned(),
        seed: text("seed")?.parse().ok()?,
    };
    let sample = match (value.get("values"), text("refused")) {
        (Some(values), None) => {
            let number = |value: &Value| value.as_str()?.parse::<f64>().ok();
            Ok(values.as_array()?.iter().map(number).collect::<Option<Vec<f64>>>()?)
        }
        (None, Some(why)) => Err(why.to_owned()),
        (_, _) => return None,
    };
    Some((key, sample))
}

/// FNV-1a over all that decides what a run gives: scenarios, manifests, knobs, objectives, constraints.
fn fingerprint(tuning: &Tuning) -> u64 {
    let all = format!("{tuning:?}");
    all.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}
