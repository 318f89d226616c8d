//! Changes of who takes part.

use anser_replica::{Membership, MembershipChange, MembershipStep, Memory};

use crate::cluster::{Cluster, Wire, has_membership_entry};

fn voters(of: &[u64]) -> Membership {
    Membership {
        voters: of.to_vec(),
        ..Membership::default()
    }
}

#[test]
fn a_new_node_becomes_a_learner_by_a_snapshot_and_then_a_voter() {
    let mut cluster = Cluster::serving(1, 2, 1);
    assert!(!cluster.replica(1).needs_ticks());
    cluster.run(60);
    assert_eq!(cluster.replica(2).applied().index, 0);
    cluster.change(&[MembershipStep::AddLearner(2)]);
    cluster.run(20);
    assert!(cluster.replica(1).needs_ticks());
    assert_eq!(cluster.membership(2).learners, [2]);
    assert_eq!(cluster.nodes[&2].installs, 1);
    let sent = cluster.send();
    cluster.sync(1);
    assert!(cluster.is_acknowledged(sent), "a learner decides nothing");
    cluster.change(&[MembershipStep::AddVoter(2)]);
    cluster.run(10);
    let sent = cluster.send();
    cluster.sync(1);
    assert!(!cluster.is_acknowledged(sent), "now its disk counts");
    cluster.settle();
    assert!(cluster.is_acknowledged(sent));
    cluster.run(5);
    cluster.check_nothing_lost(2);
}

#[test]
fn one_voter_is_swapped_for_another_in_one_change() {
    let mut cluster = Cluster::serving(3, 4, 2);
    cluster.send_many(5);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    let leaving = cluster.followers()[0];
    let leaving = if leaving == 4 {
        cluster.followers()[1]
    } else {
        leaving
    };
    cluster.change(&[MembershipStep::AddVoter(4), MembershipStep::Remove(leaving)]);
    cluster.run(20);
    let leader = cluster.leader();
    let expected: Vec<u64> = (1..=4).filter(|&id| id != leaving).collect();
    assert_eq!(cluster.membership(leader), voters(&expected));
    assert_eq!(cluster.membership(4), voters(&expected));
    let sent = cluster.send();
    cluster.run(2);
    assert!(cluster.is_acknowledged(sent));
    cluster.check_nothing_lost(4);
}

#[test]
fn a_leader_that_is_removed_leaves_the_others_to_go_on() {
    let mut cluster = Cluster::serving(3, 3, 3);
    let first = cluster.leader();
    cluster.change(&[MembershipStep::Remove(first)]);
    cluster.settle();
    assert!(!cluster.replica(first).serves());
    let second = cluster.elect_other(&[first]);
    assert_eq!(cluster.membership(second).voters.len(), 2);
    let sent = cluster.send_at(second);
    cluster.run(60);
    assert!(cluster.is_acknowledged(sent));
    assert_eq!(cluster.servers(), [second], "one who left does not disturb");
}

#[test]
fn a_leader_that_is_swapped_out_leaves_at_the_end_of_the_change() {
    let mut cluster = Cluster::serving(3, 4, 4);
    let first = cluster.leader();
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    cluster.change(&[MembershipStep::AddVoter(4), MembershipStep::Remove(first)]);
    cluster.run(60);
    let second = cluster.leader();
    assert_ne!(second, first);
    let membership = cluster.membership(second);
    assert!(!membership.is_joint() && !membership.contains(first));
}

#[test]
fn the_last_of_two_goes_on_alone() {
    let mut cluster = Cluster::serving(2, 2, 5);
    let first = cluster.leader();
    let other = 3 - first;
    cluster.change(&[MembershipStep::Remove(first)]);
    cluster.run(60);
    assert_eq!(cluster.leader(), other);
    assert!(!cluster.replica(other).needs_ticks());
    let sent = cluster.send_at(other);
    cluster.sync(other);
    assert!(cluster.is_acknowledged(sent));
}

