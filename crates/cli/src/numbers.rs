//! Numbers as people and as machines read them. From integers wherever a measure is one, so that no rounding differs.

use std::time::Duration;

use squall_sim::Recovery;

/// Three significant digits and a unit: `417 µs`, `41.0 ms`, `1.00 s`, `600 s`.
pub(crate) fn span(span: Duration) -> String {
    let ns = span.as_nanos();
    // The limits lie half a digit below the unit, so that 999.7 µs is 1.00 ms and not 1000 µs.
    let (unit, name) = match ns {
        0 => return "0 s".into(),
        1..1_000 => (1, "ns"),
        1_000..999_500 => (1_000, "µs"),
        999_500..999_500_000 => (1_000_000, "ms"),
        _ => (1_000_000_000, "s"),
    };
    let hundredths = (ns * 100 + unit / 2) / unit;
    let tenths = (ns * 10 + unit / 2) / unit;
    match hundredths {
        _ if unit == 1 => format!("{ns} {name}"),
        0..1_000 => format!("{}.{:02} {name}", hundredths / 100, hundredths % 100),
        1_000..9_995 => format!("{}.{} {name}", tenths / 10, tenths % 10),
        _ => format!("{} {name}", (ns + unit / 2) / unit),
    }
}

/// Milliseconds with all their digits: `41.002000`.
pub(crate) fn millis(span: Duration) -> String {
    let ns = span.as_nanos();
    format!("{}.{:06}", ns / 1_000_000, ns % 1_000_000)
}

/// Seconds with all their digits: `2.100000000`.
pub(crate) fn seconds(span: Duration) -> String {
    format!("{}.{:09}", span.as_secs(), span.subsec_nanos())
}

/// Two digits after the point, cut and not rounded: 99.999 % of the requests are not all of them.
pub(crate) fn percent(part: u64, whole: u64) -> String {
    let hundredths = if whole == 0 { 10_000 } else { u128::from(part) * 10_000 / u128::from(whole) };
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// A success rate that is only known as a ratio.
pub(crate) fn percent_of(ratio: f64) -> String {
    // Half a millionth makes up for a ratio such as 0.9995 having no exact binary form.
    let hundredths = (ratio * 10_000.0 + 1e-6).floor();
    format!("{:.2} %", hundredths / 100.0)
}

/// The end of a line of the table: nothing without faults.
pub(crate) fn recovery(recovery: Recovery) -> String {
    match recovery {
        Recovery::NoFault => String::new(),
        Recovery::After(after) if after.is_zero() => "recovered at once".into(),
        Recovery::After(after) => format!("recovered in {}", span(after)),
        Recovery::Never => "not recovered".into(),
    }
}

/// The same in a column of its own.
pub(crate) fn recovered(recovery: Recovery) -> String {
    match recovery {
        Recovery::NoFault => String::new(),
        Recovery::After(after) if after.is_zero() => "at once".into(),
        Recovery::After(after) => span(after),
        Recovery::Never => "never".into(),
    }
}

/// Thousandths of a request per second as the command line takes them: `200/s`, `0.5/s`.
pub(crate) fn rate(millis: u64) -> String {
    let fraction = format!("{:03}", millis % 1000);
    match fraction.trim_end_matches('0') {
        "" => format!("{}/s", millis / 1000),
        fraction => format!("{}.{fraction}/s", millis / 1000),
    }
}

/// `1 seed`, `20 seeds`.
pub(crate) fn count(count: usize, what: &str) -> String {
    let end = if count == 1 { "" } else { "s" };
    format!("{count} {what}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_has_three_digits_and_a_unit() {
        let cases = [
            (0, "0 s"),
            (417, "417 ns"),
            (1_500, "1.50 µs"),
            (999_499, "999 µs"),
            (999_500, "1.00 ms"),
            (41_000_000, "41.0 ms"),
            (99_940_000, "99.9 ms"),
            (99_960_000, "100 ms"),
            (999_600_000, "1.00 s"),
            (2_100_000_000, "2.10 s"),
            (600_000_000_000, "600 s"),
        ];
        for (ns, want) in cases {
            assert_eq!(span(Duration::from_nanos(ns)), want, "{ns} ns");
        }
    }

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!(percent(99_999, 100_000), "99.99 %");
        assert_eq!(percent(100_000, 100_000), "100.00 %");
        assert_eq!(percent(0, 0), "100.00 %");
        assert_eq!(percent_of(0.9995), "99.95 %");
        assert_eq!(percent_of(0.999_999), "99.99 %");
        assert_eq!(percent_of(1.0), "100.00 %");
    }

    #[test]
    fn machines_get_every_digit() {
        assert_eq!(millis(Duration::from_nanos(41_002_003)), "41.002003");
        assert_eq!(seconds(Duration::from_nanos(2_100_000_001)), "2.100000001");
    }
}
