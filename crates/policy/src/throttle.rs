//! Refuses tries at the client while the backend accepts too few of them.
//!
//! ```text
//!   requests: every try that wants to be sent, also those refused here      both over the window,
//!   accepts:  every try that the backend did not refuse                     in ten slices
//!   refused by chance, with max(0, (requests − k·accepts) ÷ (requests + 1)), once requests ≥ min_requests
//! ```
//!
//! So a client sends at most k times what is accepted. Requests count when they want to be sent, not at their end: what is
//! under way is not yet accepted. Refused means: answered with 429 or 503, gRPC 8 RESOURCE_EXHAUSTED or 14 UNAVAILABLE; not
//! answered at all (no connection, a reset, out of time); or turned away at the backend's own limits in this proxy, by
//! queue and rate, before it was sent. Any other answer, a 500 too, is work that the backend did, and accepts.
//!
//! The book's formula refuses from the first failure on: of a client without a past, that meets a dead backend, every second, third,
//! fourth … request is sent, one after the other. That is what it is for, and the default. Who would rather wait for some evidence
//! sets `min_requests`; it costs a dead backend so many requests per window and client.
//!
//! Source: SRE book, chapter 21, "Client-side throttling" (k = 2, 2 min).

use crate::budget::slices::Slices;
use crate::exchange::Answer;
use crate::mesh::ClientThrottle as Config;
use crate::{Instant, Rng};

const REQUESTS: usize = 0;
const ACCEPTS: usize = 1;

/// The machine.
#[derive(Debug)]
pub(crate) struct Throttle {
    k_permille: u32,
    min_requests: u64,
    counts: Slices<2>,
}

impl Throttle {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            k_permille: config.k_permille,
            min_requests: config.min_requests.into(),
            counts: Slices::new(config.window),
        }
    }

    /// A try wants to be sent: counts it, and says whether it may.
    pub(crate) fn admits(&mut self, now: Instant, dice: &mut Rng) -> bool {
        let [requests, accepts] = self.counts.sums(now);
        let wanted = requests.saturating_mul(1000);
        let over = wanted.saturating_sub(accepts.saturating_mul(u64::from(self.k_permille)));
        let all = mutant!("throttle-refuses-all-for-ever", (requests + 1).saturating_mul(1000), over.max(1));
        let admits = over == 0 || requests < self.min_requests || dice.below(all) >= over;
        self.counts.add(now, REQUESTS, mutant!("throttle-forgets-what-it-refused", 1, u64::from(admits)));
        admits
    }

    /// A try was not refused.
    pub(crate) fn on_accept(&mut self, now: Instant) {
        self.counts.add(now, ACCEPTS, 1);
    }
}

