//! One key store for a whole cluster: every node has the same content in its own encrypted file.
//!
//! Whoever changes the keys changes the file of one node. That node's server notices, and gives the
//! content to the others, sealed under the cluster's token; they take it over if its revision is
//! higher than theirs. The last writer wins.

use std::{
    thread,
    time::{Duration, Instant},
};

use anser_node::Node;
use anyhow::{Context, Result};
use bytes::Bytes;

use super::Store;
use crate::{cluster::token::Token, exit::Exit, follow::Stamp};

/// How often a node that waits for the keys looks for them.
const LOOK: Duration = Duration::from_millis(20);

/// Whose keys a node begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Its own: there is no other node.
    Alone,
    /// The others', or its own if none has any: it is the first of the nodes.
    First,
    /// The others'.
    Joined,
}

/// Where nodes leave what all of them shall have.
pub trait Board: Send {
    /// Gives every node these bytes, unless a newer revision is known already.
    fn share(&self, revision: u64, bytes: Bytes);

    /// The newest revision that any node has given; 0 without any.
    fn newest(&self) -> (u64, Bytes);
}

impl Board for Node {
    fn share(&self, revision: u64, bytes: Bytes) {
        Self::share(self, revision, bytes);
    }

    fn newest(&self) -> (u64, Bytes) {
        self.shared().borrow().clone()
    }
}

/// Keeps the store of one node and that of its cluster the same.
pub struct Exchange {
    board: Box<dyn Board>,
    key: [u8; 32],
    /// The revision that the file is known to have at least.
    known: u64,
    /// The file whose content the others were given last.
    given: Option<Stamp>,
    /// The revision whose failure was reported last.
    reported: u64,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Exchange").finish_non_exhaustive()
    }
}

impl Exchange {
    pub fn new(board: impl Board + 'static, token: &Token) -> Self {
        Self {
            board: Box::new(board),
            key: token.key("anser shared key store v1"),
            known: 0,
            given: None,
            reported: 0,
        }
    }

    /// Makes the store that of the cluster before a node serves. The store of the first node is the
    /// beginning if it is alone. Any other that does not have the cluster's waits for it as long as `patience`, and the
    /// first then serves with what it has until it hears of the others'.
    /// What is damaged here is given by others.
    pub fn begin(&mut self, store: &Store, origin: Origin, patience: Duration) -> Result<()> {
        if origin == Origin::Alone {
            store.begin_cluster()?;
        } else {
            store.set_damaged_aside()?;
        }
        let until = Instant::now() + patience;
        loop {
            self.take(store)
                .context(Exit::Failed.reason("the cluster's access keys cannot be taken over"))?;
            if store.is_of_cluster()? {
                return self.give(store);
            }
            if Instant::now() > until {
                if origin == Origin::First || store.revision()? > 0 {
                    store.begin_awaiting()?;
                    tracing::warn!(
                        "no other node of the cluster gave its access keys yet: this one serves with what it has, \
                         and takes theirs when it hears of them"
                    );
                    return self.give(store);
                }
                return Err(Exit::Unreachable.error(format!(
                    "no node of the cluster gave its access keys within {} s: is one running that \
                     has them, and can this node reach it (anser cluster status)?",
                    patience.as_secs()
                )));
            }
            thread::sleep(LOOK);
        }
    }

    /// Takes over what is newer elsewhere and gives what is newer here. What is damaged here is taken from what the nodes
    /// have given. What does not work is reported once and tried again the next time.
    pub(super) fn follow(&mut self, store: &Store) {
        let revision = self.board.newest().0;
        let followed = self.take_and_give(store);
        let followed = followed.or_else(|error| self.replace_damaged(store, error));
        if let Err(error) = followed
            && self.reported != revision
        {
            self.reported = revision;
            tracing::error!(
                error = format!("{error:#}"),
                "the access keys of this node may differ from those of others"
            );
        }
    }

