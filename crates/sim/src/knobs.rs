//! What faults turn inside hosts while they run: slow and failing applications, graceful ends. Outlive a crash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use squall_policy::Rng;

use crate::scenario::{OutageArrivals, Strike};

/// The knobs of one pod.
#[derive(Clone, Default)]
pub(crate) struct Knobs(Arc<Panel>);

#[derive(Default)]
struct Panel {
    /// Some knob is turned. Each request asks three times, and mostly none is: that answer needs no lock.
    is_touched: AtomicBool,
    turned: Mutex<Turned>,
}

#[derive(Default)]
struct Turned {
    slow: Vec<(usize, Strike)>,
    errors: Vec<(usize, u32, u16)>,
    shut: Vec<(usize, Shut)>,
}

/// What an outage does to a request that arrives.
#[derive(Clone)]
pub(crate) enum Shut {
    /// It arrives when this opens.
    Held(Gate<()>),
    /// It is answered with this status, at once.
    Refused(u16),
}

impl Knobs {
    /// Fault number `fault` makes it slow.
    pub(crate) fn slow(&self, fault: usize, strike: Strike) {
        self.turn(|turned| turned.slow.push((fault, strike)));
    }

    /// Fault number `fault` fails so many millionths of the requests with this status.
    pub(crate) fn fail(&self, fault: usize, ppm: u32, status: u16) {
        self.turn(|turned| turned.errors.push((fault, ppm, status)));
    }

    /// Fault number `fault` shuts its door.
    pub(crate) fn shut(&self, fault: usize, arrivals: OutageArrivals) {
        let shut = match arrivals {
            OutageArrivals::Held | OutageArrivals::Lost => Shut::Held(Gate::default()),
            OutageArrivals::Refused(status) => Shut::Refused(status),
        };
        self.turn(|turned| turned.shut.push((fault, shut)));
    }

    /// What the latest outage at work does to a request that arrives now; `touch` counts it for that fault.
    pub(crate) fn outage(&self, touch: impl FnOnce(usize)) -> Option<Shut> {
        self.turned(|turned| {
            let (fault, shut) = turned.shut.last()?;
            touch(*fault);
            Some(shut.clone())
        })?
    }

    /// Fault number `fault` is over. What it held up goes on; what it lost stays lost.
    pub(crate) fn lift(&self, fault: usize, lost: bool) {
        let shut = self.turn(|turned| {
            turned.slow.retain(|(of, _)| *of != fault);
            turned.errors.retain(|(of, _, _)| *of != fault);
            turned.shut.extract_if(.., |(of, _)| *of == fault).collect::<Vec<_>>()
        });
        for (_, shut) in shut {
            match shut {
                Shut::Held(end) if !lost => end.open(()),
                Shut::Held(_) | Shut::Refused(_) => {}
            }
        }
    }

    /// What a request that would take `time` takes now; `touch` counts it for each fault at work.
    pub(crate) fn stretch(&self, time: Duration, mut touch: impl FnMut(usize)) -> Duration {
        let stretched = self.turned(|turned| {
            turned.slow.iter().fold(time, |time, (fault, strike)| {
                touch(*fault);
                match strike {
                    Strike::Times(permille) => {
                        let nanos = time.as_nanos() * u128::from(*permille) / 1000;
                        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
                    }
                    Strike::Add(span) => time.saturating_add(*span),
                    Strike::To(span) => *span,
                }
            })
        });
        stretched.unwrap_or(time)
    }

    /// The status a fault fails this request with, if one does; `touch` counts it for that fault.
    pub(crate) fn failure(&self, rng: &mut Rng, touch: impl FnOnce(usize)) -> Option<u16> {
        self.turned(|turned| {
            let (fault, _, status) = turned.errors.iter().find(|(_, ppm, _)| rng.below(1_000_000) < u64::from(*ppm))?;
            touch(*fault);
            Some(*status)
        })?
    }

    fn turn<T>(&self, act: impl FnOnce(&mut Turned) -> T) -> T {
        let mut turned = self.0.turned.lock().unwrap_or_else(PoisonError::into_inner);
        let result = act(&mut turned);
        let Turned { slow, errors, shut } = &*turned;
        let is_touched = !(slow.is_empty() && errors.is_empty() && shut.is_empty());
        self.0.is_touched.store(is_touched, Ordering::Release);
        result
    }

    /// What the turned knobs do; `None`: none is turned.
    #[inline]
    fn turned<T>(&self, look: impl FnOnce(&Turned) -> T) -> Option<T> {
        if !self.0.is_touched.load(Ordering::Acquire) {
            return None;
        }
        Some(look(&self.0.turned.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// A door that opens once, with a value; any number of tasks wait for it, in any world.
#[derive(Debug)]
pub(crate) struct Gate<T>(Arc<Mutex<Door<T>>>);

#[derive(Debug)]
struct Door<T> {
    open: Option<T>,
    next: u64,
    waiting: BTreeMap<u64, Waker>,
}

impl<T> Clone for Gate<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Gate<T> {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Door { open: None, next: 0, waiting: BTreeMap::new() })))
    }
}

impl<T: Copy> Gate<T> {
    /// Opens it, and wakes those who wait in the order in which they came; the first value stays.
    pub(crate) fn open(&self, value: T) {
        let waiting = {
            let mut door = self.door();
            door.open.get_or_insert(value);
            std::mem::take(&mut door.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// The value, if it is open.
    pub(crate) fn get(&self) -> Option<T> {
        self.door().open
    }

    /// The value, once it is open.
    pub(crate) async fn opened(&self) -> T {
        let number = {
            let mut door = self.door();
            door.next += 1;
            door.next
        };
        let waits = Waits { gate: self.clone(), number };
        std::future::poll_fn(|cx| {
            let mut door = waits.gate.door();
            match door.open {
                Some(value) => Poll::Ready(value),
                None => {
                    door.waiting.insert(waits.number, cx.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn door(&self) -> MutexGuard<'_, Door<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who waits at a gate; leaves when dropped.
struct Waits<T: Copy> {
    gate: Gate<T>,
    number: u64,
}

impl<T: Copy> Drop for Waits<T> {
    fn drop(&mut self) {
        let left = self.gate.door().waiting.remove(&self.number);
        drop(left);
    }
}
