//! The client of a row: raw bytes out, messages in.

use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use squall_net::http::Version;
use squall_net::{Conn, Host, after};
use tokio::io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf};

use crate::frames::{self, Listener};
use crate::h1::Reader;
use crate::row::{Row, Step};
use crate::world::{PATIENCE, TICK};

/// What the client waits for besides its own connection.
pub trait Elsewhere: Sync {
    fn upstream_heads(&self) -> usize;
    fn upstream_ends(&self) -> usize;
    fn drain(&self);
}

enum Speech {
    Http1(Reader),
    Http2(Listener),
}

struct Client {
    conn: Conn,
    speech: Speech,
    events: Vec<(u32, String)>,
    closed: bool,
    cannot_write: bool,
}

/// Does what `row` says at `at`, and tells what came back, joined by ` ;; `.
pub async fn run(host: &Host, at: SocketAddr, row: &Row, elsewhere: &dyn Elsewhere) -> String {
    let mut conn = host.net().connect(at).await.expect("the proxy listens");
    let speech = match row.client {
        Version::Http1 => {
            let mut reader = Reader::new(true);
            reader.into_head = row.into_head;
            Speech::Http1(reader)
        }
        Version::Http2 => {
            let polite = || [frames::PREFACE, &frames::quiet_settings()].concat();
            let opening = row.opening.clone().unwrap_or_else(polite);
            conn.write_all(&opening).await.expect("a new connection has room");
            Speech::Http2(Listener::new(row.rude, row.stingy))
        }
    };
    let mut client = Client { conn, speech, events: Vec::new(), closed: false, cannot_write: false };
    let until = host.now() + PATIENCE;
    let all = async {
        for step in &row.steps {
            client.step(host, step, elsewhere).await;
        }
        let wanted: Vec<&str> = row.got.split(" ;; ").collect();
        let closes = wanted.last() == Some(&"closed");
        let messages = wanted.len() - usize::from(closes || row.got.is_empty());
        client.read_while(|client| client.events.len() < messages || closes).await;
    };
    let done = squall_net::timeout(host.clock().as_ref(), until, all).await.is_some();
    client.told(done)
}

impl Client {
    async fn step(&mut self, host: &Host, step: &Step, elsewhere: &dyn Elsewhere) {
        match step {
            Step::Send(bytes) => self.send(bytes).await,
            Step::Reads(count) => self.read_while(|client| client.events.len() < *count).await,
            Step::ReadsData(bytes) => self.read_while(|client| client.data_bytes() < *bytes).await,
            Step::ReadsAcks(count) => self.read_while(|client| client.acks() < *count).await,
            Step::UpstreamHeads(count) => wait(host, || elsewhere.upstream_heads() >= *count).await,
            Step::UpstreamEnds(count) => wait(host, || elsewhere.upstream_ends() >= *count).await,
            Step::HalfClose => {
                let _ = self.conn.shutdown().await;
            }
            Step::Drain => elsewhere.drain(),
        }
    }

    fn data_bytes(&self) -> usize {
        match &self.speech {
            Speech::Http1(_) => 0,
            Speech::Http2(listener) => listener.data_bytes,
        }
    }

    fn acks(&self) -> usize {
        match &self.speech {
            Speech::Http1(_) => 0,
            Speech::Http2(listener) => listener.acks,
        }
    }

    /// Sends, and reads meanwhile: a peer may not read before it is read.
    async fn send(&mut self, bytes: &[u8]) {
        let mut sent = 0;
        std::future::poll_fn(|cx| {
            self.poll_read(cx);
            while sent < bytes.len() && !self.cannot_write {
                match Pin::new(&mut self.conn).poll_write(cx, &bytes[sent..]) {
                    Poll::Ready(Ok(count)) if count > 0 => sent += count,
                    Poll::Ready(_) => self.cannot_write = true,
                    Poll::Pending => return Poll::Pending,
                }
            }
            Poll::Ready(())
        })
        .await;
        let _ = self.conn.flush().await;
    }

    /// Reads until `go_on` says no, or nothing more can come.
    async fn read_while(&mut self, go_on: impl Fn(&Self) -> bool) {
        loop {
            let replies = match &mut self.speech {
                Speech::Http1(_) => Vec::new(),
                Speech::Http2(listener) => std::mem::take(&mut listener.replies),
            };
            if !replies.is_empty() {
                self.send(&replies).await;
            }
            if self.closed || !go_on(self) {
                return;
            }
            let before = self.unread();
            std::future::poll_fn(|cx| {
                self.poll_read(cx);
                if self.closed || self.unread() != before || !go_on(self) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
        }
    }

    /// Changes with whatever is read.
    fn unread(&self) -> (usize, usize) {
        match &self.speech {
            Speech::Http1(_) => (self.events.len(), 0),
            Speech::Http2(listener) => (self.events.len(), listener.replies.len()),
        }
    }

    /// Takes in all there is.
    fn poll_read(&mut self, cx: &mut Context<'_>) {
        let mut room = [0; 16 * 1024];
        while !self.closed {
            let mut buf = ReadBuf::new(&mut room);
            match Pin::new(&mut self.conn).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) if !buf.filled().is_empty() => self.hear(Some(buf.filled())),
                Poll::Ready(_) => {
                    self.closed = true;
                    self.hear(None);
                }
            }
        }
    }

    fn hear(&mut self, bytes: Option<&[u8]>) {
        match &mut self.speech {
            Speech::Http1(reader) => {
                match bytes {
                    Some(bytes) => reader.read(bytes),
                    None => reader.over = true,
                }
                while let Some(text) = reader.next() {
                    self.events.push((1, text));
                }
            }
            Speech::Http2(listener) => {
                listener.read(bytes.unwrap_or_default());
                self.events.append(&mut listener.events);
            }
        }
    }

    fn told(mut self, done: bool) -> String {
        let mut rest: Vec<String> = Vec::new();
        match &self.speech {
            Speech::Http1(reader) => rest.extend(reader.rest()),
            Speech::Http2(listener) => {
                self.events.sort_by_key(|(stream, _)| stream.wrapping_sub(1));
                rest.extend(listener.open().into_iter().map(|(stream, text)| format!("{stream}: {text}")));
            }
        }
        let named = matches!(self.speech, Speech::Http2(_));
        let text = |(stream, text): (u32, String)| if named && stream > 0 { format!("{stream}: {text}") } else { text };
        let mut told: Vec<String> = self.events.into_iter().map(text).collect();
        told.extend(rest.into_iter().map(|text| format!("{text} (unfinished)")));
        told.extend(self.closed.then(|| "closed".to_owned()));
        told.extend((!done).then(|| "(waited in vain)".to_owned()));
        told.join(" ;; ")
    }
}

async fn wait(host: &Host, so: impl Fn() -> bool) {
    while !so() {
        pin!(after(host.clock().as_ref(), TICK)).await;
    }
}
