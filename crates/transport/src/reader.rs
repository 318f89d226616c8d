//! Frames from a stream. Memory grows with what has arrived, never with what a header promises.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::frame::{Frame, HEADER_BYTES, Header, Violation};

const BUFFER_BYTES: usize = 64 << 10;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum End {
    #[error("{0}")]
    Broken(#[from] io::Error),
    #[error("the peer broke the protocol: {0}")]
    Violation(#[from] Violation),
    #[error("the peer was silent for too long")]
    Silent,
    #[error("the peer closed the connection")]
    Closed,
    #[error("the node is gone, or has a newer connection")]
    Unwanted,
}

#[derive(Debug)]
pub(crate) struct FrameReader<Stream> {
    stream: Stream,
    buffer: BytesMut,
    payload_bytes_max: usize,
}

impl<Stream: AsyncRead + Unpin> FrameReader<Stream> {
    pub(crate) fn new(stream: Stream, payload_bytes_max: usize) -> Self {
        Self {
            stream,
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            payload_bytes_max,
        }
    }

    /// The next frame. Its payload has memory of its own, so that who keeps it keeps nothing else.
    /// `arrived` hears of the bytes as they come.
    pub(crate) async fn next(&mut self, arrived: &impl Fn(usize)) -> Result<Frame, End> {
        while self.buffer.len() < HEADER_BYTES {
            self.buffer.reserve(BUFFER_BYTES - self.buffer.len());
            let read = self.stream.read_buf(&mut self.buffer).await?;
            if read == 0 {
                return Err(End::Closed);
            }
            arrived(read);
        }
        let mut header = [0; HEADER_BYTES];
        self.buffer.copy_to_slice(&mut header);
        let header = Header::decode(&header, self.payload_bytes_max)?;
        let payload = self.payload(header.length, arrived).await?;
        Ok(header.frame(payload)?)
    }

    async fn payload(&mut self, length: usize, arrived: &impl Fn(usize)) -> Result<Bytes, End> {
        let buffered = length.min(self.buffer.len());
        let mut payload = Vec::with_capacity(buffered);
        payload.extend_from_slice(&self.buffer[..buffered]);
        self.buffer.advance(buffered);
        while payload.len() < length {
            let rest = length - payload.len();
            if payload.len() == payload.capacity() {
                payload.reserve_exact(rest.min(payload.len().max(BUFFER_BYTES)));
            }
            let space = payload.capacity() - payload.len();
            let mut place = (&mut payload).limit(rest.min(space));
            let read = self.stream.read_buf(&mut place).await?;
            if read == 0 {
                return Err(End::Closed);
            }
            arrived(read);
        }
        Ok(payload.into())
    }
}
