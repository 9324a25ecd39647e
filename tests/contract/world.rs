//! What a case is, what a world must do to run it, and the two ways to be a world: any `Engine`, and plain TCP.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use squall_net::http::Version;
use squall_net::tcp::Tcp;
use squall_net::{BoxFuture, Host, after, catch_panic};
use squall_sim::engine::{Action, Boot, Engine, HostId, HostSpec, Link};

/// A claim about every world: what each of its hosts does. It holds if all of them end without a panic.
#[derive(Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    /// One per host, in order.
    pub parties: &'static [fn(Party) -> BoxFuture<'static, ()>],
    /// What the parties speak, if they speak HTTP.
    pub speech: Speech,
}

impl Case {
    pub const fn new(name: &'static str, parties: &'static [fn(Party) -> BoxFuture<'static, ()>]) -> Self {
        Self { name, parties, speech: Speech { version: Version::Http1, secure: false } }
    }
}

/// HTTP of a version, over TLS or not.
#[derive(Clone, Copy, Debug)]
pub struct Speech {
    pub version: Version,
    pub secure: bool,
}

/// One host's part in a case.
#[derive(Clone)]
pub struct Party {
    pub host: Host,
    /// The address of this host.
    pub me: IpAddr,
    /// Nobody ever answers here.
    pub silent: SocketAddr,
    /// How the parties tell each other what the network must not.
    pub board: Board,
    /// As the case says.
    pub speech: Speech,
}

impl Party {
    /// Ready after `span` of this host's time.
    pub async fn pause(&self, span: Duration) {
        after(self.host.clock().as_ref(), span).await;
    }

    /// `work`'s result, or `None` after `span`.
    pub async fn within<T>(&self, span: Duration, work: impl Future<Output = T>) -> Option<T> {
        squall_net::timeout(self.host.clock().as_ref(), self.host.now() + span, work).await
    }
}

/// Notes that outlive hosts: addresses and signals, by name.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Notes>>);

#[derive(Default)]
struct Notes {
    pinned: BTreeMap<&'static str, SocketAddr>,
    readers: Vec<Waker>,
    ended: usize,
    failures: Vec<String>,
}

impl Board {
    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Pins an address for the others.
    pub fn pin(&self, name: &'static str, address: SocketAddr) {
        let readers = {
            let mut notes = self.notes();
            notes.pinned.insert(name, address);
            std::mem::take(&mut notes.readers)
        };
        readers.into_iter().for_each(Waker::wake);
    }

