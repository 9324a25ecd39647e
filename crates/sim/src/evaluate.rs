//! Evaluates expectations: CEL over the measures of a window, or over the gauges of an instant.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cel::extractors::Arguments;
use cel::{Context, ExecutionError, Program, Value};
use squall_policy::Instant;

use crate::check::CheckResult;
use crate::ledger::{Gauge, Party};
use crate::measure::{Latency, Recovery};
use crate::note;
use crate::outcome::RunError;
use crate::scenario::variables::VARIABLES;
use crate::scenario::{Expectation, Window};
use crate::window::{Measures, Span, latency, ratio};

/// How often an `always` is looked at, besides the moments at which a fault begins or ends.
const ALWAYS_EVERY: Duration = Duration::from_millis(10);

/// Checks every expectation. `turns`: when faults began and ended, in world time.
///
/// # Errors
/// [`RunError::Check`]: an expression fails to evaluate, or gives no bool.
pub(crate) fn evaluate(
    expectations: &[Expectation],
    measures: &Arc<Measures>,
    turns: &[Instant],
) -> Result<Vec<CheckResult>, RunError> {
    expectations.iter().map(|expectation| check(expectation, measures, turns)).collect()
}

fn check(expectation: &Expectation, measures: &Arc<Measures>, turns: &[Instant]) -> Result<CheckResult, RunError> {
    let that = expectation.that.value.clone();
    let broken = |why: String| RunError::Check { that: that.clone(), why };
    let program = Program::compile(&that).map_err(|error| broken(error.to_string()))?;
    let mut scope = Scope::new(&program, measures);
    let whole = measures.whole;
    let result = |passed, was, at: Option<Instant>| CheckResult {
        when: when(expectation.window),
        that: that.clone(),
        passed,
        was,
        at: at.map(|at| Instant::ZERO + at.since(whole.from)),
    };
    if expectation.window == Window::Always {
        let mut instants: Vec<Instant> = (0..)
            .map(|nth| whole.from + ALWAYS_EVERY * nth)
            .take_while(|at| *at <= whole.to)
            .chain(turns.iter().copied())
            .collect();
        instants.sort_unstable();
        let mut was = Vec::new();
        for at in instants {
            let passed;
            (passed, was) = scope.holds(&program, Look::At(at)).map_err(broken)?;
            if !passed {
                return Ok(result(false, was, Some(at)));
            }
        }
        return Ok(result(true, was, None));
    }
    let Some(span) = span_of(expectation.window, measures) else {
        let text = "the window is empty: faults leave no time for it".to_owned();
        return Ok(result(false, vec![("window".to_owned(), text)], Some(whole.to)));
    };
    let (passed, was) = scope.holds(&program, Look::Over(span)).map_err(broken)?;
    let at = (expectation.window != Window::Overall).then_some(span.to);
    Ok(result(passed, was, at))
}

/// The span of a window; `None`: it is empty, or no window.
fn span_of(window: Window, measures: &Measures) -> Option<Span> {
    let whole = measures.whole;
    let span = match window {
        Window::Always => return None,
        Window::Overall => whole,
        Window::Between(from, to) => Span { from: whole.from + from, to: (whole.from + to).min(whole.to) },
        Window::DuringFaults => measures.faults?,
        Window::AfterFaults(after) => {
            let end = measures.faults.map_or(whole.from, |faults| faults.to);
            Span { from: end + after, to: whole.to }
        }
    };
    (span.from < span.to).then_some(span)
}

/// The value of a measure over a window: a number, the seconds of a duration, or 1 for true.
///
/// # Errors
/// [`RunError::Check`]: the expression fails to evaluate, or the window is empty.
pub(crate) fn value_of(that: &str, window: Window, measures: &Arc<Measures>) -> Result<f64, RunError> {
    let broken = |why: String| RunError::Check { that: that.to_owned(), why };
    let program = Program::compile(that).map_err(|error| broken(error.to_string()))?;
    let span = span_of(window, measures).ok_or_else(|| broken("its window is empty".to_owned()))?;
    let value = Scope::new(&program, measures).value(&program, Look::Over(span)).map_err(broken)?;
    if let Value::Float(number) = value {
        Ok(number)
    } else if let Value::Int(number) = value {
        Ok(number as f64)
    } else if let Value::Bool(holds) = value {
        Ok(f64::from(holds))
    } else if let Value::Duration(span) = value {
        let nanos = span.num_nanoseconds().ok_or_else(|| broken("a duration of more than 292 years".to_owned()))?;
        Ok(nanos as f64 / 1e9)
    } else {
        Err(broken(format!("it gives {value:?}, which is no number")))
    }
}

