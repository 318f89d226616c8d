//! One shard on one node: consensus, the broker and the requests that wait for it.
//!
//! Pure: everything that can happen is an [`Input`], everything the replica wants is an [`Output`].
//! The shell steps inputs in, ends its turn, and carries out what comes out; a simulator does the
//! same with a seed instead of threads. Read [`Replica`] first.

mod ballots;
mod being_applied;
mod consensus;
mod doubts;
mod elections;
mod entries;
mod fetches;
mod held;
mod input;
mod lives;
mod marks;
mod membership;
mod message;
mod output;
mod proposals;
mod reads;
mod replica;
#[cfg(feature = "sabotage")]
mod sabotage;
mod settling;
mod snapshot;
mod start;
mod status;
mod suspicion;
mod tail;
mod terms;
mod waiters;

pub use being_applied::{applying, being_applied};
pub use input::{Input, ReceiveRequest, Ticket};
pub use marks::Mark;
pub use membership::{Membership, MembershipChange, MembershipError, MembershipStep};
pub use message::{Memory, MessageError, PeerMessage, TimeTold};
pub use output::{Append, Output, SnapshotOffer, StoredEntry, StoredKind};
pub use replica::{Failure, Image, Replica};
pub use snapshot::{SnapshotError, SnapshotImage, read_snapshot};
pub use start::{Start, Tombstone};
pub use status::{EntriesHeld, PeerProgress, ReplicaStatus, Role};
pub use tail::Place;
