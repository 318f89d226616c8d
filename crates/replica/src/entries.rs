//! Entries between raft-rs's form and ours.
//!
//! A membership change keeps our encoding in the entry's context while it is in memory; raft-rs's own
//! bytes for it, which it makes when a leader proposes, are never read by us and never leave.

use bytes::Bytes;
use raft::eraftpb::{Entry, EntryType};

use crate::{
    membership::{MembershipChange, MembershipError},
    output::{StoredEntry, StoredKind},
    tail::Place,
};

/// An entry that a majority holds.
pub(crate) struct Committed {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

pub(crate) enum Content {
    /// A batch of commands, or nothing.
    Batch(Bytes),
    Membership(Result<MembershipChange, MembershipError>),
}

pub(crate) fn committed_entry(entry: Entry) -> Committed {
    let place = Place {
        index: entry.index,
        term: entry.term,
    };
    let content = match kind(&entry) {
        StoredKind::Normal => Content::Batch(entry.data),
        StoredKind::Membership => {
            Content::Membership(MembershipChange::decode(&change_bytes(&entry)))
        }
    };
    Committed { place, content }
}

pub(crate) fn stored_entry(entry: &Entry) -> StoredEntry {
    let kind = kind(entry);
    StoredEntry {
        index: entry.index,
        term: entry.term,
        kind,
        data: match kind {
            StoredKind::Normal => entry.data.clone(),
            StoredKind::Membership => change_bytes(entry),
        },
    }
}

pub(crate) fn raft_entry(entry: StoredEntry) -> Entry {
    let mut made = Entry {
        index: entry.index,
        term: entry.term,
        ..Entry::default()
    };
    match entry.kind {
        StoredKind::Normal => made.data = entry.data,
        StoredKind::Membership => {
            made.entry_type = EntryType::EntryConfChangeV2;
            made.context = entry.data;
        }
    }
    made
}

fn kind(entry: &Entry) -> StoredKind {
    match entry.entry_type {
        EntryType::EntryNormal => StoredKind::Normal,
        EntryType::EntryConfChange | EntryType::EntryConfChangeV2 => StoredKind::Membership,
    }
}

/// raft-rs itself appends the entry that leaves a change of several steps.
fn change_bytes(entry: &Entry) -> Bytes {
    if entry.context.is_empty() {
        MembershipChange::LEAVE.encode()
    } else {
        entry.context.clone()
    }
}
