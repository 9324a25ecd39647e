//! Spans out of files: Jaeger's JSON and OTLP's, whole documents or a line per batch, one element at a time.

use std::fmt;
use std::io::{BufRead, Read};
use std::path::Path;
use std::time::Duration;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::tally::{Bad, TOOK_MAX};

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Server,
    Client,
    Other,
}

/// A piece of work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) trace: String,
    pub(super) id: String,
    /// Empty: the trace begins with it.
    pub(super) parent: String,
    pub(super) service: String,
    /// Which of the service's processes.
    pub(super) instance: String,
    pub(super) side: Side,
    /// Nanoseconds since 1970.
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) failed: bool,
    /// A try after the first of the same call.
    pub(super) resent: bool,
    /// Whom a client's span names, for those who tell nothing themselves.
    pub(super) peer: String,
}

impl Span {
    /// It took a time that a scenario could say.
    fn checked(self) -> Result<Self, String> {
        match self.end.checked_sub(self.start).map(Duration::from_nanos) {
            None => Err(format!("span {} ends before it begins", self.id)),
            Some(took) if took > TOOK_MAX => Err(format!("span {} took {took:?}, more than a day", self.id)),
            Some(_) => Ok(self),
        }
    }
}

/// Calls `take` with every span of a file.
///
/// # Errors
/// The file cannot be read on, is not JSON, or has no spans in a form that is known.
pub(super) fn read(
    path: &Path,
    reader: &mut impl BufRead,
    bad: &mut Bad,
    take: &mut dyn FnMut(Span),
) -> Result<(), String> {
    let bad = std::cell::RefCell::new(bad);
    let mut found = 0_u64;
    let mut elements = 0_u64;
    let mut on_element = |kind: Element, value: &Value| {
        elements += 1;
        let nth = elements;
        let mut refuse = |why: String| bad.borrow_mut().add(|| format!("{}, element {nth}", path.display()), why);
        let mut count = |span: Span| {
            found += 1;
            take(span);
        };
        match kind {
            Element::Jaeger => jaeger(value, &mut refuse, &mut count),
            Element::Otlp => otlp(value, &mut refuse, &mut count),
        }
    };
    // Documents one after the other, with or without line ends between them.
    let mut counted = Counted { inner: reader, lines: 0 };
    let mut nth = 0;
    let cannot = |error: &dyn fmt::Display| format!("cannot read {}: {error}", path.display());
    while counted.more().map_err(|error| cannot(&error))? {
        nth += 1;
        let before = counted.lines;
        let mut document = serde_json::Deserializer::from_reader(&mut counted);
        let Err(error) = Document(&mut on_element).deserialize(&mut document) else { continue };
        if error.is_io() {
            return Err(cannot(&error));
        }
        let (line, column) = (before + error.line() as u64, error.column());
        let why = error.to_string();
        let why = why.split(" at line ").next().unwrap_or_default().to_owned();
        if nth == 1 {
            // A document that is broken has no end to go on from.
            return Err(format!("{}:{line}:{column}: {why}", path.display()));
        }
        bad.borrow_mut().add(|| format!("{}:{line}:{column}", path.display()), why);
        counted.skip_line(line).map_err(|error| cannot(&error))?;
    }
    if found == 0 {
        let why = bad
            .borrow()
            .note("element")
            .unwrap_or_else(|| "neither `data` (Jaeger) nor `resourceSpans` (OTLP) has spans".to_owned());
        return Err(format!("{}: there are no spans in it: {why}", path.display()));
    }
    Ok(())
}

/// A reader that counts line ends.
struct Counted<R> {
    inner: R,
    lines: u64,
}

impl<R: BufRead> Counted<R> {
    fn take(&mut self, length: usize) {
        let lines =
            self.inner.fill_buf().map_or(0, |buffer| buffer[..length].iter().filter(|byte| **byte == b'\n').count());
        self.lines += lines as u64;
        self.inner.consume(length);
    }

