//! Times as logs write them.

use std::time::Duration;

/// Since 1970, of `2026-11-23T03:00:00.250Z` or with an offset (RFC 3339).
pub(super) fn rfc3339(text: &str) -> Option<Duration> {
    let (date, rest) = text.split_once(['T', ' '])?;
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?)?, number(date.next()?)?, number(date.next()?)?);
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (time, zone) = rest.split_at(zone_at);
    let offset = if zone.eq_ignore_ascii_case("z") { 0 } else { offset(zone)? };
    at(year, month, day, time, offset)
}

/// Since 1970, of `10/Oct/2000:13:55:36 -0700` (common log format).
pub(super) fn common(text: &str) -> Option<Duration> {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (stamp, zone) = text.split_once(' ')?;
    let (date, time) = stamp.split_once(':')?;
    let mut date = date.split('/');
    let day = number(date.next()?)?;
    let name = date.next()?;
    let month = MONTHS.iter().position(|month| *month == name)? as i64 + 1;
    at(number(date.next()?)?, month, day, time, offset(zone)?)
}

fn number(text: &str) -> Option<i64> {
    let digits = !text.is_empty() && text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

/// Seconds east of Greenwich, of `+02:00` or `-0700`.
fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let (hours, minutes) = digits.split_at_checked(2)?;
    Some(sign * (number(hours)? * 3600 + number(minutes)? * 60))
}

fn at(year: i64, month: i64, day: i64, time: &str, offset: i64) -> Option<Duration> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let mut parts = time.split(':');
    let (hour, minute, second) = (number(parts.next()?)?, number(parts.next()?)?, parts.next()?);
    let (second, fraction) = second.split_once('.').unwrap_or((second, ""));
    let second = number(second)?;
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let nanos: u32 = match fraction {
        "" => 0,
        digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("{:0<9}", digits.get(..9.min(digits.len()))?).parse().ok()?
        }
        _ => return None,
    };
    // Days since 1970 of the proleptic Gregorian calendar (Howard Hinnant's algorithm).
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_their_offsets() {
        let since = |seconds, nanos| Some(Duration::new(seconds, nanos));
        assert_eq!(rfc3339("1994-11-06T08:49:37.250Z"), since(784_111_777, 250_000_000));
        assert_eq!(rfc3339("1994-11-06T10:49:37+02:00"), since(784_111_777, 0));
        assert_eq!(rfc3339("2024-02-29T00:00:00Z"), since(1_709_164_800, 0));
        assert_eq!(common("10/Oct/2000:13:55:36 -0700"), since(971_211_336, 0));
        for text in ["", "1994-11-06", "1994-13-06T08:49:37Z", "1994-11-06T08:49Z", "1994-11-06T08:49:37", "yesterday"]
        {
            assert_eq!(rfc3339(text), None, "{text}");
        }
        assert_eq!(common("10/Okt/2000:13:55:36 -0700"), None);
    }
}
