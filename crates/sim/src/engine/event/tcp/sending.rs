//! Segments on their way out: sent, lost, sent again.

use super::{Again, HALF_MADE, Missing, RETRY_LEAST, RETRY_MOST, SECOND, Segment, Stall};
use crate::engine::event::link::{Fate, packets};
use crate::engine::event::queue::{Event, Key};
use crate::engine::event::world::{NOWHERE, World};

impl World {
    pub(super) fn send_syn(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let wait = SECOND << connection.syn_tries;
        let (from, to) = (connection.sides[0].host, connection.sides[1].host);
        connection.syn_at = self.now;
        if to == NOWHERE {
            // The neighbour is asked for three times, a second apart.
            self.queue.push(self.now + 3 * SECOND, Event::Unreachable(key));
            return;
        }
        if let Fate::Arrives(at) = self.packet(from, to, 1, 0) {
            self.queue.push(at, Event::Syn(key));
        }
        self.queue.push(self.now + wait, Event::SynRetry(key));
    }

    pub(super) fn send(&mut self, key: Key, side: usize, segment: Segment) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.pipes[side].stall.is_some() {
            connection.pipes[side].queue.push_back(segment);
        } else {
            let count = packets(segment.data.len() as u64);
            self.transmit(key, side, segment, count, None);
        }
    }

    /// Puts `count` packets of a segment on the wire. `again`: what it went through before.
    pub(super) fn transmit(&mut self, key: Key, side: usize, mut segment: Segment, count: u64, again: Again) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        segment.sent_at = now;
        segment.again = again;
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
    pub(super) fn stall(
        &mut self,
        key: Key,
        side: usize,
        missing: Missing,
        again: Again,
        sent_at: u64,
        round_trip: u64,
    ) {
        let (tries, wait) = match again {
            Some((tries, wait)) => (tries, (wait * 2).min(RETRY_MOST)),
            None => (0, RETRY_LEAST + round_trip),
        };
        let retry_at = (sent_at + wait).max(self.now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pipes[side].stall = Some(Stall { missing, tries, wait, retry_at });
        self.queue.push(retry_at, Event::Retry(key, side as u8));
    }

    /// Sends what waited behind a stall.
    pub(super) fn flush(&mut self, key: Key, side: usize) {
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
    pub(super) fn abandon(&mut self, key: Key, side: usize) {
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
    pub(in crate::engine::event) fn send_reset(&mut self, key: Key, side: usize) {
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
    pub(super) fn settle(&mut self, key: Key) {
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
