//! Scripts of applications: sleeps and calls, in sequence and at once, as lines of execution that wait for events.

use std::time::Duration;

use squall_policy::Instant;

use super::World;
use super::clock::Event;
use super::plan::{Op, nanos};
use super::sidecar::{Entering, deadline_header};
use super::slab::Key;
use super::state::{Asker, Calling, Does, Reply, Strand, Why};
use crate::ledger::AppCall;
use crate::note::Note;

/// What a strand does after a step has begun.
enum Then {
    Wait,
    GoOn,
}

impl World {
    /// A request's application begins the steps of a program.
    pub(super) fn begin_script(&mut self, work: Key, program: u32) {
        let strand = self.add_strand(work, Key::NONE, 0, Does::Program { program, next: 0, made: 0 });
        if let Some(work) = self.works.get_mut(work) {
            work.root = strand;
        }
        self.go_on(strand);
    }

    fn add_strand(&mut self, work: Key, parent: Key, place: u32, does: Does) -> Key {
        self.strands.insert(Strand {
            work,
            parent,
            place,
            does,
            waits: 0,
            call: None,
            children: Vec::new(),
            running: 0,
            failure: None,
        })
    }

    /// Goes through a strand's steps until it must wait, or ends.
    fn go_on(&mut self, key: Key) {
        loop {
            let Some(strand) = self.strands.get_mut(key) else { return };
            let then = match strand.does {
                Does::Call(call) => {
                    self.begin_call(key, call);
                    Then::Wait
                }
                Does::Program { program, next, made } => {
                    if next as usize >= self.plan.programs[program as usize].len() {
                        self.end_strand(key, None);
                        return;
                    }
                    self.step(key, program, next, made)
                }
            };
            match then {
                Then::Wait => return,
                Then::GoOn => {}
            }
        }
    }

    fn step(&mut self, key: Key, program: u32, next: u32, made: u32) -> Then {
        let Some(work) = self.strands.get(key).map(|strand| strand.work) else { return Then::Wait };
        let Some(host) = self.works.get(work).map(|work| work.host) else { return Then::Wait };
        let after = Does::Program { program, next: next + 1, made: 0 };
        let Some(app) = self.nodes[host as usize].app.as_mut() else { return Then::Wait };
        match &self.plan.programs[program as usize][next as usize] {
            Op::Sleep(span) => {
                let at = self.now.saturating_add(nanos(span.draw(&mut app.time)));
                let Some(strand) = self.strands.get_mut(key) else { return Then::Wait };
                strand.does = after;
                strand.waits += 1;
                let waits = strand.waits;
                self.clock.push(at, Event::Strand(key, waits));
                Then::Wait
            }
            Op::Parallel(branches) => {
                let programs = branches.clone();
                self.set_does(key, after);
                let children =
                    programs.iter().map(|&program| Does::Program { program, next: 0, made: 0 }).collect::<Vec<_>>();
                self.begin_children(key, work, &children)
            }
            Op::Call(call) => {
                let call = *call;
                let plan = &self.plan.calls[call as usize];
                let (repeat, fan_out) = (plan.repeat, plan.fan_out);
                let ppm = plan.probability_ppm;
                // Drawn once per step, before the first of its repetitions.
                if made == 0 && ppm < 1_000_000 && app.calls.below(1_000_000) >= u64::from(ppm) {
                    self.set_does(key, after);
                    return Then::GoOn;
                }
                if made >= repeat {
                    self.set_does(key, after);
                    return Then::GoOn;
                }
                self.set_does(key, Does::Program { program, next, made: made + 1 });
                if fan_out > 1 {
                    self.begin_children(key, work, &vec![Does::Call(call); fan_out as usize])
                } else {
                    self.begin_call(key, call);
                    Then::Wait
                }
            }
        }
    }

    fn set_does(&mut self, key: Key, does: Does) {
        if let Some(strand) = self.strands.get_mut(key) {
            strand.does = does;
        }
    }

