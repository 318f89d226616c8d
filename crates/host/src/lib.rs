//! One node's shards without threads: everything that a node does between its replicas and its disk.
//!
//! The node gives this code threads, files and sockets, the simulator gives it events of a seed; both run
//! the same. Pure: clocks are read outside and come in as [`Now`], disks are the log's
//! [`Disk`](anser_log::Disk), and what cannot be done here goes out as data.

mod bodies;
mod cache;
mod clock;
mod opening;
mod snapshots;
mod writer;

pub use bodies::{BodyReader, Unreadable, messages};
pub use cache::EntryCache;
pub use clock::{Now, ShardTime};
pub use opening::{OpenError, Opener, begin, is_untouched, stored};
pub use snapshots::{ReadError, read, save};
pub use writer::{Batch, Deferred, Job};
