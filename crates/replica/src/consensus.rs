//! raft-rs behind our words.
//!
//! raft-rs's protobuf parser never sees bytes from a file or a socket: entries, messages and
//! memberships have encodings of our own.

use std::collections::VecDeque;

use bytes::Bytes;
use raft::{
    Config, ProgressState, RawNode, Ready, SnapshotStatus, StateRole,
    eraftpb::{Entry, HardState, Message, MessageType},
};
use slog::{Discard, Logger, o};

use crate::{
    Failure, Membership, MembershipChange, MembershipStep, PeerMessage, PeerProgress,
    ReplicaStatus, Role, SnapshotOffer,
    ballots::Ballots,
    elections::{ELECTION_TICKS, Elections, HEARTBEAT_TICKS},
    entries::{Committed, committed_entry, raft_entry, stored_entry},
    fetches::{Fetch, Fetches},
    lives::{Life, Lives, Verdict},
    message::Memory,
    output::{Append, StoredEntry},
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
    elections: Elections,
    /// The appends that are not durable yet, with their terms. To raft-rs "this is durable" means
    /// "and all before it", so a turn without an append may say so only when nothing is left here.
    outstanding: VecDeque<(u64, u64)>,
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
    cleared: bool,
    /// Names this run, for leaders to know answers from before it.
    run: u64,
    lives: Lives,
    ballots: Ballots,
    fetches: Fetches,
    /// The tick at which a snapshot was asked for that has not come.
    preparing: Option<u64>,
    ticks: u64,
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
        #[cfg(feature = "sabotage")]
        let config = crate::sabotage::configured(config);
        let node = RawNode::new(&config, tail, &Logger::root(Discard, o!()))
            .expect("the configuration is constant and the tail agrees with itself");
        let mut consensus = Self {
            node,
            membership: beginning.membership,
            elections: Elections::new(beginning.jitter),
            outstanding: VecDeque::new(),
            installing: None,
            restored: None,
            last_turn: 0,
            written: (beginning.term, beginning.vote),
            durable_term: beginning.term,
            held: VecDeque::new(),
            outbox: Vec::new(),
            suspicion: None,
            cleared: false,
            run: beginning.jitter.max(1),
            lives: Lives::default(),
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
        self.membership.voters == [self.node.raft.id] && !self.membership.is_joint()
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
        self.elections.settle(&mut self.node.raft);
    }

    /// Takes in a message from another replica. One that means nothing here is ignored.
    pub(crate) fn step(&mut self, message: PeerMessage) -> Result<(), Failure> {
        let raft = &self.node.raft;
        let (kind, from) = (message.message.msg_type, message.message.from);
        if message.message.to != raft.id || from == raft.id || self.held.len() >= HELD_MAX {
            return Ok(());
        }
        if !self.may_answer(kind) || !self.heed_lives(&message) {
            return Ok(());
        }
        let PeerMessage {
            mut message,
            memory,
            ..
        } = message;
        let raft = &self.node.raft;
        let current = message.term >= raft.term;
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
        self.elections.settle(&mut self.node.raft);
        Ok(())
    }

    /// Who has no state yet knows nothing of a replica that may have been here before and have voted;
    /// a suspect is no heir.
    fn may_answer(&self, kind: MessageType) -> bool {
        match kind {
            MessageType::MsgRequestVote | MessageType::MsgRequestPreVote => {
                self.memory() != Memory::Empty
            }
            MessageType::MsgTimeoutNow => self.memory() == Memory::Whole,
            _ => true,
        }
    }

    /// The messages that count now that this one has come: a vote may have to wait for others.
    fn counted(&mut self, message: Message, memory: Memory) -> Vec<Message> {
        if !is_vote(&message) || message.reject {
            return vec![message];
        }
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("suspects vote") {
            return vec![message];
        }
        let alone = !memory.is_forgetful() && !self.memory().is_forgetful();
        let id = self.node.raft.id;
        self.ballots.granted(message, alone, id, &self.membership)
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

    /// Gives a change of the membership to the log, if this replica leads, no other is under way and
    /// the change means something. Only who has state becomes a voter.
    pub(crate) fn propose_change(&mut self, change: &MembershipChange) {
        if !self.leads()
            || self.node.raft.has_pending_conf()
            || self.membership.is_joint()
            || change.steps.is_empty()
            || self.membership.after(change).is_none()
            || !self.may_all_vote(change)
        {
            return;
        }
        // It is dropped while the leadership is being handed over.
        self.node
            .propose_conf_change(change.encode().to_vec(), change.to_raft())
            .ok();
    }

    fn may_all_vote(&self, change: &MembershipChange) -> bool {
        let tracker = self.node.raft.prs();
        change.steps.iter().all(|step| match step {
            MembershipStep::AddVoter(node) => {
                tracker.get(*node).is_some_and(|known| known.matched > 0)
            }
            MembershipStep::AddLearner(_) | MembershipStep::Remove(_) => true,
        })
    }

    /// Applies a change; whether it changed anything.
    ///
    /// # Panics
    /// If raft-rs and our own words disagree about it: then a restart would lead elsewhere.
    pub(crate) fn apply_change(&mut self, index: u64, change: &MembershipChange) -> bool {
        let expected = self.membership.after(change);
        #[cfg(feature = "sabotage")]
        if let Some(expected) = crate::sabotage::apply_at_once(&mut self.node, change) {
            self.membership = expected;
            self.node.mut_store().membership_changed(index);
            self.resign_if_removed();
            return true;
        }
        let found = self.node.apply_conf_change(&change.to_raft()).ok();
        let found = found.as_ref().map(Membership::from_raft);
        assert_eq!(
            found, expected,
            "raft-rs and we disagree about a membership"
        );
        let Some(membership) = expected else {
            return false;
        };
        self.welcome(&membership);
        self.membership = membership;
        self.node.mut_store().membership_changed(index);
        self.resign_if_removed();
        true
    }

    /// Nothing that a new member may have answered to before counts: it may have been one already.
    fn welcome(&mut self, membership: &Membership) {
        if !self.leads() {
            return;
        }
        let voters = membership.voters.iter().chain(&membership.voters_outgoing);
        for &node in voters.chain(&membership.learners) {
            if !self.membership.contains(node) {
                self.lives.begin(node, 0);
            }
        }
    }

    pub(crate) fn transfer_leadership(&mut self, to: u64) {
        if self.leads() && self.membership.voters.contains(&to) {
            self.node.transfer_leader(to);
        }
    }

    /// Asks for a moment at which this replica certainly led; it comes back in [`Turn::reads`].
    pub(crate) fn read_index(&mut self, context: u64) {
        if self.leads() {
            self.node.read_index(context.to_le_bytes().to_vec());
        }
    }

    pub(crate) fn durable(&mut self, number: u64) {
        while let Some(&(append, term)) = self.outstanding.front()
            && append <= number
        {
            self.durable_term = term;
            self.outstanding.pop_front();
        }
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

    pub(crate) fn snapshot_ready(&mut self, offer: SnapshotOffer) {
        self.preparing = None;
        if offer.place.index > self.node.raft.raft_log.applied {
            return;
        }
        self.node.mut_store().offer(offer);
        let first = self.node.raft.raft_log.first_index();
        self.send_to(|next| next < first);
    }

    pub(crate) fn snapshot_sent(&mut self, to: u64, arrived: bool) {
        let status = if arrived {
            SnapshotStatus::Finish
        } else {
            self.node.mut_store().withdraw_offer();
            SnapshotStatus::Failure
        };
        self.node.report_snapshot(to, status);
    }

    /// Whether the snapshot at this place is the one that is being installed, with these members.
    pub(crate) fn awaits(&self, place: Place) -> Option<&Membership> {
        let installing = self.installing.as_ref()?;
        (installing.place == place).then_some(&installing.membership)
    }

    /// The awaited snapshot is durable and in use.
    pub(crate) fn installed(&mut self) {
        let installing = self.installing.take().expect("a snapshot is awaited");
        self.membership = installing.membership;
        self.restored = Some(installing.place.index);
        self.persist();
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
            self.outstanding.push_back((number, append.term));
        }
        self.persist();
        Some(turn)
    }

    /// Tells raft-rs that everything up to this index is applied.
    pub(crate) fn applied(&mut self, index: u64) {
        self.node.advance_apply_to(index);
        self.node.mut_store().trim(index);
    }

    /// The messages that may leave by now.
    pub(crate) fn take_messages(&mut self) -> Vec<PeerMessage> {
        let memory = self.memory();
        if !self.leads() {
            self.lives.end_leadership();
        }
        let messages = std::mem::take(&mut self.outbox).into_iter();
        messages
            .filter(|message| PeerMessage::is_sent(message.msg_type))
            .map(|message| {
                let life = self
                    .lives
                    .to_send(message.to, message.term, self.run, memory);
                PeerMessage {
                    message,
                    memory,
                    run: life.run,
                    life: life.number,
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

    /// The index that a snapshot must cover, if one is to be prepared.
    pub(crate) fn take_wanted_snapshot(&mut self) -> Option<u64> {
        let at_least = self.node.mut_store().take_wanted_snapshot()?;
        let is_asked = |since| since + PREPARE_TICKS > self.ticks;
        if self.preparing.is_some_and(is_asked) {
            return None;
        }
        self.preparing = Some(self.ticks);
        Some(at_least)
    }

    /// Whether the replica has stopped being suspect since the last call.
    pub(crate) fn take_cleared(&mut self) -> bool {
        std::mem::take(&mut self.cleared)
    }

    pub(crate) fn set_memory_bytes(&mut self, bytes: usize) {
        self.node.mut_store().set_applied_bytes_max(bytes);
    }

    /// How far every voter's log reaches, those that are leaving too.
    pub(crate) fn everywhere(&self) -> u64 {
        let tracker = self.node.raft.prs();
        let voters = tracker.conf().voters().ids();
        let matched = voters.iter().map(|node| {
            let progress = tracker.get(node);
            progress.map_or(0, |progress| progress.matched)
        });
        matched.min().unwrap_or(0)
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
            peers,
            suspect: self.suspicion.is_some(),
        }
    }

    fn memory(&self) -> Memory {
        if self.membership.is_empty() {
            Memory::Empty
        } else if self.suspicion.is_some() {
            Memory::Suspect
        } else {
            Memory::Whole
        }
    }

    /// A snapshot was accepted and is not in use yet.
    fn is_installing(&self) -> bool {
        self.installing.is_some() || self.restored.is_some() || self.node.raft.snap().is_some()
    }

    /// A sole voter wins at once when it stands, and then its messages would leave before what they
    /// depend on is durable: it waits until everything is.
    fn must_not_stand(&self) -> bool {
        self.is_sole_voter()
            && !self.leads()
            && (!self.outstanding.is_empty() || self.node.has_ready())
    }

    /// Keeps answers from an earlier life apart from those of this; whether the message counts.
    ///
    /// A follower that has lost entries says so: what it acknowledged before counts no longer. raft-rs
    /// alone would never take an acknowledgement back, and never begin anew.
    fn heed_lives(&mut self, message: &PeerMessage) -> bool {
        let (kind, term) = (message.message.msg_type, self.node.raft.term);
        match kind {
            MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot => {
                if message.message.term >= term {
                    let (run, number) = (message.run, message.life);
                    let life = Life { run, number };
                    if !self.lives.hear(message.message.term, life) {
                        return false;
                    }
                    if let Some(suspicion) = &mut self.suspicion
                        && run == self.run
                    {
                        suspicion.learn(&message.message);
                    }
                }
                true
            }
            MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse => {
                if !self.leads() || message.message.term != term {
                    return true;
                }
                let from = message.message.from;
                if message.memory == Memory::Empty && self.is_voter(from) {
                    return false;
                }
                match self.lives.judge(message) {
                    Verdict::Counts => true,
                    Verdict::Ignored => false,
                    Verdict::Begins => {
                        self.begin_anew(from);
                        // What it acknowledges here may be what it has lost by now.
                        kind == MessageType::MsgHeartbeatResponse
                    }
                }
            }
            _ => true,
        }
    }

    /// A voter had state when it became one. If it has none now, others have let go of it since, and
    /// this leader is an old one: it must not win a majority back with somebody who knows nothing.
    fn is_voter(&self, node: u64) -> bool {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("empty voters count") {
            return false;
        }
        let members = &self.membership;
        members.voters.contains(&node) || members.voters_outgoing.contains(&node)
    }

    fn begin_anew(&mut self, node: u64) {
        let raft = &mut self.node.raft;
        let last = raft.raft_log.last_index();
        if let Some(progress) = raft.mut_prs().get_mut(node) {
            progress.become_probe();
            progress.matched = 0;
            progress.next_idx = last + 1;
            raft.send_append(node);
        }
    }

    /// A suspect that seems to have everything hears how far the log is committed, so that it finds out
    /// what it lacks even if nothing new is written.
    fn probe(&mut self, node: u64) {
        if !self.leads() {
            return;
        }
        let raft = &mut self.node.raft;
        let last = raft.raft_log.last_index();
        let has_all = |progress: &raft::Progress| progress.matched >= last;
        if raft.prs().get(node).is_some_and(has_all) {
            raft.send_append(node);
        }
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

    /// raft-rs lets a leader that is no voter any more go on, and then fails to find itself.
    fn resign_if_removed(&mut self) {
        let raft = &mut self.node.raft;
        if raft.state != StateRole::Leader || raft.promotable() {
            return;
        }
        let successor = raft
            .prs()
            .iter()
            .filter(|(node, _)| self.membership.voters.contains(node))
            .max_by_key(|(node, progress)| (progress.matched, std::cmp::Reverse(**node)));
        if let Some((&successor, _)) = successor {
            raft.send_timeout_now(successor);
        }
        let term = raft.term;
        raft.become_follower(term, NOBODY);
        self.elections.settle(raft);
    }

    fn settle_suspicion(&mut self) {
        let Some(suspicion) = &self.suspicion else {
            return;
        };
        let log = &self.node.raft.raft_log;
        let complete = log.committed.min(log.persisted);
        let term = log.term(complete).unwrap_or(0);
        // A suspect leads only if nobody had an entry that it lacks.
        if !suspicion.is_cleared_by(complete, term) && !self.leads() {
            return;
        }
        self.suspicion = None;
        self.cleared = true;
        // Votes that were given by a suspect must not leave as those of somebody else.
        self.held.retain(|(_, message)| !is_vote(message));
        self.outbox.retain(|message| !is_vote(message));
    }

    /// Tells raft-rs how far the disk is, and lets go of messages that waited for it.
    fn persist(&mut self) {
        let appended = match self.outstanding.front() {
            Some(&(next, _)) => next - 1,
            None => self.last_turn,
        };
        let through = match &self.installing {
            Some(installing) => appended.min(installing.turn - 1),
            None => appended,
        };
        self.node.on_persist_ready(through);
        while let Some((_, message)) = pop_through(&mut self.held, through) {
            self.outbox.push(message);
        }
        if let Some(index) = self.restored
            && self.node.raft.raft_log.persisted >= index
        {
            self.restored = None;
            self.applied(index);
        }
    }

    /// A leader's messages leave at once, others' when what they depend on is durable.
    ///
    /// A leader's depend on its term, which is durable unless it elected itself alone. The answer to a
    /// heartbeat depends on nothing else, so that a slow disk does not look like a dead replica.
    fn sort_messages(&mut self, ready: &mut Ready) {
        let number = ready.number();
        let term = self.node.raft.term;
        for message in ready.take_messages() {
            if term <= self.durable_term {
                self.outbox.push(message);
            } else {
                self.held.push_back((number, message));
            }
        }
        for message in ready.take_persisted_messages() {
            #[cfg(feature = "sabotage")]
            if crate::sabotage::leaves_early(message.msg_type) {
                self.outbox.push(message);
                continue;
            }
            let is_alive = message.msg_type == MessageType::MsgHeartbeatResponse;
            if is_alive && message.term <= self.durable_term {
                self.outbox.push(message);
            } else {
                self.held.push_back((number, message));
            }
        }
    }

    fn install_of(&mut self, ready: &Ready) -> Option<Place> {
        let metadata = ready.snapshot().get_metadata();
        if metadata.index == 0 {
            return None;
        }
        let place = Place {
            index: metadata.index,
            term: metadata.term,
        };
        self.node.mut_store().install(place);
        self.installing = Some(Installing {
            turn: ready.number(),
            place,
            membership: Membership::from_raft(metadata.get_conf_state()),
        });
        Some(place)
    }

    /// Makes what is committed durable, behind all appends before it. Who restarts must know that a
    /// change of members has happened, for it may have nobody left to ask.
    pub(crate) fn commit_append(&self) -> Append {
        let (term, vote) = self.written;
        Append {
            number: self.last_turn,
            term,
            vote,
            commit: self.node.raft.raft_log.committed,
            entries: Vec::new(),
        }
    }

    /// A changed commit index alone needs no write: it goes along with the next entries.
    fn append_of(&mut self, ready: &mut Ready) -> Option<Append> {
        if !ready.must_sync() {
            return None;
        }
        let entries = ready.take_entries();
        let hard_state = self.node.raft.hard_state();
        let promised = (hard_state.term, hard_state.vote);
        if entries.is_empty() && promised == self.written {
            return None;
        }
        self.written = promised;
        #[cfg(feature = "sabotage")]
        let hard_state = crate::sabotage::to_be_written(hard_state);
        self.node.mut_store().append(&entries);
        let commit = match self.installing {
            // The log does not hold the snapshot yet.
            Some(_) => self.node.raft.raft_log.applied,
            None => hard_state.commit,
        };
        Some(Append {
            number: ready.number(),
            term: hard_state.term,
            vote: hard_state.vote,
            commit,
            entries: entries.iter().map(stored_entry).collect(),
        })
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

fn pop_through(held: &mut VecDeque<(u64, Message)>, through: u64) -> Option<(u64, Message)> {
    held.front()
        .is_some_and(|(turn, _)| *turn <= through)
        .then(|| held.pop_front())?
}

fn read_context(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(
        bytes
            .try_into()
            .expect("read contexts are written by read_index"),
    )
}
