//! The bytes of a manifest's body: numbers one after the other, counts before lists.

use std::collections::BTreeMap;

use bytes::{Buf, BufMut};

use super::{Hole, Manifest, ShardManifest};
use crate::{
    entry::{Position, SegmentInfo, SnapshotInfo},
    layout::{narrow, wide},
};

const DAMAGED: u8 = 1;
const DOUBTFUL: u8 = 2;
const LOST: u8 = 4;

pub(super) fn encode(manifest: &Manifest) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u8(u8::from(manifest.suspect));
    body.put_u8(u8::from(manifest.mended));
    body.put_u64_le(manifest.next_id);
    put_position(&mut body, manifest.durable);
    body.put_u64_le(manifest.wal_first);
    body.put_u32_le(narrow(manifest.wal_bytes.len()));
    for &bytes in &manifest.wal_bytes {
        body.put_u64_le(bytes);
    }
    body.put_u32_le(narrow(manifest.holes.len()));
    for hole in &manifest.holes {
        put_position(&mut body, hole.from);
        body.put_u64_le(hole.to);
    }
    body.put_u32_le(narrow(manifest.shards.len()));
    for (&number, shard) in &manifest.shards {
        body.put_u16_le(number);
        put_shard(&mut body, shard);
    }
    body
}

fn put_shard(body: &mut Vec<u8>, shard: &ShardManifest) {
    put_position(body, shard.void_before);
    body.put_u32_le(narrow(shard.void.len()));
    for void in &shard.void {
        put_position(body, void.start);
        put_position(body, void.end);
    }
    body.put_u64_le(shard.floor);
    body.put_u64_le(shard.recycled);
    body.put_u8(harm(shard));
    body.put_u8(u8::from(shard.snapshot.is_some()));
    if let Some(snapshot) = shard.snapshot {
        body.put_u64_le(snapshot.id);
        body.put_u64_le(snapshot.index);
        body.put_u64_le(snapshot.term);
        body.put_u64_le(snapshot.bytes);
        body.put_u32_le(snapshot.checksum);
    }
    body.put_u32_le(narrow(shard.segments.len()));
    for segment in &shard.segments {
        body.put_u64_le(segment.id);
        body.put_u64_le(segment.first_index);
        body.put_u64_le(segment.last_index);
        body.put_u64_le(segment.bytes);
        body.put_u64_le(segment.records);
    }
}

fn harm(shard: &ShardManifest) -> u8 {
    let flag = |is_set, flag| if is_set { flag } else { 0 };
    flag(shard.damaged, DAMAGED) | flag(shard.doubtful, DOUBTFUL) | flag(shard.lost, LOST)
}

fn put_position(body: &mut Vec<u8>, position: Position) {
    body.put_u64_le(position.sequence);
    body.put_u32_le(position.offset);
}

/// `None` if the body cannot have been written by [`encode`].
pub(super) fn decode(mut body: &[u8], generation: u64) -> Option<Manifest> {
    let body = &mut body;
    let suspect = get_flag(body)?;
    let mended = get_flag(body)?;
    let next_id = body.try_get_u64_le().ok()?;
    let durable = get_position(body)?;
    let wal_first = body.try_get_u64_le().ok()?;
    let wal_bytes = get_list(body, 8, |body| body.try_get_u64_le().ok())?;
    let holes = get_list(body, 20, |body| {
        let from = get_position(body)?;
        let to = body.try_get_u64_le().ok()?;
        Some(Hole { from, to })
    })?;
    let shards = get_list(body, 40, |body| {
        let number = body.try_get_u16_le().ok()?;
        Some((number, get_shard(body)?))
    })?;
    let count = shards.len();
    let shards: BTreeMap<u16, ShardManifest> = shards.into_iter().collect();
    let manifest = Manifest {
        generation,
        suspect,
        mended,
        next_id,
        durable,
        wal_first,
        wal_bytes,
        holes,
        shards,
    };
    (body.is_empty() && manifest.shards.len() == count).then_some(manifest)
}

