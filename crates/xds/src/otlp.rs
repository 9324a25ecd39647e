//! OpenTelemetry's trace messages (OTLP 1.x, `opentelemetry.proto.trace.v1` and `….collector.trace.v1`), as far as a proxy has
//! something to say. It is not xDS; it is here because this crate is the one that speaks protobuf.
//!
//! Field numbers are those of the public definition. A receiver ignores what it does not know, and what is left out here is only
//! left unsaid.

use prost::Message;

/// Where a collector takes traces over HTTP, behind its base address.
pub const TRACES_PATH: &str = "/v1/traces";

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty => ($($prost:tt)*),)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, ::prost::Message)]
        pub struct $name {
            $($(#[$field_doc])* #[prost($($prost)*)] pub $field: $type,)*
        }
    )*};
}

messages! {
    /// A request to a collector: spans that are over.
    ExportTraces {
        /// By whose they are.
        resource_spans: Vec<ResourceSpans> => (message, repeated, tag = "1"),
    }
    /// A collector's answer.
    ExportedTraces {
        /// `None`: it took everything.
        partial_success: Option<PartialSuccess> => (message, optional, tag = "1"),
    }
    /// What a collector did not take, and will not take another time.
    PartialSuccess {
        /// How many.
        rejected_spans: i64 => (int64, tag = "1"),
        /// Why, or a warning although it took everything.
        error_message: String => (string, tag = "2"),
    }
    /// Spans of one process.
    ResourceSpans {
        /// Which process.
        resource: Option<Resource> => (message, optional, tag = "1"),
        /// By what made them.
        scope_spans: Vec<ScopeSpans> => (message, repeated, tag = "2"),
    }
    /// A process, by its attributes.
    Resource {
        /// Such as `service.name`.
        attributes: Vec<KeyValue> => (message, repeated, tag = "1"),
    }
    /// Spans that one library made.
    ScopeSpans {
        /// Which.
        scope: Option<Scope> => (message, optional, tag = "1"),
        /// Its spans.
        spans: Vec<Span> => (message, repeated, tag = "2"),
    }
    /// What makes spans.
    Scope {
        /// Its name.
        name: String => (string, tag = "1"),
        /// Its version.
        version: String => (string, tag = "2"),
    }
    /// One piece of work.
    Span {
        /// 16 bytes.
        trace_id: Vec<u8> => (bytes = "vec", tag = "1"),
        /// 8 bytes.
        span_id: Vec<u8> => (bytes = "vec", tag = "2"),
        /// The caller's `tracestate`.
        trace_state: String => (string, tag = "3"),
        /// 8 bytes; none: it is the trace's first span.
        parent_span_id: Vec<u8> => (bytes = "vec", tag = "4"),
        /// Of few values.
        name: String => (string, tag = "5"),
        /// 2: it served a request, 3: it made one.
        kind: i32 => (int32, tag = "6"),
        /// Nanoseconds since 1970.
        start_time_unix_nano: u64 => (fixed64, tag = "7"),
        /// Nanoseconds since 1970.
        end_time_unix_nano: u64 => (fixed64, tag = "8"),
        /// What is to be known about it.
        attributes: Vec<KeyValue> => (message, repeated, tag = "9"),
        /// Whether it failed; `None`: nothing is said.
        status: Option<SpanStatus> => (message, optional, tag = "15"),
        /// The trace's flags (W3C), and from bit 8 on whether the parent was another process.
        flags: u32 => (fixed32, tag = "16"),
    }
    /// How a span went.
    SpanStatus {
        /// Why it failed.
        message: String => (string, tag = "2"),
        /// 0: unset, 1: well, 2: it failed.
        code: i32 => (int32, tag = "3"),
    }
    /// An attribute.
    KeyValue {
        /// Its name.
        key: String => (string, tag = "1"),
        /// Its value.
        value: Option<AnyValue> => (message, optional, tag = "2"),
    }
    /// A value; one of these, as in a `oneof`.
    AnyValue {
        /// Text.
        string_value: Option<String> => (string, optional, tag = "1"),
        /// Yes or no.
        bool_value: Option<bool> => (bool, optional, tag = "2"),
        /// A number.
        int_value: Option<i64> => (int64, optional, tag = "3"),
    }
}