    /// The address of that name, once it is pinned.
    pub async fn pinned(&self, name: &'static str) -> SocketAddr {
        std::future::poll_fn(|cx| {
            let mut notes = self.notes();
            match notes.pinned.get(name) {
                Some(address) => Poll::Ready(*address),
                None => {
                    notes.readers.push(cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    /// Tells the others that something has happened.
    pub fn raise(&self, name: &'static str) {
        self.pin(name, SocketAddr::from(([0, 0, 0, 0], 0)));
    }

    /// Ready once it has happened.
    pub async fn raised(&self, name: &'static str) {
        self.pinned(name).await;
    }

    /// How many parties have ended.
    pub fn ended(&self) -> usize {
        self.notes().ended
    }
}

/// What each host of `case` runs; `board` hears of each end. `address` gives the n-th host's.
pub fn boots(case: Case, board: &Board, address: fn(usize) -> IpAddr, silent: SocketAddr) -> Vec<Boot> {
    let boot = |(nth, party): (usize, &fn(Party) -> BoxFuture<'static, ()>)| {
        let (board, party) = (board.clone(), *party);
        let boot: Boot = Arc::new(move |host: Host| {
            let board = board.clone();
            let work = party(Party { host, me: address(nth), silent, board: board.clone(), speech: case.speech });
            Box::pin(async move {
                let failed = catch_panic(work).await.err();
                let mut notes = board.notes();
                notes.ended += 1;
                notes.failures.extend(failed.map(|why| format!("party {nth}: {why}")));
            })
        });
        boot
    };
    case.parties.iter().enumerate().map(boot).collect()
}

/// How a case ended: `Err` says which party failed and how.
pub fn verdict(case: Case, board: &Board) -> Result<(), String> {
    let notes = board.notes();
    match (notes.failures.is_empty(), case.parties.len() - notes.ended) {
        (true, 0) => Ok(()),
        (true, missing) => Err(format!("{missing} parties did not end in time")),
        (false, _) => Err(notes.failures.join("; ")),
    }
}

/// Somewhere a case can run.
pub trait World {
    /// `tcp`, or the engine's name.
    fn name(&self) -> &'static str;

    /// Why this world cannot keep that part of the contract; such a case must then fail here, so that no entry goes stale.
    fn cannot(&self, case: &str) -> Option<&'static str>;

    /// Runs it, for [`PATIENCE`] at most.
    fn run(&self, case: Case) -> Result<(), String>;
}

/// Longer than any case takes, in the world's time.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs `case` and panics unless it holds in `world`, or fails where the world says that it cannot hold.
#[track_caller]
pub fn hold(world: &dyn World, case: Case) {
    let (name, in_world) = (case.name, world.name());
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run(case)));
    let run = run.unwrap_or_else(|_| Err("the world itself panicked".to_owned()));
    match (world.cannot(name), run) {
        (None, Ok(())) | (Some(_), Err(_)) => {}
        (None, Err(why)) => panic!("{name} ({:?}) in {in_world}: {why}", case.speech),
        (Some(why), Ok(())) => panic!("{name} holds in {in_world}, though it is said that it cannot: {why}"),
    }
}

/// Real TCP on 127.0.0.1, 127.0.0.2, ...
pub struct TcpWorld;

impl World for TcpWorld {
    fn name(&self) -> &'static str {
        "tcp"
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        (case == "each_host_has_a_loopback_of_its_own").then_some("all hosts are one machine, with one 127.0.0.1")
    }

    fn run(&self, case: Case) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let board = Board::default();
        runtime.block_on(async {
            let silence = Silence::new();
            let hosts = boots(case, &board, loopback, silence.address);
            let work: Vec<_> = hosts.iter().map(|boot| tokio::spawn(boot(Tcp::host()))).collect();
            let all = async {
                for party in work {
                    party.await.expect("panics are caught inside");
                }
            };
            let _ = tokio::time::timeout(PATIENCE, all).await;
        });
        verdict(case, &board)
    }
}

fn loopback(nth: usize) -> IpAddr {
    Ipv4Addr::new(127, 0, 0, u8::try_from(nth + 1).expect("few hosts")).into()
}

/// A listener whose accept queue is full: the kernel drops further SYNs.
struct Silence {
    address: SocketAddr,
    _listener: std::net::TcpListener,
    _queued: Vec<socket2::Socket>,
}

impl Silence {
    fn new() -> Self {
        let stream = || socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let listener = stream();
        listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a free port");
        listener.listen(0).expect("it is bound");
        let listener = std::net::TcpListener::from(listener);
        let address = listener.local_addr().expect("it is bound");
        // A queue of length 0 takes one; one more waits for ever in SYN_SENT and proves the silence.
        let mut queued = Vec::new();
        loop {
            let socket = stream();
            let connected = socket.connect_timeout(&address.into(), Duration::from_millis(50));
            queued.push(socket);
            if connected.is_err() {
                return Self { address, _listener: listener, _queued: queued };
            }
        }
    }
}

/// Any engine, with hosts at 10.0.0.1, 10.0.0.2, ... and 1 ms between them.
pub struct EngineWorld {
    pub name: &'static str,
    pub new: fn() -> Box<dyn Engine>,
    /// The cases that it cannot hold, and why.
    pub cannot: &'static [(&'static str, &'static str)],
    pub address: fn(usize) -> IpAddr,
}

/// Addresses of simulated hosts.
pub fn simulated(nth: usize) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, u8::try_from(nth + 1).expect("few hosts")).into()
}

impl World for EngineWorld {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cannot(&self, case: &str) -> Option<&'static str> {
        self.cannot.iter().find(|(name, _)| *name == case).map(|(_, why)| *why)
    }

    fn run(&self, case: Case) -> Result<(), String> {
        self.run_in((self.new)().as_mut(), case)
    }
}

impl EngineWorld {
    /// Runs it in an engine that has not run yet.
    pub fn run_in(&self, engine: &mut dyn Engine, case: Case) -> Result<(), String> {
        let board = Board::default();
        let silent_host = (self.address)(case.parties.len());
        let boots = boots(case, &board, self.address, SocketAddr::new(silent_host, 80));
        let asleep: Boot = Arc::new(|_| Box::pin(std::future::pending()));
        let mut hosts = Vec::new();
        for (nth, boot) in boots.into_iter().chain([asleep]).enumerate() {
            hosts.push(engine.add_host(HostSpec {
                name: format!("host-{nth}").into(),
                address: (self.address)(nth),
                boot,
                clock_ahead: Duration::ZERO,
                cpu_per_poll: Duration::ZERO,
            }));
        }
        let (all, silent) = (hosts.clone(), hosts.pop().into_iter().collect::<Vec<HostId>>());
        let latency = squall_sim::engine::Delay::Constant(Duration::from_millis(1));
        let near = Link { latency, ..Link::default() };
        let gone = Link { cut: true, ..near.clone() };
        let mut link = |from: &[HostId], to: &[HostId], link: &Link| {
            let action = Action::SetLink { from: from.to_vec(), to: to.to_vec(), link: link.clone() };
            engine.apply(action).map_err(|error| error.to_string())
        };
        link(&all, &all, &near)?;
        if case.name.contains("silence") {
            link(&hosts, &silent, &gone)?;
            link(&silent, &hosts, &gone)?;
        }
        let (end, step) = (engine.now() + PATIENCE, Duration::from_millis(50));
        while board.ended() < case.parties.len() && engine.now() < end {
            let until = engine.now() + step;
            engine.run(until).map_err(|error| error.to_string())?;
        }
        verdict(case, &board)
    }
}
