//! Requests in applications: slots, the queue before them, their own time, and the answer.

use std::time::Duration;

use squall_policy::{AttemptNumber, Instant};

use super::World;
use super::clock::Event;
use super::plan::nanos;
use super::slab::Key;
use super::state::{Next, Phase, Reply, Target, Why, Work};
use crate::knobs::Shut;
use crate::ledger::{Gauge, Maybe, Served};
use crate::note::Note;

impl World {
    /// The pod's sidecar hands a request to its application.
    pub(super) fn begin_work(&mut self, hold: Key, number: AttemptNumber, left: Option<Duration>) {
        let Some(state) = self.holds.get_mut(hold) else { return };
        let (host, question, request, passed) = (state.host, state.question, state.request, state.passed);
        let deadline = left.map(|left| self.now + self.nodes[host as usize].ahead + nanos(left));
        let work = Work {
            host,
            hold,
            number,
            request,
            passed,
            deadline,
            question,
            line: u32::MAX,
            row: None,
            arrived: self.now,
            route: 0,
            phase: Phase::ShutOut,
            root: Key::NONE,
        };
        let key = self.works.insert(work);
        state.tries.add(number, Target { started: self.now, key });
        if self.keeps {
            let asked = &self.plan.questions[question as usize];
            let request = (request > 0).then_some(u64::from(request));
            self.keep_note(host, &Note::Arrived { request, method: &asked.method, path: asked.path() });
        }
        self.knock(key);
    }

    /// A request stands before an application's door, which an outage may have shut.
    fn knock(&mut self, key: Key) {
        let Some(host) = self.works.get(key).map(|work| work.host) else { return };
        let Some(app) = self.nodes[host as usize].app.as_mut() else { return };
        let touched = &mut self.book.touched;
        match app.knobs.outage(|fault| touched[fault] += 1) {
            None => self.come_in(key, None),
            Some(Shut::Refused(status)) => self.come_in(key, Some(status)),
            Some(Shut::Held(end)) => app.shut_out.push((key, end)),
        }
    }

    /// Outages may have ended: those they held up come in, in the order in which they came.
    pub(super) fn open_doors(&mut self) {
        for host in 0..self.nodes.len() {
            let Some(app) = self.nodes[host].app.as_mut().filter(|app| !app.shut_out.is_empty()) else { continue };
            let held = std::mem::take(&mut app.shut_out);
            let (open, shut): (Vec<_>, Vec<_>) = held.into_iter().partition(|(_, end)| end.get().is_some());
            app.shut_out = shut;
            open.into_iter().for_each(|(key, _)| self.knock(key));
        }
    }

    /// A request is inside its application. `refused`: an outage answers it with this status.
    fn come_in(&mut self, key: Key, refused: Option<u16>) {
        let line = u32::try_from(self.book.served.len()).expect("a run has fewer than 2^32 requests");
        let Some(work) = self.works.get_mut(key) else { return };
        (work.line, work.arrived, work.phase) = (line, self.now, Phase::Outside);
        let (host, question, request) = (work.host, work.question, work.request);
        let party = self.nodes[host as usize].party;
        let request = (request > 0).then_some(u64::from(request));
        self.book.served.push(Served {
            service: party,
            pod: host,
            request: request.into(),
            arrived: Instant::from_nanos(self.now),
            began: Maybe::NONE,
            time: Duration::ZERO.into(),
            ended: Maybe::NONE,
            success: false,
            overflowed: false,
            conflict: false,
        });
        self.gauge(Gauge::Inside(party), true);
        if let Some(status) = refused {
            self.answer(key, status, Why::Outage, 0);
            return;
        }
        let Some(route) = self.serves(host, question) else {
            self.answer(key, 404, Why::NoRoute, 0);
            return;
        };
        let spec_queue = self.shared.scenario.services[usize::from(party.0)].queue;
        let Some(app) = self.nodes[host as usize].app.as_mut() else { return };
        let Some(work) = self.works.get_mut(key) else { return };
        work.route = route;
        match &mut app.free {
            None => {}
            Some(0) => {
                if spec_queue.is_some_and(|room| app.waiting.len() as u64 >= u64::from(room)) {
                    self.overflow(key);
                    return;
                }
                app.waiting.push_back(key);
                work.phase = Phase::Waiting;
                self.gauge(Gauge::Queued(party), true);
                if self.keeps {
                    self.keep_note(host, &Note::Waits { request });
                }
                return;
            }
            Some(free) => *free -= 1,
        }
        self.serve(key);
    }