    /// Whether there is anything but blanks.
    fn more(&mut self) -> std::io::Result<bool> {
        loop {
            let buffer = self.inner.fill_buf()?;
            let blank = buffer.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            let (is_end, is_all) = (buffer.is_empty(), blank == buffer.len());
            self.take(blank);
            if is_end || !is_all {
                return Ok(!is_end);
            }
        }
    }

    /// Goes on behind the end of line number `line`, from 1.
    fn skip_line(&mut self, line: u64) -> std::io::Result<()> {
        while self.lines < line {
            let buffer = self.inner.fill_buf()?;
            if buffer.is_empty() {
                return Ok(());
            }
            let length = buffer.iter().position(|byte| *byte == b'\n').map_or(buffer.len(), |at| at + 1);
            self.take(length);
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let length = self.inner.read(into)?;
        self.lines += into[..length].iter().filter(|byte| **byte == b'\n').count() as u64;
        Ok(length)
    }
}

#[derive(Clone, Copy)]
enum Element {
    Jaeger,
    Otlp,
}

/// A document whose `data` or `resourceSpans` is a list, of which each element is handed on and forgotten.
struct Document<'f>(&'f mut dyn FnMut(Element, &Value));

impl<'de> DeserializeSeed<'de> for Document<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with `data` (Jaeger) or `resourceSpans` (OTLP)")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "data" => map.next_value_seed(Elements(Element::Jaeger, &mut *self.0))?,
                "resourceSpans" | "resource_spans" => map.next_value_seed(Elements(Element::Otlp, &mut *self.0))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct Elements<'f>(Element, &'f mut dyn FnMut(Element, &Value));

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            (self.1)(self.0, &value);
        }
        Ok(())
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}

/// A number that may be written as text, as 64 bits are in OTLP's JSON.
fn number(value: &Value, name: &str) -> Option<u64> {
    let value = value.get(name)?;
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

fn list<'v>(value: &'v Value, name: &str) -> &'v [Value] {
    value.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What is asked of attributes, by the names of both generations of conventions.
const PEERS: [&str; 6] =
    ["peer.service", "db.system.name", "db.system", "messaging.system", "server.address", "net.peer.name"];
const INSTANCES: [&str; 4] = ["service.instance.id", "k8s.pod.name", "host.name", "hostname"];

/// An attribute, as text: Jaeger's tags have `key` and `value`, OTLP's attributes a value by type.
fn attribute(list: &[Value], key: &str) -> Option<String> {
    let value = list.iter().find(|tag| text(tag, "key") == Some(key))?.get("value")?;
    let plain = value.as_object().map_or(Some(value), |typed| typed.values().next())?;
    Some(plain.as_str().map_or_else(|| plain.to_string(), str::to_owned))
}

fn first(list: &[Value], keys: &[&str]) -> String {
    keys.iter().find_map(|key| attribute(list, key)).unwrap_or_default()
}

/// Whom a client names: a service, or the first part of a host's name.
fn peer(side: Side, attributes: &[Value]) -> String {
    if side != Side::Client {
        return String::new();
    }
    let name = first(attributes, &PEERS);
    let is_address = name.parse::<std::net::IpAddr>().is_ok();
    if is_address { name } else { name.split('.').next().unwrap_or_default().to_owned() }
}

fn jaeger(trace: &Value, refuse: &mut dyn FnMut(String), take: &mut dyn FnMut(Span)) {
    if trace.get("spans").is_none() {
        refuse("a trace without `spans`".to_owned());
        return;
    }
    let processes = trace.get("processes");
    for span in list(trace, "spans") {
        match jaeger_span(span, trace, processes) {
            Ok(span) => take(span),
            Err(why) => refuse(why),
        }
    }
}

