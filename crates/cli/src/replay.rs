//! `squall replay`: the story of one run.

use std::collections::BTreeSet;

use squall_control::closest;
use squall_sim::scenario::ControlSpec;
use squall_sim::{EngineKind, History, Model, Outcome, RunOptions, Scenario};

use crate::args::Replay;
use crate::exit::Exit;
use crate::explain;
use crate::grid::{Grid, Row};
use crate::input::{self, Input};
use crate::numbers;
use crate::plot;
use crate::screen::{Paint, Screen};

pub(crate) fn run(args: &Replay, screen: &mut Screen) -> Exit {
    match try_run(args, screen) {
        Ok(exit) | Err(exit) => exit,
    }
}

fn try_run(args: &Replay, screen: &mut Screen) -> Result<Exit, Exit> {
    let inputs = input::scenarios(std::slice::from_ref(&args.file), &args.isotope, screen)?;
    let [Input { scenario, .. }] = inputs.as_slice() else {
        screen.aside(&format!("error: {} holds {} scenarios; name the file of one", args.file.display(), inputs.len()));
        return Err(Exit::BadInput);
    };
    let hosts = match &args.service {
        Some(service) => Some(hosts_of(scenario, service).map_err(|why| {
            screen.aside(&format!("error: {why}"));
            Exit::BadInput
        })?),
        None => None,
    };
    let engine = EngineKind::from(args.engine);
    let options = RunOptions { engine, model: args.model.into(), keep_history: true };
    let outcome = match squall_sim::run(scenario, args.seed, options) {
        Ok(outcome) => outcome,
        Err(error) => {
            screen.aside(&format!("error: {error}"));
            return Err(Exit::of(&error));
        }
    };
    let world = match outcome.model {
        Model::Full => format!("{} model, {} engine", outcome.model.name(), engine.name()),
        Model::Fast => "fast model".to_owned(),
    };
    let title = format!("{}, seed {}, {world}", outcome.scenario, outcome.seed);
    screen.say(&screen.paint(Paint::Strong, &title));
    let none = History::default();
    let history = outcome.history.as_ref().unwrap_or(&none);
    match (args.request, hosts) {
        (Some(request), _) => one_request(history, request, &outcome, screen)?,
        (None, Some(hosts)) => of_hosts(history, &hosts, screen),
        (None, None) => whole(&scenario.question, &outcome, screen),
    }
    Ok(if outcome.passed() { Exit::Pass } else { Exit::Failed })
}

/// What happened to one request, over all hosts.
fn one_request(history: &History, request: u64, outcome: &Outcome, screen: &mut Screen) -> Result<(), Exit> {
    let Some(lines) = history.story(request) else {
        let requests = outcome.summary.requests;
        screen.aside(&format!("error: there was no request {request}; this run had {requests}, numbered from 1"));
        return Err(Exit::BadInput);
    };
    lines.iter().for_each(|line| screen.say(line));
    Ok(())
}

/// Everything that happened on some hosts.
fn of_hosts(history: &History, hosts: &BTreeSet<String>, screen: &mut Screen) {
    for entry in history.entries().iter().filter(|entry| hosts.contains(&*entry.host)) {
        let request = entry.request.map_or_else(String::new, |request| format!("#{request}"));
        // Before the load begins, times count back from it.
        let at = match entry.before_start_ns {
            0 => entry.at.to_string(),
            before => format!("-{}", squall_policy::Instant::from_nanos(before)),
        };
        screen.say(&format!("{at:>9} s  {:<16} {request:>7}  {}", entry.host, entry.text));
    }
}

