//! `squall new`: a first scenario with its manifests, from flags or from answers on a terminal.

mod random;

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::time::Duration;

use squall_control::{closest, units};

use crate::draft::{Draft, Load, NotWritten, Service, Step, label};
use crate::exit::Exit;
use crate::numbers;
use crate::screen::Screen;

/// Write a first scenario with its manifests: a commented question that passes at once
///
/// DIR gets `scenario.yaml`, which asks whether users notice that one replica crashes, and `mesh.yaml`, the manifests that a cluster would
/// get: a Service, an HTTPRoute with time-outs and a TrafficPolicy with retries for each service. Both are yours to change; comments say
/// what is what, `squall explain FIELD` says more.
///
/// On a terminal and without --service or --call it asks. Services that nobody calls are where load arrives. Files that are there are left alone,
/// unless --force is given.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  squall new                                         asks, and writes to shop/
  squall new --service front --service stock --call front=stock --out shop
  squall new --call front=catalog,cart --call cart=db --rate 200/s --replicas 3
  squall new --call front=ads+catalog,cart           ads and catalog at once, then cart
  squall new --random 30 --depth 5 --seed 7          thirty services, drawn

What --random draws:
  who calls whom    a tree with heavy-tailed fan-outs; one service in twenty is shared by many, as in
                    Luo et al., Characterizing Microservice Dependency and Performance, SoCC 2021
  calls             half always, the others for every second or tenth request; some optional, some
                    at once
  own times         lognormal, medians of 1 to 8 ms, 99th percentiles 3 to 8 times as long
  The same numbers and seed give the same files on every machine.

Exit codes:
  0  both files are written
  2  the arguments are wrong, or files are in the way
  4  nothing can be written there (a full disk, say)")]
pub(crate) struct NewArgs {
    /// A service. Without any: those that --call names
    #[arg(long = "service", short = 's', value_name = "NAME")]
    services: Vec<String>,

    /// Whom a service calls, one after the other (`,`) or at once (`+`)
    #[arg(long = "call", short = 'c', value_name = "A=B,C+D")]
    calls: Vec<String>,

    /// Requests per second, Poisson, at each service that nobody calls [default: 100/s; --random: 1 to 100/s by its size]
    #[arg(long, value_name = "RATE", value_parser = crate::args::rate)]
    rate: Option<u64>,

    /// Pods of each service [default: 2; --random: 2 or 3]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    replicas: Option<u32>,

    /// Instead of services and calls: so many, drawn at random (2 to 1000)
    #[arg(long, value_name = "N", conflicts_with_all = ["services", "calls"], value_parser = clap::value_parser!(u32).range(2..=1000))]
    random: Option<u32>,

    /// How many calls deep it may be, 1 to 20 [default: 4]
    #[arg(long, value_name = "D", requires = "random", value_parser = clap::value_parser!(u32).range(1..=20))]
    depth: Option<u32>,

    /// Which one is drawn [default: 1]
    #[arg(long, value_name = "S", requires = "random")]
    seed: Option<u64>,

    /// The name of the scenario and of the namespace
    #[arg(long, value_name = "NAME", default_value = "shop")]
    name: String,

    /// Where both files go [default: NAME]
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Write over files that are there
    #[arg(long)]
    force: bool,
}

/// What the scenario is about.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    services: Vec<(String, Vec<Step>)>,
    rate_milli: u64,
    replicas: u32,
}

pub(crate) fn run(args: &NewArgs, screen: &mut Screen) -> Exit {
    let directory = args.out.clone().unwrap_or_else(|| PathBuf::from(&args.name));
    let drafted = if let Some(services) = args.random {
        let (depth, seed) = (args.depth.unwrap_or(4), args.seed.unwrap_or(1));
        let wish = random::Wish { services, depth, seed, rate_milli: args.rate, replicas: args.replicas };
        named(&args.name).map(|()| random::draft(&args.name, wish))
    } else {
        told(args, screen).and_then(|wanted| draft(&args.name, &wanted))
    };
    let written = drafted.map_err(NotWritten::from).and_then(|draft| {
        let paths = draft.write(&directory, args.force, screen)?;
        Ok((draft, paths))
    });
    match written {
        Ok((draft, paths)) => {
            for path in &paths {
                screen.say(&format!("wrote {}", path.display()));
            }
            let scenario = paths.first().map(|path| path.display().to_string()).unwrap_or_default();
            screen.say(&format!("\n{}. Next:\n", numbers::count(draft.services.len(), "service")));
            screen.say_whole(&format!("  squall test {scenario} --seeds 1..20"));
            screen.say_whole(&format!("  squall tune {scenario} --auto"));
            screen.say("  squall explain services");
            Exit::Pass
        }
        Err(why) => why.told(screen),
    }
}