fn when(window: Window) -> String {
    let span = |span: Duration| {
        let millis = span.as_millis();
        if millis.is_multiple_of(1000) { format!("{}s", millis / 1000) } else { format!("{millis}ms") }
    };
    match window {
        Window::Always => "always".to_owned(),
        Window::Overall => "overall".to_owned(),
        Window::Between(from, to) => format!("{} to {}", span(from), span(to)),
        Window::DuringFaults => "duringFaults".to_owned(),
        Window::AfterFaults(after) => format!("afterFaults {}", span(after)),
    }
}

/// What an expression is about.
#[derive(Clone, Copy)]
enum Look {
    Over(Span),
    At(Instant),
}

/// What CEL's functions see.
struct Seer {
    measures: Arc<Measures>,
    look: Mutex<Look>,
    /// What was looked at, as written, and its value for people.
    seen: Mutex<Vec<(String, String)>>,
}

/// Spans inside an application.
#[derive(Clone, Copy)]
enum List {
    Waits,
    Stays,
}

/// The arguments of a call.
#[derive(Default)]
struct Asked {
    parties: Vec<Party>,
    number: Option<i64>,
    share: Option<f64>,
    span: Option<Duration>,
}

struct Scope {
    context: Context<'static, 'static>,
    seer: Arc<Seer>,
    plain: Vec<&'static str>,
}

impl Scope {
    fn new(program: &Program, measures: &Arc<Measures>) -> Self {
        let seer = Arc::new(Seer {
            measures: Arc::clone(measures),
            look: Mutex::new(Look::Over(measures.whole)),
            seen: Mutex::default(),
        });
        let references = program.references();
        let mut context = Context::default();
        let mut plain = Vec::new();
        let mut functions: Vec<&'static str> = Vec::new();
        for variable in VARIABLES {
            if variable.arguments.is_empty() {
                if references.has_variable(variable.name) {
                    plain.push(variable.name);
                }
            } else if references.has_function(variable.name) && !functions.contains(&variable.name) {
                functions.push(variable.name);
            }
        }
        for name in functions {
            let seer = Arc::clone(&seer);
            let function = move |Arguments(given): Arguments| -> Result<Value, ExecutionError> {
                seer.call(name, &given).map_err(|why| ExecutionError::function_error(name, why))
            };
            context.add_function(name, function).expect("no variable is called like a function of CEL's own");
        }
        Self { context, seer, plain }
    }

    /// What the program gives.
    fn value(&mut self, program: &Program, look: Look) -> Result<Value, String> {
        *self.seer.look.lock().unwrap_or_else(PoisonError::into_inner) = look;
        self.seer.seen.lock().unwrap_or_else(PoisonError::into_inner).clear();
        for name in &self.plain {
            let value = self.seer.call(name, &[])?;
            self.context.add_variable_from_value(*name, value);
        }
        program.execute(&self.context).map_err(|error| error.to_string())
    }

    /// Whether the program says true, and the values it was about.
    fn holds(&mut self, program: &Program, look: Look) -> Result<(bool, Vec<(String, String)>), String> {
        let value = self.value(program, look)?;
        let mut seen = std::mem::take(&mut *self.seer.seen.lock().unwrap_or_else(PoisonError::into_inner));
        seen.dedup();
        let Value::Bool(holds) = value else { return Err(format!("it gives {value:?}, not true or false")) };
        Ok((holds, seen))
    }
}

