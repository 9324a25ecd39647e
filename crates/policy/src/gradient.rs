//! A concurrency limit that follows the latency gradient, as Envoy's adaptive concurrency filter does.
//!
//! ```text
//!            min_rtt_requests answers to requests of this window: their percentile is the least latency
//!   Measuring ──────────────────────────────────────────────────────────────────────────▶ Following
//!   (limit = min)                                                                         (each window with an answer:
//!        ▲                                                                                 g = (1+b)·least / percentile,
//!        └───── min_rtt_interval (with jitter) is over, or the limit stayed ─────────────  within [½, 2];
//!               at min for five windows in a row                                           L = ⌊gL + √(gL)⌋)
//! ```
//!
//! With c places behind it that are all that slows requests down, it rests at (1+b)c + √((1+b)c): of so many in flight the
//! latency is that many c-ths of the least. Windows end with the first answer after their time, so that an idle proxy needs no
//! timer, as Envoy's windows without a sample change nothing.
//!
//! What is measured: answers, and time-outs as what they took. Failing answers are not (a quick 503 would count as
//! little latency, and raise the limit of a service that is failing), unlike in Envoy. A caller who leaves after more than
//! (1+b)·least latency counts with that: where all callers leave, Envoy measures nothing and its limit stays.
//!
//! Integers: gL has 20 binary places. At most [`SAMPLES`] answers of a window are kept, each as likely as any.
//!
//! Source: Envoy, `gradient_controller.cc` and "Adaptive concurrency" in its documentation.

use crate::mesh::Gradient as Config;
use crate::{Instant, Rng};

/// How many latencies of a window are kept.
const SAMPLES: usize = 1000;
/// After so many windows in a row that ask for the least limit, the least latency is doubted.
const DOUBTS: u32 = 5;
/// Binary places of the gradient's product.
const PLACES: u32 = 20;

/// The machine.
#[derive(Debug)]
pub(crate) struct Gradient {
    limit: u32,
    /// Nanoseconds; 0: not measured yet.
    least: u64,
    state: State,
    window: Window,
    /// Windows in a row that kept the limit at `min`.
    at_min: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Measuring { since: Instant, then: u32 },
    Following { window_ends: Instant, measure_at: Instant },
}

/// A sample of a window's latencies, in nanoseconds.
#[derive(Debug)]
struct Window {
    kept: Vec<u64>,
    seen: u64,
}

/// What one measurement did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) from: u32,
    pub(crate) to: u32,
    /// The least latency in nanoseconds; 0: not known yet.
    pub(crate) least: u64,
    /// That of the window. `None`: the limit has gone down to measure the least.
    pub(crate) latest: Option<u64>,
}

impl Window {
    fn new() -> Self {
        Self { kept: Vec::with_capacity(SAMPLES), seen: 0 }
    }

    /// Reservoir sampling (Vitter's algorithm R).
    fn add(&mut self, latency: u64, dice: &mut Rng) {
        self.seen += 1;
        if self.kept.len() < SAMPLES {
            self.kept.push(latency);
        } else {
            let place = dice.below(self.seen);
            if let Some(kept) = usize::try_from(place).ok().and_then(|place| self.kept.get_mut(place)) {
                *kept = latency;
            }
        }
    }

    /// The percentile, at least 1 ns, and an empty window again. `None`: it was empty.
    fn percentile(&mut self, permille: u32) -> Option<u64> {
        let last = self.kept.len().checked_sub(1)?;
        // The nearest rank: the least that so many thousandths are no more than.
        let rank = (self.kept.len() * permille as usize).div_ceil(1000).saturating_sub(1).min(last);
        let (_, value, _) = self.kept.select_nth_unstable(rank);
        let value = (*value).max(1);
        self.clear();
        Some(value)
    }

    fn clear(&mut self) {
        self.kept.clear();
        self.seen = 0;
    }
}