/// What flags or answers say.
fn told(args: &NewArgs, screen: &mut Screen) -> Result<Wanted, String> {
    match args.services.is_empty() && args.calls.is_empty() {
        false => wanted(&args.services, &args.calls, args.rate.unwrap_or(100_000), args.replicas.unwrap_or(2)),
        true if io::stdin().is_terminal() => asked(&mut io::stdin().lock(), args, screen),
        true => {
            Err("no service is named: give --service NAME, --call A=B or --random N (on a terminal `squall new` asks)"
                .to_owned())
        }
    }
}

/// That this can be the name of a scenario.
fn named(name: &str) -> Result<(), String> {
    match label(name) {
        near if near == name => Ok(()),
        near => Err(format!("`{name}` cannot be a name: lower-case letters, digits and `-`, such as `{near}`")),
    }
}

/// Services and calls as the flags name them.
fn wanted(services: &[String], calls: &[String], rate_milli: u64, replicas: u32) -> Result<Wanted, String> {
    let mut named: Vec<(String, Vec<Step>)> = Vec::new();
    for name in services.iter().flat_map(|list| list.split(',')) {
        let name = service_name(name)?;
        if named.iter().all(|(known, _)| *known != name) {
            named.push((name, Vec::new()));
        }
    }
    let declared = !named.is_empty();
    let mut index = |name: &str| -> Result<usize, String> {
        let name = service_name(name)?;
        if let Some(at) = named.iter().position(|(known, _)| *known == name) {
            return Ok(at);
        }
        if declared {
            let known: Vec<&str> = named.iter().map(|(name, _)| name.as_str()).collect();
            let near = closest(&name, &known).map_or(String::new(), |near| format!("; did you mean `{near}`?"));
            return Err(format!("`{name}` is called, but no --service is called so{near}"));
        }
        named.push((name, Vec::new()));
        Ok(named.len() - 1)
    };
    let mut found: Vec<(usize, Vec<Step>)> = Vec::new();
    for call in calls {
        let (from, to) =
            call.split_once('=').ok_or_else(|| format!("`{call}` is no call: write --call front=catalog,cart"))?;
        let from = index(from)?;
        let mut steps = Vec::new();
        for step in to.split(',') {
            let mut at_once = Vec::new();
            for name in step.split('+') {
                index(name)?;
                at_once.push(Step::Call(service_name(name)?, String::new()));
            }
            steps.push(match at_once.len() {
                1 => at_once.remove(0),
                _ => Step::Parallel(at_once.into_iter().map(|step| vec![step]).collect()),
            });
        }
        found.push((from, steps));
    }
    for (from, steps) in found {
        named[from].1.extend(steps);
    }
    Ok(Wanted { services: named, rate_milli, replicas })
}

fn service_name(text: &str) -> Result<String, String> {
    let name = text.trim();
    if !name.is_empty() && label(name) == name {
        return Ok(name.to_owned());
    }
    Err(format!("`{name}` cannot be a service's name: lower-case letters, digits and `-`, such as `{}`", label(name)))
}

