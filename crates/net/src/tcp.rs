//! The real world: TCP by tokio, the OS clock, OS entropy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::aws_lc_rs;
use socket2::{SockRef, TcpKeepalive};
use squall_policy::{Instant, Rng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::splice::Kernel;
use crate::{Accepted, BoxFuture, Clock, Conn, Host, Io, Listener, Net, Shortage, Task, Tasks, Wall, catch_panic};

/// Connections that wait to be accepted, per listener; the kernel cuts it to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;

/// A peer of which nothing is heard for so long is asked whether it is there.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(60);
/// And asked again, until it answers or [`GIVE_UP_AFTER`] is over.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(15);
/// How long what was sent may stay without an answer, or a peer that answers may have no room for more, before the connection is
/// given up (tcp(7), `TCP_USER_TIMEOUT`; RFC 9293 §3.8.3). As long as Envoy lets a stream stand still.
const GIVE_UP_AFTER: Duration = Duration::from_secs(300);

/// How long a listener waits before it tries again when the process has no file descriptors left.
const NO_DESCRIPTORS_WAIT: Duration = Duration::from_millis(10);
/// How often at most a listener that has to wait says so in the log.
const SAY_AGAIN: Duration = Duration::from_secs(10);

/// Whether a connection did not come about because this process or machine has nothing left to have it with: descriptors, memory, own
/// ports. It says nothing about the peer.
#[must_use]
pub fn is_shortage(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    is_no_room(code) || matches!(code, Some(libc::EADDRNOTAVAIL | libc::EAGAIN))
}

fn is_no_room(code: Option<i32>) -> bool {
    matches!(code, Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM))
}

/// Real TCP sockets through tokio. Must be used inside a tokio runtime with I/O and time enabled.
#[derive(Debug, Default)]
pub struct Tcp {
    /// Listeners share their port with others of this user that do the same (`SO_REUSEPORT`).
    share_ports: bool,
}

impl Tcp {
    /// A host on this machine: real TCP, the OS clock, tokio tasks, dice from the OS.
    #[must_use]
    pub fn host() -> Host {
        let mut seed = [0; 8];
        let random = aws_lc_rs::default_provider().secure_random;
        random.fill(&mut seed).expect("the OS has entropy once it has booted");
        Self::host_with(Rng::from_seed(u64::from_ne_bytes(seed)))
    }

    /// As [`Tcp::host`], with listeners that share their ports (`SO_REUSEPORT`): each worker of a process has one of its own at
    /// the same address, and the kernel spreads connections over them. Another process of the same user can listen there too.
    #[must_use]
    pub fn sharing_host() -> Host {
        let host = Self::host();
        let rng = host.rng("sharing");
        Self { share_ports: true }.with(rng)
    }

    /// As [`Tcp::host`], with these dice.
    #[must_use]
    pub fn host_with(rng: Rng) -> Host {
        Self::default().with(rng)
    }

    fn with(self, rng: Rng) -> Host {
        Host::new(Arc::new(self), Arc::new(OsClock), Arc::new(OsWall), Arc::new(TokioTasks), rng)
    }
}

impl Net for Tcp {
    fn connect(&self, to: SocketAddr) -> BoxFuture<'_, io::Result<Conn>> {
        Box::pin(dial(to, None))
    }

    fn listen(&self, at: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        let share = self.share_ports;
        Box::pin(async move { listen_sharing(at, share) })
    }

    fn resolve(&self, name: &str) -> BoxFuture<'_, io::Result<Vec<IpAddr>>> {
        let name = name.to_owned();
        Box::pin(async move {
            if let Ok(address) = name.parse::<IpAddr>() {
                return Ok(vec![address]);
            }
            let found = tokio::net::lookup_host((name.as_str(), 0)).await;
            let mut addresses = Vec::new();
            for address in found.map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))? {
                if !addresses.contains(&address.ip()) {
                    addresses.push(address.ip());
                }
            }
            if addresses.is_empty() {
                return Err(io::Error::new(io::ErrorKind::NotFound, format!("{name} has no address")));
            }
            Ok(addresses)
        })
    }
}