impl Seer {
    fn call(&self, name: &str, given: &[Value]) -> Result<Value, String> {
        let mut asked = Asked::default();
        for value in given {
            if let Value::String(text) = value {
                asked.parties.push(self.measures.party(text).ok_or_else(|| format!("`{text}` is no service"))?);
            } else if let Value::Int(number) = value {
                asked.number = Some(*number);
            } else if let Value::Float(share) = value {
                asked.share = Some(*share);
            } else if let Value::Duration(span) = value {
                asked.span = Some(span.to_std().map_err(|error| error.to_string())?);
            } else {
                return Err(format!("{value:?} is no argument"));
            }
        }
        let parties = &asked.parties;
        let look = *self.look.lock().unwrap_or_else(PoisonError::into_inner);
        let value = match look {
            Look::At(at) => self.gauge(name, parties, |gauge| self.measures.gauge_at(gauge, at)),
            Look::Over(span) => self
                .gauge(name, parties, |gauge| self.measures.gauge_max(gauge, span))
                .or_else(|| self.inside(name, &asked, span))
                .or_else(|| self.measure(name, parties, asked.number, span)),
        };
        let value = value.ok_or_else(|| format!("`{name}` cannot be asked like this here"))?;
        let arguments: Vec<String> = given.iter().map(shown).collect();
        let call = if arguments.is_empty() { name.to_owned() } else { format!("{name}({})", arguments.join(", ")) };
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if !seen.iter().any(|(known, _)| *known == call) {
            seen.push((call, shown(&value)));
        }
        Ok(value)
    }

    fn gauge(&self, name: &str, parties: &[Party], value: impl Fn(Gauge) -> i64) -> Option<Value> {
        let gauge = match (name, parties) {
            ("inFlight", []) => Gauge::Asked,
            ("inFlight", [service]) => Gauge::Inside(*service),
            ("queued", [service]) => Gauge::Queued(*service),
            _ => return None,
        };
        Some(Value::Int(value(gauge)))
    }

    /// Measures of what happened inside applications, of averages over time, and of breakers.
    fn inside(&self, name: &str, asked: &Asked, span: Span) -> Option<Value> {
        let measures = &self.measures;
        let one = || asked.parties.first().copied();
        let share = |part: usize, whole: usize| Value::Float(if whole == 0 { 0.0 } else { part as f64 / whole as f64 });
        let of = |list: List| self.latency(one()?, list, span);
        Some(match name {
            "slower" => Value::Float(measures.slower(span, asked.parties.first().copied(), asked.span?)),
            "regained" => {
                let row = usize::try_from(asked.number?).ok()?;
                let rest = || measures.faults.map_or(Duration::ZERO, |faults| measures.whole.to.since(faults.to));
                duration(measures.regained(asked.parties.first().copied(), asked.share?, row).unwrap_or_else(rest))
            }
            "seconds" => Value::Float(span.length().as_secs_f64()),
            "arrivals" => int(measures.served(span, one()?).count() as u64),
            "waited" => {
                let waits = measures.waits(span, one()?);
                share(waits.iter().filter(|wait| **wait > 0).count(), waits.len())
            }
            "lost" => {
                let service = one()?;
                let lost = measures.served(span, service).filter(|line| line.overflowed).count();
                share(lost, measures.served(span, service).count())
            }
            "conflicts" => int(measures.served(span, one()?).filter(|line| line.conflict).count() as u64),
            "waitMean" => duration(of(List::Waits)?.mean),
            "waitP50" => duration(of(List::Waits)?.p50),
            "waitP90" => duration(of(List::Waits)?.p90),
            "waitP99" => duration(of(List::Waits)?.p99),
            "waitP999" => duration(of(List::Waits)?.p999),
            "waitMax" => duration(of(List::Waits)?.max),
            "stayMean" => duration(of(List::Stays)?.mean),
            "stayP50" => duration(of(List::Stays)?.p50),
            "stayP90" => duration(of(List::Stays)?.p90),
            "stayP99" => duration(of(List::Stays)?.p99),
            "stayP999" => duration(of(List::Stays)?.p999),
            "stayMax" => duration(of(List::Stays)?.max),
            "inFlightMean" => {
                let gauge = match asked.parties.as_slice() {
                    [] => Gauge::Asked,
                    [service] => Gauge::Inside(*service),
                    [from, to] => Gauge::Between(*from, *to),
                    _ => return None,
                };
                Value::Float(measures.gauge_mean(gauge, span))
            }
            "queuedMean" => Value::Float(measures.gauge_mean(Gauge::Queued(one()?), span)),
            "limit" => int(u64::from(measures.limit(span, one()?).unwrap_or(0))),
            "trips" => int(measures.trips(span, one()?).0),
            "requestsPerTrip" => {
                let (trips, attempts) = measures.trips(span, one()?);
                Value::Float(if trips == 0 { 0.0 } else { attempts as f64 / trips as f64 })
            }
            _ => return None,
        })
    }

