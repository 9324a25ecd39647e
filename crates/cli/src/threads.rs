//! Work spread over threads. Only this file starts any; every one is joined before it returns, but for those that may never end.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Calls `work` once with each number below `count`, in ascending order, on `jobs` threads. A panic in `work` goes on in the
/// caller, once the other threads have ended.
pub(crate) fn spread(jobs: usize, count: usize, work: &(dyn Fn(usize) + Sync)) {
    let next = AtomicUsize::new(0);
    let run = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= count {
                break;
            }
            work(number);
        }
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.min(count)).map(|_| scope.spawn(run)).collect();
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
    });
}

/// Work that goes on beside `main`'s own, on threads that it starts through the given function. Every thread is joined before this
/// returns; a panic in one goes on in the caller.
pub(crate) fn beside<T>(main: impl FnOnce(&dyn Fn(Box<dyn FnOnce() + Send>)) -> T) -> T {
    thread::scope(|scope| {
        main(&|work| {
            scope.spawn(work);
        })
    })
}

/// Work that may never end, such as a write that nobody reads: the process ends without it.
#[expect(clippy::disallowed_methods, reason = "to be joined it would have to end")]
pub(crate) fn aside(work: impl FnOnce() + Send + 'static) {
    thread::spawn(work);
}

/// Cores this process may use.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn every_number_is_worked_on_once() {
        for (jobs, count) in [(1, 5), (3, 100), (8, 2), (2, 0)] {
            let seen = Mutex::new(Vec::new());
            spread(jobs, count, &|n| seen.lock().expect("no thread panicked").push(n));
            let mut seen = seen.into_inner().expect("no thread panicked");
            seen.sort_unstable();
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
