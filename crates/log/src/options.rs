//! Limits and sizes of the log.

use crate::error::Error;

/// The largest body of one entry, kept record or snapshot chunk.
pub const RECORD_BYTES_MAX: u64 = 16 << 20;

/// One write-ahead log file is read into memory as a whole, which bounds what recovery allocates.
const WAL_FILE_BYTES: (u64, u64) = (4096, 64 << 20);
const SEGMENT_BYTES: (u64, u64) = (4096, 1 << 30);

/// How a disk is used.
#[derive(Debug, Clone)]
pub struct Options {
    /// Size of one write-ahead log file. An entry must fit into one beside the hard states of all
    /// shards (80 bytes each).
    pub wal_file_bytes: u64,
    /// Above this many bytes of used files the oldest quarter is due.
    pub wal_budget_bytes: u64,
    /// Up to this many bytes of used files, those that a follower still needs are not due. Less than the
    /// budget: none are held back.
    pub wal_held_bytes: u64,
    /// A segment is sealed when the next record would make it longer.
    pub segment_bytes: u64,
    /// How many segments are open at once, beside those that are being read.
    pub open_segments: usize,
    /// How many prepared files [`crate::Store::prepare_files`] keeps.
    pub spare_files: usize,
    /// Names the time since this machine was switched on. Whoever opens the log in the same one after a crash finds all
    /// that was written; in another one the disk may have lost what it had promised
    /// ([`crate::RecoveryReport::suspect`]). `None`: not known, which counts as another one.
    pub boot: Option<u64>,
    /// Other nodes have copies of the shards. Then a damaged place of the log costs a shard what it may have lost there,
    /// which the others know ([`crate::RecoveredShard::doubtful`] and [`crate::RecoveredShard::lost`]); otherwise the log
    /// stays closed.
    pub has_peers: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            wal_file_bytes: 32 << 20,
            wal_budget_bytes: 512 << 20,
            wal_held_bytes: 2 << 30,
            segment_bytes: 64 << 20,
            open_segments: 128,
            spare_files: 2,
            boot: None,
            has_peers: false,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), Error> {
        within("wal_file_bytes", self.wal_file_bytes, WAL_FILE_BYTES)?;
        if !self.wal_file_bytes.is_multiple_of(4096) {
            let (least, most) = WAL_FILE_BYTES;
            return Err(Error::Option {
                option: "wal_file_bytes (a multiple of 4096)",
                value: self.wal_file_bytes,
                least,
                most,
            });
        }
        within("segment_bytes", self.segment_bytes, SEGMENT_BYTES)
    }
}

fn within(option: &'static str, value: u64, (least, most): (u64, u64)) -> Result<(), Error> {
    if value < least || value > most {
        return Err(Error::Option {
            option,
            value,
            least,
            most,
        });
    }
    Ok(())
}
