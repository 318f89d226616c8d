//! Compares what replicas say of their states (`docs/decisions/0015-states-are-compared.md`).
//!
//! Every node hears every other's reports, so each finds out by itself, of its own replicas, that most voters have another
//! state after the same entry. Nobody has to be asked, and nobody has to believe a leader.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use crate::{placement::ShardView, report::Mark, reports::Reports};

/// Members of a shard whose states are not the same after the same entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    pub index: u64,
    /// By node.
    pub fingerprints: BTreeMap<u64, u64>,
    /// What most of the shard's voters have, if most agree.
    pub right: Option<u64>,
}

impl Difference {
    /// What a node said whose state is not that of most voters.
    pub fn wrong(&self, node: u64) -> Option<Mark> {
        let (right, index) = (self.right?, self.index);
        let fingerprint = *self.fingerprints.get(&node)?;
        (fingerprint != right).then_some(Mark { index, fingerprint })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the state after entry {}", self.index)?;
        let all: BTreeSet<u64> = self.fingerprints.values().copied().collect();
        for (number, fingerprint) in all.into_iter().enumerate() {
            let of = |(&node, &its): (&u64, &u64)| (its == fingerprint).then(|| node.to_string());
            let nodes: Vec<String> = self.fingerprints.iter().filter_map(of).collect();
            let link = if number == 0 { " is" } else { ", and" };
            let nodes = nodes.join(", ");
            write!(formatter, "{link} {fingerprint:016x} on {nodes}")?;
        }
        if self.right.is_none() {
            write!(formatter, "; no majority has said which is right")?;
        }
        Ok(())
    }
}

/// The shards of which replicas differ, as far as was heard lately.
pub fn differences(reports: &Reports, now: Duration) -> BTreeMap<u16, Difference> {
    #[cfg(feature = "sabotage")]
    if anser_broker::sabotage::is_planted("states are not compared") {
        return BTreeMap::new();
    }
    let shards = reports.shards(now);
    let compared = heard(reports, &shards, now).into_iter();
    let differing =
        compared.filter_map(|(shard, heard)| Some((shard, difference(heard, &shards[&shard])?)));
    differing.collect()
}

/// What is known of a shard of which replicas differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dispute {
    /// Voters that count differ, and nobody can say which are right.
    pub(crate) is_undecided: bool,
    /// Members whose state is not that of most voters.
    pub(crate) wrong: BTreeSet<u64>,
}

/// The shards of which replicas differ; only nodes that count for a shard can leave it undecided.
pub(crate) fn disputes(
    reports: &Reports,
    shards: &BTreeMap<u16, ShardView>,
    now: Duration,
    counts: impl Fn(u16, u64) -> bool,
) -> BTreeMap<u16, Dispute> {
    let compared = heard(reports, shards, now).into_iter();
    let differing = compared.filter_map(|(shard, heard)| {
        let view = &shards[&shard];
        let wrong = wrong(&heard, view);
        let mut voters = &view.voters - &wrong;
        voters.retain(|&node| counts(shard, node));
        let dispute = Dispute {
            is_undecided: differ(&heard, &voters),
            wrong,
        };
        difference(heard, view).map(|_| (shard, dispute))
    });
    differing.collect()
}

fn heard(
    reports: &Reports,
    shards: &BTreeMap<u16, ShardView>,
    now: Duration,
) -> BTreeMap<u16, Heard> {
    let mut heard: BTreeMap<u16, Heard> = BTreeMap::new();
    for (node, report) in reports.recent(now) {
        for replica in &report.replicas {
            let Some(view) = shards.get(&replica.shard) else {
                continue;
            };
            if view.voters.contains(&node) || view.learners.contains(&node) {
                let heard = heard.entry(replica.shard).or_default();
                for mark in &replica.marks {
                    let of_index = heard.entry(mark.index).or_default();
                    of_index.insert(node, mark.fingerprint);
                }
            }
        }
    }
    heard
}

/// Fingerprints of one shard, by index and node.
type Heard = BTreeMap<u64, BTreeMap<u64, u64>>;

/// Where the states differ: after the last entry of which a majority says what is right, if there is one.
fn difference(heard: Heard, view: &ShardView) -> Option<Difference> {
    let differing = heard.into_iter().filter_map(|(index, fingerprints)| {
        let distinct: BTreeSet<u64> = fingerprints.values().copied().collect();
        if distinct.len() < 2 {
            return None;
        }
        Some(Difference {
            index,
            right: right(&fingerprints, view),
            fingerprints,
        })
    });
    differing.max_by_key(|difference| (difference.right.is_some(), difference.index))
}

/// What most of the voters have.
fn right(fingerprints: &BTreeMap<u64, u64>, view: &ShardView) -> Option<u64> {
    let is_of_most = |&&fingerprint: &&u64| {
        let voters = view.voters.iter();
        let agree = voters.filter(|voter| fingerprints.get(voter) == Some(&fingerprint));
        agree.count() > view.voters.len() / 2
    };
    fingerprints.values().find(is_of_most).copied()
}

/// Members of whom a majority says that they are wrong, after whatever entry.
fn wrong(heard: &Heard, view: &ShardView) -> BTreeSet<u64> {
    let mut wrong = BTreeSet::new();
    for fingerprints in heard.values() {
        if let Some(right) = right(fingerprints, view) {
            let others = fingerprints.iter().filter(|&(_, &its)| its != right);
            wrong.extend(others.map(|(&node, _)| node));
        }
    }
    wrong
}

