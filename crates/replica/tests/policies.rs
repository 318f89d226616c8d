//! Queues whose messages every voter must have before a send is answered.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes},
    command::Command,
    error::Error,
};

use crate::{
    cluster::{Cluster, Outcome},
    harness::{QUEUE, attributes},
};

fn strict() -> Cluster {
    let mut cluster = Cluster::serving(3, 3, 11);
    let attributes = QueueAttributes {
        acknowledge: Acknowledge::All,
        ..attributes()
    };
    cluster.propose(&Command::PutQueue {
        queue: QUEUE,
        revision: 9,
        attributes,
    });
    cluster.settle();
    cluster
}

#[test]
fn a_send_waits_for_the_slowest_voter() {
    let mut cluster = strict();
    let sent = cluster.send();
    let (leader, followers) = (cluster.leader(), cluster.followers());
    cluster.deliver_all();
    while cluster.sync(leader) {}
    assert!(cluster.sync(followers[0]));
    cluster.deliver_all();
    assert!(!cluster.is_acknowledged(sent), "two of three have it");
    cluster.settle();
    assert!(cluster.is_acknowledged(sent));
}

#[test]
fn a_send_that_waits_too_long_for_a_voter_is_unknown() {
    let mut cluster = strict();
    let follower = cluster.followers()[0];
    cluster.cut_off(follower);
    let sent = cluster.send();
    cluster.settle();
    assert!(!cluster.is_acknowledged(sent));
    cluster.now += 10_000;
    let leader = cluster.leader();
    cluster.turn(leader);
    assert!(matches!(
        cluster.outcomes.get(&sent),
        Some(Outcome::Refused(Error::Unknown))
    ));
}
