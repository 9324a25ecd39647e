//! One run: a scenario, a seed, a verdict.

use std::sync::Arc;
use std::time::Duration;

use squall_policy::Instant;

use crate::campaign::Verification;
use crate::check::{CheckResult, Verdict};

use crate::engine::{Engine, EventEngine, RealEngine, Stopped, TurmoilEngine, Unsupported};
use crate::evaluate::evaluate;
use crate::fast::{self, FastEngine};
use crate::fault::Schedule;
use crate::note::Note;
use crate::outcome::{Checkpoint, EngineKind, Model, Outcome, RunError, RunOptions};
use crate::pulse::Pulse;
use crate::scenario::{Layer, Scenario, Window};
use crate::spans::Arrival;
use crate::trace::{Mode, Trace, first_difference};
use crate::window::{Measures, Span};
use crate::world::{EPOCH, World, next_second};

/// How long a world may take until every pod is ready.
const WARM_UP_MAX: Duration = Duration::from_secs(120);
/// The world has settled when no proxy took a new mesh for so long.
const SETTLED: Duration = Duration::from_millis(500);
/// How often readiness, and the end of the last requests, is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Runs a scenario on one seed.
///
/// # Errors
/// See [`RunError`]: the engine cannot do what is asked, the mesh does not compile, or the world broke.
pub fn run(scenario: &Arc<Scenario>, seed: u64, options: RunOptions) -> Result<Outcome, RunError> {
    Ok(run_traced(scenario, seed, options, Mode::Digest)?.0)
}

/// As [`run`], and the values of these CEL expressions over the whole run: numbers, the seconds of durations, 1 for true.
pub(crate) fn run_measured(
    scenario: &Arc<Scenario>,
    seed: u64,
    options: RunOptions,
    those: &[&str],
) -> Result<(Outcome, Vec<f64>), RunError> {
    let mut values = Vec::new();
    let mut look = |measures: &Arc<Measures>| {
        let value = |that: &&str| crate::evaluate::value_of(that, Window::Overall, measures);
        values = those.iter().map(value).collect::<Result<_, _>>()?;
        Ok(())
    };
    let (outcome, _) = run_looked_at(scenario, seed, options, Mode::Digest, &mut look)?;
    Ok((outcome, values))
}

/// Runs a scenario that gave `first` again and compares: equal digests, or the first record that differs.
#[must_use]
pub fn verify(scenario: &Arc<Scenario>, seed: u64, engine: EngineKind, first: &Outcome) -> Verification {
    let options = RunOptions { engine, model: first.model, keep_history: false };
    match run_traced(scenario, seed, options, Mode::Digest) {
        Ok((second, _)) if second.digest == first.digest && second.records == first.records => Verification::Same,
        Ok((second, _)) => divergence(scenario, seed, engine, first, &second),
        Err(error) => Verification::Diverged { record: 1, first: None, second: Some(error.to_string()) },
    }
}

/// Runs twice more, keeping the window in which two runs parted, and names the first difference.
fn divergence(
    scenario: &Arc<Scenario>,
    seed: u64,
    engine: EngineKind,
    first: &Outcome,
    second: &Outcome,
) -> Verification {
    let equal = first.checkpoints.iter().zip(&second.checkpoints).take_while(|(one, other)| one == other);
    let from = equal.last().map_or(0, |(checkpoint, _)| checkpoint.records);
    let every = crate::trace::CHECKPOINT_EVERY;
    let mode = Mode::Window { from, to: from + every };
    let options = RunOptions { engine, model: first.model, keep_history: true };
    let again = || run_traced(scenario, seed, options, mode).ok();
    let (one, other) = (again(), again());
    let events = |run: &Option<(Outcome, Arc<Trace>)>| run.as_ref().map(|(_, trace)| trace.kept()).unwrap_or_default();
    let Some((is, was)) = first_difference(&events(&one), &events(&other)) else {
        return Verification::Diverged {
            record: from + 1,
            first: Some("the runs parted here, but two more did not: what leaks is rare".to_owned()),
            second: None,
        };
    };
    let words = |event: Option<crate::trace::Event>, run: &Option<(Outcome, Arc<Trace>)>| {
        event.map(|event| describe(event, run.as_ref().map(|(outcome, _)| outcome)))
    };
    let record = is.or(was).map_or(from, |event| event.index) + 1;
    Verification::Diverged { record, first: words(is, &one), second: words(was, &other) }
}

