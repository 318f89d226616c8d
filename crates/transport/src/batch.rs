//! Frames on their way into one write: small ones side by side in one buffer, large ones as they are.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

use crate::frame::{Frame, HEADER_BYTES, Kind};

/// A batch takes no more frames beyond this.
const FULL_BYTES: usize = 1 << 20;

/// Payloads up to this are copied beside their headers.
const COPIED_BYTES: usize = 8 << 10;

/// Chunks of one write at most.
pub(crate) const SLICES: usize = 64;

#[derive(Debug, Default)]
pub(crate) struct Batch {
    small: BytesMut,
    chunks: VecDeque<Bytes>,
    /// Where each request begins, and its number.
    requests: VecDeque<(usize, u64)>,
    bytes: usize,
    written: usize,
    pub(crate) frames: u64,
    /// What the frames count for in their lane, but for bulk.
    pub(crate) cost: usize,
    /// What bulk counts for in its lane.
    pub(crate) bulk_cost: usize,
}

impl Batch {
    pub(crate) fn push(&mut self, frame: Frame) {
        self.cost += frame.cost();
        self.add(frame);
    }

    pub(crate) fn push_bulk(&mut self, frame: Frame) {
        self.bulk_cost += frame.cost();
        self.add(frame);
    }

    fn add(&mut self, frame: Frame) {
        if frame.kind == Kind::Request {
            self.requests.push_back((self.bytes, frame.number));
        }
        self.push_free(&frame);
        if frame.payload.len() > COPIED_BYTES {
            self.seal();
            self.bytes += frame.payload.len();
            self.chunks.push_back(frame.payload);
        } else {
            self.bytes += frame.payload.len();
            self.small.extend_from_slice(&frame.payload);
        }
    }

    /// Adds the header of a frame that no lane counts.
    pub(crate) fn push_free(&mut self, frame: &Frame) {
        self.frames += 1;
        self.bytes += HEADER_BYTES;
        frame.put_header(&mut self.small);
    }

    /// Nothing more is added; it can be written now.
    pub(crate) fn seal(&mut self) {
        if !self.small.is_empty() {
            self.chunks.push_back(self.small.split().freeze());
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES
    }

    /// The highest number of a request in it.
    #[cfg(test)]
    pub(crate) fn last_request(&self) -> Option<u64> {
        self.requests.back().map(|(_, number)| *number)
    }

    pub(crate) fn is_written(&self) -> bool {
        self.chunks.is_empty()
    }

    /// What the next write may take, and in how many pieces.
    pub(crate) fn slices<'batch>(&'batch self, slices: &mut [IoSlice<'batch>; SLICES]) -> usize {
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    /// The highest number of a request of which something is within the next `bytes`. It is told once.
    pub(crate) fn begun_within(&mut self, bytes: usize) -> Option<u64> {
        let mut last = None;
        while let Some((start, number)) = self.requests.front().copied()
            && start < self.written + bytes
        {
            last = Some(number);
            self.requests.pop_front();
        }
        last
    }

    pub(crate) fn advance(&mut self, mut bytes: usize) {
        self.written += bytes;
        while bytes > 0
            && let Some(chunk) = self.chunks.front_mut()
        {
            let step = bytes.min(chunk.len());
            chunk.advance(step);
            bytes -= step;
            if chunk.is_empty() {
                self.chunks.pop_front();
            }
        }
    }

    /// The bytes of all frames.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Empty again; the buffer is kept.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            small: std::mem::take(&mut self.small),
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_has_begun_when_its_first_byte_was_taken() {
        let mut batch = Batch::default();
        for number in [5, 6, 7] {
            batch.push(Frame::new(Kind::Request, number, vec![0; 10].into()));
        }
        batch.seal();
        assert_eq!(batch.bytes(), 3 * 32);
        assert_eq!(batch.begun_within(0), None);
        assert_eq!(batch.begun_within(1), Some(5));
        batch.advance(1);
        assert_eq!(batch.begun_within(31), None);
        batch.advance(31);
        assert_eq!(batch.begun_within(64), Some(7));
        batch.advance(64);
        assert!(batch.is_written());
    }

    #[test]
    fn large_payloads_are_not_copied() {
        let large = Bytes::from(vec![1; COPIED_BYTES + 1]);
        let mut batch = Batch::default();
        batch.push(Frame::new(Kind::Message, 0, large.clone()));
        batch.push(Frame::new(Kind::Message, 0, Bytes::from_static(b"small")));
        batch.seal();
        let mut slices = [IoSlice::new(&[]); SLICES];
        assert_eq!(batch.slices(&mut slices), 3);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
    }
}