/// `Span.kind` of work done for a caller.
pub const SERVER: i32 = 2;
/// `Span.kind` of work that somebody else was asked to do.
pub const CLIENT: i32 = 3;
/// `SpanStatus.code` of what failed.
pub const FAILED: i32 = 2;
/// In `Span.flags`: it is known whether the parent was another process.
pub const KNOWS_REMOTE: u32 = 1 << 8;
/// In `Span.flags`: it was.
pub const REMOTE: u32 = 1 << 9;

impl KeyValue {
    /// Text under a name.
    #[must_use]
    pub fn text(key: &str, value: impl Into<String>) -> Self {
        let value = AnyValue { string_value: Some(value.into()), bool_value: None, int_value: None };
        Self { key: key.to_owned(), value: Some(value) }
    }

    /// A number under a name.
    #[must_use]
    pub fn number(key: &str, value: i64) -> Self {
        let value = AnyValue { string_value: None, bool_value: None, int_value: Some(value) };
        Self { key: key.to_owned(), value: Some(value) }
    }

    /// Yes or no under a name.
    #[must_use]
    pub fn flag(key: &str, value: bool) -> Self {
        let value = AnyValue { string_value: None, bool_value: Some(value), int_value: None };
        Self { key: key.to_owned(), value: Some(value) }
    }
}

impl ExportTraces {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// From bytes. `None`: they are no such message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Message::decode(bytes).ok()
    }
}

impl ExportedTraces {
    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// From bytes. `None`: they are no such message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        Message::decode(bytes).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made by hand from the public definition.
    #[test]
    fn a_span_is_written_as_the_definition_says() {
        let span = Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            name: "GET".into(),
            kind: SERVER,
            start_time_unix_nano: 1,
            end_time_unix_nano: 2,
            attributes: vec![KeyValue::number("n", 5), KeyValue::text("t", "v"), KeyValue::flag("b", true)],
            status: Some(SpanStatus { message: String::new(), code: FAILED }),
            flags: 1,
            ..Span::default()
        };
        let mut want = vec![0x0a, 16];
        want.extend([1; 16]);
        want.extend([0x12, 8]);
        want.extend([2; 8]);
        want.extend([0x2a, 3, b'G', b'E', b'T', 0x30, 2]);
        want.extend([0x39, 1, 0, 0, 0, 0, 0, 0, 0, 0x41, 2, 0, 0, 0, 0, 0, 0, 0]);
        want.extend([0x4a, 7, 0x0a, 1, b'n', 0x12, 2, 0x18, 5]);
        want.extend([0x4a, 8, 0x0a, 1, b't', 0x12, 3, 0x0a, 1, b'v']);
        want.extend([0x4a, 7, 0x0a, 1, b'b', 0x12, 2, 0x10, 1]);
        want.extend([0x7a, 2, 0x18, 2, 0x85, 1, 1, 0, 0, 0]);
        assert_eq!(span.encode_to_vec(), want);
    }

    #[test]
    fn a_request_is_read_as_it_was_written_and_nothing_else_is() {
        let spans = vec![Span { name: "GET".into(), ..Span::default() }];
        let scope_spans = vec![ScopeSpans { scope: Some(Scope { name: "squall".into(), version: "1".into() }), spans }];
        let resource = Some(Resource { attributes: vec![KeyValue::text("service.name", "app")] });
        let request = ExportTraces { resource_spans: vec![ResourceSpans { resource, scope_spans }] };
        assert_eq!(ExportTraces::decode(&request.encode()), Some(request));
        assert_eq!(ExportTraces::decode(b"\x0a\xff"), None);
    }
}