    /// The percentiles of a list of spans.
    fn latency(&self, of: Party, list: List, span: Span) -> Option<Latency> {
        Some(latency(match list {
            List::Waits => self.measures.waits(span, of),
            List::Stays => self.measures.stays(span, of),
        }))
    }

    fn measure(&self, name: &str, parties: &[Party], status: Option<i64>, span: Span) -> Option<Value> {
        let measures = &self.measures;
        let (from, to) = match parties {
            [] => (None, None),
            [to] => (None, Some(*to)),
            [from, to] => (Some(*from), Some(*to)),
            _ => return None,
        };
        let calls = || measures.calls(span, from, to);
        let load = parties.is_empty();
        // (requests, answered without error)
        let counts = || {
            if load {
                let asked = measures.asked(span);
                (asked.len() as u64, asked.iter().filter(|asked| asked.success).count() as u64)
            } else {
                calls().fold((0, 0), |(all, good), call| (all + 1, good + u64::from(call.success)))
            }
        };
        let spans = || {
            let spans = to.map_or_else(|| measures.latencies(span), |to| measures.call_latencies(span, to));
            latency(spans)
        };
        let span_of = |pick: fn(Latency) -> Duration| duration(pick(spans()));
        let (attempts, firsts) = Measures::attempts(calls());
        let requests = || calls().count() as u64;
        Some(match name {
            "requests" => int(counts().0),
            "successRate" => Value::Float(ratio(counts().1, counts().0)),
            "errorRate" => Value::Float(ratio(counts().0 - counts().1, counts().0.max(1))),
            "goodput" => Value::Float(counts().1 as f64 / span.length().as_secs_f64()),
            "p50" => span_of(|latency| latency.p50),
            "p90" => span_of(|latency| latency.p90),
            "p95" => span_of(|latency| latency.p95),
            "p99" => span_of(|latency| latency.p99),
            "p999" => span_of(|latency| latency.p999),
            "max" => span_of(|latency| latency.max),
            "mean" => span_of(|latency| latency.mean),
            "status" => {
                let is = |found: u16| Some(i64::from(found)) == status;
                let count = if load {
                    measures.asked(span).iter().filter(|asked| is(asked.status)).count()
                } else {
                    calls().filter(|call| is(call.status)).count()
                };
                int(count as u64)
            }
            "unanswered" => {
                let asked = measures.asked(span).iter();
                int(asked.filter(|asked| asked.gave_up || asked.ended.get().is_none()).count() as u64)
            }
            "amplification" if load => Value::Float(ratio(attempts, firsts)),
            "amplification" => Value::Float(ratio(attempts, requests())),
            "attempts" => int(attempts),
            "retries" => int(attempts - firsts),
            "refused" => int(calls().filter(|call| call.refused).count() as u64),
            "calls" => int(measures.app_calls(span, from?, to?).0),
            "failedCalls" => int(measures.app_calls(span, from?, to?).1),
            "overflowed" => int(measures.overflowed(span, to?)),
            "recovery" => duration(match measures.recovery() {
                Recovery::NoFault => Duration::ZERO,
                Recovery::After(span) => span,
                Recovery::Never => measures.faults.map_or(Duration::ZERO, |faults| measures.whole.to.since(faults.to)),
            }),
            _ => return None,
        })
    }
}

fn int(count: u64) -> Value {
    Value::Int(i64::try_from(count).unwrap_or(i64::MAX))
}

fn duration(span: Duration) -> Value {
    Value::Duration(chrono::Duration::nanoseconds(i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)))
}

/// A value for people: `0.412`, `31.2 ms`, `17`, `"catalog"`.
fn shown(value: &Value) -> String {
    if let Value::Float(number) = value {
        let text = format!("{number:.4}");
        let text = text.trim_end_matches('0');
        if text.ends_with('.') { format!("{text}0") } else { text.to_owned() }
    } else if let Value::Duration(span) = value {
        span.to_std().map_or_else(|_| span.to_string(), |span| note::Span(span).to_string())
    } else if let Value::Int(number) = value {
        number.to_string()
    } else if let Value::String(text) = value {
        format!("\"{text}\"")
    } else {
        format!("{value:?}")
    }
}