    fn take_and_give(&mut self, store: &Store) -> Result<()> {
        if self.take(store)? {
            tracing::info!("took over the access keys of another node");
        }
        self.give(store)
    }

    /// A node with a damaged store would not hear of a key that is revoked.
    fn replace_damaged(&mut self, store: &Store, error: anyhow::Error) -> Result<()> {
        let is_damage = Exit::of(&error) == Exit::Damaged;
        if !is_damage || self.board.newest().0 == 0 || !store.set_damaged_aside()? {
            return Err(error);
        }
        self.known = 0;
        self.take_and_give(store)
    }

    /// Whether the store has changed.
    fn take(&mut self, store: &Store) -> Result<bool> {
        let (revision, bytes) = self.board.newest();
        if revision <= self.known {
            return Ok(false);
        }
        let changed = store.take_shared(&bytes, revision, &self.key)?;
        self.known = revision;
        Ok(changed)
    }

    fn give(&mut self, store: &Store) -> Result<()> {
        // Taken before the reading: a change in between is given the next time, never missed.
        let stamp = Stamp::of(&store.path());
        if self.given == Some(stamp) {
            return Ok(());
        }
        let (revision, bytes) = store.sealed_shared(&self.key)?;
        self.known = revision;
        self.board.share(revision, bytes.into());
        self.given = Some(stamp);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{
        path::Path,
        sync::{Arc, Mutex},
    };

    use super::*;
    use crate::{cluster::token::token_of, keystore::Key};

    /// What all nodes would see of each other.
    #[derive(Clone, Default)]
    struct Wall(Arc<Mutex<(u64, Bytes)>>);

    impl Board for Wall {
        fn share(&self, revision: u64, bytes: Bytes) {
            let mut newest = self.0.lock().unwrap();
            if revision > newest.0 {
                *newest = (revision, bytes);
            }
        }

        fn newest(&self) -> (u64, Bytes) {
            self.0.lock().unwrap().clone()
        }
    }

    struct Member {
        store: Store,
        exchange: Exchange,
    }

    impl Member {
        /// Each has a master key of its own, as on machines of their own.
        fn new(folder: &Path, name: &str, wall: &Wall) -> Self {
            let data = folder.join(name);
            let store = Store::open(&data, &folder.join(format!("{name}.key"))).unwrap();
            let exchange = Exchange::new(wall.clone(), &token_of("0123456789abcdef"));
            Self { store, exchange }
        }

        fn begin(&mut self, first: bool) -> Result<()> {
            let origin = if first { Origin::Alone } else { Origin::Joined };
            self.begin_as(origin)
        }

        fn begin_as(&mut self, origin: Origin) -> Result<()> {
            let patience = Duration::from_millis(50);
            self.exchange.begin(&self.store, origin, patience)
        }

        fn follow(&mut self) {
            self.exchange.follow(&self.store);
        }

        fn ids(&self) -> Vec<String> {
            self.store
                .keys()
                .unwrap()
                .into_iter()
                .map(|key| key.id)
                .collect()
        }
    }

    fn key() -> Key {
        Key::generate(1, None).unwrap()
    }

    #[test]
    fn a_node_that_joins_gets_the_keys_of_the_first_and_changes_go_both_ways() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        let mut two = Member::new(folder.path(), "two", &wall);
        one.store.add(key()).unwrap();
        two.store.add(key()).unwrap();
        let error = two.begin(false).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Unreachable);
        assert!(
            error.to_string().contains("gave its access keys"),
            "{error}"
        );

        one.begin(true).unwrap();
        two.begin(false).unwrap();
        assert_eq!(two.ids(), one.ids(), "what it had before is gone");
        assert_eq!(
            two.store.receipt_key().unwrap(),
            one.store.receipt_key().unwrap()
        );
        assert_eq!(
            two.store.push_signing_key().unwrap(),
            one.store.push_signing_key().unwrap()
        );

