//! A scenario as the fast model runs it: every request that can be asked is a numbered question, every script a row of
//! steps, every set of passed-on headers a number.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;
use squall_policy::{Class, HeaderChange, Protocol, Rng};

use crate::arrivals::weights;
use crate::ledger::Party;
use crate::scenario::{Call, Distribution, Drawn, Request, Scenario, Step};
use crate::shared::Targets;

/// The headers that an application passes on from a request to the calls that it makes for it, besides those that every hop
/// writes anew.
const PASSED_ON: [&str; 2] = ["baggage", PRIORITY];
const PRIORITY: &str = "squall-priority";

/// Lines of headers that are passed on, by their names.
type Lines = Vec<(String, String)>;

/// A request that a load or an application asks.
pub(super) struct Question {
    pub(super) method: String,
    pub(super) authority: String,
    /// With query, as it is asked.
    pub(super) target: String,
    /// Where the query begins in `target`, if there is one.
    query_at: Option<usize>,
    /// Sent along, in lower case.
    headers: Lines,
    /// Sent along, drawn anew each time.
    drawn: Vec<(String, Drawn)>,
    pub(super) grpc: bool,
    pub(super) idempotent: bool,
    pub(super) bytes: u64,
    /// How much time its headers give it, besides what a caller's deadline leaves.
    pub(super) limit: Option<Duration>,
    /// The workload behind the host name.
    pub(super) to: Option<Party>,
}

impl Question {
    pub(super) fn path(&self) -> &str {
        &self.target[..self.query_at.unwrap_or(self.target.len())]
    }

    pub(super) fn query(&self) -> Option<&str> {
        self.query_at.map(|at| &self.target[at + 1..])
    }

    /// All lines with this name: what it brings from its cause, its own, what was drawn for it.
    pub(super) fn header(&self, name: &str, brought: &Brought) -> Option<String> {
        let lines = brought.lines.iter().chain(&self.headers).chain(&brought.drawn).filter(|(line, _)| line == name);
        let lines: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(","))
    }
}

/// A call of a script, besides its question.
pub(super) struct CallPlan {
    pub(super) question: u32,
    pub(super) timeout: Option<u64>,
    pub(super) tries: u32,
    pub(super) optional: bool,
    pub(super) repeat: u32,
    pub(super) fan_out: u32,
    pub(super) probability_ppm: u32,
}

/// A step of a script.
pub(super) enum Op {
    Sleep(Distribution),
    Call(u32),
    /// The programs that run at once.
    Parallel(Vec<u32>),
}

/// See the module.
pub(super) struct Plan {
    pub(super) questions: Vec<Question>,
    /// The first question of each load; its mix follows in order.
    pub(super) mixes: Vec<u32>,
    /// The weights of each load's mix.
    pub(super) weights: Vec<Vec<u32>>,
    pub(super) calls: Vec<CallPlan>,
    pub(super) programs: Vec<Vec<Op>>,
    /// The program of each service's versions' routes.
    scripts: Vec<Vec<Vec<u32>>>,
    /// What requests bring along; number 0 is nothing.
    brought: Vec<Brought>,
    known: BTreeMap<(Lines, Lines), u32>,
}

impl Plan {
    pub(super) fn new(scenario: &Scenario, targets: &Targets) -> Self {
        let mut plan = Self {
            questions: Vec::new(),
            mixes: Vec::new(),
            weights: scenario.load.iter().map(|load| weights(&load.mix)).collect(),
            calls: Vec::new(),
            programs: Vec::new(),
            scripts: Vec::new(),
            brought: vec![Brought::default()],
            known: BTreeMap::from([(Default::default(), 0)]),
        };
        let grpc = |to: Option<Party>| to.is_some_and(|to| scenario.services[usize::from(to.0)].grpc);
        for load in &scenario.load {
            plan.mixes.push(number(plan.questions.len()));
            let to = targets.find(&load.namespace, &load.to.value);
            for Request { method, path, headers, drawn, request_bytes, .. } in &load.mix {
                let sent = Sent { host: &load.to.value, method, path, headers, drawn, bytes: *request_bytes };
                plan.questions.push(question(&sent, to, grpc(to), true));
            }
        }
        for service in &scenario.services {
            let mut versions = Vec::new();
            for version in &service.versions {
                let mut routes = Vec::new();
                for route in &version.routes {
                    let program = plan.program(&route.steps, &mut |call: &Call| {
                        let to = targets.find(&service.namespace, &call.host.value);
                        let Call { host, method, path, headers, drawn, request_bytes, .. } = call;
                        let sent = Sent { host: &host.value, method, path, headers, drawn, bytes: *request_bytes };
                        question(&sent, to, grpc(to), false)
                    });
                    routes.push(program);
                }
                versions.push(routes);
            }
            plan.scripts.push(versions);
        }
        plan
    }