#[test]
fn a_restart_in_the_middle_of_a_change_goes_on_with_it() {
    let mut cluster = Cluster::serving(3, 4, 6);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    let leader = cluster.leader();
    let leaving = *cluster.followers().iter().find(|&&id| id != 4).unwrap();
    cluster.change(&[MembershipStep::AddVoter(4), MembershipStep::Remove(leaving)]);
    for _ in 0..20 {
        if cluster.membership(leader).is_joint() {
            break;
        }
        cluster.deliver_all();
        for id in cluster.up() {
            cluster.sync(id);
        }
    }
    assert!(cluster.membership(leader).is_joint());
    cluster.wires.clear();
    for id in 1..=4 {
        cluster.crash(id, 0);
    }
    for id in 1..=4 {
        cluster.start(id, false);
    }
    assert!(has_membership_entry(&cluster.nodes[&leader]));
    cluster.elect();
    cluster.run(20);
    let leader = cluster.leader();
    let expected: Vec<u64> = (1..=4).filter(|&id| id != leaving).collect();
    assert_eq!(cluster.membership(leader), voters(&expected));
}

/// Whoever orders a change may have heard of its nodes seconds ago.
#[test]
fn a_change_to_voters_that_could_not_decide_is_not_begun() {
    let mut cluster = Cluster::serving(3, 4, 11);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    let leader = cluster.leader();
    let mut others = cluster.followers();
    others.retain(|&id| id != 4);
    let (silent, well) = (others[0], others[1]);
    cluster.cut_off(silent);
    cluster.run(60);
    assert_eq!(cluster.leader(), leader);
    let before = cluster.membership(leader);
    cluster.change(&[MembershipStep::Remove(well)]);
    cluster.run(20);
    assert_eq!(cluster.membership(leader), before);
    cluster.change(&[MembershipStep::AddVoter(4), MembershipStep::Remove(silent)]);
    cluster.run(20);
    let mut expected = [leader, well, 4];
    expected.sort_unstable();
    assert_eq!(cluster.membership(leader), voters(&expected));
}

#[test]
fn changes_that_mean_nothing_or_come_too_soon_are_ignored() {
    let mut cluster = Cluster::serving(3, 3, 7);
    let leader = cluster.leader();
    let before = cluster.replica(leader).status().last;
    cluster.change(&[]);
    cluster.change(&[
        MembershipStep::Remove(1),
        MembershipStep::Remove(2),
        MembershipStep::Remove(3),
    ]);
    assert_eq!(cluster.replica(leader).status().last, before);
    cluster.change(&[MembershipStep::AddLearner(7)]);
    cluster.change(&[MembershipStep::AddLearner(8)]);
    assert_eq!(cluster.replica(leader).status().last, before + 1);
    cluster.run(3);
    assert_eq!(cluster.membership(leader).learners, [7]);
}

#[test]
fn the_bytes_of_a_change_are_frozen() {
    let change = MembershipChange {
        steps: vec![
            MembershipStep::AddVoter(4),
            MembershipStep::AddLearner(0x0102_0304_0506_0708),
            MembershipStep::Remove(3),
        ],
    };
    let bytes = change.encode();
    let expected: [u8; 33] = [
        1, 1, 3, 0, 0, 0, // version, leaves by itself, steps
        1, 4, 0, 0, 0, 0, 0, 0, 0, // a voter
        2, 8, 7, 6, 5, 4, 3, 2, 1, // a learner
        3, 3, 0, 0, 0, 0, 0, 0, 0, // removed
    ];
    assert_eq!(bytes[..], expected);
    assert_eq!(MembershipChange::decode(&bytes), Ok(change));
    for end in 0..bytes.len() {
        assert!(MembershipChange::decode(&bytes[..end]).is_err());
    }
    assert!(MembershipChange::decode(&[2, 1, 0, 0, 0, 0]).is_err());
    assert!(MembershipChange::decode(&[1, 1, 0, 0, 0, 0, 9]).is_err());
    assert!(MembershipChange::decode(&[1, 1, 255, 255, 255, 255]).is_err());
}

#[test]
fn a_sole_voter_tells_its_learner_nothing_before_its_term_is_durable() {
    let mut cluster = Cluster::serving(1, 2, 8);
    cluster.change(&[MembershipStep::AddLearner(2)]);
    cluster.run(20);
    cluster.crash(1, 0);
    cluster.wires.clear();
    cluster.start(1, false);
    assert!(cluster.wires.is_empty());
    cluster.sync(1);
    assert!(!cluster.wires.is_empty());
    cluster.run(5);
    assert_eq!(cluster.replica(1).applied(), cluster.replica(2).applied());
}

