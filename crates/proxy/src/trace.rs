//! Which trace a request belongs to (W3C Trace Context), and whether it is sampled: as its caller decided, or, where nobody has
//! decided yet, a share of the trace ids, the same whoever asks.

use http::HeaderMap;
use squall_policy::{AttemptNumber, Rng};

use crate::headers::{self, TRACESTATE};
use crate::seen::Seen;

/// The longest `tracestate` that is kept with a span (W3C Trace Context §3.3.1.5 asks for no less). It is passed on whatever its length.
const STATE_MAX: usize = 512;

/// Which of the traces that begin here are sampled. Traces that come with a caller's decision follow it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// In millionths.
    millionths: u32,
}

impl Sampling {
    /// One in a hundred, as Istio has it.
    pub const DEFAULT: Self = Self { millionths: 10_000 };

    /// So many millionths of them, 0 to 1,000,000. 0: only those that callers sampled. `None`: it is more than all.
    #[must_use]
    pub fn new(millionths: u32) -> Option<Self> {
        (millionths <= 1_000_000).then_some(Self { millionths })
    }

    /// By the lower 56 bits, which are random in every trace id that is (W3C Trace Context 2 §5.1.2): others who sample by them sample
    /// the same traces.
    fn takes(self, trace: u128) -> bool {
        let random = trace & ((1 << 56) - 1);
        random * 1_000_000 < u128::from(self.millionths) << 56
    }
}

/// The trace of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    pub(crate) id: u128,
    /// The caller's span. `None`: the trace begins here.
    pub(crate) parent: Option<u64>,
    /// That of serving the request.
    pub(crate) span: u64,
    pub(crate) sampled: bool,
}

impl Trace {
    /// Continues the caller's trace, or begins one.
    pub(crate) fn begin(sampling: Sampling, headers: &HeaderMap, seen: Seen, dice: &mut Rng) -> Self {
        let span = dice.bits().max(1);
        if let Some(line) = headers::traceparent(headers, seen) {
            let number = |range: std::ops::Range<usize>| {
                line[range].iter().fold(0_u128, |sum, digit| sum << 4 | u128::from(hex(*digit)))
            };
            let parent = number(36..52) as u64;
            return Self { id: number(3..35), parent: Some(parent), span, sampled: hex(line[54]) & 1 == 1 };
        }
        let id = u128::from(dice.bits()) << 64 | u128::from(dice.bits() | 1);
        Self { id, parent: None, span, sampled: sampling.takes(id) }
    }

    /// Says in a head that `span` is the parent of what comes next.
    pub(crate) fn write(&self, headers: &mut HeaderMap, span: u64) {
        headers::set_traceparent(headers, self.id, span, self.sampled);
        if self.parent.is_none() {
            // It belongs to a trace that is not continued.
            headers.remove(TRACESTATE);
        }
    }

    /// The caller's `tracestate`, as far as it is kept with the span.
    pub(crate) fn state<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        let state = self.parent.and_then(|_| headers.get(TRACESTATE)).and_then(|state| state.to_str().ok());
        state.filter(|state| state.len() <= STATE_MAX).unwrap_or_default()
    }
}

/// The span of a try, by the span of its request: nobody needs to keep it or say it.
pub(crate) fn span_of(request: u64, attempt: AttemptNumber) -> u64 {
    // The finalizer of SplitMix64, a bijection: the tries of a request have different spans.
    let mut bits = request.wrapping_add(u64::from(attempt).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (bits ^ bits >> 31).max(1)
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => digit - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use http::HeaderValue;

    use super::*;

    fn begin(millionths: u32, line: Option<&'static str>, seed: u64) -> (Trace, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert("tracestate", HeaderValue::from_static("x=1"));
        if let Some(line) = line {
            headers.insert("traceparent", HeaderValue::from_static(line));
        }
        let sampling = Sampling::new(millionths).expect("not more than all");
        let trace = Trace::begin(sampling, &headers, Seen::of(&headers), &mut Rng::from_seed(seed));
        (trace, headers)
    }

    #[test]
    fn the_caller_decides_whether_its_trace_is_sampled() {
        for (line, sampled) in [
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", false),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", true),
            ("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-02", false),
            ("cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-03-more", true),
        ] {
            for millionths in [0, 1_000_000] {
                let (trace, headers) = begin(millionths, Some(line), 1);
                assert_eq!(trace.sampled, sampled, "{line} at {millionths}");
                assert_eq!(
                    (trace.id, trace.parent),
                    (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, Some(0xf0_67aa_0ba9_02b7))
                );
                assert_eq!(trace.state(&headers), "x=1");
            }
        }
    }

    #[test]
    fn without_a_sound_caller_a_share_of_the_traces_is_sampled() {
        for line in [None, Some("00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01"), Some("")] {
            for (millionths, want) in
                [(0, 0..=0), (10_000, 60..=140), (500_000, 4_800..=5_200), (1_000_000, 10_000..=10_000)]
            {
                let sampled = (0..10_000).filter(|seed| begin(millionths, line, *seed).0.sampled).count();
                assert!(want.contains(&sampled), "{sampled} of 10,000 at {millionths}");
            }
            let (trace, headers) = begin(1_000_000, line, 1);
            assert_eq!((trace.parent, trace.state(&headers)), (None, ""));
        }
        assert_eq!(Sampling::new(1_000_001), None);
    }

    #[test]
    fn what_is_written_is_read_again() {
        let (trace, mut headers) = begin(1_000_000, None, 7);
        trace.write(&mut headers, span_of(trace.span, 1));
        assert!(!headers.contains_key("tracestate"), "it was of another trace");
        let next = Trace::begin(Sampling::DEFAULT, &headers, Seen::of(&headers), &mut Rng::from_seed(8));
        assert_eq!((next.id, next.parent, next.sampled), (trace.id, Some(span_of(trace.span, 1)), true));
        assert_ne!(next.span, trace.span);
    }

    #[test]
    fn tries_have_spans_of_their_own() {
        let spans: BTreeSet<u64> = (0..1000).flat_map(|request| (1..10).map(move |n| span_of(request, n))).collect();
        assert_eq!(spans.len(), 9000);
        assert!(!spans.contains(&0));
    }
}
