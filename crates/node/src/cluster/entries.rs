//! Entries that are damaged on one node and whole on another: asking for them, and giving them.

use std::{sync::Arc, time::Duration};

use anser_broker::id::ShardId;
use anser_host::Wound;
use anser_log::{Entry, EntryKind, Kept, Stored};
use tokio::sync::{mpsc::UnboundedReceiver, oneshot};
use tracing::info;

use super::{
    peers::Cluster,
    words::{Ask, GivenEntry, GivenKind, Told},
};
use crate::{
    bodies,
    desk::Desk,
    event::{Event, HostEvent, Look},
    inboxes::Inboxes,
};

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// Nobody asks for more at once.
const ENTRIES_MAX: usize = 64;

/// What a node is to be asked for.
#[derive(Debug)]
pub(crate) struct Asking {
    pub(crate) shard: ShardId,
    pub(crate) wound: Wound,
    pub(crate) to: u64,
    pub(crate) indexes: Vec<u64>,
}

/// Asks until nobody wants anything any more. Every question has an answer, if only that nothing was given.
pub(crate) async fn ask_all(
    cluster: Arc<Cluster>,
    inboxes: Inboxes,
    mut questions: UnboundedReceiver<Asking>,
) {
    while let Some(asking) = questions.recv().await {
        let (cluster, inboxes) = (Arc::clone(&cluster), inboxes.clone());
        tokio::task::spawn_local(async move {
            let Asking {
                shard,
                wound,
                to,
                indexes,
            } = asking;
            info!(
                shard = shard.0,
                to,
                ?indexes,
                "entries that are damaged here are asked for"
            );
            let ask = Ask::Entries {
                shard: shard.0,
                indexes,
            };
            let told = tokio::time::timeout(PATIENCE, cluster.ask(to, &ask)).await;
            let entries = match told {
                Ok(Ok(Told::Entries(entries))) => entries,
                // Not reached, too slow, or of a program that does not know the question.
                _ => Vec::new(),
            };
            let given = HostEvent::Given {
                shard,
                wound,
                node: to,
                entries: entries.into_iter().map(Stored::from).collect(),
            };
            // A runner that is gone mends nothing.
            drop(inboxes.of(shard).send(given.into()));
        });
    }
}

/// What is stored here of entries that are applied; nothing if no replica is here.
pub(crate) async fn give(desk: &Desk, shard: ShardId, mut indexes: Vec<u64>) -> Told {
    indexes.truncate(ENTRIES_MAX);
    let given = async {
        let (sender, applied) = oneshot::channel();
        let look = Look::Applied(sender);
        desk.send(shard, Event::Look { shard, look }).ok()?;
        let applied = applied.await.ok()?;
        let (responder, given) = oneshot::channel();
        let job = bodies::Job::Give {
            shard,
            applied,
            indexes,
            responder,
        };
        desk.read_bodies(job).ok()?;
        given.await.ok()
    };
    let given = given.await.unwrap_or_default();
    Told::Entries(given.into_iter().map(GivenEntry::from).collect())
}

impl From<Stored> for GivenEntry {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Entry(entry) => Self::Whole {
                index: entry.index,
                term: entry.term,
                kind: entry.kind.into(),
                data: entry.data,
            },
            Stored::Kept(kept) => Self::Kept {
                index: kept.index,
                term: kept.term,
                payload: kept.payload,
            },
        }
    }
}

impl From<GivenEntry> for Stored {
    fn from(given: GivenEntry) -> Self {
        match given {
            GivenEntry::Whole {
                index,
                term,
                kind,
                data,
            } => Self::Entry(Entry {
                index,
                term,
                kind: kind.into(),
                data,
            }),
            GivenEntry::Kept {
                index,
                term,
                payload,
            } => Self::Kept(Kept {
                index,
                term,
                payload,
            }),
        }
    }
}

impl From<EntryKind> for GivenKind {
    fn from(kind: EntryKind) -> Self {
        match kind {
            EntryKind::Normal => Self::Normal,
            EntryKind::Change => Self::Change,
            EntryKind::ChangeV2 => Self::ChangeV2,
        }
    }
}

impl From<GivenKind> for EntryKind {
    fn from(kind: GivenKind) -> Self {
        match kind {
            GivenKind::Normal => Self::Normal,
            GivenKind::Change => Self::Change,
            GivenKind::ChangeV2 => Self::ChangeV2,
        }
    }
}
