//! One frame: a header of fixed size and opaque bytes. The layout is in `docs/formats/transport.md`.

use bytes::{BufMut, Bytes};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: usize = 22;

/// What a frame takes in memory beyond its payload, roughly.
const OVERHEAD_BYTES: usize = 64;

/// Set in a refusal: the request was handled, but its answer cannot be sent.
pub(crate) const ANSWER_LOST: u8 = 1;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    Message = 1,
    Request = 2,
    Answer = 3,
    Cancel = 4,
    Ping = 5,
    Pong = 6,
    Refuse = 7,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    /// Of the request that this is about; 0 for messages, pings and pongs.
    pub(crate) number: u64,
    pub(crate) payload: Bytes,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) flags: u8,
    pub(crate) number: u64,
    pub(crate) length: usize,
    payload_checksum: u32,
}

/// Bytes that no node sends. The connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Violation {
    #[error("the checksum of a frame's header is wrong")]
    HeaderChecksum,
    #[error("the checksum of a frame's payload is wrong")]
    PayloadChecksum,
    #[error("a frame's kind is {0}, which is none")]
    Kind(u8),
    #[error("a frame has flags, number or length that its kind does not allow")]
    Shape,
    #[error("a frame has {0} bytes, which is beyond the limit")]
    Length(usize),
    #[error("a frame of this kind does not go in this direction")]
    Direction,
    #[error("the number of a request is not above the last one, or of none that was sent")]
    Number,
    #[error("the peer asks without end and takes no answers")]
    Greedy,
}

/// What a frame with this many bytes of payload counts for where bytes are bounded.
pub(crate) const fn cost(payload: usize) -> usize {
    payload + OVERHEAD_BYTES
}

impl Kind {
    fn of(number: u8) -> Result<Self, Violation> {
        Ok(match number {
            1 => Self::Message,
            2 => Self::Request,
            3 => Self::Answer,
            4 => Self::Cancel,
            5 => Self::Ping,
            6 => Self::Pong,
            7 => Self::Refuse,
            other => return Err(Violation::Kind(other)),
        })
    }

    fn is_numbered(self) -> bool {
        !matches!(self, Self::Message | Self::Ping | Self::Pong)
    }

    fn has_payload(self) -> bool {
        matches!(self, Self::Message | Self::Request | Self::Answer)
    }
}

impl Frame {
    pub(crate) fn new(kind: Kind, number: u64, payload: Bytes) -> Self {
        Self {
            kind,
            flags: 0,
            number,
            payload,
        }
    }

    /// One without payload.
    pub(crate) fn bare(kind: Kind, number: u64) -> Self {
        Self::new(kind, number, Bytes::new())
    }

    pub(crate) fn cost(&self) -> usize {
        cost(self.payload.len())
    }

    pub(crate) fn put_header(&self, out: &mut impl BufMut) {
        let length = u32::try_from(self.payload.len()).expect("checked before it was queued");
        let mut header = [0; HEADER_BYTES];
        header[0..4].copy_from_slice(&length.to_le_bytes());
        header[4] = self.kind as u8;
        header[5] = self.flags;
        header[6..14].copy_from_slice(&self.number.to_le_bytes());
        header[14..18].copy_from_slice(&crc32c::crc32c(&self.payload).to_le_bytes());
        let checksum = crc32c::crc32c(&header[..18]);
        header[18..22].copy_from_slice(&checksum.to_le_bytes());
        out.put_slice(&header);
    }
}

