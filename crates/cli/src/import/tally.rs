//! What is counted while a file goes by, in bounded memory.

use std::io::BufRead;
use std::path::Path;
use std::time::Duration;

use squall_control::units;

use crate::numbers;

/// The longest line that is read; a longer one cannot be an access log's.
const LINE_BYTES: usize = 1 << 20;

/// The longest that a request may have taken: what a scenario may say.
pub(super) const TOOK_MAX: Duration = Duration::from_secs(24 * 3600);

/// Lines or elements that could not be read.
#[derive(Debug, Default)]
pub(super) struct Bad {
    count: u64,
    /// The place and why, of the first.
    first: Option<(String, String)>,
}

impl Bad {
    pub(super) fn add(&mut self, place: impl FnOnce() -> String, why: impl Into<String>) {
        self.count += 1;
        if self.first.is_none() {
            self.first = Some((place(), why.into()));
        }
    }

    /// For people, if there were any.
    pub(super) fn note(&self, what: &str) -> Option<String> {
        let (place, why) = self.first.as_ref()?;
        let were = if self.count == 1 { "was left out, at" } else { "were left out; the first is" };
        Some(format!("{} could not be read and {were} {place}: {why}", count(self.count, what)))
    }
}

/// `1 span`, `20 spans`.
pub(super) fn count(count: u64, what: &str) -> String {
    numbers::count(usize::try_from(count).unwrap_or(usize::MAX), what)
}

/// Calls `take` with each line of a file, its number from 1 and its text without the end; empty lines are passed over. Lines that are too
/// long or not UTF-8 are `bad`.
///
/// # Errors
/// The file cannot be read on.
pub(super) fn lines(
    path: &Path,
    reader: &mut impl BufRead,
    bad: &mut Bad,
    mut take: impl FnMut(u64, &str, &mut Bad),
) -> Result<(), String> {
    let mut bytes = Vec::new();
    let mut number = 0;
    loop {
        bytes.clear();
        let mut limited = std::io::Read::take(&mut *reader, LINE_BYTES as u64);
        let length = limited
            .read_until(b'\n', &mut bytes)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if length == 0 {
            return Ok(());
        }
        number += 1;
        let place = || format!("{}:{number}", path.display());
        if bytes.last() != Some(&b'\n') && length == LINE_BYTES {
            bad.add(place, format!("longer than {LINE_BYTES} bytes"));
            skip_line(reader).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            continue;
        }
        match std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\n', '\r'])) {
            Ok(text) if text.trim().is_empty() => {}
            Ok(text) => take(number, text, bad),
            Err(_) => bad.add(place, "not UTF-8"),
        }
    }
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let (used, done) = {
            let buffer = reader.fill_buf()?;
            match buffer.iter().position(|byte| *byte == b'\n') {
                Some(at) => (at + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            }
        };
        reader.consume(used);
        if done {
            return Ok(());
        }
    }
}

/// Sub-buckets of each power of two: a percentile is off by 1/64 of itself at most.
const SUB: u64 = 32;
const BUCKETS: usize = (64 - 5) * SUB as usize + SUB as usize;

/// How spans of time spread: a histogram of fixed size.
#[derive(Clone, Default)]
pub(super) struct Spread {
    counts: Vec<u32>,
    total: u64,
}

fn bucket(nanos: u64) -> usize {
    if nanos < SUB {
        return nanos as usize;
    }
    let power = u64::from(63 - nanos.leading_zeros());
    let within = (nanos >> (power - 5)) - SUB;
    ((power - 4) * SUB + within) as usize
}

/// The middle of a bucket.
fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < SUB {
        return bucket;
    }
    let (power, within) = (bucket / SUB + 4, bucket % SUB);
    let width = 1 << (power - 5);
    (SUB + within) * width + width / 2
}

