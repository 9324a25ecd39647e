//! Request bodies on their way to an endpoint. They stream: a frame is read from the caller when the endpoint has room for it.
//! What a repetition may need is kept on the side, up to a limit.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use squall_net::Clock;
use squall_net::http::{BodyError, Incoming};
use squall_policy::{Instant, Replay};

use crate::headers;

/// The most frames that are kept, so that a body of tiny ones does not cost many times its bytes.
const KEPT_FRAMES: usize = 1024;

/// What is known of a body in motion, by its request.
#[derive(Default)]
pub(crate) struct Meter {
    bytes: AtomicU64,
    moved_at: AtomicU64,
    ended: AtomicBool,
    broken: AtomicBool,
    /// Times each frame, if the route limits silence.
    clock: Option<Arc<dyn Clock>>,
}

impl Meter {
    /// A meter that notes when a frame last moved if it is given a clock.
    pub(crate) fn new(clock: Option<Arc<dyn Clock>>) -> Self {
        let moved_at = clock.as_ref().map_or(0, |clock| clock.now().as_nanos());
        Self { moved_at: AtomicU64::new(moved_at), clock, ..Self::default() }
    }

    fn moved(&self, frame: &Frame<Bytes>) {
        if let Some(data) = frame.data_ref() {
            self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        if let Some(clock) = &self.clock {
            self.moved_at.store(clock.now().as_nanos(), Ordering::Relaxed);
        }
    }

    /// So many bytes came from the caller, besides the frames.
    pub(crate) fn carried(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that came from the caller.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// When the last frame moved, or the start.
    pub(crate) fn moved_at(&self) -> Instant {
        Instant::from_nanos(self.moved_at.load(Ordering::Relaxed))
    }

    /// Whether the caller has sent all of it.
    pub(crate) fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }

    /// Whether the caller broke off.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

/// A request's body as the endpoint gets it.
pub(crate) enum RequestBody {
    /// There is none.
    Empty,
    /// The proxy's own, in one piece; `None`: sent.
    Whole(Option<Bytes>),
    /// Sent once.
    Once(Incoming, Arc<Meter>),
    /// Kept on the way, for another try.
    Kept(Copy),
}

/// A request's body at its source: makes one [`RequestBody`] for each try.
pub(crate) enum Source {
    /// There is none.
    Empty,
    /// Not kept; `None` once a try has it.
    Once(Option<Incoming>, Arc<Meter>),
    /// Kept for repetitions.
    Kept(Arc<Mutex<Tee>>, Arc<Meter>),
}

impl Source {
    /// A body that is kept up to `keep_bytes` (0: not at all).
    pub(crate) fn new(body: Incoming, keep_bytes: u32, clock: Option<Arc<dyn Clock>>) -> Self {
        if body.is_end_stream() {
            return Self::Empty;
        }
        let meter = Arc::new(Meter::new(clock));
        if keep_bytes == 0 {
            return Self::Once(Some(body), meter);
        }
        let tee = Tee {
            hint: body.size_hint(),
            source: body,
            kept: Vec::new(),
            trailers: None,
            room: keep_bytes as usize,
            whole: true,
            ended: false,
            copy: 0,
        };
        Self::Kept(Arc::new(Mutex::new(tee)), meter)
    }

    /// What it has measured; `None`: there is no body.
    pub(crate) fn meter(&self) -> Option<&Arc<Meter>> {
        match self {
            Self::Empty => None,
            Self::Once(_, meter) | Self::Kept(_, meter) => Some(meter),
        }
    }

    /// Whether one more try can send all of it.
    pub(crate) fn is_replayable(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Once(body, _) => body.is_some(),
            Self::Kept(tee, meter) => !meter.is_broken() && lock(tee).whole,
        }
    }

    /// Whether, and when, one more try can send all of it.
    pub(crate) fn replay(&self) -> Replay {
        match self {
            Self::Empty => Replay::AtOnce,
            Self::Kept(tee, meter) if !meter.is_broken() => match lock(tee) {
                tee if !tee.whole => Replay::No,
                tee if tee.ended => Replay::AtOnce,
                _ => Replay::Again,
            },
            Self::Once(Some(_), _) => Replay::Again,
            Self::Once(None, _) | Self::Kept(_, _) => Replay::No,
        }
    }

    /// The body for a try beside those under way, which go on with theirs. `None`: it is not [`Replay::AtOnce`].
    pub(crate) fn beside(&self) -> Option<RequestBody> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Once(_, _) => None,
            Self::Kept(shared, meter) => {
                let tee = lock(shared);
                let number = (tee.whole && tee.ended).then_some(tee.copy)?;
                drop(tee);
                Some(RequestBody::Kept(Copy { tee: Arc::clone(shared), meter: Arc::clone(meter), number, next: 0 }))
            }
        }
    }

    /// A try is over and another may come: nobody reads on until then, so that what is whole stays whole.
    pub(crate) fn halt(&self) {
        if let Self::Kept(tee, _) = self {
            lock(tee).copy += 1;
        }
    }

    /// An answer is on its way to the caller, so no other try comes: nothing more is kept.
    pub(crate) fn keep_no_more(&self) {
        if let Self::Kept(tee, _) = self {
            lock(tee).room = 0;
        }
    }

    /// The body for the next try. An earlier try's copy gives nothing more from here on. `None`: it cannot be sent again.
    pub(crate) fn next(&mut self) -> Option<RequestBody> {
        match self {
            Self::Empty => Some(RequestBody::Empty),
            Self::Once(body, meter) => {
                let body = body.take()?;
                Some(RequestBody::Once(body, Arc::clone(meter)))
            }
            Self::Kept(shared, meter) => {
                let mut tee = lock(shared);
                if !tee.whole {
                    return None;
                }
                tee.copy += 1;
                let number = tee.copy;
                drop(tee);
                Some(RequestBody::Kept(Copy { tee: Arc::clone(shared), meter: Arc::clone(meter), number, next: 0 }))
            }
        }
    }
}

