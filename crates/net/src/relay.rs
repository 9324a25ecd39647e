//! Two connections made one: bytes of each go on to the other, untouched.
//!
//! ```text
//!   each way:   read ─▶ written ─▶ … ─▶ EOF ─▶ half-close (FIN) of the other ─▶ over
//!   the relay:  both ways over ─▶ complete;   an error, silence, too long ─▶ both connections reset
//! ```
//!
//! Between two connections of the kernel's own bytes move by splice(2) and never enter the process; else through buffers, which
//! a way holds only while bytes are under way.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use squall_policy::Instant;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};

use crate::splice::SpliceWay;
use crate::{BoxFuture, Clock, Conn, Relayed};

/// The bytes of one buffer: two TLS records.
const BUFFER_BYTES: usize = 32 * 1024;

/// Buffers that a thread keeps for the next use.
const BUFFERS_KEPT: usize = 16;

/// How often a way moves bytes before the other one and other tasks get their turn.
pub(crate) const TURNS: u32 = 16;

/// Limits on the time of a relay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RelayLimits {
    /// The longest time without a byte either way; `None`: no limit.
    pub idle: Option<Duration>,
    /// When it is cut off; `None`: never.
    pub until: Option<Instant>,
}

/// Which connection of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// The first.
    Caller,
    /// The second.
    Endpoint,
}

/// How a relay ended.
#[derive(Debug)]
pub enum RelayOutcome {
    /// Both sides closed, and everything was carried.
    Complete,
    /// No byte for too long; both were reset.
    Idle,
    /// It took too long; both were reset.
    TooLong,
    /// This connection broke; the other was reset.
    Broken(RelayEnd, io::Error),
}

/// What a relay has carried so far, for those who look while it runs and after it was dropped.
#[derive(Debug, Default)]
pub struct Carried {
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
}

impl Carried {
    /// By now.
    #[must_use]
    pub fn so_far(&self) -> Relayed {
        Relayed {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
        }
    }
}

/// Carries bytes between `caller` and `endpoint` until both have closed, one breaks, or a limit is met. A half-close (EOF) is passed
/// on, and the other way stays open. `already` was read of the caller before. Dropped before its end, it resets both.
pub async fn relay(
    clock: &Arc<dyn Clock>,
    caller: Conn,
    already: Bytes,
    endpoint: Conn,
    limits: RelayLimits,
    carried: &Carried,
) -> RelayOutcome {
    let mut pair = Pair { caller, endpoint, is_over: false };
    let kernel = pair.caller.kernel().is_some() && pair.endpoint.kernel().is_some();
    let way = || if kernel { Way::Splice(SpliceWay::default()) } else { Way::Copy(CopyWay::default()) };
    let mut first = CopyWay { first: already, ..CopyWay::default() };
    let (mut up, mut down) = (way(), way());
    let mut last = clock.now();
    let mut alarm: Option<BoxFuture<'static, ()>> = None;
    std::future::poll_fn(|cx| {
        let before = carried.so_far();
        let Pair { caller, endpoint, .. } = &mut pair;
        let sent = match first.poll_first(cx, endpoint, &carried.sent_bytes) {
            Poll::Ready(Ok(())) => up.poll(cx, caller, endpoint, &carried.sent_bytes),
            Poll::Ready(Err(fault)) => Poll::Ready(Err(fault)),
            Poll::Pending => Poll::Pending,
        };
        let received = down.poll(cx, endpoint, caller, &carried.received_bytes);
        for (polled, from, to) in
            [(&sent, RelayEnd::Caller, RelayEnd::Endpoint), (&received, RelayEnd::Endpoint, RelayEnd::Caller)]
        {
            if let Poll::Ready(Err((is_reader, error))) = polled {
                let error = io::Error::new(error.kind(), error.to_string());
                return Poll::Ready(RelayOutcome::Broken(if *is_reader { from } else { to }, error));
            }
        }
        if sent.is_ready() && received.is_ready() {
            pair.is_over = true;
            return Poll::Ready(RelayOutcome::Complete);
        }
        if limits.idle.is_none() && limits.until.is_none() {
            return Poll::Pending;
        }
        if carried.so_far() != before {
            last = clock.now();
        }
        loop {
            let idles_at = limits.idle.map(|idle| last + idle);
            let Some(wake_at) = idles_at.into_iter().chain(limits.until).min() else { return Poll::Pending };
            // One timer, set anew only when it rings: bytes in between only move the time that is looked at then.
            let timer = alarm.get_or_insert_with(|| clock.sleep_until(wake_at));
            ready!(timer.as_mut().poll(cx));
            alarm = None;
            let now = clock.now();
            if limits.until.is_some_and(|until| until <= now) {
                return Poll::Ready(RelayOutcome::TooLong);
            }
            if idles_at.is_some_and(|at| at <= now) {
                return Poll::Ready(RelayOutcome::Idle);
            }
        }
    })
    .await
}