impl Header {
    /// Reads a header and judges everything that can be judged without the payload.
    pub(crate) fn decode(
        bytes: &[u8; HEADER_BYTES],
        payload_bytes_max: usize,
    ) -> Result<Self, Violation> {
        let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|offset| bytes[at + offset]));
        if crc32c::crc32c(&bytes[..18]) != word(18) {
            return Err(Violation::HeaderChecksum);
        }
        let header = Self {
            kind: Kind::of(bytes[4])?,
            flags: bytes[5],
            number: u64::from(word(6)) | (u64::from(word(10)) << 32),
            length: word(0) as usize,
            payload_checksum: word(14),
        };
        if header.length > payload_bytes_max {
            return Err(Violation::Length(header.length));
        }
        let flags_known = if header.kind == Kind::Refuse {
            ANSWER_LOST
        } else {
            0
        };
        let is_shaped = header.flags & !flags_known == 0
            && (header.number != 0) == header.kind.is_numbered()
            && (header.length == 0 || header.kind.has_payload());
        if is_shaped {
            Ok(header)
        } else {
            Err(Violation::Shape)
        }
    }

    pub(crate) fn frame(self, payload: Bytes) -> Result<Frame, Violation> {
        if crc32c::crc32c(&payload) != self.payload_checksum {
            return Err(Violation::PayloadChecksum);
        }
        Ok(Frame {
            kind: self.kind,
            flags: self.flags,
            number: self.number,
            payload,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PAYLOAD_MAX: usize = 512;

    fn encode(frame: &Frame) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame.put_header(&mut bytes);
        bytes.extend_from_slice(&frame.payload);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Frame, Violation> {
        let (header, payload) = bytes.split_first_chunk().unwrap();
        let header = Header::decode(header, PAYLOAD_MAX)?;
        if header.length != payload.len() {
            return Err(Violation::Length(header.length));
        }
        header.frame(Bytes::copy_from_slice(payload))
    }

    fn any_frame() -> impl Strategy<Value = Frame> {
        let payload = proptest::collection::vec(any::<u8>(), 0..PAYLOAD_MAX);
        (1..=7_u8, any::<bool>(), 1_u64.., payload).prop_map(|(kind, flag, number, payload)| {
            let kind = Kind::of(kind).unwrap();
            Frame {
                kind,
                flags: u8::from(flag && kind == Kind::Refuse),
                number: if kind.is_numbered() { number } else { 0 },
                payload: if kind.has_payload() {
                    payload.into()
                } else {
                    Bytes::new()
                },
            }
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn what_is_written_is_read(frame in any_frame()) {
            prop_assert_eq!(decode(&encode(&frame)), Ok(frame));
        }

        #[test]
        fn a_changed_bit_is_noticed(frame in any_frame(), at in any::<prop::sample::Index>(), bit in 0..8_u32) {
            let mut bytes = encode(&frame);
            let at = at.index(bytes.len());
            bytes[at] ^= 1_u8 << bit;
            prop_assert!(decode(&bytes).is_err());
        }

        #[test]
        fn random_bytes_are_no_frame(bytes in proptest::collection::vec(any::<u8>(), HEADER_BYTES..200)) {
            prop_assert!(decode(&bytes).is_err());
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_document() {
        let frame = Frame::new(
            Kind::Request,
            0x0102_0304_0506_0708,
            Bytes::from_static(b"abc"),
        );
        let bytes = encode(&frame);
        assert_eq!(bytes[..14], [3, 0, 0, 0, 2, 0, 8, 7, 6, 5, 4, 3, 2, 1]);
        assert_eq!(bytes[14..18], crc32c::crc32c(b"abc").to_le_bytes());
        assert_eq!(bytes[18..22], crc32c::crc32c(&bytes[..18]).to_le_bytes());
        assert_eq!(&bytes[22..], b"abc");
    }

    #[test]
    fn every_field_is_judged() {
        let header = |change: fn(&mut Frame)| {
            let mut frame = Frame::new(Kind::Message, 0, Bytes::new());
            change(&mut frame);
            decode(&encode(&frame)).unwrap_err()
        };
        assert_eq!(header(|frame| frame.flags = 1), Violation::Shape);
        assert_eq!(header(|frame| frame.number = 1), Violation::Shape);
        assert_eq!(header(|frame| frame.kind = Kind::Answer), Violation::Shape);
        let long = |frame: &mut Frame| frame.payload = vec![0; PAYLOAD_MAX + 1].into();
        assert_eq!(header(long), Violation::Length(PAYLOAD_MAX + 1));
        let full_ping = |frame: &mut Frame| {
            frame.kind = Kind::Ping;
            frame.payload = Bytes::from_static(b"x");
        };
        assert_eq!(header(full_ping), Violation::Shape);
    }
}
