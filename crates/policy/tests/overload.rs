//! Queues and limits as their textbooks and sources say, on the policy core alone: requests arrive, wait, are served by a
//! few servers, and leave; no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use squall_policy::{
    Adaptive, Answer, Backend, BackendName, BackendPolicy, Balancing, Class, Codel, Ended, Endpoint, Exchange,
    Gradient, Instant, Limits, Queue, QueueOrder, Rank, Reason, Replay, RequestFacts, Rng, RouteTimeouts, Step, Vegas,
};

/// How long a request takes.
#[derive(Clone, Copy)]
enum Service {
    Constant,
    Exponential,
    /// With a squared coefficient of variation of 4.
    Lognormal,
}

impl Service {
    fn draw(self, mean: Duration, dice: &mut Rng) -> Duration {
        let stretch = match self {
            Self::Constant => 1.0,
            Self::Exponential => -(1.0 - dice.unit()).ln(),
            Self::Lognormal => {
                // Box and Muller.
                let normal = (-2.0 * (1.0 - dice.unit()).ln()).sqrt() * (std::f64::consts::TAU * dice.unit()).cos();
                let variance = 5.0_f64.ln();
                (normal * variance.sqrt() - variance / 2.0).exp()
            }
        };
        mean.mul_f64(stretch)
    }
}

/// What comes, and who serves it.
#[derive(Clone, Copy)]
struct Setup {
    limits: Limits,
    /// Requests per second.
    rate: f64,
    service: Service,
    mean: Duration,
    /// The application behind; 0: as many as there are requests.
    servers: usize,
    deadline: Option<Duration>,
    seed: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives,
    Served(u64),
    Wakes(u64),
}

#[derive(Default)]
struct Count {
    arrived: u64,
    /// In time.
    answered: u64,
    reasons: BTreeMap<Reason, u64>,
    /// Answered, by class.
    classes: BTreeMap<Class, u64>,
    /// The numbers of those answered.
    users: BTreeSet<u64>,
    waits: Vec<Duration>,
}

struct World {
    setup: Setup,
    now: Instant,
    backend: Backend,
    events: BTreeMap<(Instant, u64), Event>,
    number: u64,
    live: BTreeMap<u64, (Exchange, Instant, Class)>,
    tickets: BTreeMap<squall_policy::Ticket, u64>,
    free_at: Vec<Instant>,
    arrivals: Rng,
    services: Rng,
    rank: Box<dyn Fn(Class, u64) -> Rank>,
    count: Count,
}

