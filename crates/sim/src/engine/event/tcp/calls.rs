//! What sockets ask of their connections.

use std::io::ErrorKind;

use bytes::Bytes;

use super::{Phase, RETRY_LEAST, Segment, WINDOW};
use crate::engine::event::queue::{Event, Key};
use crate::engine::event::world::World;

impl World {
    /// Sends the first SYN of a new connection.
    pub(in crate::engine::event) fn tcp_connect(&mut self, key: Key) {
        self.send_syn(key);
    }

    /// Takes bytes from the writer; there is room for them.
    pub(in crate::engine::event) fn tcp_write(&mut self, key: Key, side: usize, data: Bytes) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.pipes[side].written += data.len() as u64;
        self.send(key, side, Segment { data, ..Segment::new(now) });
    }

    /// Half-closes.
    pub(in crate::engine::event) fn tcp_shut(&mut self, key: Key, side: usize) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.pipes[side].shut || !connection.sides[side].alive {
            return;
        }
        connection.pipes[side].shut = true;
        self.send(key, side, Segment { fin: true, ..Segment::new(now) });
    }

    /// The program lets go of its side.
    pub(in crate::engine::event) fn tcp_close(&mut self, key: Key, side: usize) {
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
    pub(in crate::engine::event) fn tcp_abort(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.sides[side].alive {
            connection.sides[side].error = Some(ErrorKind::ConnectionAborted);
            self.send_reset(key, side);
        }
    }

    /// The program on `side` has read `bytes`.
    pub(in crate::engine::event) fn tcp_read(&mut self, key: Key, side: usize, bytes: u64) {
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
    pub(in crate::engine::event) fn tcp_wait_for_room(&mut self, key: Key, side: usize) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let pipe = &mut connection.pipes[side];
        if let Some(&(at, _)) = pipe.updates.front() {
            self.queue.push(at, Event::Window(key, side as u8));
        } else if pipe.read > pipe.told {
            self.tell_window(key, side);
        }
    }

    /// Tells the writer on `side` how much has been read.
    pub(super) fn tell_window(&mut self, key: Key, side: usize) {
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
    pub(in crate::engine::event) fn tcp_crash(&mut self, host: u32, reset: bool) -> u64 {
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