    /// The route of an application that serves a question.
    fn serves(&mut self, host: u32, question: u32) -> Option<usize> {
        const NONE: u16 = u16::MAX;
        let node = &mut self.nodes[host as usize];
        let service = usize::from(node.party.0);
        let app = node.app.as_mut()?;
        let known = &mut app.routes[question as usize];
        if *known == 0 {
            let asked = &self.plan.questions[question as usize];
            let routes = &self.shared.scenario.services[service].versions[app.version].routes;
            let found = routes.iter().position(|route| route.matches.matches(&asked.method, asked.path()));
            *known = found.map_or(NONE, |at| u16::try_from(at + 1).expect("a service has fewer routes"));
        }
        (*known != NONE).then(|| usize::from(*known) - 1)
    }

    fn overflow(&mut self, key: Key) {
        let Some(work) = self.works.get(key) else { return };
        let (host, line) = (work.host, work.line);
        let request = (work.request > 0).then_some(u64::from(work.request));
        self.book.served[line as usize].overflowed = true;
        if self.keeps {
            self.keep_note(host, &Note::Overflows { request });
        }
        self.tell_first(super::tell::First::QueueFull(host));
        self.answer(key, 503, Why::QueueFull, 0);
    }

    /// A request has its slot, if it needs one.
    pub(super) fn serve(&mut self, key: Key) {
        let Some(work) = self.works.get_mut(key) else { return };
        work.phase = Phase::Served;
        let (host, route, arrived) = (work.host, work.route, work.arrived);
        let (request, line) = (work.request, work.line);
        let node = &mut self.nodes[host as usize];
        let service = usize::from(node.party.0);
        let Some(app) = node.app.as_mut() else { return };
        let route = &self.shared.scenario.services[service].versions[app.version].routes[route];
        let drawn = route.work.time.draw(&mut app.time);
        let touched = &mut self.book.touched;
        let time = app.knobs.stretch(drawn, |fault| touched[fault] += 1);
        let written = &mut self.book.served[line as usize];
        (written.began, written.time) = (Instant::from_nanos(self.now).into(), time.into());
        if let Some(contention) = route.work.contention {
            let row = contention.row(&mut app.rows);
            let party = self.nodes[host as usize].party;
            work.row = Some((row, self.book.commits.get(&(party, row)).copied().unwrap_or(0)));
        }
        self.pen.note(self.now, host, "begins", nanos(time), u64::from(line));
        if self.keeps {
            let waited = Duration::from_nanos(self.now - arrived);
            let request = (request > 0).then_some(u64::from(request));
            self.keep_note(host, &Note::Begins { request, waited, time });
        }
        if time.is_zero() {
            self.worked(key);
        } else {
            self.clock.push(self.now.saturating_add(nanos(time)), Event::Worked(key));
        }
    }

    /// A request's own time is over: it fails, or goes through its steps.
    pub(super) fn worked(&mut self, key: Key) {
        let Some(work) = self.works.get(key) else { return };
        let (host, route) = (work.host, work.route);
        let node = &mut self.nodes[host as usize];
        let party = node.party;
        let Some(app) = node.app.as_mut() else { return };
        let touched = &mut self.book.touched;
        if let Some(status) = app.knobs.failure(&mut app.faults, |fault| touched[fault] += 1) {
            self.answer(key, status, Why::Fault, 0);
            return;
        }
        let version = app.version;
        let script = &self.shared.scenario.services[usize::from(party.0)].versions[version].routes[route];
        let error_ppm = script.work.error_ppm;
        if error_ppm > 0 && app.errors.below(1_000_000) < u64::from(error_ppm) {
            let status = script.work.error_status;
            self.answer(key, status, Why::OwnErrors, 0);
            return;
        }
        if script.steps.is_empty() {
            self.script_ended(key, None);
            return;
        }
        let program = self.plan.script(party, version, route);
        self.begin_script(key, program);
    }

