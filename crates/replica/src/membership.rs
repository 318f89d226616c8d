//! Who takes part in a shard's decisions, and how that changes (`docs/formats/membership.md`).

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

const VERSION: u8 = 1;
/// Changes of several steps are left without being told to.
const LEAVES_BY_ITSELF: u8 = 1;
const STEP_BYTES: usize = 9;

/// Who takes part in a shard's decisions, by node number, each list ascending.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Membership {
    pub voters: Vec<u64>,
    /// They get everything and decide nothing.
    pub learners: Vec<u64>,
    /// While a change of several steps is under way: the voters before it, who must agree too.
    pub voters_outgoing: Vec<u64>,
    /// Outgoing voters who will be learners after the change.
    pub learners_next: Vec<u64>,
    pub auto_leave: bool,
}

/// A change of a membership: one step, or several that take effect together.
///
/// Several steps need an agreement of the majorities before and after; the shard leaves that state by
/// itself. No step at all means to leave it, and comes from consensus only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    pub steps: Vec<MembershipStep>,
}

/// What happens to one node. Node numbers begin at 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipStep {
    /// A new node, or a learner that is promoted.
    AddVoter(u64),
    /// A new node, or a voter that is demoted.
    AddLearner(u64),
    Remove(u64),
}

/// Why bytes are no membership, or no change of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    #[error("the membership change is of version {0}, this program reads version {VERSION}")]
    Version(u8),
    #[error("the membership ends too early")]
    Short,
    #[error("bytes are left over after the membership")]
    LeftOver,
    #[error("unknown kind {0} in a membership change")]
    Kind(u8),
    #[error("there is no node 0")]
    NoNode,
}

impl Membership {
    /// Whether a node decides alone. Of two voters one may be leaving: then it does not.
    pub fn is_sole_voter(&self, node: u64) -> bool {
        self.voters == [node] && !self.is_joint()
    }

    /// The membership after a change, or `None` if the change is refused, which changes nothing. The
    /// same answer as the consensus gives.
    pub fn after(&self, change: &MembershipChange) -> Option<Self> {
        let mut sets = Sets::of(self);
        match &change.steps[..] {
            [] => {
                if !self.is_joint() {
                    return None;
                }
                let staged = std::mem::take(&mut sets.learners_next);
                sets.learners.extend(staged);
                sets.outgoing.clear();
                sets.auto_leave = false;
            }
            _ if self.is_joint() => return None,
            [step] => sets.apply(*step),
            steps => {
                if sets.voters.is_empty() {
                    return None;
                }
                sets.outgoing.clone_from(&sets.voters);
                sets.auto_leave = true;
                for &step in steps {
                    sets.apply(step);
                }
            }
        }
        (!sets.voters.is_empty()).then(|| sets.into_membership())
    }

    /// Whether a change of several steps is under way.
    pub fn is_joint(&self) -> bool {
        !self.voters_outgoing.is_empty()
    }

    /// Whether the node has a replica of the shard by this membership.
    pub fn contains(&self, node: u64) -> bool {
        [&self.voters, &self.learners, &self.voters_outgoing]
            .iter()
            .any(|nodes| nodes.contains(&node))
    }

    /// Whether nobody takes part: the replica has not begun yet.
    pub fn is_empty(&self) -> bool {
        self.voters.is_empty()
    }

    /// Whether a shard can be in this state.
    pub(crate) fn is_coherent(&self) -> bool {
        let lists = [
            &self.voters,
            &self.learners,
            &self.voters_outgoing,
            &self.learners_next,
        ];
        let ascending = |nodes: &&Vec<u64>| {
            nodes.first() != Some(&0) && nodes.windows(2).all(|pair| pair[0] < pair[1])
        };
        let decides = |node: &u64| {
            self.voters.binary_search(node).is_ok()
                || self.voters_outgoing.binary_search(node).is_ok()
        };
        let staged = |node: &u64| {
            self.voters_outgoing.binary_search(node).is_ok()
                && self.voters.binary_search(node).is_err()
        };
        lists.iter().all(ascending)
            && !self.voters.is_empty()
            && !self.learners.iter().any(decides)
            && self.learners_next.iter().all(staged)
            && (self.is_joint() || !self.auto_leave)
    }

