//! Bytes of a file that come in pieces of any size and are taken in units of another.

#[derive(Debug, Default)]
pub(crate) struct Pieces {
    bytes: Vec<u8>,
    /// How many of `bytes` were taken.
    taken: usize,
    /// Where the next unit begins in the file.
    offset: u64,
}

impl Pieces {
    pub(crate) fn push(&mut self, piece: &[u8]) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        self.bytes.extend_from_slice(piece);
    }

    /// Where the next unit begins in the file.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Where the next piece begins in the file.
    pub(crate) fn received(&self) -> u64 {
        self.offset + (self.bytes.len() - self.taken) as u64
    }

    /// The next bytes, if so many are there.
    pub(crate) fn peek(&self, count: usize) -> Option<&[u8]> {
        self.bytes[self.taken..].get(..count)
    }

    pub(crate) fn take(&mut self, count: usize) {
        assert!(count <= self.bytes.len() - self.taken, "looked at before");
        self.taken += count;
        self.offset += count as u64;
    }
}
