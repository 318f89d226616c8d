//! A file that is written aside, synced and then given its name.
//!
//! Until [`Staging::seal`] the file carries a temporary name; if the writer is dropped before, the
//! file goes with it. Writes are gathered, so records cost no system call each.

use std::io;

use crate::{
    disk::{Disk, DiskFile, OpenMode},
    layout::wide,
};

const GATHERED_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Staging<D: Disk> {
    disk: D,
    file: Option<D::File>,
    staged: String,
    name: String,
    gathered: Vec<u8>,
    /// Where `gathered` begins in the file.
    flushed: u64,
}

impl<D: Disk> Staging<D> {
    pub(crate) fn create(disk: &D, name: String) -> io::Result<Self> {
        let staged = format!("{name}.temp");
        match disk.remove(&staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = disk.open(&staged, OpenMode::Create)?;
        Ok(Self {
            disk: disk.clone(),
            file: Some(file),
            staged,
            name,
            gathered: Vec::new(),
            flushed: 0,
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Bytes written so far.
    pub(crate) fn len(&self) -> u64 {
        self.flushed + self.gathered.len() as u64
    }

    pub(crate) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.gathered.extend_from_slice(bytes);
        if self.gathered.len() >= GATHERED_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes zeros up to a multiple of eight bytes.
    pub(crate) fn pad(&mut self) -> io::Result<()> {
        let padding = self.len().next_multiple_of(8) - self.len();
        self.write(&[0; 8][..wide(padding)])
    }

    fn flush(&mut self) -> io::Result<()> {
        if let Some(file) = &self.file {
            file.write_at(&self.gathered, self.flushed)?;
        }
        self.flushed += self.gathered.len() as u64;
        self.gathered.clear();
        Ok(())
    }

    /// Syncs the file and gives it its name; the folder is left to the caller.
    pub(crate) fn seal(mut self) -> io::Result<()> {
        self.flush()?;
        #[cfg(feature = "sabotage")]
        let skips = crate::sabotage::is_planted("files without sync");
        #[cfg(not(feature = "sabotage"))]
        let skips = false;
        if let Some(file) = &self.file
            && !skips
        {
            file.sync()?;
        }
        self.disk.rename(&self.staged, &self.name)?;
        self.file = None;
        Ok(())
    }
}

impl<D: Disk> Drop for Staging<D> {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Best effort: what no manifest lists is removed when the log is opened next.
            drop(self.disk.remove(&self.staged));
        }
    }
}
