//! Result files: which are written, and those about whole runs: JUnit XML and CSV.

use std::io::Write;
use std::path::Path;

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use squall_sim::{Case, EngineKind, Model, Recovery, Scenario, Verification};

use crate::export::{Format, Stream, wanted_spans, write_parquet};
use crate::files::Pending;
use crate::numbers::{millis, seconds};
use crate::told::Told;

/// The files asked for, begun before the first run so that a wrong path is known at once.
pub(crate) struct Results {
    junit: Option<Pending>,
    csv: Option<Pending>,
    parquet: Option<Pending>,
    streams: Vec<Stream>,
}

/// Where each result is to be written.
#[derive(Default)]
pub(crate) struct Wanted<'p> {
    pub(crate) junit: Option<&'p Path>,
    pub(crate) csv: Option<&'p Path>,
    pub(crate) parquet: Option<&'p Path>,
    pub(crate) history: Option<&'p Path>,
    pub(crate) hdr: Option<&'p Path>,
    pub(crate) perfetto: Option<&'p Path>,
    pub(crate) otlp: Option<&'p Path>,
    /// Written by others.
    pub(crate) elsewhere: Vec<&'p Path>,
}

/// What made the results.
#[derive(Clone, Copy)]
pub(crate) struct MadeBy {
    pub(crate) engine: EngineKind,
    pub(crate) model: Model,
}

impl Results {
    /// # Errors
    /// Which file cannot be written and why.
    pub(crate) fn start(wanted: &Wanted<'_>) -> Result<Self, String> {
        let streams = [
            (Format::History, wanted.history),
            (Format::Hdr, wanted.hdr),
            (Format::Perfetto, wanted.perfetto),
            (Format::Otlp, wanted.otlp),
        ];
        let paths = streams.iter().map(|(_, path)| *path).chain([wanted.junit, wanted.csv, wanted.parquet]);
        let all: Vec<&Path> = paths.flatten().chain(wanted.elsewhere.iter().copied()).collect();
        if let Some(twice) = all.iter().enumerate().find_map(|(n, path)| all[..n].contains(path).then_some(path)) {
            return Err(format!("{} is to be written twice; give each result a file of its own", twice.display()));
        }
        let start = |path: Option<&Path>| path.map(Pending::start).transpose();
        let mut begun = Vec::new();
        for (format, path) in streams {
            begun.extend(start(path)?.map(|out| Stream::new(format, out)));
        }
        let (junit, csv, parquet) = (start(wanted.junit)?, start(wanted.csv)?, start(wanted.parquet)?);
        Ok(Self { junit, csv, parquet, streams: begun })
    }

    pub(crate) fn wants_history(&self) -> bool {
        !self.streams.is_empty()
    }

    /// Takes what is known of single requests out of the case, and writes it when its turn comes. Called from any thread.
    pub(crate) fn add(&self, number: usize, scenario: &Scenario, case: &mut Case, by: MadeBy) {
        let spans = wanted_spans(&self.streams, scenario, case);
        self.streams.iter().for_each(|stream| stream.add(number, case, by, &spans));
        if let Ok(outcome) = &mut case.result {
            (outcome.history, outcome.requests) = (None, Vec::new());
        }
    }

    /// Writes what is left and puts all files in their places.
    ///
    /// # Errors
    /// What the machine says.
    pub(crate) fn finish(self, cases: &[Case], told: &[Told], by: MadeBy) -> Result<(), String> {
        if let Some(mut out) = self.csv {
            write_csv(&mut out, cases, by).map_err(|e| format!("cannot write the CSV: {e}"))?;
            out.finish()?;
        }
        if let Some(mut out) = self.parquet {
            write_parquet(&mut out, cases, by).map_err(|e| format!("cannot write the Parquet file: {e}"))?;
            out.finish()?;
        }
        if let Some(mut out) = self.junit {
            junit(cases, told, by).serialize(&mut out).map_err(|e| format!("cannot write the JUnit XML: {e}"))?;
            out.finish()?;
        }
        self.streams.into_iter().try_for_each(Stream::finish)
    }
}

fn digest(case: &Case) -> String {
    case.result.as_ref().map_or_else(|_| String::new(), |outcome| format!("{:016x}", outcome.digest))
}

