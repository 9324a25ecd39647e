//! The schedule of a run: faults begin and end at their time, pods that are gone are noticed, and each fault counts what it
//! touched.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use squall_policy::Instant;

use crate::engine::{Action, CrashMode, Engine, HostId, Unsupported};
use crate::knobs::Gate;
use crate::links::{Links, ends};
use crate::note::Note;
use crate::outcome::FaultReport;
use crate::pod::{PodPlan, Status};
use crate::scenario::{Fault, FaultKind, Group, OutageArrivals, Restart, Start, Target};
use crate::shared::Shared;

/// How long it takes until the registry knows that a pod is gone, or stands still, or goes on: a readiness probe every second.
/// Partitions between zones do not change readiness: kubelet probes on the node.
const PROBE_PERIOD: Duration = Duration::from_secs(1);

/// The host number under which the world itself makes notes: the control plane's.
const WORLD: u32 = 0;

/// Hosts, as faults see them.
pub(crate) struct Hosts {
    pub(crate) groups: Vec<Group>,
    pub(crate) status: Vec<Arc<Status>>,
    /// Where the sidecar of each is.
    pub(crate) here: Vec<squall_policy::Here>,
    /// The pods, by host number.
    pub(crate) pods: BTreeMap<u32, Arc<PodPlan>>,
}

impl Hosts {
    fn of(&self, target: &Target) -> Vec<u32> {
        (0..).zip(&self.groups).filter(|(_, group)| group.is(target)).map(|(id, _)| id).collect()
    }
}

/// One entry of the agenda.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Begin(usize),
    End(usize),
    /// The probe of a host that went down in this boot, or stands still.
    Missed(u32),
    /// The probe of a host that goes on.
    Found(u32),
    /// A rolling restart: the n-th pod has drained and goes down, comes up.
    Down(usize, usize),
    Up(usize, usize),
    /// Waits until the n-th pod is ready, then the next one's turn comes.
    Next(usize, usize),
}

/// What became of a fault.
struct Course {
    began: Option<Instant>,
    ended: Option<Instant>,
    /// What was counted when it began.
    before: u64,
    touched: u64,
    /// Held while an answer that triggers it waits.
    gate: Option<Gate<()>>,
}

/// The schedule of a run.
pub(crate) struct Schedule {
    shared: Arc<Shared>,
    hosts: Hosts,
    links: Links,
    agenda: BTreeMap<(Instant, u64), Turn>,
    entries: u64,
    courses: Vec<Course>,
    paused: BTreeMap<u32, usize>,
}

impl Schedule {
    /// The schedule of the scenario's faults, for a load that starts at `start`.
    pub(crate) fn new(shared: &Arc<Shared>, hosts: Hosts, links: Links, start: Instant) -> Self {
        let mut schedule = Self {
            shared: Arc::clone(shared),
            hosts,
            links,
            agenda: BTreeMap::new(),
            entries: 0,
            courses: Vec::new(),
            paused: BTreeMap::new(),
        };
        for (index, fault) in shared.scenario.faults.iter().enumerate() {
            let gate = match fault.start {
                Start::At(at) => {
                    schedule.at(start + at, Turn::Begin(index));
                    None
                }
                Start::AfterRequest(answers) => Some(shared.triggers.arm(answers)),
            };
            schedule.courses.push(Course { began: None, ended: None, before: 0, touched: 0, gate });
        }
        schedule
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.agenda.keys().next().map(|(at, _)| *at)
    }

