//! The sockets of a simulated host: `Net`, `Listener` and `Io` over [`World`](super::world::World).

use std::future::Future;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, Bytes, BytesMut};
use squall_net::{Accepted, BoxFuture, Conn, Io, Listener, Net};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::queue::Key;
use super::tcp::{Connection, Phase, SEGMENT_BYTES};
use super::world::{Port, Shared, State, World};

/// The network as one boot of a host sees it.
pub(super) struct SimNet {
    pub(super) shared: Arc<Shared>,
    pub(super) host: u32,
    pub(super) boot: u32,
}

impl SimNet {
    fn is_current(&self, world: &World) -> bool {
        let host = &world.hosts[self.host as usize];
        host.boot == self.boot && !matches!(host.state, State::Down(_))
    }
}

fn dead() -> io::Error {
    io::Error::new(ErrorKind::NotConnected, "the host of this network has crashed")
}

impl Net for SimNet {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(Connecting { net: self, to, connection: None })
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(std::future::ready(self.listen_now(at)))
    }

    fn resolve(&self, name: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let world = self.shared.world();
        let found = match name {
            "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
            other => world.hosts.iter().find(|host| *host.spec.name == *other).map(|host| host.spec.address),
        };
        let result = found
            .map(|address| vec![address])
            .ok_or_else(|| io::Error::new(ErrorKind::NotFound, format!("no host of the world is called `{name}`")));
        Box::pin(std::future::ready(result))
    }
}

impl SimNet {
    fn listen_now(&self, at: SocketAddr) -> io::Result<Box<dyn Listener>> {
        let mut world = self.shared.world();
        if !self.is_current(&world) {
            return Err(dead());
        }
        let own = world.hosts[self.host as usize].spec.address;
        if !at.ip().is_loopback() && !at.ip().is_unspecified() && at.ip() != own {
            return Err(ErrorKind::AddrNotAvailable.into());
        }
        let mut at = at;
        if at.port() == 0 {
            at.set_port(world.free_port(self.host, at.ip()).ok_or(ErrorKind::AddrInUse)?);
        }
        let ports = &mut world.hosts[self.host as usize].ports;
        let clash = ports.iter().any(|(_, port)| {
            let (mine, other) = (at.ip(), port.address.ip());
            port.address.port() == at.port() && (mine == other || mine.is_unspecified() || other.is_unspecified())
        });
        if clash {
            return Err(ErrorKind::AddrInUse.into());
        }
        let key = ports.insert(Port::new(at));
        world.note(self.host, "listen", u64::from(at.port()), 0);
        drop(world);
        Ok(Box::new(SimListener { shared: Arc::clone(&self.shared), host: self.host, key, local: at }))
    }
}

struct Connecting<'a> {
    net: &'a SimNet,
    to: SocketAddr,
    connection: Option<Key>,
}

impl Connecting<'_> {
    fn begin(&mut self, world: &mut World, waker: Waker) -> io::Result<()> {
        let (net, to) = (self.net, self.to);
        if !net.is_current(world) {
            return Err(dead());
        }
        let server = world.host_of(net.host, to.ip());
        let own = if to.ip().is_loopback() { to.ip() } else { world.hosts[net.host as usize].spec.address };
        let local = world.take_port(net.host, own, to).ok_or(ErrorKind::AddrNotAvailable)?;
        let mut connection = Connection::new((net.host, local), (server, to), world.now);
        connection.connect_waker = Some(waker);
        let key = world.connections.insert(connection);
        self.connection = Some(key);
        world.note(net.host, "connect", u64::from(key.index), u64::from(server) << 16 | u64::from(to.port()));
        world.tcp_connect(key);
        Ok(())
    }
}

impl Future for Connecting<'_> {
    type Output = io::Result<Conn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let shared = Arc::clone(&self.net.shared);
        let mut world = shared.world();
        let Some(key) = self.connection else {
            return match self.begin(&mut world, cx.waker().clone()) {
                Ok(()) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            };
        };
        let Some(connection) = world.connections.get_mut(key) else { return Poll::Ready(Err(dead())) };
        if let Some(error) = connection.sides[0].error {
            return Poll::Ready(Err(error.into()));
        }
        if connection.phase != Phase::Established {
            let old = connection.connect_waker.replace(cx.waker().clone());
            drop(world);
            drop(old);
            return Poll::Pending;
        }
        let (local, peer) = (connection.sides[0].address, connection.sides[1].address);
        drop(world);
        self.connection = None;
        Poll::Ready(Ok(Box::new(SimConn { shared, key, side: 0, local, peer })))
    }
}

impl Drop for Connecting<'_> {
    fn drop(&mut self) {
        if let Some(key) = self.connection {
            self.net.shared.act(|world| world.tcp_close(key, 0));
        }
    }
}

