//! hyper's view of a host: its streams, its clock, its tasks.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::rt::{Executor, Read, ReadBufCursor, Sleep, Timer, Write};
use squall_policy::Instant;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::interim::Interim;
use crate::{BoxFuture, Clock, Conn, Host, prefixed};

/// A [`Conn`] as hyper reads and writes it, with what was already read of it.
pub(crate) struct HyperIo {
    /// Read before hyper came; hyper gets it first.
    already: Bytes,
    conn: Conn,
    activity: Arc<Activity>,
    /// Written past hyper.
    interim: Option<Interim>,
}

/// What can be seen of a connection that hyper serves.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// How often hyper has read something.
    reads: AtomicU64,
    /// hyper waits for the next head, and for nothing else.
    awaits_head: AtomicBool,
    /// `reads` when it began to.
    reads_before: AtomicU64,
    /// Something was written that is not known to be flushed.
    unflushed: AtomicBool,
}

impl Activity {
    pub(crate) fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Whether the connection is between two requests: all was answered and sent, and nothing of the next has come.
    pub(crate) fn is_idle(&self) -> bool {
        self.awaits_head.load(Ordering::Relaxed)
            && !self.unflushed.load(Ordering::Relaxed)
            && self.reads() == self.reads_before.load(Ordering::Relaxed)
    }
}

impl HyperIo {
    pub(crate) fn new(already: Bytes, conn: Conn) -> Self {
        Self { already, conn, activity: Arc::default(), interim: None }
    }

    /// Sends what `interim` is given, whenever hyper has nothing to write.
    pub(crate) fn with_interim(self, interim: Interim) -> Self {
        Self { interim: Some(interim), ..self }
    }

    /// The connection, when hyper is through with it.
    pub(crate) fn into_conn(self) -> Conn {
        prefixed(self.already, self.conn)
    }

    pub(crate) fn activity(&self) -> Arc<Activity> {
        Arc::clone(&self.activity)
    }

    /// The same, with what hyper had read when it was given up.
    pub(crate) fn again(self, already: Bytes) -> Self {
        // Even an empty part of a buffer keeps all of it.
        let already = if already.is_empty() { Bytes::new() } else { already };
        Self { already, ..self }
    }

    /// Ready when there is something to read, EOF or an error.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.already.has_remaining() {
            return Poll::Ready(());
        }
        // An error is the next reader's.
        self.conn.poll_readable(cx).map(drop)
    }
}

