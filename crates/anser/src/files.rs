//! Small files that must be whole or absent, and locks between processes.
//!
//! A file is replaced by writing a neighbour, syncing it, renaming it over the old one and syncing
//! the folder, so that a crash leaves the old or the new content.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, Result};
use rustix::{
    fs::{FlockOperation, flock},
    process::geteuid,
};

use crate::exit::Exit;

/// Far above the one line of a secret file; a wrong path may name anything.
const SECRET_BYTES_MAX: u64 = 4096;
const ROOT: u32 = 0;

/// The text of a file with a secret, refused if it is exposed; `None` if there is no such file. `what`
/// names the file to people, and `advice` says what to do if it was exposed.
pub(crate) fn read_secret(path: &Path, what: &str, advice: &str) -> Result<Option<String>> {
    let Some(mut file) = open_secret(path, what, advice)? else {
        return Ok(None);
    };
    let mut text = String::new();
    let read = Read::by_ref(&mut file)
        .take(SECRET_BYTES_MAX)
        .read_to_string(&mut text);
    read.map_err(|error| {
        let text = format!("cannot read the {what} {}", path.display());
        match error.kind() {
            io::ErrorKind::InvalidData => anyhow::Error::new(error).context(Exit::Damaged.reason(
                format!("{text}: it is damaged, for it is no text; restore it from a backup"),
            )),
            _ => anyhow::Error::new(error).context(text),
        }
    })?;
    Ok(Some(text))
}

/// Opens a file with a secret if nobody but its owner may read it, and its owner is who runs this or
/// root: another one could put in what they know. `None` if there is no such file.
pub(crate) fn open_secret(path: &Path, what: &str, advice: &str) -> Result<Option<File>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(explained(error, &format!("open the {what}"), path)),
    };
    match exposed(&file.metadata()?, geteuid().as_raw()) {
        None => Ok(Some(file)),
        Some(Exposed::Mode(mode)) => Err(Exit::Permission.error(format!(
            "the {what} {path} has mode {mode:03o}, so others may have read it: \
             run chmod 600 {path}, and {advice} if the file was exposed",
            path = path.display(),
        ))),
        Some(Exposed::Owner(owner)) => Err(Exit::Permission.error(format!(
            "the {what} {path} belongs to user {owner}, who knows it and can change it: \
             run the command as that user (sudo -u), or give it to this one with chown; \
             if it is not yours at all, {advice}",
            path = path.display(),
        ))),
    }
}

/// Who besides this user and root may know a secret.
#[derive(Debug, PartialEq, Eq)]
enum Exposed {
    Mode(u32),
    Owner(u32),
}

fn exposed(file: &Metadata, user: u32) -> Option<Exposed> {
    let (mode, owner) = (file.mode() & 0o777, file.uid());
    if mode & 0o077 != 0 {
        return Some(Exposed::Mode(mode));
    }
    (owner != user && owner != ROOT).then_some(Exposed::Owner(owner))
}

/// Makes a folder that only its owner can read; an existing one stays as it is.
pub(crate) fn make_private_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|error| explained(error, "make the folder", path))
}

/// Replaces a file's content in one step. Only the owner can read the result.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = sibling(path);
    let renamed = write_and_sync(&temporary, content).and_then(|()| fs::rename(&temporary, path));
    if renamed.is_err() {
        fs::remove_file(&temporary).ok();
    }
    let written = renamed.and_then(|()| sync_folder(path));
    written.map_err(|error| explained(error, "write", path))
}

/// Gives a file another name in its folder, in place of any that has it.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<()> {
    let renamed = fs::rename(from, to).and_then(|()| sync_folder(to));
    renamed.map_err(|error| explained(error, "rename", from))
}

/// Makes a file that must not be there yet; `false` if it is. Only the owner can read it.
pub(crate) fn create_new(path: &Path, content: &[u8]) -> Result<bool> {
    let temporary = sibling(path);
    // A link, unlike a rename, fails if another process was faster.
    let linked =
        write_and_sync(&temporary, content).and_then(|()| match fs::hard_link(&temporary, path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            linked => linked.map(|()| true),
        });
    fs::remove_file(&temporary).ok();
    let made = linked.and_then(|linked| sync_folder(path).map(|()| linked));
    made.map_err(|error| explained(error, "write", path))
}

