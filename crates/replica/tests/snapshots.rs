//! Followers that lag: by entries from the log, then by a snapshot.

use anser_replica::Input;

use crate::cluster::Cluster;

/// A cluster whose node 3 missed what was sent, and its leader.
fn with_a_lagging_follower(seed: u64) -> (Cluster, u64, u64) {
    let mut cluster = Cluster::serving(3, 3, seed);
    let leader = cluster.leader();
    let lagging = cluster.followers()[0];
    cluster.crash(lagging, 0);
    cluster.send_many(40);
    (cluster, leader, lagging)
}

fn has_caught_up(cluster: &Cluster, leader: u64, lagging: u64) -> bool {
    cluster.check_nothing_lost(lagging);
    cluster.replica(leader).applied() == cluster.replica(lagging).applied()
}

#[test]
fn a_lagging_follower_is_fed_from_the_log() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(1);
    cluster.start(lagging, false);
    cluster.run(20);
    assert!(has_caught_up(&cluster, leader, lagging));
    assert!(cluster.nodes[&leader].fetches > 0);
    assert_eq!(cluster.nodes[&lagging].installs, 0);
}

#[test]
fn a_follower_that_lags_too_far_gets_a_snapshot() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(2);
    cluster.compact(leader);
    cluster.send_many(3);
    cluster.start(lagging, false);
    cluster.run(20);
    assert!(has_caught_up(&cluster, leader, lagging));
    assert_eq!(cluster.nodes[&lagging].installs, 1);
    assert_eq!(cluster.nodes[&leader].prepares, 1);
    // It goes on from its disk.
    cluster.crash(lagging, 0);
    cluster.start(lagging, false);
    cluster.send_many(2);
    cluster.run(5);
    assert!(has_caught_up(&cluster, leader, lagging));
}

/// What it was told of its state concerns the one before.
#[test]
fn a_replica_whose_state_differed_may_lead_again_with_the_state_of_another() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(5);
    cluster.compact(leader);
    cluster.send_many(3);
    cluster.start(lagging, false);
    cluster.step(lagging, Input::Differs);
    cluster.run(20);
    assert_eq!(cluster.nodes[&lagging].installs, 1);
    cluster.step(leader, Input::TransferLeadership { to: lagging });
    cluster.turn(leader);
    cluster.run(30);
    assert_eq!(cluster.leader(), lagging);
}

#[test]
fn a_replica_whose_state_differs_takes_no_leadership_over() {
    let mut cluster = Cluster::serving(3, 3, 6);
    let (leader, other) = (cluster.leader(), cluster.followers()[0]);
    cluster.step(other, Input::Differs);
    cluster.step(leader, Input::TransferLeadership { to: other });
    cluster.turn(leader);
    cluster.run(30);
    assert_ne!(cluster.leader(), other);
}

#[test]
fn entries_that_cannot_be_read_are_replaced_by_a_snapshot() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(3);
    cluster.log_reads_fail = true;
    cluster.start(lagging, false);
    cluster.run(20);
    assert!(has_caught_up(&cluster, leader, lagging));
    assert_eq!(cluster.nodes[&lagging].installs, 1);
}

#[test]
fn a_snapshot_that_was_lost_on_the_way_is_sent_again() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(4);
    cluster.compact(leader);
    cluster.snapshots_fail = true;
    cluster.start(lagging, false);
    cluster.run(20);
    assert_eq!(cluster.nodes[&lagging].installs, 0);
    cluster.snapshots_fail = false;
    cluster.run(20);
    assert!(has_caught_up(&cluster, leader, lagging));
}

#[test]
fn a_crash_before_a_snapshot_is_durable_changes_nothing() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(5);
    cluster.compact(leader);
    cluster.start(lagging, false);
    while cluster.nodes[&lagging].installs == 0 {
        cluster.tick_all();
        cluster.deliver_all();
        cluster.sync(leader);
    }
    // More may come while the disk is busy.
    for _ in 0..60 {
        cluster.tick_all();
        cluster.deliver_all();
        cluster.sync(leader);
    }
    cluster.crash(lagging, 0);
    cluster.start(lagging, false);
    cluster.run(40);
    let leader = cluster.leader();
    assert!(has_caught_up(&cluster, leader, lagging));
}

#[test]
fn a_snapshot_that_comes_twice_or_late_is_ignored() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(6);
    cluster.compact(leader);
    cluster.start(lagging, false);
    let snapshot = loop {
        cluster.tick_all();
        if let Some(wire) = cluster.wires.iter().find(|wire| wire.has_files()) {
            break wire.clone();
        }
        if let Some(wire) = cluster.wires.pop_front() {
            cluster.deliver(wire);
        }
        cluster.sync_all();
    };
    cluster.run(20);
    cluster.deliver(snapshot.clone());
    cluster.settle();
    cluster.send_many(2);
    cluster.deliver(snapshot);
    cluster.run(5);
    assert_eq!(cluster.nodes[&lagging].installs, 1);
    let leader = cluster.leader();
    assert!(has_caught_up(&cluster, leader, lagging));
}

#[test]
fn a_replica_that_installs_a_snapshot_waits_for_its_disk_when_the_leader_goes() {
    let (mut cluster, leader, lagging) = with_a_lagging_follower(7);
    cluster.compact(leader);
    cluster.start(lagging, false);
    while cluster.nodes[&lagging].installs == 0 {
        cluster.tick_all();
        cluster.deliver_all();
        cluster.sync(leader);
    }
    cluster.crash(leader, 0);
    let other = 6 - leader - lagging;
    for _ in 0..60 {
        cluster.tick_all();
        cluster.deliver_all();
        while cluster.sync(other) {}
    }
    assert!(cluster.servers().is_empty(), "the vote is not durable");
    cluster.elect();
    let leader = cluster.leader();
    cluster.run(5);
    assert!(has_caught_up(&cluster, leader, lagging));
}
