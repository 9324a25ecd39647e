//! What one run says about its known answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use squall_policy::Instant;

use super::pathwise::{Queue, Visit};
use crate::evaluate::value_of;
use crate::ledger::{Gauge, Party};
use crate::outcome::RunError;
use crate::scenario::{Answer, Layer, Question, Scenario};
use crate::window::{Measures, Span};

/// What a run found for one answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// The value of its measure.
    Value(f64),
    /// The value of its measure, and that of the measure with which it goes up and down.
    Controlled {
        /// What was asked.
        value: f64,
        /// Its control.
        control: f64,
    },
    /// Whether something exact held.
    Held {
        /// How many things were compared: requests, or parties.
        compared: u64,
        /// What it came to, for people.
        told: String,
    },
    /// Something exact did not hold: the first difference.
    Astray(String),
    /// It is not asked in this layer.
    NotAsked,
}

/// Answers every question of `scenario` that is asked in `layer`, from a run that lasted to `end`.
///
/// # Errors
/// [`RunError::Check`]: a measure cannot be evaluated.
pub(crate) fn find(
    scenario: &Scenario,
    layer: Layer,
    measures: &Arc<Measures>,
    end: Instant,
) -> Result<Vec<Found>, RunError> {
    let found = |answer: &Answer| {
        if answer.only.as_ref().is_some_and(|(only, _)| *only != layer) {
            return Ok(Found::NotAsked);
        }
        Ok(match &answer.question {
            Question::Measure { that, window, control, .. } => {
                let value = value_of(&that.value, *window, measures)?;
                match control {
                    None => Found::Value(value),
                    Some(control) => {
                        Found::Controlled { value, control: value_of(&control.that.value, *window, measures)? }
                    }
                }
            }
            Question::Pathwise { service, limit: Some(limit), .. } => held(admitted(measures, *service, *limit)),
            Question::Pathwise { service, from, limit: None } => held(pathwise(scenario, measures, *service, *from)),
            Question::LittlesLaw => held(littles_law(scenario, measures, end)),
        })
    };
    scenario.answers.iter().map(found).collect()
}

fn held(result: Result<(u64, String), String>) -> Found {
    match result {
        Ok((compared, told)) => Found::Held { compared, told },
        Err(why) => Found::Astray(why),
    }
}

fn party(index: usize) -> Party {
    Party(u16::try_from(index).expect("scenarios have fewer services and loads"))
}

/// Every pod of a service against the recursion, and the way of every request there and back.
fn pathwise(
    scenario: &Scenario,
    measures: &Measures,
    service: usize,
    from: Option<usize>,
) -> Result<(u64, String), String> {
    let spec = &scenario.services[service];
    let mut pods: BTreeMap<u32, Vec<(Visit, Option<u64>)>> = BTreeMap::new();
    for line in measures.served_ever(party(service)) {
        if !line.overflowed && line.began.get().is_none() {
            return Err(format!("a request that arrived at {:?} never got a slot and was not lost", line.arrived));
        }
        let visit =
            Visit { arrived: line.arrived, began: line.began.get(), time: line.time.get(), ended: line.ended.get() };
        pods.entry(line.pod).or_default().push((visit, line.request.get()));
    }
    let queue =
        Queue { slots: spec.slots.expect("a service that is checked path by path has slots"), room: spec.queue };
    let mut compared = 0;
    for (pod, visits) in &mut pods {
        // In order of arrival; of those that came at once, in the order in which they were served.
        visits.sort_by_key(|(visit, _)| (visit.arrived, visit.began.is_none(), visit.began));
        let visits: Vec<Visit> = visits.iter().map(|(visit, _)| *visit).collect();
        queue.check(&visits).map_err(|why| format!("pod on host {pod}: {why}"))?;
        compared += visits.len() as u64;
    }
    if compared == 0 {
        return Err("no request got there".to_owned());
    }
    let Some(load) = from else { return Ok((compared, format!("{compared} requests, to the nanosecond"))) };
    let path = path_cost(measures, service, &scenario.load[load].name)?;
    Ok((compared, format!("{compared} requests, to the nanosecond, and {path:?} of path for each")))
}

