//! Many segments, of which few are open.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anser_log::{
    Disk, DiskFile, ExportedFile, Log, OpenMode, Stored,
    disk::simulated::{SimulatedDisk, SimulatedFile},
};

use crate::{
    driver::plain_write,
    faults::{compact_all, small_options},
};

/// A disk that counts the segments that are open.
#[derive(Debug, Clone)]
struct CountingDisk {
    disk: SimulatedDisk,
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct CountedFile {
    file: SimulatedFile,
    counted: Option<Arc<AtomicUsize>>,
}

impl CountingDisk {
    fn new(disk: SimulatedDisk) -> Self {
        Self {
            disk,
            open: Arc::default(),
            most: Arc::default(),
        }
    }
}

impl Drop for CountedFile {
    fn drop(&mut self) {
        if let Some(open) = &self.counted {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Disk for CountingDisk {
    type File = CountedFile;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<CountedFile> {
        let file = self.disk.open(path, mode)?;
        let counted = path.ends_with(".segment").then(|| Arc::clone(&self.open));
        if let Some(open) = &counted {
            let now = open.fetch_add(1, Ordering::Relaxed) + 1;
            self.most.fetch_max(now, Ordering::Relaxed);
        }
        Ok(CountedFile { file, counted })
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

impl DiskFile for CountedFile {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
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

/// Core review, finding 14: all were held open, until there were no descriptors left.
/// A hundred segments of one record each, while they are made, opened, read and exported.
#[test]
fn many_segments_take_few_open_files() {
    let disk = SimulatedDisk::default();
    let counting = CountingDisk::new(disk.clone());
    let mut opened = Log::open(counting.clone(), small_options()).unwrap();
    for index in 1..=100 {
        let write = plain_write(1, index..=index, 50);
        opened.appender.append(&[write]).unwrap();
        compact_all(&opened, 1, index, index).unwrap();
    }
    opened
        .store
        .recycle(opened.store.due_all().unwrap())
        .unwrap();
    drop(opened);
    assert_eq!(counting.open.load(Ordering::Relaxed), 0);

    let counting = CountingDisk::new(disk);
    let opened = Log::open(counting.clone(), small_options()).unwrap();
    let last = opened.reader.first_index(1) - 1;
    assert!(last > 60);
    for index in (1..=last).rev() {
        let stored = opened.reader.read(1, index).unwrap();
        let body = plain_write(1, index..=index, 50).entries[0].data.clone();
        assert!(matches!(stored, Stored::Kept(kept) if kept.payload == body));
    }
    assert_eq!(opened.reader.kept(1, 1, 100, u64::MAX).unwrap().len(), 100);
    let export = opened.store.export(1).unwrap();
    for info in &export.segments {
        let file = ExportedFile::Segment(info.id);
        let bytes = export.read(file, 0, usize::MAX).unwrap();
        assert_eq!(bytes.len() as u64, info.bytes);
    }
    assert_eq!(export.segments.len(), 100);
    // Those of the cache, and the one on its way into it.
    let most = counting.most.load(Ordering::Relaxed);
    assert!(most <= small_options().open_segments + 1, "{most}");
}

/// A reader holds on to a segment that is replaced while it reads.
#[test]
fn an_export_reads_to_its_end_what_was_replaced_and_closed_meanwhile() {
    let disk = SimulatedDisk::default();
    let mut opened = Log::open(disk.clone(), small_options()).unwrap();
    for index in 1..=10 {
        let write = plain_write(1, index..=index, 50);
        opened.appender.append(&[write]).unwrap();
        compact_all(&opened, 1, index, index).unwrap();
    }
    let segments = || {
        let files = disk.contents().files.into_keys();
        files.filter(|path| path.ends_with(".segment")).count()
    };
    let export = opened.store.export(1).unwrap();
    let change = anser_log::Change {
        remove: export.segments.iter().map(|info| info.id).collect(),
        ..anser_log::Change::default()
    };
    opened.store.commit(1, change).unwrap();
    assert_eq!((opened.store.segments(1).len(), segments()), (0, 10));
    for info in &export.segments {
        let file = ExportedFile::Segment(info.id);
        let bytes = export.read(file, 0, usize::MAX).unwrap();
        assert_eq!(bytes.len() as u64, info.bytes);
    }
    drop(export);
    assert_eq!(segments(), 0);
}
