//! What must hold at every step, judged from outside: from what nodes write, send and apply.
//!
//! What is durable is taken from the disks, never from what a replica believes.

mod log_view;
mod old_copies;
pub(crate) mod placement;
mod shard;
mod states;
mod time;
mod versions;

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{command::NodeStart, version::ClusterVersion};
use anser_log::Write;
use anser_replica::{Membership, Memory, Place, ReplicaStatus, Role, StoredEntry, StoredKind};

pub(crate) use log_view::LogView;
use shard::ShardChecks;
use time::Times;
pub(crate) use time::{Leap, Led};

use crate::{
    coverage::sometimes,
    event::{Micros, SECOND},
    random,
};

/// A message's kind and numbers, as they stand in its bytes (`docs/formats/peer-messages.md`).
struct Head {
    kind: u8,
    rejected: bool,
    to: u64,
    from: u64,
    term: u64,
    index: u64,
}

/// Terms in a row that may end without a leader.
const TERMS_WITHOUT_A_LEADER: u64 = 16;
/// How long a leader may believe that a replica has what it lost.
const WRONG_AT_MOST: Micros = 5 * SECOND;
const APPEND_RESPONSE: u8 = 2;
const REQUEST_VOTE: u8 = 3;
const VOTE_RESPONSE: u8 = 4;

/// What one node's disk holds of a shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct DurableShard {
    pub(crate) log: LogView,
    pub(crate) term: u64,
    pub(crate) vote: u64,
    /// How far a restart would know its entries to be committed.
    pub(crate) commit: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Checks {
    shards: BTreeMap<u16, ShardChecks>,
    times: Times,
    /// By node and shard; of destroyed nodes as it was.
    pub(crate) durable: BTreeMap<(u64, u16), DurableShard>,
    /// What disks had and lost, though they had promised it: copies of a minority, as those of destroyed nodes.
    lost: BTreeMap<(u64, u16), Vec<LogView>>,
    /// When that was seen last.
    lost_at: BTreeMap<(u64, u16), Micros>,
    /// Replicas that stayed closed at a start, and have had no state since.
    pub(crate) was_closed: BTreeSet<(u64, u16)>,
    /// Replicas that are being taken off their disks: what is still written of them counts no more.
    leaving: BTreeSet<(u64, u16)>,
    /// Nodes that go on with an old copy of their disks, and their last starts before.
    old_copies: BTreeMap<u64, NodeStart>,
    /// At which the cluster works.
    version: ClusterVersion,
    /// The highest that some log has an entry for, committed or not.
    version_written: ClusterVersion,
    /// How often placement has changed the voters of each shard since there is peace.
    changes_in_peace: BTreeMap<u16, u64>,
    moves_in_peace: BTreeMap<u16, BTreeSet<u64>>,
    /// Replicas whose states differ from others', and since when.
    differing: BTreeMap<(u64, u16), Micros>,
    failures: Vec<String>,
}

impl Checks {
    pub(crate) fn fail(&mut self, text: String) {
        self.failures.push(text);
    }

    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    fn shard(&mut self, shard: u16) -> &mut ShardChecks {
        self.shards.entry(shard).or_default()
    }

    /// A replica wants entries in its log.
    pub(crate) fn appended(
        &mut self,
        node: u64,
        shard: u16,
        view: &mut LogView,
        entries: &[StoredEntry],
    ) {
        for entry in entries {
            let kind = [u8::from(entry.kind == StoredKind::Membership)];
            let content = random::hash(random::hash(entry.term, &kind), &entry.data);
            let before = view.term(entry.index - 1);
            let known = self
                .shard(shard)
                .entry(entry.index, entry.term, content, before);
            if let Err(text) = known {
                self.fail(format!("node {node}, shard {shard}: {text}"));
            }
            view.append(entry.index, entry.term);
        }
    }

