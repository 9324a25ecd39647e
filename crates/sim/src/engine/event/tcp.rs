//! TCP as a mesh feels it, without its acknowledgements.
//!
//! Both ends of a connection are one [`Connection`] with two one-way [`Pipe`]s. The world knows whether a segment will
//! arrive when it is sent, so in the normal case a segment costs one event, its arrival. Only what goes wrong costs more:
//! a lost segment, or one whose acknowledgement is lost to a cut, stalls its pipe; everything behind it waits while it is
//! sent again after 200 ms plus a round trip, doubling (RFC 6298, with Linux's minimum), and after 15 tries, some
//! 15 minutes, the connection fails with `TimedOut`. A SYN is sent again after 1 s, doubling, and given up after 127 s.
//!
//! The window is one number for both ends: a writer waits when 256 KiB of its bytes are under way or unread, and learns a
//! delay later that there is room.
//!
//! Left out: congestion windows, fast retransmission, random loss and bandwidth of bare acknowledgements, packets of one
//! connection overtaking each other (a late one holds up those behind it, as TCP does for its reader).

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;

use bytes::Bytes;

use super::link::{Fate, packets};
use super::queue::{Event, Key};
use super::world::World;

/// Bytes of one direction that may be under way or unread.
pub(super) const WINDOW: u64 = 256 * 1024;
/// The most one segment carries; it takes as many packets as it needs.
pub(super) const SEGMENT_BYTES: usize = 64 * 1024;
const SECOND: u64 = 1_000_000_000;
const SYN_RETRIES: u32 = 6;
/// How long a server keeps a half-made connection: five SYN-ACKs.
const HALF_MADE: u64 = 63 * SECOND;
const RETRY_LEAST: u64 = SECOND / 5;
const RETRY_MOST: u64 = 120 * SECOND;
const RETRIES: u32 = 15;

/// One end of a connection.
pub(super) struct Side {
    pub(super) host: u32,
    pub(super) address: SocketAddr,
    /// Its kernel knows the connection.
    pub(super) alive: bool,
    /// A program holds it, or the accept queue does.
    pub(super) held: bool,
    pub(super) error: Option<ErrorKind>,
    /// A failed write has said so.
    pub(super) error_told: bool,
}

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// SYN sent.
    Connecting,
    /// SYN seen by a listener.
    Answered,
    /// SYN-ACK seen by the client.
    Established,
}

/// Both ends of a connection: 0 is the client, 1 the server.
pub(super) struct Connection {
    pub(super) sides: [Side; 2],
    /// `pipes[0]` carries what the client writes.
    pub(super) pipes: [Pipe; 2],
    pub(super) phase: Phase,
    pub(super) connect_waker: Option<Waker>,
    /// Whose accept queue it goes to.
    pub(super) listener: Option<Key>,
    /// The server has answered the SYN and waits for the end of the handshake.
    half_made: bool,
    syn_at: u64,
    syn_tries: u32,
    round_trip: u64,
}

struct Segment {
    data: Bytes,
    fin: bool,
    /// The last part of the handshake.
    opens: bool,
    sent_at: u64,
    arrives_at: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Missing {
    /// So many packets of the first segment in the queue.
    Packets(u64),
    /// The segment arrived, its acknowledgement did not.
    Acknowledgement,
}

struct Stall {
    missing: Missing,
    tries: u32,
    wait: u64,
    retry_at: u64,
}

/// One direction of a connection.
#[derive(Default)]
pub(super) struct Pipe {
    written: u64,
    /// How much of it the writer knows to be read.
    known: u64,
    read: u64,
    read_at: u64,
    /// How much of it window updates have told.
    told: u64,
    updates: VecDeque<(u64, u64)>,
    window_wait: u64,
    window_since: u64,
    pub(super) write_waker: Option<Waker>,
    pub(super) shut: bool,
    queue: VecDeque<Segment>,
    flight: VecDeque<Segment>,
    last_arrival: u64,
    stall: Option<Stall>,
    pub(super) inbox: VecDeque<Bytes>,
    pub(super) ended: bool,
    pub(super) read_waker: Option<Waker>,
}

impl Pipe {
    /// How many bytes the writer may write now.
    pub(super) fn room(&mut self, now: u64) -> usize {
        while let Some(&(at, known)) = self.updates.front()
            && at <= now
        {
            self.known = known;
            self.updates.pop_front();
        }
        (WINDOW - (self.written - self.known)) as usize
    }

