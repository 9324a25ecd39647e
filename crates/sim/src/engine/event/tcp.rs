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

mod arrivals;
mod calls;
mod sending;

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::task::Waker;

use bytes::Bytes;

use super::queue::Key;

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
    again: Again,
}

/// How often a segment was sent again, and how long the last wait was.
type Again = Option<(u32, u64)>;

impl Segment {
    fn new(now: u64) -> Self {
        Self { data: Bytes::new(), fin: false, opens: false, sent_at: now, arrives_at: now, again: None }
    }
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