    /// A batch is on a node's disk.
    pub(crate) fn written(&mut self, node: u64, writes: &[Write]) {
        if self.is_old_copy(node) {
            return;
        }
        for write in writes {
            let is_leaving = self.leaving.contains(&(node, write.shard));
            let durable = self.durable.entry((node, write.shard)).or_default();
            for entry in write.entries.iter().filter(|_| !is_leaving) {
                durable.log.append(entry.index, entry.term);
            }
            let Some(state) = write.hard_state else {
                continue;
            };
            let (term, vote) = (durable.term, durable.vote);
            (durable.term, durable.vote) = (state.term, state.vote);
            durable.commit = durable.commit.max(state.commit);
            let turned = state.term == term && vote != 0 && state.vote != vote;
            // Whoever stayed closed may have forgotten what it promised, and comes back as one who has no state: it votes
            // only once it has been given one, which is from its leader or a later one (decision 14).
            let is_anew = self.was_closed.contains(&(node, write.shard));
            if (state.term < term || turned) && !is_anew {
                let shard = write.shard;
                self.fail(format!(
                    "node {node}, shard {shard}: term {term} and vote {vote} became {} and {}",
                    state.term, state.vote
                ));
            }
        }
    }

    /// From here on a replica's entries count no more, its term and its vote do.
    pub(crate) fn forgetting(&mut self, node: u64, shard: u16) {
        if self.is_old_copy(node) {
            return;
        }
        self.leaving.insert((node, shard));
        if let Some(durable) = self.durable.get_mut(&(node, shard)) {
            durable.log = LogView::default();
        }
    }

    /// It is off the disk, or its process has ended: what is written from here on is of another one.
    pub(crate) fn forgotten(&mut self, node: u64, shard: u16) {
        self.leaving.remove(&(node, shard));
    }

    /// An entry was applied in a term, by a node that has this log and these members before it.
    pub(crate) fn applied(
        &mut self,
        node: u64,
        shard: u16,
        (index, within): (u64, u64),
        view: &LogView,
        membership: &Membership,
    ) {
        let Some(term) = view.term(index) else {
            return self.fail(format!(
                "node {node}, shard {shard}: applied {index}, which its log lacks"
            ));
        };
        let checks = self.shard(shard);
        match checks.committed(index) {
            Some(known) if known == term => {}
            Some(known) => self.fail(format!(
                "node {node}, shard {shard}: applied entry {index} of term {term}, elsewhere it is of term {known}"
            )),
            None => {
                let before = checks.commit(index, term, within);
                let safe = self.is_on_majority(shard, index, term, membership)
                    || before.is_some_and(|before| self.is_on_majority(shard, index, term, &before));
                if !safe {
                    self.fail(format!(
                        "node {node}, shard {shard}: applied entry {index} of term {term}, which is not durable on a majority of {membership:?}"
                    ));
                }
            }
        }
    }

    /// A send was answered that every voter must have.
    pub(crate) fn everywhere(
        &mut self,
        (node, shard): (u64, u16),
        (index, term): (u64, Option<u64>),
        membership: &Membership,
        now: Micros,
    ) {
        let voters = membership.voters.iter();
        let voters = voters.chain(&membership.voters_outgoing);
        let lacking = voters.filter(|voter| {
            let durable = self.durable.get(&(**voter, shard));
            let has = |log: &LogView| match term {
                Some(term) => log.contains(index, term),
                // A snapshot has taken its place: it was committed long ago.
                None => log.last() >= index,
            };
            // It had it, and the leader cannot have heard yet that it has lost it: that is one copy less, as budgeted.
            let lost_at = self.lost_at.get(&(**voter, shard));
            let is_news = lost_at.is_some_and(|&at| now < at + WRONG_AT_MOST);
            let lost = self.lost.get(&(**voter, shard)).filter(|_| is_news);
            let mut logs = durable
                .map(|durable| &durable.log)
                .into_iter()
                .chain(lost.into_iter().flatten());
            !logs.any(has)
        });
        let lacking: Vec<u64> = lacking.copied().collect();
        if !lacking.is_empty() {
            self.fail(format!(
                "node {node}, shard {shard}: a send was answered as on every disk, and entry {index} is not on those of {lacking:?}"
            ));
        }
    }

