//! What is in the world: hosts with their sidecars and applications, requests in sidecars, tries between them, requests in
//! applications, strands of their scripts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{Answer, AttemptNumber, Backend, BackendName, Exchange, Mesh, Rng, Route, RouteTable, Ticket};

use super::clock::Event;
use super::slab::Key;
use crate::engine::CrashMode;
use crate::knobs::{Gate, Knobs};
use crate::ledger::Party;
use crate::pod::Status;

/// No time at all: later than everything.
pub(super) const NEVER: u64 = u64::MAX;

/// A mesh as the sidecars of alike hosts get it.
pub(super) struct Prepared {
    pub(super) mesh: Mesh,
    pub(super) routes: RouteTable,
    /// Some route depends on a header.
    pub(super) looks_at_headers: bool,
}

impl Prepared {
    pub(super) fn new(mesh: Mesh) -> Self {
        let mut routes = mesh.hosts.iter().flat_map(|host| &host.routes);
        let looks_at_headers = routes.any(|route| {
            let hits_by_header = route.fault.as_ref().is_some_and(|fault| !fault.headers.is_empty());
            !route.matches.headers.is_empty() || hits_by_header
        });
        Self { routes: RouteTable::new(&mesh.hosts), looks_at_headers, mesh }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    Up,
    Paused,
    Down(CrashMode),
}

/// A host.
pub(super) struct Node {
    pub(super) name: Arc<str>,
    /// How much its clock runs ahead, in nanoseconds.
    pub(super) ahead: u64,
    pub(super) here: squall_policy::Here,
    pub(super) party: Party,
    pub(super) state: State,
    /// How often it was booted.
    pub(super) boot: u32,
    /// The dice of this boot.
    pub(super) root: Rng,
    /// The sidecar's own dice.
    pub(super) dice: Rng,
    /// Requests of this boot's sidecar.
    pub(super) exchanges: u64,
    /// The mesh in force; `None`: none has come yet.
    pub(super) mesh: Option<Arc<Prepared>>,
    /// The version of the mesh in force.
    pub(super) version: u32,
    pub(super) cells: Vec<Cell>,
    pub(super) cell_of: BTreeMap<BackendName, u32>,
    /// The cell that leads to the own application, if the mesh knows its port.
    pub(super) inbound: Option<u32>,
    /// What the route table says to each question; emptied when the mesh changes.
    pub(super) ways: Vec<Option<Routed>>,
    pub(super) pools: Vec<Pool>,
    pub(super) status: Arc<Status>,
    /// Which of `Groups` compiles its mesh.
    pub(super) group: usize,
    pub(super) stream: Stream,
    pub(super) app: Option<App>,
    /// What a pause holds up.
    pub(super) held: Vec<Event>,
    pub(super) crash_count: u64,
    pub(super) pause_count: u64,
}

/// A sidecar's stream of meshes.
#[derive(Default)]
pub(super) struct Stream {
    /// The boot of the control plane that it leads to; `None`: there is none.
    pub(super) control_boot: Option<u32>,
    /// Failures in a row to reach the control plane.
    pub(super) failures: u32,
    pub(super) dice: Option<Rng>,
    /// The version that the control plane has sent it last.
    pub(super) told: Option<u32>,
}

/// A backend in one sidecar.
pub(super) struct Cell {
    pub(super) name: BackendName,
    pub(super) backend: Backend,
    /// Requests in its queue.
    pub(super) waiting: BTreeMap<Ticket, Key>,
    /// When its own timer rings.
    pub(super) alarm: u64,
    /// A new connection takes so many messages before the request.
    pub(super) handshake: u8,
    /// Requests share a connection.
    pub(super) shares: bool,
    pub(super) pool_idle: u64,
}

impl Cell {
    /// Callers prove who they are.
    pub(super) fn is_tls(&self) -> bool {
        self.handshake > PLAIN_HANDSHAKE
    }
}

/// Messages of a handshake without TLS, and with it.
pub(super) const PLAIN_HANDSHAKE: u8 = 2;
pub(super) const TLS_HANDSHAKE: u8 = 4;

/// A route and where its backends are.
#[derive(Clone)]
pub(super) struct Routed {
    pub(super) route: Arc<Route>,
    /// In the order of its backends; `None`: the mesh has no such backend.
    pub(super) cells: Vec<Option<u32>>,
    /// The route's fault is meant for it.
    pub(super) is_hit: bool,
}

/// The connections of a sidecar to another host.
#[derive(Clone, Default)]
pub(super) struct Pool {
    /// Unused ones, the last used last: since when, and to which boot of the other host.
    pub(super) idle: Vec<(u64, u32)>,
    /// The one that is shared, and since when it has no request.
    pub(super) shared: Option<(u64, u32)>,
    /// Connections in use.
    pub(super) busy: u32,
}

/// An application.
pub(super) struct App {
    pub(super) version: usize,
    pub(super) knobs: Knobs,
    pub(super) free: Option<u32>,
    pub(super) waiting: VecDeque<Key>,
    pub(super) time: Rng,
    pub(super) errors: Rng,
    pub(super) faults: Rng,
    pub(super) calls: Rng,
    pub(super) rows: Rng,
    pub(super) headers: Rng,
    /// Requests that an outage holds up, and what opens when it ends.
    pub(super) shut_out: Vec<(Key, Gate<()>)>,
    /// Which of its routes serves each question: the index and 1, or 0: not looked up yet.
    pub(super) routes: Vec<u16>,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// A load's request.
    Load(Key),
    /// A call of a script.
    Strand(Key),
    /// A try of another sidecar.
    Try(Key),
    /// Nobody any more.
    Nobody,
}

/// An answer as it travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// In the head or the trailers.
    pub(super) grpc: Option<u8>,
    /// `grpc` stands in the head.
    pub(super) in_head: bool,
    /// In whole seconds, as the header says it; 0: not given.
    pub(super) retry_after_s: u32,
    /// A sidecar means 429, also where it says so in gRPC's words.
    pub(super) too_many: bool,
    pub(super) bytes: u64,
}

