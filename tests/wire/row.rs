//! A row: what the RFC demands, what a client and an upstream send, and what must come out of the proxy on both sides.

use std::time::Duration;

use squall_net::http::{ServeLimits, Version};
use squall_policy::{Mesh, Protocol};

use crate::frames;

/// One thing a client does.
#[derive(Clone)]
pub enum Step {
    /// Sends these bytes.
    Send(Vec<u8>),
    /// Waits until so many messages (and resets, and farewells) have come in all.
    Reads(usize),
    /// Waits until so many DATA bytes have come in all.
    ReadsData(usize),
    /// Waits until so many acknowledgements have come in all.
    ReadsAcks(usize),
    /// Waits until the upstream has seen so many heads.
    UpstreamHeads(usize),
    /// Waits until the upstream has seen so many connections end.
    UpstreamEnds(usize),
    /// Sends FIN and reads on.
    HalfClose,
    /// The proxy begins to drain.
    Drain,
}

/// One answer of the upstream, in the order of requests over all its connections.
#[derive(Clone)]
pub struct Reply {
    pub bytes: Vec<u8>,
    /// Sent at the request's head, not at its end.
    pub at_head: bool,
    /// The upstream closes after it.
    pub closes: bool,
    /// The upstream closes by a reset.
    pub resets: bool,
}

#[derive(Clone)]
pub struct Row {
    pub section: &'static str,
    pub claim: &'static str,
    pub client: Version,
    pub upstream: Protocol,
    pub steps: Vec<Step>,
    pub replies: Vec<Reply>,
    /// What the upstream must have seen, messages joined by ` ;; `.
    pub seen: String,
    /// What the client must have got.
    pub got: String,
    /// The client asked with HEAD.
    pub into_head: bool,
    /// The h2 client gives no window back.
    pub stingy: bool,
    /// The test peers speaking HTTP/2 do not acknowledge.
    pub rude: bool,
    /// The client's own connection preface and SETTINGS, if the row is about them.
    pub opening: Option<Vec<u8>>,
    /// The upstream's SETTINGS, if the row is about them.
    pub greeting: Option<Vec<u8>>,
    pub mesh: fn(&mut Mesh),
    pub limits: fn(&mut ServeLimits),
    /// Why this is not what the RFC says, if it is not.
    pub exception: Option<&'static str>,
}

/// The answer of an upstream when a row names none.
pub const OK: &str = "HTTP/1.1 200 OK\ncontent-length: 2\n\nok";
/// What a client gets of [`OK`].
pub const GOT_OK: &str = "200 content-length: 2 \"ok\"";
/// The limits of rows in which something takes too long.
pub const SOON: Duration = Duration::from_millis(60);

/// Line ends as the wire has them.
pub fn crlf(text: &str) -> Vec<u8> {
    text.replace('\n', "\r\n").into_bytes()
}

fn row(section: &'static str, claim: &'static str, client: Version) -> Row {
    Row {
        section,
        claim,
        client,
        upstream: Protocol::Http1,
        steps: Vec::new(),
        replies: Vec::new(),
        seen: String::new(),
        got: String::new(),
        into_head: false,
        stingy: false,
        rude: false,
        opening: None,
        greeting: None,
        mesh: |_| {},
        limits: |_| {},
        exception: None,
    }
}

/// An HTTP/1.1 client and upstream.
pub fn h1(section: &'static str, claim: &'static str) -> Row {
    row(section, claim, Version::Http1)
}

/// An HTTP/2 client, an HTTP/1.1 upstream.
pub fn h2(section: &'static str, claim: &'static str) -> Row {
    row(section, claim, Version::Http2)
}

impl Row {
    /// The upstream speaks HTTP/2.
    pub fn into_h2(mut self) -> Self {
        self.upstream = Protocol::Http2;
        self
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// The client sends this, with `\n` as CRLF.
    pub fn sends(self, text: &str) -> Self {
        self.step(Step::Send(crlf(text)))
    }

    /// The client sends exactly this.
    pub fn raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.step(Step::Send(bytes.into()))
    }

    /// The client sends these frames.
    pub fn frames(self, frames: &[Vec<u8>]) -> Self {
        self.step(Step::Send(frames.concat()))
    }

