use super::*;
use crate::mesh::Enforcing;

const CONFIG: Config = Config {
    consecutive_5xx: 3,
    interval: Duration::from_secs(10),
    base_ejection: Duration::from_secs(30),
    max_ejection: Duration::from_secs(70),
    max_ejection_percent: 50,
    ..Config::DEFAULT
};
const FEW: Crowd = Crowd { all: 4, ejected: 0, at_floor: false };
const SERVER: Verdict = Verdict::Failure(Cause::Server);
const GATEWAY: Verdict = Verdict::Failure(Cause::Gateway);

/// An endpoint with its settings and dice, as its backend uses it.
struct Used {
    outlier: Outlier,
    config: Config,
    crowd: Crowd,
    dice: Rng,
}

impl Used {
    fn new(config: Config) -> Self {
        Self { outlier: Outlier::default(), config, crowd: FEW, dice: Rng::from_seed(1) }
    }

    fn judge(&mut self, now: Instant, verdict: Verdict) -> Option<Transition> {
        let found = self.outlier.judge(verdict, &self.config);
        let mut act = |why| self.outlier.eject(now, why, self.crowd, &self.config, &mut self.dice);
        found.into_iter().flatten().map(&mut act).fold(None, |first, next| first.or(next))
    }

    fn fail(&mut self, now: Instant, times: u32) -> Option<Transition> {
        (0..times).map(|_| self.judge(now, SERVER)).last().flatten()
    }

    fn interval(&mut self, now: Instant) -> Option<Transition> {
        let (back, _) = self.outlier.on_interval(now);
        self.outlier.forgive(now, &self.config);
        back
    }
}

fn at(seconds: u64) -> Instant {
    Instant::from_nanos(seconds * 1_000_000_000)
}

fn out(until: u64, in_a_row: u32) -> Option<Transition> {
    Some(Transition::Ejected { until: at(until), why: Ejection::Consecutive5xx { in_a_row } })
}

#[test]
fn ejects_after_failures_in_a_row_and_returns_at_the_first_interval_after() {
    let mut used = Used::new(CONFIG);
    assert_eq!(used.fail(at(0), 2), None);
    assert_eq!(used.judge(at(0), Verdict::Success), None);
    assert_eq!(used.fail(at(0), 2), None);
    assert_eq!(used.judge(at(0), Verdict::Nothing), None);
    assert_eq!(used.fail(at(1), 1), out(31, 3));
    assert_eq!(used.fail(at(2), 9), None, "failures from before count no more");
    assert_eq!(used.outlier.tallies[0], Tally { good: 1, all: 6 });
    assert_eq!(used.interval(at(30)), None);
    assert_eq!(used.interval(at(40)), Some(Transition::Returned));
    assert!(!used.outlier.is_ejected());
}

#[test]
fn each_ejection_is_longer_up_to_the_most_and_intervals_forgive() {
    let mut used = Used::new(CONFIG);
    let mut spans = Vec::new();
    for round in 0..6 {
        let now = at(round * 1000);
        if let Some(Transition::Ejected { until, .. }) = used.fail(now, 3) {
            spans.push(until.since(now).as_secs());
        }
        assert_eq!(used.interval(now + Duration::from_secs(900)), Some(Transition::Returned));
        assert_eq!(used.outlier.backoff, 4.min(round as u32 + 1), "the interval of the return forgives nothing");
    }
    assert_eq!(spans, [30, 60, 70, 70, 70, 70]);
    (0..3).for_each(|_| assert_eq!(used.interval(at(9000)), None));
    assert_eq!(used.fail(at(9000), 3), out(9060, 3), "4 − 3 + 1 = 2");
}

#[test]
fn nobody_is_ejected_if_too_few_would_be_left() {
    for (all, ejected, percent, one, floor, want) in [
        (10, 0, 10, false, 1, true),
        (10, 1, 10, false, 1, false),
        (10, 1, 29, false, 1, true),
        (10, 2, 29, false, 1, false),
        // Less than one whole endpoint: one may go, if that is wanted.
        (3, 0, 10, true, 1, true),
        (3, 0, 10, false, 1, false),
        (3, 1, 10, true, 1, false),
        (3, 0, 0, true, 1, false),
        (1, 0, 100, true, 1, false),
        (2, 0, 100, true, 1, true),
        (2, 1, 100, true, 1, false),
        (5, 1, 100, true, 4, false),
    ] {
        let config = Config { max_ejection_percent: percent, always_eject_one: one, floor, ..CONFIG };
        let crowd = Crowd { all, ejected, at_floor: false };
        assert_eq!(crowd.spares_one(&config), want, "{all} {ejected} {percent} {one} {floor}");
        assert!(!Crowd { at_floor: true, ..crowd }.spares_one(&config));
    }
    let mut used = Used::new(CONFIG);
    used.crowd.all = 1;
    let why = Ejection::Consecutive5xx { in_a_row: 3 };
    assert_eq!(used.fail(at(0), 3), Some(Transition::Refused { why }));
    assert!(!used.outlier.is_ejected());
}