/// Every request to a service of which the mesh lets in so many at once: refused are those, and only those, that find as many.
fn admitted(measures: &Measures, service: usize, limit: u32) -> Result<(u64, String), String> {
    let inside: BTreeSet<u64> = measures.served_ever(party(service)).filter_map(|line| line.request.get()).collect();
    let everything = Span { from: Instant::ZERO, to: Instant::from_nanos(u64::MAX) };
    let mut visits = Vec::new();
    let mut refused = 0_u64;
    for call in measures.calls(everything, None, None).filter(|call| call.meant == Some(party(service))) {
        let served = call.request.get().is_some_and(|request| inside.contains(&request));
        let Some(ended) = call.ended.get() else {
            return Err(format!("a request that arrived at {:?} never ended", call.arrived));
        };
        refused += u64::from(!served);
        let began = served.then_some(call.arrived);
        visits.push(Visit { arrived: call.arrived, began, time: ended.since(call.arrived), ended: Some(ended) });
    }
    visits.sort_by_key(|visit| (visit.arrived, visit.began.is_none()));
    Queue { slots: limit, room: Some(0) }.check(&visits)?;
    match visits.len() {
        0 => Err("no request got there".to_owned()),
        count => Ok((count as u64, format!("{count} requests, of which {refused} found {limit} inside"))),
    }
}

/// What a request takes beside its stay in the service: the same for all.
fn path_cost(measures: &Measures, service: usize, load: &str) -> Result<Duration, String> {
    let everything = measures.asked(Span { from: Instant::ZERO, to: Instant::from_nanos(u64::MAX) });
    let mut cost: Option<(u64, Duration)> = None;
    for line in measures.served_ever(party(service)) {
        let number =
            line.request.get().ok_or_else(|| format!("a request at {:?} is none of {load}'s", line.arrived))?;
        let index = usize::try_from(number).ok().and_then(|number| number.checked_sub(1));
        let asked = index.and_then(|index| everything.get(index)).ok_or("a request that nobody asked")?;
        let (Some(ended), Some(left)) = (asked.ended.get(), line.ended.get()) else {
            return Err(format!("request {number} has no answer"));
        };
        let this = ended.since(asked.arrived).saturating_sub(left.since(line.arrived));
        match cost {
            None => cost = Some((number, this)),
            Some((first, same)) if same != this => {
                return Err(format!("request {number} has a path of {this:?}, request {first} of {same:?}"));
            }
            Some(_) => {}
        }
    }
    cost.map(|(_, cost)| cost).ok_or_else(|| "no request got there".to_owned())
}

/// The integral of the number inside is the sum of the times inside, for every service, link and load of a drained run.
fn littles_law(scenario: &Scenario, measures: &Measures, end: Instant) -> Result<(u64, String), String> {
    let span = Span { from: Instant::ZERO, to: end };
    let mut compared = 0;
    let mut law = |what: &str, gauge: Gauge, spans: &mut dyn Iterator<Item = (Instant, Option<Instant>)>| {
        if measures.gauge_at(gauge, end) != 0 {
            return Err(format!("{what}: not drained, {} are left", measures.gauge_at(gauge, end)));
        }
        let (mut sum, mut count) = (0_i128, 0_u64);
        for (arrived, ended) in spans {
            let Some(ended) = ended else { return Err(format!("{what}: one that arrived at {arrived:?} never left")) };
            sum += i128::try_from(ended.since(arrived).as_nanos()).unwrap_or(i128::MAX);
            count += 1;
        }
        let area = measures.gauge_area(gauge, span);
        if area != sum {
            return Err(format!("{what}: L·T is {area} ns, λ·W·T is {sum} ns over {count} requests"));
        }
        compared += u64::from(count > 0);
        Ok(())
    };
    let services = scenario.services.len();
    let asked = measures.asked(span);
    law("loads", Gauge::Asked, &mut asked.iter().map(|asked| (asked.arrived, asked.ended.get())))?;
    for (index, spec) in scenario.services.iter().enumerate() {
        let lines = measures.served_ever(party(index));
        law(
            &format!("service {}", spec.name.value),
            Gauge::Inside(party(index)),
            &mut lines.map(|line| (line.arrived, line.ended.get())),
        )?;
        let waits = measures.served_ever(party(index)).filter_map(|line| Some((line.arrived, Some(line.began.get()?))));
        law(&format!("queue of {}", spec.name.value), Gauge::Queued(party(index)), &mut { waits })?;
    }
    let name = |party: Party| {
        let index = usize::from(party.0);
        let service = scenario.services.get(index).map(|spec| spec.name.value.as_str());
        service.unwrap_or_else(|| &scenario.load[index - services].name).to_owned()
    };
    for (from, to) in measures.links() {
        let lines = measures.calls(span, Some(from), None).filter(|call| call.meant == Some(to));
        law(
            &format!("link {} to {}", name(from), name(to)),
            Gauge::Between(from, to),
            &mut lines.map(|call| (call.arrived, call.ended.get())),
        )?;
    }
    if compared == 0 {
        return Err("nothing happened".to_owned());
    }
    Ok((compared, format!("{compared} services, queues, links and loads, to the nanosecond")))
}