    /// Does what is due by now.
    pub(crate) fn act(&mut self, engine: &mut dyn Engine) -> Result<(), Unsupported> {
        let now = engine.now();
        while let Some(entry) = self.agenda.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let turn = entry.remove();
            self.turn(engine, now, turn)?;
        }
        Ok(())
    }

    /// Begins the faults that so many answers trigger.
    pub(crate) fn triggered(&mut self, engine: &mut dyn Engine) -> Result<(), Unsupported> {
        let answered = self.shared.ledger.book().answered;
        for index in 0..self.courses.len() {
            let due = match self.fault(index).start {
                Start::At(_) => false,
                Start::AfterRequest(answers) => answers <= answered,
            };
            if due && let Some(gate) = self.courses[index].gate.take() {
                let now = engine.now();
                self.begin(engine, now, index)?;
                gate.open(());
            }
        }
        Ok(())
    }

    /// Counts what faults that are still at work have touched, at the end of the run.
    pub(crate) fn finish(&mut self, engine: &dyn Engine) {
        for index in 0..self.courses.len() {
            if self.courses[index].began.is_some() && self.courses[index].ended.is_none() {
                self.count(engine, index);
            }
        }
    }

    /// From the start of the first fault to the end of the last (`end`, if one still lasts); `None`: none began.
    pub(crate) fn span(&self, end: Instant) -> Option<(Instant, Instant)> {
        let first = self.courses.iter().filter_map(|course| course.began).min()?;
        let last = self.courses.iter().filter(|course| course.began.is_some());
        Some((first, last.map(|course| course.ended.unwrap_or(end)).max().unwrap_or(end).min(end)))
    }

    /// When faults began and ended, in world time.
    pub(crate) fn turns(&self) -> Vec<Instant> {
        self.courses.iter().flat_map(|course| [course.began, course.ended]).flatten().collect()
    }

    /// What each fault did, with times since `start`.
    pub(crate) fn reports(&self, start: Instant) -> Vec<FaultReport> {
        let since = |at: Instant| Instant::ZERO + at.since(start);
        (self.shared.scenario.faults.iter().zip(&self.courses))
            .map(|(fault, course)| FaultReport {
                what: fault.name.clone(),
                began: course.began.map(since),
                ended: course.ended.map(since),
                touched: course.touched,
                unit: unit(&fault.kind).into(),
            })
            .collect()
    }

    fn fault(&self, index: usize) -> &Fault {
        &self.shared.scenario.faults[index]
    }

    fn at(&mut self, at: Instant, turn: Turn) {
        self.entries += 1;
        self.agenda.insert((at, self.entries), turn);
    }

    fn turn(&mut self, engine: &mut dyn Engine, now: Instant, turn: Turn) -> Result<(), Unsupported> {
        match turn {
            Turn::Begin(index) => self.begin(engine, now, index)?,
            Turn::End(index) => self.end(engine, now, index)?,
            Turn::Missed(id) => {
                let status = &self.hosts.status[id as usize];
                if !status.is_ready() || self.paused.contains_key(&id) {
                    self.register(now, id, false);
                }
            }
            Turn::Found(id) => {
                let status = &self.hosts.status[id as usize];
                if status.is_ready() && !self.paused.contains_key(&id) {
                    self.register(now, id, true);
                }
            }
            Turn::Down(index, nth) => {
                let (id, restart) = self.rolling(index, nth);
                engine.apply(Action::Crash(HostId(id), CrashMode::Reset))?;
                self.hosts.status[id as usize].down();
                self.register(now, id, false);
                self.at(now + restart.down, Turn::Up(index, nth));
            }
            Turn::Up(index, nth) => {
                let (id, restart) = self.rolling(index, nth);
                engine.apply(Action::Restart(HostId(id)))?;
                self.courses[index].touched += 1;
                self.at(now + restart.gap, Turn::Next(index, nth));
            }
            Turn::Next(index, nth) => {
                let (id, restart) = self.rolling(index, nth);
                if !self.hosts.status[id as usize].is_ready() {
                    self.at(now + Duration::from_millis(100), Turn::Next(index, nth));
                } else if nth + 1 < self.hosts.of(&restart.target).len() {
                    self.drain(now, index, nth + 1);
                } else {
                    self.end(engine, now, index)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, engine: &mut dyn Engine, now: Instant, index: usize) -> Result<(), Unsupported> {
        let fault = self.fault(index).clone();
        self.shared.journal.note(now, WORLD, &Note::FaultBegins { fault: index, name: &fault.name });
        self.courses[index].began = Some(now);
        self.courses[index].before = self.counted(engine, index);
        if let Some(lasts) = fault.lasts {
            self.at(now + lasts, Turn::End(index));
        }
        match &fault.kind {
            FaultKind::Latency { .. }
            | FaultKind::Jitter { .. }
            | FaultKind::Loss { .. }
            | FaultKind::Bandwidth { .. }
            | FaultKind::Partition { .. } => self.links.begin(engine, index, &fault.kind)?,
            FaultKind::Crash(crash) => {
                for id in self.hosts.of(&crash.target) {
                    engine.apply(Action::Crash(HostId(id), crash.mode))?;
                    self.hosts.status[id as usize].down();
                    self.at(now + PROBE_PERIOD, Turn::Missed(id));
                }
            }
            FaultKind::Pause { target } => {
                for id in self.hosts.of(target) {
                    engine.apply(Action::Pause(HostId(id)))?;
                    *self.paused.entry(id).or_insert(0) += 1;
                    self.at(now + PROBE_PERIOD, Turn::Missed(id));
                }
            }
            FaultKind::Errors { target, ppm, status } => {
                for pod in self.pods(target) {
                    pod.knobs.fail(index, *ppm, *status);
                }
            }
            FaultKind::Slow { target, strike } => {
                for pod in self.pods(target) {
                    pod.knobs.slow(index, *strike);
                }
            }
            FaultKind::Outage { target, arrivals } => {
                for pod in self.pods(target) {
                    pod.knobs.shut(index, *arrivals);
                }
            }
            FaultKind::RollingRestart(_) => self.drain(now, index, 0),
        }
        Ok(())
    }

    fn end(&mut self, engine: &mut dyn Engine, now: Instant, index: usize) -> Result<(), Unsupported> {
        let fault = self.fault(index).clone();
        self.count(engine, index);
        self.courses[index].ended = Some(now);
        match &fault.kind {
            FaultKind::Latency { .. }
            | FaultKind::Jitter { .. }
            | FaultKind::Loss { .. }
            | FaultKind::Bandwidth { .. }
            | FaultKind::Partition { .. } => self.links.end(engine, index)?,
            FaultKind::Crash(crash) => {
                for id in self.hosts.of(&crash.target) {
                    engine.apply(Action::Restart(HostId(id)))?;
                }
            }
            FaultKind::Pause { target } => {
                for id in self.hosts.of(target) {
                    if let Some(pauses) = self.paused.get_mut(&id) {
                        *pauses -= 1;
                    }
                    self.paused.retain(|_, pauses| *pauses > 0);
                    if !self.paused.contains_key(&id) {
                        engine.apply(Action::Resume(HostId(id)))?;
                        self.at(now + PROBE_PERIOD, Turn::Found(id));
                    }
                }
            }
            FaultKind::Errors { target, .. } | FaultKind::Slow { target, .. } => {
                for pod in self.pods(target) {
                    pod.knobs.lift(index, false);
                }
            }
            FaultKind::Outage { target, arrivals } => {
                for pod in self.pods(target) {
                    pod.knobs.lift(index, *arrivals == OutageArrivals::Lost);
                }
            }
            FaultKind::RollingRestart(_) => {}
        }
        let touched = self.courses[index].touched;
        self.shared.journal.note(now, WORLD, &Note::FaultEnds { fault: index, name: &fault.name, touched });
        Ok(())
    }

    /// The n-th pod of a rolling restart leaves the registry and drains.
    fn drain(&mut self, now: Instant, index: usize, nth: usize) {
        let (id, restart) = self.rolling(index, nth);
        let ahead = self.hosts.pods.get(&id).map_or(Duration::ZERO, |pod| pod.sidecar.ahead);
        self.hosts.status[id as usize].drain(now + ahead + restart.drain);
        self.at(now + restart.drain, Turn::Down(index, nth));
    }

    fn rolling(&self, index: usize, nth: usize) -> (u32, Restart) {
        let FaultKind::RollingRestart(restart) = &self.fault(index).kind else {
            unreachable!("only rolling restarts have such turns");
        };
        (self.hosts.of(&restart.target)[nth], restart.clone())
    }

    fn pods(&self, target: &Target) -> Vec<Arc<PodPlan>> {
        self.hosts.of(target).iter().filter_map(|id| self.hosts.pods.get(id)).map(Arc::clone).collect()
    }

    /// The registry learns what a probe saw.
    fn register(&self, now: Instant, id: u32, ready: bool) {
        if let Some(pod) = self.hosts.pods.get(&id) {
            pod.sidecar.control.registry.put(pod.entry(ready, false));
            self.shared.journal.note(now, id, &Note::Registered { ready, terminating: false });
        }
    }

    fn count(&mut self, engine: &dyn Engine, index: usize) {
        let touched = if let FaultKind::RollingRestart(_) = self.fault(index).kind {
            self.courses[index].touched
        } else {
            self.counted(engine, index) - self.courses[index].before
        };
        self.courses[index].touched = touched;
    }

    /// What the fault's counter shows now.
    fn counted(&self, engine: &dyn Engine, index: usize) -> u64 {
        let kind = &self.fault(index).kind;
        let links = || ends(kind).map(|ends| self.links.count(engine, ends)).unwrap_or_default();
        match kind {
            // A narrow link makes every packet longer, also one that need not queue.
            FaultKind::Latency { .. } | FaultKind::Jitter { .. } | FaultKind::Bandwidth { .. } => links().packets,
            FaultKind::Loss { .. } => links().lost,
            FaultKind::Partition { .. } => links().cut,
            FaultKind::Crash(crash) => {
                self.hosts.of(&crash.target).iter().map(|id| engine.crash_count(HostId(*id))).sum()
            }
            FaultKind::Pause { target } => self.hosts.of(target).iter().map(|id| engine.pause_count(HostId(*id))).sum(),
            FaultKind::Errors { .. } | FaultKind::Slow { .. } | FaultKind::Outage { .. } => {
                self.shared.ledger.book().touched[index]
            }
            FaultKind::RollingRestart(_) => 0,
        }
    }
}

fn unit(kind: &FaultKind) -> &'static str {
    match kind {
        FaultKind::Latency { .. }
        | FaultKind::Jitter { .. }
        | FaultKind::Loss { .. }
        | FaultKind::Bandwidth { .. }
        | FaultKind::Partition { .. } => "packets",
        FaultKind::Crash(_) => "tasks and connections",
        FaultKind::Pause { .. } => "polls",
        FaultKind::Errors { .. } | FaultKind::Slow { .. } | FaultKind::Outage { .. } => "requests",
        FaultKind::RollingRestart(_) => "pods",
    }
}