#[test]
fn gateway_failures_are_counted_apart_if_they_are_enforced() {
    let enforcing = Enforcing { consecutive_gateway_failure: 100, ..CONFIG.enforcing };
    let config = Config { consecutive_5xx: 9, consecutive_gateway_failure: 2, enforcing, ..CONFIG };
    let mut used = Used::new(config);
    let story = [GATEWAY, SERVER, GATEWAY, Verdict::NO_ANSWER];
    let seen = story.map(|verdict| used.judge(at(0), verdict));
    let why = Ejection::ConsecutiveGatewayFailure { in_a_row: 2 };
    let out = Some(Transition::Ejected { until: at(30), why });
    assert_eq!(seen, [None, None, None, out], "a 500 in between ends the run");
    let mut used = Used::new(Config { enforcing: CONFIG.enforcing, ..config });
    assert_eq!((0..8).find_map(|_| used.judge(at(0), GATEWAY)), None, "by default nothing comes of it");
    assert!(used.judge(at(0), GATEWAY).is_some(), "but it is the ninth 5xx");
}

#[test]
fn failures_of_connections_count_as_5xx_unless_they_are_split() {
    let mut used = Used::new(CONFIG);
    assert_eq!((0..3).filter_map(|_| used.judge(at(0), Verdict::NO_ANSWER)).last(), out(30, 3));
    let split = Config { split_local_origin: true, consecutive_local_origin_failure: 2, ..CONFIG };
    let mut used = Used::new(split);
    let mut story = |verdicts: &[Verdict]| -> Vec<_> {
        verdicts.iter().filter_map(|verdict| used.judge(at(0), *verdict)).collect()
    };
    // Any answer ends a run of broken connections; broken connections do not end a run of 5xx.
    assert_eq!(story(&[Verdict::NO_ANSWER, SERVER, Verdict::NO_ANSWER, GATEWAY, Verdict::NO_ANSWER]), []);
    let why = Ejection::ConsecutiveLocalOriginFailure { in_a_row: 2 };
    assert_eq!(story(&[Verdict::NO_ANSWER]), [Transition::Ejected { until: at(30), why }]);
    let (_, [external, local]) = used.outlier.on_interval(at(1));
    assert_eq!((external, local), (Tally { good: 0, all: 2 }, Tally { good: 2, all: 6 }));
}

#[test]
fn a_finding_is_enforced_in_as_many_cases_as_is_said() {
    let enforcing = Enforcing { consecutive_5xx: 30, ..CONFIG.enforcing };
    let mut used = Used::new(Config { enforcing, ..CONFIG });
    let (mut ejected, mut spared) = (0, 0);
    for _ in 0..10_000 {
        match used.fail(at(0), 3) {
            Some(Transition::Ejected { .. }) => ejected += 1,
            Some(Transition::Spared { why: Ejection::Consecutive5xx { in_a_row: 3 } }) => spared += 1,
            other => panic!("{other:?}"),
        }
        used.outlier = Outlier::default();
    }
    assert_eq!(ejected + spared, 10_000);
    assert!((2_870..3_130).contains(&ejected), "30 %, and 2.8 standard deviations: {ejected}");
}

#[test]
fn returns_spread_over_the_jitter() {
    let mut used = Used::new(Config { max_ejection_jitter: Duration::from_secs(10), ..CONFIG });
    let mut ticks: Vec<u64> = (0..1000)
        .map(|_| {
            used.outlier = Outlier::default();
            let transition = used.fail(at(0), 3);
            let Some(Transition::Ejected { until, .. }) = transition else { panic!("{transition:?}") };
            until.as_nanos() / 1_000_000_000
        })
        .collect();
    assert!(ticks.iter().all(|second| (30..=40).contains(second)));
    ticks.sort_unstable();
    ticks.dedup();
    assert!(ticks.len() >= 10, "{ticks:?}");
}