/// Connects, from this address of ours if one is given (port 0: any free one).
pub(crate) async fn dial(to: SocketAddr, from: Option<SocketAddr>) -> io::Result<Conn> {
    let socket = socket(to)?;
    set_options(&socket)?;
    if let Some(from) = from {
        late_port(&socket)?;
        socket.bind(from)?;
    }
    let stream = socket.connect(to).await?;
    let local = stream.local_addr()?;
    Ok(TcpConn::new(stream, to, local))
}

/// Lets the kernel pick the port when it connects, so that one address can have more connections than ports (ip(7),
/// `IP_BIND_ADDRESS_NO_PORT`).
fn late_port(socket: &TcpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    #[expect(unsafe_code, reason = "neither tokio nor socket2 has this option")]
    // SAFETY: the descriptor is open as long as `socket` is borrowed, and the option's value is an int that outlives the call.
    let failed = unsafe {
        let size = std::mem::size_of_val(&on) as libc::socklen_t;
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, (&raw const on).cast(), size)
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Listens, inside a tokio runtime.
pub(crate) fn listen(at: SocketAddr) -> io::Result<Box<dyn Listener>> {
    listen_sharing(at, false)
}

fn listen_sharing(at: SocketAddr, share: bool) -> io::Result<Box<dyn Listener>> {
    let socket = socket(at)?;
    socket.set_reuseaddr(true)?;
    if share {
        socket.set_reuseport(true)?;
    }
    // What is accepted here has the same options (listen(2), tcp(7)).
    set_options(&socket)?;
    socket.bind(at)?;
    let listener = socket.listen(BACKLOG)?;
    let local = listener.local_addr()?;
    Ok(Box::new(OsListener { listener, local, said: None, tell: None }))
}

/// Nothing waits to be sent in larger pieces, and no peer is waited for longer than it is worth.
fn set_options(socket: &TcpSocket) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let socket = SockRef::from(socket);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE_AFTER).with_interval(KEEPALIVE_EVERY))?;
    socket.set_tcp_user_timeout(Some(GIVE_UP_AFTER))
}

fn socket(towards: SocketAddr) -> io::Result<TcpSocket> {
    if towards.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }
}

struct OsListener {
    listener: TcpListener,
    local: SocketAddr,
    /// When the log was told last that it has to wait.
    said: Option<tokio::time::Instant>,
    tell: Option<Shortage>,
}

impl OsListener {
    /// Nothing is left to have a connection with.
    async fn wait(&mut self, error: io::Error) {
        if self.said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            self.said = Some(tokio::time::Instant::now());
            tracing::warn!(%error, local = %self.local, "cannot accept for now: connections wait");
        }
        if let Some(tell) = &self.tell {
            tell(&error);
        }
        tokio::time::sleep(NO_DESCRIPTORS_WAIT).await;
    }
}

impl Listener for OsListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Accepted>> {
        Box::pin(async move {
            loop {
                match self.listener.accept().await {
                    Ok((stream, peer)) => {
                        // It may have been reset already; then it is nobody's business.
                        if let Ok(local) = stream.local_addr() {
                            let dialed = original_destination(&stream, local).unwrap_or(self.local);
                            return Ok(Accepted { conn: TcpConn::new(stream, peer, local), peer, dialed });
                        }
                    }
                    Err(error) => match error.raw_os_error() {
                        code if is_no_room(code) => self.wait(error).await,
                        Some(libc::EBADF | libc::EFAULT | libc::EINVAL | libc::ENOTSOCK | libc::EOPNOTSUPP) => {
                            return Err(error);
                        }
                        // The rest belongs to the connection that was to be accepted (accept(2), "Error handling").
                        _ => tracing::debug!(%error, local = %self.local, "a connection ended before it was accepted"),
                    },
                }
            }
        })
    }

    fn local(&self) -> SocketAddr {
        self.local
    }

    fn on_shortage(&mut self, tell: Shortage) {
        self.tell = Some(tell);
    }
}