impl Read for HyperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.already.has_remaining() {
            let count = this.already.len().min(cursor.remaining());
            cursor.put_slice(&this.already.split_to(count));
            this.activity.reads.fetch_add(1, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        #[expect(unsafe_code, reason = "hyper's cursor only lends its memory this way")]
        // SAFETY: `ReadBuf::uninit` accepts uninitialised memory and never de-initialises what is initialised.
        let mut buf = ReadBuf::uninit(unsafe { cursor.as_mut() });
        ready!(Pin::new(&mut this.conn).poll_read(cx, &mut buf))?;
        let filled = buf.filled().len();
        if filled > 0 {
            this.activity.reads.fetch_add(1, Ordering::Relaxed);
        }
        #[expect(unsafe_code, reason = "hyper's cursor only takes its memory back this way")]
        // SAFETY: `filled` bytes at the start of that memory have just been initialised by `poll_read`.
        unsafe {
            cursor.advance(filled);
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for HyperIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.activity.unflushed.store(true, Ordering::Relaxed);
        Pin::new(&mut self.conn).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // hyper flushes only when it has written all it had.
        let this = &mut *self;
        if let Some(interim) = &this.interim {
            ready!(interim.poll_write(cx, &mut this.conn))?;
        }
        ready!(Pin::new(&mut this.conn).poll_flush(cx))?;
        this.activity.unflushed.store(false, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.activity.unflushed.store(true, Ordering::Relaxed);
        Pin::new(&mut self.conn).poll_write_vectored(cx, bufs)
    }
}

/// hyper's tasks are tasks of this host.
#[derive(Clone)]
pub(crate) struct HostExecutor {
    pub(crate) host: Host,
    pub(crate) name: &'static str,
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for HostExecutor {
    fn execute(&self, future: F) {
        self.host.tasks().detach(self.name, Box::pin(future));
    }
}

/// The host's clock in hyper's terms: `origin` stands for the beginning of the world, and only differences matter.
#[derive(Clone)]
struct HostTime {
    clock: Arc<dyn Clock>,
    origin: std::time::Instant,
}

impl HostTime {
    fn new(host: &Host) -> Self {
        Self { clock: Arc::clone(host.clock()), origin: std::time::Instant::now() }
    }

    fn now(&self) -> std::time::Instant {
        self.origin + self.clock.now().since(Instant::ZERO)
    }

    fn span_to(&self, deadline: std::time::Instant) -> Duration {
        deadline.saturating_duration_since(self.now())
    }
}

/// hyper's timers are timers of this host.
#[derive(Clone)]
pub(crate) struct HostTimer(HostTime);

impl HostTimer {
    pub(crate) fn new(host: &Host) -> Self {
        Self(HostTime::new(host))
    }
}

impl Timer for HostTimer {
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Sleep>> {
        let clock = &self.0.clock;
        Box::pin(HostSleep(Mutex::new(clock.sleep_until(clock.now() + span))))
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(self.0.span_to(deadline))
    }

    fn now(&self) -> std::time::Instant {
        self.0.now()
    }
}

/// The mutex makes it `Sync`, as hyper asks for; it is only ever reached through `&mut`, without locking.
struct HostSleep(Mutex<BoxFuture<'static, ()>>);

impl Future for HostSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.get_mut().unwrap_or_else(PoisonError::into_inner).as_mut().poll(cx)
    }
}

impl Sleep for HostSleep {}

/// The timer of request heads: it starts with the first byte of a head. hyper starts it as soon as the last request is
/// done, which would close idle connections.
pub(crate) struct HeadTimer {
    clock: Arc<dyn Clock>,
    /// Stands for now, whenever that is: hyper only ever asks for a time this much later.
    origin: std::time::Instant,
    activity: Arc<Activity>,
}

impl HeadTimer {
    /// For the connection of this [`HyperIo::activity`].
    pub(crate) fn new(host: &Host, activity: Arc<Activity>) -> Self {
        let HostTime { clock, origin } = HostTime::new(host);
        Self { clock, origin, activity }
    }
}

impl Timer for HeadTimer {
    fn sleep(&self, span: Duration) -> Pin<Box<dyn Sleep>> {
        let activity = &self.activity;
        activity.reads_before.store(activity.reads(), Ordering::Relaxed);
        activity.awaits_head.store(true, Ordering::Relaxed);
        Box::pin(HeadSleep { clock: Arc::clone(&self.clock), span, activity: Arc::clone(activity), sleep: None })
    }

    fn sleep_until(&self, deadline: std::time::Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(self.origin))
    }

    fn now(&self) -> std::time::Instant {
        self.origin
    }
}

/// hyper polls it after each read that did not complete the head, so a first byte is always seen.
struct HeadSleep {
    clock: Arc<dyn Clock>,
    span: Duration,
    activity: Arc<Activity>,
    sleep: Option<HostSleep>,
}

/// hyper has the head, or is gone.
impl Drop for HeadSleep {
    fn drop(&mut self) {
        self.activity.awaits_head.store(false, Ordering::Relaxed);
    }
}

impl Future for HeadSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.activity.reads() == this.activity.reads_before.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        let (clock, span) = (&this.clock, this.span);
        let sleep = this.sleep.get_or_insert_with(|| HostSleep(Mutex::new(clock.sleep_until(clock.now() + span))));
        Pin::new(sleep).poll(cx)
    }
}

impl Sleep for HeadSleep {}
