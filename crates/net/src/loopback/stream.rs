//! The network of a host on loopback: real TCP between translated addresses, and the delay of each way.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::address::{Addresses, Owner};
use super::task::Machine;
use crate::tcp;
use crate::{Accepted, BoxFuture, Conn, Io, Listener, Net};

/// What a connection holds back for delay at most; beyond it the writer waits.
const HELD_BYTES_MAX: usize = 4 << 20;

/// How much is read at a time while data is held back.
const READ_BYTES: usize = 64 * 1024;

/// The ways between hosts.
pub trait Paths: Send + Sync + 'static {
    /// Called for every part that goes from host `from` to host `to` (0 bytes: a connection being made, once each way). Says how
    /// long it takes.
    fn carry(&self, from: usize, to: usize, bytes: usize) -> Duration;
}

/// The network of one boot of a host.
#[derive(Clone)]
pub(super) struct BootNet {
    pub(super) host: usize,
    pub(super) boot: u64,
    pub(super) machine: Arc<Machine>,
    pub(super) addresses: Arc<Addresses>,
    pub(super) paths: Arc<dyn Paths>,
}

impl BootNet {
    fn wrap(&self, conn: Conn) -> DelayedConn {
        let (peer, local) = (self.addresses.seen(conn.peer()), self.addresses.seen(conn.local()));
        let far = match self.addresses.owner(peer.ip()) {
            Some(Owner::Host(far)) if far != self.host => Some(far),
            Some(Owner::Host(_) | Owner::Local) | None => None,
        };
        DelayedConn { conn, peer, local, far, net: self.clone(), held: VecDeque::new(), held_bytes: 0, sleep: None }
    }

    async fn dial(&self, to: SocketAddr) -> io::Result<Conn> {
        let owner = self.addresses.owner(to.ip()).ok_or_else(|| io::Error::from(ErrorKind::HostUnreachable))?;
        let from = match owner {
            Owner::Local => Owner::Local,
            Owner::Host(far) => {
                if far != self.host {
                    let there = self.paths.carry(self.host, far, 0);
                    let back = self.paths.carry(far, self.host, 0);
                    if !(there + back).is_zero() {
                        sleep(there + back).await;
                    }
                }
                Owner::Host(self.host)
            }
        };
        let (from, to) = (self.addresses.real(self.host, from, 0)?, self.addresses.real(self.host, owner, to.port())?);
        Ok(Box::new(self.wrap(tcp::dial(to, Some(from)).await?)))
    }
}

impl Net for BootNet {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(self.dial(to))
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let owner = self.addresses.owner(at.ip()).filter(|owner| match owner {
                Owner::Local => true,
                Owner::Host(host) => *host == self.host,
            });
            let owner = owner.ok_or_else(|| io::Error::from(ErrorKind::AddrNotAvailable))?;
            let listener = tcp::listen(self.addresses.real(self.host, owner, at.port())?)?;
            Ok(Box::new(HostListener { listener, net: self.clone() }) as Box<dyn Listener>)
        })
    }

    fn resolve(&self, name: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let found = name.parse().ok().or_else(|| self.addresses.resolve(name));
        let found =
            found.ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("{name} is no host of this world")));
        Box::pin(async move { found.map(|address| vec![address]) })
    }
}

struct HostListener {
    listener: Box<dyn Listener>,
    net: BootNet,
}

impl Listener for HostListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let accepted = self.listener.accept().await?;
            let conn = self.net.wrap(accepted.conn);
            let (peer, dialed) = (conn.peer, self.net.addresses.seen(accepted.dialed));
            Ok(Accepted { conn: Box::new(conn), peer, dialed })
        })
    }

    fn local(&self) -> SocketAddr {
        self.net.addresses.seen(self.listener.local())
    }
}

/// What the peer sent, not to be seen before its time.
struct Part {
    due: Instant,
    /// Empty: EOF.
    what: io::Result<VecDeque<u8>>,
}