impl Reply {
    /// No answer yet.
    pub(super) const NONE: Self =
        Self { status: 0, grpc: None, in_head: false, retry_after_s: 0, too_many: false, bytes: 0 };
}

/// A request in a sidecar.
pub(super) struct Hold {
    pub(super) exchange: Exchange,
    pub(super) host: u32,
    pub(super) cell: u32,
    /// It came from the mesh.
    pub(super) is_inbound: bool,
    pub(super) asker: Asker,
    /// Its number in its sidecar.
    pub(super) number: u64,
    pub(super) question: u32,
    /// The load's request it is made for.
    pub(super) request: u32,
    /// What it brings along to be passed on.
    pub(super) passed: u32,
    /// Its line in the book.
    pub(super) line: u32,
    pub(super) started: u64,
    pub(super) attempts: u32,
    /// For when its last timer was set.
    pub(super) alarm: u64,
    pub(super) queued_at: u64,
    /// The retry policy keeps a body of this length.
    pub(super) keeps_body: bool,
    pub(super) tries: Tries,
    /// The answer of a try that is about to be passed on or thrown away.
    pub(super) got: Option<(AttemptNumber, Reply)>,
}

/// The tries under way: nearly always one.
#[derive(Default)]
pub(super) struct Tries {
    first: Option<(AttemptNumber, Target)>,
    more: Vec<(AttemptNumber, Target)>,
}

/// Where a try is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) started: u64,
    /// A try over the network, or (on the inbound side) a request in the application.
    pub(super) key: Key,
}

impl Tries {
    pub(super) fn add(&mut self, number: AttemptNumber, target: Target) {
        match self.first {
            None => self.first = Some((number, target)),
            Some(_) => self.more.push((number, target)),
        }
    }

    pub(super) fn take(&mut self, number: AttemptNumber) -> Option<Target> {
        if let Some((_, target)) = self.first.take_if(|(first, _)| *first == number) {
            return Some(target);
        }
        let at = self.more.iter().position(|(other, _)| *other == number)?;
        Some(self.more.swap_remove(at).1)
    }

    /// Whether a body is under way, so that a place in the queue cannot be waited for.
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_none() && self.more.is_empty()
    }

    pub(super) fn drain(&mut self) -> Vec<(AttemptNumber, Target)> {
        self.first.take().into_iter().chain(std::mem::take(&mut self.more)).collect()
    }
}

/// How far a try is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// So many messages of the handshake are left, the one under way included.
    Connecting(u8),
    /// The request is under way.
    Asking,
    /// The remote sidecar has it.
    Working,
    /// The answer is under way.
    Answering,
}

