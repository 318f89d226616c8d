//! What is known of one shard from all nodes together.

use std::collections::{BTreeMap, BTreeSet};

use anser_replica::Membership;

use crate::event::Micros;

#[derive(Debug, Default)]
pub(crate) struct ShardChecks {
    /// By term.
    pub(crate) leaders: BTreeMap<u64, u64>,
    /// By voter and term.
    pub(crate) grants: BTreeMap<(u64, u64), u64>,
    /// Votes, and candidacies, of replicas that were suspect: by node and term.
    pub(crate) by_suspects: BTreeSet<(u64, u64)>,
    /// By leader, replica and term: since when the leader believes it to have what its disk lacks.
    pub(crate) wrong_beliefs: BTreeMap<(u64, u64, u64), Micros>,
    /// By index and term: the content, and the term of the entry before.
    entries: BTreeMap<(u64, u64), (u64, Option<u64>)>,
    /// The term of each entry, and the term in which it was committed at the latest.
    committed: BTreeMap<u64, (u64, u64)>,
    pub(crate) states: BTreeMap<u64, u64>,
    pub(crate) fingerprints: BTreeMap<u64, u64>,
    /// By the index from which it is in force.
    memberships: BTreeMap<u64, Membership>,
    pub(crate) acknowledged: u64,
}

impl ShardChecks {
    /// Log matching: one place, one content, one predecessor.
    pub(crate) fn entry(
        &mut self,
        index: u64,
        term: u64,
        content: u64,
        before: Option<u64>,
    ) -> Result<(), String> {
        let known = self
            .entries
            .entry((index, term))
            .or_insert((content, before));
        if known.0 != content {
            return Err(format!("entry {index} of term {term} has two contents"));
        }
        match (known.1, before) {
            (Some(one), Some(other)) if one != other => Err(format!(
                "entry {index} of term {term} follows terms {one} and {other}"
            )),
            (None, Some(_)) => {
                known.1 = before;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn committed(&self, index: u64) -> Option<u64> {
        self.committed.get(&index).map(|&(term, _)| term)
    }

    /// The last entry that was committed in an earlier term than this: whoever leads in this one has it. One of an
    /// earlier term that was committed in a later one only, a leader between need not know.
    pub(crate) fn committed_before(&self, term: u64) -> Option<(u64, u64)> {
        let mut committed = self.committed.iter().rev();
        let found = committed.find(|(_, (_, within))| *within < term);
        found.map(|(&index, &(of, _))| (index, of))
    }

    /// Notes a committed entry, and the term of the first who applied it; the membership that was in force before the newest one.
    pub(crate) fn commit(&mut self, index: u64, term: u64, within: u64) -> Option<Membership> {
        self.committed.insert(index, (term, within));
        self.newest().into_iter().nth(1)
    }

    pub(crate) fn newest(&self) -> Vec<Membership> {
        self.memberships.values().rev().take(2).cloned().collect()
    }

    /// The newest membership, and since which index it is in force.
    pub(crate) fn in_force(&self) -> Option<(u64, &Membership)> {
        let newest = self.memberships.last_key_value();
        newest.map(|(&since, membership)| (since, membership))
    }

    /// The index from which a membership was in force first.
    pub(crate) fn members_since(&self, members: &Membership) -> Option<u64> {
        let mut known = self.memberships.iter();
        known
            .find(|(_, known)| *known == members)
            .map(|(&index, _)| index)
    }

    /// Each membership follows from the one before by a joint step or by one voter.
    pub(crate) fn membership(&mut self, index: u64, membership: &Membership) -> Result<(), String> {
        let before = self.memberships.range(..=index).next_back();
        if let Some((_, before)) = before
            && before != membership
            && !overlaps(before, membership)
            && self.memberships.range(index..).next().is_none()
        {
            return Err(format!("{before:?} became {membership:?} in one step"));
        }
        if before.is_none_or(|(_, before)| before != membership) {
            self.memberships.insert(index, membership.clone());
        }
        Ok(())
    }
}

/// Whether every majority of one has a node in every majority of the other.
fn overlaps(one: &Membership, other: &Membership) -> bool {
    let sets = |membership: &Membership| {
        let set = |nodes: &[u64]| nodes.iter().copied().collect::<BTreeSet<u64>>();
        [set(&membership.voters), set(&membership.voters_outgoing)]
    };
    let meet = |left: &BTreeSet<u64>, right: &BTreeSet<u64>| {
        !left.is_empty()
            && !right.is_empty()
            && left.len() / 2 + 1 + right.len() / 2 + 1 > left.union(right).count()
    };
    let left = sets(one);
    let right = sets(other);
    left.iter()
        .any(|set| right.iter().any(|against| meet(set, against)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_need_not_know_what_was_committed_after_its_election() {
        let mut checks = ShardChecks::default();
        checks.commit(73, 3, 4);
        checks.commit(74, 4, 6);
        assert_eq!(checks.committed_before(5), Some((73, 3)));
        assert_eq!(checks.committed_before(7), Some((74, 4)));
    }
}
