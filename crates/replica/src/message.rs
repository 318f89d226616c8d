//! Messages between the replicas of a shard, and their bytes (`docs/formats/peer-messages.md`).

use anser_broker::time::Timestamp;
use bytes::{Buf, Bytes};
use raft::eraftpb::{Message, MessageType, Snapshot, SnapshotMetadata};

use crate::{
    Membership, MembershipChange, MembershipError, Place, StoredEntry, StoredKind,
    entries::{raft_entry, stored_entry},
};

const VERSION: u8 = 2;
const CONTEXT_BYTES_MAX: usize = 64;
/// Indexes and terms stay below this, so that adding one is safe.
const NUMBER_END: u64 = 1 << 62;
/// An entry without its data.
const ENTRY_HEAD_BYTES: usize = 1 + 8 + 8 + 4;
const REJECTED: u8 = 1;
const FORGETFUL: u8 = 2;
const EMPTY: u8 = 4;

/// The kinds of message that replicas send each other, by their number in the bytes.
const KINDS: [(u8, MessageType); 10] = [
    (1, MessageType::MsgAppend),
    (2, MessageType::MsgAppendResponse),
    (3, MessageType::MsgRequestVote),
    (4, MessageType::MsgRequestVoteResponse),
    (5, MessageType::MsgRequestPreVote),
    (6, MessageType::MsgRequestPreVoteResponse),
    (7, MessageType::MsgHeartbeat),
    (8, MessageType::MsgHeartbeatResponse),
    (9, MessageType::MsgSnapshot),
    (10, MessageType::MsgTimeoutNow),
];

/// A message from one replica of a shard to another.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerMessage {
    pub(crate) message: Message,
    /// What the sender may lack of what it once had.
    pub(crate) memory: Memory,
    /// A forgetful replica's run; from a leader, the receiver's run as the leader knows it.
    pub(crate) run: u64,
    /// From a leader, its number for the receiver's life; in an answer, the last that the sender heard
    /// in this term. So nobody takes an answer from an earlier life for one of this.
    pub(crate) life: u64,
    /// Nothing but zeros in other messages than heartbeats.
    pub(crate) beat: Beat,
}

/// What a leader says with each heartbeat. It travels in numbers that a heartbeat of Raft does not have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Beat {
    /// How far every voter's log reaches, by the members that whoever has applied the message's commit index knows; 0 if
    /// that is not known.
    pub(crate) everywhere: u64,
    pub(crate) told: TimeTold,
}

/// What a leader says of its shard's time; zeros from one that does not serve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TimeTold {
    /// The stamp of the last entry that the leader has applied.
    pub stamp: Timestamp,
    /// The shard's time when the leader said it.
    pub now: Timestamp,
}

/// What a replica knows of its own past.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Everything that it ever acknowledged.
    Whole,
    /// It may lack entries that it once acknowledged; of terms and votes it lacks none.
    Suspect,
    /// It has no state yet. If there was a replica here before, nothing is known of it.
    Empty,
}

impl Memory {
    /// Whether entries that were once acknowledged may be missing.
    pub(crate) fn is_forgetful(self) -> bool {
        self != Self::Whole
    }

    fn flags(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Suspect => FORGETFUL,
            Self::Empty => FORGETFUL | EMPTY,
        }
    }

    fn of_flags(flags: u8) -> Option<Self> {
        match flags & (FORGETFUL | EMPTY) {
            0 => Some(Self::Whole),
            FORGETFUL => Some(Self::Suspect),
            EMPTY => None,
            _ => Some(Self::Empty),
        }
    }
}

