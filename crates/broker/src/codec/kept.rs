//! What a log keeps of an entry: some bodies, each under the number it had in the entry.
//!
//! A kept entry can be thinned out again, with the same result as keeping those bodies at once.

use bytes::Bytes;

use crate::codec::{
    batch::{bodies_of, body_of},
    format,
    wire::{Reader, Sink},
};

const HEADER_BYTES: usize = 1 + 4;
/// A body's number and where its length and bytes are.
const TABLE_ITEM_BYTES: usize = 4 + 4;

/// The bodies with these numbers out of an entry; `None` if one of them is not there. The numbers
/// must ascend.
pub fn keep(payload: &[u8], ordinals: &[u32]) -> Option<Bytes> {
    pack(ordinals, |ordinal| body_of(payload, ordinal))
}

/// All bodies out of an entry; `None` if it has none.
pub fn keep_all(payload: &[u8]) -> Option<Bytes> {
    let count = bodies_of(payload);
    let ordinals: Vec<u32> = (0..count).collect();
    (count > 0).then(|| keep(payload, &ordinals))?
}

/// The bodies with these numbers out of what was kept before; `None` if one of them is not there.
pub fn keep_again(kept: &[u8], ordinals: &[u32]) -> Option<Bytes> {
    pack(ordinals, |ordinal| kept_body_of(kept, ordinal))
}

/// The body with this number, as a slice of what was kept.
pub fn kept_body(kept: &Bytes, ordinal: u32) -> Option<Bytes> {
    kept_body_of(kept, ordinal).map(|body| kept.slice_ref(body))
}

fn pack<'a>(ordinals: &[u32], find: impl Fn(u32) -> Option<&'a [u8]>) -> Option<Bytes> {
    if !ordinals.is_sorted_by(|left, right| left < right) {
        return None;
    }
    let bodies: Option<Vec<&[u8]>> = ordinals.iter().map(|ordinal| find(*ordinal)).collect();
    let bodies = bodies?;
    let bodies_bytes: usize = bodies.iter().map(|body| 4 + body.len()).sum();
    let mut offset = HEADER_BYTES + ordinals.len() * TABLE_ITEM_BYTES;
    let mut bytes = Vec::with_capacity(offset + bodies_bytes);
    bytes.u8(format::KEPT);
    bytes.count(ordinals.len());
    for (ordinal, body) in ordinals.iter().zip(&bodies) {
        bytes.u32(*ordinal);
        bytes.count(offset);
        offset += 4 + body.len();
    }
    for body in bodies {
        bytes.slice(body);
    }
    Some(Bytes::from(bytes))
}

fn kept_body_of(kept: &[u8], ordinal: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(kept);
    if reader.u8().ok()? != format::KEPT {
        return None;
    }
    let count = reader.count(TABLE_ITEM_BYTES).ok()? as usize;
    let table = reader.take(count * TABLE_ITEM_BYTES).ok()?;
    let item = |place: usize| -> Option<(u32, u32)> {
        let mut reader = Reader::new(table.get(place * TABLE_ITEM_BYTES..)?);
        Some((reader.u32().ok()?, reader.u32().ok()?))
    };
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        let (found, offset) = item(middle)?;
        match found.cmp(&ordinal) {
            std::cmp::Ordering::Less => low = middle + 1,
            std::cmp::Ordering::Greater => high = middle,
            std::cmp::Ordering::Equal => {
                let mut reader = Reader::new(kept);
                reader.take(offset as usize).ok()?;
                return reader.slice().ok();
            }
        }
    }
    None
}
