//! `squall replay`: the story of one run.

use std::collections::BTreeSet;

use squall_control::closest;
use squall_sim::scenario::ControlSpec;
use squall_sim::{EngineKind, History, Model, Outcome, RunOptions, Scenario};

use crate::args::Replay;
use crate::exit::Exit;
use crate::explain;
use crate::input::{self, Input};
use crate::numbers;
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
fn whole(question: &str, outcome: &Outcome, screen: &mut Screen) {
    for line in explain::wrap(question, explain::WIDTH) {
        screen.say(&screen.paint(Paint::Faint, &line));
    }
    let mut section = |title: &str, lines: Vec<String>| {
        if !lines.is_empty() {
            screen.say(&format!("\n{}", screen.paint(Paint::Strong, title)));
            lines.iter().for_each(|line| screen.say(line));
        }
    };
    section("What happened", explain::story(outcome, usize::MAX));
    section("Faults", explain::faults(outcome, |_| true));
    section("Calls", edges(outcome));
    section("Services", services(outcome));
    section("Expectations", explain::checks(outcome, true));
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

fn edges(outcome: &Outcome) -> Vec<String> {
    let names: Vec<String> = outcome.summary.edges.iter().map(|edge| format!("{} → {}", edge.from, edge.to)).collect();
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or(0);
    let lines = names.iter().zip(&outcome.summary.edges).map(|(name, edge)| {
        let mut line = format!(
            "  {name:<width$}  {:>8}  {:>8}  p99 {:>7}  {:.2} attempts each",
            numbers::count(usize::try_from(edge.requests).unwrap_or(usize::MAX), "request"),
            numbers::percent(edge.succeeded, edge.requests),
            numbers::span(edge.latency.p99),
            edge.amplification(),
        );
        if edge.over_budget > 0 {
            line.push_str(&format!(", budget forbade {}", edge.over_budget));
        }
        if edge.refused > 0 {
            line.push_str(&format!(", refused {}", edge.refused));
        }
        line
    });
    lines.collect()
}

fn services(outcome: &Outcome) -> Vec<String> {
    let services = &outcome.summary.services;
    let width = services.iter().map(|service| service.name.chars().count()).max().unwrap_or(0);
    let lines = services.iter().map(|service| {
        format!(
            "  {:<width$}  p50 {:>7}  p99 {:>7}  at most {} in flight, {} queued; {} refused",
            service.name,
            numbers::span(service.latency.p50),
            numbers::span(service.latency.p99),
            service.in_flight_max,
            service.queue_max,
            service.refused,
        )
    });
    lines.collect()
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
