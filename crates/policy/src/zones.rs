//! How much load stays in the own zone, and when the measure of health is no longer believed.
//!
//! ```text
//!   health of a tier   = min(100, overprovisioning · available ÷ all)       own zone first, then all others
//!   load of the first  = health₁ ÷ min(100, health₁ + health₂);  the rest goes to the second
//!   a tier panics      if health₁ + health₂ < 100 and healthy ÷ all < panic: its ejected and unhealthy endpoints count as well
//!   if all tiers panic, they share by the number of their endpoints
//! ```
//!
//! *Available*: would take a request now. *Healthy*: not ejected, and not found unhealthy; an open breaker is no matter of
//! health, and panic does not send to it. Draining endpoints are in neither number. Without zones there is one tier. Source:
//! Envoy, "priority levels", "degraded" left out, and "panic threshold", with its integer division.

use crate::mesh::Zones as Config;

/// How the endpoints of one tier are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tier {
    pub(crate) all: u32,
    pub(crate) healthy: u32,
    pub(crate) available: u32,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spill {
    /// The first tier's share of the load, in percent.
    pub(crate) first_percent: u32,
    /// Which tiers panic.
    pub(crate) panics: [bool; 2],
}

impl Spill {
    /// All is well.
    pub(crate) const NONE: Self = Self { first_percent: 100, panics: [false; 2] };
}

/// `zones`: `None` if they do not matter, and all endpoints are in the first tier.
pub(crate) fn spill(zones: Option<&Config>, panic_percent: u32, tiers: [Tier; 2]) -> Spill {
    let over = u64::from(zones.map_or(100, |zones| zones.overprovisioning_percent));
    let health = tiers.map(|tier| {
        let health = (over * u64::from(tier.available)).checked_div(u64::from(tier.all));
        health.map_or(0, |health| health.min(100) as u32)
    });
    let total = (health[0] + health[1]).min(100);
    let panics =
        tiers.map(|tier| total < 100 && u64::from(tier.healthy) * 100 < u64::from(panic_percent) * u64::from(tier.all));
    let [first, second] = tiers;
    let all_panic = (first.all == 0 || panics[0]) && (second.all == 0 || panics[1]) && first.all + second.all > 0;
    let first_percent = if all_panic {
        (u64::from(first.all) * 100 / (u64::from(first.all) + u64::from(second.all))) as u32
    } else {
        (health[0] * 100).checked_div(total).unwrap_or(if first.all > 0 { 100 } else { 0 })
    };
    Spill { first_percent, panics }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(all: u32, available: u32) -> Tier {
        Tier { all, healthy: available, available }
    }

    /// Envoy's documented table: 140 %, two priorities.
    #[test]
    fn load_spills_as_envoy_s_table_says() {
        for (first, second, want) in [
            (100, 100, 100),
            (72, 72, 100),
            (71, 71, 99),
            (50, 50, 70),
            (25, 100, 35),
            (25, 25, 50),
            (0, 100, 0),
            (5, 5, 50), // both panic at 50 %: by number
        ] {
            let spill = spill(Some(&Config::default()), 50, [tier(100, first), tier(100, second)]);
            assert_eq!(spill.first_percent, want, "{first} {second}");
        }
    }

    #[test]
    fn few_in_the_own_zone_panic_only_if_the_others_cannot_take_over() {
        let of = |first, second| spill(Some(&Config::default()), 50, [tier(10, first), tier(10, second)]);
        assert_eq!(of(2, 10), Spill { first_percent: 28, panics: [false, false] });
        assert_eq!(of(2, 5), Spill { first_percent: 28, panics: [true, false] });
        assert_eq!(of(1, 1), Spill { first_percent: 50, panics: [true, true] });
        assert_eq!(of(6, 4), Spill { first_percent: 84, panics: [false, false] });
    }

    #[test]
    fn without_zones_half_of_all_is_the_limit() {
        let of = |all, healthy, percent| spill(None, percent, [tier(all, healthy), Tier::default()]).panics[0];
        assert!(!of(10, 5, 50) && of(10, 4, 50) && of(10, 0, 50) && of(3, 1, 50) && !of(3, 2, 50));
        assert!(!of(10, 0, 0), "0 disables it");
        assert!(!of(0, 0, 50));
    }

    #[test]
    fn open_breakers_send_load_away_but_start_no_panic() {
        let behind_breakers = Tier { all: 10, healthy: 10, available: 0 };
        let of = |second| spill(Some(&Config::default()), 50, [behind_breakers, second]);
        assert_eq!(of(tier(10, 10)), Spill { first_percent: 0, panics: [false, false] });
        assert_eq!(of(behind_breakers), Spill { first_percent: 100, panics: [false, false] });
    }

    #[test]
    fn an_empty_zone_sends_everything_to_the_others() {
        assert_eq!(spill(Some(&Config::default()), 50, [Tier::default(), tier(4, 4)]).first_percent, 0);
        assert_eq!(spill(Some(&Config::default()), 50, [Tier::default(), tier(4, 1)]).first_percent, 0);
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            /// The model is Envoy's text in fractions.
            #[test]
            fn shares_are_those_of_the_formula(
                counts in prop::array::uniform2((0_u32..50).prop_flat_map(|all| (Just(all), 0..=all))),
                over in 100_u32..400,
                panic_percent in 0_u32..=100,
            ) {
                let tiers = counts.map(|(all, available)| tier(all, available));
                let got = spill(Some(&Config { overprovisioning_percent: over }), panic_percent, tiers);
                let ratio = |(all, up): (u32, u32)| if all == 0 { 0.0 } else { f64::from(up) / f64::from(all) };
                let health = counts.map(|count| (ratio(count) * f64::from(over)).min(100.0));
                prop_assert!(got.first_percent <= 100);
                let enough = health[0] + health[1] >= 102.0;
                if enough {
                    prop_assert_eq!(got.panics, [false, false]);
                    prop_assert!((f64::from(got.first_percent) - health[0]).abs() <= 1.0);
                }
                for (panics, count) in got.panics.into_iter().zip(counts) {
                    prop_assert!(!panics || ratio(count) * 100.0 < f64::from(panic_percent));
                }
                // Nobody sends where nobody is.
                prop_assert!(counts[0].0 > 0 || got.first_percent == 0);
                prop_assert!(counts[1].0 > 0 || counts[0].0 == 0 || got.first_percent == 100);
            }
        }
    }
}