/// Where a connection that a firewall rule (`REDIRECT`) brought here was going.
fn original_destination(stream: &TcpStream, local: SocketAddr) -> Option<SocketAddr> {
    let socket = SockRef::from(stream);
    // A listener for both families has IPv4 connections too, by addresses mapped into IPv6.
    let v6 = local.ip().to_canonical().is_ipv6();
    let found = if v6 { socket.original_dst_v6() } else { socket.original_dst_v4() };
    found.ok()?.as_socket()
}

struct TcpConn {
    /// `None` after [`Io::abort`].
    stream: Option<TcpStream>,
    peer: SocketAddr,
    local: SocketAddr,
    /// What [`Io::poll_readable`] met; the OS tells an error only once, and the reader is to have it.
    failed: Option<io::Error>,
}

impl TcpConn {
    #[expect(clippy::new_ret_no_self, reason = "everybody works with the boxed seam type")]
    fn new(stream: TcpStream, peer: SocketAddr, local: SocketAddr) -> Conn {
        Box::new(Self { stream: Some(stream), peer, local, failed: None })
    }

    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
    }
}

impl AsyncRead for TcpConn {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        self.stream()?.poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpConn {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }
}

impl Io for TcpConn {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed.is_some() {
            return Poll::Ready(Ok(()));
        }
        // Readiness alone may be stale (it is only cleared by a read that finds nothing), so look at one byte.
        let mut byte = [std::mem::MaybeUninit::uninit()];
        let peeked = self.stream()?.poll_peek(cx, &mut ReadBuf::uninit(&mut byte));
        if let Err(error) = ready!(peeked) {
            self.failed = Some(error);
        }
        Poll::Ready(Ok(()))
    }

    fn abort(&mut self) {
        if let Some(stream) = self.stream.take() {
            // Closing with a linger time of zero sends RST. It fails only if the connection is gone already.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn kernel(&self) -> Option<Kernel<'_>> {
        // An error that was met is the reader's, who must not miss it.
        self.stream.as_ref().filter(|_| self.failed.is_none()).map(Kernel)
    }

    fn peer(&self) -> SocketAddr {
        self.peer
    }

    fn local(&self) -> SocketAddr {
        self.local
    }
}

/// When this process first asked for the time: the beginning of its world.
fn beginning() -> tokio::time::Instant {
    static BEGINNING: OnceLock<tokio::time::Instant> = OnceLock::new();
    *BEGINNING.get_or_init(tokio::time::Instant::now)
}

/// The monotonic clock of the OS, from the first time it is asked. Timers round up to whole milliseconds, as tokio's do.
struct OsClock;

impl Clock for OsClock {
    fn now(&self) -> Instant {
        Instant::ZERO + beginning().elapsed()
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let nanos = Duration::from_nanos(at.as_nanos());
        Box::pin(async move {
            match beginning().checked_add(nanos) {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        })
    }
}

struct OsWall;

impl Wall for OsWall {
    fn since_epoch(&self) -> Duration {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
    }
}

struct TokioTasks;

async fn watched(name: &'static str, future: BoxFuture<'static, ()>) {
    if let Err(panic) = catch_panic(future).await {
        tracing::error!(task = name, panic, "a task panicked");
    }
}

impl Tasks for TokioTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let task = tokio::spawn(watched(name, future));
        Task::new(move || task.abort())
    }

    fn detach(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        tokio::spawn(watched(name, future));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nobody sets them on what was accepted: the kernel must hand them on.
    #[test]
    fn accepted_connections_have_the_options_of_their_listener() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let here = SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0);
            let listening = socket(here).expect("a socket");
            set_options(&listening).expect("options of Linux");
            listening.bind(here).expect("a free port");
            let listener = listening.listen(1).expect("listens");
            let client = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("connects");
            let (accepted, _) = listener.accept().await.expect("accepts");
            let accepted = SockRef::from(&accepted);
            assert!(accepted.tcp_nodelay().expect("an option"));
            assert!(accepted.keepalive().expect("an option"));
            assert_eq!(accepted.tcp_keepalive_time().expect("an option"), KEEPALIVE_AFTER);
            assert_eq!(accepted.tcp_keepalive_interval().expect("an option"), KEEPALIVE_EVERY);
            assert_eq!(accepted.tcp_user_timeout().expect("an option"), Some(GIVE_UP_AFTER));
            drop(client);
        });
    }
}