    fn is_idle(&self) -> bool {
        let waiting = self.stall.as_ref().is_some_and(|stall| stall.missing != Missing::Acknowledgement);
        self.queue.is_empty() && self.flight.is_empty() && !waiting
    }

    fn forget_unsent(&mut self) {
        self.queue.clear();
        self.stall = None;
    }
}

impl Connection {
    pub(super) fn new(client: (u32, SocketAddr), server: (u32, SocketAddr), now: u64) -> Self {
        let side = |(host, address), alive| Side { host, address, alive, held: alive, error: None, error_told: false };
        Self {
            sides: [side(client, true), side(server, false)],
            pipes: [Pipe::default(), Pipe::default()],
            phase: Phase::Connecting,
            connect_waker: None,
            listener: None,
            half_made: false,
            syn_at: now,
            syn_tries: 0,
            round_trip: 0,
        }
    }

    fn fail(&mut self, side: usize, error: ErrorKind) -> [Option<Waker>; 3] {
        self.sides[side].alive = false;
        self.sides[side].error = Some(error);
        self.pipes[side].forget_unsent();
        let connecting = if side == 0 { self.connect_waker.take() } else { None };
        [self.pipes[1 - side].read_waker.take(), self.pipes[side].write_waker.take(), connecting]
    }
}

// What the sockets of `socket.rs` ask for.
impl World {
    /// Sends the first SYN of a new connection.
    pub(super) fn tcp_connect(&mut self, key: Key) {
        self.send_syn(key);
    }

    /// Takes bytes from the writer; there is room for them.
    pub(super) fn tcp_write(&mut self, key: Key, side: usize, data: Bytes) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pipes[side].written += data.len() as u64;
        self.send(key, side, Segment { data, fin: false, opens: false, sent_at: now, arrives_at: now });
    }

    /// Half-closes.
    pub(super) fn tcp_shut(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.pipes[side].shut || !connection.sides[side].alive {
            return;
        }
        connection.pipes[side].shut = true;
        self.send(key, side, Segment { data: Bytes::new(), fin: true, opens: false, sent_at: now, arrives_at: now });
    }

    /// The program lets go of its side.
    pub(super) fn tcp_close(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.sides[side].held {
            return;
        }
        connection.sides[side].held = false;
        let wakers = [
            connection.pipes[side].write_waker.take(),
            connection.pipes[1 - side].read_waker.take(),
            connection.connect_waker.take(),
        ];
        self.trash.extend(wakers.into_iter().flatten());
        if connection.sides[side].alive {
            if side == 0 && connection.phase != Phase::Established {
                connection.sides[0].alive = false;
                self.abandon(key, 0);
            } else if !connection.pipes[1 - side].inbox.is_empty() {
                self.send_reset(key, side);
            } else {
                self.tcp_shut(key, side);
            }
        }
        self.settle(key);
    }

    /// The program resets its side.
    pub(super) fn tcp_abort(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.sides[side].alive {
            connection.sides[side].error = Some(ErrorKind::ConnectionAborted);
            self.send_reset(key, side);
        }
    }