    fn is_on_majority(&self, shard: u16, index: u64, term: u64, membership: &Membership) -> bool {
        let holds = |node: &&u64| {
            let durable = self.durable.get(&(**node, shard));
            let lost = self.lost.get(&(**node, shard)).into_iter().flatten();
            let mut logs = durable.map(|durable| &durable.log).into_iter().chain(lost);
            logs.any(|log| log.contains(index, term))
        };
        let majority = |nodes: &[u64]| {
            nodes.iter().filter(holds).count() * 2 > nodes.len() || nodes.is_empty()
        };
        majority(&membership.voters) && majority(&membership.voters_outgoing)
    }

    /// A disk does not have any more what it had promised. Who heard of it before counts on it still.
    pub(crate) fn lost(&mut self, node: u64, shard: u16, log: LogView, now: Micros) {
        // What an old copy had is durable on no disk.
        if self.is_old_copy(node) {
            return;
        }
        self.lost.entry((node, shard)).or_default().push(log);
        self.lost_at.insert((node, shard), now);
    }

    /// A membership is in force on a replica that has applied up to this index.
    pub(crate) fn membership(&mut self, shard: u16, index: u64, membership: &Membership) {
        let changed = self.shard(shard).membership(index, membership);
        if let Err(text) = changed {
            self.fail(format!("shard {shard}: {text}"));
        }
    }

    /// A replica that had no state has got one by a copy. It is a learner: what a voter acknowledged before it lost its state
    /// may be in no copy.
    pub(crate) fn began(&mut self, node: u64, shard: u16, membership: &Membership) {
        let Membership {
            voters,
            voters_outgoing,
            ..
        } = membership;
        if voters.contains(&node) || voters_outgoing.contains(&node) {
            self.fail(format!(
                "node {node}, shard {shard}: a voter that has lost its state takes a copy: {membership:?}"
            ));
        }
    }

    pub(crate) fn leaps(&self) -> &[Leap] {
        &self.times.leaps
    }

    /// The newest membership that anybody has applied, and the one before it.
    pub(crate) fn memberships(&self, shard: u16) -> Vec<Membership> {
        self.shards
            .get(&shard)
            .map_or_else(Vec::new, ShardChecks::newest)
    }

    /// The memberships by which somebody may still decide: the newest, and the one before until every voter would
    /// know the newest after a restart.
    pub(crate) fn memberships_in_force(
        &self,
        shard: u16,
        is_lost: impl Fn(u64) -> bool,
    ) -> Vec<Membership> {
        let Some((since, newest)) = self.shards.get(&shard).and_then(ShardChecks::in_force) else {
            return Vec::new();
        };
        let knows = |node: u64| {
            let durable = self.durable.get(&(node, shard));
            durable.is_some_and(|durable| durable.commit >= since)
        };
        let mut voters = newest.voters.iter().chain(&newest.voters_outgoing);
        if voters.all(|&node| is_lost(node) || knows(node)) {
            return vec![newest.clone()];
        }
        self.memberships(shard)
    }

    pub(crate) fn is_committed(&self, shard: u16, index: u64) -> bool {
        let checks = self.shards.get(&shard);
        checks.is_some_and(|checks| checks.committed(index).is_some())
    }

    /// A reply left after this index was applied.
    pub(crate) fn acknowledged(&mut self, shard: u16, index: u64) {
        let acknowledged = &mut self.shard(shard).acknowledged;
        *acknowledged = (*acknowledged).max(index);
    }

    /// The last index that a client may know of.
    pub(crate) fn last_acknowledged(&self, shard: u16) -> u64 {
        self.shards
            .get(&shard)
            .map_or(0, |checks| checks.acknowledged)
    }