    fn begin_children(&mut self, key: Key, work: Key, children: &[Does]) -> Then {
        if children.is_empty() {
            return Then::GoOn;
        }
        let keys: Vec<Key> =
            (0..).zip(children).map(|(place, does)| self.add_strand(work, key, place, *does)).collect();
        if let Some(strand) = self.strands.get_mut(key) {
            strand.children.clone_from(&keys);
            strand.running = u32::try_from(keys.len()).expect("there are fewer branches");
            strand.failure = None;
        }
        for child in keys {
            self.go_on(child);
        }
        Then::Wait
    }

    /// A strand has ended.
    fn end_strand(&mut self, key: Key, failure: Option<Why>) {
        let Some(Strand { work, parent, place, .. }) = self.strands.remove(key) else { return };
        let Some(waiting) = self.strands.get_mut(parent) else {
            self.script_ended(work, failure);
            return;
        };
        if let Some(why) = failure
            && waiting.failure.is_none_or(|(first, _)| place < first)
        {
            waiting.failure = Some((place, why));
        }
        waiting.running -= 1;
        if waiting.running > 0 {
            return;
        }
        waiting.children.clear();
        match waiting.failure.take() {
            Some((_, why)) => self.end_strand(parent, Some(why)),
            None => self.go_on(parent),
        }
    }

    fn begin_call(&mut self, key: Key, call: u32) {
        let Some(strand) = self.strands.get_mut(key) else { return };
        let Some(work) = self.works.get(strand.work) else { return };
        let question = self.plan.calls[call as usize].question;
        let Some(app) = self.nodes[work.host as usize].app.as_mut() else { return };
        let brought = self.plan.draw(question, work.passed, &mut app.headers);
        let now = self.now;
        strand.call = Some(Calling { call, try_number: 0, arrived: now, since: now, hold: Key::NONE, brought });
        self.ask(key);
    }

    /// Makes the next try of a strand's call.
    fn ask(&mut self, key: Key) {
        let Some(strand) = self.strands.get_mut(key) else { return };
        let Some(calling) = &mut strand.call else { return };
        calling.try_number += 1;
        calling.since = self.now;
        calling.hold = Key::NONE;
        strand.waits += 1;
        let (call, try_number, passed) = (calling.call, calling.try_number, calling.brought);
        let (waits, work) = (strand.waits, strand.work);
        let Some(work) = self.works.get(work) else { return };
        let (host, request, deadline) = (work.host, work.request, work.deadline);
        let plan = &self.plan.calls[call as usize];
        let (question, timeout) = (plan.question, plan.timeout);
        if self.keeps {
            let asked = &self.plan.questions[question as usize];
            let note = Note::Calls {
                request: (request > 0).then_some(u64::from(request)),
                host: &asked.authority,
                method: &asked.method,
                path: &asked.target,
                try_number,
                tries: plan.tries,
            };
            self.keep_note(host, &note);
        }
        let now = self.now + self.nodes[host as usize].ahead;
        let left = deadline.map(|deadline| deadline_header(Duration::from_nanos(deadline.saturating_sub(now)), false));
        if let Some(timeout) = timeout {
            self.arm(self.now.saturating_add(timeout), Event::Strand(key, waits));
        }
        let entering = Entering { host, asker: Asker::Strand(key), question, request, passed, left };
        let hold = self.enter_outbound(entering);
        if let Some(strand) = self.strands.get_mut(key)
            && let Some(calling) = &mut strand.call
            && strand.waits == waits
        {
            calling.hold = hold;
        }
    }

    /// A strand's call has its answer; `None`: the connection to its sidecar broke.
    pub(super) fn answer_strand(&mut self, key: Key, reply: Option<Reply>) {
        let Some(strand) = self.strands.get_mut(key) else { return };
        let Some(calling) = strand.call else { return };
        strand.waits += 1;
        let (status, grpc) = reply.map_or((0, None), |reply| (reply.status, reply.grpc));
        let failed = reply.is_none() || crate::script::is_failure(status, grpc);
        if self.keeps {
            self.note_call(key, calling, reply, None);
        }
        self.tried(key, calling, failed.then_some(Why::Gave(calling.call, status, grpc)));
    }