/// Whether a backend that answers so has accepted the request.
pub(crate) fn accepts(answer: Answer) -> bool {
    let refuses = mutant!("a-503-is-accepted", matches!(answer.status, 429 | 503), answer.status == 429);
    !refuses && !matches!(answer.grpc, Some(8 | 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend that accepts 100 a second: what is sent and accepted per second, once the window is full.
    fn steady(k_permille: u32, demand: u64) -> (u64, u64) {
        let config = Config { k_permille, ..Config::default() };
        let mut throttle = Throttle::new(config);
        let mut dice = Rng::from_seed(3);
        let (mut sent, mut accepted) = (0, 0);
        for second in 0..720 {
            let mut room = 100;
            for n in 0..demand {
                let now = Instant::from_nanos(second * 1_000_000_000 + n * 1_000_000_000 / demand);
                if throttle.admits(now, &mut dice) {
                    let accepts = room > 0;
                    room -= u64::from(accepts);
                    if accepts {
                        throttle.on_accept(now);
                    }
                    if second >= 360 {
                        sent += 1;
                        accepted += u64::from(accepts);
                    }
                }
            }
        }
        (sent / 360, accepted / 360)
    }

    #[test]
    fn sends_k_times_what_is_accepted() {
        let (sent, accepted) = steady(2000, 1000);
        assert!((199..=203).contains(&sent) && (99..=100).contains(&accepted), "{sent} {accepted}");
        let (sent, accepted) = steady(1100, 1000);
        assert!((108..=113).contains(&sent) && (98..=100).contains(&accepted), "{sent} {accepted}");
    }

    #[test]
    fn leaves_alone_who_is_accepted_often_enough() {
        assert_eq!(steady(2000, 100), (100, 100));
        assert_eq!(steady(2000, 200), (200, 100), "half of them is just enough");
    }

    /// How many of 1000 are sent to a backend that accepts none.
    fn to_a_dead_backend(min_requests: u32) -> u32 {
        let mut throttle = Throttle::new(Config { min_requests, ..Config::default() });
        let mut dice = Rng::from_seed(9);
        (0..1000).map(|_| u32::from(throttle.admits(Instant::ZERO, &mut dice))).sum()
    }

    #[test]
    fn a_minimum_of_requests_is_sent_before_anything_is_refused() {
        // 1 + 1/2 + … + 1/1000 of them are 7.5.
        assert!((2..=16).contains(&to_a_dead_backend(0)), "{}", to_a_dead_backend(0));
        let sent = to_a_dead_backend(100);
        assert!((100..=112).contains(&sent), "{sent}");
    }

    #[test]
    fn only_an_answer_that_says_so_is_a_refusal() {
        for (status, grpc, want) in [
            (200, None, true),
            (500, None, true),
            (404, None, true),
            (429, None, false),
            (503, None, false),
            (200, Some(0), true),
            (200, Some(13), true),
            (200, Some(8), false),
            (200, Some(14), false),
        ] {
            let answer = Answer { status, grpc, retry_after: None, replayable: true };
            assert_eq!(accepts(answer), want, "{status} {grpc:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;
        use crate::Rng;

        proptest! {
            /// The model counts in lists and fractions, and throws no dice: at 0 all pass, else the share is as it says.
            #[test]
            fn refuses_with_the_chance_of_the_formula(
                k_permille in 1000_u32..5000,
                min_requests in 0_u32..10,
                events in prop::collection::vec((0_u64..3000, any::<bool>()), 1..60),
                seed in any::<u64>(),
            ) {
                let config = Config { k_permille, window: std::time::Duration::from_secs(10), min_requests };
                let mut throttle = Throttle::new(config);
                let mut dice = Rng::from_seed(seed);
                let (mut requests, mut accepts, mut at) = (Vec::new(), Vec::new(), 0_u64);
                for (gap, is_request) in events {
                    at += gap;
                    let now = Instant::from_nanos(at * 1_000_000);
                    if !is_request {
                        throttle.on_accept(now);
                        accepts.push(at);
                        continue;
                    }
                    let counts = |story: &[u64]| story.iter().filter(|then| **then / 1000 + 10 > at / 1000).count() as f64;
                    let over = counts(&requests) - counts(&accepts) * f64::from(k_permille) / 1000.0;
                    let enough = counts(&requests) >= f64::from(min_requests);
                    let chance = if enough { (over / (counts(&requests) + 1.0)).max(0.0) } else { 0.0 };
                    // The same dice, thrown in fractions: they agree unless the throw falls just on the edge.
                    let mut again = Rng::from_seed(seed).fork(&at.to_string());
                    let mut copy = Rng::from_seed(seed).fork(&at.to_string());
                    let throw = (counts(&requests) + 1.0) * 1000.0;
                    let thrown = if chance > 0.0 { copy.below(throw as u64) as f64 / throw } else { 1.0 };
                    let admitted = throttle.admits(now, if chance > 0.0 { &mut again } else { &mut dice });
                    requests.push(at);
                    if (thrown - chance).abs() > 1e-6 {
                        prop_assert_eq!(admitted, thrown >= chance, "{} {}", thrown, chance);
                    }
                }
            }
        }
    }
}
