//! What a server wrote so far, as seen by the kernel, by the disk and by itself.
//!
//! None of the three is the whole truth. The kernel counts a page, or what it manages as one, when a
//! byte of it changes: with large folios (Linux 6.16 on ext4) a small append counts as 2 MiB. The
//! disk counts for the whole machine. The server counts what it puts into its log and its segments,
//! without what the file system adds.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::fs::MetadataExt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Serialize;

use super::Scene;
use crate::exit::Exit;

const SECTOR_BYTES: u64 = 512;
const METRICS_PATIENCE: Duration = Duration::from_secs(10);

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Written {
    /// `write_bytes` of `/proc/PID/io`.
    pub(super) pages: u64,
    /// `wchar` of `/proc/PID/io`: given to `write` and its like, to files and partly to sockets.
    pub(super) calls: u64,
    /// Written to the disk of the data by all processes, if it is known.
    pub(super) disk: Option<u64>,
    /// Appended to the log, and copied to segments, if the server is our own.
    pub(super) log: Option<u64>,
}

impl Written {
    pub(super) fn until_now(scene: &Scene<'_>) -> Result<Self> {
        let process = scene
            .subject
            .process_id()
            .context(Exit::Configuration.reason(
                "what a running server writes is seen by its process: give --server-pid",
            ))?;
        let path = format!("/proc/{process}/io");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let (pages, calls) =
            pages_and_calls(&text).with_context(|| format!("{path} has an unknown form"))?;
        let metrics = scene.subject.metrics_address()?;
        Ok(Self {
            pages,
            calls,
            disk: scene.subject.folder().and_then(of_disk),
            log: metrics.map(of_log).transpose()?,
        })
    }

    /// What was written in between.
    pub(super) fn since(&self, before: &Self) -> Self {
        let both = |after: Option<u64>, before: Option<u64>| Some(after?.saturating_sub(before?));
        Self {
            pages: self.pages.saturating_sub(before.pages),
            calls: self.calls.saturating_sub(before.calls),
            disk: both(self.disk, before.disk),
            log: both(self.log, before.log),
        }
    }
}

fn pages_and_calls(text: &str) -> Option<(u64, u64)> {
    Some((field(text, "write_bytes:")?, field(text, "wchar:")?))
}

fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Bytes written to the disk that holds a folder.
fn of_disk(folder: &Path) -> Option<u64> {
    let device = fs::metadata(folder).ok()?.dev();
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    let text = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    let sectors: u64 = text.split_whitespace().nth(6)?.parse().ok()?;
    Some(sectors * SECTOR_BYTES)
}

/// Bytes appended to the log and copied from it, by the server's own account.
fn of_log(metrics: SocketAddr) -> Result<u64> {
    let text = get(metrics).with_context(|| format!("cannot read the metrics of {metrics}"))?;
    let appended = field(&text, "anser_appended_bytes_total ");
    let kept = field(&text, "anser_kept_bytes_total ");
    let sum = appended.zip(kept).map(|(appended, kept)| appended + kept);
    sum.with_context(|| format!("the metrics of {metrics} do not tell what is written"))
}

fn get(metrics: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&metrics, METRICS_PATIENCE)?;
    stream.set_read_timeout(Some(METRICS_PATIENCE))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cancelled_is_not_what_is_written() {
        let text =
            "rchar: 1\nwchar: 22\nread_bytes: 0\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(pages_and_calls(text), Some((4096, 22)));
        assert_eq!(pages_and_calls("wchar: 22\n"), None);
    }

    #[test]
    fn only_what_is_known_twice_has_a_difference() {
        let written = |pages, disk| Written {
            pages,
            calls: 0,
            disk,
            log: None,
        };
        let between = written(5, Some(9)).since(&written(3, Some(2)));
        assert_eq!(between, written(2, Some(7)));
        assert_eq!(written(5, Some(9)).since(&written(5, None)).disk, None);
    }
}
