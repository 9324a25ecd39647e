use proptest::prelude::*;

use super::*;
use crate::Rng;

/// A line of people: who waits, in order of arrival.
#[derive(Default)]
struct Model {
    inside: Vec<Ticket>,
    line: Vec<Asker>,
    shed: Vec<Ticket>,
}

impl Model {
    fn enter(&mut self, asker: Asker, limits: &Limits) -> Entry {
        if self.line.is_empty() && (self.inside.len() as u32) < limits.in_flight {
            self.inside.push(asker.ticket);
            return Entry::Placed;
        }
        if (self.line.len() as u32) >= limits.pending {
            let worst = (0..self.line.len()).max_by_key(|at| (self.line[*at].rank, self.line[*at].ticket));
            match worst.filter(|at| limits.queue.priorities && asker.rank < self.line[*at].rank) {
                Some(at) => self.shed.push(self.line.remove(at).ticket),
                None if limits.queue.priorities && limits.pending > 0 => return Entry::Refused(Reason::Outranked),
                None => return Entry::Refused(Reason::QueueFull),
            }
        }
        self.line.push(asker);
        Entry::Queued
    }

    fn next(&mut self, limits: &Limits) -> Option<Ticket> {
        if self.inside.len() as u32 >= limits.in_flight || self.line.is_empty() {
            return None;
        }
        let rank = |at: &usize| if limits.queue.priorities { self.line[*at].rank } else { Rank::default() };
        let first = (0..self.line.len()).min_by_key(|at| (rank(at), self.line[*at].ticket))?;
        let ticket = self.line.remove(first).ticket;
        self.inside.push(ticket);
        Some(ticket)
    }
}

fn class() -> impl Strategy<Value = Class> {
    prop::sample::select(Class::ALL.to_vec())
}

