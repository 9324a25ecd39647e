//! A real process: the runtimes its workers run on, and the signals that ask it to end.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::Poll;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Runs `work` on a runtime of this thread's own, to its end. Tasks that it leaves behind are dropped.
///
/// # Errors
/// The OS gives no runtime (no descriptors left, say).
pub fn run<T>(work: impl Future<Output = T>) -> io::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(runtime.block_on(work))
}

/// Lets this process have as many file descriptors as it may (setrlimit(2), `RLIMIT_NOFILE`): a shell's or a container's usual limit of
/// 1024, which is there for programs that use `select`, would be two descriptors each for some 500 requests.
///
/// # Errors
/// The OS refuses.
pub fn raise_descriptor_limit() -> io::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[expect(unsafe_code, reason = "std has no limits of processes")]
    // SAFETY: both calls are given a pointer to a whole `rlimit` that outlives them.
    let failed = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) != 0 || {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) != 0
        }
    };
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Lets the allocator (mimalloc) give memory back that nobody has used for 10 ms, in place of a second: a server that comes to rest would
/// keep what its last burst had, for it looks at its clock only while it is asked for more. `MIMALLOC_PURGE_DELAY` (milliseconds; −1:
/// never) in the environment comes first.
pub fn give_memory_back_soon() {
    #[expect(unsafe_code, reason = "the allocator's settings are in C")]
    // SAFETY: it writes one number in a table of the allocator's own, before there are other threads that could read it.
    unsafe {
        libmimalloc_sys::mi_option_set_default(PURGE_DELAY, 10);
    }
}

/// The place of `mi_option_purge_delay` among the allocator's options, which has no name in Rust.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// What comes first; if both are there, `a`. The other is dropped.
pub async fn first_of<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (pin!(a), pin!(b));
    std::future::poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

/// The signals that ask a process to end: SIGTERM (an orchestrator) and SIGINT (Ctrl-C). Once made, they end the process no
/// longer by themselves.
#[derive(Debug)]
pub struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    /// Takes them over. Inside [`run`].
    ///
    /// # Errors
    /// The OS refuses the handler.
    pub fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// The next one, by its name: `SIGTERM` or `SIGINT`.
    pub async fn next(&mut self) -> &'static str {
        std::future::poll_fn(|cx| {
            if self.terminate.poll_recv(cx).is_ready() {
                return Poll::Ready("SIGTERM");
            }
            self.interrupt.poll_recv(cx).map(|_| "SIGINT")
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allocators_option_is_the_one_that_is_meant() {
        #[expect(unsafe_code, reason = "the allocator's settings are in C")]
        // SAFETY: it reads a number of the allocator's own.
        let read = || unsafe { libmimalloc_sys::mi_option_get(PURGE_DELAY) };
        let before = read();
        give_memory_back_soon();
        // Whoever runs the test may have set it.
        assert!(before != 1000 || read() == 10, "{before}, then {}", read());
        assert!(before == 1000 || read() == before, "{before}, then {}", read());
    }
}
