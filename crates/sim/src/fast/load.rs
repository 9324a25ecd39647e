//! The load generators: open loops that draw the full world's arrivals, and closed loops of clients.

use std::sync::PoisonError;
use std::time::Duration;

use squall_policy::{Class, Instant, Rank, Rng};

use super::World;
use super::clock::Event;
use super::plan::nanos;
use super::sidecar::Entering;
use super::slab::Key;
use super::state::{Asked, Asker, Client, Next, Reply};
use crate::arrivals::pick;
use crate::ledger::{self, Gauge};
use crate::note::Note;
use crate::scenario::Arrivals;

/// A client host of a load.
pub(super) struct Generator {
    pub(super) load: usize,
    /// Which of the load's hosts it is.
    pub(super) index: usize,
    /// The arrival that its next event is for.
    due: usize,
    /// The dice of headers that are drawn for each request.
    headers: Rng,
    gone: bool,
}

impl Generator {
    pub(super) fn new(load: usize, index: usize) -> Self {
        // Its dice are the host's, which has not booted yet.
        Self { load, index, due: 0, headers: Rng::from_seed(0), gone: false }
    }
}

impl World {
    /// The scenario's time 0 is known: the loads begin.
    pub(super) fn begin_loads(&mut self, start: Instant) {
        self.start = start.as_nanos();
        let scenario = std::sync::Arc::clone(&self.shared.scenario);
        for host in 0..self.nodes.len() {
            let Some(generator) = &self.generators[host] else { continue };
            let (load, index) = (generator.load, generator.index);
            let headers = self.nodes[host].root.fork("load headers");
            if let Some(generator) = &mut self.generators[host] {
                generator.headers = headers;
            }
            let spec = &scenario.load[load];
            let host = u32::try_from(host).expect("hosts are numbered in 32 bits");
            match &spec.arrivals {
                Arrivals::Open { .. } | Arrivals::Trace(_) => self.next_arrival(host),
                Arrivals::Closed { clients, .. } => {
                    let from = self.start + nanos(spec.from);
                    for client in (0..*clients).filter(|client| *client as usize % spec.hosts as usize == index) {
                        let rng = self.nodes[host as usize].root.fork(&format!("client {client}"));
                        let (thoughts, kinds) = (rng.fork("think"), rng.fork("kinds"));
                        let number = u32::try_from(self.clients.len()).expect("there are fewer clients");
                        let load = u32::try_from(load).expect("there are few loads");
                        self.clients.push(Client { load, host, thoughts, kinds, has_thought: false });
                        self.clock.push(from, Event::Client(number));
                    }
                }
            }
        }
    }

    fn next_arrival(&mut self, host: u32) {
        let Some(generator) = &mut self.generators[host as usize] else { return };
        let schedule = self.shared.schedules[generator.load].as_ref().expect("an open loop has a schedule");
        let next = schedule.lock().unwrap_or_else(PoisonError::into_inner).next_for(generator.index);
        let Some(arrival) = next else { return };
        generator.due = arrival.kind;
        self.clock.push((self.start + nanos(arrival.at)).max(self.now), Event::Arrival(host));
    }

    /// A request of an open loop arrives.
    pub(super) fn arrival(&mut self, host: u32) {
        let Some(generator) = &self.generators[host as usize] else { return };
        if generator.gone {
            return;
        }
        let (load, kind) = (generator.load, generator.due);
        self.ask_load(host, load, kind, u32::MAX);
        self.next_arrival(host);
    }

    /// A client begins to think, or has thought.
    pub(super) fn client(&mut self, number: u32) {
        let client = &mut self.clients[number as usize];
        let (load, host) = (client.load as usize, client.host);
        if self.generators[host as usize].as_ref().is_none_or(|generator| generator.gone) {
            return;
        }
        let client = &mut self.clients[number as usize];
        let spec = &self.shared.scenario.load[load];
        let Arrivals::Closed { think, .. } = &spec.arrivals else { return };
        if !std::mem::take(&mut client.has_thought) {
            client.has_thought = true;
            let span = nanos(think.draw(&mut client.thoughts));
            if span > 0 {
                self.clock.push(self.now.saturating_add(span), Event::Client(number));
                return;
            }
            client.has_thought = false;
        }
        let until = self.start + nanos(spec.until);
        let is_spent = spec.requests.is_some_and(|most| self.book.sent[load] >= most);
        if self.now >= until || is_spent {
            return;
        }
        let kind = pick(&self.plan.weights[load], &mut client.kinds);
        self.ask_load(host, load, kind, number);
    }

