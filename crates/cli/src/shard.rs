//! Parts of a campaign: `squall test --shard 2/5` runs one and writes it, `squall merge` puts all of them together.
//!
//! A part is a file of JSON lines. The first is its [`Head`]; then comes a line for each run, with its number in the whole campaign;
//! the last is `{"end": N}` with the number of runs, so that a part that was cut off is known as one.

mod run;

use std::fmt::Debug;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use squall_sim::{Campaign, Case, EngineKind, Model};

use crate::ending::Ending;
use crate::files::Pending;
use crate::input::Input;
use crate::numbers;
use crate::results::MadeBy;
use crate::told::Told;
use run::Run;

/// The format of parts; another number is another format.
const FORMAT: u32 = 1;
/// The longest line that is read: a run with its story has some 10 KiB.
const LINE_BYTES: u64 = 64 << 20;
/// More parts than this are a mistake.
const OF_MAX: usize = 10_000;

/// Which part of how many, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    pub(crate) nth: usize,
    pub(crate) of: usize,
}

impl Shard {
    /// The numbers of its cases. Cases are dealt out in turn.
    pub(crate) fn numbers(self, cases: usize) -> impl Iterator<Item = usize> {
        (self.nth - 1..cases).step_by(self.of)
    }

    /// `None`: there is no such part.
    fn new(nth: usize, of: usize) -> Option<Self> {
        ((1..=of).contains(&nth) && of <= OF_MAX).then_some(Self { nth, of })
    }
}

impl FromStr for Shard {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(nth, of)| Some((nth.parse().ok()?, of.parse().ok()?)));
        let shard = parts.and_then(|(nth, of)| Self::new(nth, of));
        shard.ok_or_else(|| format!("the I-th of N parts is I/N, from 1/N to N/N, with N up to {OF_MAX}: 2/5"))
    }
}

/// What a part is of.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Head {
    squall_shard: u32,
    /// Which part, from 1.
    pub(crate) shard: usize,
    pub(crate) of: usize,
    /// The version of the binary, and the digest of the sources that it was built from.
    squall: String,
    code: String,
    engine: String,
    model: String,
    verify: bool,
    /// How many seeds, and the digest of their list.
    seeds: usize,
    seed_list: String,
    pub(crate) scenarios: Vec<Asked>,
}

/// A scenario of a campaign.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(crate) struct Asked {
    pub(crate) name: String,
    /// The digest of the file and all that it refers to.
    digest: String,
    pub(crate) question: String,
}

impl Head {
    pub(crate) fn new(inputs: &[Input], campaign: &Campaign, shard: Shard) -> Self {
        let asked = |input: &Input| Asked {
            name: input.scenario.name.value.clone(),
            digest: digest(&input.scenario),
            question: input.scenario.question.clone(),
        };
        Self {
            squall_shard: FORMAT,
            shard: shard.nth,
            of: shard.of,
            squall: env!("CARGO_PKG_VERSION").to_owned(),
            code: env!("SQUALL_CODE").to_owned(),
            engine: campaign.engine.name().to_owned(),
            model: campaign.model.name().to_owned(),
            verify: campaign.verify,
            seeds: campaign.seeds.len(),
            seed_list: digest(&campaign.seeds),
            scenarios: inputs.iter().map(asked).collect(),
        }
    }

    /// The runs of the whole campaign, as far as they can be counted: a file may say anything.
    pub(crate) fn runs(&self) -> usize {
        self.scenarios.len().saturating_mul(self.seeds)
    }

    pub(crate) fn by(&self) -> Option<MadeBy> {
        let engines = [EngineKind::Event, EngineKind::Turmoil, EngineKind::Real];
        let engine = engines.into_iter().find(|engine| engine.name() == self.engine)?;
        let model = [Model::Full, Model::Fast].into_iter().find(|model| model.name() == self.model)?;
        Some(MadeBy { engine, model })
    }

    pub(crate) fn heading(&self, by: MadeBy) -> String {
        heading(self.scenarios.len(), self.seeds, by, self.verify)
    }

    /// In what the campaign of another part is not that of this one.
    pub(crate) fn differs(&self, other: &Self) -> Option<String> {
        let pairs = [
            ("the number of parts", self.of.to_string(), other.of.to_string()),
            ("the version of squall", self.squall.clone(), other.squall.clone()),
            ("the sources squall was built from", self.code.clone(), other.code.clone()),
            ("the engine", self.engine.clone(), other.engine.clone()),
            ("the model", self.model.clone(), other.model.clone()),
            ("--verify", self.verify.to_string(), other.verify.to_string()),
            ("the number of seeds", self.seeds.to_string(), other.seeds.to_string()),
            ("the list of seeds (its digest)", self.seed_list.clone(), other.seed_list.clone()),
            ("the number of scenarios", self.scenarios.len().to_string(), other.scenarios.len().to_string()),
        ];
        if let Some((what, one, two)) = pairs.into_iter().find(|(_, one, two)| one != two) {
            return Some(format!("{what}: {one} and {two}"));
        }
        let (one, two) = self.scenarios.iter().zip(&other.scenarios).find(|(one, two)| one != two)?;
        Some(match one.name == two.name {
            false => format!("the scenarios: here {}, there {}", one.name, two.name),
            true => format!("the scenario {}, its files, or the path by which it is named", one.name),
        })
    }
}

/// What runs where, in words.
pub(crate) fn heading(scenarios: usize, seeds: usize, by: MadeBy, verify: bool) -> String {
    let world = match by.engine {
        EngineKind::Event if by.model == Model::Fast => "fast model".into(),
        EngineKind::Event | EngineKind::Turmoil => format!("{} model, {} engine", by.model.name(), by.engine.name()),
        EngineKind::Real => "real sockets, real time".into(),
    };
    let each = if verify { ", each run twice" } else { "" };
    format!("{} × {}, {world}{each}", numbers::count(scenarios, "scenario"), numbers::count(seeds, "seed"))
}

