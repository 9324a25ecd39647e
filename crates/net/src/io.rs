//! The seam: connections, listeners, and the network that makes them.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::splice::Kernel;

/// A boxed future that may move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A byte stream, both ways.
pub type Conn = Box<dyn Io>;

/// What a connection can do in every world, besides reading and writing.
///
/// `poll_shutdown` is a half-close (FIN): the peer reads EOF, this side may still read. Dropping a connection closes it
/// as TCP does: with FIN, or with RST when data was left unread. `Err` kinds are those of the OS: `ConnectionReset`,
/// `BrokenPipe`, `TimedOut`, `ConnectionRefused`, `HostUnreachable`.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {
    /// Ready when a read would give data, EOF or an error. Needs no buffer, so that an idle connection has none.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Resets the connection (RST): the peer's next read or write fails with `ConnectionReset`, unsent data is dropped.
    fn abort(&mut self);

    /// The address of the peer.
    fn peer(&self) -> SocketAddr;

    /// The address of this side.
    fn local(&self) -> SocketAddr;

    /// The kernel's own connection, if reading and writing is nothing but reading and writing that one: then bytes can be moved
    /// without passing through the process. `None` by default.
    fn kernel(&self) -> Option<Kernel<'_>> {
        None
    }
}

/// What both ways of a relay carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Relayed {
    /// Bytes from the first to the second connection.
    pub sent_bytes: u64,
    /// Bytes from the second to the first.
    pub received_bytes: u64,
}

/// A connection as it was accepted.
pub struct Accepted {
    /// The stream.
    pub conn: Conn,
    /// Who connected.
    pub peer: SocketAddr,
    /// The address the peer meant to reach: the original destination if the connection was redirected here, else the
    /// listener's own address.
    pub dialed: SocketAddr,
}

/// Who is told of a shortage, with its error.
pub type Shortage = Box<dyn Fn(&io::Error) + Send + Sync>;

/// Waits for connections. Dropping it closes the port; connections not yet accepted are reset.
pub trait Listener: Send {
    /// The next connection. Cancel-safe. Errors of one connection are retried inside; an `Err` means the listener is dead.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>>;

    /// Where it listens, with the port that was given for port 0.
    fn local(&self) -> SocketAddr;

    /// From now on tells of each time that a connection cannot be accepted because the machine has nothing left to have it with
    /// (descriptors, memory). It waits in the kernel then, and is tried again soon. By default nobody is told: simulated machines have enough.
    fn on_shortage(&mut self, _tell: Shortage) {}
}

/// A network seen from one host.
pub trait Net: Send + Sync + 'static {
    /// Connects. Dropping the future gives the attempt up. Fails as TCP does: `ConnectionRefused` (nothing listens),
    /// `TimedOut` (silence; after the world's SYN retries, 127 s on Linux, so callers bring their own limit),
    /// `HostUnreachable`.
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Conn>>;

    /// Listens at `at`; port 0 picks a free one. `AddrInUse` if taken.
    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;

    /// The addresses behind a host name. `NotFound` if there are none.
    fn resolve(&self, name: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>>;
}