    fn ask_load(&mut self, host: u32, load: usize, kind: usize, client: u32) {
        let timeout = self.shared.scenario.load[load].timeout;
        self.book.sent[load] += 1;
        self.book.asked.push(ledger::Asked {
            arrived: Instant::from_nanos(self.now),
            ended: ledger::Maybe::NONE,
            status: 0,
            success: false,
            gave_up: false,
            timeout: timeout.into(),
        });
        let request = u32::try_from(self.book.asked.len()).expect("a run has fewer than 2^32 requests");
        let question = self.plan.mixes[load] + u32::try_from(kind).expect("a mix is short");
        self.pen.note(self.now, host, "asked", u64::from(question), u64::from(request));
        if self.keeps {
            let asked = &self.plan.questions[question as usize];
            let (method, path) = (asked.method.as_str(), asked.target.as_str());
            let note = Note::Asked { request: u64::from(request), method, path, to: &asked.authority };
            self.keep_note(host, &note);
        }
        self.gauge(Gauge::Asked, true);
        let key = self.asked.insert(Asked { host, client, request, arrived: self.now, hold: Key::NONE });
        self.arm(self.now.saturating_add(nanos(timeout)), Event::GiveUp(key));
        let left = self.plan.questions[question as usize].limit;
        let generator = self.generators[host as usize].as_mut().expect("only load hosts ask for loads");
        let passed = self.plan.draw(question, 0, &mut generator.headers);
        let hold = self.enter_outbound(Entering { host, asker: Asker::Load(key), question, request, passed, left });
        if let Some(asked) = self.asked.get_mut(key) {
            asked.hold = hold;
        }
    }

    /// A load's request has its answer; `None`: the connection to its sidecar broke.
    pub(super) fn answer_load(&mut self, key: Key, reply: Option<Reply>) {
        let Some(asked) = self.asked.remove(key) else { return };
        let latency = Duration::from_nanos(self.now - asked.arrived);
        let request = u64::from(asked.request);
        let line = &mut self.book.asked[asked.request as usize - 1];
        line.ended = Instant::from_nanos(self.now).into();
        if let Some(Reply { status, grpc, .. }) = reply {
            line.status = status;
            line.success = status < 400 && grpc.unwrap_or(0) == 0;
        }
        self.pen.note(self.now, asked.host, "answered", reply.map_or(0, |reply| u64::from(reply.status)), request);
        if self.keeps {
            let note = match reply {
                Some(Reply { status, grpc, .. }) => Note::Answered { request, status, grpc, whole: true, latency },
                None => Note::Unanswered { request, latency },
            };
            self.keep_note(asked.host, &note);
        }
        self.load_goes_on(&asked);
    }

    /// A generator gives up waiting.
    pub(super) fn give_up(&mut self, key: Key) {
        let Some(host) = self.asked.get(key).map(|asked| asked.host) else { return };
        let Some(asked) = self.asked.remove(key) else { return };
        self.leave_hold(asked.hold);
        let line = &mut self.book.asked[asked.request as usize - 1];
        line.ended = Instant::from_nanos(self.now).into();
        line.gave_up = true;
        let (request, after) = (u64::from(asked.request), line.timeout.get());
        self.pen.note(self.now, host, "gave-up", 0, request);
        if self.keeps {
            self.keep_note(host, &Note::GaveUp { request, after });
        }
        self.load_goes_on(&asked);
    }

    fn load_goes_on(&mut self, asked: &Asked) {
        self.gauge(Gauge::Asked, false);
        self.book.answered += 1;
        let triggers = self.shared.triggers.is_armed_for(self.book.answered);
        if triggers {
            self.interrupted = true;
        }
        if asked.client == u32::MAX {
            return;
        }
        if triggers {
            // What the answer triggers comes before the next request.
            self.clock.push(self.now, Event::Client(asked.client));
        } else {
            self.next.push_back(Next::Client(asked.client));
        }
    }

    /// A load's host is gone, and its clients with it.
    pub(super) fn drop_load(&mut self, host: u32) {
        if let Some(generator) = &mut self.generators[host as usize] {
            generator.gone = true;
        }
        for key in self.asked.keys(|asked| asked.host == host) {
            self.asked.remove(key);
            self.gauge(Gauge::Asked, false);
        }
    }
}

/// The key of the rank of the request with this number, whose `x-request-id` is the number in decimal digits.
pub(super) fn rank_key(request: u32) -> u32 {
    let mut digits = [0_u8; 10];
    let (mut left, mut first) = (request, digits.len());
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    let text = std::str::from_utf8(&digits[first..]).expect("digits are ASCII");
    Rank::new(Class::default(), text).key
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rank_is_that_of_the_number_as_text() {
        for request in [1, 9, 10, 4_294_967_295, 120_345] {
            assert_eq!(rank_key(request), Rank::new(Class::default(), &request.to_string()).key);
        }
    }
}
