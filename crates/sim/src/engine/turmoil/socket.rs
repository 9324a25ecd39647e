//! The sockets of a host inside turmoil.
//!
//! turmoil has one namespace of ports per host, whatever the address. A sidecar and its application listen at the same
//! port of two addresses, so a port of the loopback is really another one, from [`REAL_PORTS`].

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use squall_net::{Accepted, BoxFuture, Conn, Io, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::host::Shared;

/// Ports of connecting sockets.
pub(super) const CLIENT_PORTS: RangeInclusive<u16> = 32_768..=60_999;
/// Ports that stand for ports of the loopback, and those given for port 0.
const REAL_PORTS: RangeInclusive<u16> = 61_000..=65_535;
/// The most one write carries.
const WRITE_BYTES: usize = 32 * 1024;

/// What a host listens at, and at which port of turmoil's.
#[derive(Default)]
pub(super) struct Ports {
    listening: BTreeMap<SocketAddr, u16>,
    last: u16,
}

impl Ports {
    fn free(&mut self) -> io::Result<u16> {
        for _ in REAL_PORTS {
            self.last = if self.last < *REAL_PORTS.start() || self.last == *REAL_PORTS.end() {
                *REAL_PORTS.start()
            } else {
                self.last + 1
            };
            let taken = self.listening.iter().any(|(at, real)| *real == self.last || at.port() == self.last);
            if !taken {
                return Ok(self.last);
            }
        }
        Err(ErrorKind::AddrInUse.into())
    }

    /// Takes an address for a listener: where it is, and the port in turmoil.
    fn take(&mut self, mut at: SocketAddr) -> io::Result<(SocketAddr, u16)> {
        if at.port() == 0 {
            at.set_port(self.free()?);
        }
        let clash = self.listening.keys().any(|other| {
            let (mine, others) = (at.ip(), other.ip());
            other.port() == at.port() && (mine == others || mine.is_unspecified() || others.is_unspecified())
        });
        if clash {
            return Err(ErrorKind::AddrInUse.into());
        }
        let real = if at.ip().is_loopback() { self.free()? } else { at.port() };
        self.listening.insert(at, real);
        Ok((at, real))
    }

    fn give_back(&mut self, at: SocketAddr) {
        self.listening.remove(&at);
    }

    pub(super) fn real_target(&self, own: IpAddr, to: SocketAddr) -> Option<SocketAddr> {
        if !to.ip().is_loopback() && to.ip() != own {
            return Some(to);
        }
        let any = if to.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        let real = self.listening.get(&to).or_else(|| self.listening.get(&SocketAddr::new(any, to.port())));
        real.map(|real| SocketAddr::new(to.ip(), *real))
    }
}

/// The network as one boot of a host sees it.
pub(super) struct SimNet {
    shared: Arc<Shared>,
    host: u32,
    boot: u32,
}

impl SimNet {
    pub(super) fn new(shared: Arc<Shared>, host: u32, boot: u32) -> Self {
        Self { shared, host, boot }
    }

    fn alive(&self) -> io::Result<()> {
        let dead = || io::Error::new(ErrorKind::NotConnected, "the host of this network has crashed");
        self.shared.is_current(self.host, self.boot).then_some(()).ok_or_else(dead)
    }

    async fn listen_now(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        self.alive()?;
        let own = self.shared.address(self.host);
        if !at.ip().is_loopback() && !at.ip().is_unspecified() && at.ip() != own {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let (local, real) = self.shared.ports(self.host, |ports| ports.take(at))?;
        let any = if own.is_ipv4() { IpAddr::from(Ipv4Addr::UNSPECIFIED) } else { Ipv6Addr::UNSPECIFIED.into() };
        match ::turmoil::net::TcpListener::bind((any, real)).await {
            Ok(listener) => {
                self.shared.note(self.host, "listen", u64::from(local.port()), 0);
                let shared = Arc::clone(&self.shared);
                Ok(Box::new(SimListener { listener: Some(listener), shared, host: self.host, local }))
            }
            Err(error) => {
                self.shared.ports(self.host, |ports| ports.give_back(local));
                Err(error)
            }
        }
    }
}

impl Net for SimNet {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(async move {
            self.alive()?;
            self.shared.note(self.host, "connect", u64::from(to.port()), 0);
            self.shared.sent(self.host, to.ip(), 0);
            let real = self.shared.real_target(self.host, to).ok_or(ErrorKind::ConnectionRefused)?;
            let stream = ::turmoil::net::TcpStream::connect(real).await?;
            let local = stream.local_addr()?;
            Ok(SimConn::new(stream, Arc::clone(&self.shared), self.host, local, to))
        })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(self.listen_now(at))
    }

    fn resolve(&self, name: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let found = match name.parse() {
            Ok(address) => Some(address),
            Err(_) if name == "localhost" => Some(Ipv4Addr::LOCALHOST.into()),
            Err(_) => self.shared.resolve(name),
        };
        let result = found
            .map(|address| vec![address])
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("no host of the world is called `{name}`")));
        Box::pin(std::future::ready(result))
    }
}

