//! How a proxy is told to end, and how it learns that its connections are gone.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;

/// Something that happens once. Waiters are woken in the order they came, so that nothing depends on chance.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    raised: AtomicBool,
    notify: Notify,
}

impl Signal {
    /// Lets it happen. Nothing more happens the second time.
    pub(crate) fn raise(&self) {
        if !self.raised.swap(true, Ordering::SeqCst) {
            self.notify.notify_waiters();
        }
    }

    /// Whether it has happened.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::SeqCst)
    }

    /// Ready once it has happened.
    pub(crate) async fn wait(&self) {
        while !self.is_raised() {
            let mut notified = std::pin::pin!(self.notify.notified());
            // Registered before the second look: a signal in between is not missed.
            notified.as_mut().enable();
            if self.is_raised() {
                return;
            }
            notified.await;
        }
    }
}

/// Counts what is still running (listeners and connections of one side).
#[derive(Debug, Default)]
pub(crate) struct Running {
    count: AtomicU64,
    notify: Notify,
}

/// One thing that runs, until it is dropped.
#[derive(Debug)]
pub(crate) struct Mark(std::sync::Arc<Running>);

impl Running {
    /// One more.
    pub(crate) fn mark(self: &std::sync::Arc<Self>) -> Mark {
        self.count.fetch_add(1, Ordering::SeqCst);
        Mark(std::sync::Arc::clone(self))
    }

    /// Ready when nothing runs.
    pub(crate) async fn none(&self) {
        while self.count.load(Ordering::SeqCst) > 0 {
            let mut notified = std::pin::pin!(self.notify.notified());
            notified.as_mut().enable();
            if self.count.load(Ordering::SeqCst) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.notify.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn poll<T>(future: std::pin::Pin<&mut impl Future<Output = T>>) -> Poll<T> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_signal_reaches_those_who_waited_and_those_who_come_late() {
        let signal = Signal::default();
        let mut early = Box::pin(signal.wait());
        assert!(poll(early.as_mut()).is_pending());
        signal.raise();
        assert!(poll(early.as_mut()).is_ready());
        assert!(poll(Box::pin(signal.wait()).as_mut()).is_ready());
    }

    #[test]
    fn nothing_runs_only_when_the_last_mark_is_gone() {
        let running = Arc::new(Running::default());
        let (first, second) = (running.mark(), running.mark());
        let mut none = Box::pin(running.none());
        drop(first);
        assert!(poll(none.as_mut()).is_pending());
        drop(second);
        assert!(poll(none.as_mut()).is_ready());
    }
}
