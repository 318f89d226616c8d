//! raft-rs behind our words.
//!
//! raft-rs's protobuf parser never sees bytes from a file or a socket: entries, messages and
//! memberships have encodings of our own.

mod durability;
mod everywhere;
mod members;
mod memory;
mod snapshots;

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    Config, ProgressState, RawNode, StateRole,
    eraftpb::{Entry, HardState, Message, MessageType},
};
use slog::{Discard, Logger, o};

use crate::{
    EntriesHeld, Failure, Membership, PeerMessage, PeerProgress, ReplicaStatus, Role,
    ballots::Ballots,
    doubts::Doubts,
    elections::{ELECTION_TICKS, Elections, HEARTBEAT_TICKS},
    entries::{Committed, committed_entry, raft_entry, stored_entry},
    fetches::{Fetch, Fetches},
    lives::Lives,
    message::{Beat, TimeTold},
    output::{Append, StoredEntry},
    settling::{Settled, Settling},
    suspicion::Suspicion,
    tail::{Place, Tail},
};

/// Entries in one message to a follower.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
const MESSAGES_IN_FLIGHT_MAX: usize = 256;
/// Messages that wait for the disk; while there are so many, none is taken in.
const HELD_MAX: usize = 1 << 12;
/// Ticks after which a snapshot that did not come is asked for again.
const PREPARE_TICKS: u64 = 20;
/// What raft-rs calls a leader that nobody knows.
const NOBODY: u64 = 0;

pub(crate) struct Consensus {
    node: RawNode<Tail>,
    /// The one that is applied.
    membership: Membership,
    settling: Settling,
    elections: Elections,
    /// The turns' appends that are not durable yet. To raft-rs "this is durable" means
    /// "and all before it", so a turn without an append may say so only when nothing is left here.
    outstanding: VecDeque<Outstanding>,
    /// Counts the appends that were given to the disk.
    appends: u64,
    /// A snapshot on its way to the disk; nothing after it counts as durable.
    installing: Option<Installing>,
    /// A snapshot that is in use, while raft-rs does not know it because an earlier append is not
    /// durable.
    restored: Option<u64>,
    last_turn: u64,
    /// Term and vote as they were last given to the disk.
    written: (u64, u64),
    /// The last term that is certainly on the disk.
    durable_term: u64,
    /// Messages that depend on what the disk does not have yet, by turn.
    held: VecDeque<(u64, Message)>,
    outbox: Vec<Message>,
    suspicion: Option<Suspicion>,
    /// While this replica has no state: it takes none from before this index.
    floor: u64,
    cleared: bool,
    /// Names this run, for leaders to know answers from before it.
    run: u64,
    lives: Lives,
    /// Voters that have said to this leader that they have no state.
    doubts: Doubts,
    /// What who leads has said of how far every voter's log reaches.
    heard: everywhere::Heard,
    /// What who leads has said of the shard's time, until it is taken.
    told: Option<TimeTold>,
    /// Its node ends soon.
    leaving: bool,
    /// Its state is not what most have made of the log, until another's is in its place.
    differs: bool,
    ballots: Ballots,
    fetches: Fetches,
    /// The tick at which a snapshot was asked for that has not come.
    preparing: Option<u64>,
    ticks: u64,
}

#[derive(Debug)]
struct Outstanding {
    append: u64,
    /// raft-rs's number of the turn.
    turn: u64,
    term: u64,
}

#[derive(Debug)]
struct Installing {
    turn: u64,
    place: Place,
    membership: Membership,
}

/// What consensus knows when a replica starts.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) node: u64,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// Everything up to here is applied.
    pub(crate) applied: Place,
    pub(crate) membership: Membership,
    /// The entries after `applied`.
    pub(crate) entries: Vec<StoredEntry>,
    pub(crate) log_first: u64,
    pub(crate) terms: Vec<Place>,
    pub(crate) jitter: u64,
    pub(crate) suspect: bool,
    pub(crate) floor: u64,
}

/// How Raft is set up, for a node that has applied so much of its log.
fn config(node: u64, applied: u64) -> Config {
    Config {
        election_tick: ELECTION_TICKS,
        heartbeat_tick: HEARTBEAT_TICKS,
        applied,
        max_size_per_msg: MESSAGE_BYTES_MAX,
        max_inflight_msgs: MESSAGES_IN_FLIGHT_MAX,
        check_quorum: true,
        pre_vote: true,
        ..Config::new(node)
    }
}

