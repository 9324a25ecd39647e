//! Connections that stop speaking HTTP: `Upgrade` (RFC 9110 §7.8), CONNECT (§9.3.6), and WebSockets over HTTP/2 (RFC 8441).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::digest;
use bytes::{Buf as _, Bytes};
use http::Response;
use http::request::Parts;
use hyper::rt::{Read as _, ReadBuf as HyperBuf, Write as _};
use hyper::upgrade::{OnUpgrade, Upgraded};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::http::Incoming;
use crate::hyper_rt::HyperIo;
use crate::{Conn, Io, prefixed};

/// What a WebSocket's key is hashed with (RFC 6455 §1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// What is read ahead of an HTTP/2 stream to find out whether it has something.
const AHEAD_BYTES: usize = 4 * 1024;

/// The bytes behind a head, once both sides agree that they are no HTTP.
pub struct Upgrade(OnUpgrade);

impl Upgrade {
    /// Of a request that [`serve`](crate::http::serve) gave; `None` if it asks for no other protocol. They come once it is answered with
    /// 101, or with a success if its method is CONNECT.
    #[must_use]
    pub fn of_request(head: &mut Parts) -> Option<Self> {
        head.extensions.remove::<OnUpgrade>().map(Self)
    }

    /// Of an answer with 101, or of a successful one to CONNECT.
    #[must_use]
    pub fn of_response(response: &mut Response<Incoming>) -> Self {
        Self(hyper::upgrade::on(response))
    }

    /// The connection, from the first byte behind the head. Over HTTP/2 it is a stream, whose addresses are unspecified, and which
    /// ends in good order (END_STREAM) even if it is aborted.
    ///
    /// # Errors
    /// The peer has gone, or was answered otherwise.
    pub async fn conn(self) -> io::Result<Conn> {
        let upgraded = self.0.await.map_err(|error| io::Error::new(io::ErrorKind::ConnectionAborted, error))?;
        Ok(match upgraded.downcast::<HyperIo>() {
            // Without hyper in between: the kernel may carry the bytes.
            Ok(parts) => prefixed(parts.read_buf, parts.io.into_conn()),
            Err(upgraded) => Box::new(StreamConn { stream: upgraded, ahead: Bytes::new(), ended: false }),
        })
    }
}

/// The protocol that an extended CONNECT asks for (`:protocol`, RFC 8441 §4).
#[must_use]
pub fn connect_protocol(head: &Parts) -> Option<&str> {
    head.extensions.get::<hyper::ext::Protocol>().map(hyper::ext::Protocol::as_str)
}

/// What a server must say to a WebSocket's `key` (RFC 6455 §4.2.2).
#[must_use]
pub fn websocket_accept(key: &str) -> String {
    let keyed = format!("{key}{WEBSOCKET_GUID}");
    base64(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, keyed.as_bytes()).as_ref())
}

/// Base64 with padding (RFC 4648 §4).
#[must_use]
pub fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().chain(&[0; 2]).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        for place in 0..4 {
            let letter = LETTERS[word >> (18 - 6 * place) & 63];
            text.push(if place <= three.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// A stream of an HTTP/2 connection.
struct StreamConn {
    stream: Upgraded,
    /// Read already.
    ahead: Bytes,
    ended: bool,
}

impl StreamConn {
    fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() || self.ended {
            return Poll::Ready(Ok(()));
        }
        let mut room = [0; AHEAD_BYTES];
        let mut buf = HyperBuf::new(&mut room);
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf.unfilled()))?;
        self.ahead = Bytes::copy_from_slice(buf.filled());
        self.ended = self.ahead.is_empty();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for StreamConn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.ended {
            return Poll::Ready(Ok(()));
        }
        if !self.ahead.is_empty() {
            let some = self.ahead.len().min(buf.remaining());
            buf.put_slice(&self.ahead[..some]);
            self.ahead.advance(some);
            return Poll::Ready(Ok(()));
        }
        let mut into = HyperBuf::new(buf.initialize_unfilled());
        ready!(Pin::new(&mut self.stream).poll_read(cx, into.unfilled()))?;
        let filled = into.filled().len();
        buf.advance(filled);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for StreamConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Io for StreamConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_fill(cx)
    }

    fn abort(&mut self) {
        // hyper has no way to reset it: it ends when it is dropped.
        self.ahead = Bytes::new();
        self.ended = true;
    }

    fn peer(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
    }

    fn local(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_rfc() {
        let want =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="), ("fooba", "Zm9vYmE=")];
        for (bytes, text) in want {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xfb, 0xff, 0xbf]), "+/+/");
    }

    /// RFC 6455 §1.3.
    #[test]
    fn a_websocket_is_accepted_as_in_the_example_of_the_rfc() {
        assert_eq!(websocket_accept("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }
}