    /// The program on `side` has read `bytes`.
    pub(super) fn tcp_read(&mut self, key: Key, side: usize, bytes: u64) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[1 - side];
        pipe.read += bytes;
        pipe.read_at = now;
        let untold = pipe.read - pipe.told;
        let waiting = pipe.write_waker.is_some();
        if untold >= WINDOW / 4 || (waiting && pipe.inbox.is_empty()) {
            self.tell_window(key, 1 - side);
        }
    }

    /// The writer on `side` found no room and waits.
    pub(super) fn tcp_wait_for_room(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        if let Some(&(at, _)) = pipe.updates.front() {
            self.queue.push(at, Event::Window(key, side as u8));
        } else if pipe.read > pipe.told {
            self.tell_window(key, side);
        }
    }

    /// Tells the writer on `side` how much has been read.
    fn tell_window(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (writer, reader) = (connection.sides[side].host, connection.sides[1 - side].host);
        let Some(delay) = self.ack_delay(reader, writer) else {
            let Some(connection) = self.connections.get_mut(key) else { return };
            let round_trip = connection.round_trip;
            let pipe = &mut connection.pipes[side];
            if pipe.write_waker.is_some() && pipe.window_wait == 0 {
                pipe.window_wait = RETRY_LEAST + round_trip;
                pipe.window_since = now;
                self.queue.push(now + pipe.window_wait, Event::Probe(key, side as u8));
            }
            return;
        };
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        pipe.told = pipe.read;
        pipe.window_wait = 0;
        let at = (pipe.read_at + delay).max(now).max(pipe.updates.back().map_or(0, |&(at, _)| at));
        pipe.updates.push_back((at, pipe.read));
        if pipe.write_waker.is_some() {
            self.queue.push(at, Event::Window(key, side as u8));
        }
    }

    /// Every connection of `host` ends with the host. With `reset` its kernel says so.
    pub(super) fn tcp_crash(&mut self, host: u32, reset: bool) -> u64 {
        let mut touched = 0;
        for key in self.connections.keys() {
            for side in 0..2 {
                let Some(connection) = self.connections.get_mut(key) else { continue };
                if connection.sides[side].host != host {
                    continue;
                }
                connection.sides[side].held = false;
                let pipes = &mut connection.pipes;
                let wakers = [
                    pipes[side].write_waker.take(),
                    pipes[1 - side].read_waker.take(),
                    connection.connect_waker.take(),
                ];
                self.trash.extend(wakers.into_iter().flatten());
                if connection.sides[side].alive {
                    touched += 1;
                    if reset && connection.phase == Phase::Established {
                        self.send_reset(key, side);
                    } else {
                        connection.sides[side].alive = false;
                        connection.pipes[side].forget_unsent();
                        self.abandon(key, side);
                    }
                }
            }
            self.settle(key);
        }
        touched
    }
}

// Sending.
impl World {
    fn send_syn(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let wait = SECOND << connection.syn_tries;
        let (from, to) = (connection.sides[0].host, connection.sides[1].host);
        connection.syn_at = self.now;
        if to == super::world::NOWHERE {
            // The neighbour is asked for three times, a second apart.
            self.queue.push(self.now + 3 * SECOND, Event::Unreachable(key));
            return;
        }
        if let Fate::Arrives(at) = self.packet(from, to, 1, 0) {
            self.queue.push(at, Event::Syn(key));
        }
        self.queue.push(self.now + wait, Event::SynRetry(key));
    }

    fn send(&mut self, key: Key, side: usize, segment: Segment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.pipes[side].stall.is_some() {
            connection.pipes[side].queue.push_back(segment);
        } else {
            let count = packets(segment.data.len() as u64);
            self.transmit(key, side, segment, count, None);
        }
    }

