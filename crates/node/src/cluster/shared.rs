//! A few bytes that all nodes of the cluster hold alike: the newest revision that any of them was given.

use bytes::Bytes;
use tokio::sync::watch;

use super::words::Note;

#[derive(Debug)]
pub(crate) struct Shared(watch::Sender<(u64, Bytes)>);

impl Default for Shared {
    fn default() -> Self {
        Self(watch::Sender::new((0, Bytes::new())))
    }
}

impl Shared {
    /// Keeps a revision that is newer than the one there is. Of two with the same number the one with
    /// the greater bytes counts, so that all nodes agree.
    pub(crate) fn adopt(&self, revision: u64, bytes: Bytes) -> bool {
        self.0.send_if_modified(|current| {
            let newer = (revision, &bytes) > (current.0, &current.1);
            if newer {
                *current = (revision, bytes);
            }
            newer
        })
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<(u64, Bytes)> {
        self.0.subscribe()
    }

    /// What a peer has to hear; `None` if there is nothing yet.
    pub(crate) fn note(&self) -> Option<Note> {
        let (revision, bytes) = self.0.borrow().clone();
        (revision > 0).then_some(Note::Shared { revision, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_ends_with_the_same_revision() {
        let offers = [(1, "a"), (2, "b"), (2, "c"), (1, "d")];
        let (one, other) = (Shared::default(), Shared::default());
        for (revision, bytes) in offers {
            one.adopt(revision, bytes.into());
        }
        for (revision, bytes) in offers.into_iter().rev() {
            other.adopt(revision, bytes.into());
        }
        assert_eq!(*one.0.borrow(), (2, Bytes::from("c")));
        assert_eq!(*one.0.borrow(), *other.0.borrow());
    }
}