impl World {
    fn new(setup: Setup) -> Self {
        let policy = BackendPolicy {
            limits: setup.limits,
            balancing: Balancing::RoundRobin,
            budget: None,
            ..BackendPolicy::default()
        };
        assert_eq!(policy.check(), Ok(()));
        let root = Rng::from_seed(setup.seed);
        let mut backend = Backend::new(BackendName::from_wire("inbound:80"), policy, root.fork("backend"));
        let application = Endpoint {
            address: ([127, 0, 0, 1], 80).into(),
            name: "application".into(),
            zone: Arc::from(""),
            weight: 1,
            identity: Arc::from(""),
            draining: false,
        };
        backend.set_endpoints(Instant::ZERO, &[application]);
        let mut world = Self {
            now: Instant::ZERO,
            backend,
            events: BTreeMap::new(),
            number: 0,
            live: BTreeMap::new(),
            tickets: BTreeMap::new(),
            free_at: vec![Instant::ZERO; setup.servers],
            arrivals: root.fork("arrivals"),
            services: root.fork("services"),
            rank: Box::new(|class, id| Rank::new(class, &id.to_string())),
            count: Count::default(),
            setup,
        };
        world.next_arrival();
        world
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn next_arrival(&mut self) {
        let gap = Service::Exponential.draw(Duration::from_secs_f64(1.0 / self.setup.rate), &mut self.arrivals);
        self.at(self.now + gap, Event::Arrives);
    }

    fn run(mut self, arrivals: u64) -> Count {
        while self.count.arrived < arrivals {
            let ((at, _), event) = self.events.pop_first().expect("somebody always comes");
            self.now = at;
            match event {
                Event::Arrives => self.arrive(),
                Event::Served(id) => self.served(id),
                Event::Wakes(id) => {
                    if let Some((exchange, ..)) = self.live.get_mut(&id) {
                        exchange.on_deadline(self.now, &mut self.backend, Replay::No);
                        self.drive(id);
                    }
                }
            }
            while let Some(ticket) = self.backend.poll_granted() {
                let id = self.tickets[&ticket];
                self.drive(id);
            }
            while self.backend.poll_event().is_some() {}
        }
        for (_, (mut exchange, ..)) in std::mem::take(&mut self.live) {
            exchange.cancel(self.now, &mut self.backend);
        }
        self.count
    }

    fn arrive(&mut self) {
        self.next_arrival();
        self.count.arrived += 1;
        let id = self.count.arrived;
        // One in ten is critical, half can be shed.
        let class = match self.arrivals.below(10) {
            0 => Class::Critical,
            1..5 => Class::Default,
            _ => Class::Sheddable,
        };
        let facts = RequestFacts {
            idempotent: true,
            deadline: self.setup.deadline.map(|span| self.now + span),
            rank: (self.rank)(class, id),
            ..RequestFacts::default()
        };
        let exchange = Exchange::begin(self.now, &mut self.backend, facts, RouteTimeouts::default(), None);
        self.tickets.insert(exchange.ticket(), id);
        self.live.insert(id, (exchange, self.now, class));
        self.drive(id);
    }

    fn served(&mut self, id: u64) {
        let Some((exchange, since, class)) = self.live.get_mut(&id) else { return };
        let answer = Answer { status: 200, grpc: None, retry_after: None, replayable: false };
        exchange.on_head(self.now, &mut self.backend, 1, answer);
        exchange.on_body_end(self.now, &mut self.backend, Ended::Complete { grpc: None });
        if exchange.step(self.now, &mut self.backend) != Step::Forward(1) {
            return;
        }
        exchange.on_body_end(self.now, &mut self.backend, Ended::Complete { grpc: None });
        self.count.answered += 1;
        *self.count.classes.entry(*class).or_default() += 1;
        self.count.users.insert(id);
        self.count.waits.push(self.now.since(*since));
        self.drive(id);
    }

    fn drive(&mut self, id: u64) {
        loop {
            let Some((exchange, ..)) = self.live.get_mut(&id) else { return };
            match exchange.step(self.now, &mut self.backend) {
                Step::Try(_) => {
                    let takes = self.setup.service.draw(self.setup.mean, &mut self.services);
                    // An application serves first come, first served, and does not notice who has left.
                    let ends = match self.free_at.iter_mut().min() {
                        None => self.now + takes,
                        Some(free) => {
                            *free = (*free).max(self.now) + takes;
                            *free
                        }
                    };
                    self.at(ends, Event::Served(id));
                }
                Step::Wait { until, .. } => {
                    if let Some(until) = until {
                        self.at(until, Event::Wakes(id));
                    }
                    return;
                }
                Step::Reply(reply) => *self.count.reasons.entry(reply.reason).or_default() += 1,
                Step::Cancel(_) | Step::Forward(_) => {}
                Step::Done => {
                    let (exchange, ..) = self.live.remove(&id).expect("driven while it lives");
                    self.tickets.remove(&exchange.ticket());
                    return;
                }
            }
        }
    }
}

const FIFO: Queue = Queue { order: QueueOrder::Fifo, priorities: false, codel: None, deadline_aware: false };

fn limits(in_flight: u32, pending: u32, queue: Queue) -> Limits {
    Limits { in_flight, pending, queue, ..Limits::default() }
}

/// The share of requests refused because there was no room, in a system whose servers are its places. `rate` is in requests
/// per service time.
#[track_caller]
fn check_loss(in_flight: u32, pending: u32, rate: f64, service: Service, want: f64) {
    const ARRIVALS: u64 = 120_000;
    let mean = Duration::from_secs(1);
    let limits = limits(in_flight, pending, FIFO);
    let setup = Setup { limits, rate, service, mean, servers: 0, deadline: None, seed: 5 };
    let count = World::new(setup).run(ARRIVALS);
    let lost = count.reasons.get(&Reason::QueueFull).copied().unwrap_or(0) as f64 / ARRIVALS as f64;
    // Losses come in bunches: about three times the variance of independent ones; four standard deviations.
    let sigma = (3.0 * want * (1.0 - want) / ARRIVALS as f64).sqrt();
    assert!((lost - want).abs() < 4.0 * sigma, "{lost} is not {want} ± {}", 4.0 * sigma);
    assert_eq!(count.reasons.len(), 1, "{:?}", count.reasons);
}

#[test]
fn a_limit_without_a_queue_refuses_as_erlang_says() {
    // Erlang's formula depends on the mean of the service time only.
    for service in [Service::Constant, Service::Exponential, Service::Lognormal] {
        check_loss(10, 0, 5.0, service, 0.018_385);
        check_loss(10, 0, 10.0, service, 0.214_58);
    }
}

#[test]
fn a_place_and_nine_that_wait_lose_as_the_finite_queue_does() {
    for (load, want) in [(0.8, 0.023_49), (1.0, 0.090_91), (2.0, 0.500_2)] {
        check_loss(1, 9, load, Service::Exponential, want);
    }
}

/// Four servers of 100 ms (40/s) and twice as many requests as they can take, with a deadline of 500 ms: how many of them are
/// answered in time for each that could be.
fn goodput(service: Service, queue: Queue) -> f64 {
    const ARRIVALS: u64 = 8000;
    let setup = Setup {
        limits: limits(4, 1000, queue),
        rate: 80.0,
        service,
        mean: Duration::from_millis(100),
        servers: 4,
        deadline: Some(Duration::from_millis(500)),
        seed: 5,
    };
    let count = World::new(setup).run(ARRIVALS);
    count.answered as f64 / (ARRIVALS as f64 / 2.0)
}

/// What decided how deadlines are minded. With exponential services .96 of what could be is answered in time; minding them at
/// the door alone gave .06, before the place alone .93, both with the mean alone as the estimate .83.
#[test]
fn minding_deadlines_pays() {
    let lifo = Queue { order: QueueOrder::AdaptiveLifo { after: Duration::from_millis(100) }, ..FIFO };
    let aware = Queue { deadline_aware: true, ..FIFO };
    let codel = Codel { target: Duration::from_millis(50), interval: Duration::from_millis(200) };
    let codel = Queue { codel: Some(codel), ..FIFO };
    for (service, least) in [(Service::Constant, [0.98, 0.98, 0.70]), (Service::Exponential, [0.94, 0.97, 0.55])] {
        let plain = goodput(service, FIFO);
        assert!(plain < 0.05, "first come, first served, everybody is served when it is too late: {plain}");
        for (queue, least) in [aware, lifo, codel].into_iter().zip(least) {
            let share = goodput(service, queue);
            assert!(share > least, "{queue:?}: {share}");
        }
    }
}

#[test]
fn adaptive_limits_keep_a_service_busy_and_its_queue_short() {
    for adaptive in [Adaptive::Gradient(Gradient::default()), Adaptive::Vegas(Vegas::default())] {
        let limits = Limits { in_flight: 1000, pending: 0, adaptive: Some(adaptive), ..Limits::default() };
        let setup = Setup {
            limits,
            rate: 1500.0,
            service: Service::Exponential,
            mean: Duration::from_millis(10),
            servers: 10,
            deadline: None,
            seed: 5,
        };
        let mut count = World::new(setup).run(30_000);
        count.waits.sort_unstable();
        let (median, busy) = (count.waits[count.waits.len() / 2], count.answered as f64 / 20_000.0);
        assert!(busy > 0.9, "{adaptive:?}: {busy} of what the service can do");
        assert!(median < Duration::from_millis(25), "{adaptive:?}: {median:?}");
    }
}

#[test]
fn critical_requests_do_not_notice_an_overload_by_others() {
    let setup = Setup {
        limits: limits(4, 8, Queue { priorities: true, ..FIFO }),
        rate: 80.0,
        service: Service::Exponential,
        mean: Duration::from_millis(100),
        servers: 4,
        deadline: None,
        seed: 5,
    };
    let count = World::new(setup).run(8000);
    // 10 %, 40 % and 50 % of what comes; half of it can be served.
    let [critical, default, sheddable] = Class::ALL.map(|class| count.classes[&class]);
    assert!(critical > 790 && critical + default + sheddable > 3900, "{:?}", count.classes);
    assert!(default > 2500 && sheddable < 700, "{:?}", count.classes);
}

/// Which of 4000 users' calls a service with room for half of them answers, if `rank` ranks them. Arrivals and services are drawn
/// for each service by itself.
fn answered(service: u64, rank: fn(u64, u64) -> Rank) -> Vec<bool> {
    let setup = Setup {
        limits: limits(4, 32, Queue { priorities: true, ..FIFO }),
        rate: 80.0,
        service: Service::Exponential,
        mean: Duration::from_millis(100),
        servers: 4,
        deadline: None,
        seed: service,
    };
    let mut world = World::new(setup);
    world.rank = Box::new(move |_, user| rank(service, user));
    let count = world.run(4000);
    (1..=4000).map(|user| count.users.contains(&user)).collect()
}

#[test]
fn services_that_are_overloaded_alike_send_the_same_requests_away() {
    let of_four = |rank: fn(u64, u64) -> Rank| {
        let services: Vec<Vec<bool>> = (0..4).map(|service| answered(service, rank)).collect();
        let all = (0..4000).filter(|user| services.iter().all(|answered| answered[*user])).count();
        all as f64 / 4000.0
    };
    // A request makes a call to each of the four and fails with any of them.
    let own_dice = of_four(|service, user| Rank::new(Class::Default, &format!("{service} {user}")));
    let by_request = of_four(|_, user| Rank::new(Class::Default, &user.to_string()));
    assert!(own_dice < 0.1, "one in sixteen by chance: {own_dice}");
    assert!(by_request > 0.38, "nearly as many as one service alone: {by_request}");
}
