//! Making write-ahead log files ready before they are needed.
//!
//! A new file is filled with written zeros and synced: `fallocate` alone would leave the extents to
//! be converted inside the appender's sync. A recycled file already has its blocks; what it holds
//! belongs to another sequence and is never taken for records. A file is listed in the manifest
//! before the appender may have it, so its loss would be noticed.

use std::{io, sync::Arc};

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    error::Error,
    layout::wide,
    names,
    shared::Shared,
};

const ZEROS_BYTES: u64 = 1 << 20;

/// A listed file that holds nothing of its own yet.
#[derive(Debug)]
pub(crate) struct PreparedFile<D: Disk> {
    pub(crate) sequence: u64,
    pub(crate) file: Arc<D::File>,
    pub(crate) bytes: u64,
}

impl<D: Disk> Shared<D> {
    /// Makes files until `wanted` are prepared.
    pub(crate) fn prepare(&self, wanted: usize) -> Result<(), Error> {
        while self.prepared().len() < wanted {
            self.prepare_one(wanted)?;
        }
        Ok(())
    }

    fn prepare_one(&self, wanted: usize) -> Result<(), Error> {
        let mut manifest = self.manifest();
        // Somebody else may have made one while this one waited for the manifest.
        if self.prepared().len() >= wanted {
            return Ok(());
        }
        self.check_usable()?;
        let sequence = manifest.wal_end();
        let bytes = self.options.wal_file_bytes;
        let name = names::wal_file(sequence);
        let file = match self.zeroed_file(&name, bytes) {
            Ok(file) => file,
            Err(error) => {
                // Best effort: what is not listed is removed when the log is opened next.
                drop(self.disk.remove(names::WAL_STAGED));
                return Err(self.write_error(&name, error));
            }
        };
        let mut next = manifest.clone();
        next.wal_bytes.push(bytes);
        self.commit_manifest(&mut manifest, next)?;
        self.prepared().push_back(PreparedFile {
            sequence,
            file: Arc::new(file),
            bytes,
        });
        Ok(())
    }

    fn zeroed_file(&self, name: &str, bytes: u64) -> io::Result<D::File> {
        match self.disk.remove(names::WAL_STAGED) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = self.disk.open(names::WAL_STAGED, OpenMode::Create)?;
        write_zeros(&file, 0, bytes)?;
        file.sync()?;
        self.disk.rename(names::WAL_STAGED, name)?;
        let synced = self.disk.sync_directory(names::WAL);
        #[cfg(feature = "sabotage")]
        let synced = crate::sabotage::unless_ignored(synced, "failed sync of a folder ignored");
        synced?;
        Ok(file)
    }
}

pub(crate) fn write_zeros(file: &impl DiskFile, from: u64, to: u64) -> io::Result<()> {
    let zeros = vec![0; wide(ZEROS_BYTES.min(to - from))];
    let mut at = from;
    while at < to {
        let count = ZEROS_BYTES.min(to - at);
        file.write_at(&zeros[..wide(count)], at)?;
        at += count;
    }
    Ok(())
}