/// Core review, finding 3: the one that is let go of loses its replica as soon as the change is reported; if the other
/// could still forget the change, nobody would be left to elect a leader.
#[test]
fn a_change_is_reported_only_when_a_restart_would_know_of_it() {
    for syncs in [false, true] {
        let mut cluster = Cluster::serving(2, 2, 5);
        cluster.send_many(3);
        cluster.settle();
        let first = cluster.leader();
        let other = 3 - first;
        cluster.change(&[MembershipStep::Remove(other)]);
        while cluster.membership(first) != voters(&[first]) {
            cluster.deliver_all();
            if cluster.membership(first) != voters(&[first]) {
                cluster.sync(first);
                cluster.sync(other);
            }
        }
        let settled = |cluster: &Cluster| cluster.replica(first).status().settled;
        assert_eq!(settled(&cluster), voters(&[1, 2]), "only applied");
        if syncs {
            while cluster.sync(first) {}
            assert_eq!(settled(&cluster), voters(&[first]));
            cluster.crash(other, 0);
        }
        cluster.crash(first, 0);
        cluster.wires.clear();
        cluster.start(first, false);
        cluster.run(200);
        assert_eq!(cluster.servers(), [first]);
    }
}

/// Core review, finding 25: an order that named node 0 was written, and ended all replicas.
#[test]
fn a_change_that_no_replica_could_read_is_not_written() {
    let mut cluster = Cluster::serving(3, 3, 5);
    let leader = cluster.leader();
    let last = cluster.replica(leader).status().last;
    for step in [
        MembershipStep::AddVoter(0),
        MembershipStep::AddLearner(0),
        MembershipStep::Remove(0),
    ] {
        cluster.change(&[step]);
        cluster.change(&[MembershipStep::AddLearner(4), step]);
    }
    assert_eq!(cluster.replica(leader).status().last, last);
    cluster.settle();
    cluster.send_many(1);
    cluster.check_nothing_lost(leader);
}

fn blank(cluster: &Cluster) -> Vec<u64> {
    let status = cluster.replica(cluster.leader()).status();
    let blank = status
        .peers
        .iter()
        .filter(|peer| peer.memory == Memory::Empty);
    blank.map(|peer| peer.node).collect()
}

/// Core review, finding 6: a voter without its log was never replaced, and one fault more took the shard's majority.
#[test]
fn a_voter_that_lost_its_state_is_told_of_and_is_made_whole_by_letting_it_go_first() {
    let mut cluster = Cluster::serving(3, 3, 11);
    cluster.send_many(3);
    let (leader, lost) = (cluster.leader(), cluster.followers()[0]);
    cluster.crash(lost, 0);
    cluster.nodes.get_mut(&lost).unwrap().disk = crate::disk::Disk::default();
    cluster.start(lost, false);
    cluster.run(40);
    assert_eq!(cluster.leader(), leader);
    assert_eq!(blank(&cluster), [lost]);
    cluster.change(&[MembershipStep::AddLearner(lost)]);
    cluster.run(60);
    assert_eq!(blank(&cluster), [0; 0]);
    cluster.change(&[MembershipStep::AddVoter(lost)]);
    cluster.run(20);
    assert_eq!(cluster.membership(leader), voters(&[1, 2, 3]));
    cluster.send_many(1);
    cluster.settle();
    cluster.run(5);
    cluster.check_nothing_lost(lost);
}

