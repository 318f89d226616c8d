//! The store as that of a cluster: whose content is newer, and what a node gives to others and takes from them.
//!
//! A store that only awaits the cluster's never has a revision that a cluster's store has, so it always gives way.

use std::{
    fs,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Result;

use super::{Key, Store, format};
use crate::{files, paths};

/// What a first node begins with that hears of no other.
const REVISION_AWAITING: u64 = 1;
/// Revisions below this lose against every store that was ever a cluster's: such a store awaits the others'.
const REVISION_CLUSTER: u64 = 1 << 40;

impl Store {
    /// Makes this store the beginning of a cluster's, unless it is a cluster's already.
    pub(super) fn begin_cluster(&self) -> Result<()> {
        self.receipt_key()?;
        self.replace_content(|content| {
            let begins = content.revision < REVISION_CLUSTER;
            if begins {
                content.revision = revision_after(REVISION_CLUSTER)?;
            }
            Ok(begins)
        })
        .map(drop)
    }

    /// Lets a node serve with what it has until it hears of the others' keys. Whatever is changed here meanwhile, theirs
    /// are newer: a first node whose store was lost must not take the keys from all others.
    pub(super) fn begin_awaiting(&self) -> Result<()> {
        self.receipt_key()?;
        self.replace_content(|content| {
            let begins = content.revision == 0;
            content.revision = content.revision.max(REVISION_AWAITING);
            Ok(begins)
        })
        .map(drop)
    }

    /// Lets a folder that is no member's yet bring nothing that a cluster would take for newer than its own: it may have been
    /// in another cluster before. The keys stay until those of the cluster come.
    pub fn give_up_other_cluster(&self) -> Result<()> {
        if self.is_members() {
            return Ok(());
        }
        self.replace_content(|content| Ok(std::mem::take(&mut content.revision) > 0))
            .map(drop)
    }

    /// Whether this was ever the store of a cluster, and not only of a node that awaits it.
    pub(super) fn is_of_cluster(&self) -> Result<bool> {
        Ok(self.revision()? >= REVISION_CLUSTER)
    }

    /// Whether other nodes have the keys that this one lacks, so that none should be made here.
    pub fn awaits_others(&self) -> Result<bool> {
        Ok(self.has_others() && !self.is_of_cluster()?)
    }

    /// Whether the node knew of others when it ran last.
    pub(super) fn has_others(&self) -> bool {
        let node = self.node();
        let peers = node["peers"].as_object();
        peers.is_some_and(|peers| !peers.is_empty())
    }

    /// Whether the folder has a place in a cluster; who cannot be told is taken for a member.
    fn is_members(&self) -> bool {
        paths::node(&self.data).exists() && self.node()["node"].as_u64() != Some(0)
    }

    /// What `node.json` says; nothing if it cannot be read.
    fn node(&self) -> serde_json::Value {
        let text = fs::read(paths::node(&self.data)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    /// The revision and what is given to other nodes for it.
    pub(super) fn sealed_shared(&self, key: &[u8; 32]) -> Result<(u64, Vec<u8>)> {
        let content = self.content()?;
        Ok((content.revision, format::seal_shared(&content, key)?))
    }

    /// Takes over what another node has given if its revision is higher. Whether it was.
    pub(super) fn take_shared(&self, bytes: &[u8], revision: u64, key: &[u8; 32]) -> Result<bool> {
        let shared = format::open_shared(bytes, revision, key)?;
        self.replace_content(|content| {
            if content.revision >= shared.revision {
                return Ok(false);
            }
            let is_known = |key: &Key| shared.keys.contains(key);
            if content.revision < REVISION_CLUSTER && !content.keys.iter().all(is_known) {
                self.keep_replaced()?;
            }
            *content = shared;
            Ok(true)
        })
    }

    /// Keeps the file, whose keys are nowhere else, for whoever made them.
    fn keep_replaced(&self) -> Result<()> {
        let (path, aside) = (self.path(), paths::keys_replaced(&self.data));
        let file = fs::read(&path)
            .map_err(|error| files::explained(error, "read the key store", &path))?;
        files::replace(&aside, &file)?;
        tracing::warn!(
            aside = %aside.display(),
            "the access keys made on this node give way to those of the cluster"
        );
        Ok(())
    }
}

/// The revision of a content that was changed; a server that was never in a cluster counts none.
pub(super) fn next_revision(last: u64) -> Result<u64> {
    Ok(match last {
        0 => 0,
        awaiting @ ..REVISION_CLUSTER => (awaiting + 1).min(REVISION_CLUSTER - 1),
        last => revision_after(last)?,
    })
}

/// The time in microseconds, so that nodes that do not hear of each other hardly ever use the same
/// revision, but never less than what is known to be used.
fn revision_after(last: u64) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    Ok(u64::try_from(now)?.max(last.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::exit::Exit;

    fn store(folder: &Path) -> Store {
        Store::open(&folder.join("data"), &folder.join("settings/master.key")).unwrap()
    }

    #[test]
    fn revisions_are_those_of_a_cluster_and_rise() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.add(Key::generate(1, None).unwrap()).unwrap();
        assert_eq!(store.revision().unwrap(), 0);
        store.begin_cluster().unwrap();
        let first = store.revision().unwrap();
        assert!(store.is_of_cluster().unwrap());
        store.begin_cluster().unwrap();
        store.begin_awaiting().unwrap();
        assert_eq!(store.revision().unwrap(), first);
        store.add(Key::generate(1, None).unwrap()).unwrap();
        let second = store.revision().unwrap();
        assert!(second > first && first > 0);
        let ahead = second * 2;
        assert_eq!(revision_after(ahead).unwrap(), ahead + 1);
    }

    #[test]
    fn a_folder_that_is_no_members_gives_up_what_it_was_in_another_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.add(Key::generate(1, None).unwrap()).unwrap();
        store.begin_cluster().unwrap();
        let node = paths::node(&store.data);
        for of_member in [r#"{"node": 2, "peers": {}}"#, "damaged"] {
            fs::write(&node, of_member).unwrap();
            store.give_up_other_cluster().unwrap();
            assert!(store.is_of_cluster().unwrap(), "{of_member}");
        }
        // One that has asked for a place and has none yet.
        fs::write(&node, r#"{"node": 0, "peers": {}}"#).unwrap();
        store.give_up_other_cluster().unwrap();
        assert_eq!(store.revision().unwrap(), 0);
        assert_eq!(store.keys().unwrap().len(), 1);
    }

    #[test]
    fn what_awaits_the_cluster_never_gets_a_revision_of_one() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.begin_awaiting().unwrap();
        for _ in 0..3 {
            let before = store.revision().unwrap();
            store.add(Key::generate(1, None).unwrap()).unwrap();
            assert_eq!(store.revision().unwrap(), before + 1);
            assert!(!store.is_of_cluster().unwrap());
        }
        // Its last other node was removed.
        store.begin_cluster().unwrap();
        assert!(store.is_of_cluster().unwrap());
        assert_eq!(store.keys().unwrap().len(), 3);
    }

    #[test]
    fn nobody_is_led_to_make_keys_on_a_node_whose_others_have_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.add(Key::generate(1, None).unwrap()).unwrap();
        assert!(!store.awaits_others().unwrap());
        fs::write(
            paths::node(&store.data),
            r#"{"node": 1, "peers": {"2": {}}}"#,
        )
        .unwrap();
        assert!(store.awaits_others().unwrap());
        store.begin_awaiting().unwrap();
        assert!(store.awaits_others().unwrap());
        fs::write(store.path(), b"damaged").unwrap();
        let error = store.keys().unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Damaged);
        let said = format!("{error:#}");
        assert!(
            !said.contains("key create") && said.contains("other nodes"),
            "{said}"
        );
        fs::remove_file(store.path()).unwrap();
        store.begin_cluster().unwrap();
        assert!(!store.awaits_others().unwrap());
    }
}