impl Consensus {
    pub(crate) fn start(beginning: Beginning) -> Self {
        let hard_state = HardState {
            term: beginning.term,
            vote: beginning.vote,
            commit: beginning.applied.index,
            ..HardState::default()
        };
        let mut tail = Tail::new(
            hard_state,
            beginning.membership.to_raft(),
            beginning.applied,
            beginning.log_first,
            beginning.terms,
        );
        let entries: Vec<Entry> = beginning.entries.into_iter().map(raft_entry).collect();
        tail.append(&entries);
        let config = config(beginning.node, beginning.applied.index);
        #[cfg(feature = "sabotage")]
        let config = crate::sabotage::configured(config);
        let node = RawNode::new(&config, tail, &Logger::root(Discard, o!()))
            .expect("the configuration is constant and the tail agrees with itself");
        let mut consensus = Self {
            node,
            settling: Settling::new(Settled {
                membership: beginning.membership.clone(),
                index: beginning.applied.index,
            }),
            membership: beginning.membership,
            elections: Elections::new(beginning.jitter),
            outstanding: VecDeque::new(),
            appends: 0,
            installing: None,
            restored: None,
            last_turn: 0,
            written: (beginning.term, beginning.vote),
            durable_term: beginning.term,
            held: VecDeque::new(),
            outbox: Vec::new(),
            suspicion: None,
            floor: beginning.floor,
            cleared: false,
            run: beginning.jitter.max(1),
            lives: Lives::default(),
            doubts: Doubts::default(),
            heard: everywhere::Heard::default(),
            told: None,
            leaving: false,
            differs: false,
            ballots: Ballots::default(),
            fetches: Fetches::default(),
            preparing: None,
            ticks: 0,
        };
        consensus.elections.settle(&mut consensus.node.raft);
        if consensus.is_sole_voter() {
            consensus
                .node
                .campaign()
                .expect("a sole voter may always stand");
            consensus.elections.settle(&mut consensus.node.raft);
        } else if beginning.suspect {
            consensus.suspicion = Some(Suspicion::default());
        }
        consensus
    }

    pub(crate) fn is_sole_voter(&self) -> bool {
        self.membership.is_sole_voter(self.node.raft.id)
    }

    #[cfg(feature = "sabotage")]
    pub(crate) fn id(&self) -> u64 {
        self.node.raft.id
    }

    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    pub(crate) fn leader(&self) -> (u64, Option<u64>) {
        let raft = &self.node.raft;
        (
            raft.term,
            Some(raft.leader_id).filter(|&leader| leader != 0),
        )
    }

    pub(crate) fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Whether time matters: to elect, to lead others, or to be heard of.
    pub(crate) fn needs_ticks(&self) -> bool {
        !(self.is_sole_voter() && self.membership.learners.is_empty() && self.leads())
    }

    pub(crate) fn tick(&mut self) {
        self.ticks += 1;
        // While a snapshot is being installed, raft-rs must not look at what is not applied.
        if self.is_installing() || self.must_not_stand() {
            return;
        }
        self.node.tick();
        if self.leads_no_more() {
            self.give_away();
        }
        self.elections.settle(&mut self.node.raft);
    }

    /// Takes in a message from another replica. One that means nothing here is ignored.
    pub(crate) fn step(&mut self, message: PeerMessage) -> Result<(), Failure> {
        let raft = &self.node.raft;
        let (kind, from) = (message.message.msg_type, message.message.from);
        if message.message.to != raft.id || from == raft.id || self.held.len() >= HELD_MAX {
            return Ok(());
        }
        if !self.may_take(&message) || !self.heed_lives(&message) {
            return Ok(());
        }
        let PeerMessage {
            mut message,
            memory,
            beat,
            ..
        } = message;
        let raft = &self.node.raft;
        let current = message.term >= raft.term;
        if kind == MessageType::MsgHeartbeat && current {
            let commit = message.commit;
            self.heard = everywhere::Heard { commit, beat };
            self.told = Some(beat.told);
        }
        match kind {
            MessageType::MsgHeartbeat if self.memory().is_forgetful() => message.commit = 0,
            MessageType::MsgHeartbeat if current && message.commit > raft.raft_log.last_index() => {
                return Err(Failure::LostEntries {
                    committed: message.commit,
                    last: raft.raft_log.last_index(),
                });
            }
            MessageType::MsgAppend | MessageType::MsgSnapshot | MessageType::MsgTimeoutNow
                if self.is_installing() =>
            {
                return Ok(());
            }
            MessageType::MsgTimeoutNow if self.must_not_stand() => return Ok(()),
            // It says how far the log is committed, which may end a change of the membership that an
            // election depends on. raft-rs would ignore it for its earlier term.
            MessageType::MsgRequestPreVoteResponse if message.reject && !current => {
                message.term = raft.term;
            }
            _ => {}
        }
        // What raft-rs refuses is a message that came too late, and changes nothing.
        for message in self.counted(message, memory) {
            self.node.step(message).ok();
        }
        if memory.is_forgetful() && kind == MessageType::MsgHeartbeatResponse {
            self.probe(from);
        }
        if kind == MessageType::MsgSnapshot {
            self.side_with_leader();
        }
        self.elections.settle(&mut self.node.raft);
        Ok(())
    }