    /// Adds the bytes of a membership.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.auto_leave));
        for nodes in [
            &self.voters,
            &self.learners,
            &self.voters_outgoing,
            &self.learners_next,
        ] {
            let count = u32::try_from(nodes.len()).expect("a shard has few replicas");
            out.extend(count.to_le_bytes());
            out.extend(nodes.iter().flat_map(|node| node.to_le_bytes()));
        }
    }

    /// Reads a membership and moves on behind it.
    pub(crate) fn decode(rest: &mut &[u8]) -> Result<Self, MembershipError> {
        let [auto_leave] = take(rest)?;
        if auto_leave > 1 {
            return Err(MembershipError::Kind(auto_leave));
        }
        Ok(Self {
            voters: nodes(rest)?,
            learners: nodes(rest)?,
            voters_outgoing: nodes(rest)?,
            learners_next: nodes(rest)?,
            auto_leave: auto_leave == 1,
        })
    }

    pub(crate) fn to_raft(&self) -> ConfState {
        ConfState {
            voters: self.voters.clone(),
            learners: self.learners.clone(),
            voters_outgoing: self.voters_outgoing.clone(),
            learners_next: self.learners_next.clone(),
            auto_leave: self.auto_leave,
            ..ConfState::default()
        }
    }

    pub(crate) fn from_raft(state: &ConfState) -> Self {
        let sorted = |nodes: &[u64]| {
            let mut nodes = nodes.to_vec();
            nodes.sort_unstable();
            nodes
        };
        Self {
            voters: sorted(&state.voters),
            learners: sorted(&state.learners),
            voters_outgoing: sorted(&state.voters_outgoing),
            learners_next: sorted(&state.learners_next),
            auto_leave: state.auto_leave,
        }
    }
}

impl MembershipChange {
    /// The change that ends a change of several steps.
    pub(crate) const LEAVE: Self = Self { steps: Vec::new() };

    /// The bytes of a change, as entries of the log hold them.
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION, LEAVES_BY_ITSELF];
        let count = u32::try_from(self.steps.len()).expect("a change has few steps");
        out.extend(count.to_le_bytes());
        for step in &self.steps {
            let (kind, node) = match *step {
                MembershipStep::AddVoter(node) => (1, node),
                MembershipStep::AddLearner(node) => (2, node),
                MembershipStep::Remove(node) => (3, node),
            };
            out.push(kind);
            out.extend(node.to_le_bytes());
        }
        out.into()
    }

    /// Reads the bytes of a change, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, MembershipError> {
        let mut rest = bytes;
        let [version] = take(&mut rest)?;
        if version != VERSION {
            return Err(MembershipError::Version(version));
        }
        let [leaves] = take(&mut rest)?;
        if leaves != LEAVES_BY_ITSELF {
            return Err(MembershipError::Kind(leaves));
        }
        let count = length(&mut rest, STEP_BYTES)?;
        let mut steps = Vec::with_capacity(count);
        for _ in 0..count {
            let [kind] = take(&mut rest)?;
            let node = u64::from_le_bytes(take(&mut rest)?);
            if node == 0 {
                return Err(MembershipError::NoNode);
            }
            steps.push(match kind {
                1 => MembershipStep::AddVoter(node),
                2 => MembershipStep::AddLearner(node),
                3 => MembershipStep::Remove(node),
                kind => return Err(MembershipError::Kind(kind)),
            });
        }
        if rest.is_empty() {
            Ok(Self { steps })
        } else {
            Err(MembershipError::LeftOver)
        }
    }

    pub(crate) fn to_raft(&self) -> ConfChangeV2 {
        let single = |step: &MembershipStep| {
            let (kind, node) = match *step {
                MembershipStep::AddVoter(node) => (ConfChangeType::AddNode, node),
                MembershipStep::AddLearner(node) => (ConfChangeType::AddLearnerNode, node),
                MembershipStep::Remove(node) => (ConfChangeType::RemoveNode, node),
            };
            ConfChangeSingle {
                change_type: kind,
                node_id: node,
                ..ConfChangeSingle::default()
            }
        };
        let changes: Vec<_> = self.steps.iter().map(single).collect();
        ConfChangeV2 {
            changes: changes.into(),
            ..ConfChangeV2::default()
        }
    }
}

struct Sets {
    voters: BTreeSet<u64>,
    learners: BTreeSet<u64>,
    outgoing: BTreeSet<u64>,
    learners_next: BTreeSet<u64>,
    auto_leave: bool,
}

impl Sets {
    fn of(membership: &Membership) -> Self {
        let set = |nodes: &[u64]| nodes.iter().copied().collect();
        Self {
            voters: set(&membership.voters),
            learners: set(&membership.learners),
            outgoing: set(&membership.voters_outgoing),
            learners_next: set(&membership.learners_next),
            auto_leave: membership.auto_leave,
        }
    }

