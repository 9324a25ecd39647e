//! A connection of which something was read already.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::splice::Kernel;
use crate::{Conn, Io};

/// Gives back what was read of `conn`: its readers find `already` first.
#[must_use]
pub fn prefixed(already: Bytes, conn: Conn) -> Conn {
    if already.is_empty() { conn } else { Box::new(Prefixed { already, conn }) }
}

struct Prefixed {
    already: Bytes,
    conn: Conn,
}

impl AsyncRead for Prefixed {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.already.is_empty() {
            return Pin::new(&mut self.conn).poll_read(cx, buf);
        }
        let some = self.already.len().min(buf.remaining());
        buf.put_slice(&self.already[..some]);
        self.already.advance(some);
        if self.already.is_empty() {
            self.already = Bytes::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.conn).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.conn).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}

impl Io for Prefixed {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.already.is_empty() { self.conn.poll_readable(cx) } else { Poll::Ready(Ok(())) }
    }

    fn abort(&mut self) {
        self.already = Bytes::new();
        self.conn.abort();
    }

    fn peer(&self) -> SocketAddr {
        self.conn.peer()
    }

    fn local(&self) -> SocketAddr {
        self.conn.local()
    }

    fn kernel(&self) -> Option<Kernel<'_>> {
        if self.already.is_empty() { self.conn.kernel() } else { None }
    }
}
