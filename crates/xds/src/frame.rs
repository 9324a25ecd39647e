//! gRPC's message framing: a flag byte, a length of four bytes, the message.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// `message` with its five bytes in front, not compressed.
#[must_use]
pub fn frame(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("a message of ours is far below 4 GiB");
    let mut framed = BytesMut::with_capacity(5 + message.len());
    framed.put_u8(0);
    framed.put_u32(length);
    framed.put_slice(message);
    framed.freeze()
}

/// Takes a byte stream apart into messages.
#[derive(Debug)]
pub struct Deframer {
    buffer: BytesMut,
    message_bytes_max: usize,
}

/// A stream that is not gRPC framing, or too large a message. The stream cannot be used any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The compression flag was set.
    #[error("a compressed gRPC message, and no compression was agreed on")]
    Compressed,
    /// The message is longer than the bound.
    #[error("a gRPC message of {bytes} bytes; at most {most} are taken")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The bound.
        most: usize,
    },
}

impl Deframer {
    /// Refuses messages longer than `message_bytes_max`.
    #[must_use]
    pub fn new(message_bytes_max: usize) -> Self {
        Self { buffer: BytesMut::new(), message_bytes_max }
    }

    /// Takes the next bytes of the stream and gives the messages that are complete now.
    ///
    /// # Errors
    /// [`FrameError`]; messages before it are lost with the stream.
    pub fn push(&mut self, bytes: &[u8]) -> Result<VecDeque<Bytes>, FrameError> {
        self.buffer.extend_from_slice(bytes);
        let mut messages = VecDeque::new();
        while self.buffer.len() >= 5 {
            if self.buffer[0] != 0 {
                return Err(FrameError::Compressed);
            }
            let length = u32::from_be_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > self.message_bytes_max {
                return Err(FrameError::TooLong { bytes: length, most: self.message_bytes_max });
            }
            if self.buffer.len() - 5 < length {
                break;
            }
            self.buffer.advance(5);
            messages.push_back(self.buffer.split_to(length).freeze());
        }
        Ok(messages)
    }

    /// Whether the stream may end here: no message has begun.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_out_whole_however_the_stream_is_cut() {
        let stream: Vec<u8> = [&b"first"[..], b"", b"third, longer"].iter().flat_map(|m| frame(m).to_vec()).collect();
        for cut in 1..=stream.len() {
            let mut deframer = Deframer::new(100);
            let mut messages = Vec::new();
            for chunk in stream.chunks(cut) {
                messages.extend(deframer.push(chunk).expect("well framed"));
            }
            assert_eq!(messages, [&b"first"[..], b"", b"third, longer"], "cut every {cut} bytes");
            assert!(deframer.is_empty());
        }
    }

    #[test]
    fn a_message_over_the_bound_is_refused_before_it_is_buffered() {
        let mut deframer = Deframer::new(10);
        assert_eq!(deframer.push(&[0, 0, 0, 0, 11]), Err(FrameError::TooLong { bytes: 11, most: 10 }));
        let mut deframer = Deframer::new(10);
        assert_eq!(deframer.push(&[1, 0, 0, 0, 1, 0]), Err(FrameError::Compressed));
    }
}
