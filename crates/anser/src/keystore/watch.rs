//! The keys a running server answers to: read at the start, and again whenever the file changes.
//!
//! A file that cannot be read leaves the last good keys in force and is reported once per change. The key of receipt
//! handles is read by a server once, so it has to end when the file has another.

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use anser_api::{AccessKey, KeyStore};
use anser_broker::id::AccountId;
use anyhow::{Result, ensure};
use tokio::sync::watch;

use super::{Store, exchange::Exchange};
use crate::{
    follow::{Follower, Stamp},
    paths,
};

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
    has_other_receipt_key: watch::Receiver<bool>,
    _follower: Follower,
}

impl Watcher {
    pub fn start(store: Store) -> Result<Self> {
        Self::start_with(store, None)
    }

    /// As [`Watcher::start`], and keeps the store of a cluster's node the same as that of the others.
    pub fn start_sharing(store: Store, exchange: Exchange) -> Result<Self> {
        Self::start_with(store, Some(exchange))
    }

    fn start_with(store: Store, mut exchange: Option<Exchange>) -> Result<Self> {
        let path = paths::keys(&store.data);
        // The stamp is taken before the reading: a change in between is read again, never missed.
        let seen = Stamp::of(&path);
        let first = load(&store)?;
        if first.keys.is_empty() {
            tracing::warn!("{}", what_helps(store.awaits_others()?));
        }
        let keys = Arc::new(Watched {
            keys: RwLock::new(first.keys),
        });
        let watched = Arc::clone(&keys);
        let (has_other, has_other_receipt_key) = watch::channel(false);
        let mut followed = Followed {
            seen,
            reported: None,
            receipt_key: first.receipt_key,
            has_other,
        };
        let follower = Follower::start("keys", POLL, move || {
            if let Some(exchange) = &mut exchange {
                exchange.follow(&store);
            }
            followed.follow(&store, &path, &watched);
        })?;
        Ok(Self {
            keys,
            has_other_receipt_key,
            _follower: follower,
        })
    }

    pub fn keys(&self) -> Arc<Watched> {
        Arc::clone(&self.keys)
    }

    /// Waits until the store has another key of receipt handles than at the start: a first node that did not hear of the
    /// others in time hears of them.
    pub async fn other_receipt_key(&self) {
        let mut has_other = self.has_other_receipt_key.clone();
        if has_other.wait_for(|has_other| *has_other).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// What to do about a store without keys.
fn what_helps(awaits_others: bool) -> &'static str {
    if awaits_others {
        "the access keys of the cluster's other nodes are awaited: see that one of them runs and is reached, and make \
         none here"
    } else {
        "there are no access keys yet: make one with anser key create"
    }
}

/// What was read last, and what was complained about last: no `Debug`, for one of it is a secret.
struct Followed {
    seen: Stamp,
    reported: Option<Stamp>,
    /// What the server began with.
    receipt_key: Option<String>,
    has_other: watch::Sender<bool>,
}

impl Followed {
    /// Reads the file again if it is another one; what does not work is tried again the next time.
    fn follow(&mut self, store: &Store, path: &Path, watched: &Watched) {
        let stamp = Stamp::of(path);
        if stamp == self.seen {
            self.reported = None;
            return;
        }
        match load_as(store, path, stamp) {
            Ok(Some(Loaded { keys, receipt_key })) => {
                tracing::info!(count = keys.len(), "read the access keys again");
                watched.replace(keys);
                self.seen = stamp;
                let has_other = receipt_key.is_some() && receipt_key != self.receipt_key;
                self.has_other.send_replace(has_other);
            }
            Err(error) if self.reported != Some(stamp) => {
                self.reported = Some(stamp);
                tracing::error!(
                    error = format!("{error:#}"),
                    "the old access keys stay in force"
                );
            }
            // It changes at this moment, or was reported.
            Ok(None) | Err(_) => {}
        }
    }
}

/// The keys of the file with this stamp; `None` if it is another file by now.
fn load_as(store: &Store, path: &Path, stamp: Stamp) -> Result<Option<Loaded>> {
    ensure!(
        stamp.is_of_a_file(),
        "{} is gone or cannot be reached: restore it, or restart the server to begin without keys",
        path.display()
    );
    let keys = load(store)?;
    Ok((Stamp::of(path) == stamp).then_some(keys))
}

/// What a server uses of the file.
struct Loaded {
    keys: Keys,
    receipt_key: Option<String>,
}

fn load(store: &Store) -> Result<Loaded> {
    let content = store.content()?;
    let keys = content.keys.into_iter().map(|key| {
        let account = AccountId(key.account);
        let access = AccessKey::new(&key.id, key.secret.as_bytes(), account, key.enabled);
        (key.id, Arc::new(access))
    });
    Ok(Loaded {
        keys: keys.collect(),
        receipt_key: content.receipt_key,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::keystore::Key;

    #[test]
    fn a_node_that_awaits_the_others_asks_nobody_to_make_keys() {
        assert!(!what_helps(true).contains("key create"));
        assert!(what_helps(false).contains("key create"));
    }

    /// Handles that other nodes gave out would be refused here for as long as it serves.
    #[test]
    fn a_server_hears_of_another_key_of_receipt_handles_and_not_of_other_changes() {
        let folder = tempfile::tempdir().unwrap();
        let store = |name| {
            let data = folder.path().join(name);
            let store = Store::open(&data, &folder.path().join("master.key")).unwrap();
            store.receipt_key().unwrap();
            (store, paths::keys(&data))
        };
        let ((own, path), (_, other)) = (store("own"), store("other"));
        let (has_other, told) = watch::channel(false);
        let mut followed = Followed {
            seen: Stamp::of(&path),
            reported: None,
            receipt_key: load(&own).unwrap().receipt_key,
            has_other,
        };
        own.add(Key::generate(1, None).unwrap()).unwrap();
        followed.follow(&own, &path, &Watched::default());
        assert!(!*told.borrow());
        fs::rename(other, &path).unwrap();
        followed.follow(&own, &path, &Watched::default());
        assert!(*told.borrow());
    }

    #[test]
    fn keys_stay_in_force_while_the_file_is_damaged_or_gone() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let store = Store::open(&data, &folder.path().join("master.key")).unwrap();
        let first = Key::generate(1, None).unwrap();
        store.add(first.clone()).unwrap();
        let path = paths::keys(&data);
        let good = fs::read(&path).unwrap();
        let watched = Watched::default();
        watched.replace(load(&store).unwrap().keys);
        let seen = Stamp::of(&path);
        let mut followed = Followed {
            seen,
            reported: None,
            receipt_key: None,
            has_other: watch::channel(false).0,
        };
        let mut follow = || {
            followed.follow(&store, &path, &watched);
            (followed.seen, followed.reported)
        };

        fs::write(&path, b"damaged").unwrap();
        let damaged = Stamp::of(&path);
        assert_eq!(follow(), (seen, Some(damaged)), "it is tried again");
        assert!(watched.find(&first.id).is_some());
        fs::remove_file(&path).unwrap();
        assert_eq!(follow(), (seen, Some(Stamp::of(&path))));
        assert!(watched.find(&first.id).is_some());

        fs::write(&path, good).unwrap();
        store.delete(&first.id).unwrap();
        assert_eq!(follow().0, Stamp::of(&path));
        assert!(watched.find(&first.id).is_none());
    }
}