    /// Whoever is given a state votes for who gives it. A replica that was here before may have voted in this term for
    /// somebody, and that may be lost with its log; but there is a leader of the term already, and no second one gets a vote.
    fn side_with_leader(&mut self) {
        let raft = &mut self.node.raft;
        if raft.vote == 0 {
            raft.vote = raft.leader_id;
        }
    }

    pub(crate) fn unreachable(&mut self, node: u64) {
        self.node.report_unreachable(node);
    }

    /// Gives a batch to the log; its place, or `None` if this replica does not lead.
    pub(crate) fn propose(&mut self, batch: Bytes) -> Option<Place> {
        if !self.leads() {
            return None;
        }
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
        if self.leads() {
            self.node.read_index(context.to_le_bytes().to_vec());
        }
    }

    pub(crate) fn durable(&mut self, number: u64) {
        while let Some(durable) = self.outstanding.front()
            && durable.append <= number
        {
            self.durable_term = durable.term;
            self.outstanding.pop_front();
        }
        self.settling.durable(number);
        self.persist();
    }

    /// Entries that were read for a follower; an empty list says that the log no longer has them.
    pub(crate) fn fetched(&mut self, request: u64, entries: Vec<StoredEntry>) {
        let Some(fetch) = self.fetches.end(request) else {
            return;
        };
        let entries: Vec<Entry> = entries.into_iter().map(raft_entry).collect();
        let applied = self.node.raft.raft_log.applied;
        let tail = self.node.mut_store();
        let end = tail.put_at_hand(fetch.first, entries);
        if end == fetch.first {
            tail.forget(fetch.first.min(applied));
            self.send_to(|next| next <= fetch.first);
        } else {
            self.send_to(|next| (fetch.first..end).contains(&next));
        }
        self.node.mut_store().drop_at_hand();
    }

    /// The log no longer holds entries up to this one.
    pub(crate) fn forgotten(&mut self, through: u64) {
        let applied = self.node.raft.raft_log.applied;
        if !self.is_installing() {
            self.node.mut_store().forget(through.min(applied));
        }
    }

    /// What has come of everything stepped in so far; `None` if nothing has.
    pub(crate) fn turn(&mut self) -> Option<Turn> {
        self.settle_suspicion();
        #[cfg(feature = "sabotage")]
        crate::sabotage::before_ready(&mut self.node);
        if !self.node.has_ready() {
            return None;
        }
        let mut ready = self.node.ready();
        let number = ready.number();
        let install = self.install_of(&ready);
        let append = self.append_of(&mut ready);
        self.sort_messages(&mut ready);
        let committed = ready.take_committed_entries().into_iter();
        let turn = Turn {
            append,
            install,
            committed: committed.map(committed_entry).collect(),
            reads: ready
                .take_read_states()
                .into_iter()
                .map(|state| Read {
                    context: read_context(&state.request_ctx),
                    index: state.index,
                })
                .collect(),
        };
        self.node.advance_append_async(ready);
        self.last_turn = number;
        if let Some(append) = &turn.append {
            self.outstanding.push_back(Outstanding {
                append: append.number,
                turn: number,
                term: append.term,
            });
        }
        self.persist();
        Some(turn)
    }