/// One try between two sidecars.
pub(super) struct Try {
    /// The request it is for.
    pub(super) hold: Key,
    pub(super) number: AttemptNumber,
    pub(super) from: u32,
    pub(super) to: u32,
    /// The boot of the other host that its connection leads to.
    pub(super) to_boot: u32,
    pub(super) cell: u32,
    pub(super) stage: Stage,
    /// How often the message under way was sent again.
    pub(super) resends: u8,
    /// When the request arrives at the earliest.
    pub(super) arrives: u64,
    /// How much time the request says it has.
    pub(super) left: Option<Duration>,
    pub(super) question: u32,
    pub(super) request: u32,
    pub(super) passed: u32,
    /// The request in the remote sidecar.
    pub(super) inbound: Key,
    pub(super) reply: Reply,
    /// The other host resets the connection.
    pub(super) refused: bool,
    /// The caller has left.
    pub(super) gone: bool,
}

/// A request in an application.
pub(super) struct Work {
    pub(super) host: u32,
    /// The request in the pod's sidecar, and its try.
    pub(super) hold: Key,
    pub(super) number: AttemptNumber,
    pub(super) request: u32,
    pub(super) passed: u32,
    /// When its caller wants the answer, on the host's clock.
    pub(super) deadline: Option<u64>,
    pub(super) question: u32,
    /// Its line in the book, once it has one.
    pub(super) line: u32,
    /// Under optimistic contention: its row, and the row's version when it began.
    pub(super) row: Option<(u32, u64)>,
    pub(super) arrived: u64,
    pub(super) route: usize,
    pub(super) phase: Phase,
    pub(super) root: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for a slot.
    Waiting,
    /// Has one.
    Served,
    /// Needs none: refused, or not found.
    Outside,
    /// An outage holds it up.
    ShutOut,
}

/// One line of execution of a script.
pub(super) struct Strand {
    pub(super) work: Key,
    /// The strand that waits for its end, and its place among its siblings.
    pub(super) parent: Key,
    pub(super) place: u32,
    pub(super) does: Does,
    /// Counts what it waited for, so that late timers miss it.
    pub(super) waits: u32,
    pub(super) call: Option<Calling>,
    /// Strands it waits for.
    pub(super) children: Vec<Key>,
    pub(super) running: u32,
    /// The failure of the first child, in their order, that failed.
    pub(super) failure: Option<(u32, Why)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    /// Steps of a program: which is next, and how often a repeated call was made.
    Program { program: u32, next: u32, made: u32 },
    /// One call.
    Call(u32),
}

/// A call under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Calling {
    pub(super) call: u32,
    pub(super) try_number: u32,
    pub(super) arrived: u64,
    pub(super) since: u64,
    pub(super) hold: Key,
    /// What its requests bring along.
    pub(super) brought: u32,
}

/// Why an application answers with an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Fine,
    NoRoute,
    QueueFull,
    Fault,
    OwnErrors,
    Outage,
    Conflict,
    TimedOut(u32),
    Gave(u32, u16, Option<u8>),
}

/// A request of a load that waits for its answer.
pub(super) struct Asked {
    pub(super) host: u32,
    /// The client that asked; `u32::MAX`: an open loop.
    pub(super) client: u32,
    pub(super) request: u32,
    pub(super) arrived: u64,
    pub(super) hold: Key,
}

/// A client of a closed loop.
pub(super) struct Client {
    pub(super) load: u32,
    pub(super) host: u32,
    pub(super) thoughts: Rng,
    pub(super) kinds: Rng,
    /// It has thought, and asks when it is called next.
    pub(super) has_thought: bool,
}

/// Something that goes on in the same instant, after what happens now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Next {
    /// A request got its place.
    Drive(Key),
    /// A request from an application's queue got its slot.
    Serve(Key),
    /// A client of a closed loop goes on.
    Client(u32),
    /// Whoever waits gets an answer; `None`: there is none to come.
    Answer(Asker, Option<Reply>),
}

/// What the policy must know of an answer.
pub(super) fn judged(reply: &Reply, replayable: bool) -> Answer {
    let retry_after = (reply.retry_after_s > 0).then(|| Duration::from_secs(u64::from(reply.retry_after_s)));
    let status = if reply.too_many { 429 } else { reply.status };
    Answer { status, grpc: reply.grpc.filter(|_| reply.in_head), retry_after, replayable }
}