/// Asks for everything that no flag says. An empty answer is the default.
fn asked(answers: &mut impl BufRead, args: &NewArgs, screen: &mut Screen) -> Result<Wanted, String> {
    let mut ask = |question: &str, default: &str| -> Result<String, String> {
        screen.say(&format!("{question} [{default}]"));
        let mut line = String::new();
        let length = answers.read_line(&mut line).map_err(|error| format!("cannot read the answer: {error}"))?;
        if length == 0 {
            return Err("no more answers: nothing was written".to_owned());
        }
        Ok(if line.trim().is_empty() { default.to_owned() } else { line.trim().to_owned() })
    };
    let services = ask("Which services are there? The first is where requests arrive.", "front, catalog, cart")?;
    let services: Vec<String> = services.split([',', ' ']).filter(|name| !name.is_empty()).map(str::to_owned).collect();
    let mut calls = Vec::new();
    for (nth, name) in services.iter().enumerate() {
        let others: Vec<&str> = services[nth + 1..].iter().map(String::as_str).collect();
        if others.is_empty() && nth > 0 {
            continue;
        }
        let default = if nth == 0 && !others.is_empty() { others.join(", ") } else { "nobody".to_owned() };
        let called =
            ask(&format!("Whom does {name} call? `a, b`: one after the other; `a+b`: at once; `nobody`."), &default)?;
        if called != "nobody" {
            calls.push(format!("{name}={}", called.replace(' ', "")));
        }
    }
    let rate_milli = match args.rate {
        Some(rate) => rate,
        None => crate::args::rate(&ask("How many requests per second?", "100/s")?)?,
    };
    let replicas = match args.replicas {
        Some(replicas) => replicas,
        None => {
            let text = ask("How many pods has each service?", "2")?;
            text.parse()
                .ok()
                .filter(|count| (1..=100).contains(count))
                .ok_or_else(|| format!("`{text}` is not 1 to 100"))?
        }
    };
    wanted(&services, &calls, rate_milli, replicas)
}

/// The longest that a request may take, in the 99th percentiles of all that it asks.
const LONGEST_MS: u64 = 60_000;
/// What a try of a call takes beside the service itself: there and back over a link of 1 ms each way.
const ON_THE_WAY_MS: u64 = 2;
/// The median and 99th percentile of a service's own time.
const OWN_MS: (u64, u64) = (4, 20);

/// The scenario of these services.
fn draft(name: &str, wanted: &Wanted) -> Result<Draft, String> {
    if wanted.services.is_empty() {
        return Err("a mesh needs one service or more".to_owned());
    }
    named(name)?;
    let mut services: Vec<Service> = wanted
        .services
        .iter()
        .map(|(name, steps)| Service {
            name: name.clone(),
            replicas: wanted.replicas,
            port: 8080,
            steps: steps.clone(),
            retries: true,
            ..Service::default()
        })
        .collect();
    let draft = Draft { services: services.clone(), ..Draft::default() };
    if let Some(circle) = draft.circle() {
        return Err(format!("calls go in a circle: {}", circle.join(" calls ")));
    }
    let called: Vec<String> = services
        .iter()
        .flat_map(|service| service.calls().into_iter().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let entries: Vec<String> =
        services.iter().map(|service| service.name.clone()).filter(|name| !called.contains(name)).collect();
    // How often a service is asked per request that arrives, and how long its answers take at worst.
    let mut known = Weights { services: &services, known: BTreeMap::new() };
    let weights: Vec<Weight> = services.iter().map(|service| known.of(&service.name)).collect();
    let worst = entries.iter().map(|entry| known.of(entry).p99_ms).max().unwrap_or(OWN_MS.1);
    if worst > LONGEST_MS {
        let (worst, longest) = (numbers::span(Duration::from_millis(worst)), Duration::from_millis(LONGEST_MS));
        return Err(format!(
            "with so many calls one after the other a request takes {worst}, and more than {longest:?} makes no scenario"
        ));
    }
    let visits: Vec<u64> = {
        let visits = visits(&entries, &services);
        services.iter().map(|service| visits[service.name.as_str()]).collect()
    };
    for ((service, weight), visits) in services.iter_mut().zip(&weights).zip(visits) {
        service.entry = entries.len() == 1 && service.name == entries[0];
        let busy = wanted.rate_milli.saturating_mul(visits).saturating_mul(weight.mean_ms) / 1_000_000;
        let slots = (busy * 4 / u64::from(wanted.replicas)).max(8).next_power_of_two().min(1_000_000);
        service.fields = vec![
            (format!("slots: {slots}"), "requests that a pod serves at once; the rest wait".to_owned()),
            (
                format!("time: {{p50: {}ms, p99: {}ms}}", OWN_MS.0, OWN_MS.1),
                "its own time per request, without its calls".to_owned(),
            ),
        ];
        let attempt = round_up(weight.p99_ms * 4);
        service.timeouts =
            Some((units::show(Duration::from_millis(attempt * 3)), units::show(Duration::from_millis(attempt))));
    }
    let rate = rate_text(wanted.rate_milli);
    let loads = entries
        .iter()
        .map(|entry| Load {
            to: entry.clone(),
            arrivals: format!("rate: {rate}"),
            mix: Vec::new(),
            note: String::new(),
        })
        .collect();
    // A leaf, so that the crash has callers to notice it.
    let victim = services
        .iter()
        .rev()
        .find(|service| service.steps.is_empty())
        .map_or(entries[0].clone(), |leaf| leaf.name.clone());
    let Outcome { question, fault, expect } = outcome(&victim, wanted.replicas, round_up(worst * 3));
    Ok(Draft {
        name: name.to_owned(),
        question: vec![question],
        namespace: name.to_owned(),
        duration: "30s".to_owned(),
        services,
        loads,
        faults: vec![fault],
        expect,
        ..Draft::default()
    })
}

/// What is asked of a mesh.
struct Outcome {
    question: String,
    /// With its comment.
    fault: (String, String),
    /// Each with its comment.
    expect: Vec<(String, String)>,
}

/// That nobody notices what happens to `victim`, and that answers take no more than `limit_ms`.
fn outcome(victim: &str, replicas: u32, limit_ms: u64) -> Outcome {
    let (question, comment, fault) = match replicas {
        1 => (
            format!("Do users notice that {victim} is three times as slow for five seconds?"),
            "Its service time is three times as long.",
            format!("{{at: 10s, for: 5s, slow: {{target: {victim}, by: 3x}}}}"),
        ),
        _ => (
            format!("Do users notice that one of {replicas} pods of {victim} crashes?"),
            "Peers see resets at first, then refused connections; the pod is back after five seconds.",
            format!("{{at: 10s, for: 5s, crash: {{target: \"{victim}[0]\"}}}}"),
        ),
    };
    let expect = [
        (
            "Of all requests, failures included.",
            format!("{{overall: 'successRate >= 0.99 && p99 < duration(\"{limit_ms}ms\")'}}"),
        ),
        (
            "Tries ÷ calls, of all sidecars: more means that retries make load of their own.",
            "{overall: 'amplification <= 1.2'}".to_owned(),
        ),
        (
            "Five seconds after the fault everything is as before.",
            "{afterFaults: 5s, that: 'successRate >= 0.999'}".to_owned(),
        ),
    ];
    let expect = expect.map(|(comment, entry)| (comment.to_owned(), entry)).to_vec();
    Outcome { question, fault: (comment.to_owned(), fault), expect }
}

/// How long the answers of a service take, calls included.
#[derive(Clone, Copy, Default)]
struct Weight {
    mean_ms: u64,
    p99_ms: u64,
}

/// The same for every service, each looked at once. Calls go in no circle.
struct Weights<'s> {
    services: &'s [Service],
    known: BTreeMap<&'s str, Weight>,
}