    /// A replica leads: nobody else may in this term, it was elected by majorities without suspects or by
    /// all voters, and it has everything that is committed.
    pub(crate) fn leads(&mut self, node: u64, shard: u16, status: &ReplicaStatus, view: &LogView) {
        debug_assert_eq!(status.role, Role::Leader);
        let term = status.term;
        let checks = self.shard(shard);
        let known = *checks.leaders.entry(term).or_insert(node);
        let last = checks.committed_before(term);
        let lacks = last.filter(|&(index, term)| !view.contains(index, term));
        let granted =
            |voter: &&u64| **voter == node || checks.grants.get(&(**voter, term)) == Some(&node);
        let is_sound = |voter: &&u64| !checks.by_suspects.contains(&(**voter, term));
        let majority = |voters: &[u64]| {
            let sound = voters.iter().filter(granted).filter(is_sound).count();
            voters.is_empty() || sound * 2 > voters.len()
        };
        let membership = &status.membership;
        let (voters, leaving) = (&membership.voters, &membership.voters_outgoing);
        let by_all = voters.iter().chain(leaving).all(|voter| granted(&voter));
        let candidate_is_sound = is_sound(&&node);
        let by_majorities = candidate_is_sound && majority(voters) && majority(leaving);
        if by_all && !by_majorities {
            sometimes("suspects elected a leader together");
        }
        let elected = by_all || by_majorities;
        if known != node {
            self.fail(format!(
                "shard {shard}: nodes {known} and {node} lead in term {term}"
            ));
        }
        if let Some((index, of)) = lacks {
            self.fail(format!(
                "shard {shard}: node {node} leads term {term} without entry {index} of term {of}"
            ));
        }
        if !elected {
            self.fail(format!(
                "shard {shard}: node {node} leads term {term} without the votes of {membership:?}"
            ));
        }
    }

    /// A suspect that stands in this term has learnt that it lacks nothing. Nobody leads in the term yet, so it lacked
    /// nothing when it voted for itself either.
    pub(crate) fn cleared(&mut self, node: u64, shard: u16, term: u64) {
        self.shard(shard).by_suspects.remove(&(node, term));
    }

    /// A leader hears a replica and believes it to have this much. For a moment it may be wrong about one
    /// that has just lost something. About a voter that it takes for blank, and that others let go of because of that, it
    /// is never wrong: nobody else gives it a state.
    pub(crate) fn believed(
        &mut self,
        shard: u16,
        leader: u64,
        status: &ReplicaStatus,
        now: Micros,
    ) {
        let newest = self.shard(shard).leaders.last_key_value();
        let is_newest = newest.is_none_or(|(&term, _)| term == status.term);
        for peer in &status.peers {
            let durable = self.durable.get(&(peer.node, shard));
            let last = durable.map_or(0, |durable| durable.log.last());
            let votes = status.membership.voters.contains(&peer.node);
            let is_blank = peer.memory == Memory::Empty;
            if is_newest && votes && is_blank && last > 0 && !self.is_old_copy(peer.node) {
                self.fail(format!(
                    "shard {shard}: leader {leader} takes voter {} for blank, whose disk ends at entry {last}",
                    peer.node
                ));
            }
            let beliefs = &mut self.shard(shard).wrong_beliefs;
            let key = (leader, peer.node, status.term);
            if !is_newest || !peer.active || peer.matched <= last {
                beliefs.remove(&key);
                continue;
            }
            let since = *beliefs.entry(key).or_insert(now);
            if now > since + WRONG_AT_MOST {
                self.fail(format!(
                    "shard {shard}: leader {leader} believes node {} to have entry {}, its disk ends at {last}",
                    peer.node, peer.matched
                ));
            }
        }
    }

    /// A replica is in a term: elections do not run away, for nobody stands who cannot win.
    pub(crate) fn term(&mut self, node: u64, shard: u16, term: u64) {
        let checks = self.shard(shard);
        let led = checks.leaders.last_key_value().map_or(1, |(&term, _)| term);
        // Suspects need everybody's vote, so two candidates of one term spoil it for each other.
        let by_suspects = checks.by_suspects.iter().any(|&(_, of)| of > led);
        let most = if by_suspects {
            4 * TERMS_WITHOUT_A_LEADER
        } else {
            TERMS_WITHOUT_A_LEADER
        };
        if term > led + most {
            self.fail(format!(
                "node {node}, shard {shard}: term {term} has come, the last leader's was {led}"
            ));
        }
    }

