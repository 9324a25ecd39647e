//! HTTP/2 frames (RFC 9113 §4.1) as bytes, right or wrong, and what a peer's frames say, as text.

use std::collections::BTreeMap;

use crate::h1::{IGNORED, body_text};
use crate::hpack;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PUSH_PROMISE: u8 = 5;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test's frame");
    let mut bytes = length.to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The fields of `lines`, `name: value` each; a name may begin with a colon.
fn fields(lines: &str) -> Vec<(&[u8], &[u8])> {
    lines
        .split('\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let start = usize::from(line.starts_with(':'));
            let colon = start + line[start..].find(": ").expect("a field has a colon and a space");
            (&line.as_bytes()[..colon], &line.as_bytes()[colon + 2..])
        })
        .collect()
}

/// HEADERS with END_HEADERS of `lines`; more flags as given.
pub fn headers(stream: u32, flags: u8, lines: &str) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &hpack::encode(&fields(lines)))
}

/// The block of `lines` alone.
pub fn block(lines: &str) -> Vec<u8> {
    hpack::encode(&fields(lines))
}

pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, flags, stream, bytes)
}

pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

pub fn window(stream: u32, more: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &more.to_be_bytes())
}

pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in pairs {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// What every polite test peer begins with: no dynamic table, so that [`hpack`] can read all.
pub fn quiet_settings() -> Vec<u8> {
    settings(&[(1, 0)])
}

/// How a code of RFC 9113 §7 is called.
fn code(code: u32) -> String {
    let names = [
        "NO_ERROR",
        "PROTOCOL_ERROR",
        "INTERNAL_ERROR",
        "FLOW_CONTROL_ERROR",
        "SETTINGS_TIMEOUT",
        "STREAM_CLOSED",
        "FRAME_SIZE_ERROR",
        "REFUSED_STREAM",
        "CANCEL",
        "COMPRESSION_ERROR",
        "CONNECT_ERROR",
        "ENHANCE_YOUR_CALM",
        "INADEQUATE_SECURITY",
        "HTTP_1_1_REQUIRED",
    ];
    names.get(code as usize).map_or_else(|| format!("code {code}"), |name| (*name).to_owned())
}

/// One message of a stream so far.
#[derive(Default)]
struct Message {
    heads: Vec<String>,
    body: Vec<u8>,
    trailers: Option<String>,
    data_seen: bool,
}

impl Message {
    fn text(&self) -> String {
        let mut text = self.heads.join(" then ");
        if self.data_seen {
            text.push_str(&format!(" {}", body_text(&self.body)));
        }
        if let Some(trailers) = &self.trailers {
            text.push_str(&format!(" +{trailers}"));
        }
        text
    }
}

/// What happened on a connection, read frame by frame.
#[derive(Default)]
pub struct Listener {
    unread: Vec<u8>,
    streams: BTreeMap<u32, Message>,
    block: Option<(u32, u8, Vec<u8>)>,
    /// Messages that ended, resets and farewells, in order.
    pub events: Vec<(u32, String)>,
    /// Streams whose head has come, in order.
    pub opened: Vec<u32>,
    /// What a polite peer answers at once: acknowledgements.
    pub replies: Vec<u8>,
    /// Acknowledged PINGs and SETTINGS of ours.
    pub acks: usize,
    /// DATA bytes of all streams.
    pub data_bytes: usize,
    /// PINGs and SETTINGS are not acknowledged.
    pub rude: bool,
    /// Do not give more window for what was read.
    pub stingy: bool,
}

impl Listener {
    pub fn new(rude: bool, stingy: bool) -> Self {
        Self { rude, stingy, ..Self::default() }
    }

    pub fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while self.unread.len() >= 9 {
            let length = u32::from_be_bytes([0, self.unread[0], self.unread[1], self.unread[2]]) as usize;
            if self.unread.len() < 9 + length {
                return;
            }
            let whole: Vec<u8> = self.unread.drain(..9 + length).collect();
            let stream = u32::from_be_bytes([whole[5], whole[6], whole[7], whole[8]]) & 0x7fff_ffff;
            self.frame(whole[3], whole[4], stream, &whole[9..]);
        }
    }

    /// A message that has begun and not ended.
    pub fn open(&self) -> Vec<(u32, String)> {
        self.streams.iter().map(|(stream, message)| (*stream, message.text())).collect()
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let word = |at: usize| u32::from_be_bytes([payload[at], payload[at + 1], payload[at + 2], payload[at + 3]]);
        match kind {
            DATA => {
                self.data_bytes += payload.len();
                let message = self.streams.entry(stream).or_default();
                message.data_seen = true;
                message.body.extend_from_slice(payload);
                if !payload.is_empty() && !self.stingy {
                    let more = u32::try_from(payload.len()).expect("a frame's length");
                    self.replies.extend(window(0, more));
                    if flags & END_STREAM == 0 {
                        self.replies.extend(window(stream, more));
                    }
                }
                self.end_if(flags, stream);
            }
            HEADERS => {
                // Our peers send neither padding nor priorities.
                let block = (stream, flags, payload.to_vec());
                if flags & END_HEADERS != 0 { self.head(block) } else { self.block = Some(block) }
            }
            CONTINUATION => {
                if let Some(mut block) = self.block.take() {
                    block.2.extend_from_slice(payload);
                    if flags & END_HEADERS != 0 { self.head(block) } else { self.block = Some(block) }
                }
            }
            RST_STREAM => {
                let begun = self.streams.remove(&stream).map(|message| message.text());
                let text = format!("{} rst {}", begun.unwrap_or_default(), code(word(0)));
                self.events.push((stream, text.trim().to_owned()));
            }
            SETTINGS | PING if flags & ACK != 0 => self.acks += 1,
            SETTINGS if !self.rude => self.replies.extend(frame(SETTINGS, ACK, 0, &[])),
            PING if !self.rude => self.replies.extend(frame(PING, ACK, 0, payload)),
            GOAWAY => {
                let last = word(0) & 0x7fff_ffff;
                let text = format!("goaway {}", code(word(4)));
                // The first of a graceful pair names no stream yet (RFC 9113 §6.8).
                let text = if last == 0x7fff_ffff { format!("{text} soon") } else { text };
                self.events.push((0, text));
            }
            _ => {}
        }
    }

    fn head(&mut self, (stream, flags, block): (u32, u8, Vec<u8>)) {
        let fields = hpack::decode(&block).expect("a block without dynamic entries");
        let mut lines: Vec<(String, String)> = Vec::new();
        let mut pseudo: Vec<String> = Vec::new();
        for (name, value) in &fields {
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            if name == ":status" {
                pseudo.push(value.into_owned());
            } else if name.starts_with(':') {
                pseudo.push(format!("{name}: {value}"));
            } else if !IGNORED.contains(&&*name) {
                lines.push((name.clone().into_owned(), format!("{name}: {value}")));
            }
        }
        lines.sort_by(|(one, _), (other, _)| one.cmp(other));
        pseudo.sort();
        let is_answer = pseudo.first().is_some_and(|first| !first.starts_with(':'));
        let lines = lines.into_iter().map(|(_, line)| line).collect::<Vec<_>>().join(", ");
        let between = if is_answer { " " } else { ", " };
        let parts = [pseudo.join(", "), lines];
        let text = parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(between);
        if !self.opened.contains(&stream) {
            self.opened.push(stream);
        }
        let message = self.streams.entry(stream).or_default();
        let begun = message.heads.last().is_some_and(|head| !head.starts_with('1'));
        if begun {
            message.trailers = Some(text);
        } else {
            message.heads.push(text);
        }
        self.end_if(flags, stream);
    }

    fn end_if(&mut self, flags: u8, stream: u32) {
        if flags & END_STREAM != 0
            && let Some(message) = self.streams.remove(&stream)
        {
            self.events.push((stream, message.text()));
        }
    }
}
