//! Generated message bodies: text that says by itself which send it came from and whether it is whole.
//!
//! The form is `anser <id> <producer> <sequence> <checksum> <padding>`, the checksum over all other
//! bytes. The id is a mix of run, producer and sequence, so two runs on one data directory differ.

use std::fmt::Write;

use crate::event::SentBody;

/// A body made by [`Body::new`] or read back by [`Body::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    pub id: u64,
    pub producer: u32,
    /// Counts the bodies of one producer from zero.
    pub sequence: u64,
}

impl Body {
    pub fn new(run: u64, producer: u32, sequence: u64) -> Self {
        let id = mix(mix(run ^ u64::from(producer)).wrapping_add(sequence));
        Self {
            id,
            producer,
            sequence,
        }
    }

    /// The text of the body, padded to at least `bytes` bytes.
    pub fn text(&self, bytes: usize) -> String {
        let head = self.head();
        let mut padding = String::with_capacity(bytes);
        let mut state = self.id;
        while head.len() + 18 + padding.len() < bytes {
            state = mix(state);
            let letter = b'a' + u8::try_from(state % 26).expect("26 letters fit in a byte");
            padding.push(char::from(letter));
        }
        let sum = checksum(format!("{head} {padding}").as_bytes());
        let mut text = head;
        write!(text, " {sum:016x} {padding}").expect("writing to a string does not fail");
        text
    }

    /// What to record of a send of this text.
    pub fn sent(&self, text: &str) -> SentBody {
        SentBody {
            id: self.id,
            checksum: checksum(text.as_bytes()),
        }
    }

    /// Reads a body back; `None` if it was not made here or is not whole.
    pub fn parse(text: &str) -> Option<Self> {
        let mut words = text.splitn(6, ' ');
        if words.next()? != "anser" {
            return None;
        }
        let id = u64::from_str_radix(words.next()?, 16).ok()?;
        let producer = words.next()?.parse().ok()?;
        let sequence = words.next()?.parse().ok()?;
        let sum = u64::from_str_radix(words.next()?, 16).ok()?;
        let padding = words.next()?;
        let body = Self {
            id,
            producer,
            sequence,
        };
        let whole = checksum(format!("{} {padding}", body.head()).as_bytes()) == sum;
        whole.then_some(body)
    }

    fn head(&self) -> String {
        format!("anser {:016x} {} {}", self.id, self.producer, self.sequence)
    }
}

/// FNV-1a over 64 bits: enough to tell changed bytes, not meant against an attacker.
pub fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, &byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The finaliser of splitmix64: a bijection, so different inputs stay different.
fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_reads_back_at_every_size() {
        for bytes in [0, 40, 64, 1024, 5000] {
            let body = Body::new(7, 3, 11);
            let text = body.text(bytes);
            assert!(text.len() >= bytes);
            assert_eq!(Body::parse(&text), Some(body));
        }
    }

    #[test]
    fn a_changed_byte_is_seen() {
        let text = Body::new(7, 3, 11).text(200);
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            assert_eq!(Body::parse(&changed), None, "byte {at}");
        }
        assert_eq!(Body::parse(&text[..text.len() - 1]), None);
    }
}
