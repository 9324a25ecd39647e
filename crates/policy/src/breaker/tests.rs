use super::*;
use crate::mesh::{SlowCalls, SuccessRate};

const SECOND: Duration = Duration::from_secs(1);

const CONFIG: Config = Config {
    consecutive_failures: Some(2),
    open_min: SECOND,
    open_max: Duration::from_secs(4),
    jitter_permille: 0,
    ..Config::DEFAULT
};

/// Nothing but a success rate below 70 % of 10 calls or more in 10 s.
const RATE: Config = Config {
    consecutive_failures: None,
    success_rate: Some(SuccessRate { below_permille: 700, window: Duration::from_secs(10), min_requests: 10 }),
    ..CONFIG
};

/// Nothing but more than 50 % slow of 4 calls or more in 10 s.
const SLOW: Config = Config {
    consecutive_failures: None,
    slow_calls: Some(SlowCalls {
        slower_than: SECOND,
        above_permille: 500,
        window: Duration::from_secs(10),
        min_requests: 4,
    }),
    ..CONFIG
};

fn at(second: u64) -> Instant {
    Instant::from_nanos(second * 1_000_000_000)
}

/// A breaker with its settings and dice, as its backend uses it.
struct Used {
    breaker: Breaker,
    config: Config,
    rng: Rng,
    /// The floor lets nothing open.
    kept: bool,
}

impl Used {
    fn new(config: Config) -> Self {
        Self { breaker: Breaker::new(), config, rng: Rng::from_seed(3), kept: false }
    }

    fn settle(&mut self, now: Instant, effect: Option<Effect>) -> Option<Transition> {
        match effect? {
            Effect::Closed => Some(Transition::Closed),
            Effect::Trips(why) => self.breaker.trip(now, why, self.kept, &self.config, &mut self.rng),
        }
    }

    fn judge(&mut self, now: Instant, permit: &Permit, verdict: Verdict) -> Option<Transition> {
        let effect = self.breaker.judge(now, permit.epoch(), verdict, &self.config);
        self.settle(now, effect)
    }

    fn time(&mut self, now: Instant, permit: &Permit, slow: bool) -> Option<Transition> {
        let effect = self.breaker.time(now, permit.epoch(), slow, &self.config);
        self.settle(now, effect)
    }

    /// One call, over at once.
    fn call(&mut self, now: Instant, verdict: Verdict) -> Option<Transition> {
        let (permit, _) = self.breaker.take(now, &self.config);
        let transition = self.judge(now, &permit, verdict);
        self.breaker.end(permit);
        transition
    }
}

/// Each word at its second: `ask`, `ok`, `fail`, `gone` (asked and judged at once), `slow` and `fast` (asked and timed, no
/// verdict), `late-ok`, `late-fail`, `late-slow` (a permit from the very beginning), `keep` and `let` (what the floor says
/// from now on). A number behind a word repeats it.
#[track_caller]
fn check(config: Config, script: &str, want: &[&str]) {
    let mut used = Used::new(config);
    let (early, _) = used.breaker.take(Instant::ZERO, &config);
    let mut seen = Vec::new();
    for line in script.split(", ") {
        let mut words = line.split(' ');
        let second: u64 = words.next().and_then(|word| word.parse().ok()).expect("a number of seconds");
        let word = words.next().expect("a word");
        let times: u32 = words.next().map_or(1, |times| times.parse().expect("a number of times"));
        let now = at(second);
        for _ in 0..times {
            let verdict = match word.trim_start_matches("late-") {
                "keep" | "let" => {
                    used.kept = word == "keep";
                    continue;
                }
                "ok" => Some(Verdict::Success),
                "fail" => Some(Verdict::NO_ANSWER),
                "gone" | "ask" => Some(Verdict::Nothing),
                "slow" | "fast" => None,
                other => panic!("what is {other}?"),
            };
            let slow = word.ends_with("slow");
            if word.starts_with("late-") {
                let transition = match verdict {
                    Some(verdict) => used.judge(now, &early, verdict),
                    None => used.time(now, &early, slow),
                };
                seen.extend(told(second, transition));
            } else if used.breaker.admits(now, &config) == Admits::No {
                seen.push(format!("{second} refused"));
            } else {
                let (permit, transition) = used.breaker.take(now, &config);
                seen.extend(told(second, transition));
                let transition = match verdict {
                    Some(verdict) => used.judge(now, &permit, verdict),
                    None => used.time(now, &permit, slow),
                };
                seen.extend(told(second, transition));
                if word != "ask" {
                    used.breaker.end(permit);
                }
            }
        }
    }
    assert_eq!(seen, want);
}

