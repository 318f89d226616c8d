//! A replica's snapshot: who takes part, then the shard (`docs/formats/state.md`).

use anser_broker::shard::Shard;

use crate::consensus::Membership;

const VERSION: u8 = 1;

/// What a snapshot holds.
#[derive(Debug)]
pub struct SnapshotImage {
    pub membership: Membership,
    pub shard: Shard,
}

/// Why bytes are no snapshot of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("the snapshot is of version {0}, this program reads version {VERSION}")]
    Version(u8),
    #[error("the snapshot ends in the middle of the membership")]
    Short,
    #[error("the shard's state cannot be read: {0}")]
    Shard(String),
}

/// Writes a snapshot piece by piece.
pub(crate) fn write(membership: &Membership, shard: &Shard, out: &mut dyn FnMut(&[u8])) {
    let mut head = vec![VERSION, u8::from(membership.auto_leave)];
    for nodes in [
        &membership.voters,
        &membership.learners,
        &membership.voters_outgoing,
        &membership.learners_next,
    ] {
        let count = u32::try_from(nodes.len()).expect("a shard has few replicas");
        head.extend(count.to_le_bytes());
        head.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
    }
    out(&head);
    shard.save(out);
}

/// Reads what a replica wrote.
pub fn read_snapshot(bytes: &[u8]) -> Result<SnapshotImage, SnapshotError> {
    let mut rest = bytes;
    let [version] = take(&mut rest)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let [auto_leave] = take(&mut rest)?;
    let membership = Membership {
        voters: nodes(&mut rest)?,
        learners: nodes(&mut rest)?,
        voters_outgoing: nodes(&mut rest)?,
        learners_next: nodes(&mut rest)?,
        auto_leave: auto_leave != 0,
    };
    let shard = Shard::restore(rest).map_err(|error| SnapshotError::Shard(error.to_string()))?;
    Ok(SnapshotImage { membership, shard })
}

fn nodes(rest: &mut &[u8]) -> Result<Vec<u64>, SnapshotError> {
    let count = u32::from_le_bytes(take(rest)?);
    (0..count)
        .map(|_| take(rest).map(u64::from_le_bytes))
        .collect()
}

fn take<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], SnapshotError> {
    let (piece, after) = rest.split_first_chunk().ok_or(SnapshotError::Short)?;
    *rest = after;
    Ok(*piece)
}