struct SimListener {
    shared: Arc<Shared>,
    host: u32,
    key: Key,
    local: SocketAddr,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(std::future::poll_fn(|cx| self.poll_accept(cx)))
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl SimListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let mut world = self.shared.world();
        let key = loop {
            let Some(port) = world.hosts[self.host as usize].ports.get_mut(self.key) else {
                return Poll::Ready(Err(dead()));
            };
            let Some(key) = port.waiting.pop_front() else {
                let old = port.waker.replace(cx.waker().clone());
                drop(world);
                drop(old);
                return Poll::Pending;
            };
            // Linux gives connections that were reset while they waited; the first read says so.
            if world.connections.get_mut(key).is_some() {
                break key;
            }
        };
        let connection = world.connections.get_mut(key).expect("it was there a line ago");
        let (peer, local) = (connection.sides[0].address, connection.sides[1].address);
        world.note(self.host, "accept", u64::from(key.index), 0);
        drop(world);
        let conn = Box::new(SimConn { shared: Arc::clone(&self.shared), key, side: 1, local, peer });
        Poll::Ready(Ok(Accepted { conn, peer, dialed: local }))
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        self.shared.act(|world| world.close_port(self.host, self.key));
    }
}

/// One end of a connection.
struct SimConn {
    shared: Arc<Shared>,
    key: Key,
    side: usize,
    local: SocketAddr,
    peer: SocketAddr,
}

/// What a read finds.
enum Inbox<'a> {
    Data(&'a mut Connection),
    End,
    Error(io::Error),
    Empty(&'a mut Connection),
}

impl SimConn {
    fn look<'a>(&self, world: &'a mut World) -> Inbox<'a> {
        let Some(connection) = world.connections.get_mut(self.key) else { return Inbox::Error(dead()) };
        let pipe = &connection.pipes[1 - self.side];
        let (data, ended) = (!pipe.inbox.is_empty(), pipe.ended);
        match connection.sides[self.side].error {
            _ if data => Inbox::Data(connection),
            Some(error) => Inbox::Error(error.into()),
            None if ended => Inbox::End,
            None => Inbox::Empty(connection),
        }
    }

    fn wait(connection: &mut Connection, side: usize, waker: &Waker) -> Option<Waker> {
        let slot = &mut connection.pipes[1 - side].read_waker;
        match slot {
            Some(old) if old.will_wake(waker) => None,
            Some(_) | None => slot.replace(waker.clone()),
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let shared = Arc::clone(&self.shared);
        let mut world = shared.world();
        let now = world.now;
        let Some(connection) = world.connections.get_mut(self.key) else { return Poll::Ready(Err(dead())) };
        let side = &mut connection.sides[self.side];
        if let Some(error) = side.error {
            let told = std::mem::replace(&mut side.error_told, true);
            return Poll::Ready(Err(if told { ErrorKind::BrokenPipe } else { error }.into()));
        }
        if connection.pipes[self.side].shut || !side.alive {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        let wanted: usize = parts.iter().map(|part| part.len()).sum();
        if wanted == 0 {
            return Poll::Ready(Ok(0));
        }
        let pipe = &mut connection.pipes[self.side];
        let length = pipe.room(now).min(wanted).min(SEGMENT_BYTES);
        if length == 0 {
            let old = pipe.write_waker.replace(cx.waker().clone());
            world.tcp_wait_for_room(self.key, self.side);
            drop(world);
            drop(old);
            return Poll::Pending;
        }
        let data = gather(parts, length);
        world.tcp_write(self.key, self.side, data);
        Poll::Ready(Ok(length))
    }
}

fn gather(parts: &[IoSlice<'_>], length: usize) -> Bytes {
    if let Some(first) = parts.iter().find(|part| !part.is_empty())
        && first.len() >= length
    {
        return Bytes::copy_from_slice(&first[..length]);
    }
    let mut data = BytesMut::with_capacity(length);
    for part in parts {
        let left = length - data.len();
        data.extend_from_slice(&part[..part.len().min(left)]);
    }
    data.freeze()
}

impl AsyncRead for SimConn {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut world = self.shared.world();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        match self.look(&mut world) {
            Inbox::Data(connection) => {
                let inbox = &mut connection.pipes[1 - self.side].inbox;
                let mut bytes = 0;
                while buf.remaining() > 0
                    && let Some(first) = inbox.front_mut()
                {
                    let length = first.len().min(buf.remaining());
                    buf.put_slice(&first[..length]);
                    first.advance(length);
                    bytes += length as u64;
                    if first.is_empty() {
                        inbox.pop_front();
                    }
                }
                world.tcp_read(self.key, self.side, bytes);
                Poll::Ready(Ok(()))
            }
            Inbox::End => Poll::Ready(Ok(())),
            Inbox::Error(error) => Poll::Ready(Err(error)),
            Inbox::Empty(connection) => {
                let old = Self::wait(connection, self.side, cx.waker());
                drop(world);
                drop(old);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for SimConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_send(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shared.world().tcp_shut(self.key, self.side);
        Poll::Ready(Ok(()))
    }
}

impl Io for SimConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut world = self.shared.world();
        match self.look(&mut world) {
            Inbox::Data(_) | Inbox::End | Inbox::Error(_) => Poll::Ready(Ok(())),
            Inbox::Empty(connection) => {
                let old = Self::wait(connection, self.side, cx.waker());
                drop(world);
                drop(old);
                Poll::Pending
            }
        }
    }

    fn abort(&mut self) {
        self.shared.act(|world| world.tcp_abort(self.key, self.side));
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

impl Drop for SimConn {
    fn drop(&mut self) {
        self.shared.act(|world| world.tcp_close(self.key, self.side));
    }
}