/// Why bytes are no message of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    #[error("the message is of version {0}, this program reads version {VERSION}")]
    Version(u8),
    #[error("the message ends too early")]
    Short,
    #[error("{0} bytes are left over after the message")]
    LeftOver(usize),
    #[error("unknown kind {0}")]
    Kind(u8),
    #[error("the message contradicts itself: {0}")]
    Contradiction(&'static str),
    #[error("the message's membership cannot be read: {0}")]
    Membership(#[from] MembershipError),
}

impl PeerMessage {
    /// Whether replicas send each other messages of this type at all.
    pub(crate) fn is_sent(kind: MessageType) -> bool {
        KINDS.iter().any(|&(_, known)| known == kind)
    }

    /// The node of the replica that sent it, at least 1.
    pub fn from(&self) -> u64 {
        self.message.from
    }

    /// The node of the replica that it is for, at least 1.
    pub fn to(&self) -> u64 {
        self.message.to
    }

    /// Whether only a leader sends such a message: who has no replica of the shard should have one. A
    /// request for a vote says nothing of the kind, and a replica that is made for it would not know
    /// whom it has voted for before.
    pub fn is_from_leader(&self) -> bool {
        matches!(
            self.message.msg_type,
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot
        )
    }

    /// Adds the message's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let message = &self.message;
        let kind = KINDS
            .iter()
            .find_map(|&(number, kind)| (kind == message.msg_type).then_some(number))
            .expect("only messages between replicas are wrapped");
        let rejected = if message.reject { REJECTED } else { 0 };
        out.extend([VERSION, kind, rejected | self.memory.flags()]);
        let (log_term, index, commit_term) = match message.msg_type {
            MessageType::MsgHeartbeat => {
                let Beat { everywhere, told } = self.beat;
                (told.stamp.0, everywhere, told.now.0)
            }
            _ => (message.log_term, message.index, message.commit_term),
        };
        for number in [
            message.to,
            message.from,
            message.term,
            log_term,
            index,
            message.commit,
            commit_term,
            message.request_snapshot,
            message.reject_hint,
        ] {
            out.extend(number.to_le_bytes());
        }
        out.extend(message.priority.to_le_bytes());
        out.extend(self.run.to_le_bytes());
        out.extend(self.life.to_le_bytes());
        let context_bytes = u8::try_from(message.context.len()).expect("contexts are short");
        out.push(context_bytes);
        out.extend_from_slice(&message.context);
        if let Some(snapshot) = message.snapshot.as_ref() {
            let metadata = snapshot.get_metadata();
            out.extend(metadata.index.to_le_bytes());
            out.extend(metadata.term.to_le_bytes());
            Membership::from_raft(metadata.get_conf_state()).encode(out);
        }
        let entries = u32::try_from(message.entries.len()).expect("messages are bounded");
        out.extend(entries.to_le_bytes());
        for entry in message.entries.iter().map(stored_entry) {
            let kind = match entry.kind {
                StoredKind::Normal => 0,
                StoredKind::Membership => 1,
            };
            out.push(kind);
            out.extend(entry.index.to_le_bytes());
            out.extend(entry.term.to_le_bytes());
            let bytes = u32::try_from(entry.data.len()).expect("entries are bounded");
            out.extend(bytes.to_le_bytes());
            out.extend_from_slice(&entry.data);
        }
    }

    /// Reads a message, all of it. The data of its entries is shared with the bytes, not copied.
    pub fn decode(bytes: Bytes) -> Result<Self, MessageError> {
        let mut rest = Rest(bytes);
        let [version] = rest.take()?;
        if version != VERSION {
            return Err(MessageError::Version(version));
        }
        let [number] = rest.take()?;
        let kind = KINDS
            .iter()
            .find_map(|&(known, kind)| (known == number).then_some(kind))
            .ok_or(MessageError::Kind(number))?;
        let [flags] = rest.take()?;
        if flags & !(REJECTED | FORGETFUL | EMPTY) != 0 {
            return Err(MessageError::Contradiction("unknown flags"));
        }
        let memory = Memory::of_flags(flags);
        let memory = memory.ok_or(MessageError::Contradiction("empty and not forgetful"))?;
        let mut message = Message {
            msg_type: kind,
            reject: flags & REJECTED != 0,
            to: u64::from_le_bytes(rest.take()?),
            from: u64::from_le_bytes(rest.take()?),
            term: rest.number()?,
            log_term: rest.number()?,
            index: rest.number()?,
            commit: rest.number()?,
            commit_term: rest.number()?,
            request_snapshot: rest.number()?,
            reject_hint: rest.number()?,
            priority: i64::from_le_bytes(rest.take()?),
            ..Message::default()
        };
        let run = u64::from_le_bytes(rest.take()?);
        let life = u64::from_le_bytes(rest.take()?);
        let [context_bytes] = rest.take()?;
        let context_bytes = usize::from(context_bytes);
        if context_bytes > CONTEXT_BYTES_MAX {
            return Err(MessageError::Contradiction("a context too long"));
        }
        message.context = rest.split(context_bytes)?;
        let beat = match kind {
            MessageType::MsgHeartbeat => Beat {
                everywhere: std::mem::take(&mut message.index),
                told: TimeTold {
                    stamp: Timestamp(std::mem::take(&mut message.log_term)),
                    now: Timestamp(std::mem::take(&mut message.commit_term)),
                },
            },
            _ => Beat::default(),
        };
        if kind == MessageType::MsgSnapshot {
            message.snapshot = Some(rest.snapshot()?).into();
        }
        message.entries = rest.entries(&message)?.into();
        if !rest.0.is_empty() {
            return Err(MessageError::LeftOver(rest.0.len()));
        }
        if message.to == 0 || message.from == 0 || message.term == 0 {
            return Err(MessageError::Contradiction("no sender, receiver or term"));
        }
        Ok(Self {
            message,
            memory,
            run,
            life,
            beat,
        })
    }

    /// Where the snapshot lies that the message announces.
    pub fn snapshot(&self) -> Option<Place> {
        let metadata = self.message.snapshot.as_ref()?.get_metadata();
        Some(Place {
            index: metadata.index,
            term: metadata.term,
        })
    }
}