    /// The client sends a GET on `stream` with more fields.
    pub fn get(self, stream: u32, more: &str) -> Self {
        let lines = format!(":method: GET\n:scheme: http\n:authority: app\n:path: /\n{more}");
        self.step(Step::Send(frames::headers(stream, frames::END_STREAM, &lines)))
    }

    /// The client sends the head of a POST on `stream` with more fields.
    pub fn post(self, stream: u32, more: &str) -> Self {
        let lines = format!(":method: POST\n:scheme: http\n:authority: app\n:path: /\n{more}");
        self.step(Step::Send(frames::headers(stream, 0, &lines)))
    }

    pub fn reads(self, messages: usize) -> Self {
        self.step(Step::Reads(messages))
    }

    pub fn reads_data(self, bytes: usize) -> Self {
        self.step(Step::ReadsData(bytes))
    }

    pub fn reads_acks(self, acks: usize) -> Self {
        self.step(Step::ReadsAcks(acks))
    }

    pub fn when_upstream_has_heads(self, heads: usize) -> Self {
        self.step(Step::UpstreamHeads(heads))
    }

    pub fn when_upstream_has_ended(self, connections: usize) -> Self {
        self.step(Step::UpstreamEnds(connections))
    }

    pub fn half_closes(self) -> Self {
        self.step(Step::HalfClose)
    }

    pub fn drains(self) -> Self {
        self.step(Step::Drain)
    }

    fn reply(mut self, bytes: Vec<u8>, at_head: bool, closes: bool, resets: bool) -> Self {
        self.replies.push(Reply { bytes, at_head, closes, resets });
        self
    }

    /// The upstream answers the next request with this, with `\n` as CRLF.
    pub fn answers(self, text: &str) -> Self {
        self.reply(crlf(text), false, false, false)
    }

    /// As [`Row::answers`], and closes.
    pub fn answers_and_closes(self, text: &str) -> Self {
        self.reply(crlf(text), false, true, false)
    }

    /// As [`Row::answers`], before the request's body is there.
    pub fn answers_at_head(self, text: &str) -> Self {
        self.reply(crlf(text), true, false, false)
    }

    /// Answers at the head, and closes.
    pub fn answers_at_head_and_closes(self, text: &str) -> Self {
        self.reply(crlf(text), true, true, false)
    }

    /// Resets the connection after this.
    pub fn answers_and_resets(self, text: &str) -> Self {
        self.reply(crlf(text), false, true, true)
    }

    /// The upstream answers the next request with exactly this.
    pub fn answers_raw(self, bytes: impl Into<Vec<u8>>) -> Self {
        self.reply(bytes.into(), false, false, false)
    }

    /// The upstream answers the next request with these frames.
    pub fn answers_frames(self, frames: &[Vec<u8>]) -> Self {
        self.reply(frames.concat(), false, false, false)
    }

    /// As [`Row::answers_frames`], and closes.
    pub fn answers_frames_and_closes(self, frames: &[Vec<u8>]) -> Self {
        self.reply(frames.concat(), false, true, false)
    }

    /// What the upstream must see; nothing if it is not called.
    pub fn seen(mut self, text: impl Into<String>) -> Self {
        self.seen = text.into();
        self
    }

    /// What the client must get.
    pub fn got(mut self, text: impl Into<String>) -> Self {
        self.got = text.into();
        self
    }

    /// The client gets the default answer.
    pub fn got_ok(self) -> Self {
        let text = match self.client {
            Version::Http1 => GOT_OK.to_owned(),
            Version::Http2 => format!("1: {GOT_OK}"),
        };
        self.got(text)
    }

    pub fn into_head(mut self) -> Self {
        self.into_head = true;
        self
    }

    pub fn stingy(mut self) -> Self {
        self.stingy = true;
        self
    }

    pub fn rude(mut self) -> Self {
        self.rude = true;
        self
    }

    pub fn opening(mut self, bytes: Vec<u8>) -> Self {
        self.opening = Some(bytes);
        self
    }

    pub fn greeting(mut self, bytes: Vec<u8>) -> Self {
        self.greeting = Some(bytes);
        self
    }

    pub fn mesh(mut self, change: fn(&mut Mesh)) -> Self {
        self.mesh = change;
        self
    }

    pub fn limits(mut self, change: fn(&mut ServeLimits)) -> Self {
        self.limits = change;
        self
    }

    /// It is not what the RFC says, and this is why.
    pub fn except(mut self, why: &'static str) -> Self {
        self.exception = Some(why);
        self
    }
}
