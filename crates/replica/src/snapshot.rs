//! A replica's snapshot: who takes part, then the shard (`docs/formats/state.md`).

use anser_broker::shard::Shard;

use crate::membership::{Membership, MembershipError};

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
    #[error("the snapshot is empty")]
    Empty,
    #[error("the snapshot's membership cannot be read: {0}")]
    Membership(#[from] MembershipError),
    #[error("the shard's state cannot be read: {0}")]
    Shard(String),
}

/// Writes a snapshot piece by piece.
pub(crate) fn write(membership: &Membership, shard: &Shard, out: &mut dyn FnMut(&[u8])) {
    let mut head = vec![VERSION];
    membership.encode(&mut head);
    out(&head);
    shard.save(out);
}

/// Reads what a replica wrote.
pub fn read_snapshot(bytes: &[u8]) -> Result<SnapshotImage, SnapshotError> {
    let (&version, mut rest) = bytes.split_first().ok_or(SnapshotError::Empty)?;
    if version != VERSION {
        return Err(SnapshotError::Version(version));
    }
    let membership = Membership::decode(&mut rest)?;
    let shard = Shard::restore(rest).map_err(|error| SnapshotError::Shard(error.to_string()))?;
    Ok(SnapshotImage { membership, shard })
}
