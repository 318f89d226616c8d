//! A disk on which changes can be tried: the files of another disk, with changes that are kept on a second one.
//!
//! Nothing is ever changed on the lower disk. A file is copied to the upper one when it is written first; what is
//! removed below is only hidden. It is for one program at a time, and nothing in it is meant to last.

use std::{
    collections::BTreeSet,
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use super::{Disk, DiskFile, OpenMode};

/// Bytes of a file that are copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// The lower disk, as it would be after some changes.
#[derive(Debug, Clone)]
pub struct Overlay<D: Disk> {
    lower: D,
    upper: D,
    names: Arc<Mutex<Names>>,
}

#[derive(Debug, Default)]
struct Names {
    /// Paths that the upper disk has.
    above: BTreeSet<String>,
    /// Paths of the lower disk that are removed, renamed or replaced.
    hidden: BTreeSet<String>,
}

/// A file of an [`Overlay`].
#[derive(Debug)]
pub struct OverlayFile<D: Disk> {
    path: String,
    disk: Overlay<D>,
    lower: Option<D::File>,
    upper: OnceLock<D::File>,
    copying: Mutex<()>,
}

impl<D: Disk> Overlay<D> {
    /// The upper disk must be empty.
    pub fn new(lower: D, upper: D) -> Self {
        Self {
            lower,
            upper,
            names: Arc::default(),
        }
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has(&self, path: &str) -> bool {
        let names = self.names();
        names.above.contains(path)
            || !names.hidden.contains(path) && self.lower.open(path, OpenMode::Existing).is_ok()
    }

    fn below(&self, path: &str) -> io::Result<D::File> {
        if self.names().hidden.contains(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.lower.open(path, OpenMode::Existing)
    }

    /// Makes the folders of a path on the upper disk.
    fn make_folders(&self, path: &str) -> io::Result<()> {
        let folders = path.match_indices('/').map(|(end, _)| &path[..end]);
        for folder in folders {
            self.upper.create_directory(folder)?;
        }
        Ok(())
    }

    /// Copies a file of the lower disk to the upper one.
    fn copy(&self, path: &str, from: &D::File) -> io::Result<D::File> {
        self.make_folders(path)?;
        let to = self.upper.open(path, OpenMode::Create)?;
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = 0;
        loop {
            let read = from.read_at(&mut piece, at)?;
            to.write_at(&piece[..read], at)?;
            at += read as u64;
            if read < piece.len() {
                break;
            }
        }
        self.names().above.insert(path.to_owned());
        Ok(to)
    }
}

impl<D: Disk> Disk for Overlay<D> {
    type File = OverlayFile<D>;

    fn open(&self, path: &str, mode: OpenMode) -> io::Result<OverlayFile<D>> {
        let is_above = self.names().above.contains(path);
        let (mut lower, upper) = (None, OnceLock::new());
        let opened = match mode {
            OpenMode::Create if self.has(path) => Err(io::ErrorKind::AlreadyExists.into()),
            OpenMode::Create => self
                .make_folders(path)
                .and_then(|()| self.upper.open(path, OpenMode::Create))
                .map(Some),
            OpenMode::Existing if is_above => self.upper.open(path, OpenMode::Existing).map(Some),
            OpenMode::Existing => self.below(path).map(|file| {
                lower = Some(file);
                None
            }),
        };
        if let Some(file) = opened? {
            self.names().above.insert(path.to_owned());
            upper.set(file).expect("it was empty");
        }
        Ok(OverlayFile {
            path: path.to_owned(),
            disk: self.clone(),
            lower,
            upper,
            copying: Mutex::default(),
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        if !self.names().above.contains(from) {
            self.copy(from, &self.below(from)?)?;
        }
        self.make_folders(to)?;
        self.upper.rename(from, to)?;
        let mut names = self.names();
        names.above.remove(from);
        names.above.insert(to.to_owned());
        names.hidden.extend([from.to_owned(), to.to_owned()]);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        if self.names().above.contains(path) {
            self.upper.remove(path)?;
        } else {
            self.below(path)?;
        }
        let mut names = self.names();
        names.above.remove(path);
        names.hidden.insert(path.to_owned());
        Ok(())
    }

    fn list(&self, directory: &str) -> io::Result<Vec<String>> {
        let path = |name: &str| match directory {
            "" => name.to_owned(),
            directory => format!("{directory}/{name}"),
        };
        let below = self.lower.list(directory).or_else(absent)?;
        let above = self.upper.list(directory).or_else(absent)?;
        let names = self.names();
        let below = below.into_iter();
        let below = below.filter(|name| !names.hidden.contains(&path(name)));
        let all: BTreeSet<String> = below.chain(above).collect();
        Ok(all.into_iter().collect())
    }

    fn create_directory(&self, path: &str) -> io::Result<()> {
        self.make_folders(path)?;
        self.upper.create_directory(path)
    }

    fn sync_directory(&self, _path: &str) -> io::Result<()> {
        Ok(())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        self.upper.free_bytes()
    }
}

fn absent(error: io::Error) -> io::Result<Vec<String>> {
    match error.kind() {
        io::ErrorKind::NotFound => Ok(Vec::new()),
        _ => Err(error),
    }
}

impl<D: Disk> OverlayFile<D> {
    fn file(&self) -> &D::File {
        let upper = self.upper.get().or(self.lower.as_ref());
        upper.expect("a file is above or below")
    }

    /// The file on the upper disk, which takes writes.
    fn own(&self) -> io::Result<&D::File> {
        let _copying = self.copying.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(upper) = self.upper.get() {
            return Ok(upper);
        }
        let is_above = self.disk.names().above.contains(&self.path);
        let copied = if is_above {
            self.disk.upper.open(&self.path, OpenMode::Existing)?
        } else {
            let lower = self.lower.as_ref().expect("a file is above or below");
            self.disk.copy(&self.path, lower)?
        };
        Ok(self.upper.get_or_init(|| copied))
    }
}

impl<D: Disk> DiskFile for OverlayFile<D> {
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file().read_at(buffer, offset)
    }

    fn write_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.own()?.write_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file().len()
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.own()?.set_len(length)
    }

    fn forget_cache(&self) -> io::Result<()> {
        self.file().forget_cache()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::simulated::SimulatedDisk;

    fn write(disk: &impl Disk, path: &str, content: &[u8]) {
        let file = disk.open(path, OpenMode::Create).unwrap();
        file.write_at(content, 0).unwrap();
    }

    fn read(disk: &impl Disk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(path, OpenMode::Existing).ok()?;
        let mut content = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(&mut content, 0).unwrap();
        Some(content)
    }

    #[test]
    fn changes_are_seen_above_and_never_made_below() {
        let lower = SimulatedDisk::default();
        lower.create_directory("wal").unwrap();
        for name in ["wal/1", "wal/2", "wal/3", "manifest"] {
            write(&lower, name, name.as_bytes());
        }
        let before = lower.contents();
        let disk = Overlay::new(lower.clone(), SimulatedDisk::default());
        assert_eq!(read(&disk, "wal/1").unwrap(), b"wal/1");

        let file = disk.open("wal/1", OpenMode::Existing).unwrap();
        file.write_at(b"W", 0).unwrap();
        assert_eq!(read(&disk, "wal/1").unwrap(), b"Wal/1");
        disk.rename("wal/2", "wal/2.damaged").unwrap();
        assert_eq!(
            (read(&disk, "wal/2"), read(&disk, "wal/2.damaged").unwrap()),
            (None, b"wal/2".to_vec())
        );
        disk.remove("wal/3").unwrap();
        assert!(disk.remove("wal/3").is_err());
        write(&disk, "wal/3", b"new");
        assert!(disk.open("wal/3", OpenMode::Create).is_err());
        write(&disk, "manifest.temp", b"next");
        disk.rename("manifest.temp", "manifest").unwrap();
        disk.create_directory("shards").unwrap();
        write(&disk, "shards/a", b"a");

        assert_eq!(disk.list("wal").unwrap(), ["1", "2.damaged", "3"]);
        assert_eq!(disk.list("").unwrap(), ["manifest", "shards", "wal"]);
        assert_eq!(read(&disk, "manifest").unwrap(), b"next");
        assert_eq!(lower.contents().files, before.files);
    }
}