    fn apply(&mut self, step: MembershipStep) {
        match step {
            MembershipStep::AddVoter(node) => {
                self.voters.insert(node);
                self.learners.remove(&node);
                self.learners_next.remove(&node);
            }
            MembershipStep::AddLearner(node) => {
                if self.learners.contains(&node) {
                    return;
                }
                self.voters.remove(&node);
                self.learners_next.remove(&node);
                if self.outgoing.contains(&node) {
                    self.learners_next.insert(node);
                } else {
                    self.learners.insert(node);
                }
            }
            MembershipStep::Remove(node) => {
                self.voters.remove(&node);
                self.learners.remove(&node);
                self.learners_next.remove(&node);
            }
        }
    }

    fn into_membership(self) -> Membership {
        Membership {
            voters: self.voters.into_iter().collect(),
            learners: self.learners.into_iter().collect(),
            voters_outgoing: self.outgoing.into_iter().collect(),
            learners_next: self.learners_next.into_iter().collect(),
            auto_leave: self.auto_leave,
        }
    }
}

fn nodes(rest: &mut &[u8]) -> Result<Vec<u64>, MembershipError> {
    let count = length(rest, size_of::<u64>())?;
    (0..count)
        .map(|_| take(rest).map(u64::from_le_bytes))
        .collect()
}

/// A count of pieces that the rest can hold.
fn length(rest: &mut &[u8], piece_bytes: usize) -> Result<usize, MembershipError> {
    let count = usize::try_from(u32::from_le_bytes(take(rest)?)).unwrap_or(usize::MAX);
    if count > rest.len() / piece_bytes {
        return Err(MembershipError::Short);
    }
    Ok(count)
}

fn take<const LENGTH: usize>(rest: &mut &[u8]) -> Result<[u8; LENGTH], MembershipError> {
    let (piece, after) = rest.split_first_chunk().ok_or(MembershipError::Short)?;
    *rest = after;
    Ok(*piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::{Config, RawNode, storage::MemStorage};
    use slog::{Discard, Logger, o};

    use super::*;

    fn step() -> impl Strategy<Value = MembershipStep> {
        (0..3, 1_u64..6).prop_map(|(kind, node)| match kind {
            0 => MembershipStep::AddVoter(node),
            1 => MembershipStep::AddLearner(node),
            _ => MembershipStep::Remove(node),
        })
    }

    /// Core review, finding 25: node 0, say, is nobody.
    #[test]
    fn a_membership_that_no_shard_can_have_is_not_coherent() {
        let coherent = Membership {
            voters: vec![1, 2],
            learners: vec![5],
            voters_outgoing: vec![2, 3],
            learners_next: vec![3],
            auto_leave: true,
        };
        assert!(coherent.is_coherent());
        let changes: [fn(&mut Membership); 10] = [
            |it| it.voters = vec![2, 1],
            |it| it.voters = vec![1, 1],
            |it| it.voters = vec![0, 1],
            |it| it.voters = Vec::new(),
            |it| it.learners = vec![1],
            |it| it.learners = vec![3],
            |it| it.learners_next = vec![2],
            |it| it.learners_next = vec![5],
            |it| it.learners_next = vec![1],
            |it| (it.voters_outgoing, it.learners_next) = (Vec::new(), Vec::new()),
        ];
        for (number, change) in changes.iter().enumerate() {
            let mut changed = coherent.clone();
            change(&mut changed);
            assert!(!changed.is_coherent(), "{number}: {changed:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn our_words_and_raft_rs_agree_about_every_change(
            changes in prop::collection::vec(prop::collection::vec(step(), 0..4), 1..12),
        ) {
            let mut membership = Membership { voters: vec![1, 2], ..Membership::default() };
            let store = MemStorage::new_with_conf_state(membership.to_raft());
            let logger = Logger::root(Discard, o!());
            let mut node = RawNode::new(&Config::new(1), store, &logger).unwrap();
            for steps in changes {
                let change = MembershipChange { steps };
                let change = MembershipChange::decode(&change.encode()).unwrap();
                let found = node.apply_conf_change(&change.to_raft()).ok();
                let expected = membership.after(&change);
                prop_assert_eq!(found.as_ref().map(Membership::from_raft), expected.clone());
                membership = expected.unwrap_or(membership);
                prop_assert!(membership.is_coherent());
                let mut bytes = Vec::new();
                membership.encode(&mut bytes);
                let mut rest = &bytes[..];
                prop_assert_eq!(Membership::decode(&mut rest), Ok(membership.clone()));
                prop_assert!(rest.is_empty());
            }
        }
    }
}
