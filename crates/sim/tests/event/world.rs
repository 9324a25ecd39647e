//! A small world to try the event engine in.

use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use squall_net::{Conn, Host};
use squall_policy::Instant;
use squall_sim::engine::{Action, Delay, Engine, EventEngine, HostId, HostSpec, Link, Stopped};
use squall_sim::trace::Mode;
use tokio::io::AsyncReadExt as _;

pub(crate) use crate::log::Log;

impl Log {
    /// What was said, as `1000000 text` lines with nanoseconds.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.said().into_iter().map(|(at, what)| format!("{} {what}", at.as_nanos())).collect()
    }
}

/// An engine with hosts `10.0.0.1`, `10.0.0.2`, and so on.
pub(crate) struct World {
    pub(crate) engine: EventEngine,
    pub(crate) log: Log,
    names: Vec<String>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self::tracing(seed, Mode::Digest)
    }

    pub(crate) fn tracing(seed: u64, mode: Mode) -> Self {
        let engine = EventEngine::with_trace(seed, Duration::from_secs(1_700_000_000), mode);
        Self { engine, log: Log::default(), names: Vec::new() }
    }

    /// Adds a host that runs `main`.
    pub(crate) fn host<F>(&mut self, name: &str, main: impl Fn(Host, Log) -> F + Send + Sync + 'static) -> HostId
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.host_with(name, Duration::ZERO, Duration::ZERO, main)
    }

    pub(crate) fn host_with<F>(
        &mut self,
        name: &str,
        clock_ahead: Duration,
        cpu_per_poll: Duration,
        main: impl Fn(Host, Log) -> F + Send + Sync + 'static,
    ) -> HostId
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let log = self.log.clone();
        self.names.push(name.to_owned());
        let number = u8::try_from(self.names.len()).expect("a small world");
        self.engine.add_host(HostSpec {
            name: name.into(),
            address: IpAddr::from([10, 0, 0, number]),
            boot: Arc::new(move |host| Box::pin(main(host, log.clone()))),
            clock_ahead,
            cpu_per_poll,
        })
    }

    pub(crate) fn id(&self, name: &str) -> HostId {
        HostId(self.names.iter().position(|other| other == name).expect("a host of this world") as u32)
    }

    /// Sets one one-way link.
    pub(crate) fn link(&mut self, from: &str, to: &str, link: Link) {
        let action = Action::SetLink { from: vec![self.id(from)], to: vec![self.id(to)], link };
        self.engine.apply(action).expect("a link that means something");
    }

    /// Sets both ways.
    pub(crate) fn links(&mut self, a: &str, b: &str, link: &Link) {
        self.link(a, b, link.clone());
        self.link(b, a, link.clone());
    }

    pub(crate) fn apply(&mut self, action: Action) {
        self.engine.apply(action).expect("an action of this engine");
    }

    /// Runs to so long after the beginning.
    #[track_caller]
    pub(crate) fn run(&mut self, to: Duration) {
        let stopped = self.engine.run(Instant::ZERO + to).expect("a sound world");
        assert_eq!(stopped, Stopped::Reached);
    }
}

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A link with a constant delay.
pub(crate) fn constant(latency: Duration) -> Link {
    Link { latency: Delay::Constant(latency), ..Link::default() }
}

/// `10.0.0.NUMBER:PORT`.
pub(crate) fn at(number: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], port))
}

/// Connects to the first host's port 80, which must listen.
pub(crate) async fn connected(host: &Host) -> Conn {
    host.net().connect(at(1, 80)).await.expect("it listens")
}

/// Accepts one connection at port 80.
pub(crate) async fn accepted(host: &Host) -> Conn {
    let mut listener = host.net().listen(at(1, 80)).await.expect("a free port");
    listener.accept().await.expect("a connection").conn
}

/// Ready so long after the beginning of the world.
pub(crate) async fn until(host: &Host, at: Duration) {
    host.clock().sleep_until(Instant::ZERO + at).await;
}

/// Reads all there is, and says how much each read gave, and how it ended.
pub(crate) async fn read_all(host: &Host, log: &Log, conn: &mut Conn) {
    let mut buf = vec![0; 1 << 20];
    loop {
        match conn.read(&mut buf).await {
            Ok(0) => return log.say(host.now(), "end"),
            Ok(count) => log.say(host.now(), &format!("read {count}")),
            Err(error) => return log.say(host.now(), &format!("{:?}", error.kind())),
        }
    }
}
