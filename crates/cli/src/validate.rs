//! `squall validate`: known answers, in two layers, as a table, a CSV and a Markdown table.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use squall_sim::scenario::{Layer, Suite};
use squall_sim::validate::{CaseReport, Found, Study, TrialError, Verdict, ranks};

use crate::args::{Isotope, Validate};
use crate::exit::Exit;
use crate::files::Pending;
use crate::grid::{Grid, Row};
use crate::input::{self, Input};
use crate::numbers;
use crate::progress::Progress;
use crate::screen::{Paint, Screen};
use crate::threads;

/// Where known answers are, and where their results go, unless it is said otherwise.
const PATH: &str = "scenarios/known-answers";
const CSV: &str = "reports/known_answers.csv";
const TABLE: &str = "reports/known_answers.md";

pub(crate) fn run(args: &Validate, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &Validate, screen: &mut Screen) -> Result<Exit, Exit> {
    let inputs = chosen(args, screen)?;
    let whole = args.paths.is_empty() && !args.quick && args.layer.is_none() && args.filter.is_none();
    if args.csv.is_some() && args.csv == args.table {
        screen.aside("error: --csv and --table name the same file");
        return Err(Exit::BadInput);
    }
    let mut start = |given: &Option<PathBuf>, default: &str| {
        let path = given.as_deref().or(whole.then_some(Path::new(default)));
        path.map(Pending::start).transpose().map_err(|why| {
            screen.aside(&format!("error: {why}"));
            Exit::BadInput
        })
    };
    let (csv, table) = (start(&args.csv, CSV)?, start(&args.table, TABLE)?);
    let studies = studies(&inputs, args);
    let left_out = inputs.len() * args.layer.map_or(2, |_| 1) - studies.len();
    if studies.is_empty() {
        screen.aside("error: nothing is left to validate: every scenario here is slow, and --quick leaves those out");
        return Err(Exit::BadInput);
    }
    let rows = measure(&studies, args, screen);
    show(&rows, left_out, screen);
    for (file, write) in
        [(csv, write_csv as fn(&mut dyn Write, &[CaseReport]) -> std::io::Result<()>), (table, write_table)]
    {
        let Some(mut file) = file else { continue };
        let written = write(&mut file, &rows).map_err(|error| error.to_string()).and_then(|()| file.finish());
        if let Err(why) = written {
            screen.aside(&format!("error: {why}"));
            return Err(Exit::Infrastructure);
        }
    }
    Ok(if rows.iter().all(|row| row.verdict.is_good()) { Exit::Pass } else { Exit::Failed })
}

/// The scenarios with known answers.
fn chosen(args: &Validate, screen: &mut Screen) -> Result<Vec<Input>, Exit> {
    let paths = if args.paths.is_empty() { vec![PathBuf::from(PATH)] } else { args.paths.clone() };
    let mut inputs = input::read(&paths, &Isotope { rate: None, duration: None }, false, screen)?;
    inputs.retain(|input| input.scenario.suite == Suite::Validate);
    if inputs.is_empty() {
        screen.aside("error: no scenario there is of `suite: validate`");
        return Err(Exit::BadInput);
    }
    if let Some(text) = &args.filter {
        let names: Vec<String> = inputs.iter().map(|input| input.scenario.name.value.clone()).collect();
        inputs.retain(|input| input.scenario.name.value.contains(text.as_str()));
        if inputs.is_empty() {
            screen.aside(&format!("error: no scenario has `{text}` in its name; there are {}", names.join(", ")));
            return Err(Exit::BadInput);
        }
    }
    let mut seen: BTreeMap<&str, &Input> = BTreeMap::new();
    for input in &inputs {
        for answer in &input.scenario.answers {
            if let Some(other) = seen.insert(&answer.case.value, input).filter(|other| other.file != input.file) {
                let (case, one, two) = (&answer.case.value, &other.file, &input.file);
                screen
                    .aside(&format!("error: the case `{case}` is in {one} and in {two}: rows could not be told apart"));
                return Err(Exit::BadInput);
            }
        }
    }
    Ok(inputs)
}

fn studies(inputs: &[Input], args: &Validate) -> Vec<Study> {
    let layers = args.layer.map_or(Layer::ALL.to_vec(), |layer| vec![layer.into()]);
    let all = inputs.iter().flat_map(|input| layers.iter().map(|layer| Study::new(&input.scenario, *layer)));
    all.filter(|study| !(args.quick && study.is_slow())).collect()
}

