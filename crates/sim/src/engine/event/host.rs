//! Clock, wall clock and tasks of a simulated host.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use squall_net::{BoxFuture, Clock, Host, Task, Tasks, Wall};
use squall_policy::{Instant, Rng};

use super::queue::Key;
use super::socket::SimNet;
use super::world::{Shared, State};

/// The host handle of one boot.
pub(super) fn handle(shared: &Arc<Shared>, host: u32, boot: u32, ahead: Duration, rng: Rng) -> Host {
    let clock = Arc::new(SimClock { shared: Arc::clone(shared), host, ahead });
    let net = SimNet { shared: Arc::clone(shared), host, boot };
    let tasks = SimTasks { shared: Arc::clone(shared), host, boot };
    Host::new(Arc::new(net), Arc::clone(&clock) as Arc<dyn Clock>, clock, Arc::new(tasks), rng)
}

struct SimClock {
    shared: Arc<Shared>,
    host: u32,
    ahead: Duration,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        Instant::from_nanos(self.shared.now()) + self.ahead
    }

    fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
        let at = if at == Instant::MAX { u64::MAX } else { (at - self.ahead).as_nanos() };
        Box::pin(Sleep { shared: Arc::clone(&self.shared), at, host: self.host, timer: None })
    }
}

impl Wall for SimClock {
    fn since_epoch(&self) -> Duration {
        self.shared.epoch + self.ahead + Duration::from_nanos(self.shared.now())
    }
}

struct Sleep {
    shared: Arc<Shared>,
    /// In the world's time; `u64::MAX` never comes.
    at: u64,
    host: u32,
    timer: Option<Key>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.at <= self.shared.now() {
            return Poll::Ready(());
        }
        if self.at == u64::MAX {
            return Poll::Pending;
        }
        let mut world = self.shared.world();
        let (timer, old) = match self.timer {
            Some(key) => (key, world.queue.rewake(key, cx.waker())),
            None => (world.queue.add_timer(self.at, self.host, cx.waker().clone()), None),
        };
        drop(world);
        drop(old);
        self.timer = Some(timer);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            let waker = self.shared.world().queue.cancel(key);
            drop(waker);
        }
    }
}

struct SimTasks {
    shared: Arc<Shared>,
    host: u32,
    boot: u32,
}

impl Tasks for SimTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        let mut world = self.shared.world();
        let host = &world.hosts[self.host as usize];
        if host.boot != self.boot || matches!(host.state, State::Down(_)) {
            // The host has crashed; its futures are being dropped, and so is this one, outside the lock.
            drop(world);
            drop(future);
            return Task::new(|| {});
        }
        let key = world.tasks.add(&self.shared.ready, self.host, name, future);
        world.note(self.host, "spawn", u64::from(key.index), 0);
        drop(world);
        let shared = Arc::clone(&self.shared);
        Task::new(move || {
            let waker = shared.world().tasks.abort(key);
            if let Some(waker) = waker {
                waker.wake();
            }
        })
    }
}