/// Every record of a run, as JSON lines.
pub(crate) fn history_lines(case: &Case, by: MadeBy) -> Vec<u8> {
    let mut head = serde_json::Map::new();
    head.insert("run".into(), case.scenario.as_str().into());
    head.insert("seed".into(), case.seed.into());
    head.insert("engine".into(), by.engine.name().into());
    head.insert("model".into(), by.model.name().into());
    let mut lines = Vec::new();
    match &case.result {
        Ok(outcome) => {
            head.insert("digest".into(), format!("{:016x}", outcome.digest).into());
            head.insert("records".into(), outcome.records.into());
        }
        Err(error) => {
            head.insert("error".into(), error.to_string().into());
        }
    }
    lines.extend(serde_json::Value::Object(head).to_string().into_bytes());
    lines.push(b'\n');
    if let Some(history) = case.result.as_ref().ok().and_then(|outcome| outcome.history.as_ref()) {
        history.write_json_lines(&mut lines).expect("memory takes every byte");
    }
    lines
}

/// One word per case, as the CSV has it.
pub(crate) fn verdict(case: &Case) -> &'static str {
    match (&case.result, &case.verification) {
        (_, Some(Verification::Diverged { .. })) => "diverged",
        (Ok(outcome), _) if outcome.passed() => "pass",
        (Ok(_), _) => "fail",
        (Err(error), _) if error.is_bad_input() => "refused",
        (Err(error), _) if error.is_infrastructure() => "no-world",
        (Err(_), _) => "broken",
    }
}

/// What failed, in one line.
pub(crate) fn findings(case: &Case) -> String {
    if let Some(Verification::Diverged { record, .. }) = case.verification {
        return format!("two runs of this seed differ from record {record} on");
    }
    match &case.result {
        Err(error) => error.to_string(),
        Ok(outcome) => {
            let failures = outcome.verdict.failures();
            failures.map(|c| format!("{}: {} {}", c.when, c.that, c.finding())).collect::<Vec<_>>().join("; ")
        }
    }
}

/// The columns of the CSV, and the names of the same numbers in pages.
pub(crate) const COLUMNS: [&str; 24] = [
    "scenario",
    "seed",
    "engine",
    "model",
    "verdict",
    "digest",
    "records",
    "simulated_s",
    "requests",
    "succeeded",
    "unanswered",
    "success_ratio",
    "goodput_per_s",
    "latency_mean_ms",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p95_ms",
    "latency_p99_ms",
    "latency_p999_ms",
    "latency_max_ms",
    "amplification_ratio",
    "recovery",
    "recovery_s",
    "failed",
];

fn write_csv(out: &mut dyn Write, cases: &[Case], by: MadeBy) -> csv::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for case in cases {
        csv.write_record(row(case, by))?;
    }
    csv.flush()?;
    Ok(())
}

/// What [`COLUMNS`] say of a case.
pub(crate) fn row(case: &Case, by: MadeBy) -> Vec<String> {
    let mut row = vec![case.scenario.clone(), case.seed.to_string()];
    row.extend([by.engine.name(), by.model.name(), verdict(case)].map(str::to_owned));
    row.push(digest(case));
    match &case.result {
        Err(_) => row.resize(COLUMNS.len() - 1, String::new()),
        Ok(outcome) => {
            let (sum, latency) = (&outcome.summary, &outcome.summary.latency);
            row.extend([outcome.records.to_string(), seconds(outcome.simulated)]);
            row.extend([sum.requests, sum.succeeded, sum.unanswered].map(|n| n.to_string()));
            row.extend([sum.success_rate(), sum.goodput_per_s].map(|n| format!("{n:.6}")));
            let spans = [latency.mean, latency.p50, latency.p90, latency.p95, latency.p99, latency.p999, latency.max];
            row.extend(spans.map(millis));
            row.push(format!("{:.6}", sum.amplification));
            let (word, after) = match sum.recovery {
                Recovery::NoFault => ("no-fault", String::new()),
                Recovery::After(after) => ("recovered", seconds(after)),
                Recovery::Never => ("never", String::new()),
            };
            row.extend([word.to_string(), after]);
        }
    }
    row.push(findings(case));
    row
}