/// What the threads share while they run.
struct State<'s> {
    screen: &'s mut Screen,
    progress: Progress,
    /// By the number of the replication, as they end.
    found: Vec<(usize, Result<Vec<Found>, TrialError>)>,
    /// What each study took so far.
    times: Vec<Duration>,
}

/// Runs every replication of every study.
fn measure(studies: &[Study], args: &Validate, screen: &mut Screen) -> Vec<CaseReport> {
    let trials: Vec<(usize, u64)> = studies
        .iter()
        .enumerate()
        .flat_map(|(index, study)| (1..=u64::from(study.replications())).map(move |seed| (index, seed)))
        .collect();
    let jobs = args.jobs.map_or_else(threads::cores, usize::from);
    let replications = numbers::count(trials.len(), "replication");
    screen.say(&format!("{replications} of {}\n", numbers::count(studies.len(), "scenario and layer")));
    let progress = Progress::new(screen, trials.len());
    let state = Mutex::new(State { screen, progress, found: Vec::new(), times: vec![Duration::ZERO; studies.len()] });
    threads::spread(jobs, trials.len(), &|number| {
        let (index, seed) = trials[number];
        let began = Instant::now();
        let found = studies[index].trial(seed);
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { screen, progress, found: all, times } = &mut *state;
        progress.tick(screen, found.is_ok());
        times[index] += began.elapsed();
        all.push((number, found));
    });
    let State { screen, progress, mut found, times } = state.into_inner().unwrap_or_else(PoisonError::into_inner);
    let time = progress.end();
    screen.aside(&format!("{time} on {}", numbers::count(jobs, "thread")));
    found.sort_by_key(|(number, _)| *number);
    let mut by_study: Vec<Vec<Result<Vec<Found>, TrialError>>> = studies.iter().map(|_| Vec::new()).collect();
    for (number, found) in found {
        by_study[trials[number].0].push(found);
    }
    if args.times {
        for (study, time) in studies.iter().zip(&times) {
            let name = &study.scenario().name.value;
            screen.aside(&format!("{:>8}  {:<4}  {name}", numbers::span(*time), study.layer().name()));
        }
    }
    let mut rows: Vec<CaseReport> =
        studies.iter().zip(&by_study).flat_map(|(study, trials)| study.report(trials)).collect();
    ranks(&mut rows);
    rows
}

fn show(rows: &[CaseReport], left_out: usize, screen: &mut Screen) {
    let mut grid = Grid::new(["", ""]);
    for row in rows {
        let (word, paint) = match row.verdict {
            Verdict::Pass => ("PASS  ", Paint::Good),
            Verdict::Exempt => ("EXEMPT", Paint::Faint),
            Verdict::Imprecise => ("WIDE  ", Paint::Bad),
            Verdict::Fail => ("FAIL  ", Paint::Bad),
        };
        let numbers = match row.measured {
            None => String::new(),
            Some(measured) => format!(
                "{} known, {} measured{}{}",
                row.expected,
                digits(measured),
                row.half_width_99.map(|width| format!(" ± {}", digits(width))).unwrap_or_default(),
                row.sigmas_off.map(|sigmas| format!(", {sigmas:+.1} σ")).unwrap_or_default(),
            ),
        };
        let gap = if numbers.is_empty() || row.reason.is_empty() { "" } else { "; " };
        let mark = format!("{} ", screen.paint(paint, word));
        let note = format!("{numbers}{gap}{}", row.reason);
        grid.row(Row { mark, name: row.case.clone(), cells: vec![row.layer.name().to_owned()], note });
    }
    grid.lines(screen.width).iter().for_each(|line| screen.say(line));
    let count = |verdict: Verdict| rows.iter().filter(|row| row.verdict == verdict).count();
    let mut parts = vec![format!("{} as known", count(Verdict::Pass))];
    let others = [(Verdict::Fail, "off"), (Verdict::Imprecise, "imprecise"), (Verdict::Exempt, "exempt from a layer")];
    parts.extend(others.iter().filter(|(verdict, _)| count(*verdict) > 0).map(|(verdict, word)| {
        let text = format!("{} {word}", count(*verdict));
        if verdict.is_good() { text } else { screen.paint(Paint::Bad, &text) }
    }));
    if left_out > 0 {
        parts.push(format!("{} left out", numbers::count(left_out, "slow one")));
    }
    screen.say(&format!("\n{}", parts.join(", ")));
}

