//! The replica: steps inputs, and at the end of each turn packs, proposes, applies and answers.
//!
//! All commands that wait when a turn ends go into the log as one entry. A reply leaves when its
//! entry is applied, which is after a majority has it on disk. Only a leader that has applied an
//! entry of its own term serves. The others follow: they hold the log and apply it; one that has led before answers what
//! it had proposed if its successors go on with it, and otherwise that the outcome is unknown.

mod applying;
mod receiving;

use std::collections::BTreeSet;

use anser_broker::{
    attributes::Acknowledge,
    codec::{self, Encoded},
    command::{Command, Reply},
    error::Error,
    id::QueueId,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};

use crate::{
    EntriesHeld, Input, Membership, Output, PeerMessage, ReplicaStatus, Start, Ticket, Tombstone,
    being_applied::applying,
    consensus::{Beginning, Consensus, Turn},
    elections::ELECTION_TICKS,
    fetches::Fetch,
    held::Held,
    marks::{Mark, Marks},
    message::TimeTold,
    output::StoredEntry,
    proposals::{Caller, Proposals},
    reads::{PendingRead, Reads},
    snapshot,
    tail::Place,
    waiters::Waiters,
};

/// Entries on their way to the disk at once: while one is being synced the next is packed.
const ENTRIES_IN_FLIGHT_MAX: usize = 2;
/// Ticks after which one that leads no more gives up what it had proposed. A successor that took over in order has long
/// said by then what became of it.
const DEPOSED_TICKS_MAX: usize = 2 * ELECTION_TICKS;

/// The longest that a log says nothing of the time while something waits for it. By so much more than the time in which
/// nobody serves are delays late when every replica of a shard starts anew.
const STAMP_INTERVAL: Millis = Millis(60_000);

/// One shard's replica.
pub struct Replica {
    consensus: Consensus,
    shard: Shard,
    applied: Place,
    marks: Marks,
    proposals: Proposals,
    waiters: Waiters,
    reads: Reads,
    held: Held,
    /// Queues with waiters and messages, but no room for another lease.
    crowded: BTreeSet<QueueId>,
    now: Timestamp,
    serving: bool,
    /// Ticks since it stopped serving.
    deposed_ticks: usize,
    failed: bool,
}

/// Why a replica cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("entry {index} of the log cannot be read: {reason}")]
    UnreadableEntry { index: u64, reason: String },
    #[error("the leader says that entries up to {committed} are here, but the log ends at {last}")]
    LostEntries { committed: u64, last: u64 },
    #[error("the snapshot at entry {index} does not have the members that its leader announced")]
    ForeignSnapshot { index: u64 },
}

/// The state of a replica at one moment, to be written while the replica goes on.
#[derive(Debug, Clone)]
pub struct Image {
    pub applied: Place,
    membership: Membership,
    pub shard: Shard,
}

impl Image {
    /// The first state of a shard that nobody has used yet.
    pub fn initial(applied: Place, membership: Membership, shard: Shard) -> Self {
        Self {
            applied,
            membership,
            shard,
        }
    }

    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// Writes the snapshot in pieces.
    pub fn save(&self, out: &mut dyn FnMut(&[u8])) {
        snapshot::write(&self.membership, &self.shard, out);
    }
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Replica")
            .field("applied", &self.applied)
            .field("serving", &self.serving)
            .finish_non_exhaustive()
    }
}

impl Replica {
    pub fn new(start: Start) -> Self {
        let consensus = Consensus::start(Beginning {
            node: start.node,
            term: start.term,
            vote: start.vote,
            applied: start.applied,
            membership: start.membership,
            entries: start.entries,
            log_first: start.log_first,
            terms: start.terms,
            jitter: start.jitter,
            suspect: start.suspect,
            floor: start.floor,
        });
        let mut replica = Self {
            consensus,
            now: start.shard.now().now,
            shard: start.shard,
            applied: start.applied,
            marks: Marks::default(),
            proposals: Proposals::default(),
            waiters: Waiters::default(),
            reads: Reads::default(),
            held: Held::default(),
            crowded: BTreeSet::new(),
            serving: false,
            deposed_ticks: 0,
            failed: false,
        };
        replica.mark();
        replica
    }

