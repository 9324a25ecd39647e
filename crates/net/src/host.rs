//! A host: everything a program needs from the machine it runs on.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use squall_policy::{Instant, Rng};

use crate::{BoxFuture, Net};

/// The monotonic clock of a host.
pub trait Clock: Send + Sync + 'static {
    /// The time now.
    fn now(&self) -> Instant;

    /// Ready at `at`, or at once if that has passed. Dropping the future removes the timer.
    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()>;
}

/// The wall clock of a host: only for the `Date` header, certificates and logs.
pub trait Wall: Send + Sync + 'static {
    /// Since 1970-01-01 UTC, without leap seconds.
    fn since_epoch(&self) -> Duration;
}

/// Where a host's tasks run.
pub trait Tasks: Send + Sync + 'static {
    /// Runs `future` until it ends or is aborted. A panic in it is caught, reported as an error of the host, and ends only this
    /// task. `name` is for reports: `proxy accept`.
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task;

    /// As [`Tasks::spawn`], for a task that nobody will abort.
    fn detach(&self, name: &'static str, future: BoxFuture<'static, ()>) {
        drop(self.spawn(name, future));
    }
}

/// A running task. Dropping it lets the task run on; [`Task::abort`] ends it.
pub struct Task {
    abort: Box<dyn Fn() + Send + Sync>,
}

impl Task {
    /// A handle whose [`Task::abort`] calls `abort`.
    #[must_use]
    pub fn new(abort: impl Fn() + Send + Sync + 'static) -> Self {
        Self { abort: Box::new(abort) }
    }

    /// Drops the task's future at its next chance. Nothing happens if it has ended.
    pub fn abort(&self) {
        (self.abort)();
    }
}

/// What a program needs from the machine it runs on. Cheap to clone; clones are the same host.
#[derive(Clone)]
pub struct Host {
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
    wall: Arc<dyn Wall>,
    tasks: Arc<dyn Tasks>,
    rng: Arc<Rng>,
}

impl Host {
    /// A host of these parts. `rng` is its root stream: it is only forked, never drawn from.
    #[must_use]
    pub fn new(net: Arc<dyn Net>, clock: Arc<dyn Clock>, wall: Arc<dyn Wall>, tasks: Arc<dyn Tasks>, rng: Rng) -> Self {
        Self { net, clock, wall, tasks, rng: Arc::new(rng) }
    }

    /// Its network.
    #[must_use]
    pub fn net(&self) -> &Arc<dyn Net> {
        &self.net
    }

    /// Its monotonic clock.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// Its wall clock.
    #[must_use]
    pub fn wall(&self) -> &Arc<dyn Wall> {
        &self.wall
    }

    /// Where its tasks run.
    #[must_use]
    pub fn tasks(&self) -> &Arc<dyn Tasks> {
        &self.tasks
    }

    /// Spawns a task of this host.
    pub fn spawn(&self, name: &'static str, future: impl Future<Output = ()> + Send + 'static) -> Task {
        self.tasks.spawn(name, Box::pin(future))
    }

    /// An own stream of dice.
    #[must_use]
    pub fn rng(&self, name: &str) -> Rng {
        self.rng.fork(name)
    }
}

/// Ready when `span` has passed.
pub fn after(clock: &dyn Clock, span: Duration) -> BoxFuture<'static, ()> {
    clock.sleep_until(clock.now() + span)
}

/// `work`'s result, or `None` if `at` comes first. If both are ready, `work` wins.
pub async fn timeout<T>(clock: &dyn Clock, at: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = std::pin::pin!(work);
    let mut alarm = clock.sleep_until(at);
    std::future::poll_fn(|cx: &mut Context<'_>| {
        if let Poll::Ready(value) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(value));
        }
        Pin::new(&mut alarm).poll(cx).map(|()| None)
    })
    .await
}

/// `future`'s result, or the message of the panic that ended it. For implementations of [`Tasks`]: the future is dropped
/// where it panicked, and nothing of it is polled again.
pub async fn catch_panic<T>(future: BoxFuture<'static, T>) -> Result<T, String> {
    let mut future = Some(future);
    std::future::poll_fn(move |cx| {
        let Some(running) = future.as_mut() else {
            return Poll::Ready(Err("polled after its end".to_owned()));
        };
        match catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(cx))) {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(value)) => Poll::Ready(Ok(value)),
            Err(panic) => {
                // What the future owns may panic again as it is dropped; the first message is the one that counts.
                let dropped = future.take();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(dropped)));
                Poll::Ready(Err(panic_message(panic.as_ref())))
            }
        }
    })
    .await
}

/// Does what the drop of a value has to do. Where a panic is under way already, one more ends here and not, as the language has it, with
/// the process and everybody else's connections.
pub fn in_drop(work: impl FnOnce()) {
    if std::thread::panicking() {
        let _ = catch_unwind(AssertUnwindSafe(work));
    } else {
        work();
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a panic without a message".to_owned()
    }
}
