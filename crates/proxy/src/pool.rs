//! Connections to endpoints, kept for the next request.
//!
//! An HTTP/1.1 connection carries one request at a time: free ones wait in a list, the last used is taken first, so that a
//! few stay warm and the rest run out. An HTTP/2 connection carries many: it stays in the pool while it is used, and a new
//! one is made when every one has [`STREAMS`] streams.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering as Memory};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use squall_net::Host;
use squall_net::http::Sender;
use squall_policy::{Endpoint, Failure, Instant, Protocol};

use crate::body::RequestBody;
use crate::drain::Signal;

/// Streams at once on one HTTP/2 connection; one more makes another connection. The least a server should allow
/// (RFC 9113 §6.5.2), and what gRPC servers do allow.
const STREAMS: u32 = 100;

/// Where a connection leads, as far as sharing it is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) address: SocketAddr,
    /// Who the peer proved to be; `None`: plain.
    pub(crate) identity: Option<Arc<str>>,
    pub(crate) protocol: Protocol,
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.address
            .cmp(&other.address)
            .then_with(|| (self.protocol as u8).cmp(&(other.protocol as u8)))
            .then_with(|| self.identity.cmp(&other.identity))
    }
}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// All connections of one proxy.
#[derive(Default)]
pub(crate) struct Pool {
    targets: Mutex<BTreeMap<Key, Arc<Target>>>,
    /// When the sweeper runs next.
    sweep_at: Mutex<Option<Instant>>,
}

/// The connections to one endpoint.
#[derive(Default)]
pub(crate) struct Target {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    free: Vec<Free>,
    shared: Vec<Shared>,
    connecting: Option<Arc<Connecting>>,
    /// The endpoint is gone: what comes back is closed.
    retired: bool,
}

struct Free {
    sender: Sender<RequestBody>,
    expires: Option<Instant>,
}

struct Shared {
    sender: Sender<RequestBody>,
    streams: Arc<AtomicU32>,
    idle: Option<Duration>,
    /// When it runs out, if it has no stream then.
    expires: Option<Instant>,
}

/// An HTTP/2 connection on its way, which others wait for.
#[derive(Default)]
pub(crate) struct Connecting {
    over: Signal,
    failure: Mutex<Option<Failure>>,
}

impl Connecting {
    /// Waits for whoever makes the connection. `Err`: it failed, and would for us.
    pub(crate) async fn wait(&self) -> Result<(), Failure> {
        self.over.wait().await;
        lock(&self.failure).map_or(Ok(()), Err)
    }
}

/// What the pool has for a request.
pub(crate) enum Found {
    /// A connection.
    Ready(Lease),
    /// None: make one.
    Make(Making),
    /// One is being made: wait for it, then ask again.
    Soon(Arc<Connecting>),
}

/// The duty to make a connection. Dropping it lets another one try.
pub(crate) struct Making {
    target: Arc<Target>,
    connecting: Option<Arc<Connecting>>,
}

/// A connection in use by one request. Dropping it without [`Lease::give_back`] closes an HTTP/1.1 connection when that
/// request is over.
pub(crate) struct Lease {
    pub(crate) sender: Sender<RequestBody>,
    target: Arc<Target>,
    stream: Option<Stream>,
}

/// A place on an HTTP/2 connection.
struct Stream(Arc<AtomicU32>);

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// A connection for `key`, or what to do for one.
    pub(crate) fn find(&self, key: &Key, now: Instant) -> Found {
        let target = {
            let mut targets = lock(&self.targets);
            match targets.get(key) {
                Some(target) => Arc::clone(target),
                None => Arc::clone(targets.entry(key.clone()).or_default()),
            }
        };
        let mut state = lock(&target.state);
        match key.protocol {
            Protocol::Http1 | Protocol::Tcp => {
                let free = state.take_free(now);
                drop(state);
                match free {
                    Some(sender) => Found::Ready(Lease { sender, target, stream: None }),
                    None => Found::Make(Making { target, connecting: None }),
                }
            }
            Protocol::Http2 => {
                state.shared.retain(|shared| shared.is_kept(now));
                let lease = state.shared.iter().find_map(|shared| shared.lease(&target));
                if let Some(lease) = lease {
                    drop(state);
                    return Found::Ready(lease);
                }
                if let Some(connecting) = &state.connecting {
                    return Found::Soon(Arc::clone(connecting));
                }
                let connecting = Arc::<Connecting>::default();
                state.connecting = Some(Arc::clone(&connecting));
                drop(state);
                Found::Make(Making { target, connecting: Some(connecting) })
            }
        }
    }

    /// Closes the connections to endpoints that are not in `live`: free ones now, others when their requests end.
    pub(crate) fn retain<'e>(&self, live: impl Iterator<Item = &'e Endpoint>) {
        let mut live: Vec<_> = live.map(|endpoint| endpoint.address).collect();
        live.sort_unstable();
        lock(&self.targets).retain(|key, target| {
            if live.binary_search(&key.address).is_ok() {
                return true;
            }
            let mut state = lock(&target.state);
            state.retired = true;
            state.free.clear();
            state.shared.clear();
            false
        });
    }

    /// Makes sure that a connection that runs out at `at` is closed then, though no request comes by.
    pub(crate) fn sweep_at(self: &Arc<Self>, host: &Host, at: Instant) {
        {
            let mut sweep = lock(&self.sweep_at);
            // An earlier sweep finds the later ones and goes on.
            if sweep.is_some_and(|earlier| earlier <= at) {
                return;
            }
            *sweep = Some(at);
        }
        // The task holds no more than its timer: a proxy that is gone leaves its pool.
        let (pool, timer) = (Arc::downgrade(self), host.clock().sleep_until(at));
        let clock = Arc::clone(host.clock());
        let host = host.clone();
        host.clone().spawn("proxy pool sweep", async move {
            timer.await;
            if let Some(pool) = Weak::upgrade(&pool)
                && let Some(next) = pool.sweep(at, clock.now())
            {
                pool.sweep_at(&host, next);
            }
        });
    }

    /// Closes what has run out; the next time something will.
    fn sweep(&self, at: Instant, now: Instant) -> Option<Instant> {
        {
            let mut sweep = lock(&self.sweep_at);
            // Another task was started for an earlier time and does the rest.
            if *sweep != Some(at) {
                return None;
            }
            *sweep = None;
        }
        let mut next: Option<Instant> = None;
        lock(&self.targets).retain(|_, target| {
            let mut state = lock(&target.state);
            state.free.retain(|free| !free.sender.is_closed() && free.expires.is_none_or(|at| at > now));
            state.shared.retain(|shared| shared.is_kept(now));
            let free = state.free.iter().filter_map(|free| free.expires);
            let shared = state.shared.iter().filter_map(|shared| match shared.streams.load(Memory::SeqCst) {
                0 => shared.expires,
                _ => shared.idle.map(|idle| now + idle),
            });
            next = free.chain(shared).chain(next).min();
            let unused = state.free.is_empty() && state.shared.is_empty() && state.connecting.is_none();
            drop(state);
            // Whoever holds the target still (a lease, a connection being made) keeps using it.
            !(unused && Arc::strong_count(target) == 1)
        });
        next
    }
}