impl<'s> Weights<'s> {
    fn of(&mut self, name: &str) -> Weight {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        let Some(service) = self.services.iter().find(|service| service.name == name) else {
            return Weight { mean_ms: OWN_MS.0 + 2, p99_ms: OWN_MS.1 + ON_THE_WAY_MS };
        };
        let below = self.steps(&service.steps);
        let found = Weight {
            mean_ms: below.mean_ms.saturating_add(OWN_MS.0 + 2),
            p99_ms: below.p99_ms.saturating_add(OWN_MS.1 + ON_THE_WAY_MS),
        };
        self.known.insert(&service.name, found);
        found
    }

    fn steps(&mut self, steps: &[Step]) -> Weight {
        let mut sum = Weight::default();
        for step in steps {
            let one = match step {
                Step::Call(name, _) => {
                    let called = self.of(name);
                    Weight { mean_ms: called.mean_ms.saturating_add(ON_THE_WAY_MS), ..called }
                }
                Step::Sleep(_) => Weight::default(),
                Step::Parallel(branches) => {
                    let all: Vec<Weight> = branches.iter().map(|branch| self.steps(branch)).collect();
                    let most = |of: fn(&Weight) -> u64| all.iter().map(of).max().unwrap_or(0);
                    Weight { mean_ms: most(|one| one.mean_ms), p99_ms: most(|one| one.p99_ms) }
                }
            };
            sum = Weight {
                mean_ms: sum.mean_ms.saturating_add(one.mean_ms),
                p99_ms: sum.p99_ms.saturating_add(one.p99_ms),
            };
        }
        sum
    }
}

