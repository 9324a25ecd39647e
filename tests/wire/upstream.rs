//! The upstream of a row: notes every request as it came, and answers with raw bytes.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use squall_net::http::Version;
use squall_net::upgrade::websocket_accept;
use squall_net::{Conn, Host};
use squall_policy::Protocol;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::frames::{self, Listener};
use crate::h1::Reader;
use crate::row::{OK, Reply, Row, crlf};
use crate::world::LOCAL;

/// What came, by request in the order of heads, over all connections.
#[derive(Default)]
pub struct Book {
    requests: Vec<Option<String>>,
    connections: usize,
    ended: usize,
}

#[derive(Clone)]
pub struct Upstream {
    book: Arc<Mutex<Book>>,
    replies: Arc<Vec<Reply>>,
    greeting: Vec<u8>,
    rude: bool,
    /// The proxy makes up keys of WebSockets.
    keyed: bool,
}

impl Upstream {
    /// Listens, and serves in the background.
    pub async fn start(host: &Host, row: &Row) -> (Self, SocketAddr) {
        let greeting = row.greeting.clone().unwrap_or_else(frames::quiet_settings);
        let this = Self {
            book: Arc::default(),
            replies: Arc::new(row.replies.clone()),
            greeting,
            rude: row.rude,
            keyed: row.client == Version::Http2,
        };
        let mut listener = host.net().listen(LOCAL).await.expect("a free port");
        let at = listener.local();
        let (protocol, of_task, spawner) = (row.upstream, this.clone(), host.clone());
        host.spawn("upstream", async move {
            while let Ok(accepted) = listener.accept().await {
                of_task.book().connections += 1;
                let this = of_task.clone();
                spawner.spawn("upstream connection", async move {
                    match protocol {
                        Protocol::Http1 | Protocol::Tcp => this.serve_h1(accepted.conn).await,
                        Protocol::Http2 => this.serve_h2(accepted.conn).await,
                    }
                    this.book().ended += 1;
                });
            }
        });
        (this, at)
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn heads(&self) -> usize {
        self.book().requests.len()
    }

    pub fn ends(&self) -> usize {
        self.book().ended
    }

    /// Whether every connection has ended.
    pub fn is_over(&self) -> bool {
        let book = self.book();
        book.connections == book.ended
    }

    /// All requests, joined by ` ;; `.
    pub fn told(&self) -> String {
        let book = self.book();
        let told: Vec<String> =
            book.requests.iter().map(|request| request.clone().unwrap_or_else(|| "(unfinished)".into())).collect();
        told.join(" ;; ")
    }

    /// A head has come: its place in the book, and its answer.
    fn begin(&self) -> (usize, Reply) {
        let mut book = self.book();
        book.requests.push(None);
        let nth = book.requests.len() - 1;
        let ok = Reply { bytes: crlf(OK), at_head: false, closes: false, resets: false };
        (nth, self.replies.get(nth).cloned().unwrap_or(ok))
    }

    fn end(&self, nth: usize, text: String) {
        let mut book = self.book();
        let place = &mut book.requests[nth];
        *place = Some(place.take().map_or(text.clone(), |before| format!("{before} {text}")));
    }

    async fn serve_h1(&self, mut conn: Conn) {
        let mut reader = Reader::new(false);
        let mut current: Option<(usize, Reply)> = None;
        let mut room = vec![0; 16 * 1024];
        let mut finished = false;
        loop {
            if reader.raw {
                return self.serve_raw(conn, reader).await;
            }
            if current.is_none() && reader.has_head() && !finished {
                let (nth, reply) = self.begin();
                if reply.at_head && !self.answer(&mut conn, &reply).await {
                    finished = true;
                }
                current = Some((nth, reply));
            }
            if let Some(mut text) = reader.next() {
                let (nth, mut reply) = current.take().unwrap_or_else(|| self.begin());
                if self.keyed {
                    self.answer_key(&mut text, &mut reply);
                }
                let is_connect = text.starts_with("CONNECT ") && reply.bytes.starts_with(b"HTTP/1.1 2");
                reader.raw = is_connect || reply.bytes.starts_with(b"HTTP/1.1 101");
                self.end(nth, text);
                if reply.resets {
                    let _ = conn.write_all(&reply.bytes).await;
                    conn.abort();
                    return;
                }
                if !reply.at_head && !finished && !self.answer(&mut conn, &reply).await {
                    finished = true;
                }
                continue;
            }
            if reader.over {
                return;
            }
            match conn.read(&mut room).await {
                Ok(count) if count > 0 => reader.read(&room[..count]),
                _ => reader.over = true,
            }
        }
    }

    /// Hides the key of a WebSocket, which is a die's, and gives the answer that it asks for.
    fn answer_key(&self, text: &mut String, reply: &mut Reply) {
        const NAME: &str = "sec-websocket-key: ";
        let Some(at) = text.find(NAME).map(|at| at + NAME.len()) else { return };
        let key = text[at..].split(',').next().unwrap_or_default().to_owned();
        *text = text.replace(&key, "KEY");
        reply.bytes = String::from_utf8_lossy(&reply.bytes).replace("{accept}", &websocket_accept(&key)).into_bytes();
    }

    /// Notes each line and sends it back, until the other side ends: then says so, and ends too.
    async fn serve_raw(&self, mut conn: Conn, mut reader: Reader) {
        let mut room = vec![0; 16 * 1024];
        loop {
            while let Some(text) = reader.next() {
                let (nth, _) = self.begin();
                let _ = conn.write_all(format!("echo {}\n", text.trim_matches(['"', '\\', 'n'])).as_bytes()).await;
                let _ = conn.flush().await;
                self.end(nth, text);
            }
            if reader.over {
                let _ = conn.write_all(b"bye\n").await;
                let _ = conn.shutdown().await;
                return;
            }
            match conn.read(&mut room).await {
                Ok(count) if count > 0 => reader.read(&room[..count]),
                Ok(_) => reader.over = true,
                // A reset is no end.
                Err(_) => return,
            }
        }
    }

    /// Whether the connection stays open afterwards.
    async fn answer(&self, conn: &mut Conn, reply: &Reply) -> bool {
        let _ = conn.write_all(&reply.bytes).await;
        let _ = conn.flush().await;
        if reply.closes {
            // FIN first, and what still comes is read: a close that loses nothing (RFC 9112 §9.6).
            let _ = conn.shutdown().await;
        }
        !reply.closes
    }

    async fn serve_h2(&self, mut conn: Conn) {
        let mut preface = [0; 24];
        if conn.read_exact(&mut preface).await.is_err() || preface != frames::PREFACE {
            let (nth, _) = self.begin();
            self.end(nth, "no preface".into());
            return;
        }
        if conn.write_all(&self.greeting).await.is_err() {
            return;
        }
        let mut listener = Listener::new(self.rude, false);
        let mut streams: Vec<(u32, usize, Reply)> = Vec::new();
        let mut room = vec![0; 16 * 1024];
        loop {
            let count = conn.read(&mut room).await.unwrap_or(0);
            listener.read(&room[..count]);
            let replies = std::mem::take(&mut listener.replies);
            if !replies.is_empty() {
                let _ = conn.write_all(&replies).await;
            }
            for stream in listener.opened.iter().skip(streams.len()).copied().collect::<Vec<_>>() {
                let (nth, mut reply) = self.begin();
                if self.replies.get(nth).is_none() {
                    reply.bytes = frames::headers(stream, frames::END_STREAM, ":status: 204");
                }
                if reply.at_head {
                    self.answer(&mut conn, &reply).await;
                }
                streams.push((stream, nth, reply));
            }
            for (stream, text) in std::mem::take(&mut listener.events) {
                let Some((_, nth, reply)) = streams.iter().find(|(of, _, _)| *of == stream) else { continue };
                let is_request = !text.contains("rst ");
                self.end(*nth, text);
                if is_request && !reply.at_head {
                    self.answer(&mut conn, reply).await;
                }
            }
            if count == 0 {
                for (stream, text) in listener.open() {
                    if let Some((_, nth, _)) = streams.iter().find(|(of, _, _)| *of == stream) {
                        self.end(*nth, format!("{text} (cut)"));
                    }
                }
                return;
            }
        }
    }
}