    /// The script of a request has ended: it commits, if it contends for something.
    pub(super) fn script_ended(&mut self, key: Key, failure: Option<Why>) {
        let Some(work) = self.works.get(key) else { return };
        let (host, route, line) = (work.host, work.route, work.line);
        let node = &self.nodes[host as usize];
        let Some(app) = &node.app else { return };
        let of = &self.shared.scenario.services[usize::from(node.party.0)].versions[app.version].routes[route].work;
        let (bytes, contention) = (of.response_bytes, of.contention);
        if let Some(why) = failure {
            self.answer(key, 500, why, 0);
            return;
        }
        if let (Some(contention), Some((row, before))) = (contention, work.row) {
            let version = self.book.commits.entry((node.party, row)).or_default();
            if *version != before {
                self.book.served[line as usize].conflict = true;
                self.answer(key, contention.status, Why::Conflict, 0);
                return;
            }
            *version += 1;
        }
        self.answer(key, 200, Why::Fine, bytes);
    }

    /// An application answers.
    fn answer(&mut self, key: Key, status: u16, why: Why, bytes: u64) {
        let Some(work) = self.works.remove(key) else { return };
        let party = self.nodes[work.host as usize].party;
        let is_grpc = self.shared.scenario.services[usize::from(party.0)].grpc;
        let success = status < 400;
        let grpc = is_grpc.then_some(match (success, status) {
            (true, _) => 0,
            (false, 503) => 14,
            (false, 404) => 12,
            (false, _) => 13,
        });
        let shown = if is_grpc { 200 } else { status };
        let bytes = if success { bytes } else { 0 };
        let reply = Reply { status: shown, grpc, in_head: !success, bytes, ..Reply::NONE };
        let line = &mut self.book.served[work.line as usize];
        line.ended = Instant::from_nanos(self.now).into();
        line.success = success;
        self.pen.note(self.now, work.host, "answers", u64::from(status), u64::from(work.line));
        if self.keeps {
            let request = (work.request > 0).then_some(u64::from(work.request));
            let why = self.why(why);
            let note = Note::Answers { request, status: shown, grpc, why: &why };
            self.keep_note(work.host, &note);
        }
        self.gauge(Gauge::Inside(party), false);
        if work.phase == Phase::Served {
            self.free_slot(work.host);
        }
        self.on_head(work.hold, work.number, reply);
    }

    /// A slot is free: the next in the queue gets it.
    fn free_slot(&mut self, host: u32) {
        let party = self.nodes[host as usize].party;
        let Some(app) = self.nodes[host as usize].app.as_mut() else { return };
        let Some(free) = &mut app.free else { return };
        match app.waiting.pop_front() {
            None => *free += 1,
            Some(next) => {
                if let Some(work) = self.works.get_mut(next) {
                    work.phase = Phase::Served;
                }
                self.gauge(Gauge::Queued(party), false);
                self.next.push_back(Next::Serve(next));
            }
        }
    }

    /// The sidecar drops a request that its application works on.
    pub(super) fn abandon_work(&mut self, key: Key) {
        let Some(work) = self.works.get_mut(key) else { return };
        work.hold = Key::NONE;
        let party = self.nodes[work.host as usize].party;
        if !self.shared.scenario.services[usize::from(party.0)].finishes_abandoned {
            self.drop_work(key);
        }
    }

    /// A request leaves its application without an answer.
    pub(super) fn drop_work(&mut self, key: Key) {
        let Some(work) = self.works.remove(key) else { return };
        let party = self.nodes[work.host as usize].party;
        self.drop_strand(work.root);
        if work.phase != Phase::ShutOut {
            self.gauge(Gauge::Inside(party), false);
        }
        match work.phase {
            Phase::Waiting => {
                self.gauge(Gauge::Queued(party), false);
                if let Some(app) = self.nodes[work.host as usize].app.as_mut() {
                    app.waiting.retain(|waiting| *waiting != key);
                }
            }
            Phase::Served => self.free_slot(work.host),
            Phase::Outside | Phase::ShutOut => {}
        }
    }
}