/// An event of the trace in words.
fn describe(event: crate::trace::Event, outcome: Option<&Outcome>) -> String {
    let crate::trace::Event { at, host, kind, a, b, .. } = event;
    let host = outcome.and_then(|outcome| outcome.hosts.get(host as usize)).map_or("world", |name| &**name);
    let said = outcome.and_then(|outcome| {
        let history = outcome.history.as_ref()?;
        let world = |entry: &crate::history::Entry| {
            Instant::from_nanos(outcome.start.as_nanos() + entry.at.as_nanos() - entry.before_start_ns)
        };
        let same = |entry: &&crate::history::Entry| world(entry) == at && &*entry.host == host && entry.kind == kind;
        history.entries().iter().find(same).map(|entry| entry.text.clone())
    });
    match said {
        Some(text) => format!("{at} s {host}: {kind}: {text}"),
        None => format!("{at} s {host}: {kind} {a:x} {b}"),
    }
}

fn make(kind: EngineKind, seed: u64, mode: Mode) -> Result<Box<dyn Engine>, RunError> {
    match kind {
        EngineKind::Event => Ok(Box::new(EventEngine::with_trace(seed, EPOCH, mode))),
        EngineKind::Turmoil => Ok(Box::new(TurmoilEngine::new(seed, EPOCH))),
        EngineKind::Real => match RealEngine::new(seed) {
            Ok(engine) => Ok(Box::new(engine)),
            Err(error) => Err(RunError::NoWorld { engine: kind.name(), why: error.to_string() }),
        },
    }
}

/// Refuses expectations that are finer than the engine's time.
fn check_resolution(scenario: &Scenario, engine: EngineKind) -> Result<(), Unsupported> {
    let (finest, why) = match engine {
        EngineKind::Event => return Ok(()),
        EngineKind::Turmoil => {
            (Duration::from_millis(100), "its time moves in milliseconds, which every hop of a request rounds up to")
        }
        EngineKind::Real => (Duration::from_millis(100), "its time is this machine's, which does other things too"),
    };
    match scenario.resolution {
        Some(wanted) if wanted < finest => Err(Unsupported {
            engine: engine.name(),
            knob: format!("resolution {wanted:?}"),
            why: format!("{why}; it honours {finest:?} and more"),
        }),
        Some(_) | None => Ok(()),
    }
}

/// The world that the options ask for, ready to run.
fn build(
    scenario: &Arc<Scenario>,
    seed: u64,
    options: RunOptions,
    mode: Mode,
) -> Result<(World, Box<dyn Engine>), RunError> {
    let RunOptions { engine: kind, model, keep_history } = options;
    match model {
        Model::Full => {
            let mut engine = make(kind, seed, mode)?;
            let trace = Arc::clone(engine.trace());
            let world = World::build(scenario, seed, keep_history, engine.as_mut(), trace)?;
            Ok((world, engine))
        }
        Model::Fast if kind != EngineKind::Event => {
            let why = "it has a world of its own".to_owned();
            Err(Unsupported { engine: kind.name(), knob: "the fast model".to_owned(), why }.into())
        }
        Model::Fast => {
            fast::refuse(scenario)?;
            let mut engine = FastEngine::new(seed, mode);
            let trace = Arc::clone(engine.trace());
            let world = World::build(scenario, seed, keep_history, &mut engine, trace)?;
            engine.bind(&world)?;
            Ok((world, Box::new(engine)))
        }
    }
}

fn run_traced(
    scenario: &Arc<Scenario>,
    seed: u64,
    options: RunOptions,
    mode: Mode,
) -> Result<(Outcome, Arc<Trace>), RunError> {
    run_looked_at(scenario, seed, options, mode, &mut |_| Ok(()))
}

