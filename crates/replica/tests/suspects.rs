//! Replicas that may have lost the end of their log.

use crate::{cluster::Cluster, disk::Disk};

#[test]
fn a_suspect_does_not_vote_until_it_has_what_it_may_have_lost() {
    let mut cluster = Cluster::serving(3, 3, 1);
    cluster.send_many(5);
    let leader = cluster.leader();
    let followers = cluster.followers();
    for id in 1..=3 {
        cluster.crash(id, 0);
    }
    // The two that are left have no majority without the suspect's vote.
    cluster.node(followers[0]).disk.lose(3, false);
    cluster.start(followers[0], true);
    cluster.start(followers[1], false);
    cluster.run(200);
    assert!(cluster.servers().is_empty());
    assert!(cluster.replica(followers[0]).status().suspect);
    assert_eq!(cluster.nodes[&followers[0]].cleared, 0);
    cluster.start(leader, false);
    cluster.elect();
    cluster.run(20);
    assert_eq!(cluster.nodes[&followers[0]].cleared, 1);
    assert!(!cluster.replica(followers[0]).status().suspect);
    cluster.check_nothing_lost(followers[0]);
    // Now it may.
    let leader = cluster.leader();
    cluster.crash(leader, 0);
    cluster.elect_other(&[leader]);
}

#[test]
fn a_leader_begins_anew_with_a_follower_that_lost_what_it_acknowledged() {
    for seed in 0..20 {
        let mut cluster = Cluster::serving(3, 3, 100 + seed);
        cluster.send_many(10);
        let leader = cluster.leader();
        let follower = cluster.followers()[0];
        cluster.crash(follower, 0);
        cluster.node(follower).disk.lose(4, true);
        cluster.start(follower, true);
        cluster.run(10);
        assert_eq!(cluster.leader(), leader);
        assert_eq!(cluster.nodes[&follower].cleared, 1);
        assert_eq!(
            cluster.replica(leader).applied(),
            cluster.replica(follower).applied()
        );
        cluster.check_nothing_lost(follower);
        cluster.send_many(3);
    }
}

#[test]
fn a_suspect_sole_voter_is_not_suspect() {
    let mut cluster = Cluster::serving(1, 1, 2);
    cluster.crash(1, 0);
    cluster.start(1, true);
    cluster.sync_all();
    assert!(cluster.replica(1).serves());
    assert!(!cluster.replica(1).status().suspect);
}

#[test]
#[should_panic(expected = "the log ends at")]
fn one_that_lost_entries_and_does_not_know_it_fails() {
    let mut cluster = Cluster::serving(3, 3, 3);
    cluster.send_many(5);
    let follower = cluster.followers()[0];
    cluster.crash(follower, 0);
    cluster.node(follower).disk.lose(2, false);
    cluster.start(follower, false);
    cluster.run(10);
}

/// None of them knows whether its disk's end was torn or lost. Together they know.
#[test]
fn suspects_elect_the_one_that_lacks_nothing() {
    for seed in 0..30 {
        let mut cluster = Cluster::serving(3, 3, 200 + seed);
        cluster.send_many(5);
        for id in 1..=3 {
            cluster.crash(id, 0);
        }
        let lossy = 1 + seed % 3;
        cluster.node(lossy).disk.lose(3, false);
        cluster.start(lossy, true);
        cluster.start(lossy % 3 + 1, true);
        cluster.run(200);
        assert!(
            cluster.servers().is_empty(),
            "two are a majority, and not all"
        );
        cluster.start((lossy + 1) % 3 + 1, seed % 2 == 0);
        cluster.elect();
        cluster.run(40);
        assert_ne!(cluster.leader(), lossy);
        for id in 1..=3 {
            assert!(!cluster.replica(id).status().suspect);
            cluster.check_nothing_lost(id);
        }
        cluster.send_many(3);
    }
}

/// A leader that was away does not know that others have let go of a replica. It must not win a majority
/// back with the one that was made in its place and knows nothing of the newer term.
#[test]
fn a_leader_cannot_win_a_majority_with_a_voter_that_has_nothing() {
    for seed in 0..20 {
        let mut cluster = Cluster::serving(3, 3, 300 + seed);
        cluster.send_many(5);
        let old = cluster.leader();
        let followers = cluster.followers();
        let emptied = followers[0];
        // The old leader hears only the one that has lost everything.
        cluster.cut.insert((old, followers[1]));
        cluster.cut.insert((followers[1], old));
        cluster.crash(emptied, 0);
        cluster.node(emptied).disk = Disk::default();
        cluster.start(emptied, false);
        let acknowledged = cluster.acknowledged();
        cluster.send_at(old);
        cluster.run(200);
        assert_eq!(cluster.nodes[&emptied].installs, 0);
        assert_eq!(cluster.acknowledged(), acknowledged);
        assert!(cluster.servers().is_empty());
    }
}

/// Nobody stands with the vote of one that may have voted before it was emptied.
#[test]
fn a_replica_that_has_nothing_does_not_vote() {
    let mut cluster = Cluster::serving(3, 3, 400);
    let leader = cluster.leader();
    let emptied = cluster.followers()[0];
    cluster.crash(leader, 0);
    cluster.crash(emptied, 0);
    cluster.node(emptied).disk = Disk::default();
    cluster.start(emptied, false);
    cluster.run(200);
    assert!(cluster.servers().is_empty());
}