    /// A message leaves a node: what it promises must be on the disk.
    pub(crate) fn sent(&mut self, node: u64, shard: u16, bytes: &[u8], suspect: bool) {
        if self.is_old_copy(node) {
            return;
        }
        let Some(head) = head(bytes) else {
            return self.fail(format!(
                "node {node}, shard {shard}: a message that nobody can read"
            ));
        };
        let durable = self
            .durable
            .get(&(node, shard))
            .cloned()
            .unwrap_or_default();
        let promised = (durable.term, durable.vote);
        match head.kind {
            APPEND_RESPONSE
                if !head.rejected
                    && durable.log.last() < head.index
                    && durable.term <= head.term =>
            {
                self.fail(format!(
                    "node {node}, shard {shard}: acknowledged entry {} to {}, its disk ends at {}",
                    head.index,
                    head.to,
                    durable.log.last()
                ));
            }
            REQUEST_VOTE if promised != (head.term, head.from) && durable.term <= head.term => {
                self.fail(format!(
                    "node {node}, shard {shard}: stands in term {} with {promised:?} on its disk",
                    head.term
                ));
            }
            REQUEST_VOTE if suspect => {
                self.shard(shard).by_suspects.insert((node, head.term));
            }
            VOTE_RESPONSE if !head.rejected => self.granted(node, shard, &head, promised, suspect),
            _ => {}
        }
    }

    fn granted(&mut self, node: u64, shard: u16, head: &Head, promised: (u64, u64), suspect: bool) {
        let known = *self
            .shard(shard)
            .grants
            .entry((node, head.term))
            .or_insert(head.to);
        if known != head.to {
            self.fail(format!(
                "shard {shard}: node {node} votes for {known} and {} in term {}",
                head.to, head.term
            ));
        }
        if promised != (head.term, head.to) && promised.0 <= head.term {
            self.fail(format!(
                "node {node}, shard {shard}: votes for {} in term {} with {promised:?} on its disk",
                head.to, head.term
            ));
        }
        if suspect {
            self.shard(shard).by_suspects.insert((node, head.term));
        }
    }

    /// A snapshot from another replica became durable. Of one that is let go of meanwhile it goes next, with all else.
    pub(crate) fn installed(&mut self, node: u64, shard: u16, place: Place) {
        if self.is_old_copy(node) {
            return;
        }
        let is_leaving = self.leaving.contains(&(node, shard));
        let durable = self.durable.entry((node, shard)).or_default();
        if !is_leaving {
            durable.log.install(place.index, place.term);
        }
        if durable.term < place.term {
            (durable.term, durable.vote) = (place.term, 0);
        }
        durable.commit = durable.commit.max(place.index);
    }

    /// A leader says that these are its shard's members, and others act on it: it must know so after a restart too.
    pub(crate) fn settled(&mut self, node: u64, shard: u16, members: &Membership) {
        let Some(since) = self.shard(shard).members_since(members) else {
            return;
        };
        let durable = self.durable.get(&(node, shard));
        if durable.is_none_or(|durable| durable.commit < since) {
            self.fail(format!(
                "node {node}, shard {shard}: {members:?} would not be known after a restart"
            ));
        }
    }
}

fn head(bytes: &[u8]) -> Option<Head> {
    let number = |at: usize| {
        let word = bytes.get(3 + at * 8..11 + at * 8)?;
        Some(u64::from_le_bytes(word.try_into().ok()?))
    };
    Some(Head {
        kind: *bytes.get(1)?,
        rejected: bytes.get(2)? & 1 != 0,
        to: number(0)?,
        from: number(1)?,
        term: number(2)?,
        index: number(4)?,
    })
}
