//! What arrives, and what does not.

use std::io::ErrorKind;

use super::{Again, Missing, Phase, RETRIES, RETRY_MOST, SECOND, SYN_RETRIES, Segment};
use crate::engine::event::link::{Fate, packets};
use crate::engine::event::queue::{Event, Key};
use crate::engine::event::world::{Admission, World};

impl World {
    pub(in crate::engine::event) fn on_syn(&mut self, key: Key) {
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
                Admission::Full => {
                    self.overflowed(client, server);
                    return;
                }
                Admission::Closed => {
                    if let Fate::Arrives(at) = self.packet(server, client, 1, 0) {
                        self.queue.push(at, Event::Refused(key));
                    }
                    return;
                }
                Admission::Open(listener) => {
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

    pub(in crate::engine::event) fn on_syn_ack(&mut self, key: Key) {
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
        self.send(key, 0, Segment { opens: true, ..Segment::new(now) });
    }

    pub(in crate::engine::event) fn on_syn_retry(&mut self, key: Key) {
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

    pub(in crate::engine::event) fn on_connect_error(&mut self, key: Key, error: ErrorKind) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.phase == Phase::Connecting && connection.sides[0].alive {
            self.fail(key, 0, error);
        }
    }

    pub(super) fn fail(&mut self, key: Key, side: usize, error: ErrorKind) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let host = connection.sides[side].host;
        let wakers = connection.fail(side, error);
        self.wakes.extend(wakers.into_iter().flatten());
        self.note(host, "fail", u64::from(key.index), side as u64);
        self.abandon(key, side);
        self.settle(key);
    }

    pub(in crate::engine::event) fn on_reset(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let host = connection.sides[side].host;
        if connection.sides[side].alive && !self.hosts[host as usize].is_silent() {
            self.note(host, "reset", u64::from(key.index), side as u64);
            self.fail(key, side, ErrorKind::ConnectionReset);
        }
    }

    /// What `side` sent has arrived at the other.
    pub(in crate::engine::event) fn on_deliver(&mut self, key: Key, side: usize) {
        let now = self.now;
        let mut last = None;
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
            last = Some((segment.sent_at, segment.again));
            self.note(host, "deliver", u64::from(key.index) << 1 | side as u64, segment.data.len() as u64);
            self.take_in(key, side, segment);
        }
        if let Some(last) = last {
            self.acknowledge(key, side, last);
            self.settle(key);
        }
    }

    pub(super) fn take_in(&mut self, key: Key, side: usize, segment: Segment) {
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
    pub(super) fn acknowledge(&mut self, key: Key, side: usize, (sent_at, again): (u64, Again)) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        let wanted = connection.sides[side].alive && connection.pipes[side].stall.is_none();
        let round_trip = connection.round_trip;
        if wanted && self.is_cut(to, from) {
            self.stall(key, side, Missing::Acknowledgement, again, sent_at, round_trip);
        }
    }

    /// The machine is dead: everything under way to it is lost.
    pub(super) fn vanish(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let round_trip = connection.round_trip;
        let sender_alive = connection.sides[side].alive;
        let pipe = &mut connection.pipes[side];
        let Some(first) = pipe.flight.front() else { return };
        let (sent_at, again, count) = (first.sent_at, first.again, packets(first.data.len() as u64));
        let mut lost = std::mem::take(&mut pipe.flight);
        if !sender_alive {
            return self.settle(key);
        }
        lost.append(&mut pipe.queue);
        pipe.queue = lost;
        match &mut pipe.stall {
            Some(stall) => stall.missing = Missing::Packets(count),
            None => self.stall(key, side, Missing::Packets(count), again, sent_at, round_trip),
        }
    }

    pub(in crate::engine::event) fn on_retry(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (from, to) = (connection.sides[side].host, connection.sides[1 - side].host);
        let receiver_alive = connection.sides[1 - side].alive;
        let round_trip = connection.round_trip;
        let pipe = &mut connection.pipes[side];
        if pipe.stall.as_ref().is_none_or(|stall| stall.retry_at != now) {
            return;
        }
        let Some(stall) = pipe.stall.take() else { return };
        let tries = stall.tries + 1;
        if tries > RETRIES {
            return self.fail(key, side, ErrorKind::TimedOut);
        }
        let again = Some((tries, stall.wait));
        self.note(from, "retransmit", u64::from(key.index) << 1 | side as u64, u64::from(tries));
        match stall.missing {
            Missing::Packets(count) => {
                let Some(connection) = self.connections.get_mut(key) else { return };
                let Some(segment) = connection.pipes[side].queue.pop_front() else { return };
                self.transmit(key, side, segment, count, again);
            }
            Missing::Acknowledgement => {
                let silent = self.hosts[to as usize].is_silent();
                let arrives = matches!(self.packet(from, to, 1, 0), Fate::Arrives(_));
                if !arrives || silent || self.is_cut(to, from) {
                    self.stall(key, side, Missing::Acknowledgement, again, now, round_trip);
                } else if !receiver_alive {
                    self.send_reset(key, 1 - side);
                }
            }
        }
        self.flush(key, side);
    }

    pub(in crate::engine::event) fn on_window(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        if pipe.room(now) > 0 {
            self.wakes.extend(pipe.write_waker.take());
        }
    }

    pub(in crate::engine::event) fn on_probe(&mut self, key: Key, side: usize) {
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