fn told(second: u64, transition: Option<Transition>) -> Option<String> {
    Some(match transition? {
        Transition::Opened { until, why } => format!("{second} open till {until}: {why}"),
        Transition::Refused { why } => format!("{second} kept: {why}"),
        Transition::HalfOpened => format!("{second} half-open"),
        Transition::Closed => format!("{second} closed"),
    })
}

#[test]
fn opens_after_failures_in_a_row_and_closes_after_a_probe() {
    check(
        CONFIG,
        "0 fail, 0 ok, 0 fail, 0 fail, 0 ask, 1 ok, 1 ok",
        &["0 open till 1.000: 2 failures in a row", "0 refused", "1 half-open", "1 closed"],
    );
}

#[test]
fn waits_twice_as_long_after_a_failed_probe_up_to_the_most() {
    check(
        CONFIG,
        "0 fail, 0 fail, 1 fail, 2 ask, 3 fail, 7 fail, 11 ok, 11 fail, 11 fail",
        &[
            "0 open till 1.000: 2 failures in a row",
            "1 half-open",
            "1 open till 3.000: 3 failures in a row",
            "2 refused",
            "3 half-open",
            "3 open till 7.000: 4 failures in a row",
            "7 half-open",
            "7 open till 11.000: 5 failures in a row",
            "11 half-open",
            "11 closed",
            "11 open till 12.000: 2 failures in a row",
        ],
    );
}

#[test]
fn late_answers_say_nothing() {
    check(
        CONFIG,
        "0 fail, 0 fail, 0 late-ok, 0 late-fail, 1 ask, 1 late-ok, 1 late-fail, 1 ok",
        &["0 open till 1.000: 2 failures in a row", "1 half-open", "1 refused"],
    );
}

#[test]
fn a_probe_whose_caller_left_makes_room_for_another() {
    check(
        CONFIG,
        "0 fail, 0 fail, 1 gone, 1 ok",
        &["0 open till 1.000: 2 failures in a row", "1 half-open", "1 closed"],
    );
}

#[test]
fn as_many_successes_as_probes_close_it() {
    let config = Config { probes: 2, ..CONFIG };
    let opened = "0 open till 1.000: 2 failures in a row";
    check(config, "0 fail, 0 fail, 1 ok, 1 ask, 1 ok", &[opened, "1 half-open", "1 closed"]);
    check(config, "0 fail, 0 fail, 1 ask, 1 ask, 1 ask", &[opened, "1 half-open", "1 refused"]);
}

#[test]
fn opens_when_too_few_of_enough_calls_succeed() {
    // 7 of 10 are not below 70 %; 7 of 11 are.
    check(RATE, "0 fail 3, 1 ok 7, 2 fail", &["2 open till 3.000: success rate 63 % of 11"]);
    check(RATE, "0 fail 9", &[]);
    check(RATE, "0 fail 9, 1 gone 5, 1 fail", &["1 open till 2.000: success rate 0 % of 10"]);
    // What is older than the window counts no more.
    check(RATE, "0 fail 9, 10 fail", &[]);
    // The tenth sample makes it enough, whatever it says.
    check(RATE, "0 fail 9, 1 ok", &["1 open till 2.000: success rate 10 % of 10"]);
}

#[test]
fn begins_to_count_anew_when_it_opens_and_when_it_closes() {
    check(
        RATE,
        "0 fail 10, 1 ok, 1 ok 6, 1 fail 3, 1 fail, 2 fail, 4 slow, 4 ok",
        &[
            "0 open till 1.000: success rate 0 % of 10",
            "1 half-open",
            "1 closed",
            "1 open till 2.000: success rate 60 % of 10",
            "2 half-open",
            "2 open till 4.000: its probe failed",
            "4 half-open",
            "4 closed",
        ],
    );
}

#[test]
fn opens_when_too_many_of_enough_calls_are_slow() {
    check(SLOW, "0 slow 2, 0 fast 2, 1 slow", &["1 open till 2.000: slow calls 60 % of 5"]);
    check(SLOW, "0 slow 3, 11 slow 3", &[]);
    check(SLOW, "0 fail 99, 0 slow 3", &[]);
}

#[test]
fn a_slow_probe_opens_it_again() {
    check(
        SLOW,
        "0 slow 4, 1 slow, 3 fast, 3 ok",
        &[
            "0 open till 1.000: slow calls 100 % of 4",
            "1 half-open",
            "1 open till 3.000: its probe was slow",
            "3 half-open",
            "3 closed",
        ],
    );
    check(SLOW, "0 slow 4, 0 late-slow 4", &["0 open till 1.000: slow calls 100 % of 4"]);
}

#[test]
fn any_of_several_reasons_opens_it() {
    let config = Config { consecutive_failures: Some(3), slow_calls: SLOW.slow_calls, ..RATE };
    check(config, "0 fail 3", &["0 open till 1.000: 3 failures in a row"]);
    check(config, "0 slow 4", &["0 open till 1.000: slow calls 100 % of 4"]);
    check(config, "0 ok 4, 0 fail 2, 0 ok 2, 0 fail 2", &["0 open till 1.000: success rate 60 % of 10"]);
}