/// Whether some of these voters differ.
fn differ(heard: &Heard, voters: &BTreeSet<u64>) -> bool {
    heard.values().any(|fingerprints| {
        let said = voters.iter().filter_map(|node| fingerprints.get(node));
        said.collect::<BTreeSet<_>>().len() > 1
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Led, NodeReport, ReplicaReport};

    const NOW: Duration = Duration::from_secs(100);

    /// Reports of nodes, each with its marks; the first one leads these voters.
    fn reports(voters: &[u64], said: &[(u64, &[(u64, u64)])]) -> Reports {
        let mut reports = Reports::default();
        for (place, &(node, marks)) in said.iter().enumerate() {
            let led = Led {
                voters: voters.to_vec(),
                learners: vec![9],
                ..Led::default()
            };
            let mark = |&(index, fingerprint): &(u64, u64)| Mark { index, fingerprint };
            let replica = ReplicaReport {
                shard: 4,
                led: (place == 0).then_some(led),
                marks: marks.iter().map(mark).collect(),
                ..ReplicaReport::default()
            };
            let report = NodeReport {
                node,
                replicas: vec![replica],
                ..NodeReport::default()
            };
            reports.put(report, NOW);
        }
        reports
    }

    fn found(voters: &[u64], said: &[(u64, &[(u64, u64)])]) -> Option<Difference> {
        differences(&reports(voters, said), NOW).remove(&4)
    }

    /// Core review, finding 9: replicas that had come to differ were never found out.
    #[test]
    fn who_is_alone_with_its_state_is_wrong_whether_it_leads_or_not() {
        for wrong in 1..=3 {
            let of = |node: u64| [(64, if node == wrong { 7 } else { 5 })];
            let said = [(1, &of(1)[..]), (2, &of(2)), (3, &of(3))];
            let difference = found(&[1, 2, 3], &said).expect("they differ");
            let wrongs: Vec<u64> = (1..=3)
                .filter(|&node| difference.wrong(node).is_some())
                .collect();
            assert_eq!(wrongs, [wrong]);
        }
    }

    #[test]
    fn replicas_at_different_entries_are_not_compared() {
        let said: [(u64, &[(u64, u64)]); 3] = [
            (1, &[(70, 1), (64, 5)]),
            (2, &[(71, 2), (64, 5)]),
            (3, &[(63, 3)]),
        ];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }

    /// The third has been compared by the mark that it has in common with the others.
    #[test]
    fn a_mark_that_most_have_decides() {
        let said: [(u64, &[(u64, u64)]); 3] = [
            (1, &[(70, 1), (64, 5)]),
            (2, &[(70, 1), (64, 5)]),
            (3, &[(71, 3), (64, 6)]),
        ];
        let difference = found(&[1, 2, 3], &said).expect("they differ");
        let (index, fingerprint) = (64, 6);
        assert_eq!(difference.wrong(3), Some(Mark { index, fingerprint }));
    }

    #[test]
    fn of_two_nobody_is_right() {
        let difference = found(&[1, 2], &[(1, &[(9, 5)]), (2, &[(9, 6)])]).expect("they differ");
        assert_eq!(difference.right, None);
        assert_eq!((difference.wrong(1), difference.wrong(2)), (None, None));
        assert_eq!(
            difference.to_string(),
            "the state after entry 9 is 0000000000000005 on 1, and 0000000000000006 on 2; no majority has said \
             which is right"
        );
    }

    /// Whether it is undecided while these nodes stay.
    fn undecided(stay: &[u64], said: &[(u64, &[(u64, u64)])]) -> Option<bool> {
        let reports = reports(&[1, 2, 3], said);
        let stays = |_, node| stay.contains(&node);
        let mut disputes = disputes(&reports, &reports.shards(NOW), NOW, stays);
        disputes.remove(&4).map(|dispute| dispute.is_undecided)
    }

    #[test]
    fn voters_of_whom_nobody_is_known_to_be_wrong_are_undecided_until_one_of_them_goes() {
        let two: [(u64, &[(u64, u64)]); 2] = [(1, &[(9, 5)]), (2, &[(9, 6)])];
        assert_eq!(undecided(&[1, 2, 3], &two), Some(true));
        assert_eq!(undecided(&[1, 3], &two), Some(false));
        let same: [(u64, &[(u64, u64)]); 2] = [(1, &[(9, 5)]), (2, &[(9, 5)])];
        assert_eq!(undecided(&[1, 2, 3], &same), None);
        // The third is wrong after entry 64, so what it says of entry 70 is no news.
        let said: [(u64, &[(u64, u64)]); 3] = [
            (1, &[(70, 1), (64, 5)]),
            (2, &[(69, 2), (64, 5)]),
            (3, &[(70, 3), (64, 6)]),
        ];
        assert_eq!(undecided(&[1, 2, 3], &said), Some(false));
    }

    #[test]
    fn half_of_the_voters_are_no_majority() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (3, &[(9, 6)])];
        let difference = found(&[1, 2, 3, 4], &said).expect("they differ");
        assert_eq!(difference.right, None);
    }

    #[test]
    fn a_learner_can_be_wrong_and_makes_no_majority() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (9, &[(9, 6)])];
        let difference = found(&[1, 2, 3], &said).expect("they differ");
        assert!(difference.wrong(9).is_some());
        let said: [(u64, &[(u64, u64)]); 2] = [(1, &[(9, 5)]), (9, &[(9, 6)])];
        assert_eq!(found(&[1, 2, 3], &said).expect("they differ").right, None);
    }

    #[test]
    fn who_is_no_member_is_not_compared() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (8, &[(9, 6)])];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }

    #[test]
    fn what_an_older_program_does_not_say_is_no_difference() {
        let said: [(u64, &[(u64, u64)]); 3] = [(1, &[(9, 5)]), (2, &[(9, 5)]), (3, &[])];
        assert_eq!(found(&[1, 2, 3], &said), None);
    }
}