/// Without times of the machine: the same command gives the same file. `file` and `line` are no part of JUnit's format, but what GitLab
/// and the actions for GitHub make links of; both show a failure's message in lists and its text when it is opened.
fn junit(cases: &[Case], told: &[Told], by: MadeBy) -> Report {
    let mut report = Report::new("squall");
    let pairs: Vec<(&Case, &Told)> = cases.iter().zip(told).collect();
    for of_one in pairs.chunk_by(|(a, _), (b, _)| a.scenario == b.scenario) {
        let mut suite = TestSuite::new(of_one[0].0.scenario.as_str());
        for (case, told) in of_one {
            let status = match verdict(case) {
                "pass" => TestCaseStatus::success(),
                word => {
                    let kind = if word == "fail" { NonSuccessKind::Failure } else { NonSuccessKind::Error };
                    let mut status = TestCaseStatus::non_success(kind);
                    let text = format!("{}\n{}", told.text, told.replay);
                    status.set_type(word).set_message(told.short.as_str()).set_description(text);
                    status
                }
            };
            let mut test = TestCase::new(format!("seed {}", case.seed), status);
            test.set_classname(case.scenario.as_str());
            test.extra.insert("file".into(), told.file.as_str().into());
            test.extra.insert("line".into(), told.line.to_string().into());
            test.set_system_out(told.replay.as_str());
            test.add_property(("seed", case.seed.to_string().as_str()));
            test.add_property(("replay", told.replay.strip_prefix("replay: ").unwrap_or_default()));
            test.add_property(("engine", by.engine.name()));
            test.add_property(("model", by.model.name()));
            if let Ok(outcome) = &case.result {
                test.add_property(("digest", digest(case).as_str()));
                test.add_property(("simulated_s", seconds(outcome.simulated).as_str()));
            }
            suite.add_test_case(test);
        }
        report.add_test_suite(suite);
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    const BY: MadeBy = MadeBy { engine: EngineKind::Event, model: Model::Full };

    #[test]
    fn a_row_has_every_digit_and_names_its_units() {
        let mut out = Vec::new();
        write_csv(&mut out, &[sample::passed(1), sample::failed(2)], BY).expect("memory takes every byte");
        let text = String::from_utf8(out).expect("CSV is text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], COLUMNS.join(","));
        assert_eq!(
            lines[1],
            "slow-replica,1,event,full,pass,123456789abcdef0,480000,61.000000000,18000,17999,0,0.999944,299.980000,20.000000,\
             18.000000,30.000000,35.000000,41.000000,60.000000,80.000000,1.000000,recovered,2.100000000,"
        );
        assert!(lines[2].contains(",fail,") && lines[2].contains(",never,,"), "{}", lines[2]);
        assert!(lines[2].contains("afterFaults 10s: successRate >= 0.999 was 0.412 at 55.0 s"), "{}", lines[2]);
    }

    #[test]
    fn a_suite_is_a_scenario_and_a_case_is_a_seed() {
        let cases = [sample::passed(1), sample::failed(2), sample::diverged(3)];
        let told = ["", "always: x <= 600 was 601", "two runs differ"].map(|short| Told {
            scenario: "slow-replica".into(),
            file: "shop/slow.yaml".into(),
            line: 7,
            short: short.into(),
            text: "the whole story".into(),
            replay: "replay: squall replay shop/slow.yaml --seed 2".into(),
        });
        let text = junit(&cases, &told, BY).to_string().expect("it is XML");
        for want in [
            "<testsuites name=\"squall\" tests=\"3\" skipped=\"0\" failures=\"1\" errors=\"1\">",
            "<testcase name=\"seed 2\" classname=\"slow-replica\" file=\"shop/slow.yaml\" line=\"7\">",
            "<failure message=\"always: x &lt;= 600 was 601\" type=\"fail\">the whole story",
            "message=\"two runs differ\" type=\"diverged\"",
            "<property name=\"replay\" value=\"squall replay shop/slow.yaml --seed 2\"/>",
            "<system-out>replay: squall replay shop/slow.yaml --seed 2</system-out>",
        ] {
            assert!(text.contains(want), "no {want} in {text}");
        }
    }

    #[test]
    fn histories_are_written_in_order_whoever_ended_first() {
        let path = std::env::temp_dir().join(format!("squall-history-{}.jsonl", std::process::id()));
        let wanted = Wanted { history: Some(&path), ..Wanted::default() };
        let results = Results::start(&wanted).expect("the temporary directory can be written");
        let cases = [sample::passed(1), sample::passed(2), sample::passed(3)];
        for number in [2, 0, 1] {
            results.streams.iter().for_each(|stream| stream.add(number, &cases[number], BY, &[]));
        }
        assert!(!path.exists(), "half a result looks whole");
        results.finish(&cases, &[], BY).expect("the temporary directory can be written");
        let text = std::fs::read_to_string(&path).expect("it was written");
        std::fs::remove_file(&path).expect("it was there");
        let seeds: Vec<&str> = text.lines().filter_map(|l| l.split("\"seed\":").nth(1)?.split(',').next()).collect();
        assert_eq!(seeds, ["1", "2", "3"]);
    }
}