/// FNV-1a over everything that is known of it.
fn digest(of: &impl Debug) -> String {
    let all = format!("{of:?}");
    let hash = all
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    format!("{hash:016x}")
}

/// Writes a part: the cases of these numbers.
///
/// # Errors
/// What the machine says.
pub(crate) fn write(mut out: Pending, head: &Head, numbers: &[usize], ending: &Ending<'_>) -> Result<(), String> {
    let mut lines = || -> std::io::Result<()> {
        serde_json::to_writer(&mut out, head)?;
        writeln!(out)?;
        for ((number, case), told) in numbers.iter().zip(ending.cases).zip(ending.told) {
            serde_json::to_writer(&mut out, &Run::new(*number, case, told))?;
            writeln!(out)?;
        }
        writeln!(out, "{}", serde_json::json!({ "end": numbers.len() }))
    };
    lines().map_err(|error| format!("cannot write the shard's file: {error}"))?;
    out.finish()
}

/// A part as it was written.
pub(crate) struct Part {
    pub(crate) head: Head,
    /// By the number of the case.
    pub(crate) runs: Vec<(usize, Case, Told)>,
}

impl Part {
    /// # Errors
    /// Why the file is no part, with its name.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let name = path.display();
        let cannot = |error: std::io::Error| format!("cannot read {name}: {error}");
        let mut lines = Lines { file: BufReader::new(File::open(path).map_err(cannot)?), line: String::new() };
        let first = lines.next().map_err(cannot)?.ok_or_else(|| format!("{name} is empty"))?.to_owned();
        let first = first.as_str();
        let value: serde_json::Value = serde_json::from_str(first).unwrap_or_default();
        match value.get("squall_shard").and_then(serde_json::Value::as_u64) {
            Some(format) if format == u64::from(FORMAT) => {}
            Some(format) => {
                return Err(format!(
                    "{name} is of format {format}, and this squall reads {FORMAT}: merge with the squall that wrote it"
                ));
            }
            None => {
                return Err(format!(
                    "{name} was not written by `squall test --shard`, which writes squall-shard-*.jsonl"
                ));
            }
        }
        let wrong = |nth: usize, why: &dyn std::fmt::Display| format!("{name}:{}: {why}", nth + 1);
        let head: Head = serde_json::from_str(first).map_err(|why| wrong(0, &why))?;
        let by = head.by().ok_or_else(|| wrong(0, &"no such engine or model"))?;
        let (nth, of) = (head.shard, head.of);
        let shard = Shard::new(nth, of).ok_or_else(|| wrong(0, &format!("there is no shard {nth} of {of}")))?;
        let mut runs = Vec::new();
        let cut_off = || format!("{name} was cut off: its last line is not the end");
        let mut nth = 0;
        let end = loop {
            nth += 1;
            let line = lines.next().map_err(cannot)?.ok_or_else(cut_off)?;
            if let Ok(End { end }) = serde_json::from_str(line) {
                break end;
            }
            // What is cut in the middle is the last line.
            let run: Run = serde_json::from_str(line).map_err(|why| match line.ends_with('\n') {
                true => wrong(nth, &why),
                false => cut_off(),
            })?;
            runs.push(run.case(by).ok_or_else(|| wrong(nth, &"this is no run"))?);
        };
        let numbers = runs.iter().map(|(number, _, _)| *number);
        if end != runs.len() || !numbers.eq(shard.numbers(head.runs())) {
            return Err(format!("{name} has not the runs of shard {} of {}", head.shard, head.of));
        }
        let belongs = |(number, case, _): &(usize, Case, Told)| {
            head.scenarios.get(number / head.seeds.max(1)).is_some_and(|asked| asked.name == case.scenario)
        };
        if let Some((number, case, _)) = runs.iter().find(|run| !belongs(run)) {
            return Err(format!("{name}: run {number} is not of the scenario {}", case.scenario));
        }
        Ok(Self { head, runs })
    }
}

/// The lines of a file, each with its end, in memory one at a time.
struct Lines {
    file: BufReader<File>,
    line: String,
}

impl Lines {
    /// `None`: there are no more.
    fn next(&mut self) -> std::io::Result<Option<&str>> {
        self.line.clear();
        let length = self.file.by_ref().take(LINE_BYTES).read_line(&mut self.line)?;
        if length as u64 == LINE_BYTES {
            let why = format!("a line of more than {} MiB", LINE_BYTES >> 20);
            return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, why));
        }
        Ok((length > 0).then_some(self.line.as_str()))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct End {
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_in_one_part_and_parts_are_of_a_size() {
        for (of, cases) in [(1, 7), (3, 12), (5, 12), (8, 3), (4, 0)] {
            let parts: Vec<Vec<usize>> = (1..=of).map(|nth| Shard { nth, of }.numbers(cases).collect()).collect();
            let sizes: Vec<usize> = parts.iter().map(Vec::len).collect();
            assert!(sizes.iter().max().zip(sizes.iter().min()).is_some_and(|(most, least)| most - least <= 1));
            let mut all = parts.concat();
            all.sort_unstable();
            assert_eq!(all, (0..cases).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_is_no_part_is_refused() {
        assert_eq!("2/5".parse(), Ok(Shard { nth: 2, of: 5 }));
        for bad in ["", "2", "0/3", "4/3", "1/0", "-1/3", "1/3/5", "a/b", "1/10001", "1/ 3"] {
            let why = bad.parse::<Shard>().expect_err(bad);
            assert!(why.contains("2/5"), "{why}");
        }
    }
}
