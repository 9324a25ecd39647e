//! Interim responses (1xx, RFC 9110 §15.2) of a served HTTP/1.1 connection. hyper's server writes none but its own 100, so they
//! are written past it, at the one place where it is safe: when hyper has flushed all it had, and has not got the final head yet.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use http::{HeaderMap, StatusCode};
use tokio::io::AsyncWrite as _;

use crate::Conn;

/// The most bytes of interim responses that wait for a client to read. More are dropped: a peer must not fill our memory.
const WAITING_BYTES: usize = 64 * 1024;

/// Sends interim responses to the client of a connection that is served with it. Clones share the connection.
#[derive(Clone, Default)]
pub struct Interim(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// Whether `state.bytes` has some: looked at without the lock at every flush.
    waiting: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// A request is unanswered whose client understands interim responses.
    open: bool,
    bytes: Vec<u8>,
    /// The connection's task.
    waker: Option<Waker>,
}

impl Interim {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the client of the request in progress can be sent interim responses: it speaks HTTP/1.1 and has no final one yet.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.lock().open
    }

    /// Sends one to the client of the request in progress. Dropped if that request has its final answer, or if its client has
    /// 64 KiB of others to read.
    pub fn send(&self, status: StatusCode, headers: &HeaderMap) {
        let mut state = self.lock();
        if !state.open || state.bytes.len() > WAITING_BYTES {
            return;
        }
        let reason = status.canonical_reason().unwrap_or_default();
        state.bytes.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
        for (name, value) in headers {
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                state.bytes.extend_from_slice(part);
            }
        }
        state.bytes.extend_from_slice(b"\r\n");
        self.0.waiting.store(true, Ordering::Release);
        if let Some(waker) = &state.waker {
            waker.wake_by_ref();
        }
    }

    /// A request is in progress; `understood`: by its client.
    pub(crate) fn begin(&self, understood: bool) {
        self.lock().open = understood;
    }

    /// The connection's task, which writes what is sent.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut state = self.lock();
        if state.open && !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            state.waker = Some(cx.waker().clone());
        }
    }

    /// Ready when all are written; from then on there is none to be sent.
    pub(crate) fn poll_end(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if state.bytes.is_empty() {
            state.open = false;
            return Poll::Ready(());
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Writes those that wait; called when nothing else waits to be written.
    pub(crate) fn poll_write(&self, cx: &mut Context<'_>, conn: &mut Conn) -> Poll<io::Result<()>> {
        if !self.0.waiting.load(Ordering::Acquire) {
            return Poll::Ready(Ok(()));
        }
        let mut state = self.lock();
        while !state.bytes.is_empty() {
            let count = ready!(Pin::new(&mut *conn).poll_write(cx, &state.bytes))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            state.bytes.drain(..count);
        }
        self.0.waiting.store(false, Ordering::Release);
        // The final answer may have waited for this.
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
        Poll::Ready(Ok(()))
    }
}
