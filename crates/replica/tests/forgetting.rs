//! Replicas that their shard's members have let go of, and copies that come late.

use anser_replica::{Membership, MembershipStep};

use crate::cluster::{Cluster, Wire};

fn voters(of: &[u64]) -> Membership {
    Membership {
        voters: of.to_vec(),
        ..Membership::default()
    }
}

/// Makes node 3 a voter beside nodes 1 and 2, and gives the copy that made it one: its sender may not have heard that
/// it arrived, and send it again.
fn promoted_by_a_copy(cluster: &mut Cluster) -> Wire {
    cluster.send_many(2);
    cluster.change(&[MembershipStep::AddLearner(3)]);
    let mut copy = None;
    for _ in 0..200 {
        cluster.tick_all();
        while let Some(wire) = cluster.wires.pop_front() {
            if wire.to == 3 && wire.has_files() {
                copy.get_or_insert(wire.clone());
            }
            cluster.deliver(wire);
        }
        cluster.sync_all();
    }
    cluster.change(&[MembershipStep::AddVoter(3)]);
    cluster.run(20);
    copy.expect("a copy was sent")
}

/// Node 3 lets go of its replica, hears of the shard again, and the copy comes a second time.
fn forget_and_deliver(cluster: &mut Cluster, decided: u64, copy: Wire) {
    assert!(cluster.replica(3).status().last <= decided && !cluster.replica(3).serves());
    cluster.forget(3, decided);
    cluster.wires.clear();
    cluster.deliver(copy);
    while cluster.sync(3) {}
    assert_eq!(cluster.replica(3).applied().index, 0, "it is too old");
}

fn run_until_somebody_leads(cluster: &mut Cluster) {
    for _ in 0..400 {
        cluster.run(1);
        if !cluster.servers().is_empty() {
            return;
        }
    }
}

/// Core review, finding 1: node 3 would vote for a node that lacks what it acknowledged itself before it was let go of.
#[test]
fn a_late_copy_does_not_revive_a_forgotten_replica() {
    let mut cluster = Cluster::serving(2, 3, 21);
    let copy = promoted_by_a_copy(&mut cluster);
    let leader = cluster.leader();
    let other = 3 - leader;
    cluster.cut_off(other);
    let sent = cluster.send();
    cluster.run(2);
    assert!(cluster.is_acknowledged(sent), "on the leader and on node 3");
    cluster.change(&[MembershipStep::Remove(3)]);
    cluster.run(4);
    assert_eq!(cluster.membership(leader), voters(&[1, 2]));
    let decided = cluster.replica(leader).applied().index;
    forget_and_deliver(&mut cluster, decided, copy);
    cluster.crash(leader, 0);
    cluster.wires.clear();
    cluster.cut.clear();
    cluster.run(200);
    assert!(cluster.servers().is_empty(), "one of two is no majority");
    cluster.start(leader, false);
    run_until_somebody_leads(&mut cluster);
    let leader = cluster.leader();
    cluster.check_nothing_lost(leader);
}

/// The same when the node that is let go of is replaced: one machine dies, and one was cut off for a while.
#[test]
fn a_late_copy_does_not_vote_away_what_its_node_was_swapped_out_for() {
    for seed in 1..=40 {
        let mut cluster = Cluster::serving(2, 4, seed * 1_000);
        let copy = promoted_by_a_copy(&mut cluster);
        cluster.change(&[MembershipStep::AddLearner(4)]);
        cluster.run(40);
        let leader = cluster.leader();
        let other = 3 - leader;
        cluster.cut_off(other);
        cluster.change(&[MembershipStep::AddVoter(4), MembershipStep::Remove(3)]);
        cluster.run(10);
        let mut members = [leader, other, 4];
        members.sort_unstable();
        assert_eq!(cluster.membership(leader), voters(&members));
        let sent = cluster.send();
        cluster.run(2);
        assert!(cluster.is_acknowledged(sent), "on the leader and on node 4");
        let decided = cluster.replica(leader).applied().index;
        forget_and_deliver(&mut cluster, decided, copy);
        cluster.crash(leader, 0);
        cluster.wires.clear();
        cluster.cut.clear();
        run_until_somebody_leads(&mut cluster);
        let leader = cluster.leader();
        cluster.check_nothing_lost(leader);
    }
}

/// A vote that was given once is not given again, whatever became of the replica in between.
#[test]
fn a_forgotten_replica_remembers_its_vote() {
    let mut cluster = Cluster::serving(2, 3, 22);
    promoted_by_a_copy(&mut cluster);
    let promised = {
        let tombstone = cluster.replica(3).tombstone(9);
        (tombstone.term, tombstone.vote)
    };
    assert_ne!(promised, (0, 0));
    cluster.forget(3, 9);
    cluster.forget(3, 99);
    let tombstone = cluster.replica(3).tombstone(999);
    assert_eq!((tombstone.term, tombstone.vote), promised);
    assert_eq!(tombstone.floor, 9, "nothing was acknowledged since");
}

/// The copy that made it a member before, which the leader still has, is one that it does not take any more.
#[test]
fn a_node_that_comes_back_gets_a_copy_that_was_made_since() {
    let mut cluster = Cluster::serving(2, 3, 23);
    come_and_go(&mut cluster);
    cluster.change(&[MembershipStep::AddLearner(3)]);
    cluster.run(60);
    let leader = cluster.leader();
    assert_eq!(
        cluster.replica(3).applied(),
        cluster.replica(leader).applied()
    );
}

/// It acknowledged then what it has not now, and would be made a voter without a state.
#[test]
fn what_a_node_said_as_a_member_before_does_not_count_when_it_is_one_again() {
    let mut cluster = Cluster::serving(2, 3, 24);
    let leader = cluster.leader();
    let late = come_and_go(&mut cluster);
    cluster.cut_off(3);
    cluster.change(&[MembershipStep::AddLearner(3)]);
    cluster.run(2);
    cluster.deliver_as_is(leader, &late);
    cluster.change(&[MembershipStep::AddVoter(3)]);
    cluster.run(2);
    assert_eq!(cluster.membership(leader).learners, [3]);
}

/// Makes node 3 a learner, lets go of it, and gives what it said last while it was one.
fn come_and_go(cluster: &mut Cluster) -> Wire {
    cluster.change(&[MembershipStep::AddLearner(3)]);
    cluster.run(20);
    let leader = cluster.leader();
    cluster.send();
    cluster.deliver_all();
    while cluster.sync(3) {}
    let answer = cluster.wires.iter().find(|wire| wire.from == 3).cloned();
    cluster.settle();
    cluster.change(&[MembershipStep::Remove(3)]);
    cluster.run(4);
    let decided = cluster.replica(leader).applied().index;
    cluster.forget(3, decided);
    answer.expect("it acknowledged what was sent")
}
