//! A share of the requests that are under way (Envoy's `retry_budget`).
//!
//! ```text
//!   allowed while  retries under way < max(percent × requests under way, min_concurrent)
//! ```
//!
//! A retry is under way from its decision to the head of its answer; a request from its arrival to the end of its answer,
//! also while it waits in the queue. Nothing is remembered, so a backend that fails fast is retried far more often than
//! the share says: combine it with another budget. Source: Envoy `CircuitBreakers.Thresholds.RetryBudget` (20 %, 3).

use crate::mesh::RetryShare;

impl RetryShare {
    /// Whether one more retry may begin beside `retries`, among `requests`.
    pub(crate) fn allows(&self, requests: u32, retries: u32) -> bool {
        let share = u64::from(requests) * u64::from(self.percent) / 100;
        u64::from(retries) < share.max(u64::from(self.min_concurrent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_share_and_minimum_counts() {
        let share = RetryShare::default();
        for (requests, retries, want) in [
            (0, 2, true),
            (1, 3, false),
            (15, 3, false),
            (19, 3, false),
            (20, 3, true),
            (20, 4, false),
            (1000, 199, true),
            (1000, 200, false),
        ] {
            assert_eq!(share.allows(requests, retries), want, "{retries} of {requests}");
        }
        assert!(!RetryShare { percent: 0, min_concurrent: 0 }.allows(1000, 0));
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model counts in fractions: retries + 1 ≤ max(percent × requests, minimum), rounded down.
            #[test]
            fn retries_under_way_stay_within_the_share(
                percent in 0_u32..=100,
                min_concurrent in 0_u32..5,
                steps in prop::collection::vec((0_u32..500, 0_u8..3), 1..100),
            ) {
                let share = RetryShare { percent, min_concurrent };
                let mut retries = 0_u32;
                for (requests, what) in steps {
                    if what == 0 {
                        retries = retries.saturating_sub(1);
                    } else if share.allows(requests, retries) {
                        retries += 1;
                        let within = u64::from(retries) * 100 <= u64::from(percent) * u64::from(requests);
                        prop_assert!(within || retries <= min_concurrent, "{} of {}", retries, requests);
                    } else {
                        let over = u64::from(retries + 1) * 100 > u64::from(percent) * u64::from(requests);
                        prop_assert!(over && retries + 1 > min_concurrent, "{} of {} refused", retries, requests);
                    }
                }
            }
        }
    }
}