fn jaeger_span(span: &Value, trace: &Value, processes: Option<&Value>) -> Result<Span, String> {
    let id = text(span, "spanID").ok_or("a span without `spanID`")?;
    let of_trace = text(span, "traceID").or_else(|| text(trace, "traceID")).ok_or("a span without `traceID`")?;
    let process = span.get("process").or_else(|| processes?.get(text(span, "processID")?));
    let process = process.ok_or_else(|| format!("span {id} has no process"))?;
    let service =
        text(process, "serviceName").ok_or_else(|| format!("the process of span {id} has no `serviceName`"))?;
    let micros = |name| number(span, name).ok_or_else(|| format!("span {id} has no `{name}`"));
    let (start, duration) = (micros("startTime")?, micros("duration")?);
    let is_parent = |reference: &&Value| text(reference, "refType").is_none_or(|kind| kind == "CHILD_OF");
    let parent = list(span, "references").iter().find(is_parent).and_then(|parent| text(parent, "spanID"));
    let tags = list(span, "tags");
    let side = match attribute(tags, "span.kind").as_deref() {
        Some("server" | "consumer") => Side::Server,
        Some("client" | "producer") => Side::Client,
        Some(_) | None => Side::Other,
    };
    Span {
        trace: of_trace.to_owned(),
        id: id.to_owned(),
        parent: parent.or_else(|| text(span, "parentSpanID")).unwrap_or_default().to_owned(),
        service: service.to_owned(),
        instance: first(list(process, "tags"), &INSTANCES),
        side,
        start: start.saturating_mul(1000),
        end: start.saturating_add(duration).saturating_mul(1000),
        failed: attribute(tags, "error").as_deref() == Some("true")
            || attribute(tags, "otel.status_code").as_deref() == Some("ERROR"),
        resent: is_resent(tags),
        peer: peer(side, tags),
    }
    .checked()
}

fn is_resent(attributes: &[Value]) -> bool {
    attribute(attributes, "http.request.resend_count")
        .and_then(|count| count.parse::<u64>().ok())
        .is_some_and(|count| count > 0)
}

fn otlp(batch: &Value, refuse: &mut dyn FnMut(String), take: &mut dyn FnMut(Span)) {
    let resource = batch.get("resource").map_or(&[][..], |resource| list(resource, "attributes"));
    let service = attribute(resource, "service.name").unwrap_or_default();
    let instance = first(resource, &INSTANCES);
    let scopes =
        ["scopeSpans", "scope_spans", "instrumentationLibrarySpans"].into_iter().flat_map(|name| list(batch, name));
    for span in scopes.flat_map(|scope| list(scope, "spans")) {
        match otlp_span(span, &service, &instance) {
            Ok(span) => take(span),
            Err(why) => refuse(why),
        }
    }
}