struct SimListener {
    /// Always there until it is dropped.
    listener: Option<::turmoil::net::TcpListener>,
    shared: Arc<Shared>,
    host: u32,
    local: SocketAddr,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            let listener = self.listener.as_ref().ok_or(ErrorKind::NotConnected)?;
            let (stream, peer) = listener.accept().await?;
            let mut local = SocketAddr::new(stream.local_addr()?.ip(), self.local.port());
            if !self.local.ip().is_unspecified() {
                local.set_ip(self.local.ip());
            }
            self.shared.note(self.host, "accept", u64::from(local.port()), u64::from(peer.port()));
            let conn = SimConn::new(stream, Arc::clone(&self.shared), self.host, local, peer);
            Ok(Accepted { conn, peer, dialed: local })
        })
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.listener = None;
        self.shared.ports(self.host, |ports| ports.give_back(self.local));
    }
}

struct SimConn {
    /// `None` after [`Io::abort`].
    stream: Option<::turmoil::net::TcpStream>,
    shared: Arc<Shared>,
    host: u32,
    local: SocketAddr,
    peer: SocketAddr,
    shut: bool,
}

impl SimConn {
    #[expect(clippy::new_ret_no_self, reason = "everybody works with the boxed seam type")]
    fn new(
        stream: ::turmoil::net::TcpStream,
        shared: Arc<Shared>,
        host: u32,
        local: SocketAddr,
        peer: SocketAddr,
    ) -> Conn {
        Box::new(Self { stream: Some(stream), shared, host, local, peer, shut: false })
    }

    fn stream(&mut self) -> io::Result<Pin<&mut ::turmoil::net::TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for SimConn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = self.stream()?.poll_read(cx, buf);
        if polled.is_ready() {
            let bytes = (buf.filled().len() - before) as u64;
            self.shared.note(self.host, "read", u64::from(self.local.port()), bytes);
        }
        polled
    }
}

impl AsyncWrite for SimConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = self.stream()?.poll_write(cx, &buf[..buf.len().min(WRITE_BYTES)]);
        if let Poll::Ready(Ok(count)) = polled {
            self.shared.note(self.host, "write", u64::from(self.local.port()), count as u64);
            self.shared.sent(self.host, self.peer.ip(), count as u64);
        }
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // turmoil takes a second one for an error.
        if std::mem::replace(&mut self.shut, true) {
            return Poll::Ready(Ok(()));
        }
        self.stream()?.poll_shutdown(cx)
    }
}

impl Io for SimConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Ok(stream) = self.stream() else { return Poll::Ready(Ok(())) };
        let mut byte = [0; 1];
        // An error stays for the reader: turmoil tells it again.
        stream.get_mut().poll_peek(cx, &mut ReadBuf::new(&mut byte)).map(|_| Ok(()))
    }

    /// turmoil cannot send RST: the peer sees EOF unless data was left unread here.
    fn abort(&mut self) {
        self.stream = None;
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}
