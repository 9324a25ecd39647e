//! Which trace a request belongs to (W3C Trace Context, else B3), and whether it is sampled: as its caller decided, or, where nobody has
//! decided yet, a share of the trace ids, the same whoever asks.

use http::HeaderMap;
use squall_policy::{AttemptNumber, Rng};

use crate::b3;
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
    /// `tracestate` is this trace's.
    has_state: bool,
    b3: b3::Formats,
}

impl Trace {
    /// Continues the caller's trace, or begins one. What is no sound B3 is removed from its head.
    pub(crate) fn begin(sampling: Sampling, headers: &mut HeaderMap, seen: Seen, dice: &mut Rng) -> Self {
        let span = dice.bits().max(1);
        let (said, b3) = b3::read(headers, seen);
        if let Some(line) = headers::traceparent(headers, seen) {
            let number = |range: std::ops::Range<usize>| {
                line[range].iter().fold(0_u128, |sum, digit| sum << 4 | u128::from(hex(*digit)))
            };
            let (id, parent) = (number(3..35), Some(number(36..52) as u64));
            return Self {
                id,
                parent,
                span,
                sampled: hex(line[54]) & 1 == 1,
                has_state: true,
                b3: b3.beside(said, id),
            };
        }
        let (id, parent) = match said.ids {
            Some(ids) => (ids.trace, Some(ids.span)),
            None => (u128::from(dice.bits()) << 64 | u128::from(dice.bits() | 1), None),
        };
        let sampled = match said.decision {
            Some(b3::Decision::Deny) => false,
            Some(b3::Decision::Accept | b3::Decision::Debug) => true,
            None => sampling.takes(id),
        };
        Self { id, parent, span, sampled, has_state: false, b3 }
    }

    /// Says in a head that the span of serving the request is the parent of what comes next.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        self.say(headers, self.span, self.parent);
    }

    /// Says in a head that the span of a try is the parent of what comes next.
    pub(crate) fn write_try(&self, headers: &mut HeaderMap, attempt: AttemptNumber) {
        self.say(headers, span_of(self.span, attempt), Some(self.span));
    }

    fn say(&self, headers: &mut HeaderMap, span: u64, parent: Option<u64>) {
        headers::set_traceparent(headers, self.id, span, self.sampled);
        self.b3.write(headers, self.id, span, parent, self.sampled);
        if !self.has_state {
            // It belongs to a trace that is not continued.
            headers.remove(TRACESTATE);
        }
    }

    /// The caller's `tracestate`, as far as it is kept with the span.
    pub(crate) fn state<'h>(&self, headers: &'h HeaderMap) -> &'h str {
        let state = if self.has_state { headers.get(TRACESTATE) } else { None };
        let state = state.and_then(|state| state.to_str().ok());
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
        let seen = Seen::of(&headers);
        let trace = Trace::begin(sampling, &mut headers, seen, &mut Rng::from_seed(seed));
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
        trace.write_try(&mut headers, 1);
        assert!(!headers.contains_key("tracestate"), "it was of another trace");
        let seen = Seen::of(&headers);
        let next = Trace::begin(Sampling::DEFAULT, &mut headers, seen, &mut Rng::from_seed(8));
        assert_eq!((next.id, next.parent, next.sampled), (trace.id, Some(span_of(trace.span, 1)), true));
        assert_ne!(next.span, trace.span);
    }

    /// A request of this B3 and this `traceparent`, in a proxy that samples nothing by itself, or all.
    fn of_b3(b3: &'static str, traceparent: Option<&'static str>, millionths: u32) -> (Trace, HeaderMap) {
        let mut headers = HeaderMap::new();
        headers.insert("b3", HeaderValue::from_static(b3));
        headers.insert("tracestate", HeaderValue::from_static("x=1"));
        if let Some(line) = traceparent {
            headers.insert("traceparent", HeaderValue::from_static(line));
        }
        let (seen, sampling) = (Seen::of(&headers), Sampling::new(millionths).expect("not more than all"));
        let trace = Trace::begin(sampling, &mut headers, seen, &mut Rng::from_seed(3));
        trace.write_try(&mut headers, 1);
        (trace, headers)
    }

    #[test]
    fn without_a_traceparent_b3_decides_and_what_it_leaves_open_is_decided_here() {
        for (b3, [of_none, of_all]) in [
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-0", [false, false]),
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-1", [true, true]),
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1-d", [true, true]),
            ("64fe8b2a57d3eff7-e457b5a2e4d86bd1", [false, true]),
        ] {
            for (millionths, sampled) in [(0, of_none), (1_000_000, of_all)] {
                let (trace, headers) = of_b3(b3, None, millionths);
                assert_eq!((trace.id, trace.parent), (0x64fe_8b2a_57d3_eff7, Some(0xe457_b5a2_e4d8_6bd1)), "{b3}");
                assert_eq!(trace.sampled, sampled, "{b3} at {millionths}");
                let flag = u8::from(sampled);
                let span = span_of(trace.span, 1);
                assert_eq!(headers["traceparent"], format!("00-000000000000000064fe8b2a57d3eff7-{span:016x}-0{flag}"));
                let decision = if b3.ends_with('d') { "d".to_owned() } else { flag.to_string() };
                assert_eq!(headers["b3"], format!("64fe8b2a57d3eff7-{span:016x}-{decision}-{:016x}", trace.span));
                assert!(!headers.contains_key("tracestate") && trace.state(&headers).is_empty(), "{b3}");
            }
        }
        for (b3, sampled) in [("0", false), ("1", true), ("d", true)] {
            for millionths in [0, 1_000_000] {
                let (trace, headers) = of_b3(b3, None, millionths);
                assert_eq!((trace.parent, trace.sampled), (None, sampled), "{b3} at {millionths}");
                assert!(headers["b3"].to_str().expect("ascii").starts_with(&format!("{:032x}-", trace.id)));
            }
        }
    }

    #[test]
    fn a_traceparent_is_followed_whatever_b3_says_and_b3_says_the_same_then() {
        let line = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        for b3 in ["64fe8b2a57d3eff7-e457b5a2e4d86bd1-1", "1"] {
            let (trace, headers) = of_b3(b3, Some(line), 1_000_000);
            assert_eq!((trace.parent, trace.sampled), (Some(0xf0_67aa_0ba9_02b7), false));
            let span = span_of(trace.span, 1);
            let told = format!("4bf92f3577b34da6a3ce929d0e0e4736-{span:016x}-0-{:016x}", trace.span);
            assert_eq!(headers["b3"], told);
            assert_eq!((&headers["tracestate"], trace.state(&headers)), (&HeaderValue::from_static("x=1"), "x=1"));
        }
        let (trace, headers) = of_b3("broken", Some(line), 0);
        assert!(trace.parent.is_some() && !headers.contains_key("b3"));
    }

    #[test]
    fn tries_have_spans_of_their_own() {
        let spans: BTreeSet<u64> = (0..1000).flat_map(|request| (1..10).map(move |n| span_of(request, n))).collect();
        assert_eq!(spans.len(), 9000);
        assert!(!spans.contains(&0));
    }
}