/// How often each service is asked when each of `entries` is asked once.
fn visits<'s>(entries: &[String], services: &'s [Service]) -> BTreeMap<&'s str, u64> {
    fn called<'s>(steps: &'s [Step], into: &mut Vec<&'s str>) {
        for step in steps {
            match step {
                Step::Call(name, _) => into.push(name),
                Step::Sleep(_) => {}
                Step::Parallel(branches) => branches.iter().for_each(|branch| called(branch, into)),
            }
        }
    }
    let calls: BTreeMap<&str, Vec<&str>> = services
        .iter()
        .map(|service| {
            let mut all = Vec::new();
            called(&service.steps, &mut all);
            (service.name.as_str(), all)
        })
        .collect();
    // Callers before those whom they call.
    let mut waits: BTreeMap<&str, usize> = calls.keys().map(|name| (*name, 0)).collect();
    for name in calls.values().flatten() {
        if let Some(count) = waits.get_mut(name) {
            *count += 1;
        }
    }
    let mut visits: BTreeMap<&str, u64> =
        calls.keys().map(|name| (*name, u64::from(entries.iter().any(|entry| entry == name)))).collect();
    let mut ready: Vec<&str> = waits.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    while let Some(name) = ready.pop() {
        let here = visits[name];
        for to in &calls[name] {
            if let (Some(there), Some(count)) = (visits.get_mut(to), waits.get_mut(to)) {
                *there = there.saturating_add(here);
                *count -= 1;
                if *count == 0 {
                    ready.push(to);
                }
            }
        }
    }
    visits
}

/// To two digits, as people write numbers.
fn round_up(number: u64) -> u64 {
    let mut scale = 1;
    while number / scale >= 100 {
        scale *= 10;
    }
    let step = scale * 5;
    number.div_ceil(step) * step
}

/// `100/s`, `0.5/s`.
pub(crate) fn rate_text(milli: u64) -> String {
    match milli % 1000 {
        0 => format!("{}/s", milli / 1000),
        part => format!("{}.{}/s", milli / 1000, format!("{part:03}").trim_end_matches('0')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(services: &[&str], calls: &[&str]) -> Result<Wanted, String> {
        let own = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        wanted(&own(services), &own(calls), 100_000, 2)
    }

    fn args() -> NewArgs {
        NewArgs {
            services: vec![],
            calls: vec![],
            rate: None,
            replicas: None,
            random: None,
            depth: None,
            seed: None,
            name: "shop".to_owned(),
            out: None,
            force: false,
        }
    }

    #[test]
    fn answers_come_to_the_same_as_flags() {
        let mut answers = io::Cursor::new("front cart db\ncart\ndb\n200/s\n3\n");
        let found = asked(&mut answers, &args(), &mut Screen::plain());
        let flags = told(&["front", "cart", "db"], &["front=cart", "cart=db"]);
        assert_eq!(found, flags.map(|flags| Wanted { rate_milli: 200_000, replicas: 3, ..flags }));
        let mut silence = io::Cursor::new("\n\n\n\n\n");
        let found = asked(&mut silence, &args(), &mut Screen::plain());
        assert_eq!(found, told(&["front", "catalog", "cart"], &["front=catalog,cart"]));
        assert!(asked(&mut io::Cursor::new("front\n"), &args(), &mut Screen::plain()).is_err());
    }

    #[test]
    fn mistakes_in_flags_say_what_to_write() {
        let error = |services: &[&str], calls: &[&str]| {
            told(services, calls).and_then(|wanted| draft("shop", &wanted)).expect_err("a mistake")
        };
        assert!(error(&["front", "catalog"], &["front=catlog"]).contains("did you mean `catalog`?"));
        assert!(error(&["Front End"], &[]).contains("such as `front-end`"));
        assert!(error(&[], &["front"]).contains("write --call front=catalog,cart"));
        assert_eq!(error(&[], &["a=b", "b=a"]), "calls go in a circle: a calls b calls a");
    }

    #[test]
    fn numbers_are_rounded_as_people_write_them() {
        assert_eq!([3, 88, 132, 1001].map(round_up), [5, 90, 150, 1500]);
        assert_eq!(rate_text(100_000), "100/s");
        assert_eq!(rate_text(1_250), "1.25/s");
    }
}
