//! What can go wrong with a disk, one variant per way a caller may act.
//!
//! `NoSpace` may be retried after space was freed (or file descriptors); nothing was lost. `Failed` ends this process's use
//! of the disk. `Corrupt`, `MissingFile` and `UnknownVersion` name the file and are never healed
//! here: a peer or an operator has to. What can be said of one shard alone is its own affair ([`Error::is_damage`]).

use std::io;

/// A failure of the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("could not {action} {file}")]
    Io {
        action: &'static str,
        file: String,
        source: io::Error,
    },

    #[error("no room for {file}: the disk is full, or too many files are open")]
    NoSpace { file: String },

    /// After a failed write or sync the page cache cannot be trusted.
    #[error("the log stopped after {file} could not be written: {kind}")]
    Failed { file: String, kind: io::ErrorKind },

    #[error("{file} is damaged at byte {offset}: {what}")]
    Corrupt {
        file: String,
        offset: u64,
        what: &'static str,
    },

    #[error("{file} is missing")]
    MissingFile { file: String },

    #[error(
        "{file} has format version {version}, this program reads version {known}: {} program wrote it, which can still read it",
        if version < known { "an older" } else { "a newer" }
    )]
    UnknownVersion {
        file: String,
        version: u32,
        known: u32,
    },

    #[error("shard {shard} keeps entries from {first} on")]
    Compacted { shard: u16, first: u64 },

    #[error("shard {shard} has no entry {index}")]
    Missing { shard: u16, index: u64 },

    #[error("a record has {bytes} bytes, at most {limit}")]
    TooLarge { bytes: u64, limit: u64 },

    #[error("shard {shard} was given entry {found} where {expected} is the highest allowed")]
    Gap {
        shard: u16,
        expected: u64,
        found: u64,
    },

    #[error("shard {shard} needs entry {needed} from the log, its snapshot covers {covered}")]
    NotCovered {
        shard: u16,
        needed: u64,
        covered: u64,
    },

    /// What a commit builds on is no more: its snapshot is older than the one there is, a segment to be
    /// removed is gone, one for the same entries is there, the shard was forgotten. Nothing was changed; look at the
    /// shard again.
    #[error("shard {shard} was changed meanwhile by another commit")]
    Overtaken { shard: u16 },

    /// A call that contradicts itself or what the shard has: new segments that overlap, an entry below the snapshot.
    #[error("shard {shard}: {what}")]
    Refused { shard: u16, what: &'static str },

    #[error("option {option} has the value {value}, allowed are {least} to {most}")]
    Option {
        option: &'static str,
        value: u64,
        least: u64,
        most: u64,
    },
}

impl Error {
    /// Whether it tells of bytes that should be there and cannot be read, or are not what was written. Nothing was
    /// changed: only what lies there is lost to this disk.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Corrupt { .. } | Self::MissingFile { .. } => true,
            Self::Io { action, .. } => *action == "read",
            _ => false,
        }
    }

    /// Whether the same read may succeed later, unlike one of bytes that are not what was written.
    pub fn may_pass(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::NoSpace { .. })
    }

    /// An error of a read, or of anything that leaves the disk as it was.
    pub(crate) fn io(action: &'static str, file: &str, source: io::Error) -> Self {
        if is_short_of_descriptors(&source) {
            return Self::NoSpace {
                file: file.to_owned(),
            };
        }
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace {
                file: file.to_owned(),
            },
            io::ErrorKind::NotFound => Self::MissingFile {
                file: file.to_owned(),
            },
            _ => Self::Io {
                action,
                file: file.to_owned(),
                source,
            },
        }
    }

    pub(crate) fn corrupt(file: &str, offset: u64, what: &'static str) -> Self {
        Self::Corrupt {
            file: file.to_owned(),
            offset,
            what,
        }
    }
}

/// A file that could not be opened for want of a descriptor says nothing about the disk.
fn is_short_of_descriptors(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