/// Both connections; reset when the relay does not come to its own end, so that nobody takes a part for the whole.
struct Pair {
    caller: Conn,
    endpoint: Conn,
    is_over: bool,
}

impl Drop for Pair {
    fn drop(&mut self) {
        if !self.is_over {
            self.caller.abort();
            self.endpoint.abort();
        }
    }
}

/// Whether the reader failed, not the writer; and how.
pub(crate) type Fault = (bool, io::Error);

/// One way.
enum Way {
    Copy(CopyWay),
    Splice(SpliceWay),
}

impl Way {
    /// Ready when its last byte and its EOF are passed on.
    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        count: &AtomicU64,
    ) -> Poll<Result<(), Fault>> {
        match self {
            Self::Copy(way) => way.poll(cx, from, to, count),
            Self::Splice(way) => way.poll(cx, from, to, count),
        }
    }
}

/// What a way does now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Bytes.
    #[default]
    Open,
    /// The reader has ended: the writer is told.
    Closing,
    /// The writer knows.
    Over,
}

/// A way through a buffer.
#[derive(Default)]
struct CopyWay {
    stage: Stage,
    /// Only while bytes are under way.
    buffer: Option<Box<[u8]>>,
    /// What of it is to be written.
    held: std::ops::Range<usize>,
    /// Written, and perhaps not sent yet.
    flushes: bool,
    /// To be written before anything is read.
    first: Bytes,
}

impl CopyWay {
    /// Ready when what comes first is written and on its way.
    fn poll_first(&mut self, cx: &mut Context<'_>, to: &mut Conn, count: &AtomicU64) -> Poll<Result<(), Fault>> {
        while !self.first.is_empty() {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &self.first)).map_err(|error| (false, error))?;
            if written == 0 {
                return Poll::Ready(Err((false, io::ErrorKind::WriteZero.into())));
            }
            self.first.advance(written);
            self.flushes = true;
            count.fetch_add(written as u64, Ordering::Relaxed);
        }
        self.poll_flushed(cx, to)
    }

    fn rest(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            keep_buffer(buffer);
        }
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>, to: &mut Conn) -> Poll<Result<(), Fault>> {
        if self.flushes {
            ready!(Pin::new(&mut *to).poll_flush(cx)).map_err(|error| (false, error))?;
            self.flushes = false;
        }
        Poll::Ready(Ok(()))
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        count: &AtomicU64,
    ) -> Poll<Result<(), Fault>> {
        for _ in 0..TURNS {
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx)).map_err(|error| (false, error))?;
                    self.stage = Stage::Over;
                }
                Stage::Open => ready!(self.poll_open(cx, from, to, count))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Moves some bytes.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        count: &AtomicU64,
    ) -> Poll<Result<(), Fault>> {
        if let Some(buffer) = self.buffer.as_ref().filter(|_| !self.held.is_empty()) {
            let written = ready!(Pin::new(&mut *to).poll_write(cx, &buffer[self.held.clone()]));
            let written = written.map_err(|error| (false, error))?;
            if written == 0 {
                return Poll::Ready(Err((false, io::ErrorKind::WriteZero.into())));
            }
            self.held.start += written;
            self.flushes = true;
            count.fetch_add(written as u64, Ordering::Relaxed);
            return Poll::Ready(Ok(()));
        }
        let buffer = self.buffer.get_or_insert_with(take_buffer);
        let mut into = ReadBuf::new(buffer);
        match Pin::new(&mut *from).poll_read(cx, &mut into) {
            Poll::Ready(Ok(())) => {
                self.held = 0..into.filled().len();
                if self.held.is_empty() {
                    self.stage = Stage::Closing;
                    self.rest();
                }
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err((true, error))),
            Poll::Pending => {
                self.rest();
                ready!(self.poll_flushed(cx, to))?;
                Poll::Pending
            }
        }
    }
}

thread_local! {
    static BUFFERS: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

fn take_buffer() -> Box<[u8]> {
    let kept = BUFFERS.with_borrow_mut(Vec::pop);
    kept.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice())
}

fn keep_buffer(buffer: Box<[u8]>) {
    BUFFERS.with_borrow_mut(|buffers| {
        if buffers.len() < BUFFERS_KEPT {
            buffers.push(buffer);
        }
    });
}
