//! Tasks, and the queue of those that can go on.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::thread::ThreadId;

use squall_net::BoxFuture;

use super::queue::Key;

/// Tasks to poll, first woken first.
#[derive(Default)]
pub(super) struct Ready(Mutex<Line>);

#[derive(Default)]
struct Line {
    keys: VecDeque<Key>,
    /// The thread of the world. A wake-up from another one would come at a moment that no seed decides.
    home: Option<ThreadId>,
    escaped: Option<Key>,
}

impl Ready {
    fn line(&self) -> MutexGuard<'_, Line> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The world is now in the hands of this thread.
    pub(super) fn settle_here(&self) {
        self.line().home = Some(here());
    }

    /// The task to poll next, or the one that was woken by another thread.
    pub(super) fn pop(&self) -> Result<Option<Key>, Key> {
        let mut line = self.line();
        match line.escaped.take() {
            Some(escaped) => Err(escaped),
            None => Ok(line.keys.pop_front()),
        }
    }

    pub(super) fn push(&self, key: Key) {
        let here = here();
        let mut line = self.line();
        if line.home.is_some_and(|home| home != here) {
            line.escaped.get_or_insert(key);
        }
        line.keys.push_back(key);
    }
}

#[expect(clippy::disallowed_methods, reason = "only to notice a wake-up from another one, which ends the run")]
fn here() -> ThreadId {
    std::thread::current().id()
}

/// Puts its task into the ready queue, once per poll.
struct TaskWaker {
    key: Key,
    queued: AtomicBool,
    ready: Arc<Ready>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::Relaxed) {
            self.ready.push(self.key);
        }
    }
}

/// What is taken out of the world to poll a task.
pub(super) struct Body {
    pub(super) future: BoxFuture<'static, ()>,
    pub(super) waker: Waker,
    flag: Arc<TaskWaker>,
}

impl Body {
    /// From now on a wake-up counts again.
    pub(super) fn unqueue(&self) {
        self.flag.queued.store(false, Ordering::Relaxed);
    }
}

struct Slot {
    generation: u32,
    host: u32,
    name: &'static str,
    aborted: bool,
    body: Option<Body>,
}

/// What a key in the ready queue means.
pub(super) enum Turn {
    /// It has ended.
    Stale,
    /// Poll it.
    Poll(Body, u32, &'static str),
    /// It was aborted: drop it.
    Drop(Body, u32, &'static str),
}

/// All tasks of the world.
#[derive(Default)]
pub(super) struct Tasks {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

impl Tasks {
    pub(super) fn add(
        &mut self,
        ready: &Arc<Ready>,
        host: u32,
        name: &'static str,
        future: BoxFuture<'static, ()>,
    ) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, host, name, aborted: false, body: None });
            u32::try_from(self.slots.len() - 1).expect("fewer than 2^32 tasks fit in memory")
        });
        let slot = &mut self.slots[index as usize];
        let key = Key { index, generation: slot.generation };
        let flag = Arc::new(TaskWaker { key, queued: AtomicBool::new(true), ready: Arc::clone(ready) });
        let waker = Waker::from(Arc::clone(&flag));
        (slot.host, slot.name, slot.aborted) = (host, name, false);
        slot.body = Some(Body { future, waker, flag });
        ready.push(key);
        key
    }

    fn slot(&mut self, key: Key) -> Option<&mut Slot> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.generation == key.generation)
    }

    /// The host of a task that has not ended.
    pub(super) fn host(&self, key: Key) -> Option<u32> {
        let slot = self.slots.get(key.index as usize)?;
        (slot.generation == key.generation).then_some(slot.host)
    }

    /// The host and name of a task that has not ended.
    pub(super) fn label(&self, key: Key) -> Option<(u32, &'static str)> {
        let slot = self.slots.get(key.index as usize)?;
        (slot.generation == key.generation).then_some((slot.host, slot.name))
    }

    pub(super) fn take(&mut self, key: Key) -> Turn {
        let Some(slot) = self.slot(key) else { return Turn::Stale };
        let (host, name, aborted) = (slot.host, slot.name, slot.aborted);
        match slot.body.take() {
            None => Turn::Stale,
            Some(body) if aborted => {
                self.end(key);
                Turn::Drop(body, host, name)
            }
            Some(body) => Turn::Poll(body, host, name),
        }
    }

    /// Puts a task back that is not done.
    pub(super) fn put_back(&mut self, key: Key, body: Body) {
        if let Some(slot) = self.slot(key) {
            slot.body = Some(body);
        }
    }

    /// Forgets a task that is done.
    pub(super) fn end(&mut self, key: Key) {
        if let Some(slot) = self.slot(key) {
            slot.generation = slot.generation.wrapping_add(1);
            self.free.push(key.index);
        }
    }

    /// Marks a task to be dropped; gives the waker that brings it up.
    pub(super) fn abort(&mut self, key: Key) -> Option<Waker> {
        let slot = self.slot(key)?;
        slot.aborted = true;
        // While it is being polled its body is out, and it aborts itself: `is_aborted` is asked afterwards.
        slot.body.as_ref().map(|body| body.waker.clone())
    }

    pub(super) fn is_aborted(&mut self, key: Key) -> bool {
        self.slot(key).is_some_and(|slot| slot.aborted)
    }

    /// Takes every task of `host` out, or of every host; to be dropped outside the lock.
    pub(super) fn drain(&mut self, host: Option<u32>) -> Vec<Body> {
        let mut bodies = Vec::new();
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if host.is_none_or(|host| slot.host == host)
                && let Some(body) = slot.body.take()
            {
                slot.generation = slot.generation.wrapping_add(1);
                self.free.push(index as u32);
                bodies.push(body);
            }
        }
        bodies
    }
}