        two.store.add(key()).unwrap();
        two.follow();
        one.follow();
        assert_eq!(one.ids(), two.ids());
        assert_eq!(one.ids().len(), 2);
        one.store.delete(&one.ids()[0]).unwrap();
        one.follow();
        two.follow();
        assert_eq!(two.ids(), one.ids());
        assert_eq!(two.ids().len(), 1);
    }

    #[test]
    fn a_node_that_was_away_starts_with_its_own_and_takes_only_what_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        let mut two = Member::new(folder.path(), "two", &wall);
        one.begin(true).unwrap();
        two.begin(false).unwrap();
        let old = wall.newest();
        one.store.add(key()).unwrap();
        one.follow();

        let alone = Wall::default();
        let mut again = Member::new(folder.path(), "two", &alone);
        again.begin(false).unwrap();
        assert_eq!(alone.newest().0, old.0, "nobody else need be there");
        *alone.0.lock().unwrap() = wall.newest();
        again.follow();
        assert_eq!(again.ids(), one.ids());
        *alone.0.lock().unwrap() = old;
        again.follow();
        assert_eq!(again.ids(), one.ids(), "an older revision changes nothing");
    }

    #[test]
    fn an_old_file_put_back_gives_way_to_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        one.begin(true).unwrap();
        let old = std::fs::read(one.store.path()).unwrap();
        one.store.add(key()).unwrap();
        one.follow();
        let newest = wall.newest().0;
        crate::files::replace(&one.store.path(), &old).unwrap();
        one.follow();
        one.follow();
        assert_eq!(
            (wall.newest().0, one.store.revision().unwrap()),
            (newest, newest)
        );
    }

    /// All nodes would have lost their keys with the one file of the first.
    #[test]
    fn a_first_node_whose_keys_are_lost_or_damaged_gets_those_of_the_others() {
        for damage in [
            |path: &Path| std::fs::remove_file(path).unwrap(),
            |path: &Path| std::fs::write(path, "damaged").unwrap(),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let wall = Wall::default();
            let mut one = Member::new(folder.path(), "one", &wall);
            let mut two = Member::new(folder.path(), "two", &wall);
            one.store.add(key()).unwrap();
            one.begin(true).unwrap();
            two.begin(false).unwrap();
            one.store.add(key()).unwrap();
            one.follow();
            two.follow();
            let (ids, newest) = (two.ids(), wall.newest());

            // It is started while no other can be reached, and serves with nothing rather than not at all.
            damage(&one.store.path());
            let wall = Wall::default();
            let mut again = Member::new(folder.path(), "one", &wall);
            again.begin_as(Origin::First).unwrap();
            assert!(again.ids().is_empty());
            // Then the others are there.
            two.exchange = Exchange::new(wall.clone(), &token_of("0123456789abcdef"));
            two.follow();
            again.follow();
            two.follow();
            assert_eq!((again.ids(), two.ids()), (ids.clone(), ids.clone()));

            // They are there from the beginning.
            damage(&one.store.path());
            let wall = Wall(Arc::new(Mutex::new(newest)));
            let mut again = Member::new(folder.path(), "one", &wall);
            again.begin_as(Origin::First).unwrap();
            assert_eq!(again.ids(), ids);
        }
    }

    /// A first node that serves with nothing leads its operator to make keys, which must not end all others'.
    #[test]
    fn a_key_made_on_a_first_node_that_awaits_the_others_takes_nothing_from_them() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        let mut two = Member::new(folder.path(), "two", &wall);
        one.store.add(key()).unwrap();
        one.begin(true).unwrap();
        two.begin(false).unwrap();
        let (ids, receipt_key) = (two.ids(), two.store.receipt_key().unwrap());

        // Nobody has changed a key since the cluster was formed.
        std::fs::remove_file(one.store.path()).unwrap();
        let wall = Wall::default();
        let mut again = Member::new(folder.path(), "one", &wall);
        again.begin_as(Origin::First).unwrap();
        again.store.add(key()).unwrap();
        again.follow();
        let made = again.ids();
        let mut two = Member::new(folder.path(), "two", &wall);
        two.begin(false).unwrap();
        again.follow();
        two.follow();
        assert_eq!((again.ids(), two.ids()), (ids.clone(), ids));
        assert_eq!(again.store.receipt_key().unwrap(), receipt_key);

        // What was made is not lost to whoever made it.
        let data = folder.path().join("one");
        let aside = std::fs::read(crate::paths::keys_replaced(&data)).unwrap();
        std::fs::write(crate::paths::keys(&data), aside).unwrap();
        assert_eq!(again.ids(), made);
    }

    #[test]
    fn a_first_node_that_awaited_the_others_awaits_them_again_at_its_next_start() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Member::new(folder.path(), "one", &Wall::default());
        one.begin_as(Origin::First).unwrap();
        let wall = Wall::default();
        let mut two = Member::new(folder.path(), "two", &wall);
        two.store.add(key()).unwrap();
        two.begin(true).unwrap();
        let mut again = Member::new(folder.path(), "one", &wall);
        again.begin_as(Origin::First).unwrap();
        assert_eq!(again.ids(), two.ids());
    }

    #[test]
    fn a_damaged_store_of_the_only_node_is_not_begun_anew() {
        let folder = tempfile::tempdir().unwrap();
        let mut one = Member::new(folder.path(), "one", &Wall::default());
        one.store.add(key()).unwrap();
        std::fs::write(one.store.path(), "damaged").unwrap();
        let error = one.begin(true).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Damaged);
    }

    #[test]
    fn what_was_sealed_with_another_token_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        one.begin(true).unwrap();
        let mut stranger = Member::new(folder.path(), "stranger", &wall);
        stranger.exchange = Exchange::new(wall.clone(), &token_of("another-cluster-s"));
        let error = format!("{:#}", stranger.begin(false).unwrap_err());
        assert!(error.contains("another cluster token"), "{error}");
        assert!(stranger.ids().is_empty());
    }

    #[test]
    fn a_store_that_is_damaged_while_its_node_runs_comes_from_what_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        let mut two = Member::new(folder.path(), "two", &wall);
        one.store.add(key()).unwrap();
        one.begin(true).unwrap();
        two.begin(false).unwrap();
        for revokes in [false, true] {
            std::fs::write(two.store.path(), "damaged").unwrap();
            if revokes {
                one.store.delete(&one.ids()[0]).unwrap();
                one.follow();
            }
            two.follow();
            assert_eq!(two.ids(), one.ids(), "{revokes}");
        }
        let aside = crate::paths::keys_damaged(&folder.path().join("two"));
        assert_eq!(std::fs::read(aside).unwrap(), b"damaged");
    }

    #[test]
    fn keys_of_another_cluster_overrule_nobody() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        one.store.add(key()).unwrap();
        one.begin(true).unwrap();
        let mut other = Member::new(folder.path(), "other", &Wall::default());
        other.store.add(key()).unwrap();
        other.begin(true).unwrap();
        let newest = wall.newest().0;
        assert!(other.store.revision().unwrap() > newest);

        let mut joining = Member::new(folder.path(), "other", &wall);
        joining.store.give_up_other_cluster().unwrap();
        joining.begin(false).unwrap();
        assert_eq!(joining.ids(), one.ids());
        assert_eq!(wall.newest().0, newest);
    }

    #[test]
    fn of_two_writers_at_once_one_wins_everywhere() {
        let folder = tempfile::tempdir().unwrap();
        let wall = Wall::default();
        let mut one = Member::new(folder.path(), "one", &wall);
        let mut two = Member::new(folder.path(), "two", &wall);
        one.begin(true).unwrap();
        two.begin(false).unwrap();
        one.store.add(key()).unwrap();
        two.store.add(key()).unwrap();
        for _ in 0..2 {
            one.follow();
            two.follow();
        }
        assert_eq!(one.ids(), two.ids());
        assert_eq!(one.ids().len(), 1);
    }
}