/// A connection whose reader sees each part when its delay is over, counted from when the reader could first have had it.
struct DelayedConn {
    conn: Conn,
    peer: SocketAddr,
    local: SocketAddr,
    /// The host at the other end, if it is another.
    far: Option<usize>,
    net: BootNet,
    held: VecDeque<Part>,
    held_bytes: usize,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl DelayedConn {
    fn delay(&self, bytes: usize) -> Duration {
        self.far.map_or(Duration::ZERO, |far| self.net.paths.carry(far, self.net.host, bytes))
    }

    fn hold(&mut self, delay: Duration, what: io::Result<VecDeque<u8>>) {
        let last = self.held.back().map(|part| part.due);
        let due = (Instant::now() + delay).max(last.unwrap_or_else(Instant::now));
        self.held_bytes += what.as_ref().map_or(0, VecDeque::len);
        self.held.push_back(Part { due, what });
    }

    /// Takes what has come, so that its delay begins.
    fn take_in(&mut self, cx: &mut Context<'_>) {
        let mut scratch = Vec::new();
        while self.held_bytes < HELD_BYTES_MAX && !self.held.back().is_some_and(Part::is_last) {
            scratch.resize(READ_BYTES, 0);
            let mut buf = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.conn).poll_read(cx, &mut buf) {
                Poll::Pending => return,
                Poll::Ready(read) => {
                    let bytes = buf.filled().to_vec();
                    let delay = self.delay(bytes.len());
                    self.hold(delay, read.map(|()| bytes.into()));
                }
            }
        }
    }

    /// Ready when the first part is due; there must be one.
    fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(part) = self.held.front() else { return Poll::Pending };
        if part.due <= Instant::now() {
            self.sleep = None;
            return Poll::Ready(());
        }
        let due = part.due;
        let alarm = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if alarm.deadline() != due {
            alarm.as_mut().reset(due);
        }
        alarm.as_mut().poll(cx)
    }
}

impl Part {
    fn is_last(&self) -> bool {
        self.what.as_ref().map_or(true, VecDeque::is_empty)
    }
}

impl AsyncRead for DelayedConn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.far.is_none() {
            return Pin::new(&mut this.conn).poll_read(cx, buf);
        }
        if this.held.is_empty() {
            // Without delay nothing is held back nor copied.
            let before = buf.filled().len();
            let read = ready!(Pin::new(&mut this.conn).poll_read(cx, buf));
            let delay = this.delay(buf.filled().len() - before);
            if delay.is_zero() {
                return Poll::Ready(read);
            }
            let bytes = buf.filled()[before..].to_vec();
            buf.set_filled(before);
            this.hold(delay, read.map(|()| bytes.into()));
        }
        this.take_in(cx);
        ready!(this.poll_due(cx));
        let Some(part) = this.held.front_mut() else { return Poll::Pending };
        if let Ok(bytes) = &mut part.what {
            let count = bytes.len().min(buf.remaining());
            let (first, second) = bytes.as_slices();
            let of_first = first.len().min(count);
            buf.put_slice(&first[..of_first]);
            buf.put_slice(&second[..count - of_first]);
            bytes.drain(..count);
            this.held_bytes -= count;
            if !bytes.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if count == 0 {
                // EOF stays.
                return Poll::Ready(Ok(()));
            }
        }
        let part = this.held.pop_front();
        Poll::Ready(part.map_or(Ok(()), |part| part.what.map(drop)))
    }
}

impl AsyncWrite for DelayedConn {
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

impl Io for DelayedConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.held.is_empty() {
            ready!(self.conn.poll_readable(cx))?;
            if self.far.is_none() {
                return Poll::Ready(Ok(()));
            }
        }
        self.take_in(cx);
        self.poll_due(cx).map(Ok)
    }

    fn abort(&mut self) {
        self.held.clear();
        self.held_bytes = 0;
        self.conn.abort();
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for DelayedConn {
    fn drop(&mut self) {
        if self.held_bytes > 0 {
            // The kernel does not know that this was not read.
            self.conn.abort();
        }
        if !self.net.machine.is_at(self.net.boot) {
            self.conn.abort();
            self.net.machine.resets.fetch_add(1, Ordering::SeqCst);
        }
    }
}