impl Spread {
    pub(super) fn add(&mut self, span: Duration) {
        let nanos = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        if self.counts.is_empty() {
            self.counts = vec![0; BUCKETS];
        }
        if let Some(count) = self.counts.get_mut(bucket(nanos)) {
            *count = count.saturating_add(1);
        }
        self.total += 1;
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The value that this share of all is at or below; 0 without any.
    pub(super) fn percentile(&self, permille: u64) -> Duration {
        let rank = (self.total * permille).div_ceil(1000).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Duration::from_nanos(middle(bucket));
            }
        }
        Duration::ZERO
    }

    /// As the time of a service: lognormal through both percentiles. With nothing or next to nothing: constant.
    pub(super) fn distribution(&self) -> String {
        let (p50, p99) = (rounded(self.percentile(500)), rounded(self.percentile(990)));
        match (p50.is_zero(), p99 > p50) {
            (true, true) => format!("{{p50: 1us, p99: {}}}", units::show(p99)),
            (true, false) => "0s".to_owned(),
            (false, true) => format!("{{p50: {}, p99: {}}}", units::show(p50), units::show(p99)),
            (false, false) => units::show(p50),
        }
    }
}

/// To three digits, in whole microseconds.
pub(super) fn rounded(span: Duration) -> Duration {
    let micros = u64::try_from(span.as_nanos().div_ceil(1000)).unwrap_or(u64::MAX);
    let mut scale = 1;
    while micros / scale >= 1000 {
        scale *= 10;
    }
    Duration::from_micros((micros + scale / 2) / scale * scale)
}

/// A share as scenarios write it, to a hundredth of a percent; `None`: next to nothing.
pub(super) fn share(part: u64, of: u64) -> Option<String> {
    if of == 0 {
        return None;
    }
    let hundredths = (u128::from(part) * 10_000 + u128::from(of) / 2) / u128::from(of);
    match hundredths {
        0 => None,
        whole if whole % 100 == 0 => Some(format!("{}%", whole / 100)),
        other => Some(format!("{}.{}%", other / 100, format!("{:02}", other % 100).trim_end_matches('0'))),
    }
}

/// So many in so long, per second, in thousandths, to three digits; at least one in a thousand seconds.
pub(super) fn rate_milli(count: u64, during: Duration) -> u64 {
    let nanos = during.as_nanos().max(1);
    let milli = u64::try_from(u128::from(count) * 1_000_000_000_000 / nanos).unwrap_or(u64::MAX);
    let mut scale = 1;
    while milli / scale >= 1000 {
        scale *= 10;
    }
    ((milli + scale / 2) / scale * scale).clamp(1, 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_sixty_fourth() {
        let mut spread = Spread::default();
        for micros in 1..=10_000 {
            spread.add(Duration::from_micros(micros));
        }
        for (permille, micros) in [(500, 5000.0), (900, 9000.0), (990, 9900.0), (10, 100.0)] {
            let found = spread.percentile(permille).as_nanos() as f64 / 1000.0;
            assert!((found / micros - 1.0).abs() < 1.0 / 60.0, "{permille}: {found}");
        }
        assert_eq!(Spread::default().percentile(500), Duration::ZERO);
        for nanos in [0, 1, 31, 32, 33, 1000, u64::MAX / 3, u64::MAX] {
            let off = middle(bucket(nanos)).abs_diff(nanos);
            assert!(off <= nanos / 60 + 1, "{nanos} is taken for {}", middle(bucket(nanos)));
            assert!(bucket(nanos) < BUCKETS, "{nanos}");
        }
    }

    #[test]
    fn numbers_are_written_as_scenarios_take_them() {
        assert_eq!(share(1, 3).as_deref(), Some("33.33%"));
        assert_eq!(share(1, 100).as_deref(), Some("1%"));
        assert_eq!(share(1, 1_000_000), None);
        assert_eq!(rate_milli(3000, Duration::from_secs(30)), 100_000);
        assert_eq!(rate_milli(1234, Duration::from_secs(1)), 1_230_000);
        assert_eq!(rounded(Duration::from_nanos(4_123_456)), Duration::from_micros(4120));
    }

    #[test]
    fn bad_lines_are_counted_with_the_place_of_the_first() {
        let mut text = b"good\n\xff\xfe\n\ngood\n".to_vec();
        text.extend(vec![b'x'; LINE_BYTES + 10]);
        text.extend(b"\nlast");
        let (mut bad, mut seen) = (Bad::default(), Vec::new());
        lines(Path::new("a.log"), &mut &text[..], &mut bad, |number, text, _| seen.push((number, text.to_owned())))
            .expect("it is in memory");
        assert_eq!(seen, [(1, "good".to_owned()), (4, "good".to_owned()), (6, "last".to_owned())]);
        let note = bad.note("line").expect("two are bad");
        assert!(note.starts_with("2 lines could not be read") && note.contains("a.log:2: not UTF-8"), "{note}");
    }
}