    /// Puts `count` packets of a segment on the wire. `again`: the stall it ends or prolongs.
    fn transmit(&mut self, key: Key, side: usize, mut segment: Segment, count: u64, again: Option<Stall>) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        segment.sent_at = now;
        let fate = self.packet(from, to, count, segment.data.len() as u64);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let round_trip = connection.round_trip;
        let pipe = &mut connection.pipes[side];
        match fate {
            Fate::Arrives(at) => {
                let at = at.max(pipe.last_arrival);
                let is_new = pipe.flight.is_empty() || pipe.last_arrival != at;
                pipe.last_arrival = at;
                segment.arrives_at = at;
                pipe.flight.push_back(segment);
                if is_new {
                    self.queue.push(at, Event::Deliver(key, side as u8));
                }
            }
            Fate::Lost(lost) => {
                pipe.queue.push_front(segment);
                self.stall(key, side, Missing::Packets(lost), again, now, round_trip);
            }
        }
    }

    /// Waits for the retransmission time-out that began at `sent_at`.
    fn stall(&mut self, key: Key, side: usize, missing: Missing, again: Option<Stall>, sent_at: u64, round_trip: u64) {
        let (tries, wait) = match again {
            Some(stall) => (stall.tries, (stall.wait * 2).min(RETRY_MOST)),
            None => (0, RETRY_LEAST + round_trip),
        };
        let retry_at = (sent_at + wait).max(self.now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pipes[side].stall = Some(Stall { missing, tries, wait, retry_at });
        self.queue.push(retry_at, Event::Retry(key, side as u8));
    }

    /// Sends what waited behind a stall.
    fn flush(&mut self, key: Key, side: usize) {
        while let Some(connection) = self.connections.get_mut(key) {
            let pipe = &mut connection.pipes[side];
            if pipe.stall.is_some() {
                return;
            }
            let Some(segment) = pipe.queue.pop_front() else { return };
            let count = packets(segment.data.len() as u64);
            self.transmit(key, side, segment, count, None);
        }
    }

    /// `side` of a connection whose handshake may not be over is gone. A server that waits for its end gives up in a while.
    fn abandon(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.half_made {
            return;
        }
        if side == 0 {
            self.queue.push(self.now + HALF_MADE, Event::Reset(key, 1));
            return;
        }
        connection.half_made = false;
        connection.sides[1].held = false;
        if let Some(listener) = connection.listener {
            let server = connection.sides[1].host;
            self.forget_half_made(server, listener);
        }
    }

    /// Ends `side` with an RST to the other. It is sent once; if it is lost, the other side stays half-open.
    pub(super) fn send_reset(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.sides[side].alive = false;
        connection.pipes[side].forget_unsent();
        connection.pipes[1 - side].inbox.clear();
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        let wakers = [connection.pipes[side].write_waker.take(), connection.pipes[1 - side].read_waker.take()];
        self.wakes.extend(wakers.into_iter().flatten());
        self.abandon(key, side);
        let fate = self.packet(from, to, 1, 0);
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Fate::Arrives(at) = fate {
            let at = at.max(connection.pipes[side].last_arrival);
            self.queue.push(at, Event::Reset(key, (1 - side) as u8));
        }
        self.settle(key);
    }

    /// Lets both kernels forget what is over.
    fn settle(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        for side in 0..2 {
            let (mine, other) = (&connection.sides[side], &connection.sides[1 - side]);
            let said = connection.pipes[side].shut && connection.pipes[side].is_idle();
            let heard = connection.pipes[1 - side].ended || !other.alive;
            if mine.alive && !mine.held && said && heard {
                connection.sides[side].alive = false;
            }
        }
        if connection.sides.iter().all(|side| !side.alive && !side.held) {
            let (client, server) = (connection.sides[0].address, connection.sides[1].address);
            let host = connection.sides[0].host;
            let clean = connection.sides[0].error.is_none() && connection.pipes[0].shut;
            self.release_port(host, client, server, clean);
            if let Some(connection) = self.connections.remove(key) {
                self.graveyard.push(connection);
            }
        }
    }
}