/// What of the bytes is not read yet.
struct Rest(Bytes);

impl Rest {
    fn take<const LENGTH: usize>(&mut self) -> Result<[u8; LENGTH], MessageError> {
        let piece = *self.0.first_chunk().ok_or(MessageError::Short)?;
        self.0.advance(LENGTH);
        Ok(piece)
    }

    fn number(&mut self) -> Result<u64, MessageError> {
        let number = u64::from_le_bytes(self.take()?);
        if number < NUMBER_END {
            Ok(number)
        } else {
            Err(MessageError::Contradiction("a number out of range"))
        }
    }

    fn split(&mut self, bytes: usize) -> Result<Bytes, MessageError> {
        if bytes > self.0.len() {
            return Err(MessageError::Short);
        }
        Ok(self.0.split_to(bytes))
    }

    fn snapshot(&mut self) -> Result<Snapshot, MessageError> {
        let (index, term) = (self.number()?, self.number()?);
        let mut rest = &self.0[..];
        let membership = Membership::decode(&mut rest)?;
        let read = self.0.len() - rest.len();
        self.0.advance(read);
        if index == 0 || term == 0 || !membership.is_coherent() {
            return Err(MessageError::Contradiction("no possible snapshot"));
        }
        let metadata = SnapshotMetadata {
            conf_state: Some(membership.to_raft()).into(),
            index,
            term,
            ..SnapshotMetadata::default()
        };
        Ok(Snapshot {
            metadata: Some(metadata).into(),
            ..Snapshot::default()
        })
    }

    /// Entries must follow each other behind the message's place, with terms that do not fall.
    fn entries(&mut self, message: &Message) -> Result<Vec<raft::eraftpb::Entry>, MessageError> {
        let count = usize::try_from(u32::from_le_bytes(self.take()?)).unwrap_or(usize::MAX);
        if count > self.0.len() / ENTRY_HEAD_BYTES {
            return Err(MessageError::Short);
        }
        if count > 0 && message.msg_type != MessageType::MsgAppend {
            return Err(MessageError::Contradiction("entries in another message"));
        }
        let mut entries = Vec::with_capacity(count);
        let mut before = Place {
            index: message.index,
            term: message.log_term,
        };
        for _ in 0..count {
            let kind = match self.take()? {
                [0] => StoredKind::Normal,
                [1] => StoredKind::Membership,
                [kind] => return Err(MessageError::Kind(kind)),
            };
            let place = Place {
                index: self.number()?,
                term: self.number()?,
            };
            let bytes = u32::from_le_bytes(self.take()?);
            let data = self.split(usize::try_from(bytes).unwrap_or(usize::MAX))?;
            if place.index != before.index + 1
                || place.term < before.term.max(1)
                || place.term > message.term
            {
                return Err(MessageError::Contradiction("entries out of order"));
            }
            if kind == StoredKind::Membership {
                MembershipChange::decode(&data)?;
            }
            before = place;
            entries.push(raft_entry(StoredEntry {
                index: place.index,
                term: place.term,
                kind,
                data,
            }));
        }
        Ok(entries)
    }
}