    /// Takes in something that happened at this moment of the shard's time. What follows from it
    /// comes out at the end of the turn, but for refusals.
    pub fn step(&mut self, now: Timestamp, input: Input, outputs: &mut Vec<Output>) {
        self.pass(now);
        match input {
            Input::Durable { number } => self.consensus.durable(number),
            Input::Tick => self.tick(outputs),
            Input::Cancel { ticket } => self.cancel(ticket, outputs),
            Input::Propose { ticket: None, .. } if !self.serving => {}
            Input::Propose {
                ticket: Some(ticket),
                ..
            }
            | Input::Receive { ticket, .. }
            | Input::Read { ticket, .. }
                if !self.serving =>
            {
                outputs.push(Output::Refuse {
                    ticket,
                    error: Error::Unavailable,
                });
            }
            Input::Propose { ticket, command } => {
                let caller = match ticket {
                    None => Caller::Nobody,
                    Some(ticket) if self.is_for_all(&command) => Caller::Everywhere(ticket),
                    Some(ticket) => Caller::Ticket(ticket),
                };
                self.proposals.push(caller, command);
            }
            Input::Receive { ticket, request } => self.receive(ticket, request),
            Input::Read { ticket, query } => self.reads.push(PendingRead::Query { ticket, query }),
            Input::Message(message) => self.message(message, outputs),
            Input::Fetched { request, entries } => self.consensus.fetched(request, entries),
            Input::Forgotten { through } => self.consensus.forgotten(through),
            Input::SnapshotReady { snapshot } => self.consensus.snapshot_ready(snapshot),
            Input::SnapshotSent { to, arrived } => self.consensus.snapshot_sent(to, arrived),
            Input::Installed {
                place,
                membership,
                shard,
            } => self.install(place, membership, *shard, outputs),
            // A leader that serves has committed an entry of its own term.
            Input::ChangeMembership(change) if self.serving => {
                self.consensus.propose_change(&change);
            }
            Input::ChangeMembership(_) => {}
            Input::TransferLeadership { to } => self.consensus.transfer_leadership(to),
            Input::Leave => self.consensus.leave(),
            Input::Differs => self.consensus.differ(),
            Input::Unreachable { node } => self.consensus.unreachable(node),
        }
    }

    /// Ends a turn at this moment.
    pub fn turn(&mut self, stamp: Stamp, outputs: &mut Vec<Output>) {
        self.pass(stamp.now);
        self.end_waits(outputs);
        if let Some(context) = self.reads.ask() {
            self.consensus.read_index(context);
        }
        self.propose(stamp, outputs);
        while !self.failed {
            let Some(turn) = self.consensus.turn() else {
                break;
            };
            self.carry_out(turn, outputs);
            self.propose(stamp, outputs);
        }
        if !self.failed {
            self.release(outputs);
            self.hand_out(outputs);
        }
    }

    /// Lets replies go that waited for every voter, and gives up those that waited too long.
    fn release(&mut self, outputs: &mut Vec<Output>) {
        if self.held.is_empty() {
            return;
        }
        let everywhere = self.consensus.everywhere();
        while let Some((ticket, reply)) = self.held.release(everywhere) {
            outputs.push(Output::Reply { ticket, reply });
        }
        while let Some(ticket) = self.held.expired(self.now) {
            let error = Error::Unknown;
            outputs.push(Output::Refuse { ticket, error });
        }
    }

    /// Whether a command is a send to a queue whose messages every voter must have. Of a sole voter too: another
    /// may join it before the answer leaves.
    fn is_for_all(&self, command: &Encoded) -> bool {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("a majority for everybody") {
            return false;
        }
        let queue = command.sends_to();
        queue.is_some_and(|queue| self.shard.acknowledge(queue) == Acknowledge::All)
    }

    /// Time does not go back while this replica serves. Before, the shell only guesses what time the
    /// shard's leader makes it, and a wrong guess must not stay.
    fn pass(&mut self, now: Timestamp) {
        let least = if self.serving {
            self.now
        } else {
            self.shard.now().now
        };
        self.now = least.max(now);
    }

