//! Tries between sidecars: a connection from the pool or a new one, a message there, a message back.
//!
//! ```text
//!  new connection: SYN ─▶ ◀─ SYN-ACK (─▶ ◀─ TLS)      each a message over the link
//!        │ pooled      └──────────┬───────────┘
//!        └──────────────▶ Asking ─▶ Working ─▶ Answering ─▶ (gone)
//!                            └──────────┴── the caller leaves: a message that says so ─▶ (gone)
//! ```
//!
//! A message that meets a cut link is sent again after 200 ms, doubling (a SYN after 1 s), as TCP would. A process that died
//! refuses new connections and resets old ones; a machine that died is silent.

use std::time::Duration;

use squall_policy::{AttemptNumber, Failure};
use squall_proxy::{Record, RequestNumber};

use super::World;
use super::clock::Event;
use super::plan::nanos;
use super::sidecar::Entering;
use super::slab::Key;
use super::state::{Asker, Reply, Stage, State, Try};
use crate::engine::CrashMode;

/// Before a message is sent again the first time.
const RETRY_LEAST: u64 = 200_000_000;
/// The same of a SYN.
const SYN_RETRY: u64 = 1_000_000_000;
/// The longest wait before a message is sent again.
const RETRY_MOST: u64 = 120_000_000_000;

impl World {
    /// Sends a try on its way. `None`: nobody can have that address.
    pub(super) fn send_try(
        &mut self,
        hold: Key,
        number: AttemptNumber,
        to: u32,
        left: Option<Duration>,
        connect_timeout: Duration,
    ) -> Option<Key> {
        let state = self.holds.get(hold)?;
        let (from, cell, question, request, passed) =
            (state.host, state.cell, state.question, state.request, state.passed);
        let of = state.number;
        let pooled = self.take_connection(from, cell, to);
        let handshake = self.nodes[from as usize].cells[cell as usize].handshake;
        let (stage, to_boot) = match pooled {
            Some(boot) => (Stage::Asking, boot),
            None => (Stage::Connecting(handshake), self.nodes[to as usize].boot),
        };
        let key = self.tries.insert(Try {
            hold,
            number,
            from,
            to,
            to_boot,
            cell,
            stage,
            resends: 0,
            arrives: self.now,
            left,
            question,
            request,
            passed,
            inbound: Key::NONE,
            reply: Reply::NONE,
            refused: false,
            gone: false,
        });
        if pooled.is_none() {
            self.arm(self.now.saturating_add(nanos(connect_timeout)), Event::ConnectLate(key));
        } else if self.keeps {
            let record =
                Record::Connected { request: RequestNumber(of), attempt: number, reused: true, took: Duration::ZERO };
            self.keep_record(from, request, &record);
        }
        self.send(key);
        Some(key)
    }

    /// A pooled connection that is not too old: the boot of the other host it leads to.
    fn take_connection(&mut self, from: u32, cell: u32, to: u32) -> Option<u32> {
        let node = &mut self.nodes[from as usize];
        let (shares, idle) = {
            let cell = &node.cells[cell as usize];
            (cell.shares, cell.pool_idle)
        };
        let pool = &mut node.pools[to as usize];
        let now = self.now;
        let is_young = |since: u64| since.saturating_add(idle) > now;
        if shares {
            let (_, boot) = pool.shared.filter(|(since, _)| pool.busy > 0 || is_young(*since))?;
            pool.busy += 1;
            return Some(boot);
        }
        let (since, boot) = pool.idle.pop()?;
        if is_young(since) {
            pool.busy += 1;
            return Some(boot);
        }
        // The last used is too old, so the others are too.
        pool.idle.clear();
        None
    }

    /// The connection of a try is free again, or gone.
    fn release(&mut self, from: u32, cell: u32, to: u32, boot: u32, whole: bool) {
        let node = &mut self.nodes[from as usize];
        let Some(cell) = node.cells.get(cell as usize) else { return };
        let pool = &mut node.pools[to as usize];
        pool.busy = pool.busy.saturating_sub(1);
        if cell.shares {
            if let Some((since, of)) = &mut pool.shared
                && *of == boot
            {
                *since = self.now;
            }
        } else if whole {
            pool.idle.push((self.now, boot));
        }
    }