/// The story of the run, what went between whom, and the verdict.
pub(crate) fn whole(question: &str, outcome: &Outcome, screen: &mut Screen) {
    for line in explain::wrap(question, screen.width) {
        screen.say(&screen.paint(Paint::Faint, &line));
    }
    let width = screen.width;
    let mut curve = vec![String::new()];
    curve.extend(plot::success(outcome, screen.unicode));
    curve.iter().skip(usize::from(curve.len() == 1)).for_each(|line| screen.say(line));
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            screen.say(&format!("\n{}", screen.paint(Paint::Strong, title)));
            lines.iter().for_each(|line| screen.say(line));
        }
    };
    section("What happened", explain::story(outcome, usize::MAX));
    section("Faults", explain::faults(outcome, |_| true));
    section("Calls", edges(outcome, width));
    section("Services", services(outcome, width));
    section("Expectations", explain::checks(outcome, true, width));
    let summary = &outcome.summary;
    let recovery = numbers::recovery(summary.recovery);
    let comma = if recovery.is_empty() { "" } else { ", " };
    let line = format!(
        "{} of {} requests succeeded ({}), p50 {}, p99 {}, amplification {:.2}{comma}{recovery}",
        summary.succeeded,
        summary.requests,
        numbers::percent(summary.succeeded, summary.requests),
        numbers::span(summary.latency.p50),
        numbers::span(summary.latency.p99),
        summary.amplification,
    );
    screen.say(&format!("\n{line}"));
    let simulated = numbers::span(outcome.simulated);
    screen.say(&format!("{simulated} simulated, {} records, digest {:016x}", outcome.records, outcome.digest));
    let (word, paint) = if outcome.passed() { ("PASS", Paint::Good) } else { ("FAIL", Paint::Bad) };
    screen.say(&screen.paint(paint, word));
}

fn edges(outcome: &Outcome, width: usize) -> Vec<String> {
    let mut grid = Grid::new(["", "requests", "success", "p99", "tries each"]);
    for edge in &outcome.summary.edges {
        let cells = [
            edge.requests.to_string(),
            numbers::percent(edge.succeeded, edge.requests),
            numbers::span(edge.latency.p99),
            format!("{:.2}", edge.amplification()),
        ];
        let notes = [(edge.over_budget, "budget forbade"), (edge.refused, "refused")];
        let notes = notes.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{what} {count}"));
        let note = notes.collect::<Vec<_>>().join(", ");
        grid.row(Row { mark: "  ".into(), name: format!("{} → {}", edge.from, edge.to), cells: cells.into(), note });
    }
    grid.lines(width)
}

fn services(outcome: &Outcome, width: usize) -> Vec<String> {
    let mut grid = Grid::new(["", "p50", "p99", "most inside", "queued", "refused"]);
    for service in &outcome.summary.services {
        let latency = &service.latency;
        let counts = [service.in_flight_max, service.queue_max, service.refused].map(|count| count.to_string());
        let cells = [numbers::span(latency.p50), numbers::span(latency.p99)].into_iter().chain(counts);
        let name = service.name.clone();
        grid.row(Row { mark: "  ".into(), name, cells: cells.collect(), note: String::new() });
    }
    grid.lines(width)
}

/// The hosts of a service, of a load or of the control plane.
fn hosts_of(scenario: &Scenario, service: &str) -> Result<BTreeSet<String>, String> {
    let pods = scenario.pods();
    let of_service = pods.iter().filter(|pod| scenario.services[pod.service].name.value == service);
    let mut hosts: BTreeSet<String> = of_service.map(|pod| pod.name.to_string()).collect();
    for load in scenario.load.iter().filter(|load| &*load.name == service) {
        hosts.extend((0..load.hosts).map(|nth| format!("{}-{nth}", load.name)));
    }
    if service == ControlSpec::HOST {
        hosts.insert(ControlSpec::HOST.into());
    }
    if hosts.is_empty() {
        let names = scenario.services.iter().map(|s| s.name.value.as_str());
        let known: Vec<&str> = names.chain(scenario.load.iter().map(|l| &*l.name)).chain([ControlSpec::HOST]).collect();
        let help = match closest(service, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", known.join(", ")),
        };
        return Err(format!("`{service}` is not a service of this scenario; {help}"));
    }
    Ok(hosts)
}