impl Gradient {
    /// Begins with a measurement of the least latency.
    pub(crate) fn new(now: Instant, config: &Config) -> Self {
        Self {
            limit: config.min,
            least: 0,
            state: State::Measuring { since: now, then: config.min },
            window: Window::new(),
            at_min: 0,
        }
    }

    pub(crate) fn limit(&self) -> u32 {
        self.limit
    }

    /// Begins a measurement of the least latency whose time has come. Asked before a request is let in.
    pub(crate) fn on_arrival(&mut self, now: Instant, config: &Config) -> Option<Moved> {
        match self.state {
            State::Following { measure_at, .. } if now >= measure_at => Some(self.measure(now, config)),
            State::Following { .. } | State::Measuring { .. } => None,
        }
    }

    /// What a caller who left must have waited for to count as a latency.
    pub(crate) fn counts_as_slow(&self, nanos: u64, config: &Config) -> bool {
        matches!(self.state, State::Following { .. }) && nanos > buffered(self.least, config)
    }

    /// A request that got its place at `since` is over. Tells what the limit became if a window ended with it.
    pub(crate) fn on_latency(
        &mut self,
        now: Instant,
        since: Instant,
        most: u32,
        config: &Config,
        dice: &mut Rng,
    ) -> Option<Moved> {
        let latency = u64::try_from(now.since(since).as_nanos()).unwrap_or(u64::MAX);
        match self.state {
            // Requests from before were not alone.
            State::Measuring { since: began, .. } if mutant!("old-latencies-count-as-least", since < began, false) => {
                None
            }
            State::Measuring { then, .. } => {
                self.window.add(latency, dice);
                if self.window.seen < u64::from(config.min_rtt_requests) {
                    return None;
                }
                self.least = self.window.percentile(config.percentile_permille)?;
                let spread = config.min_rtt_interval.saturating_mul(1000 + config.min_rtt_jitter_permille) / 1000;
                let measure_at = now + dice.between(config.min_rtt_interval, spread);
                self.state = State::Following { window_ends: now + config.window, measure_at };
                let from = std::mem::replace(&mut self.limit, then.clamp(config.min, most));
                Some(Moved { from, to: self.limit, least: self.least, latest: Some(self.least) })
            }
            State::Following { window_ends, measure_at } => {
                let mut moved = None;
                if now >= window_ends {
                    self.state = State::Following { window_ends: now + config.window, measure_at };
                    moved = self.window.percentile(config.percentile_permille).map(|at| self.follow(at, most, config));
                    if now >= measure_at || self.at_min >= DOUBTS {
                        return Some(self.measure(now, config));
                    }
                }
                self.window.add(latency, dice);
                moved
            }
        }
    }

    fn measure(&mut self, now: Instant, config: &Config) -> Moved {
        let from = std::mem::replace(&mut self.limit, config.min);
        self.state = State::Measuring { since: now, then: from };
        self.at_min = 0;
        self.window.clear();
        Moved { from, to: self.limit, least: self.least, latest: None }
    }

    fn follow(&mut self, latest: u64, most: u32, config: &Config) -> Moved {
        let from = self.limit;
        self.limit = next(from, buffered(self.least, config), latest).clamp(config.min, most);
        self.at_min = if from == config.min && self.limit == config.min { self.at_min + 1 } else { 0 };
        Moved { from, to: self.limit, least: self.least, latest: Some(latest) }
    }
}

fn buffered(least: u64, config: &Config) -> u64 {
    let buffered = u128::from(least) * u128::from(1000 + config.buffer_permille) / 1000;
    u64::try_from(buffered).unwrap_or(u64::MAX)
}

