//! One shard on one node: consensus, the broker and the requests that wait for it.
//!
//! Pure: everything that can happen is an [`Input`], everything the replica wants is an [`Output`].
//! The shell steps inputs in, ends its turn, and carries out what comes out; a simulator does the
//! same with a seed instead of threads. Read [`Replica`] first.

mod consensus;
mod input;
mod output;
mod proposals;
mod reads;
mod replica;
mod snapshot;
mod tail;
mod waiters;

pub use consensus::Membership;
pub use input::{Input, ReceiveRequest, Ticket};
pub use output::{Append, Output, StoredEntry};
pub use replica::{Failure, Image, Replica, Start};
pub use snapshot::{SnapshotError, SnapshotImage, read_snapshot};
pub use tail::Place;
