//! A disk in memory for tests: it forgets in a crash what was not synced, and fails when told to.
//!
//! Programs see their writes at once, as through a page cache. What survives a crash is decided by
//! [`Durability`]: any set of unsynced pages, and any first part of a folder's unsynced changes.
//! Operations can be recorded, so that every moment between two of them can be a crash. See
//! `tests/crash.rs` of this crate for how to explore them all.

mod durability;
mod faults;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard},
};

use bytes::Bytes;

pub use durability::{Durability, Operation};
pub use faults::{Fault, FaultPoint, Times};

use super::{Disk, DiskFile, OpenMode};

/// What a disk holds after a crash: folders, and files with their content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    pub directories: BTreeSet<String>,
    pub files: BTreeMap<String, Arc<Vec<u8>>>,
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
        }
    }

    pub fn inject(&self, fault: Fault) {
        self.world().faults.push(fault);
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

    /// Whether the content of every file whose path contains this would survive a crash.
    pub fn is_synced(&self, path_part: &str) -> bool {
        let world = self.world();
        let mut files = world.files.iter();
        files.all(|(path, &inode)| !path.contains(path_part) || world.durability.is_synced(inode))
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
        Ok(SimulatedFile {
            world: Arc::clone(&self.world),
            inode,
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.fault(FaultPoint::Rename, to)?;
        world.check_parent(to)?;
        let inode = world.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        world.files.insert(to.to_owned(), inode);
        world.log(Operation::Rename {
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
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
        world.fault(FaultPoint::SyncDirectory, path)?;
        world.log(Operation::SyncDirectory {
            path: path.to_owned(),
        });
        Ok(())
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
        buffer[..count].copy_from_slice(&content[start..start + count]);
        Ok(count)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.file_fault(FaultPoint::Write, self.inode)?;
        let (start, end) = (index(offset), index(offset) + data.len());
        let grown = end.saturating_sub(world.inodes[self.inode].len());
        if grown > 0 && world.used_bytes() + grown as u64 > world.capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        world.bytes_written += data.len() as u64;
        let content = Arc::make_mut(&mut world.inodes[self.inode]);
        if grown > 0 {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(data);
        let data = Bytes::copy_from_slice(data);
        world.log(Operation::Write {
            inode: self.inode,
            offset,
            data,
        });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        if let Err(error) = world.file_fault(FaultPoint::Sync, self.inode) {
            world.log(Operation::SyncFailed { inode: self.inode });
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
        Ok(())
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).expect("a simulated file is in memory")
}