/// An error of a file; if the file is another user's, with its exit code and what to do.
pub(crate) fn explained(error: io::Error, what: &str, path: &Path) -> anyhow::Error {
    let text = format!("cannot {what} {}", path.display());
    if error.kind() != io::ErrorKind::PermissionDenied {
        return anyhow::Error::new(error).context(text);
    }
    let advice = format!(
        "{text}: run the command as the user who owns it (sudo -u anser), or give it to this one \
         with chown"
    );
    anyhow::Error::new(error).context(Exit::Permission.reason(advice))
}

/// A lock that ends with this value or with the process.
#[derive(Debug)]
pub(crate) struct FileLock {
    _file: File,
}

impl FileLock {
    /// Waits until no other process holds the lock.
    pub(crate) fn wait(path: &Path) -> Result<Self> {
        let file = open_lock(path)?;
        flock(&file, FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Self { _file: file })
    }

    /// `None` if another process holds the lock.
    pub(crate) fn try_take(path: &Path) -> Result<Option<Self>> {
        let file = open_lock(path)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
        }
    }
}

fn open_lock(path: &Path) -> Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| explained(error, "open the lock file", path))
}

/// A name that no other thread or process writes to.
fn sibling(path: &Path) -> PathBuf {
    static WRITES: AtomicU64 = AtomicU64::new(0);
    let write = WRITES.fetch_add(1, Ordering::Relaxed);
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}-{write}.new", std::process::id()));
    path.with_file_name(name)
}

/// Writes to a file of our own making: not to one that others have put there, nor through their link.
fn write_and_sync(path: &Path, content: &[u8]) -> io::Result<()> {
    // A process that ended in the middle, with the same id, may have left one.
    fs::remove_file(path).ok();
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    #[test]
    fn what_fails_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let occupied = folder.path().join("folder");
        fs::create_dir_all(occupied.join("full")).unwrap();
        assert!(replace(&occupied, b"x").is_err());
        assert!(!create_new(&occupied, b"x").unwrap());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn security_finding_10_a_link_that_waits_beside_a_secret_file_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let [link, target] = ["link", "target"].map(|name| folder.path().join(name));
        fs::write(&target, "of somebody else").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o644)).unwrap();
        symlink(&target, &link).unwrap();
        write_and_sync(&link, b"secret").unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "of somebody else");
        assert_eq!(fs::read_to_string(&link).unwrap(), "secret");
        let written = fs::symlink_metadata(&link).unwrap();
        assert!(written.is_file() && written.mode() & 0o777 == 0o600);
    }

    #[test]
    fn security_finding_10_a_secret_file_belongs_to_its_reader_or_to_root() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        fs::write(&path, "secret").unwrap();
        let set = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let looked = |user| exposed(&fs::metadata(&path).unwrap(), user);
        set(0o400);
        let owner = fs::metadata(&path).unwrap().uid();
        assert_eq!(looked(owner), None);
        let stranger = (owner != ROOT).then_some(Exposed::Owner(owner));
        assert_eq!(looked(owner + 1), stranger);
        // Only root can give a file away, so that the rest is seen by root only.
        if chown(&path, Some(owner + 7), None).is_ok() {
            assert_eq!(looked(owner), Some(Exposed::Owner(owner + 7)));
            let error = read_secret(&path, "key file", "make a new one").unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Permission, "{error:#}");
            assert!(error.to_string().contains("belongs to user"), "{error:#}");
            assert_eq!(looked(owner + 7), None);
        }
        set(0o604);
        assert_eq!(looked(owner), Some(Exposed::Mode(0o604)));
    }

    #[test]
    fn a_file_of_another_user_is_a_matter_of_permission() {
        let denied = io::ErrorKind::PermissionDenied.into();
        let error = explained(denied, "write", Path::new("keys.anser"));
        assert_eq!(Exit::of(&error), Exit::Permission);
        assert!(error.to_string().contains("cannot write keys.anser"));
    }
}