    fn program(&mut self, steps: &[Step], ask: &mut dyn FnMut(&Call) -> Question) -> u32 {
        let ops = steps
            .iter()
            .map(|step| match step {
                Step::Sleep(span) => Op::Sleep(span.clone()),
                Step::Call(call) => {
                    self.questions.push(ask(call));
                    self.calls.push(CallPlan {
                        question: number(self.questions.len() - 1),
                        timeout: call.timeout.map(nanos),
                        tries: call.tries,
                        optional: call.optional,
                        repeat: call.repeat,
                        fan_out: call.fan_out,
                        probability_ppm: call.probability_ppm,
                    });
                    Op::Call(number(self.calls.len() - 1))
                }
                Step::Parallel(branches) => {
                    Op::Parallel(branches.iter().map(|branch| self.program(branch, ask)).collect())
                }
            })
            .collect();
        self.programs.push(ops);
        number(self.programs.len() - 1)
    }

    /// The program of a route of a version of a service.
    pub(super) fn script(&self, service: Party, version: usize, route: usize) -> u32 {
        self.scripts[usize::from(service.0)][version][route]
    }

    /// What a request brings along.
    pub(super) fn brought(&self, number: u32) -> &Brought {
        &self.brought[number as usize]
    }

    /// Draws the headers of one request that say so, besides what it brings from its cause.
    pub(super) fn draw(&mut self, question: u32, brought: u32, dice: &mut Rng) -> u32 {
        let drawn = &self.questions[question as usize].drawn;
        if drawn.is_empty() {
            return brought;
        }
        let drawn = drawn.iter().map(|(name, drawn)| (name.clone(), drawn.draw(dice))).collect();
        self.keep(self.brought[brought as usize].lines.clone(), drawn)
    }

    /// What an application that gets this question, with what it brings, passes on after a route has changed it.
    pub(super) fn pass_on(&mut self, question: u32, number: u32, changes: &[HeaderChange]) -> u32 {
        let own = &self.questions[question as usize].headers;
        let Brought { lines, drawn, .. } = &self.brought[number as usize];
        let is = |name: &str| PASSED_ON.contains(&name);
        let is_plain = !changes.iter().any(|change| is(changed(change))) && !own.iter().any(|(name, _)| is(name));
        if is_plain && drawn.is_empty() {
            return number;
        }
        let mut lines = lines.clone();
        lines.extend(own.iter().chain(drawn).filter(|(name, _)| is(name)).cloned());
        for change in changes.iter().filter(|change| is(changed(change))) {
            match change {
                HeaderChange::Set { name, value } => {
                    lines.retain(|(line, _)| line != name);
                    lines.push((name.clone(), value.clone()));
                }
                HeaderChange::Add { name, value } => lines.push((name.clone(), value.clone())),
                HeaderChange::Remove { name } => lines.retain(|(line, _)| line != name),
            }
        }
        self.keep(lines, Vec::new())
    }

    fn keep(&mut self, lines: Lines, drawn: Lines) -> u32 {
        let key = (lines, drawn);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let new = number(self.brought.len());
        let class = key.0.iter().find(|(name, _)| name == PRIORITY).and_then(|(_, value)| Class::parse(value));
        let (lines, drawn) = key.clone();
        self.brought.push(Brought { lines, drawn, class: class.unwrap_or_default() });
        self.known.insert(key, new);
        new
    }
}

/// What a request brings along, besides its question.
#[derive(Default)]
pub(super) struct Brought {
    /// From the request it is made for.
    lines: Lines,
    /// Drawn for it.
    drawn: Lines,
    /// How much it matters.
    pub(super) class: Class,
}

/// The header that a change is about.
pub(super) fn changed(change: &HeaderChange) -> &str {
    match change {
        HeaderChange::Set { name, .. } | HeaderChange::Add { name, .. } | HeaderChange::Remove { name } => name,
    }
}

/// What is asked, as a scenario says it.
struct Sent<'s> {
    host: &'s str,
    method: &'s str,
    path: &'s str,
    headers: &'s [(String, String)],
    drawn: &'s [(String, Drawn)],
    bytes: u64,
}

fn question(sent: &Sent<'_>, to: Option<Party>, grpc: bool, by_load: bool) -> Question {
    let Sent { host, method, path, headers, drawn, bytes } = *sent;
    let headers: Vec<(String, String)> =
        headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect();
    let value = |wanted: &str| headers.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
    // Applications write the time that is left anew; load generators send what the scenario says.
    let expected = value("x-envoy-expected-rq-timeout-ms").filter(|_| by_load).and_then(|ms| ms.parse().ok());
    let expected = expected.filter(|ms| *ms > 0).map(Duration::from_millis);
    Question {
        idempotent: Method::from_bytes(method.as_bytes()).is_ok_and(|method| method.is_idempotent()),
        method: method.to_owned(),
        authority: host.to_owned(),
        target: path.to_owned(),
        query_at: path.find('?'),
        headers,
        drawn: drawn.iter().map(|(name, drawn)| (name.to_ascii_lowercase(), drawn.clone())).collect(),
        grpc,
        bytes,
        limit: expected,
        to,
    }
}

/// Whether a service's callers reuse one connection for many requests.
pub(super) fn shares_connections(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Http1 | Protocol::Tcp => false,
        Protocol::Http2 => true,
    }
}

/// A span in whole nanoseconds, at most 584 years.
pub(super) fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn number(index: usize) -> u32 {
    u32::try_from(index).expect("scenarios have fewer than 2^32 of anything")
}