    /// Sends the message that a try's stage calls for.
    fn send(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        let bytes = match state.stage {
            Stage::Connecting(_) | Stage::Working => 0,
            Stage::Asking => self.plan.questions[state.question as usize].bytes,
            Stage::Answering => state.reply.bytes,
        };
        let (a, b) =
            if goes_back(state.stage, state.refused) { (state.to, state.from) } else { (state.from, state.to) };
        let Some(at) = self.links.send(&self.root, self.now, a, b, bytes) else {
            self.send_again(key);
            return;
        };
        state.resends = 0;
        state.arrives = at;
        self.clock.push(at, Event::Hop(key));
    }

    fn send_again(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        let first = if matches!(state.stage, Stage::Connecting(_)) { SYN_RETRY } else { RETRY_LEAST };
        let wait = first.saturating_mul(1 << state.resends.min(20)).min(RETRY_MOST);
        state.resends = state.resends.saturating_add(1);
        self.clock.push(self.now + wait, Event::Resend(key));
    }

    /// A lost message of a try is sent again.
    pub(super) fn resend(&mut self, key: Key) {
        self.send(key);
    }

    /// A message of a try arrives.
    pub(super) fn hop(&mut self, key: Key) {
        let Some(state) = self.tries.get(key) else { return };
        let (stage, to) = (state.stage, state.to);
        let back = goes_back(stage, state.refused);
        if back {
            self.hop_back(key);
            return;
        }
        let (boot, to_boot) = (self.nodes[to as usize].boot, state.to_boot);
        match self.nodes[to as usize].state {
            State::Down(CrashMode::Silent) => self.send_again(key),
            State::Down(CrashMode::Reset) => self.refuse(key),
            State::Up | State::Paused => match stage {
                Stage::Connecting(left) => {
                    if self.nodes[to as usize].mesh.is_none() || !self.listens(key) {
                        self.refuse(key);
                        return;
                    }
                    if let Some(state) = self.tries.get_mut(key) {
                        state.to_boot = boot;
                        state.stage = Stage::Connecting(left - 1);
                    }
                    self.send(key);
                }
                // A connection of an earlier life is reset.
                Stage::Asking if boot != to_boot => self.refuse(key),
                Stage::Asking => self.arrive(key),
                Stage::Working | Stage::Answering => {}
            },
        }
    }

    /// Whether the pod listens at the port that the try wants.
    fn listens(&self, key: Key) -> bool {
        self.tries.get(key).is_some_and(|state| self.nodes[state.to as usize].app.is_some())
    }

    fn refuse(&mut self, key: Key) {
        if let Some(state) = self.tries.get_mut(key) {
            state.refused = true;
        }
        self.send(key);
    }

    fn hop_back(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        let (hold, number, from, to, cell, boot) =
            (state.hold, state.number, state.from, state.to, state.cell, state.to_boot);
        match state.stage {
            _ if state.refused => self.broken(key),
            Stage::Connecting(left) => {
                let rest = left - 1;
                state.stage = if rest == 0 { Stage::Asking } else { Stage::Connecting(rest) };
                if rest == 0 {
                    self.connected(key);
                }
                self.send(key);
            }
            Stage::Answering => {
                let reply = state.reply;
                self.tries.remove(key);
                self.release(from, cell, to, boot, true);
                self.on_head(hold, number, reply);
            }
            Stage::Asking | Stage::Working => {}
        }
    }

    fn connected(&mut self, key: Key) {
        let Some(state) = self.tries.get(key) else { return };
        let node = &mut self.nodes[state.from as usize];
        let shares = node.cells[state.cell as usize].shares;
        let pool = &mut node.pools[state.to as usize];
        pool.busy += 1;
        if shares {
            pool.shared = Some((self.now, state.to_boot));
        }
        if self.keeps
            && let Some(hold) = self.holds.get(state.hold)
        {
            let took = Duration::from_nanos(self.now - hold.started);
            let (host, of) = (state.from, state.request);
            let (request, attempt) = (RequestNumber(hold.number), state.number);
            self.keep_record(host, of, &Record::Connected { request, attempt, reused: false, took });
        }
    }