// Arrivals.
impl World {
    pub(super) fn on_syn(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (client, server) = (connection.sides[0].host, connection.sides[1].host);
        let dialed = connection.sides[1].address;
        if connection.phase == Phase::Answered && !connection.sides[1].alive {
            // The server that answered has crashed since; another one answers.
            connection.phase = Phase::Connecting;
        }
        let phase = connection.phase;
        if phase == Phase::Established || self.hosts[server as usize].is_silent() {
            return;
        }
        if phase == Phase::Connecting {
            match self.admit_syn(server, dialed) {
                super::world::Admission::Full => {
                    self.overflowed(client, server);
                    return;
                }
                super::world::Admission::Closed => {
                    if let Fate::Arrives(at) = self.packet(server, client, 1, 0) {
                        self.queue.push(at, Event::Refused(key));
                    }
                    return;
                }
                super::world::Admission::Open(listener) => {
                    let Some(connection) = self.connections.get_mut(key) else { return };
                    connection.phase = Phase::Answered;
                    connection.half_made = true;
                    connection.listener = Some(listener);
                    connection.sides[1].alive = true;
                    connection.sides[1].held = true;
                }
            }
        }
        self.note(server, "syn", u64::from(key.index), u64::from(client));
        if let Fate::Arrives(at) = self.packet(server, client, 1, 0) {
            self.queue.push(at, Event::SynAck(key));
        }
    }