fn get_shard(body: &mut &[u8]) -> Option<ShardManifest> {
    let void_before = get_position(body)?;
    let void = get_list(body, 24, |body| {
        Some(get_position(body)?..get_position(body)?)
    })?;
    let floor = body.try_get_u64_le().ok()?;
    let recycled = body.try_get_u64_le().ok()?;
    let harm = body.try_get_u8().ok()?;
    if harm > DAMAGED | DOUBTFUL | LOST {
        return None;
    }
    let snapshot = if get_flag(body)? {
        Some(get_snapshot(body)?)
    } else {
        None
    };
    let segments = get_list(body, 40, get_segment)?;
    Some(ShardManifest {
        snapshot,
        void_before,
        void,
        floor,
        recycled,
        damaged: harm & DAMAGED != 0,
        doubtful: harm & DOUBTFUL != 0,
        lost: harm & LOST != 0,
        segments,
    })
}

fn get_snapshot(body: &mut &[u8]) -> Option<SnapshotInfo> {
    Some(SnapshotInfo {
        id: body.try_get_u64_le().ok()?,
        index: body.try_get_u64_le().ok()?,
        term: body.try_get_u64_le().ok()?,
        bytes: body.try_get_u64_le().ok()?,
        checksum: body.try_get_u32_le().ok()?,
    })
}

fn get_segment(body: &mut &[u8]) -> Option<SegmentInfo> {
    Some(SegmentInfo {
        id: body.try_get_u64_le().ok()?,
        first_index: body.try_get_u64_le().ok()?,
        last_index: body.try_get_u64_le().ok()?,
        bytes: body.try_get_u64_le().ok()?,
        records: body.try_get_u64_le().ok()?,
    })
}

fn get_position(body: &mut &[u8]) -> Option<Position> {
    let sequence = body.try_get_u64_le().ok()?;
    Some(Position {
        sequence,
        offset: body.try_get_u32_le().ok()?,
    })
}

fn get_flag(body: &mut &[u8]) -> Option<bool> {
    match body.try_get_u8().ok()? {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

/// A list whose count cannot ask for more memory than the body itself has.
fn get_list<T>(
    body: &mut &[u8],
    item_bytes_min: usize,
    mut item: impl FnMut(&mut &[u8]) -> Option<T>,
) -> Option<Vec<T>> {
    let count = wide(u64::from(body.try_get_u32_le().ok()?));
    if count.checked_mul(item_bytes_min)? > body.len() {
        return None;
    }
    (0..count).map(|_| item(body)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_back_and_never_half() {
        let segment = SegmentInfo {
            id: 3,
            first_index: 1,
            last_index: 9,
            bytes: 4096,
            records: 9,
        };
        let snapshot = SnapshotInfo {
            index: 9,
            term: 2,
            bytes: 100,
            id: 4,
            checksum: 5,
        };
        let shard = ShardManifest {
            snapshot: Some(snapshot),
            void_before: Position {
                sequence: 2,
                offset: 64,
            },
            void: vec![
                Position::default()..Position {
                    sequence: 2,
                    offset: 8,
                },
            ],
            floor: 7,
            recycled: 6,
            damaged: true,
            doubtful: false,
            lost: true,
            segments: vec![segment; 2],
        };
        let manifest = Manifest {
            generation: 8,
            suspect: true,
            mended: false,
            next_id: 5,
            durable: Position {
                sequence: 3,
                offset: 128,
            },
            wal_first: 2,
            wal_bytes: vec![4096, 8192],
            holes: vec![Hole {
                from: Position::default(),
                to: 3,
            }],
            shards: BTreeMap::from([(0, ShardManifest::default()), (7, shard)]),
        };
        let body = encode(&manifest);
        assert_eq!(decode(&body, 8), Some(manifest));
        for length in 0..body.len() {
            assert_eq!(decode(&body[..length], 8), None, "{length} bytes");
        }
    }
}