proptest! {
    #[test]
    fn decides_as_a_line_of_people(
        events in prop::collection::vec((0_u8..6, any::<u16>(), class(), 0_u32..4), 1..200),
        in_flight in 1_u32..5,
        pending in 0_u32..5,
        priorities in any::<bool>(),
    ) {
        let mut limits = Limits { in_flight, pending, queue: QueueConfig { priorities, ..FIFO }, ..LIMITS };
        let mut admission = Admission::new(ms(0), &limits, Rng::from_seed(1));
        let mut model = Model::default();
        for (number, (kind, die, class, key)) in events.into_iter().enumerate() {
            let die = usize::from(die);
            match kind {
                0..3 => {
                    let asker = ranked(number as u64, class, key);
                    prop_assert_eq!(admission.enter(ms(0), asker, &limits), model.enter(asker, &limits));
                }
                3 if !model.inside.is_empty() => {
                    model.inside.remove(die % model.inside.len());
                    leave(&mut admission, 0, &limits);
                }
                4 if !model.line.is_empty() => {
                    let asker = model.line.remove(die % model.line.len());
                    admission.withdraw(ms(0), asker.ticket, &limits);
                }
                _ => {
                    let old = limits;
                    limits.in_flight = 1 + die as u32 % 5;
                    admission.set_limits(ms(0), &old, &limits);
                }
            }
            for ticket in model.shed.drain(..) {
                prop_assert_eq!(admission.poll_granted(), Some(ticket));
                prop_assert_eq!(admission.claim(ticket), Claim::Shed(Reason::Outranked));
            }
            while let Some(ticket) = model.next(&limits) {
                prop_assert_eq!(admission.poll_granted(), Some(ticket));
                prop_assert_eq!(admission.claim(ticket), Claim::Placed);
            }
            prop_assert_eq!(admission.poll_granted(), None);
            prop_assert_eq!(admission.load(), (model.inside.len() as u32, model.line.len() as u32));
        }
    }

    /// Of all who came while a queue was full, those are kept that matter most: whoever was sent away ranks below everybody
    /// who waited then.
    #[test]
    fn who_is_sent_away_matters_less_than_who_stays(
        askers in prop::collection::vec((class(), any::<u32>()), 1..100),
        pending in 1_u32..8,
    ) {
        let limits = Limits { in_flight: 1, pending, queue: QueueConfig { priorities: true, ..FIFO }, ..LIMITS };
        let mut admission = Admission::new(ms(0), &limits, Rng::from_seed(1));
        let mut waiting: Vec<(Rank, u64)> = Vec::new();
        for (number, (class, key)) in askers.into_iter().enumerate() {
            let number = number as u64;
            let asker = ranked(number, class, key);
            match admission.enter(ms(0), asker, &limits) {
                Entry::Placed => {}
                Entry::Refused(_) => prop_assert!(waiting.iter().all(|(rank, _)| *rank <= asker.rank)),
                Entry::Queued => {
                    waiting.push((asker.rank, number));
                    while let Some(shed) = admission.poll_granted() {
                        prop_assert_eq!(admission.claim(shed), Claim::Shed(Reason::Outranked));
                        let at = waiting.iter().position(|(_, ticket)| *ticket == shed.0).expect("it waited");
                        let (rank, _) = waiting.remove(at);
                        prop_assert!(waiting.iter().all(|(other, _)| *other <= rank));
                    }
                }
            }
            prop_assert!(waiting.len() <= pending as usize);
        }
    }

    /// With everything on at once: nobody is lost, nobody is told twice, and nobody waits while a place is free.
    #[test]
    fn everybody_who_waits_is_told_once(
        events in prop::collection::vec((0_u8..8, 0_u64..60, class(), any::<u32>(), 1_u64..300), 1..200),
        lifo in any::<bool>(),
    ) {
        let order = QueueOrder::AdaptiveLifo { after: Duration::from_millis(40) };
        let queue = QueueConfig {
            order: if lifo { order } else { QueueOrder::Fifo },
            priorities: true,
            codel: Some(CodelConfig { target: Duration::from_millis(5), interval: Duration::from_millis(50) }),
            deadline_aware: true,
        };
        let limits = Limits { in_flight: 3, pending: 10, queue, ..LIMITS };
        let mut admission = Admission::new(ms(0), &limits, Rng::from_seed(1));
        let (mut inside, mut waiting, mut now) = (Vec::new(), Vec::new(), 0);
        for (number, (kind, gap, class, key, patience)) in events.into_iter().enumerate() {
            now += gap;
            let asker = ranked(number as u64, class, key);
            let asker = Asker { deadline: Some(ms(now + patience)), ..asker };
            match kind {
                0..5 => match admission.enter(ms(now), asker, &limits) {
                    Entry::Placed => inside.push(now),
                    Entry::Queued => waiting.push(asker.ticket),
                    Entry::Refused(reason) => {
                        prop_assert!(matches!(reason, Reason::Outranked | Reason::WouldBeLate));
                    }
                },
                5..7 if !inside.is_empty() => {
                    let since = inside.remove(key as usize % inside.len());
                    admission.leave(ms(now), (ms(since), Left::Served), &limits);
                }
                _ if !waiting.is_empty() => {
                    let ticket = waiting.remove(key as usize % waiting.len());
                    admission.withdraw(ms(now), ticket, &limits);
                }
                _ => {}
            }
            while let Some(ticket) = admission.poll_granted() {
                let at = waiting.iter().position(|other| *other == ticket);
                waiting.remove(at.expect("only who waits is told"));
                match admission.claim(ticket) {
                    Claim::Placed => inside.push(now),
                    Claim::Shed(_) => {}
                    Claim::Waits => prop_assert!(false, "woken for nothing"),
                }
            }
            prop_assert_eq!(admission.load(), (inside.len() as u32, waiting.len() as u32));
            prop_assert!(waiting.is_empty() || inside.len() >= 3, "nobody waits while a place is free");
            prop_assert!(waiting.iter().all(|ticket| admission.claim(*ticket) == Claim::Waits));
        }
    }
}