    /// When the next turn is due even if nothing happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        if !self.serving || self.failed {
            return None;
        }
        let due = match self.proposals.entries_in_flight() {
            // While it hands over nothing can be proposed: what is due waits for the end of that, which is another turn.
            0 if self.consensus.hands_over() => None,
            0 => self.next_entry(),
            _ => None, // The entry under way settles, and its end is the next turn.
        };
        [due, self.waiters.next_deadline(), self.held.next_deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Whether this node alone decides.
    pub fn is_sole_voter(&self) -> bool {
        self.consensus.is_sole_voter()
    }

    /// Whether elections and heartbeats need [`Input::Tick`]; a shard of one replica may sleep.
    pub fn needs_ticks(&self) -> bool {
        self.consensus.needs_ticks()
    }

    pub fn status(&self) -> ReplicaStatus {
        self.consensus.status()
    }

    /// The replica goes, and those who still wait for it hear that nobody knows.
    pub fn end(&mut self, outputs: &mut Vec<Output>) {
        self.give_up_in_flight(None, outputs);
        for ticket in self.held.abandon() {
            let error = Error::Unknown;
            outputs.push(Output::Refuse { ticket, error });
        }
    }

    /// What to remember of this replica when it goes because its shard's members had let go of it by the
    /// entry `decided`.
    pub fn tombstone(&self, decided: u64) -> Tombstone {
        self.consensus.tombstone(decided)
    }

    /// For tests: keeps fewer bytes of applied entries in memory, so that followers soon need the log.
    #[doc(hidden)]
    pub fn set_memory_bytes(&mut self, bytes: usize) {
        self.consensus.set_memory_bytes(bytes);
    }

    /// What of its log the replica has in memory.
    pub fn entries_held(&self) -> EntriesHeld {
        self.consensus.entries_held(self.applied.index)
    }

    /// An entry of its log, if it is in memory, where all are that are not applied yet.
    pub fn remembered(&self, index: u64) -> Option<StoredEntry> {
        self.consensus.remembered(index)
    }

    /// The term, and who leads in it as far as this replica knows.
    pub fn leader(&self) -> (u64, Option<u64>) {
        self.consensus.leader()
    }

    pub fn serves(&self) -> bool {
        self.serving
    }

    pub fn applied(&self) -> Place {
        self.applied
    }

    pub fn shard(&self) -> &Shard {
        &self.shard
    }

    /// Its shard's fingerprints after some of the last entries.
    pub fn marks(&self) -> impl Iterator<Item = Mark> {
        self.marks.all()
    }

    /// An entry, or a snapshot, is part of the state now.
    fn mark(&mut self) {
        if self.applied.index > 0 {
            let fingerprint = self.shard.fingerprint();
            self.marks.applied(self.applied.index, fingerprint);
        }
    }

    pub fn image(&self) -> Image {
        Image {
            applied: self.applied,
            membership: self.consensus.membership().clone(),
            shard: self.shard.clone(),
        }
    }

    fn is_overdue(&self) -> bool {
        let deadline = self.next_entry();
        deadline.is_some_and(|deadline| deadline <= self.now)
    }

    /// When an entry is due though nobody asks for anything. While something waits for a time, that is also when the log
    /// has said for long enough what time it is.
    fn next_entry(&self) -> Option<Timestamp> {
        let deadline = self.shard.next_deadline()?;
        Some(deadline.min(self.shard.now().now + STAMP_INTERVAL))
    }

    fn tick(&mut self, outputs: &mut Vec<Output>) {
        self.consensus.tick();
        if !self.serving {
            self.deposed_ticks += 1;
            if self.deposed_ticks >= DEPOSED_TICKS_MAX {
                self.give_up_in_flight(None, outputs);
            }
        }
    }

    /// Nobody will know what became of entries under way: all of them, or those of terms before one.
    pub(super) fn give_up_in_flight(&mut self, before: Option<u64>, outputs: &mut Vec<Output>) {
        let lost = self.proposals.abandon_in_flight(before);
        self.give_up(lost, Error::Unknown, outputs);
    }

    fn message(&mut self, message: PeerMessage, outputs: &mut Vec<Output>) {
        if self.failed {
            return;
        }
        if let Err(failure) = self.consensus.step(message) {
            return self.fail(failure, outputs);
        }
        let told = self.consensus.take_told();
        outputs.extend(told.map(Output::TimeTold));
    }

    /// Only a leader that serves knows what time it is: it has made entries by it.
    fn time_to_tell(&self) -> TimeTold {
        if !self.serving {
            return TimeTold::default();
        }
        TimeTold {
            stamp: self.shard.now().now,
            now: self.now,
        }
    }

    fn install(
        &mut self,
        place: Place,
        membership: Membership,
        shard: Shard,
        outputs: &mut Vec<Output>,
    ) {
        let Some(announced) = self.consensus.awaits(place) else {
            return;
        };
        if *announced != membership {
            let index = place.index;
            return self.fail(Failure::ForeignSnapshot { index }, outputs);
        }
        self.now = shard.now().now;
        #[cfg(feature = "sabotage")]
        let shard = if anser_broker::sabotage::is_planted("snapshot not taken over") {
            self.shard.clone()
        } else {
            shard
        };
        self.shard = shard;
        self.applied = place;
        self.marks = Marks::default();
        self.mark();
        // What the copy had applied has been answered by nobody.
        self.give_up_in_flight(None, outputs);
        self.consensus.installed();
        outputs.push(Output::MembershipChanged(membership));
    }

    fn fail(&mut self, failure: Failure, outputs: &mut Vec<Output>) {
        self.failed = true;
        outputs.push(Output::Failed(failure));
    }

    /// Every ticket has one output in the end: what is in an entry already gets its reply.
    fn cancel(&mut self, ticket: Ticket, outputs: &mut Vec<Output>) {
        let proposed = self.proposals.cancel(ticket);
        if let Some((queue, messages)) = proposed.and_then(Caller::claim) {
            self.waiters.release(queue, messages);
            self.serve(queue);
        }
        let parked = self.waiters.remove(ticket);
        if proposed.is_some() || parked.is_some() || self.reads.cancel(ticket) {
            outputs.push(Output::Refuse {
                ticket,
                error: Error::Unavailable,
            });
        } else {
            self.proposals.end_wait(ticket);
        }
    }

    fn propose(&mut self, stamp: Stamp, outputs: &mut Vec<Output>) {
        if !self.serving || !self.consensus.leads() {
            return;
        }
        let idle = self.proposals.nothing_waits() && self.proposals.entries_in_flight() == 0;
        if idle && self.is_overdue() {
            self.proposals
                .push(Caller::Nobody, codec::encode(&Command::Settle));
        }
        while !self.proposals.nothing_waits()
            && self.proposals.entries_in_flight() < ENTRIES_IN_FLIGHT_MAX
        {
            let stamp = Stamp {
                now: self.now,
                ..stamp
            };
            let copies_of = |command: &Encoded| self.shard.copies_of(command);
            let (batch, callers) = self.proposals.pack(stamp, copies_of);
            match self.consensus.propose(batch) {
                Some(place) => self.proposals.proposed(place, callers),
                None => self.give_up(callers, Error::Unavailable, outputs),
            }
        }
    }

    fn carry_out(&mut self, turn: Turn, outputs: &mut Vec<Output>) {
        self.send(outputs);
        outputs.extend(turn.append.map(Output::Append));
        outputs.extend(turn.install.map(|place| Output::Install { place }));
        if self.serving && !self.consensus.leads() {
            self.step_down(outputs);
        }
        let applied_any = !turn.committed.is_empty();
        for entry in turn.committed {
            let (shard, index) = (self.shard.id(), entry.place.index);
            applying(shard, index, || self.apply_committed(entry, outputs));
            if self.failed {
                return;
            }
        }
        if applied_any {
            self.consensus.applied(self.applied.index);
        }
        for read in turn.reads {
            self.reads.confirm(read.context, read.index);
        }
        while let Some(read) = self.reads.answerable(self.applied.index) {
            self.answer(read, outputs);
        }
    }

    /// What the consensus wants at the end of a turn.
    fn hand_out(&mut self, outputs: &mut Vec<Output>) {
        self.send(outputs);
        for fetch in self.consensus.take_fetches() {
            let Fetch {
                request,
                first,
                end,
                bytes_max,
            } = fetch;
            outputs.push(Output::Fetch {
                request,
                first,
                end,
                bytes_max,
            });
        }
        let wanted = self.consensus.take_wanted_snapshot();
        outputs.extend(wanted.map(|at_least| Output::PrepareSnapshot { at_least }));
    }

    fn send(&mut self, outputs: &mut Vec<Output>) {
        // First: what leaves now is said by a replica that is not suspect.
        if self.consensus.take_cleared() {
            outputs.push(Output::Cleared);
        }
        let messages = self.consensus.take_messages(self.time_to_tell());
        outputs.extend(messages.into_iter().map(|message| {
            let to = message.to();
            match message.snapshot() {
                Some(place) => Output::SendSnapshot { to, place, message },
                None => Output::Send { to, message },
            }
        }));
    }

    /// Leadership is lost: entries under way may or may not be applied by the next leader. Where they are, at their place
    /// and of their term, their callers are answered as if nothing had happened; so are those who wait for every voter, by
    /// what the next leader says of them.
    fn step_down(&mut self, outputs: &mut Vec<Output>) {
        self.serving = false;
        self.deposed_ticks = 0;
        let unproposed = self.proposals.abandon_waiting();
        self.give_up(unproposed, Error::Unavailable, outputs);
        for waiter in self.waiters.drain(None) {
            // Whoever asked goes on waiting at the next leader.
            outputs.push(Output::Refuse {
                ticket: waiter.ticket,
                error: Error::Unavailable,
            });
        }
        for ticket in self.reads.abandon() {
            outputs.push(Output::Refuse {
                ticket,
                error: Error::Unavailable,
            });
        }
        outputs.push(Output::LeadershipChanged { leads: false });
    }

    fn give_up(&mut self, callers: Vec<Caller>, error: Error, outputs: &mut Vec<Output>) {
        let mut freed = BTreeSet::new();
        for caller in callers {
            if let Some((queue, messages)) = caller.claim() {
                self.waiters.release(queue, messages);
                freed.insert(queue);
            }
            if let Some(ticket) = caller.ticket() {
                outputs.push(Output::Refuse { ticket, error });
            }
        }
        // What these would have taken is for the next in line, who would not hear of it otherwise.
        for queue in freed {
            self.serve(queue);
        }
    }
}

fn refuse(ticket: Ticket, error: Error, outputs: &mut Vec<Output>) {
    outputs.push(Output::Reply {
        ticket,
        reply: Reply::Refused(error),
    });
}
