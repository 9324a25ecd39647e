//! HdrHistogram's log of intervals, version 1.3 with histograms in the V2 encoding: what its tools and viewers read.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use squall_sim::{Case, Outcome};

/// As long as an interval is.
const INTERVAL: Duration = Duration::from_secs(1);
/// Values are told apart to so many digits.
const DIGITS: u8 = 3;
/// Maxima outside of histograms are in milliseconds.
const MAX_DIVISOR: f64 = 1e6;

/// What stands before all intervals: times are the scenario's, which begins at 0.
pub(super) fn head() -> Vec<u8> {
    let head = "#[Latencies of requests in ns, by the second of their arrival; Tag is scenario/seed; Interval_Max is in ms]\n\
                #[Histogram log format version 1.3]\n\
                #[StartTime: 0.000 (seconds since epoch)]\n\
                #[BaseTime: 0.000 (seconds since epoch)]\n\
                \"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";
    head.as_bytes().to_vec()
}

/// The intervals of one run, in order of time. An interval without requests is left out.
pub(super) fn run(case: &Case, outcome: &Outcome) -> Vec<u8> {
    let mut intervals: BTreeMap<u64, Histogram<u64>> = BTreeMap::new();
    for request in &outcome.requests {
        let second = request.at.as_nanos() / 1_000_000_000;
        let histogram = intervals
            .entry(second)
            .or_insert_with(|| Histogram::new(DIGITS).expect("three digits are fewer than five"));
        let nanos = u64::try_from(request.took.as_nanos()).unwrap_or(u64::MAX);
        histogram.record(nanos).expect("it grows, and is of 64 bits");
    }
    let mut out = Vec::new();
    let mut serializer = V2DeflateSerializer::new();
    let tag = format!("{}/{}", case.scenario, case.seed);
    let tag = Tag::new(&tag).expect("names of scenarios have no comma, space or line break");
    let mut log = IntervalLogWriterBuilder::new()
        .with_max_value_divisor(MAX_DIVISOR)
        .begin_log_with(&mut out, &mut serializer)
        .expect("memory takes every byte");
    for (second, histogram) in &intervals {
        let start = Duration::from_secs(*second);
        log.write_histogram(histogram, start, INTERVAL, Some(tag)).expect("memory takes every byte");
    }
    // A log begins with its head each time it is begun; here it has begun already.
    let text = String::from_utf8_lossy(&out);
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with('"'));
    lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()
}
