//! One disk of a node: the write-ahead log of all its shards, their segments and snapshots, and
//! recovery after a crash.
//!
//! Read [`Log::open`] first. It gives three handles: the [`Appender`] for the one thread that
//! writes, the [`Reader`] for everybody, and the [`Store`] for maintenance, which copies what is
//! still alive out of old log files into segments and lets the files be used again.
//!
//! The crate knows nothing of queues: an entry is an index, a term and bytes. It owns no thread and
//! no clock, and reaches files only through the [`Disk`] trait. The bytes on disk are drawn in
//! `docs/formats/wal.md`, `segment.md` and `manifest.md`.

mod appender;
mod batch;
pub mod disk;
mod entry;
mod error;
mod holds;
mod index;
mod layout;
mod log_end;
mod manifest;
mod marks;
mod names;
mod options;
mod pieces;
mod reader;
mod record;
mod recovery;
mod runs;
#[cfg(feature = "sabotage")]
pub mod sabotage;
mod scan;
mod segment;
mod shared;
mod snapshot;
mod staging;
mod store;
mod verify;
mod wal_files;

pub use appender::Appender;
pub use disk::{Disk, DiskFile, FileSystem, OpenMode, Overlay};
pub use entry::{
    Entry, EntryKind, HardState, Kept, Position, SegmentInfo, SnapshotInfo, Stored, Write,
};
pub use error::Error;
pub use holds::{Follower, Holds};
pub use names::MANIFEST;
pub use options::{Options, RECORD_BYTES_MAX};
pub use reader::Reader;
pub use recovery::{
    Certainty, Log, Mended, MendedShard, MendedState, Opened, RecoveredShard, RecoveryReport,
    ShardDamage, TornTail,
};
pub use segment::writer::SegmentWriter;
pub use snapshot::{SnapshotReader, SnapshotWriter};
pub use store::{
    Change, Due, DueShard, Export, ExportedFile, Import, Imported, SnapshotOrigin, Standing, Store,
};
pub use verify::Verified;
