//! raft-rs behind our words.
//!
//! raft-rs's protobuf parser never sees bytes from a file or a socket: entries and memberships have
//! encodings of our own.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    Config, RawNode, Ready, StateRole,
    eraftpb::{ConfState, Entry, HardState, Message, MessageType},
};
use slog::{Discard, Logger, o};

use crate::{
    output::{Append, StoredEntry},
    tail::{Place, Tail},
};

/// Heartbeats without an answer before a follower asks to lead.
const ELECTION_TICKS: usize = 10;
const HEARTBEAT_TICKS: usize = 2;
/// Entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const MESSAGES_IN_FLIGHT_MAX: usize = 256;

/// Who takes part in a shard's decisions, by node number.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    pub voters: Vec<u64>,
    pub learners: Vec<u64>,
    pub voters_outgoing: Vec<u64>,
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
}

pub(crate) struct Consensus {
    node: RawNode<Tail>,
    /// The appends that are not durable yet. To raft-rs "this is durable" means "and all before it",
    /// so a turn without an append may say so only when nothing is left here.
    outstanding: VecDeque<u64>,
    last_turn: u64,
}

/// What consensus knows when a replica starts.
#[derive(Debug)]
pub(crate) struct Beginning<'a> {
    pub(crate) node: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// Everything up to here is applied.
    pub(crate) applied: Place,
    pub(crate) membership: &'a Membership,
    /// The entries after `applied`.
    pub(crate) entries: &'a [StoredEntry],
}

impl Consensus {
    pub(crate) fn start(beginning: &Beginning<'_>) -> Self {
        let hard_state = HardState {
            term: beginning.term,
            vote: beginning.vote,
            commit: beginning.applied.index,
            ..HardState::default()
        };
        let mut tail = Tail::new(
            hard_state,
            conf_state(beginning.membership),
            beginning.applied,
        );
        let entries: Vec<Entry> = beginning.entries.iter().map(raft_entry).collect();
        tail.append(&entries);
        let config = Config {
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: beginning.applied.index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
            check_quorum: true,
            pre_vote: true,
            ..Config::new(beginning.node)
        };
        let node = RawNode::new(&config, tail, &Logger::root(Discard, o!()))
            .expect("the configuration is constant and the tail agrees with itself");
        let mut consensus = Self {
            node,
            outstanding: VecDeque::new(),
            last_turn: 0,
        };
        if consensus.is_sole_voter() {
            consensus
                .node
                .campaign()
                .expect("a sole voter may always stand");
        }
        consensus
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        let membership = self.node.store().membership();
        membership.voters == [self.node.raft.id] && membership.voters_outgoing.is_empty()
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(crate) fn tick(&mut self) {
        self.node.tick();
    }

    /// Gives a batch to the log; its place, or `None` if this replica does not lead.
    pub(crate) fn propose(&mut self, batch: Bytes) -> Option<Place> {
        let entry = Entry {
            data: batch,
            ..Entry::default()
        };
        let mut message = Message::default();
        message.set_msg_type(MessageType::MsgPropose);
        message.from = self.node.raft.id;
        message.entries = vec![entry].into();
        self.node.raft.step(message).ok()?;
        let raft = &self.node.raft;
        Some(Place {
            index: raft.raft_log.last_index(),
            term: raft.term,
        })
    }

    /// Asks for a moment at which this replica certainly led; it comes back in [`Turn::reads`].
    pub(crate) fn read_index(&mut self, context: u64) {
        self.node.read_index(context.to_le_bytes().to_vec());
    }

    pub(crate) fn durable(&mut self, number: u64) {
        while self
            .outstanding
            .front()
            .is_some_and(|&append| append <= number)
        {
            self.outstanding.pop_front();
        }
        let through = match self.outstanding.front() {
            Some(&next) => next - 1,
            None => self.last_turn,
        };
        self.node.on_persist_ready(through);
    }

    /// What has come of everything stepped in so far; `None` if nothing has.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let append = self.append_of(&mut ready);
        let turn = Turn {
            append,
            committed: ready.take_committed_entries(),
            reads: ready
                .take_read_states()
                .into_iter()
                .map(|state| Read {
                    context: read_context(&state.request_ctx),
                    index: state.index,
                })
                .collect(),
        };
        let number = ready.number();
        self.node.advance_append_async(ready);
        self.last_turn = number;
        if turn.append.is_some() {
            self.outstanding.push_back(number);
        } else if self.outstanding.is_empty() {
            self.node.on_persist_ready(number);
        }
        Some(turn)
    }

    /// Tells raft-rs that everything committed so far is applied.
    pub(crate) fn applied(&mut self) {
        self.node.advance_apply();
        let applied = self.node.raft.raft_log.applied;
        self.node.mut_store().trim(applied);
    }

    pub(crate) fn membership(&self) -> Membership {
        let state = self.node.store().membership();
        Membership {
            voters: state.voters.clone(),
            learners: state.learners.clone(),
            voters_outgoing: state.voters_outgoing.clone(),
            learners_next: state.learners_next.clone(),
            auto_leave: state.auto_leave,
        }
    }

    /// A changed commit index alone needs no write: it goes along with the next entries.
    fn append_of(&mut self, ready: &mut Ready) -> Option<Append> {
        if !ready.must_sync() {
            return None;
        }
        let entries = ready.take_entries();
        self.node.mut_store().append(&entries);
        let hard_state = self.node.raft.hard_state();
        Some(Append {
            number: ready.number(),
            term: hard_state.term,
            vote: hard_state.vote,
            commit: hard_state.commit,
            entries: entries.iter().map(stored_entry).collect(),
        })
    }
}

/// Work that consensus hands over.
pub(crate) struct Turn {
    pub(crate) append: Option<Append>,
    /// Entries that a majority holds, to be applied in order.
    pub(crate) committed: Vec<Entry>,
    pub(crate) reads: Vec<Read>,
}

/// A confirmed read: right for a state that has applied `index`.
pub(crate) struct Read {
    pub(crate) context: u64,
    pub(crate) index: u64,
}

fn read_context(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(
        bytes
            .try_into()
            .expect("read contexts are written by read_index"),
    )
}

fn stored_entry(entry: &Entry) -> StoredEntry {
    StoredEntry {
        index: entry.index,
        term: entry.term,
        data: entry.data.clone(),
    }
}

fn raft_entry(entry: &StoredEntry) -> Entry {
    Entry {
        index: entry.index,
        term: entry.term,
        data: entry.data.clone(),
        ..Entry::default()
    }
}

fn conf_state(membership: &Membership) -> ConfState {
    ConfState {
        voters: membership.voters.clone(),
        learners: membership.learners.clone(),
        voters_outgoing: membership.voters_outgoing.clone(),
        learners_next: membership.learners_next.clone(),
        auto_leave: membership.auto_leave,
        ..ConfState::default()
    }
}