    /// Tells raft-rs that everything up to this index is applied.
    pub(crate) fn applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
        self.node.mut_store().trim(index);
    }

    /// What who leads has said of the shard's time since this was asked last.
    pub(crate) fn take_told(&mut self) -> Option<TimeTold> {
        self.told.take()
    }

    /// The messages that may leave by now, heartbeats with this of the shard's time.
    pub(crate) fn take_messages(&mut self, told: TimeTold) -> Vec<PeerMessage> {
        let memory = self.memory();
        if !self.leads() {
            self.lives.end_leadership();
            self.doubts = Doubts::default();
        }
        let messages = std::mem::take(&mut self.outbox).into_iter();
        messages
            .filter(|message| PeerMessage::is_sent(message.msg_type))
            .map(|message| {
                let life = self
                    .lives
                    .to_send(message.to, message.term, self.run, memory);
                let beat = match message.msg_type {
                    MessageType::MsgHeartbeat => Beat {
                        everywhere: self.everywhere_at(message.commit),
                        told,
                    },
                    _ => Beat::default(),
                };
                PeerMessage {
                    message,
                    memory,
                    run: life.run,
                    life: life.number,
                    beat,
                }
            })
            .collect()
    }

    /// The reads of old entries that followers wait for.
    pub(crate) fn take_fetches(&mut self) -> Vec<Fetch> {
        let wanted = self.node.mut_store().take_wanted();
        if wanted.is_empty() {
            return Vec::new();
        }
        self.fetches.begin(wanted, self.ticks)
    }

    /// Whether the replica has stopped being suspect since the last call.
    pub(crate) fn take_cleared(&mut self) -> bool {
        std::mem::take(&mut self.cleared)
    }

    pub(crate) fn entries_held(&self, applied: u64) -> EntriesHeld {
        self.node.store().held(applied)
    }

    pub(crate) fn remembered(&self, index: u64) -> Option<StoredEntry> {
        // What raft-rs has not handed over yet is not in the log.
        self.node.store().remembered(index).map(stored_entry)
    }

    pub(crate) fn set_memory_bytes(&mut self, bytes: usize) {
        self.node.mut_store().set_applied_bytes_max(bytes);
    }

    pub(crate) fn status(&self) -> ReplicaStatus {
        let raft = &self.node.raft;
        let role = match raft.state {
            StateRole::Follower => Role::Follower,
            StateRole::PreCandidate => Role::PreCandidate,
            StateRole::Candidate => Role::Candidate,
            StateRole::Leader => Role::Leader,
        };
        let mut peers = Vec::new();
        if self.leads() {
            let others = raft.prs().iter().filter(|(node, _)| **node != raft.id);
            peers.extend(others.map(|(&node, progress)| PeerProgress {
                node,
                matched: progress.matched,
                active: progress.recent_active,
                snapshot: progress.state == ProgressState::Snapshot,
                memory: self.doubts.memory(node),
            }));
            peers.sort_unstable_by_key(|peer| peer.node);
        }
        ReplicaStatus {
            role,
            term: raft.term,
            leader: (raft.leader_id != NOBODY).then_some(raft.leader_id),
            commit: raft.raft_log.committed,
            last: raft.raft_log.last_index(),
            applied: raft.raft_log.applied,
            membership: self.membership.clone(),
            settled: self.settling.settled().membership.clone(),
            settled_at: self.settling.settled().index,
            peers,
            suspect: self.suspicion.is_some(),
        }
    }

    /// A sole voter wins at once when it stands, and then its messages would leave before what they
    /// depend on is durable: it waits until everything is.
    fn must_not_stand(&self) -> bool {
        self.is_sole_voter()
            && !self.leads()
            && (!self.outstanding.is_empty() || self.node.has_ready())
    }

    /// Lets the leader send to those whose next index is of interest now.
    fn send_to(&mut self, is_meant: impl Fn(u64) -> bool) {
        if !self.leads() {
            return;
        }
        let raft = &mut self.node.raft;
        let mut nodes: Vec<u64> = raft
            .prs()
            .iter()
            .filter(|(node, progress)| **node != raft.id && is_meant(progress.next_idx))
            .map(|(&node, _)| node)
            .collect();
        nodes.sort_unstable();
        for node in nodes {
            raft.send_append(node);
        }
    }
}

/// Work that consensus hands over.
pub(crate) struct Turn {
    pub(crate) append: Option<Append>,
    /// A staged snapshot to be taken into use.
    pub(crate) install: Option<Place>,
    /// Entries that a majority holds, to be applied in order.
    pub(crate) committed: Vec<Committed>,
    pub(crate) reads: Vec<Read>,
}

/// A confirmed read: right for a state that has applied `index`.
pub(crate) struct Read {
    pub(crate) context: u64,
    pub(crate) index: u64,
}

fn is_vote(message: &Message) -> bool {
    matches!(
        message.msg_type,
        MessageType::MsgRequestVoteResponse | MessageType::MsgRequestPreVoteResponse
    )
}

fn read_context(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(
        bytes
            .try_into()
            .expect("read contexts are written by read_index"),
    )
}
