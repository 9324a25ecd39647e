//! What the world itself notes: load, applications, faults. Proxies and the control plane note their own records.

use std::fmt;
use std::time::Duration;

use crate::history::Field;

/// One event outside the proxies. Numbers of requests count from 1 over all loads, in order of arrival.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) enum Note<'a> {
    /// A load generator asks.
    Asked { request: u64, method: &'a str, path: &'a str, to: &'a str },
    /// It has its answer.
    Answered { request: u64, status: u16, grpc: Option<u8>, whole: bool, latency: Duration },
    /// The connection to its sidecar failed.
    Unanswered { request: u64, latency: Duration },
    /// It gave up.
    GaveUp { request: u64, after: Duration },
    /// A request reached an application.
    Arrived { request: Option<u64>, method: &'a str, path: &'a str },
    /// It waits for a slot, behind so many requests inside.
    Waits { request: Option<u64> },
    /// It got a slot and takes this long before its steps.
    Begins { request: Option<u64>, waited: Duration, time: Duration },
    /// The queue was full.
    Overflows { request: Option<u64> },
    /// The application answers.
    Answers { request: Option<u64>, status: u16, grpc: Option<u8>, why: &'a str },
    /// The application calls another service.
    Calls { request: Option<u64>, host: &'a str, method: &'a str, path: &'a str, try_number: u32, tries: u32 },
    /// What a try of a call gave; `status` 0: no answer.
    CallEnded { request: Option<u64>, host: &'a str, status: u16, grpc: Option<u8>, took: Duration },
    /// A try of a call took longer than the application's own time-out.
    CallTimedOut { request: Option<u64>, host: &'a str, after: Duration },
    /// A pod's sidecar and application are up.
    Ready,
    /// A pod begins to drain.
    Drains,
    /// A pod has drained.
    Drained,
    /// The registry now shows the pod so.
    Registered { ready: bool, terminating: bool },
    /// The scenario's time 0.
    Started,
    /// A fault begins.
    FaultBegins { fault: usize, name: &'a str },
    /// A fault ends.
    FaultEnds { fault: usize, name: &'a str, touched: u64 },
}

impl Note<'_> {
    /// What kind, for machines.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Asked { .. } => "asked",
            Self::Answered { .. } => "answered",
            Self::Unanswered { .. } => "unanswered",
            Self::GaveUp { .. } => "gave-up",
            Self::Arrived { .. } => "arrived",
            Self::Waits { .. } => "waits",
            Self::Begins { .. } => "begins",
            Self::Overflows { .. } => "overflows",
            Self::Answers { .. } => "answers",
            Self::Calls { .. } => "calls",
            Self::CallEnded { .. } => "call-ended",
            Self::CallTimedOut { .. } => "call-timed-out",
            Self::Ready => "ready",
            Self::Drains => "drains",
            Self::Drained => "drained",
            Self::Registered { .. } => "registered",
            Self::Started => "started",
            Self::FaultBegins { .. } => "fault-begins",
            Self::FaultEnds { .. } => "fault-ends",
        }
    }

    /// The load's request it belongs to.
    pub(crate) fn request(&self) -> Option<u64> {
        match self {
            Self::Asked { request, .. }
            | Self::Answered { request, .. }
            | Self::Unanswered { request, .. }
            | Self::GaveUp { request, .. } => Some(*request),
            Self::Arrived { request, .. }
            | Self::Waits { request }
            | Self::Begins { request, .. }
            | Self::Overflows { request }
            | Self::Answers { request, .. }
            | Self::Calls { request, .. }
            | Self::CallEnded { request, .. }
            | Self::CallTimedOut { request, .. } => *request,
            Self::Ready
            | Self::Drains
            | Self::Drained
            | Self::Registered { .. }
            | Self::Started
            | Self::FaultBegins { .. }
            | Self::FaultEnds { .. } => None,
        }
    }
}

impl Note<'_> {
    /// Its numbers, with units in their names.
    pub(crate) fn fields(&self) -> Vec<(&'static str, Field)> {
        let number = |number: u64| Field::Number(number);
        let text = |text: &str| Field::Text(text.to_owned());
        let nanos = |span: Duration| Field::Number(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX));
        let status = |status: u16, grpc: Option<u8>| {
            let mut fields = vec![("status", number(u64::from(status)))];
            fields.extend(grpc.map(|grpc| ("grpc_status", number(u64::from(grpc)))));
            fields
        };
        match self {
            Self::Asked { method, path, to, .. } => {
                vec![("method", text(method)), ("path", text(path)), ("to", text(to))]
            }
            Self::Answered { status: code, grpc, latency, .. } => {
                let mut fields = status(*code, *grpc);
                fields.push(("latency_ns", nanos(*latency)));
                fields
            }
            Self::Unanswered { latency, .. } => vec![("latency_ns", nanos(*latency))],
            Self::GaveUp { after, .. } => vec![("after_ns", nanos(*after))],
            Self::Arrived { method, path, .. } => vec![("method", text(method)), ("path", text(path))],
            Self::Begins { waited, time, .. } => vec![("waited_ns", nanos(*waited)), ("time_ns", nanos(*time))],
            Self::Answers { status: code, grpc, .. } => status(*code, *grpc),
            Self::Calls { host, method, path, try_number, .. } => vec![
                ("to", text(host)),
                ("method", text(method)),
                ("path", text(path)),
                ("try", number(u64::from(*try_number))),
            ],
            Self::CallEnded { host, status: code, grpc, took, .. } => {
                let mut fields = vec![("to", text(host))];
                fields.extend(status(*code, *grpc));
                fields.push(("took_ns", nanos(*took)));
                fields
            }
            Self::CallTimedOut { host, after, .. } => vec![("to", text(host)), ("after_ns", nanos(*after))],
            Self::Registered { ready, terminating } => {
                vec![("ready", number(u64::from(*ready))), ("terminating", number(u64::from(*terminating)))]
            }
            Self::FaultBegins { name, .. } => vec![("fault", text(name))],
            Self::FaultEnds { name, touched, .. } => vec![("fault", text(name)), ("touched", number(*touched))],
            Self::Waits { .. }
            | Self::Overflows { .. }
            | Self::Ready
            | Self::Drains
            | Self::Drained
            | Self::Started => Vec::new(),
        }
    }
}

impl fmt::Display for Note<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Asked { method, path, to, .. } => write!(f, "{method} {path} to {to}"),
            Self::Answered { status, grpc, whole, latency, .. } => {
                write!(f, "answered {}{} after {}", Status(*status, *grpc), broken(*whole), Span(*latency))
            }
            Self::Unanswered { latency, .. } => write!(f, "no answer: the connection broke after {}", Span(*latency)),
            Self::GaveUp { after, .. } => write!(f, "gave up after {}", Span(*after)),
            Self::Arrived { method, path, .. } => write!(f, "application gets {method} {path}"),
            Self::Waits { .. } => f.write_str("application: all slots taken, waits"),
            Self::Begins { waited, time, .. } if waited.is_zero() => write!(f, "application works {}", Span(*time)),
            Self::Begins { waited, time, .. } => {
                write!(f, "application works {} after waiting {}", Span(*time), Span(*waited))
            }
            Self::Overflows { .. } => f.write_str("application: queue full"),
            Self::Answers { status, grpc, why: "", .. } => {
                write!(f, "application answers {}", Status(*status, *grpc))
            }
            Self::Answers { status, grpc, why, .. } => {
                write!(f, "application answers {}: {why}", Status(*status, *grpc))
            }
            Self::Calls { host, method, path, try_number: 1, .. } => write!(f, "calls {host}: {method} {path}"),
            Self::Calls { host, method, path, try_number, tries, .. } => {
                write!(f, "calls {host} again: {method} {path}, try {try_number} of {tries}")
            }
            Self::CallEnded { host, status: 0, took, .. } => {
                write!(f, "call of {host} broke after {}", Span(*took))
            }
            Self::CallEnded { host, status, grpc, took, .. } => {
                write!(f, "call of {host} gave {} after {}", Status(*status, *grpc), Span(*took))
            }
            Self::CallTimedOut { host, after, .. } => {
                write!(f, "call of {host} took longer than the application's {}", Span(*after))
            }
            Self::Ready => f.write_str("ready"),
            Self::Drains => f.write_str("drains"),
            Self::Drained => f.write_str("drained"),
            Self::Registered { ready, terminating } => {
                let ready = if *ready { "ready" } else { "not ready" };
                write!(f, "registered as {ready}{}", if *terminating { ", terminating" } else { "" })
            }
            Self::Started => f.write_str("the load begins"),
            Self::FaultBegins { name, .. } => write!(f, "{name}"),
            Self::FaultEnds { name, touched, .. } => write!(f, "end of {name} (touched {touched})"),
        }
    }
}

fn broken(whole: bool) -> &'static str {
    if whole { "" } else { ", broken off" }
}

/// A status for people: `503`, or `200, grpc 14`.
pub(crate) struct Status(pub(crate) u16, pub(crate) Option<u8>);

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(grpc) => write!(f, "{}, grpc {grpc}", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A span for people, with three digits: `31.2 ms`, `1.00 s`.
pub(crate) struct Span(pub(crate) Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0..1_000 => return write!(f, "{nanos} ns"),
            1_000..1_000_000 => (1e3, "µs"),
            1_000_000..1_000_000_000 => (1e6, "ms"),
            _ => (1e9, "s"),
        };
        let value = nanos as f64 / unit;
        let digits = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
        write!(f, "{value:.digits$} {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_show_three_digits() {
        let show = |nanos| Span(Duration::from_nanos(nanos)).to_string();
        assert_eq!(show(31_234_567), "31.2 ms");
        assert_eq!(show(1_000_000_000), "1.00 s");
        assert_eq!(show(250_000), "250 µs");
        assert_eq!(show(12), "12 ns");
        assert_eq!(show(0), "0 ns");
    }
}
