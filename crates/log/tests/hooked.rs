//! A disk that lets a test do something at the worst moment.

use std::{
    fmt, io,
    sync::{Arc, Mutex},
};

use anser_log::{
    Disk, DiskFile, OpenMode,
    disk::simulated::{SimulatedDisk, SimulatedFile},
};

type Action = Box<dyn FnOnce() + Send>;

/// Does once, before the next read or write of a file, or behind the next read, what it is given.
#[derive(Clone)]
pub(crate) struct HookedDisk {
    disk: SimulatedDisk,
    before_write: Arc<Mutex<Option<Action>>>,
    before_read: Arc<Mutex<Option<Action>>>,
    after_read: Arc<Mutex<Option<Action>>>,
}

#[derive(Debug)]
pub(crate) struct HookedFile {
    file: SimulatedFile,
    disk: HookedDisk,
}

impl fmt::Debug for HookedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.disk.fmt(formatter)
    }
}

impl HookedDisk {
    pub(crate) fn new(disk: SimulatedDisk) -> Self {
        Self {
            disk,
            before_write: Arc::default(),
            before_read: Arc::default(),
            after_read: Arc::default(),
        }
    }

    pub(crate) fn before_next_write(&self, action: impl FnOnce() + Send + 'static) {
        *self.before_write.lock().unwrap() = Some(Box::new(action));
    }

    pub(crate) fn before_next_read(&self, action: impl FnOnce() + Send + 'static) {
        *self.before_read.lock().unwrap() = Some(Box::new(action));
    }

    pub(crate) fn after_next_read(&self, action: impl FnOnce() + Send + 'static) {
        *self.after_read.lock().unwrap() = Some(Box::new(action));
    }
}

fn act(action: &Mutex<Option<Action>>) {
    let action = action.lock().unwrap().take();
    if let Some(action) = action {
        action();
    }
}

impl Disk for HookedDisk {
    type File = HookedFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<HookedFile> {
        Ok(HookedFile {
            file: self.disk.open(path, mode)?,
            disk: self.clone(),
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
        self.disk.sync_directory(path)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.disk.free_bytes()
    }
}

impl DiskFile for HookedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        act(&self.disk.before_read);
        let read = self.file.read_at(buffer, offset);
        act(&self.disk.after_read);
        read
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        act(&self.disk.before_write);
        self.file.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
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
