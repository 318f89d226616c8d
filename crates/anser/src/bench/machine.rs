//! Where a measurement ran: a number without its machine says nothing.

use std::{fs, path::Path};

use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub memory_bytes: u64,
    pub kernel: String,
    /// The file system below the data, if its place is known.
    pub file_system: Option<String>,
}

impl Machine {
    /// This machine, and the disk that holds `folder`.
    pub fn here(folder: Option<&Path>) -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            processor: field(&read("/proc/cpuinfo"), "model name")
                .unwrap_or("unknown")
                .to_owned(),
            memory_bytes: field(&read("/proc/meminfo"), "MemTotal")
                .and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            file_system: folder.and_then(|folder| {
                let folder = fs::canonicalize(folder).ok()?;
                file_system(&read("/proc/self/mountinfo"), &folder)
            }),
        }
    }

    /// Whether an fsync reaches anything that outlives the machine's power.
    pub fn is_in_memory(&self) -> bool {
        self.file_system.as_deref() == Some("tmpfs")
    }

    /// One line.
    #[expect(clippy::cast_precision_loss, reason = "whole gigabytes are shown")]
    pub fn text(&self) -> String {
        format!(
            "{} cores ({}), {:.0} GiB, Linux {}, data on {}",
            self.cores,
            self.processor,
            self.memory_bytes as f64 / f64::from(1 << 30),
            self.kernel,
            self.file_system
                .as_deref()
                .unwrap_or("an unknown file system"),
        )
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

/// The kind of file system of the deepest mount above a folder.
fn file_system(mounts: &str, folder: &Path) -> Option<String> {
    let mounts = mounts.lines().filter_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let place = Path::new(before.split(' ').nth(4)?);
        Some((place, after.split(' ').next()?))
    });
    let above = mounts.filter(|(place, _)| folder.starts_with(place));
    above
        .max_by_key(|(place, _)| place.components().count())
        .map(|(_, kind)| kind.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deepest_mount_counts() {
        let mounts = "22 1 254:0 / / rw - ext4 /dev/root rw\n\
                      23 22 0:20 / /tmp rw shared:1 - tmpfs tmpfs rw\n";
        assert_eq!(file_system(mounts, Path::new("/tmp/a")).unwrap(), "tmpfs");
        assert_eq!(file_system(mounts, Path::new("/tmpx")).unwrap(), "ext4");
    }
}
