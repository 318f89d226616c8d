//! A disk in memory for tests: it forgets in a crash what was not synced, and fails when told to.
//!
//! Programs see their writes at once, as through a page cache. What survives a crash is decided by
//! [`Durability`]: any set of unsynced pages, and any first part of a folder's unsynced changes.
//! Operations can be recorded, so that every moment between two of them can be a crash. See
//! `tests/crash.rs` of this crate for how to explore them all.

mod damage;
mod durability;
mod faults;
mod sectors;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

pub use durability::{Durability, Operation};
pub use faults::{Fault, FaultPoint, Times};
pub use sectors::SECTOR_BYTES;

use super::{Disk, DiskFile, OpenMode};

/// What a disk holds after a crash: folders, and files with their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub directories: BTreeSet<String>,
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
    /// Sectors that cannot be read, of files that have some.
    pub unreadable: BTreeMap<String, BTreeSet<usize>>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

/// An open file of a [`SimulatedDisk`].
#[derive(Debug)]
pub struct SimulatedFile {
    world: Arc<Mutex<World>>,
    inode: usize,
    /// By what name it was opened.
    name: String,
}

#[derive(Debug)]
struct World {
    /// Contents as programs see them, also of removed files that are still open.
    inodes: Vec<Arc<Vec<u8>>>,
    files: BTreeMap<String, usize>,
    directories: BTreeSet<String>,
    durability: Durability,
    recorded: Option<Vec<Operation>>,
    faults: Vec<Fault>,
    /// Decides what of a failed operation happened all the same: one bit each, the lowest first.
    lots: u64,
    /// Whether the cache stays although a program asks for it to be forgotten.
    keeps_cache: bool,
    /// Open files by the names that they were opened by.
    open: BTreeMap<String, usize>,
    capacity: u64,
    bytes_written: u64,
}

impl Default for SimulatedDisk {
    fn default() -> Self {
        Self::from_image(&Image::default())
    }
}

