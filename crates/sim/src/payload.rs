//! Bodies of simulated applications: so many bytes, and perhaps trailers.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::{Body, Frame, SizeHint};

/// The most bytes in one frame.
const CHUNK: usize = 16 * 1024;
static ZEROS: [u8; CHUNK] = [0; CHUNK];

/// A body of zeros of known length.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    head: Option<&'static [u8]>,
    left: u64,
    grpc_status: Option<u8>,
}

impl Payload {
    /// `bytes` zeros.
    pub(crate) fn zeros(bytes: u64) -> Self {
        Self { head: None, left: bytes, grpc_status: None }
    }

    /// `bytes` zeros and a `grpc-status` in the trailers.
    pub(crate) fn grpc(bytes: u64, status: u8) -> Self {
        Self { head: None, left: bytes, grpc_status: Some(status) }
    }

    /// gRPC's message that a server is `SERVING`.
    pub(crate) fn serving() -> Self {
        Self { head: Some(&[0, 0, 0, 0, 2, 0x08, 1]), left: 0, grpc_status: Some(0) }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(head) = self.head.take() {
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(head)))));
        }
        if self.left > 0 {
            let length = usize::try_from(self.left).map_or(CHUNK, |left| left.min(CHUNK));
            self.left -= length as u64;
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&ZEROS[..length])))));
        }
        Poll::Ready(self.grpc_status.take().map(|status| {
            let mut trailers = HeaderMap::new();
            trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(u16::from(status)));
            Ok(Frame::trailers(trailers))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.head.is_none() && self.left == 0 && self.grpc_status.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left + self.head.map_or(0, |head| head.len() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_bytes_it_promised_then_its_trailers() {
        let mut body = Payload::grpc(40_000, 14);
        assert_eq!(body.size_hint().exact(), Some(40_000));
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let (mut bytes, mut status) = (0, None);
        while let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) {
            match frame.into_data() {
                Ok(data) => bytes += data.len(),
                Err(frame) => status = frame.into_trailers().ok().and_then(|it| it.get("grpc-status").cloned()),
            }
        }
        assert_eq!(bytes, 40_000);
        assert_eq!(status.expect("trailers came"), "14");
        assert!(body.is_end_stream());
    }
}