/// ⌊gL + √(gL)⌋ with g = `buffered` ÷ `latest` within [½, 2].
fn next(limit: u32, buffered: u64, latest: u64) -> u32 {
    let scaled = u128::from(limit) << PLACES;
    let product = (scaled * u128::from(buffered) / u128::from(latest))
        .clamp(scaled / 2, mutant!("gradient-jumps", scaled * 2, scaled * 1000));
    let room = mutant!("gradient-leaves-no-room", (product << PLACES).isqrt(), 0);
    u32::try_from((product + room) >> PLACES).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;

    const CONFIG: Config = Config {
        min: 3,
        buffer_permille: 250,
        percentile_permille: 500,
        window: Duration::from_millis(100),
        min_rtt_interval: Duration::from_secs(60),
        min_rtt_jitter_permille: 150,
        min_rtt_requests: 50,
    };

    /// Callers that are always there before `places` servers: a closed model, event by event. Servers take 2 ms, give or take
    /// a fifth, without which they would all work in step. Gives the limits after each answer.
    fn saturated(places: usize, config: Config, seconds: u64) -> Vec<u32> {
        let (mut dice, mut services) = (Rng::from_seed(7), Rng::from_seed(8));
        let mut gradient = Gradient::new(Instant::ZERO, &config);
        let mut free_at = vec![Instant::ZERO; places];
        let mut inside: BTreeMap<(Instant, u64), Instant> = BTreeMap::new();
        let (mut now, mut number, mut limits) = (Instant::ZERO, 0, Vec::new());
        while now < Instant::ZERO + Duration::from_secs(seconds) {
            while inside.len() < gradient.limit() as usize {
                // First come, first served: it begins when the first server is free.
                let first = free_at.iter_mut().min().expect("there are servers");
                *first = (*first).max(now) + services.between(Duration::from_micros(1600), Duration::from_micros(2400));
                inside.insert((*first, number), now);
                number += 1;
            }
            let ((at, _), since) = inside.pop_first().expect("somebody is inside");
            now = at;
            let _ = gradient.on_latency(now, since, 1000, &config, &mut dice);
            limits.push(gradient.limit());
        }
        limits
    }

    #[test]
    fn rests_where_the_formula_says() {
        for (places, want) in [(10, 16_u32), (30, 43), (100, 136)] {
            let limits = saturated(places, CONFIG, 10);
            let late = &limits[limits.len() * 9 / 10..];
            assert!(late.iter().all(|limit| limit.abs_diff(want) <= 1), "{places}: {:?}", &late[late.len() - 10..]);
        }
    }

    #[test]
    fn the_next_limit_is_cut_to_an_integer() {
        // 125 + √125 = 136.18, 12.5 + √12.5 = 16.03; g is held within a half and two.
        for (limit, least, latest, want) in [
            (136, 1_250_000, 1_360_000, 136),
            (16, 1_250_000, 1_600_000, 16),
            (100, 1_000_000, 1, 214),
            (100, 1, 1_000_000, 57),
            (4, 1_000_000, 1_000_000, 6),
            (u32::MAX, 2, 1, u32::MAX),
        ] {
            assert_eq!(next(limit, least, latest), want, "{limit} {least} {latest}");
        }
    }

    /// Answers of `millis` each, one after the other, until `seconds` have passed.
    fn answers(gradient: &mut Gradient, dice: &mut Rng, from: Instant, millis: u64, count: u32) -> Instant {
        let mut now = from;
        for _ in 0..count {
            let since = now;
            now = now + Duration::from_millis(millis);
            let _ = gradient.on_arrival(since, &CONFIG);
            let _ = gradient.on_latency(now, since, 1000, &CONFIG, dice);
        }
        now
    }

    #[test]
    fn the_least_latency_is_measured_at_the_least_limit_first_and_again_later() {
        let mut dice = Rng::from_seed(1);
        let mut gradient = Gradient::new(Instant::ZERO, &CONFIG);
        assert_eq!(gradient.limit(), 3);
        let now = answers(&mut gradient, &mut dice, Instant::ZERO, 10, 49);
        assert_eq!((gradient.limit(), gradient.least), (3, 0));
        let now = answers(&mut gradient, &mut dice, now, 10, 1);
        assert_eq!(gradient.least, 10_000_000);
        let now = answers(&mut gradient, &mut dice, now, 10, 1000);
        let grown = gradient.limit();
        assert!(grown > 500, "an unloaded service lets it grow: {grown}");
        // After 60 to 69 s it measures again, throws away what came from before, and goes on with the old limit.
        let later = now + Duration::from_secs(60);
        let moved = Moved { from: grown, to: 3, least: 10_000_000, latest: None };
        assert_eq!(gradient.on_arrival(later, &CONFIG), Some(moved));
        for _ in 0..60 {
            assert_eq!(gradient.on_latency(later, now, 1000, &CONFIG, &mut dice), None);
        }
        let _ = answers(&mut gradient, &mut dice, later, 20, 50);
        assert_eq!((gradient.limit(), gradient.least), (grown, 20_000_000));
    }

    #[test]
    fn a_limit_that_stays_at_the_least_makes_it_doubt_the_least_latency() {
        let mut dice = Rng::from_seed(1);
        let mut gradient = Gradient::new(Instant::ZERO, &CONFIG);
        let now = answers(&mut gradient, &mut dice, Instant::ZERO, 1, 50);
        // The service is ten times slower now for good.
        let now = answers(&mut gradient, &mut dice, now, 10, 130);
        assert_eq!(gradient.least, 10_000_000, "measured anew at {now}");
    }

    #[test]
    fn who_left_counts_only_if_it_was_slow() {
        let mut dice = Rng::from_seed(1);
        let mut gradient = Gradient::new(Instant::ZERO, &CONFIG);
        assert!(!gradient.counts_as_slow(u64::MAX, &CONFIG), "nothing is known yet");
        let _ = answers(&mut gradient, &mut dice, Instant::ZERO, 1, 50);
        assert!(!gradient.counts_as_slow(1_250_000, &CONFIG) && gradient.counts_as_slow(1_250_001, &CONFIG));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            /// The model is the formula in floating point.
            #[test]
            fn the_integers_agree_with_the_formula(
                limit in 1_u32..100_000,
                least in 1_u64..10_000_000_000,
                latest in 1_u64..10_000_000_000,
            ) {
                let g = (least as f64 / latest as f64).clamp(0.5, 2.0);
                let product = g * f64::from(limit);
                let want = product + product.sqrt();
                let got = f64::from(next(limit, least, latest));
                prop_assert!(got <= want + 0.01 && got > want - 1.01, "{} against {}", got, want);
            }

            /// Whatever comes, the limit stays within its bounds, and moves by no more than half and double and a root.
            #[test]
            fn the_limit_stays_within_its_bounds(
                events in prop::collection::vec((0_u64..400, 1_u64..2000), 1..600),
                most in 3_u32..200,
                requests in 1_u32..20,
            ) {
                let config = Config { min_rtt_requests: requests, min_rtt_interval: Duration::from_secs(5), ..CONFIG };
                let mut dice = Rng::from_seed(3);
                let mut gradient = Gradient::new(Instant::ZERO, &config);
                let mut now = Instant::ZERO;
                for (gap, latency) in events {
                    now = now + Duration::from_millis(gap);
                    let _ = gradient.on_arrival(now, &config);
                    let since = now - Duration::from_millis(latency);
                    let before = gradient.limit();
                    let moved = gradient.on_latency(now, since, most, &config, &mut dice);
                    prop_assert!((3..=most).contains(&gradient.limit()));
                    if let Some(Moved { from, latest: Some(_), .. }) = moved {
                        prop_assert_eq!(from, before);
                    }
                }
            }

            /// The kept latencies are a fair sample: their median is near that of all.
            #[test]
            fn a_long_window_keeps_a_fair_sample(seed in any::<u64>()) {
                let mut dice = Rng::from_seed(seed);
                let mut window = Window::new();
                for nanos in 0..20_000 {
                    window.add(nanos, &mut dice);
                }
                let median = window.percentile(500).expect("it is not empty");
                // Six standard deviations of a median of 1000.
                prop_assert!(median.abs_diff(10_000) < 1900, "{}", median);
                prop_assert_eq!(window.percentile(500), None);
            }
        }
    }
}
