//! HTTP/1.1 messages as text, read by a parser of our own that believes nothing but the bytes (RFC 9112 §6.3).

/// Fields that every hop may add, which no row is about.
pub const IGNORED: &[&str] =
    &["date", "x-request-id", "traceparent", "x-envoy-attempt-count", "x-envoy-expected-rq-timeout-ms"];

/// A body in an expectation: quoted if short, else its length.
pub fn body_text(body: &[u8]) -> String {
    if body.len() > 64 {
        return format!("<{} bytes>", body.len());
    }
    format!("\"{}\"", String::from_utf8_lossy(body).replace('\r', "\\r").replace('\n', "\\n"))
}

/// Reads the messages of one direction of a connection.
pub struct Reader {
    unread: Vec<u8>,
    responses: bool,
    /// Every response is one to HEAD.
    pub into_head: bool,
    /// Nothing more comes.
    pub over: bool,
    /// No HTTP any more: each line is a message.
    pub raw: bool,
}

enum Framing {
    None,
    Length(usize),
    Chunked,
    Close,
}

/// A parsed head: its text, how its body is framed, and its length in bytes.
struct Head {
    text: String,
    framing: Framing,
    length: usize,
}

impl Reader {
    pub fn new(responses: bool) -> Self {
        Self { unread: Vec::new(), responses, into_head: false, over: false, raw: false }
    }

    pub fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// Whether a whole head is there.
    pub fn has_head(&self) -> bool {
        self.head().is_some()
    }

    /// Text of the next message, if it is whole; at the end of the connection also of one that is not.
    pub fn next(&mut self) -> Option<String> {
        if self.raw {
            let end = self.unread.iter().position(|byte| *byte == b'\n').map(|at| at + 1);
            let end = end.or((self.over && !self.unread.is_empty()).then_some(self.unread.len()))?;
            return Some(body_text(&self.unread.drain(..end).collect::<Vec<_>>()));
        }
        let Some(head) = self.head() else {
            if self.over && !self.unread.is_empty() {
                let rest = std::mem::take(&mut self.unread);
                return Some(format!("{} (cut)", body_text(&rest)));
            }
            return None;
        };
        let rest = &self.unread[head.length..];
        let (mut text, used) = match head.framing {
            Framing::None => (head.text, Some(0)),
            Framing::Length(length) => {
                let whole = rest.len() >= length;
                let body = body_text(&rest[..length.min(rest.len())]);
                let shown = if length == 0 { head.text } else { format!("{} {body}", head.text) };
                (shown, whole.then_some(length))
            }
            Framing::Chunked => {
                let (body, trailers, used) = chunks(rest);
                (format!("{} {}{trailers}", head.text, body_text(&body)), used)
            }
            Framing::Close => {
                let used = self.over.then_some(rest.len());
                (format!("{} {}", head.text, body_text(rest)), used)
            }
        };
        self.raw = self.responses && text.starts_with("101");
        if let Some(used) = used {
            self.unread.drain(..head.length + used);
            return Some(text);
        }
        if !self.over {
            return None;
        }
        self.unread.clear();
        text.push_str(" (cut)");
        Some(text)
    }

    /// What has come of a message that is not whole.
    pub fn rest(&self) -> Option<String> {
        match self.head() {
            Some(head) => Some(head.text),
            None if self.unread.is_empty() => None,
            None => Some(body_text(&self.unread)),
        }
    }

    fn head(&self) -> Option<Head> {
        if self.raw {
            return None;
        }
        let length = find(&self.unread, b"\r\n\r\n")? + 4;
        let text = String::from_utf8_lossy(&self.unread[..length]).into_owned();
        let mut lines = text.trim_end_matches("\r\n").split("\r\n");
        let start = lines.next().unwrap_or_default();
        let mut fields: Vec<(String, String)> = Vec::new();
        for line in lines {
            let (name, value) = line.split_once(':').unwrap_or((line, "(no colon)"));
            fields.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let of = |name: &str| fields.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_str());
        let mut words = start.split(' ');
        let (start, bodiless) = if self.responses {
            let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let bodiless = self.into_head || status.starts_with('1') || status == "204" || status == "304";
            let start = if version == "HTTP/1.1" { status.to_owned() } else { format!("{version} {status}") };
            (start, bodiless)
        } else {
            (start.strip_suffix(" HTTP/1.1").unwrap_or(start).to_owned(), false)
        };
        let framing = if bodiless {
            Framing::None
        } else if let Some(coding) = of("transfer-encoding") {
            if coding.ends_with("chunked") { Framing::Chunked } else { Framing::Close }
        } else if let Some(length) = of("content-length") {
            Framing::Length(length.parse().unwrap_or(usize::MAX))
        } else if self.responses {
            Framing::Close
        } else {
            Framing::None
        };
        fields.retain(|(name, _)| !IGNORED.contains(&name.as_str()));
        // By name only: the lines of one field keep their order.
        fields.sort_by(|(one, _), (other, _)| one.cmp(other));
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        let text = format!("{start} {}", fields.join(", ")).trim_end().to_owned();
        Some(Head { text, framing, length })
    }
}

/// The body, the trailers as text, and how many bytes they took if they are whole.
fn chunks(mut rest: &[u8]) -> (Vec<u8>, String, Option<usize>) {
    let all = rest.len();
    let mut body = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return (body, String::new(), None) };
        let size = String::from_utf8_lossy(&rest[..end]).into_owned();
        let size = size.split(';').next().unwrap_or_default();
        let Ok(size) = usize::from_str_radix(size, 16) else { return (body, " (no size)".into(), None) };
        rest = &rest[end + 2..];
        if size == 0 {
            break;
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        if rest.len() < size + 2 {
            return (body, String::new(), None);
        }
        rest = &rest[size + 2..];
    }
    let mut trailers = Vec::new();
    loop {
        let Some(end) = find(rest, b"\r\n") else { return (body, String::new(), None) };
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        rest = &rest[end + 2..];
        if line.is_empty() {
            break;
        }
        trailers.push(line);
    }
    let trailers = if trailers.is_empty() { String::new() } else { format!(" +{}", trailers.join(", ")) };
    (body, trailers, Some(all - rest.len()))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