    pub(super) fn on_syn_ack(&mut self, key: Key) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let client = connection.sides[0].host;
        if connection.phase != Phase::Answered {
            return;
        }
        if !connection.sides[0].alive {
            // The client gave up. A silent host says nothing; the half-made connection stays with the server.
            if !self.hosts[client as usize].is_silent() {
                self.send_reset(key, 0);
            }
            return;
        }
        connection.phase = Phase::Established;
        connection.round_trip = now - connection.syn_at;
        self.wakes.extend(connection.connect_waker.take());
        self.note(client, "connected", u64::from(key.index), 0);
        self.send(key, 0, Segment { data: Bytes::new(), fin: false, opens: true, sent_at: now, arrives_at: now });
    }

    pub(super) fn on_syn_retry(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Established || !connection.sides[0].alive {
            return;
        }
        connection.syn_tries += 1;
        if connection.syn_tries > SYN_RETRIES {
            self.fail(key, 0, ErrorKind::TimedOut);
        } else {
            self.send_syn(key);
        }
    }

    pub(super) fn on_connect_error(&mut self, key: Key, error: ErrorKind) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Connecting && connection.sides[0].alive {
            self.fail(key, 0, error);
        }
    }

    fn fail(&mut self, key: Key, side: usize, error: ErrorKind) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let host = connection.sides[side].host;
        let wakers = connection.fail(side, error);
        self.wakes.extend(wakers.into_iter().flatten());
        self.note(host, "fail", u64::from(key.index), side as u64);
        self.abandon(key, side);
        self.settle(key);
    }

    pub(super) fn on_reset(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let host = connection.sides[side].host;
        if connection.sides[side].alive && !self.hosts[host as usize].is_silent() {
            self.note(host, "reset", u64::from(key.index), side as u64);
            self.fail(key, side, ErrorKind::ConnectionReset);
        }
    }

    /// What `side` sent has arrived at the other.
    pub(super) fn on_deliver(&mut self, key: Key, side: usize) {
        let now = self.now;
        let mut sent_at = None;
        while let Some(connection) = self.connections.get_mut(key) {
            let pipe = &mut connection.pipes[side];
            if pipe.flight.front().is_none_or(|segment| segment.arrives_at > now) {
                break;
            }
            let receiver = &connection.sides[1 - side];
            let host = receiver.host;
            if self.hosts[host as usize].is_silent() {
                self.vanish(key, side);
                break;
            }
            let Some(segment) = pipe.flight.pop_front() else { break };
            let unwanted = !receiver.held && !segment.data.is_empty();
            if !receiver.alive || unwanted {
                connection.pipes[side].flight.clear();
                self.send_reset(key, 1 - side);
                break;
            }
            sent_at = Some(segment.sent_at);
            self.note(host, "deliver", u64::from(key.index) << 1 | side as u64, segment.data.len() as u64);
            self.take_in(key, side, segment);
        }
        if let Some(sent_at) = sent_at {
            self.acknowledge(key, side, sent_at);
            self.settle(key);
        }
    }

    fn take_in(&mut self, key: Key, side: usize, segment: Segment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if segment.opens {
            let Some(listener) = connection.listener else { return };
            connection.half_made = false;
            let server = connection.sides[1].host;
            if !self.queue_accept(server, listener, key) {
                if let Some(connection) = self.connections.get_mut(key) {
                    connection.sides[1].held = false;
                }
                self.send_reset(key, 1);
            }
            return;
        }
        let pipe = &mut connection.pipes[side];
        if !segment.data.is_empty() {
            pipe.inbox.push_back(segment.data);
        }
        pipe.ended |= segment.fin;
        self.wakes.extend(pipe.read_waker.take());
    }

    /// The receiver's acknowledgement. If the way back is cut, the sender sends again and again, and nothing new.
    fn acknowledge(&mut self, key: Key, side: usize, sent_at: u64) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        let wanted = connection.sides[side].alive && connection.pipes[side].stall.is_none();
        let round_trip = connection.round_trip;
        if wanted && self.is_cut(to, from) {
            self.stall(key, side, Missing::Acknowledgement, None, sent_at, round_trip);
        }
    }

    /// The machine is dead: everything under way to it is lost.
    fn vanish(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let round_trip = connection.round_trip;
        let sender_alive = connection.sides[side].alive;
        let pipe = &mut connection.pipes[side];
        let Some(first) = pipe.flight.front() else { return };
        let (sent_at, count) = (first.sent_at, packets(first.data.len() as u64));
        let mut lost = std::mem::take(&mut pipe.flight);
        if !sender_alive {
            return self.settle(key);
        }
        lost.append(&mut pipe.queue);
        pipe.queue = lost;
        match &mut pipe.stall {
            Some(stall) => stall.missing = Missing::Packets(count),
            None => self.stall(key, side, Missing::Packets(count), None, sent_at, round_trip),
        }
    }

    pub(super) fn on_retry(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        let receiver_alive = connection.sides[1 - side].alive;
        let round_trip = connection.round_trip;
        let pipe = &mut connection.pipes[side];
        if pipe.stall.as_ref().is_none_or(|stall| stall.retry_at != now) {
            return;
        }
        let Some(mut stall) = pipe.stall.take() else { return };
        stall.tries += 1;
        if stall.tries > RETRIES {
            return self.fail(key, side, ErrorKind::TimedOut);
        }
        self.note(from, "retransmit", u64::from(key.index) << 1 | side as u64, u64::from(stall.tries));
        match stall.missing {
            Missing::Packets(count) => {
                let Some(connection) = self.connections.get_mut(key) else { return };
                let Some(segment) = connection.pipes[side].queue.pop_front() else { return };
                self.transmit(key, side, segment, count, Some(stall));
            }
            Missing::Acknowledgement => {
                let silent = self.hosts[to as usize].is_silent();
                let arrives = matches!(self.packet(from, to, 1, 0), Fate::Arrives(_));
                if !arrives || silent || self.is_cut(to, from) {
                    self.stall(key, side, Missing::Acknowledgement, Some(stall), now, round_trip);
                } else if !receiver_alive {
                    self.send_reset(key, 1 - side);
                }
            }
        }
        self.flush(key, side);
    }

    pub(super) fn on_window(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        if pipe.room(now) > 0 {
            self.wakes.extend(pipe.write_waker.take());
        }
    }

    pub(super) fn on_probe(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        if connection.pipes[side].window_wait == 0 || !connection.sides[side].alive {
            return;
        }
        let arrives = matches!(self.packet(from, to, 1, 0), Fate::Arrives(_));
        if arrives && !self.is_cut(to, from) {
            return self.tell_window(key, side);
        }
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        if now - pipe.window_since > 924 * SECOND {
            return self.fail(key, side, ErrorKind::TimedOut);
        }
        pipe.window_wait = (pipe.window_wait * 2).min(RETRY_MOST);
        self.queue.push(now + pipe.window_wait, Event::Probe(key, side as u8));
    }
}
