//! One way of a relay inside the kernel: from a socket into a pipe, from the pipe into the other socket (splice(2)).
//!
//! A pipe is taken when bytes wait and given back when it is empty, so that idle connections hold none.

use std::cell::RefCell;
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::Conn;
use crate::relay::{Fault, Stage, TURNS};

/// What is moved at once: what a pipe holds (pipe(7)).
const PIPE_BYTES: usize = 64 * 1024;

/// Empty pipes that a thread keeps for the next use.
const PIPES_KEPT: usize = 16;

/// A connection as the kernel has it, so that it can move bytes by itself.
pub struct Kernel<'c>(pub(crate) &'c TcpStream);

impl std::fmt::Debug for Kernel<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernel")
    }
}

/// A way through a pipe.
#[derive(Default)]
pub(crate) struct SpliceWay {
    stage: Stage,
    /// Only while bytes are under way.
    pipe: Option<Pipe>,
    /// Bytes in it.
    held: usize,
}

impl SpliceWay {
    /// Ready when its last byte and its EOF are passed on.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Conn,
        to: &mut Conn,
        count: &AtomicU64,
    ) -> Poll<Result<(), Fault>> {
        let gone = |is_reader| (is_reader, io::Error::from(io::ErrorKind::ConnectionAborted));
        let from = from.kernel().ok_or_else(|| gone(true))?.0;
        let to = to.kernel().ok_or_else(|| gone(false))?.0;
        for _ in 0..TURNS {
            match self.stage {
                Stage::Over => return Poll::Ready(Ok(())),
                Stage::Closing => {
                    match SockRef::from(to).shutdown(Shutdown::Write) {
                        // It has gone meanwhile; whoever reads from it finds out how.
                        Err(error) if error.kind() == io::ErrorKind::NotConnected => {}
                        shut => shut.map_err(|error| (false, error))?,
                    }
                    self.stage = Stage::Over;
                }
                Stage::Open => ready!(self.poll_open(cx, from, to, count))?,
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    fn rest(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            keep_pipe(pipe);
        }
    }

    /// Moves some bytes.
    fn poll_open(
        &mut self,
        cx: &mut Context<'_>,
        from: &TcpStream,
        to: &TcpStream,
        count: &AtomicU64,
    ) -> Poll<Result<(), Fault>> {
        if let Some(pipe) = self.pipe.as_ref().filter(|_| self.held > 0) {
            loop {
                ready!(to.poll_write_ready(cx)).map_err(|error| (false, error))?;
                let moved = to.try_io(Interest::WRITABLE, || splice(pipe.read.as_raw_fd(), to.as_raw_fd(), self.held));
                match moved {
                    Ok(0) => return Poll::Ready(Err((false, io::ErrorKind::WriteZero.into()))),
                    Ok(moved) => {
                        self.held -= moved;
                        count.fetch_add(moved as u64, Ordering::Relaxed);
                        return Poll::Ready(Ok(()));
                    }
                    // The socket is full after all: wait on.
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Poll::Ready(Err((false, error))),
                }
            }
        }
        loop {
            match from.poll_read_ready(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err((true, error))),
                Poll::Pending => {
                    self.rest();
                    return Poll::Pending;
                }
            }
            let pipe = match self.pipe.take() {
                Some(pipe) => pipe,
                None => take_pipe().map_err(|error| (true, error))?,
            };
            let moved =
                from.try_io(Interest::READABLE, || splice(from.as_raw_fd(), pipe.write.as_raw_fd(), PIPE_BYTES));
            // Empty until now, so it is the socket that would block.
            self.pipe = Some(pipe);
            match moved {
                Ok(0) => {
                    self.rest();
                    self.stage = Stage::Closing;
                    return Poll::Ready(Ok(()));
                }
                Ok(moved) => {
                    self.held = moved;
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err((true, error))),
            }
        }
    }
}

struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
}

thread_local! {
    static PIPES: RefCell<Vec<Pipe>> = const { RefCell::new(Vec::new()) };
}

fn take_pipe() -> io::Result<Pipe> {
    match PIPES.with_borrow_mut(Vec::pop) {
        Some(pipe) => Ok(pipe),
        None => make_pipe(),
    }
}

/// For an empty one.
fn keep_pipe(pipe: Pipe) {
    PIPES.with_borrow_mut(|pipes| {
        if pipes.len() < PIPES_KEPT {
            pipes.push(pipe);
        }
    });
}

fn make_pipe() -> io::Result<Pipe> {
    let mut ends: [RawFd; 2] = [-1; 2];
    #[expect(unsafe_code, reason = "neither std nor tokio makes a pipe that does not block")]
    // SAFETY: `ends` is a writable array of two descriptors, which pipe2 fills if it succeeds; nobody else owns those.
    unsafe {
        if libc::pipe2(ends.as_mut_ptr(), libc::O_NONBLOCK | libc::O_CLOEXEC) != 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(Pipe { read: OwnedFd::from_raw_fd(ends[0]), write: OwnedFd::from_raw_fd(ends[1]) })
    }
}

/// Moves up to `most` bytes; 0: the reader has ended.
fn splice(from: RawFd, to: RawFd, most: usize) -> io::Result<usize> {
    let flags = libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK;
    #[expect(unsafe_code, reason = "std has no splice")]
    // SAFETY: both descriptors are open as their owners are borrowed by the callers, and the offsets are null, as pipes and sockets
    // need.
    let moved = unsafe { libc::splice(from, std::ptr::null_mut(), to, std::ptr::null_mut(), most, flags) };
    usize::try_from(moved).map_err(|_| io::Error::last_os_error())
}
