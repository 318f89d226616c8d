//! What the operating system lets this process do, and others do with it: open files, the rights of new
//! ones, and core dumps.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

use rustix::{
    fs::Mode,
    process::{
        DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask,
    },
};

/// Open files that are no connections: the log, its readers, the admin port.
const OTHER_FILES: u64 = 256;
/// A server that can open hardly any file still serves a few clients.
const CONNECTIONS_LEAST: u64 = 64;

/// Makes everything that this process writes from here on unreadable to other users.
pub(crate) fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Keeps what is in memory, secrets of access keys among it, out of core dumps, and from other processes
/// of the same user.
pub(crate) fn keep_memory_private() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let limited = setrlimit(Resource::Core, none);
    // A limit does not hold for a program to which the system pipes core dumps.
    if let Err(error) = limited.and(set_dumpable_behavior(DumpableBehavior::NotDumpable)) {
        tracing::warn!(%error, "core dumps, which would hold access keys, cannot be switched off");
    }
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

/// Connections, each of which takes a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Connections {
    pub(crate) clients: usize,
    pub(crate) pushes: usize,
    /// Kept for later pushes.
    pub(crate) idle_pushes: usize,
}

/// As many connections as were asked for, or as there are files for. If these are few, pushes get a
/// quarter of them.
pub(crate) fn connections_within(asked: Connections, open_files: Option<u64>) -> Connections {
    let Some(open_files) = open_files else {
        return asked;
    };
    let most = open_files
        .saturating_sub(OTHER_FILES)
        .max(CONNECTIONS_LEAST);
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let pushing = asked.pushes.saturating_add(asked.idle_pushes);
    if asked.clients.saturating_add(pushing) <= most {
        return asked;
    }
    let pushes = asked.pushes.min(most / 6);
    let idle_pushes = asked.idle_pushes.min(most / 12);
    let within = Connections {
        clients: asked.clients.min(most - pushes - idle_pushes),
        pushes,
        idle_pushes,
    };
    tracing::warn!(
        ?asked,
        ?within,
        open_files,
        "there are fewer connections than limits.connections and push.pushes: raise the limit of open \
         files (LimitNOFILE, ulimit -n)"
    );
    within
}

#[cfg(test)]
mod tests {
    use super::*;

    fn within(clients: usize, pushes: usize, open_files: Option<u64>) -> (usize, usize, usize) {
        let asked = Connections {
            clients,
            pushes,
            idle_pushes: 1000,
        };
        let within = connections_within(asked, open_files);
        (within.clients, within.pushes, within.idle_pushes)
    }

    #[test]
    fn security_finding_16_a_process_with_secrets_leaves_no_core_dump() {
        keep_memory_private();
        let limit = getrlimit(Resource::Core);
        assert_eq!((limit.current, limit.maximum), (Some(0), Some(0)));
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, DumpableBehavior::NotDumpable);
    }

    #[test]
    fn connections_leave_files_for_the_log() {
        assert_eq!(within(10_000, 4_000, None), (10_000, 4_000, 1000));
        assert_eq!(within(10_000, 4_000, Some(65_536)), (10_000, 4_000, 1000));
        assert_eq!(within(10_000, 4_000, Some(1024)), (576, 128, 64));
        assert_eq!(within(10_000, 4_000, Some(100)), (49, 10, 5));
        assert_eq!(within(10, 4_000, Some(1024)), (10, 128, 64));
    }
}
