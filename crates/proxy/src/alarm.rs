//! Timers that the requests of one connection hand on to each other. Most requests end long before their time: to set a timer
//! and take it back each time costs more than one that now and then rings too early.

use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use squall_net::{BoxFuture, Clock};
use squall_policy::Instant;

/// The most timers that a connection keeps, as many as are set at once on most of HTTP/2.
const KEPT: usize = 32;

/// The timers of one connection that nobody waits for.
#[derive(Default)]
pub(crate) struct Alarms(Mutex<Vec<Timer>>);

struct Timer {
    at: Instant,
    rings: BoxFuture<'static, ()>,
}

/// What wakes one request.
pub(crate) struct Alarm<'c> {
    alarms: &'c Alarms,
    clock: &'c dyn Clock,
    due: Option<Instant>,
    /// Rings when it is due or earlier.
    timer: Option<Timer>,
}

impl Alarms {
    /// An alarm that is not set.
    pub(crate) fn alarm<'c>(&'c self, clock: &'c dyn Clock) -> Alarm<'c> {
        Alarm { alarms: self, clock, due: None, timer: None }
    }

    /// One that rings at `at` or earlier.
    fn take(&self, at: Instant) -> Option<Timer> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = kept.iter().rposition(|timer| timer.at <= at)?;
        Some(kept.swap_remove(place))
    }

    fn keep(&self, timer: Timer) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(timer);
        }
    }
}

impl Alarm<'_> {
    /// Lets it ring at `due`; `None`: not at all.
    pub(crate) fn set(&mut self, due: Option<Instant>) {
        self.due = due;
        let Some(due) = due else { return };
        if self.timer.as_ref().is_none_or(|timer| timer.at > due) {
            self.timer = self.alarms.take(due).or_else(|| Some(self.ring_at(due)));
        }
    }

    fn ring_at(&self, at: Instant) -> Timer {
        Timer { at, rings: self.clock.sleep_until(at) }
    }

    /// Ready when it is due. It is not set any more then.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(due) = self.due else { return Poll::Pending };
        while let Some(timer) = &mut self.timer {
            if timer.rings.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            let rang_at = timer.at;
            self.timer = None;
            if rang_at < due {
                self.timer = Some(self.ring_at(due));
            }
        }
        self.due = None;
        Poll::Ready(())
    }
}

impl Drop for Alarm<'_> {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.take() {
            self.alarms.keep(timer);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::task::Waker;

    use super::*;

    /// Counts the timers that were set.
    #[derive(Default)]
    struct Hand {
        now: Arc<AtomicU64>,
        set: AtomicU64,
    }

    impl Clock for Hand {
        fn now(&self) -> Instant {
            Instant::from_nanos(self.now.load(Ordering::Relaxed))
        }

        fn sleep_until(&self, at: Instant) -> BoxFuture<'static, ()> {
            self.set.fetch_add(1, Ordering::Relaxed);
            let now = Arc::clone(&self.now);
            Box::pin(std::future::poll_fn(move |_| {
                if now.load(Ordering::Relaxed) >= at.as_nanos() { Poll::Ready(()) } else { Poll::Pending }
            }))
        }
    }

    fn rings(alarm: &mut Alarm<'_>) -> bool {
        alarm.poll(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn one_timer_serves_many_requests_and_none_rings_early() {
        let (alarms, clock) = (Alarms::default(), Hand::default());
        for started in 0..100 {
            clock.now.store(started, Ordering::Relaxed);
            let mut alarm = alarms.alarm(&clock);
            alarm.set(Some(Instant::from_nanos(started + 1000)));
            assert!(!rings(&mut alarm));
        }
        assert_eq!(clock.set.load(Ordering::Relaxed), 1);
        let mut alarm = alarms.alarm(&clock);
        alarm.set(Some(Instant::from_nanos(1200)));
        for (now, due) in [(999, false), (1000, false), (1199, false), (1200, true), (1300, false)] {
            clock.now.store(now, Ordering::Relaxed);
            assert_eq!(rings(&mut alarm), due, "at {now}");
        }
        assert_eq!(clock.set.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn an_alarm_that_is_set_again_rings_at_the_later_word() {
        let (alarms, clock) = (Alarms::default(), Hand::default());
        let mut alarm = alarms.alarm(&clock);
        for due in [500, 100, 300] {
            alarm.set(Some(Instant::from_nanos(due)));
        }
        for (now, due) in [(100, false), (299, false), (300, true)] {
            clock.now.store(now, Ordering::Relaxed);
            assert_eq!(rings(&mut alarm), due, "at {now}");
        }
        alarm.set(Some(Instant::from_nanos(900)));
        alarm.set(None);
        clock.now.store(1000, Ordering::Relaxed);
        assert!(!rings(&mut alarm));
    }
}