impl State {
    /// The free connection that was used last, if one is ready.
    fn take_free(&mut self, now: Instant) -> Option<Sender<RequestBody>> {
        let mut place = self.free.len();
        while place > 0 {
            place -= 1;
            let free = &self.free[place];
            if free.sender.is_closed() || free.expires.is_some_and(|at| at <= now) {
                self.free.remove(place);
            } else if free.sender.is_ready() {
                return Some(self.free.remove(place).sender);
            }
            // Else its last request has just ended and it will be ready: it stays for the next one.
        }
        None
    }
}

impl Shared {
    fn is_kept(&self, now: Instant) -> bool {
        let used = self.streams.load(Memory::SeqCst) > 0;
        !self.sender.is_closed() && (used || self.expires.is_none_or(|at| at > now))
    }

    /// A place on it, if it has one left.
    fn lease(&self, target: &Arc<Target>) -> Option<Lease> {
        if self.streams.load(Memory::SeqCst) >= STREAMS {
            return None;
        }
        let sender = self.sender.try_clone()?;
        self.streams.fetch_add(1, Memory::SeqCst);
        Some(Lease { sender, target: Arc::clone(target), stream: Some(Stream(Arc::clone(&self.streams))) })
    }
}

impl Making {
    /// The connection is there, and may stay unused for `idle` (`None`: for ever).
    pub(crate) fn made(mut self, sender: Sender<RequestBody>, host: &Host, idle: Option<Duration>) -> Lease {
        let Some(connecting) = self.connecting.take() else {
            return Lease { sender, target: Arc::clone(&self.target), stream: None };
        };
        let mut state = lock(&self.target.state);
        state.connecting = None;
        let streams = Arc::new(AtomicU32::new(1));
        if let Some(other) = sender.try_clone().filter(|_| !state.retired) {
            let expires = idle.map(|idle| host.now() + idle);
            state.shared.push(Shared { sender: other, streams: Arc::clone(&streams), idle, expires });
        }
        drop(state);
        connecting.over.raise();
        Lease { sender, target: Arc::clone(&self.target), stream: Some(Stream(streams)) }
    }

    /// There is none; those who wait need not try.
    pub(crate) fn failed(mut self, failure: Failure) -> Failure {
        if let Some(connecting) = self.connecting.take() {
            lock(&self.target.state).connecting = None;
            *lock(&connecting.failure) = Some(failure);
            connecting.over.raise();
        }
        failure
    }
}

impl Drop for Making {
    /// Its request was given up: those who wait must try by themselves.
    fn drop(&mut self) {
        if let Some(connecting) = self.connecting.take() {
            lock(&self.target.state).connecting = None;
            connecting.over.raise();
        }
    }
}

impl Lease {
    /// Whether other requests use the connection too (HTTP/2).
    pub(crate) fn is_shared(&self) -> bool {
        self.stream.is_some()
    }

    /// The answer is whole: others may have the connection, for `idle` at most (`None`: for ever).
    pub(crate) fn give_back(self, pool: &Arc<Pool>, host: &Host, now: Instant, idle: Option<Duration>) {
        let expires = idle.map(|idle| now + idle);
        {
            let mut state = lock(&self.target.state);
            if state.retired || self.sender.is_closed() {
                return;
            }
            if let Some(Stream(streams)) = &self.stream {
                let mine = |shared: &&mut Shared| Arc::ptr_eq(&shared.streams, streams);
                if let Some(shared) = state.shared.iter_mut().find(mine) {
                    shared.expires = expires;
                }
            } else {
                state.free.push(Free { sender: self.sender, expires });
            }
        }
        if let Some(at) = expires {
            pool.sweep_at(host, at);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Memory::SeqCst);
    }
}
