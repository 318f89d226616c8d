//! What the operating system lets this process do: open files, and the rights of new ones.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fs::Mode,
    process::{Resource, Rlimit, getrlimit, setrlimit, umask},
};

/// Open files that are no connections: the log, its readers, the admin port.
const OTHER_FILES: u64 = 256;
/// A server that can open hardly any file still serves a few clients.
const CONNECTIONS_LEAST: u64 = 64;

/// Makes everything that this process writes from here on unreadable to other users.
pub(crate) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Reports a data folder that was made by other hands and lets others in.
pub(crate) fn warn_if_readable(data: &Path) {
    let mode = fs::metadata(data).map_or(0, |folder| folder.mode() & 0o777);
    if mode & 0o077 != 0 {
        tracing::warn!(
            data = %data.display(),
            mode = format!("{mode:03o}"),
            "other users can look into the data directory, and bodies are not encrypted: chmod 700"
        );
    }
}

/// Raises the number of files this process may open as far as it is allowed to; `None`: any number.
pub(crate) fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
    getrlimit(Resource::Nofile).current
}

/// As many connections as were asked for, or as there are files for.
pub(crate) fn connections_within(asked: usize, open_files: Option<u64>) -> usize {
    let Some(open_files) = open_files else {
        return asked;
    };
    let most = open_files
        .saturating_sub(OTHER_FILES)
        .max(CONNECTIONS_LEAST);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    if asked > most {
        tracing::warn!(
            asked,
            allowed = most,
            open_files,
            "there are fewer connections than limits.connections: raise the limit of open files \
             (LimitNOFILE, ulimit -n)"
        );
    }
    asked.min(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_files_for_the_log() {
        assert_eq!(connections_within(10_000, None), 10_000);
        assert_eq!(connections_within(10_000, Some(65_536)), 10_000);
        assert_eq!(connections_within(10_000, Some(1024)), 768);
        assert_eq!(connections_within(10_000, Some(100)), 64);
        assert_eq!(connections_within(10, Some(100)), 10);
    }

    #[test]
    fn the_limit_of_open_files_is_raised_to_what_is_allowed() {
        let raised = raise_open_files();
        assert_eq!(raised, getrlimit(Resource::Nofile).maximum);
    }
}