fn otlp_span(span: &Value, service: &str, instance: &str) -> Result<Span, String> {
    let either = |one: &str, other: &str| text(span, one).or_else(|| text(span, other)).map(str::to_owned);
    let id = either("spanId", "span_id").ok_or("a span without `spanId`")?;
    let trace = either("traceId", "trace_id").ok_or_else(|| format!("span {id} has no `traceId`"))?;
    if service.is_empty() {
        return Err(format!("span {id} is of a resource without `service.name`"));
    }
    let nanos = |one: &str, other: &str| {
        number(span, one).or_else(|| number(span, other)).ok_or_else(|| format!("span {id} has no `{one}`"))
    };
    let (start, end) =
        (nanos("startTimeUnixNano", "start_time_unix_nano")?, nanos("endTimeUnixNano", "end_time_unix_nano")?);
    let attributes = list(span, "attributes");
    let kind = span.get("kind");
    let side = match (kind.and_then(Value::as_u64), kind.and_then(Value::as_str)) {
        (Some(2 | 5), _) | (_, Some("SPAN_KIND_SERVER" | "SPAN_KIND_CONSUMER")) => Side::Server,
        (Some(3 | 4), _) | (_, Some("SPAN_KIND_CLIENT" | "SPAN_KIND_PRODUCER")) => Side::Client,
        _ => Side::Other,
    };
    let code = span.get("status").and_then(|status| status.get("code"));
    let failed = code.and_then(Value::as_u64) == Some(2) || code.and_then(Value::as_str) == Some("STATUS_CODE_ERROR");
    Span {
        trace,
        parent: either("parentSpanId", "parent_span_id").unwrap_or_default(),
        service: service.to_owned(),
        instance: instance.to_owned(),
        side,
        start,
        end,
        failed,
        resent: is_resent(attributes),
        peer: peer(side, attributes),
        id,
    }
    .checked()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> (Result<(), String>, Vec<Span>, Option<String>) {
        let (mut bad, mut found) = (Bad::default(), Vec::new());
        let done = read(Path::new("t.json"), &mut text.as_bytes(), &mut bad, &mut |span| found.push(span));
        (done, found, bad.note("span"))
    }

    #[test]
    fn both_forms_say_the_same() {
        let jaeger = r#"{"data":[{"traceID":"t1","spans":[{"traceID":"t1","spanID":"b","references":[{"refType":"CHILD_OF","traceID":"t1","spanID":"a"}],
            "startTime":1000,"duration":250,"tags":[{"key":"span.kind","value":"server"},{"key":"error","type":"bool","value":true}],"processID":"p1"}],
            "processes":{"p1":{"serviceName":"cart","tags":[{"key":"hostname","value":"cart-0"}]}}}],"total":0}"#;
        let otlp = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"cart"}},
            {"key":"host.name","value":{"stringValue":"cart-0"}}]},"scopeSpans":[{"spans":[{"traceId":"t1","spanId":"b","parentSpanId":"a","kind":2,
            "startTimeUnixNano":"1000000","endTimeUnixNano":"1250000","status":{"code":2}}]}]}]}"#;
        let (done, one, bad) = all(jaeger);
        assert_eq!((done, bad), (Ok(()), None));
        let (done, other, _) = all(&format!("{otlp}\n{otlp}\n"));
        assert_eq!(done, Ok(()));
        assert_eq!((one[0].clone(), 2), (other[0].clone(), other.len()));
        assert!(one[0].failed && one[0].side == Side::Server && one[0].parent == "a");
    }

    #[test]
    fn what_cannot_be_read_is_said_with_its_place() {
        let (done, _, _) = all("{\"data\": [}");
        assert!(done.clone().is_err_and(|why| why.starts_with("t.json:1:11: ")), "{done:?}");
        let (done, _, _) = all("{\"traces\": []}");
        assert!(done.clone().is_err_and(|why| why.contains("neither `data` (Jaeger) nor")), "{done:?}");
        // Of lines that are documents, one that is cut or broken is left out.
        let line = r#"{"data":[{"spans":[{"traceID":"t","spanID":"a","startTime":1,"duration":1,"process":{"serviceName":"x"}}]}]}"#;
        let (done, found, bad) = all(&format!("{line}\n{{\"data\": oops}}\n{line}\n{{\"data\": [{{"));
        assert_eq!((done, found.len()), (Ok(()), 2));
        assert!(
            bad.as_ref().is_some_and(|note| note.starts_with("2 spans") && note.contains("t.json:2:10: ")),
            "{bad:?}"
        );
        let good = r#"{"traceID":"t","spanID":"a","startTime":1,"duration":1,"process":{"serviceName":"x"}}"#;
        let (done, found, bad) = all(&format!(r#"{{"data":[{{"spans":[{good}, {{"spanID":"b"}}]}}, {{}}]}}"#));
        assert_eq!((done, found.len()), (Ok(()), 1));
        // A number that is none: one such span spoils nothing.
        let long = good.replace("\"duration\":1", "\"duration\":86400000001");
        let (done, found, day) = all(&format!(r#"{{"data":[{{"spans":[{good}, {long}]}}]}}"#));
        assert_eq!((done, found.len()), (Ok(()), 1));
        assert!(day.is_some_and(|note| note.ends_with("span a took 86400.000001s, more than a day")));
        assert!(
            bad.is_some_and(|note| note.starts_with("2 spans could not be read") && note.contains("t.json, element 1"))
        );
    }
}