#[test]
fn the_floor_keeps_it_closed_and_says_so_once_per_bout() {
    check(
        CONFIG,
        "0 keep, 0 fail 9, 1 ok, 1 fail 2, 2 let, 2 fail, 3 keep, 3 fail",
        &[
            "0 kept: 2 failures in a row",
            "1 kept: 2 failures in a row",
            // No sample is lost: it opens as soon as it may.
            "2 open till 3.000: 3 failures in a row",
            "3 half-open",
            // One that is open already takes nothing from the floor.
            "3 open till 5.000: 4 failures in a row",
        ],
    );
}

#[test]
fn the_head_of_a_probe_frees_its_place_but_its_end_gives_the_verdict() {
    let mut used = Used::new(CONFIG);
    for _ in 0..2 {
        let _ = used.call(at(0), Verdict::NO_ANSWER);
    }
    let later = at(1);
    let (mut probe, _) = used.breaker.take(later, &CONFIG);
    assert_eq!(used.breaker.admits(later, &CONFIG), Admits::No);
    used.breaker.head(&mut probe);
    assert_eq!(used.breaker.admits(later, &CONFIG), Admits::Probe);
    assert_eq!(used.judge(later, &probe, Verdict::Success), Some(Transition::Closed));
    used.breaker.end(probe);
}

#[test]
fn open_times_spread_over_the_jitter_whatever_opened_it() {
    for (config, calls) in [(CONFIG, 2), (RATE, 10)] {
        let mut used = Used::new(Config { jitter_permille: 500, ..config });
        let mut seen: Vec<u64> = (0..1000)
            .map(|_| {
                used.breaker.reset();
                let opened = (0..calls).find_map(|_| used.call(at(0), Verdict::NO_ANSWER));
                match opened.expect("all failed") {
                    Transition::Opened { until, .. } => until.as_nanos() / 50_000_000,
                    other @ (Transition::Refused { .. } | Transition::HalfOpened | Transition::Closed) => {
                        panic!("{other:?}")
                    }
                }
            })
            .collect();
        assert!(seen.iter().all(|tick| (20..=30).contains(tick)));
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() >= 10, "1.0 to 1.5 s in steps of 50 ms: {seen:?}");
    }
}

/// Feller: the mean time to the first run of k failures is (p^-k - 1)/(1 - p) trials.
#[test]
fn trips_after_as_many_requests_as_the_theory_of_runs_says() {
    for (permille, trials, want, tolerance) in
        [(500, 12_000, 254.0, 5.9), (800, 20_000, 18.84, 0.25), (900, 20_000, 10.91, 0.11), (1000, 10, 7.0, 0.0)]
    {
        let config = Config { consecutive_failures: Some(7), ..CONFIG };
        let mut used = Used::new(config);
        let mut dice = Rng::from_seed(u64::from(permille));
        let mut requests = 0_u64;
        for _ in 0..trials {
            used.breaker.reset();
            loop {
                requests += 1;
                let verdict = if dice.chance(permille) { Verdict::NO_ANSWER } else { Verdict::Success };
                if used.call(at(0), verdict).is_some() {
                    break;
                }
            }
        }
        // The tolerances are 2.6 standard errors: 248, 13.5, 5.7 and 0 are the standard deviations.
        let mean = requests as f64 / f64::from(trials);
        assert!((mean - want).abs() <= tolerance, "p = {permille} ‰: {mean} requests, {want} are right");
    }
}

