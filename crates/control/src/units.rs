//! Values with units, as files write them: `250ms`, `50%`.

use std::time::Duration;

/// Nanoseconds per unit.
const UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A span of time as Go and the Gateway API write it: numbers with units, largest first or not, `250ms`, `1.5s`, `1m30s`.
/// Exact to the nanosecond. Zero needs a unit too.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration: write a number with a unit, such as 250ms, 1s or 1m30s");
    let mut rest = text;
    let mut nanos: u64 = 0;
    if rest.is_empty() {
        return Err(wrong());
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .ok_or_else(|| format!("`{text}` has no unit: write {text}ms, {text}s or {text}m"))?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
        let span = scaled(number, *scale).ok_or_else(wrong)?;
        nanos = nanos.checked_add(span).ok_or_else(|| format!("`{text}` is longer than 584 years"))?;
        rest = tail;
    }
    Ok(Duration::from_nanos(nanos))
}

/// A share with a percent sign, in thousandths: `50%` is 500, `12.5%` is 125. Finer than a tenth of a percent is refused.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn percent(text: &str) -> Result<u32, String> {
    let wrong = || format!("`{text}` is not a percentage: write 50% or 12.5%");
    let number = text.strip_suffix('%').ok_or_else(wrong)?.trim_end();
    let share = scaled(number, 10).ok_or_else(|| format!("{}; a tenth of a percent is the finest", wrong()))?;
    u32::try_from(share).map_err(|_| wrong())
}

/// `number` × `scale` exactly, or `None` if it is no decimal number, too large, or finer than 1/`scale`.
#[must_use]
pub fn scaled(number: &str, scale: u64) -> Option<u64> {
    let (whole, fraction) = match number.split_once('.') {
        Some((_, "")) | None if number.ends_with('.') => return None,
        Some(parts) => parts,
        None => (number, ""),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || (!fraction.is_empty() && !digits(fraction)) {
        return None;
    }
    let mut total = whole.parse::<u64>().ok()?.checked_mul(scale)?;
    let fraction = fraction.trim_end_matches('0');
    if !fraction.is_empty() {
        let power = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
        let part = fraction.parse::<u128>().ok()?.checked_mul(u128::from(scale))?;
        if !part.is_multiple_of(power) {
            return None;
        }
        total = total.checked_add(u64::try_from(part / power).ok()?)?;
    }
    Some(total)
}

/// A span as a person would write it: the largest unit that is exact, `250ms`, `1500us`, `90s`.
#[must_use]
pub fn show(span: Duration) -> String {
    let nanos = span.as_nanos();
    for (unit, scale) in [("s", 1_000_000_000), ("ms", 1_000_000), ("us", 1_000)] {
        if nanos.is_multiple_of(scale) {
            return format!("{}{unit}", nanos / scale);
        }
    }
    format!("{nanos}ns")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_exact() {
        #[track_caller]
        fn check(text: &str, nanos: u64) {
            assert_eq!(duration(text), Ok(Duration::from_nanos(nanos)), "{text}");
        }
        check("0s", 0);
        check("250ms", 250_000_000);
        check("1.5s", 1_500_000_000);
        check("1m30s", 90_000_000_000);
        check("0.001us", 1);
        check("2h", 7_200_000_000_000);
    }

    #[test]
    fn a_number_without_a_unit_is_refused_with_a_suggestion() {
        assert_eq!(duration("250").expect_err("no unit"), "`250` has no unit: write 250ms, 250s or 250m");
        for text in ["", "s", "1d", "-1s", "1.s", ".5s", "0.0001us", "1s2", "99999999999h", "1..5s"] {
            assert!(duration(text).is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn percentages_are_thousandths() {
        assert_eq!(
            (percent("50%"), percent("12.5%"), percent("0%"), percent("100 %")),
            (Ok(500), Ok(125), Ok(0), Ok(1000))
        );
        for text in ["50", "12.55%", "%", "-1%", "a%"] {
            assert!(percent(text).is_err(), "{text} should be refused");
        }
    }

    #[test]
    fn spans_are_shown_in_the_largest_exact_unit() {
        assert_eq!(show(Duration::from_millis(1500)), "1500ms");
        assert_eq!(show(Duration::from_secs(90)), "90s");
        assert_eq!(show(Duration::from_nanos(1)), "1ns");
    }
}