/// A body that is remembered while it passes.
pub(crate) struct Tee {
    source: Incoming,
    hint: SizeHint,
    kept: Vec<Bytes>,
    trailers: Option<HeaderMap>,
    /// Bytes that may still be kept.
    room: usize,
    /// Everything that passed is kept.
    whole: bool,
    ended: bool,
    /// The only copy that may read.
    copy: u32,
}

/// One try's copy of a kept body.
pub(crate) struct Copy {
    tee: Arc<Mutex<Tee>>,
    meter: Arc<Meter>,
    number: u32,
    next: usize,
}

fn lock(tee: &Mutex<Tee>) -> MutexGuard<'_, Tee> {
    tee.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The frame without what may not be in trailers.
pub(crate) fn cleaned(mut frame: Frame<Bytes>) -> Frame<Bytes> {
    if let Some(trailers) = frame.trailers_mut() {
        headers::strip_trailers(trailers);
    }
    frame
}

/// A later try has the body.
#[derive(Debug, thiserror::Error)]
#[error("this try was given up")]
struct GivenUp;

impl Copy {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut tee = lock(&self.tee);
        if tee.copy != self.number {
            return Poll::Ready(Some(Err(GivenUp.into())));
        }
        if tee.whole {
            if let Some(data) = tee.kept.get(self.next) {
                self.next += 1;
                return Poll::Ready(Some(Ok(Frame::data(data.clone()))));
            }
            if self.next == tee.kept.len()
                && let Some(trailers) = &tee.trailers
            {
                self.next += 1;
                return Poll::Ready(Some(Ok(Frame::trailers(trailers.clone()))));
            }
        }
        if tee.ended {
            return Poll::Ready(None);
        }
        let frame = match ready!(Pin::new(&mut tee.source).poll_frame(cx)) {
            Some(Ok(frame)) => cleaned(frame),
            Some(Err(error)) => {
                tee.ended = true;
                self.meter.broken.store(true, Ordering::Relaxed);
                return Poll::Ready(Some(Err(error.into())));
            }
            None => {
                tee.ended = true;
                self.meter.ended.store(true, Ordering::Relaxed);
                return Poll::Ready(None);
            }
        };
        self.meter.moved(&frame);
        if let Some(data) = frame.data_ref() {
            if tee.whole && data.len() <= tee.room && tee.kept.len() < KEPT_FRAMES {
                tee.room -= data.len();
                tee.kept.push(data.clone());
                self.next = tee.kept.len();
            } else if tee.whole {
                tee.whole = false;
                tee.kept = Vec::new();
            }
        } else if let Some(trailers) = frame.trailers_ref()
            && tee.whole
        {
            tee.trailers = Some(trailers.clone());
            self.next = tee.kept.len() + 1;
        }
        if frame.is_trailers() || tee.source.is_end_stream() {
            tee.ended = true;
            self.meter.ended.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        let tee = lock(&self.tee);
        let unread = tee.kept.len() + usize::from(tee.trailers.is_some());
        tee.copy == self.number && tee.ended && !self.meter.is_broken() && (!tee.whole || self.next >= unread)
    }

    /// What is left: the whole, if this copy has given nothing yet.
    fn size_hint(&self) -> SizeHint {
        let tee = lock(&self.tee);
        if self.next == 0 && tee.whole { tee.hint } else { SizeHint::default() }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Whole(data) => Poll::Ready(data.take().map(|data| Ok(Frame::data(data)))),
            Self::Once(body, meter) => {
                let frame = ready!(Pin::new(&mut *body).poll_frame(cx)).map(|frame| frame.map(cleaned));
                match &frame {
                    Some(Ok(frame)) => {
                        meter.moved(frame);
                        if frame.is_trailers() || body.is_end_stream() {
                            meter.ended.store(true, Ordering::Relaxed);
                        }
                    }
                    Some(Err(_)) => meter.broken.store(true, Ordering::Relaxed),
                    None => meter.ended.store(true, Ordering::Relaxed),
                }
                Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
            }
            Self::Kept(copy) => copy.poll(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(data) => data.is_none(),
            Self::Once(body, _) => body.is_end_stream(),
            Self::Kept(copy) => copy.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(data) => SizeHint::with_exact(data.as_ref().map_or(0, |data| data.len() as u64)),
            Self::Once(body, _) => body.size_hint(),
            Self::Kept(copy) => copy.size_hint(),
        }
    }
}
