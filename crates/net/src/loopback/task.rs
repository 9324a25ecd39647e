//! The tasks of a host on loopback: they only run while their world does, and end with the boot they belong to.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::AbortHandle;

use crate::{BoxFuture, Task, Tasks, catch_panic};

/// Lets tasks run or not.
pub(super) struct Gate {
    running: AtomicBool,
    runner: Mutex<Option<Waker>>,
    panicked: Mutex<Option<Panicked>>,
    /// Asked after every poll; `true` stops the world.
    interrupted: Box<dyn Fn() -> bool + Send + Sync>,
}

/// A task panicked: which, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked {
    /// The host's number.
    pub host: usize,
    /// The task's name.
    pub task: &'static str,
    /// The panic's message.
    pub message: String,
}

impl Gate {
    pub(super) fn new(interrupted: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self {
            running: AtomicBool::new(false),
            runner: Mutex::default(),
            panicked: Mutex::default(),
            interrupted: Box::new(interrupted),
        }
    }

    pub(super) fn open(&self) {
        self.running.store(true, Ordering::SeqCst);
    }

    pub(super) fn close(&self) {
        self.running.store(false, Ordering::SeqCst);
        if let Some(waker) = locked(&self.runner).take() {
            waker.wake();
        }
    }

    /// Ready when the gate is closed.
    pub(super) async fn closed(&self) {
        std::future::poll_fn(|cx| {
            *locked(&self.runner) = Some(cx.waker().clone());
            if self.running.load(Ordering::SeqCst) { Poll::Pending } else { Poll::Ready(()) }
        })
        .await;
    }

    pub(super) fn take_panic(&self) -> Option<Panicked> {
        locked(&self.panicked).take()
    }
}

/// What a host's boots share.
pub(super) struct Machine {
    number: usize,
    gate: Arc<Gate>,
    /// The boot that runs; an earlier one's tasks and connections are dead. `None`: crashed.
    boot: Mutex<Option<u64>>,
    boots: AtomicU64,
    paused: AtomicBool,
    /// Tasks that found the gate closed.
    waiting: Mutex<Vec<Waker>>,
    tasks: Mutex<BTreeMap<u64, AbortHandle>>,
    next_task: AtomicU64,
    /// Connections that a crash reset.
    pub(super) resets: AtomicU64,
}

impl Machine {
    pub(super) fn new(number: usize, gate: Arc<Gate>) -> Self {
        Self {
            number,
            gate,
            boot: Mutex::default(),
            boots: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            waiting: Mutex::default(),
            tasks: Mutex::default(),
            next_task: AtomicU64::new(0),
            resets: AtomicU64::new(0),
        }
    }

    /// A new boot, if none runs.
    pub(super) fn begin(&self) -> Option<u64> {
        let mut boot = locked(&self.boot);
        if boot.is_some() {
            return None;
        }
        *boot = Some(self.boots.fetch_add(1, Ordering::SeqCst));
        *boot
    }

    /// Ends the boot that runs, if any. Says how many tasks that hit; they are dropped when the runtime runs next.
    pub(super) fn end(&self) -> usize {
        *locked(&self.boot) = None;
        self.paused.store(false, Ordering::SeqCst);
        let tasks: Vec<_> = locked(&self.tasks).values().cloned().collect();
        tasks.iter().for_each(AbortHandle::abort);
        tasks.len()
    }

    pub(super) fn is_at(&self, boot: u64) -> bool {
        *locked(&self.boot) == Some(boot)
    }

    pub(super) fn is_empty(&self) -> bool {
        locked(&self.tasks).is_empty()
    }

    pub(super) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
    }

    pub(super) fn resume(&self) {
        self.paused.store(false, Ordering::SeqCst);
    }

    /// Wakes the tasks that found the gate closed.
    pub(super) fn wake(&self) {
        let waiting = std::mem::take(&mut *locked(&self.waiting));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn may_run(&self) -> bool {
        self.gate.running.load(Ordering::SeqCst) && !self.paused.load(Ordering::SeqCst)
    }
}

/// A lock whose holders do not panic while they hold it.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the tasks of one boot run.
pub(super) struct BootTasks {
    pub(super) machine: Arc<Machine>,
    pub(super) boot: u64,
    pub(super) runtime: tokio::runtime::Handle,
}

impl Tasks for BootTasks {
    fn spawn(&self, name: &'static str, future: BoxFuture<'static, ()>) -> Task {
        if !self.machine.is_at(self.boot) {
            return Task::new(|| {});
        }
        let id = self.machine.next_task.fetch_add(1, Ordering::SeqCst);
        // Held over the spawn: the task takes itself off the list when it ends.
        let mut tasks = locked(&self.machine.tasks);
        let machine = Arc::clone(&self.machine);
        let gated = Gated { machine, boot: self.boot, id, name, work: Some(Box::pin(catch_panic(future))) };
        let task = self.runtime.spawn(gated).abort_handle();
        tasks.insert(id, task.clone());
        Task::new(move || task.abort())
    }
}

struct Gated {
    machine: Arc<Machine>,
    boot: u64,
    id: u64,
    name: &'static str,
    work: Option<BoxFuture<'static, Result<(), String>>>,
}

impl Future for Gated {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(work) = this.work.as_mut().filter(|_| this.machine.is_at(this.boot)) else {
            return Poll::Ready(());
        };
        if !this.machine.may_run() {
            locked(&this.machine.waiting).push(cx.waker().clone());
            return Poll::Pending;
        }
        let polled = work.as_mut().poll(cx);
        let gate = &this.machine.gate;
        if let Poll::Ready(Err(message)) = &polled {
            let (host, task) = (this.machine.number, this.name);
            tracing::error!(task, message, "a task panicked");
            locked(&gate.panicked).get_or_insert(Panicked { host, task, message: message.clone() });
            gate.close();
        }
        if (gate.interrupted)() {
            gate.close();
        }
        polled.map(|_| ())
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // First the work, which may spawn, then off the list: an empty list means that nothing of a boot is left.
        self.work = None;
        locked(&self.machine.tasks).remove(&self.id);
    }
}
