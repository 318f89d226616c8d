//! Broken programs that the crash explorer has to find: a test of the tests.

use std::io;

use anser_log::{
    Disk, DiskFile, OpenMode,
    disk::simulated::{SimulatedDisk, SimulatedFile},
};

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    Nothing,
    /// Appends are acknowledged without a sync.
    NoSyncOfTheLog,
    /// Segments and snapshots are committed without a sync.
    NoSyncOfSealedFiles,
    NoSyncOfTheManifest,
    NoSyncOfFolders,
}

#[derive(Debug, Clone)]
pub(crate) struct SabotagedDisk {
    disk: SimulatedDisk,
    sabotage: Sabotage,
}

#[derive(Debug)]
pub(crate) struct SabotagedFile {
    file: SimulatedFile,
    skips_sync: bool,
}

impl SabotagedDisk {
    pub(crate) fn new(disk: SimulatedDisk, sabotage: Sabotage) -> Self {
        Self { disk, sabotage }
    }
}

impl Disk for SabotagedDisk {
    type File = SabotagedFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SabotagedFile> {
        let skips_sync = match self.sabotage {
            Sabotage::NoSyncOfTheLog => path.starts_with("wal"),
            Sabotage::NoSyncOfSealedFiles => path.starts_with("shards"),
            Sabotage::NoSyncOfTheManifest => path.starts_with("manifest"),
            Sabotage::NoSyncOfFolders | Sabotage::Nothing => false,
        };
        Ok(SabotagedFile {
            file: self.disk.open(path, mode)?,
            skips_sync,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.disk.remove(path)
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        self.disk.list(directory)
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.disk.create_directory(path)
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        if self.sabotage == Sabotage::NoSyncOfFolders {
            return Ok(());
        }
        self.disk.sync_directory(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

impl DiskFile for SabotagedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        if self.skips_sync {
            Ok(())
        } else {
            self.file.sync()
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.file.forget_cache()
    }
}