#[test]
fn each_reason_says_what_was_counted() {
    for (why, want) in [
        (Ejection::Consecutive5xx { in_a_row: 5 }, "5 failures in a row"),
        (Ejection::ConsecutiveGatewayFailure { in_a_row: 5 }, "5 gateway failures in a row"),
        (Ejection::ConsecutiveLocalOriginFailure { in_a_row: 5 }, "5 connection failures in a row"),
        (
            Ejection::SuccessRate { successes: 52, of: 120, mean_permille: 978, origin: Origin::External },
            "success rate 43 % of 120, mean 97 %",
        ),
        (
            Ejection::FailurePercentage { failures: 91, of: 100, origin: Origin::Local },
            "failures of connections 91 % of 100",
        ),
    ] {
        assert_eq!(why.to_string(), want);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// What the story since the last finding of a kind says, looked at as a whole.
    fn run(story: &[(Verdict, bool)], counts: impl Fn(Verdict) -> Option<bool>) -> u32 {
        let mut run = 0;
        for (verdict, found) in story.iter().rev() {
            if *found {
                break;
            }
            match counts(*verdict) {
                Some(true) => run += 1,
                Some(false) => break,
                None => {}
            }
        }
        run
    }

    proptest! {
        /// The model keeps all verdicts, and with each of them whether it completed a run.
        #[test]
        fn a_finding_follows_just_so_many_failures_of_its_kind_in_a_row(
            kinds in prop::collection::vec(0_u8..6, 1..150),
            split_local_origin in any::<bool>(),
            limits in (1_u32..5, 1_u32..5, 1_u32..5),
        ) {
            let config = Config {
                consecutive_5xx: limits.0,
                consecutive_gateway_failure: limits.1,
                consecutive_local_origin_failure: limits.2,
                split_local_origin,
                ..CONFIG
            };
            let mut outlier = Outlier::default();
            let mut stories: [Vec<(Verdict, bool)>; 3] = Default::default();
            let mut tallies = [Tally::default(); 2];
            for kind in kinds {
                let verdict = match kind {
                    0 => Verdict::Success,
                    1 => Verdict::Nothing,
                    2 => SERVER,
                    3 => GATEWAY,
                    _ => Verdict::NO_ANSWER,
                };
                let local = verdict == Verdict::NO_ANSWER;
                let counts: [&dyn Fn(Verdict) -> Option<bool>; 3] = [
                    &|verdict| match verdict {
                        Verdict::Nothing => None,
                        Verdict::Failure(Cause::Local) if split_local_origin => None,
                        Verdict::Success | Verdict::Failure(_) => Some(verdict.is_failure()),
                    },
                    &|verdict| match verdict {
                        Verdict::Nothing => None,
                        Verdict::Failure(Cause::Local) => (!split_local_origin).then_some(true),
                        Verdict::Success | Verdict::Failure(_) => Some(verdict == GATEWAY),
                    },
                    &|verdict| match verdict {
                        Verdict::Nothing => None,
                        Verdict::Success | Verdict::Failure(_) => split_local_origin.then_some(verdict == Verdict::NO_ANSWER),
                    },
                ];
                let mut want = [0; 3];
                for (index, limit) in [limits.0, limits.1, limits.2].into_iter().enumerate() {
                    stories[index].push((verdict, false));
                    let length = run(&stories[index], counts[index]);
                    if counts[index](verdict) == Some(true) && length >= limit {
                        want[index] = length;
                        stories[index].last_mut().expect("just pushed").1 = true;
                    }
                }
                if verdict != Verdict::Nothing {
                    if !(local && split_local_origin) {
                        tallies[0].all += 1;
                        tallies[0].good += u32::from(verdict == Verdict::Success);
                    }
                    if split_local_origin {
                        tallies[1].all += 1;
                        tallies[1].good += u32::from(!local);
                    }
                }
                let mut got = [0; 3];
                for why in outlier.judge(verdict, &config).into_iter().flatten() {
                    match why {
                        Ejection::Consecutive5xx { in_a_row } => got[0] = in_a_row,
                        Ejection::ConsecutiveGatewayFailure { in_a_row } => got[1] = in_a_row,
                        Ejection::ConsecutiveLocalOriginFailure { in_a_row } => got[2] = in_a_row,
                        Ejection::SuccessRate { .. } | Ejection::FailurePercentage { .. } => panic!("{why:?}"),
                    }
                }
                prop_assert_eq!(got, want, "{:?}", stories);
            }
            prop_assert_eq!(outlier.on_interval(at(1)).1, tallies);
        }
    }
}