/// It would be let go of, and those that are left may not do without it.
#[test]
fn what_a_voter_said_before_it_had_a_state_does_not_make_it_blank() {
    let mut cluster = Cluster::serving(2, 3, 12);
    cluster.change(&[MembershipStep::AddLearner(3)]);
    let leader = cluster.leader();
    let mut late = None;
    while late.is_none() {
        cluster.tick_all();
        cluster.sync_all();
        let answer = |wire: &Wire| (wire.from, wire.to) == (3, leader);
        match cluster.wires.iter().position(answer) {
            Some(at) => late = cluster.wires.remove(at),
            None => drop(cluster.wires.pop_front().map(|wire| cluster.deliver(wire))),
        }
    }
    let late = late.expect("it was just found");
    cluster.run(20);
    cluster.change(&[MembershipStep::AddVoter(3)]);
    cluster.run(5);
    assert_eq!(cluster.leader(), leader);
    assert_eq!(cluster.membership(leader), voters(&[1, 2, 3]));
    for _ in 0..3 {
        cluster.deliver_as_is(leader, &late);
        assert_eq!(blank(&cluster), [0; 0]);
    }
    cluster.run(5);
    assert_eq!(blank(&cluster), [0; 0]);
    let other = 3 - leader;
    cluster.crash(other, 0);
    let sent = cluster.send();
    cluster.run(5);
    assert!(cluster.is_acknowledged(sent), "its answers count");
}

#[test]
fn a_suspect_does_not_become_a_voter_before_it_is_cleared() {
    let mut cluster = Cluster::serving(3, 4, 13);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    let leader = cluster.leader();
    cluster.crash(4, 0);
    cluster.start(4, true);
    // It hears of its leader and answers, but not what is committed.
    while !is_suspect(&cluster, 4) {
        cluster.tick(leader);
        while let Some(wire) = cluster.wires.pop_front() {
            cluster.deliver_or_drop(wire, is_suspect(&cluster, 4));
        }
    }
    cluster.change(&[MembershipStep::AddVoter(4)]);
    cluster.run(20);
    assert_eq!(cluster.leader(), leader);
    assert_eq!(cluster.membership(leader).voters, [1, 2, 3]);
    assert!(!is_suspect(&cluster, 4));
    cluster.change(&[MembershipStep::AddVoter(4)]);
    cluster.run(20);
    assert_eq!(cluster.membership(leader), voters(&[1, 2, 3, 4]));
}

fn is_suspect(cluster: &Cluster, node: u64) -> bool {
    let status = cluster.replica(cluster.leader()).status();
    let mut peers = status.peers.iter();
    peers.any(|peer| peer.node == node && peer.memory == Memory::Suspect)
}

#[test]
fn a_change_of_which_a_part_has_happened_is_not_written() {
    let mut cluster = Cluster::serving(3, 4, 14);
    let leader = cluster.leader();
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    let last = cluster.replica(leader).status().last;
    for steps in [
        &[MembershipStep::AddLearner(4)][..],
        &[MembershipStep::AddVoter(2)],
        &[MembershipStep::AddVoter(2), MembershipStep::AddLearner(4)],
        &[MembershipStep::AddVoter(1), MembershipStep::Remove(9)],
        // It came late, and would leave two.
        &[MembershipStep::AddVoter(2), MembershipStep::Remove(3)],
    ] {
        cluster.change(steps);
        cluster.run(2);
    }
    assert_eq!(cluster.replica(leader).status().last, last);
}

/// What is left of a replica may still be taken off its disk, by an order that was right before it was taken in again and
/// says up to which entry it is. A voter whose log ends before that would be one without a state.
#[test]
fn a_learner_whose_log_ends_before_it_was_taken_in_does_not_become_a_voter() {
    let mut cluster = Cluster::serving(3, 4, 3);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    cluster.cut_off(4);
    cluster.change(&[MembershipStep::Remove(4)]);
    // More than one message takes.
    cluster.send_many(30);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.settle();
    cluster.cut.clear();
    let leader = cluster.leader();
    let matched = |cluster: &Cluster| {
        let peers = cluster.replica(leader).status().peers.into_iter();
        peers
            .filter(|peer| peer.node == 4)
            .map(|peer| peer.matched)
            .sum::<u64>()
    };
    while matched(&cluster) == 0 {
        if let Some(wire) = cluster.wires.pop_front() {
            cluster.deliver(wire);
            cluster.sync_all();
        } else {
            cluster.tick_all();
        }
    }
    let behind = cluster.replica(leader).status().last - matched(&cluster);
    assert!(behind > 0, "it has all of it");
    cluster.change(&[MembershipStep::AddVoter(4)]);
    cluster.settle();
    assert_eq!(cluster.membership(leader).learners, [4]);
    cluster.change(&[MembershipStep::AddVoter(4)]);
    cluster.settle();
    assert_eq!(cluster.membership(leader).learners, [0; 0]);
}