    /// The request of a try reaches the remote sidecar.
    fn arrive(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        state.stage = Stage::Working;
        let (from, cell, left) = (state.from, state.cell, state.left);
        let entering = Entering {
            host: state.to,
            asker: Asker::Try(key),
            question: state.question,
            request: state.request,
            passed: state.passed,
            left,
        };
        let proves = self.nodes[from as usize].cells.get(cell as usize).is_some_and(|cell| cell.is_tls());
        let inbound = self.enter_inbound(entering, proves.then_some(from));
        if let Some(state) = self.tries.get_mut(key) {
            state.inbound = inbound;
        }
    }

    /// The remote sidecar answers a try; `None`: it breaks off.
    pub(super) fn answer_try(&mut self, key: Key, reply: Option<Reply>) {
        let Some(state) = self.tries.get_mut(key) else { return };
        state.inbound = Key::NONE;
        if state.gone {
            self.tries.remove(key);
            return;
        }
        match reply {
            Some(reply) => {
                state.reply = reply;
                state.stage = Stage::Answering;
                self.send(key);
            }
            None => self.refuse(key),
        }
    }

    /// The caller of a try learns that its connection is gone, or that there is none.
    pub(super) fn broken(&mut self, key: Key) {
        let Some(state) = self.tries.remove(key) else { return };
        if state.gone {
            return;
        }
        let connecting = matches!(state.stage, Stage::Connecting(_));
        if !connecting {
            self.release(state.from, state.cell, state.to, state.to_boot, false);
        }
        let failure = if connecting { Failure::ConnectRefused } else { Failure::Reset };
        self.fail_try(state.hold, state.number, failure, connecting);
    }

    /// A try has no connection by now.
    pub(super) fn connect_late(&mut self, key: Key) {
        let Some(state) = self.tries.get(key) else { return };
        if !matches!(state.stage, Stage::Connecting(_)) {
            return;
        }
        let (hold, number) = (state.hold, state.number);
        self.tries.remove(key);
        self.fail_try(hold, number, Failure::ConnectTimeout, true);
    }

    /// The caller's sidecar gives a try up.
    pub(super) fn leave_try(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        let (from, cell, to, boot) = (state.from, state.cell, state.to, state.to_boot);
        match state.stage {
            Stage::Connecting(_) => {
                self.tries.remove(key);
            }
            // The remote side has answered, or the request never got there: nobody is left to be told.
            Stage::Answering => {
                self.tries.remove(key);
                self.release(from, cell, to, boot, false);
            }
            Stage::Asking | Stage::Working if state.resends > 0 || state.refused => {
                self.tries.remove(key);
                self.release(from, cell, to, boot, false);
            }
            Stage::Asking | Stage::Working => {
                state.gone = true;
                self.release(from, cell, to, boot, false);
                self.say_goodbye(key);
            }
        }
    }

    /// Tells the remote side that the caller has left.
    pub(super) fn say_goodbye(&mut self, key: Key) {
        let Some(state) = self.tries.get_mut(key) else { return };
        match self.links.send(&self.root, self.now, state.from, state.to, 0) {
            // What was sent before gets there before.
            Some(at) => {
                let at = at.max(state.arrives);
                self.clock.push(at, Event::Quit(key));
            }
            None => {
                let wait = RETRY_LEAST.saturating_mul(1 << state.resends.min(20)).min(RETRY_MOST);
                state.resends = state.resends.saturating_add(1);
                self.clock.push(self.now + wait, Event::Goodbye(key));
            }
        }
    }

    /// The remote side learns that the caller has left.
    pub(super) fn quit(&mut self, key: Key) {
        if let Some(state) = self.tries.remove(key) {
            self.leave_hold(state.inbound);
        }
    }
}

impl Try {
    /// Who gets the message that is under way.
    pub(super) fn receiver(&self) -> u32 {
        if goes_back(self.stage, self.refused) { self.from } else { self.to }
    }
}

/// Whether the message of a stage goes from the callee to the caller.
fn goes_back(stage: Stage, refused: bool) -> bool {
    match stage {
        // The handshake is of an even number of messages, there and back.
        Stage::Connecting(left) => refused || left % 2 == 1,
        Stage::Asking | Stage::Working => refused,
        Stage::Answering => true,
    }
}