    /// A strand has slept, or its call took too long.
    pub(super) fn strand_alarm(&mut self, key: Key, waits: u32) {
        let Some(strand) = self.strands.get_mut(key).filter(|strand| strand.waits == waits) else { return };
        strand.waits += 1;
        let Some(calling) = strand.call else {
            self.go_on(key);
            return;
        };
        self.leave_hold(calling.hold);
        if self.keeps {
            self.note_call(key, calling, None, self.plan.calls[calling.call as usize].timeout);
        }
        self.tried(key, calling, Some(Why::TimedOut(calling.call)));
    }

    /// Notes how a try of a strand's call ended; `after`: it took longer than this.
    fn note_call(&self, key: Key, calling: Calling, reply: Option<Reply>, after: Option<u64>) {
        let Some(work) = self.strands.get(key).and_then(|strand| self.works.get(strand.work)) else { return };
        let host: &str = &self.plan.questions[self.plan.calls[calling.call as usize].question as usize].authority;
        let request = (work.request > 0).then_some(u64::from(work.request));
        let (status, grpc) = reply.map_or((0, None), |reply| (reply.status, reply.grpc));
        let note = match after {
            Some(after) => Note::CallTimedOut { request, host, after: Duration::from_nanos(after) },
            None => {
                let took = Duration::from_nanos(self.now - calling.since);
                Note::CallEnded { request, host, status, grpc, took }
            }
        };
        self.keep_note(work.host, &note);
    }

    /// A try of a call is over: another one, or the end of the call.
    fn tried(&mut self, key: Key, calling: Calling, failure: Option<Why>) {
        let plan = &self.plan.calls[calling.call as usize];
        if failure.is_some() && calling.try_number < plan.tries {
            self.ask(key);
            return;
        }
        let (optional, to) = (plan.optional, self.plan.questions[plan.question as usize].to);
        let Some(strand) = self.strands.get_mut(key) else { return };
        strand.call = None;
        let does = strand.does;
        let Some(work) = self.works.get(strand.work) else { return };
        self.book.app_calls.push(AppCall {
            from: self.nodes[work.host as usize].party,
            to,
            request: (work.request > 0).then_some(u64::from(work.request)).into(),
            arrived: Instant::from_nanos(calling.arrived),
            failed: failure.is_some(),
        });
        let fatal = failure.filter(|_| !optional);
        match (does, fatal) {
            (Does::Call(_), fatal) => self.end_strand(key, fatal),
            (Does::Program { .. }, Some(why)) => self.end_strand(key, Some(why)),
            (Does::Program { .. }, None) => self.go_on(key),
        }
    }

    /// A strand ends with the request it belongs to, and so do those it waits for and the call it makes.
    pub(super) fn drop_strand(&mut self, key: Key) {
        let Some(Strand { children, call, .. }) = self.strands.remove(key) else { return };
        if let Some(calling) = call {
            self.leave_hold(calling.hold);
        }
        for child in children {
            self.drop_strand(child);
        }
    }

    /// Why an application answers with an error, in words.
    pub(super) fn why(&self, why: Why) -> String {
        let host = |call: u32| &self.plan.questions[self.plan.calls[call as usize].question as usize].authority;
        match why {
            Why::Fine => String::new(),
            Why::NoRoute => "no route".to_owned(),
            Why::QueueFull => "queue full".to_owned(),
            Why::Fault => "a fault of the scenario".to_owned(),
            Why::Outage => "an outage of the scenario".to_owned(),
            Why::Conflict => "another committed before it".to_owned(),
            Why::OwnErrors => "its own error rate".to_owned(),
            Why::TimedOut(call) => format!("call of {} timed out", host(call)),
            Why::Gave(call, 0, _) => format!("call of {} got no answer", host(call)),
            Why::Gave(call, status, grpc) => {
                format!("call of {} gave {}", host(call), crate::note::Status(status, grpc))
            }
        }
    }
}
