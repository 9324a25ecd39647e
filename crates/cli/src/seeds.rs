//! Which seeds to run.

use std::collections::BTreeSet;
use std::str::FromStr;

/// More would not fit into memory; nobody waits that long.
const COUNT_MAX: u64 = 1_000_000;

/// Seeds in ascending order, each once, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seeds(pub(crate) Vec<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut seeds = BTreeSet::new();
        for part in text.split(',') {
            let number = |text: &str| {
                let text = text.trim();
                text.parse::<u64>().map_err(|_| format!("`{text}` is not a seed; write 7, 1..100 or 1,3,9"))
            };
            let (first, last) = match part.split_once("..") {
                Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
                None => (number(part)?, number(part)?),
            };
            if first > last {
                return Err(format!("`{}` holds no seed: {first} is more than {last}", part.trim()));
            }
            if last - first >= COUNT_MAX || (last - first + 1) + seeds.len() as u64 > COUNT_MAX {
                return Err(format!("more than {COUNT_MAX} seeds"));
            }
            seeds.extend(first..=last);
        }
        Ok(Self(seeds.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: &[u64]) {
        assert_eq!(text.parse::<Seeds>().map(|s| s.0).as_deref(), Ok(want), "{text}");
    }

    #[test]
    fn seeds_are_one_or_a_range_or_a_list() {
        check("7", &[7]);
        check("1..3", &[1, 2, 3]);
        check("1..=3", &[1, 2, 3]);
        check("9,1, 3..4,3", &[1, 3, 4, 9]);
        check("18446744073709551615", &[u64::MAX]);
    }

    #[test]
    fn an_impossible_list_is_refused() {
        for bad in ["", "x", "3..1", "1..", "-1", "1,,2", "0..18446744073709551615", "1..2000000"] {
            assert!(bad.parse::<Seeds>().is_err(), "{bad}");
        }
    }
}