/// A run with its trace, whose measures `look` sees before the run is told of.
pub(crate) fn run_looked_at(
    scenario: &Arc<Scenario>,
    seed: u64,
    options: RunOptions,
    mode: Mode,
    look: &mut dyn FnMut(&Arc<Measures>) -> Result<(), RunError>,
) -> Result<(Outcome, Arc<Trace>), RunError> {
    check_resolution(scenario, options.engine)?;
    let (world, mut engine) = build(scenario, seed, options, mode)?;
    let engine = engine.as_mut();
    let trace = Arc::clone(engine.trace());
    let start = warm_up(&world, engine)?;
    let World { shared, hosts, names, links, .. } = world;
    shared.journal.note(engine.now(), 0, &Note::Started);
    shared.start.open(start);
    let mut schedule = Schedule::new(&shared, hosts, links, start);
    let end = start + scenario.duration;
    play(engine, &mut schedule, &shared.ledger, end, end + scenario.drain)?;
    schedule.finish(engine);
    let ended = engine.now();

    let whole = Span { from: start, to: end };
    let faults = schedule.span(end).map(|(from, to)| Span { from, to });
    let book = std::mem::take(&mut *shared.ledger.book());
    let measures = Arc::new(Measures::new(book, whole, faults, shared.parties.clone()));
    look(&measures)?;
    let mut checks = evaluate(&scenario.expect, &measures, &schedule.turns())?;
    let layer = match options.model {
        Model::Full => Layer::Full,
        Model::Fast => Layer::Fast,
    };
    let answers = crate::validate::find(scenario, layer, &measures, ended)?;
    checks.extend(crate::validate::exact_checks(scenario, layer, &answers));
    let reports = schedule.reports(start);
    for report in reports.iter().filter(|report| report.touched == 0) {
        let was = match report.began {
            Some(_) => "the fault touched nothing",
            None => "the fault never began",
        };
        checks.push(CheckResult {
            when: "fault".to_owned(),
            that: report.what.clone(),
            passed: false,
            was: vec![("touched".to_owned(), was.to_owned())],
            at: report.ended,
        });
    }
    for broken in shared.broken() {
        let was = vec![("mesh".to_owned(), broken)];
        checks.push(CheckResult {
            when: "mesh".to_owned(),
            that: "every mesh is taken".to_owned(),
            passed: false,
            was,
            at: None,
        });
    }
    for report in &reports {
        if let Some(began) = report.began {
            let line = format!("{} (touched {} {})", report.what, report.touched, report.unit);
            shared.journal.tell(start + began.since(Instant::ZERO), line);
        }
        if let Some(ended) = report.ended {
            shared.journal.tell(start + ended.since(Instant::ZERO), format!("end of {}", report.what));
        }
    }
    let told = shared.journal.finish(start);
    let digest = trace.digest();
    let outcome = Outcome {
        scenario: scenario.name.value.clone(),
        seed,
        engine: options.engine,
        model: options.model,
        verdict: Verdict { checks },
        answers,
        summary: measures.summary(scenario.services.len()),
        pulse: Pulse::of(&measures),
        faults: reports,
        story: told.story,
        digest: digest.hash,
        checkpoints: trace
            .checkpoints()
            .iter()
            .map(|checkpoint| Checkpoint { records: checkpoint.events, at: checkpoint.at, digest: checkpoint.hash })
            .collect(),
        records: digest.events,
        start,
        hosts: names,
        simulated: ended.since(start),
        requests: if options.keep_history { Arrival::all(&measures, start) } else { Vec::new() },
        history: told.history,
    };
    Ok((outcome, trace))
}

/// Runs until every pod and client is ready and proxies have settled; gives the scenario's time 0.
fn warm_up(world: &World, engine: &mut dyn Engine) -> Result<Instant, RunError> {
    let limit = engine.now() + WARM_UP_MAX;
    loop {
        let until = engine.now() + LOOK;
        while engine.run(until)? == Stopped::Interrupted {}
        let missing = world.missing();
        if missing.is_empty() && world.shared.last_mesh() + SETTLED <= engine.now() {
            return Ok(next_second(engine.now()));
        }
        if engine.now() >= limit {
            let why = world.shared.broken().join("; ");
            let who = if missing.is_empty() { "a settled mesh".to_owned() } else { missing.join(", ") };
            return Err(RunError::NotReady { who, after: WARM_UP_MAX, why });
        }
    }
}

/// Runs the load and the schedule, and then until the last request is answered or `limit` is reached.
fn play(
    engine: &mut dyn Engine,
    schedule: &mut Schedule,
    ledger: &crate::ledger::Ledger,
    end: Instant,
    limit: Instant,
) -> Result<(), RunError> {
    loop {
        let now = engine.now();
        if now >= limit {
            return Ok(());
        }
        if now >= end {
            let book = ledger.book();
            if book.answered == book.asked.len() as u64 {
                return Ok(());
            }
        }
        let look = if now < end { end } else { (now + LOOK).min(limit) };
        let until = schedule.next().map_or(look, |next| next.max(now).min(look));
        match engine.run(until)? {
            Stopped::Interrupted => schedule.triggered(engine)?,
            Stopped::Reached => schedule.act(engine)?,
        }
    }
}