/// With i.i.d. failures of p the rate breaker trips at the first of its looks whose share is too small: never where p is far
/// below the threshold, soon where it is above.
#[test]
fn a_success_rate_tells_ten_percent_of_failures_from_forty() {
    let config = Config {
        success_rate: Some(SuccessRate { below_permille: 700, window: Duration::from_secs(10), min_requests: 50 }),
        ..RATE
    };
    let tripped_within = |permille: u32, seed: u64| {
        let mut used = Used::new(config);
        let mut dice = Rng::from_seed(seed);
        (1..=2000_u64).find(|n| {
            let verdict = if dice.chance(permille) { Verdict::NO_ANSWER } else { Verdict::Success };
            used.call(Instant::from_nanos(n * 50_000_000), verdict).is_some()
        })
    };
    for seed in 0..50 {
        assert_eq!(tripped_within(100, seed), None, "10 % of failures, 100 s at 20/s");
        let requests = tripped_within(400, seed).expect("40 % of failures");
        assert!(requests <= 400, "{requests}");
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The model remembers the whole story and looks back at it.
        #[test]
        fn never_refuses_without_a_run_of_failures_and_never_sends_while_open(
            script in prop::collection::vec((0_u64..1500, 0_u8..5), 1..200)
        ) {
            let mut used = Used::new(CONFIG);
            let (mut now, mut run, mut open_until) = (Instant::ZERO, 0_u32, None::<Instant>);
            for (gap, kind) in script {
                now = now + Duration::from_millis(gap);
                let admits = used.breaker.admits(now, &CONFIG);
                match open_until {
                    Some(until) if now < until => prop_assert_eq!(admits, Admits::No),
                    Some(_) => prop_assert_eq!(admits, Admits::Probe),
                    None => prop_assert_eq!(admits, Admits::Yes),
                }
                if admits == Admits::No {
                    continue;
                }
                let verdict = if kind < 2 { Verdict::Success } else { Verdict::NO_ANSWER };
                let transition = used.call(now, verdict);
                let was_open = open_until.is_some();
                if verdict == Verdict::Success {
                    run = 0;
                    open_until = None;
                    prop_assert_eq!(transition, was_open.then_some(Transition::Closed));
                } else {
                    run += 1;
                    if was_open || run >= 2 {
                        let until = now + Duration::from_secs(1_u64 << (run - 2).min(2));
                        open_until = Some(until);
                        let why = Trip::Failures { in_a_row: run };
                        prop_assert_eq!(transition, Some(Transition::Opened { until, why }));
                    } else {
                        prop_assert_eq!(transition, None);
                    }
                }
            }
        }

        /// The model keeps every sample since the breaker last opened or closed, and looks at all of them for each.
        #[test]
        fn opens_just_when_one_of_its_reasons_holds(
            run in prop::option::of(1_u32..6),
            rate in prop::option::of((1_u32..=1000, 1_u32..8)),
            limit in prop::option::of((0_u32..1000, 1_u32..8)),
            kept in any::<bool>(),
            script in prop::collection::vec((0_u64..700, any::<bool>(), any::<bool>()), 1..150),
        ) {
            // One reason at least.
            let run = run.or((rate.is_none() && limit.is_none()).then_some(3));
            let window = Duration::from_secs(2);
            let config = Config {
                consecutive_failures: run,
                success_rate: rate.map(|(below_permille, min_requests)| SuccessRate { below_permille, window, min_requests }),
                slow_calls: limit.map(|(above_permille, min_requests)| SlowCalls {
                    slower_than: SECOND,
                    above_permille,
                    window,
                    min_requests,
                }),
                ..CONFIG
            };
            let mut used = Used::new(config);
            used.kept = kept;
            let mut now_ms = 0;
            let mut story: Vec<(u64, bool, bool)> = Vec::new();
            let mut said = false;
            for (gap, failed, slow) in script {
                now_ms += gap;
                let now = Instant::from_nanos(now_ms * 1_000_000);
                let (permit, _) = used.breaker.take(now, &config);
                story.push((now_ms, failed, slow));
                let in_window: Vec<_> = story.iter().filter(|(at, ..)| at / 200 + 10 > now_ms / 200).collect();
                let holds = |timed_only: bool| {
                    let older = story.len() - usize::from(timed_only);
                    let in_a_row = story[..older].iter().rev().take_while(|(_, failed, _)| *failed).count() as u32;
                    let judged = &in_window[..in_window.len() - usize::from(timed_only)];
                    let (of, good) = (judged.len(), judged.iter().filter(|(_, failed, _)| !failed).count());
                    let lame = in_window.iter().filter(|(_, _, slow)| *slow).count();
                    run.is_some_and(|most| in_a_row >= most)
                        || rate.is_some_and(|(below, least)| {
                            of >= least as usize && good * 1000 < below as usize * of
                        })
                        || limit.is_some_and(|(above, least)| {
                            in_window.len() >= least as usize && lame * 1000 > above as usize * in_window.len()
                        })
                };
                // The head comes, then the end.
                let early = used.time(now, &permit, slow);
                let opens = limit.is_some() && holds(true);
                prop_assert_eq!(early.is_some(), opens && !(kept && said), "{:?}", story);
                if limit.is_some() {
                    said = opens;
                }
                let late = used.judge(now, &permit, if failed { Verdict::NO_ANSWER } else { Verdict::Success });
                used.breaker.end(permit);
                if opens && !kept {
                    prop_assert_eq!(late, None);
                } else {
                    prop_assert_eq!(late.is_some(), holds(false) && !(kept && said), "{:?}", story);
                    said = holds(false);
                }
                if used.breaker.is_closed() {
                    continue;
                }
                prop_assert!(!kept);
                // A good probe closes it, and all is forgotten.
                let later = used.breaker.until().expect("it is open");
                prop_assert_eq!(used.call(later, Verdict::Success), Some(Transition::Closed));
                story.clear();
                said = false;
                now_ms = later.as_nanos() / 1_000_000;
            }
        }
    }
}
