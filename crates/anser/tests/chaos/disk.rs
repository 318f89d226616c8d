//! A small disk of its own: an ext4 file system in a file, mounted on a loop device, that can lose power.
//!
//! Dropping it unmounts it, also when a test panics; the loop device goes with the mount, the file with
//! the folder it is in. Needs root, loop devices, `mkfs.ext4` and `perl`; what is missing is said.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

/// Shuts ext4 file systems down at once, without flushing its journal: what was not synced is lost.
/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`; in perl, since this crate has no unsafe code.
const SHUT_DOWN: &str = r#"
    my @folders = map { sysopen(my $folder, $_, 0) or die "open: $!"; $folder } @ARGV;
    my $flags = pack("I", 2);
    ioctl($_, 0x8004587d, $flags) or die "ioctl: $!" for @folders;
"#;
const UNMOUNT_TRIES: u32 = 50;

#[derive(Debug)]
pub(crate) struct Disk {
    image: PathBuf,
    mount: PathBuf,
    mounted: bool,
}

impl Disk {
    /// Makes and mounts a disk of this size in `folder`; says why if it cannot.
    pub(crate) fn new(folder: &Path, mebibytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("mounting a disk needs root".to_owned());
        }
        let image = folder.join("disk.img");
        let mount = folder.join("disk");
        fs::create_dir_all(&mount).map_err(|error| error.to_string())?;
        let file = File::create(&image).map_err(|error| error.to_string())?;
        file.set_len(mebibytes << 20)
            .map_err(|error| error.to_string())?;
        run(Command::new("/sbin/mkfs.ext4")
            .args(["-q", "-F"])
            .arg(&image))?;
        let mut disk = Self {
            image,
            mount,
            mounted: false,
        };
        disk.mount()?;
        Ok(disk)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.mount
    }

    pub(crate) fn mount(&mut self) -> Result<(), String> {
        run(Command::new("mount")
            .args(["-o", "loop"])
            .arg(&self.image)
            .arg(&self.mount))?;
        self.mounted = true;
        Ok(())
    }

    pub(crate) fn unmount(&mut self) -> Result<(), String> {
        let mut outcome = Ok(());
        for _ in 0..UNMOUNT_TRIES {
            outcome = run(Command::new("umount").arg(&self.mount));
            if outcome.is_ok() {
                self.mounted = false;
                return Ok(());
            }
            // Something that was just killed may still hold a file.
            thread::sleep(Duration::from_millis(100));
        }
        outcome
    }

    /// Bytes that an ordinary process can still write.
    pub(crate) fn free_bytes(&self) -> u64 {
        let state = rustix::fs::statvfs(&self.mount).unwrap();
        state.f_bavail * state.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.mounted && self.unmount().is_err() {
            run(Command::new("umount").arg("-l").arg(&self.mount)).ok();
        }
        fs::remove_file(&self.image).ok();
    }
}

/// Takes the power away from all of these at one moment: from now on every access fails, and what was not synced is
/// gone.
pub(crate) fn lose_power(disks: &[&Disk]) -> Result<(), String> {
    let mounts = disks.iter().map(|disk| &disk.mount);
    run(Command::new("perl").args(["-e", SHUT_DOWN]).args(mounts))
}

/// Runs a command to its end; its words on failure.
pub(crate) fn run(command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    Err(format!(
        "{}: {}",
        command.get_program().display(),
        words.trim()
    ))
}
