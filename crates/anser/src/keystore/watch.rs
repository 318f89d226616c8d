//! The keys a running server answers to: read at the start, and again whenever the file changes.
//!
//! A file that cannot be read leaves the last good keys in force and is reported once per change.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread::{self, JoinHandle},
    time::Duration,
};

use anser_api::{AccessKey, KeyStore};
use anser_broker::id::AccountId;
use anyhow::{Context, Result};

use super::Store;
use crate::paths;

/// A revoked key works for at most this long, plus the time to read the file.
const POLL: Duration = Duration::from_millis(250);

type Keys = HashMap<String, Arc<AccessKey>>;

/// The current keys. Cheap to share.
#[derive(Default)]
pub struct Watched {
    keys: RwLock<Keys>,
}

impl std::fmt::Debug for Watched {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Watched").finish_non_exhaustive()
    }
}

impl KeyStore for Watched {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.get(id).cloned()
    }
}

impl Watched {
    fn replace(&self, keys: Keys) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
    }
}

/// Follows a store until dropped.
#[derive(Debug)]
pub struct Watcher {
    keys: Arc<Watched>,
    stop: Option<std::sync::mpsc::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    pub fn start(store: Store) -> Result<Self> {
        let path = paths::keys(&store.data);
        // The stamp is taken before the reading: a change in between is read again, never missed.
        let seen = Stamp::of(&path);
        let first = load(&store)?;
        if first.is_empty() {
            tracing::warn!("there are no access keys yet: make one with anser key create");
        }
        let keys = Arc::new(Watched {
            keys: RwLock::new(first),
        });
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let watched = Arc::clone(&keys);
        let thread = thread::Builder::new()
            .name("keys".into())
            .spawn(move || {
                let mut seen = seen;
                while stopped.recv_timeout(POLL) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                {
                    seen = follow(&store, &path, seen, &watched);
                }
            })
            .context("cannot start the thread that follows the access keys")?;
        Ok(Self {
            keys,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    pub fn keys(&self) -> Arc<Watched> {
        Arc::clone(&self.keys)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic there was reported there.
            thread.join().ok();
        }
    }
}

fn follow(store: &Store, path: &PathBuf, seen: Stamp, watched: &Watched) -> Stamp {
    let stamp = Stamp::of(path);
    if stamp != seen {
        match load(store) {
            Ok(keys) => {
                tracing::info!(count = keys.len(), "read the access keys again");
                watched.replace(keys);
            }
            Err(error) => {
                tracing::error!(
                    error = format!("{error:#}"),
                    "the old access keys stay in force"
                );
            }
        }
    }
    stamp
}

fn load(store: &Store) -> Result<Keys> {
    let keys = store.keys()?.into_iter().map(|key| {
        let account = AccountId(key.account);
        let access = AccessKey::new(&key.id, key.secret.as_bytes(), account, key.enabled);
        (key.id, Arc::new(access))
    });
    Ok(keys.collect())
}

/// Tells one version of the file from another; a replaced file is another inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp(Option<(u64, i64, i64, u64)>);

impl Stamp {
    fn of(path: &PathBuf) -> Self {
        Self(fs::metadata(path).ok().map(|metadata| {
            (
                metadata.ino(),
                metadata.mtime(),
                metadata.mtime_nsec(),
                metadata.len(),
            )
        }))
    }
}