/// Six significant digits, without an exponent.
fn digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let places = (5.0 - value.abs().log10().floor()).clamp(0.0, 12.0) as usize;
    let text = format!("{value:.places$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

const COLUMNS: [&str; 10] = [
    "case",
    "layer",
    "source",
    "expected",
    "measured",
    "half_width_99",
    "sigmas_off",
    "verdict",
    "reason",
    "replications",
];

fn cells(row: &CaseReport) -> [String; 10] {
    let number = |value: Option<f64>| value.map(digits).unwrap_or_default();
    [
        row.case.clone(),
        row.layer.name().to_owned(),
        row.source.clone(),
        row.expected.clone(),
        number(row.measured),
        number(row.half_width_99),
        row.sigmas_off.map(|sigmas| format!("{sigmas:.2}")).unwrap_or_default(),
        row.verdict.name().to_owned(),
        row.reason.clone(),
        row.replications.to_string(),
    ]
}

fn write_csv(out: &mut dyn Write, rows: &[CaseReport]) -> std::io::Result<()> {
    let mut csv = csv::Writer::from_writer(out);
    csv.write_record(COLUMNS)?;
    for row in rows {
        csv.write_record(cells(row))?;
    }
    csv.flush()
}

/// What `reports/known_answers.md` says before its table.
const HEAD: &str = "\
# Known answers

Written by `squall validate`, together with `known_answers.csv`. Durations are in seconds. `fast` is the policy core and the
service model without bytes, `full` the whole thing. How an answer passes: `squall validate --help`; what each scenario is
about, and every derivation: [scenarios/known-answers](../scenarios/known-answers/README.md).

";

fn write_table(out: &mut dyn Write, rows: &[CaseReport]) -> std::io::Result<()> {
    out.write_all(HEAD.as_bytes())?;
    out.write_all(table(rows.iter().map(cells)).as_bytes())
}

/// The Markdown table of these rows.
fn table(rows: impl Iterator<Item = [String; 10]>) -> String {
    let line = |cells: &[String]| {
        format!("| {} |\n", cells.iter().map(|cell| cell.replace('|', "\\|")).collect::<Vec<_>>().join(" | "))
    };
    let mut text = line(&COLUMNS.map(str::to_owned));
    text.push_str(&line(&COLUMNS.map(|_| "---".to_owned())));
    for row in rows {
        text.push_str(&line(&row));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> CaseReport {
        CaseReport {
            case: "M/M/1, rho 0.8: W".into(),
            layer: Layer::Fast,
            source: "Kleinrock".into(),
            expected: "5".into(),
            measured: Some(5.012_345_678),
            half_width_99: Some(0.03),
            sigmas_off: Some(1.06),
            replications: 20,
            verdict: Verdict::Pass,
            reason: String::new(),
            rank: None,
        }
    }

    #[test]
    fn numbers_have_six_digits_and_no_exponent() {
        let cases = [
            (0.0, "0"),
            (5.0, "5"),
            (5.012_345_678, "5.01235"),
            (0.000_012_345_67, "0.0000123457"),
            (1_234_567.8, "1234568"),
            (-0.5, "-0.5"),
        ];
        for (value, want) in cases {
            assert_eq!(digits(value), want);
        }
    }

    #[test]
    fn a_row_of_the_csv_has_every_column() {
        let mut out = Vec::new();
        write_csv(&mut out, &[row()]).expect("memory takes every byte");
        let text = String::from_utf8(out).expect("CSV is text");
        let want = "case,layer,source,expected,measured,half_width_99,sigmas_off,verdict,reason,replications\n\
                    \"M/M/1, rho 0.8: W\",fast,Kleinrock,5,5.01235,0.03,1.06,pass,,20\n";
        assert_eq!(text, want);
    }

    /// The table in the reports is the one that the CSV beside it gives.
    #[test]
    fn the_table_in_the_reports_is_that_of_the_csv() {
        let reports = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../reports");
        let read = |name: &str| std::fs::read_to_string(reports.join(name)).expect("it is in the repository");
        let text = read("known_answers.csv");
        let mut csv = csv::Reader::from_reader(text.as_bytes());
        assert_eq!(csv.headers().expect("it has a head"), &COLUMNS[..]);
        let rows = csv.records().map(|record| {
            let cells: Vec<String> = record.expect("it is CSV").iter().map(str::to_owned).collect();
            <[String; 10]>::try_from(cells).expect("every row has every column")
        });
        assert_eq!(read("known_answers.md"), format!("{HEAD}{}", table(rows)));
        assert!(!text.contains(",fail,") && !text.contains(",imprecise,"), "what is reported is as known");
    }
}