impl SimulatedDisk {
    /// A disk as it starts after a crash.
    pub fn from_image(image: &Image) -> Self {
        let mut inodes = Vec::new();
        let mut files = BTreeMap::new();
        for (path, content) in &image.files {
            files.insert(path.clone(), inodes.len());
            inodes.push(Arc::clone(content));
        }
        let world = World {
            inodes,
            files,
            directories: image.directories.clone(),
            durability: Durability::new(image),
            recorded: None,
            faults: Vec::new(),
            lots: 0,
            keeps_cache: false,
            open: BTreeMap::new(),
            capacity: u64::MAX,
            bytes_written: 0,
        };
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// A disk whose program was killed: everything is visible, but what was not synced can still be
    /// lost.
    pub fn after_kill(durability: &Durability) -> Self {
        let disk = Self::default();
        {
            let mut world = disk.world();
            world.inodes = durability.visible_contents();
            (world.files, world.directories) = durability.visible_names();
            world.durability = durability.clone();
        }
        disk
    }

    /// Remembers operations from now on.
    pub fn record(&self) {
        self.world().recorded = Some(Vec::new());
    }

    /// The operations since [`SimulatedDisk::record`].
    pub fn recorded(&self) -> Vec<Operation> {
        self.world().recorded.clone().unwrap_or_default()
    }

    /// How many operations were recorded.
    pub fn recorded_count(&self) -> usize {
        self.world().recorded.as_ref().map_or(0, Vec::len)
    }

    /// What may survive if the machine stopped now.
    pub fn durability(&self) -> Durability {
        self.world().durability.clone()
    }

    /// What a program that is killed leaves to the next: everything, synced or not.
    pub fn contents(&self) -> Image {
        let world = self.world();
        let files = world.files.iter();
        Image {
            directories: world.directories.clone(),
            files: files
                .map(|(path, &inode)| (path.clone(), Arc::clone(&world.inodes[inode])))
                .collect(),
            unreadable: BTreeMap::new(),
        }
    }

    pub fn inject(&self, fault: Fault) {
        self.world().faults.push(fault);
    }

    /// Draws what of a failed operation happens all the same: which pages of a failed sync are written, whether a
    /// failed write got half of its bytes into the cache, whether a failed rename took place, whether what a folder's
    /// failed sync was for is durable. Nothing of it, unless this is called.
    pub fn draw_lots(&self, lots: u64) {
        self.world().lots = lots;
    }

    /// Whether [`DiskFile::forget_cache`] does nothing: a system is free to keep the pages that somebody else has
    /// mapped or locked, or all of them.
    pub fn keep_cache(&self, keeps: bool) {
        self.world().keeps_cache = keeps;
    }

    /// How many files are open whose names, when they were opened, contained this.
    pub fn open_files(&self, path_part: &str) -> usize {
        let world = self.world();
        let open = world
            .open
            .iter()
            .filter(|(path, _)| path.contains(path_part));
        open.map(|(_, count)| count).sum()
    }

    pub fn clear_faults(&self) {
        self.world().faults.clear();
    }

    /// The most bytes all files may have together.
    pub fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Bytes in all files.
    pub fn used_bytes(&self) -> u64 {
        self.world().used_bytes()
    }

    /// The files whose path contains this and of which some content would not survive a crash.
    pub fn unsynced(&self, path_part: &str) -> Vec<String> {
        let world = self.world();
        let files = world.files.iter();
        let unsynced = files.filter(|(path, inode)| {
            path.contains(path_part) && !world.durability.is_synced(**inode)
        });
        unsynced.map(|(path, _)| path.clone()).collect()
    }

    /// The files whose path contains this and of which programs see content that is not on the device and that no
    /// sync would bring there.
    pub fn adrift(&self, path_part: &str) -> Vec<String> {
        let world = self.world();
        let files = world.files.iter();
        let adrift = files.filter(|(path, inode)| {
            path.contains(path_part) && world.durability.is_adrift(**inode)
        });
        adrift.map(|(path, _)| path.clone()).collect()
    }

    /// Bytes of all writes so far.
    pub fn bytes_written(&self) -> u64 {
        self.world().bytes_written
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world
        .lock()
        .expect("a test panicked while it held the disk")
}

impl World {
    fn used_bytes(&self) -> u64 {
        self.files
            .values()
            .map(|&inode| self.inodes[inode].len() as u64)
            .sum()
    }

    fn log(&mut self, operation: Operation) {
        self.durability.apply(&operation);
        if let Some(recorded) = &mut self.recorded {
            recorded.push(operation);
        }
    }

    /// Whether the next part of what failed happened all the same.
    fn happened(&mut self) -> bool {
        let happened = self.lots & 1 == 1;
        self.lots = self.lots.rotate_right(1);
        happened
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let inode = self.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        self.files.insert(to.to_owned(), inode);
        self.log(Operation::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    fn write(&mut self, inode: usize, offset: u64, data: &[u8]) -> io::Result<()> {
        let (start, end) = (index(offset), index(offset) + data.len());
        let grown = end.saturating_sub(self.inodes[inode].len());
        if grown > 0 && self.used_bytes() + grown as u64 > self.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if !self.durability.can_write(inode, start, data.len()) {
            return Err(io::Error::other("a sector beside it cannot be read"));
        }
        self.bytes_written += data.len() as u64;
        let content = Arc::make_mut(&mut self.inodes[inode]);
        if grown > 0 {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(data);
        let data = Bytes::copy_from_slice(data);
        self.log(Operation::Write {
            inode,
            offset,
            data,
        });
        Ok(())
    }

    fn fault(&mut self, point: FaultPoint, path: &str) -> io::Result<()> {
        faults::strike(&mut self.faults, point, path)
    }

    /// As [`World::fault`], by the name that the file has now.
    fn file_fault(&mut self, point: FaultPoint, inode: usize) -> io::Result<()> {
        if self.faults.is_empty() {
            return Ok(());
        }
        let path = self.files.iter().find(|&(_, &named)| named == inode);
        let path = path.map_or(String::new(), |(path, _)| path.clone());
        self.fault(point, &path)
    }

    fn check_parent(&self, path: &str) -> io::Result<()> {
        match path.rsplit_once('/') {
            Some((parent, _)) if !self.directories.contains(parent) => {
                Err(io::ErrorKind::NotFound.into())
            }
            _ => Ok(()),
        }
    }
}

impl Disk for SimulatedDisk {
    type File = SimulatedFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<SimulatedFile> {
        let mut world = self.world();
        let known = world.files.get(path).copied();
        let inode = match (mode, known) {
            (OpenMode::Existing, Some(inode)) => inode,
            (OpenMode::Existing, None) => return Err(io::ErrorKind::NotFound.into()),
            (OpenMode::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Create, None) => {
                world.fault(FaultPoint::Create, path)?;
                world.check_parent(path)?;
                let inode = world.inodes.len();
                world.inodes.push(Arc::default());
                world.files.insert(path.to_owned(), inode);
                world.log(Operation::Create {
                    path: path.to_owned(),
                });
                inode
            }
        };
        *world.open.entry(path.to_owned()).or_default() += 1;
        Ok(SimulatedFile {
            world: Arc::clone(&self.world),
            inode,
            name: path.to_owned(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.check_parent(to)?;
        if let Err(error) = world.fault(FaultPoint::Rename, to) {
            if world.happened() {
                world.rename(from, to)?;
            }
            return Err(error);
        }
        world.rename(from, to)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        world.fault(FaultPoint::Remove, path)?;
        world.files.remove(path).ok_or(io::ErrorKind::NotFound)?;
        world.log(Operation::Remove {
            path: path.to_owned(),
        });
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let world = self.world();
        if !directory.is_empty() && !world.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let prefix = if directory.is_empty() {
            String::new()
        } else {
            format!("{directory}/")
        };
        let paths = world.files.keys().chain(&world.directories);
        let below = paths.filter_map(|path| path.strip_prefix(&prefix));
        let names: BTreeSet<&str> = below.filter(|name| !name.contains('/')).collect();
        Ok(names.into_iter().map(str::to_owned).collect())
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        world.check_parent(path)?;
        if world.directories.insert(path.to_owned()) {
            world.log(Operation::CreateDirectory {
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    fn sync_directory(&self, path: &str) -> io::Result<()> {
        let mut world = self.world();
        let failed = world.fault(FaultPoint::SyncDirectory, path);
        if failed.is_ok() || world.happened() {
            world.log(Operation::SyncDirectory {
                path: path.to_owned(),
            });
        }
        failed
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let world = self.world();
        Ok(world.capacity.saturating_sub(world.used_bytes()))
    }
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        world.file_fault(FaultPoint::Read, self.inode)?;
        let content = &world.inodes[self.inode];
        let start = index(offset).min(content.len());
        let count = buffer.len().min(content.len() - start);
        let sectors = world.durability.sectors(self.inode);
        if !sectors.are_readable(start, count) {
            return Err(io::Error::other("a sector cannot be read"));
        }
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        if let Err(error) = world.file_fault(FaultPoint::Write, self.inode) {
            if world.happened() {
                world.write(self.inode, offset, &data[..data.len() / 2])?;
            }
            return Err(error);
        }
        world.write(self.inode, offset, data)
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        if let Err(error) = world.file_fault(FaultPoint::Sync, self.inode) {
            let dirty = world.durability.dirty_pages(self.inode);
            let written = dirty.into_iter().filter(|_| world.happened()).collect();
            world.log(Operation::SyncFailed {
                inode: self.inode,
                written,
            });
            return Err(error);
        }
        world.log(Operation::Sync { inode: self.inode });
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.world).inodes[self.inode].len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        Arc::make_mut(&mut world.inodes[self.inode]).resize(index(length), 0);
        world.log(Operation::SetLength {
            inode: self.inode,
            length,
        });
        Ok(())
    }

    fn forget_cache(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        if !world.keeps_cache && world.durability.is_adrift(self.inode) {
            world.log(Operation::ForgetCache { inode: self.inode });
            world.inodes[self.inode] = world.durability.visible(self.inode);
        }
        Ok(())
    }
}

impl Drop for SimulatedFile {
    fn drop(&mut self) {
        // A test that panicked while it held the disk counts no more.
        if let Ok(mut world) = self.world.lock()
            && let Some(count) = world.open.get_mut(&self.name)
        {
            *count -= 1;
            if *count == 0 {
                world.open.remove(&self.name);
            }
        }
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file is in memory")
}
