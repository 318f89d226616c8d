//! Queues whose messages every voter must have before a send is answered.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes},
    command::Command,
    error::Error,
};

use anser_replica::{Input, MembershipChange, MembershipStep};

use crate::{
    cluster::{Cluster, Outcome},
    harness::{QUEUE, attributes},
};

fn strict() -> Cluster {
    strict_with(3, 3)
}

fn strict_with(voters: u64, nodes: u64) -> Cluster {
    let mut cluster = Cluster::serving(voters, nodes, 11);
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

/// Who becomes a voter before the sender hears of it must have the message too.
#[test]
fn a_send_to_a_sole_voter_waits_for_one_that_joins_it() {
    let mut cluster = strict_with(1, 2);
    cluster.change(&[MembershipStep::AddLearner(2)]);
    cluster.settle();
    let leader = cluster.leader();
    let steps = vec![MembershipStep::AddVoter(2)];
    let change = MembershipChange { steps };
    // In one batch with the send, so that both are committed by the one that decides alone.
    cluster.step(leader, Input::ChangeMembership(change));
    let sent = cluster.send();
    while cluster.sync(leader) {}
    assert_eq!(cluster.membership(leader).voters, [1, 2]);
    assert!(!cluster.is_acknowledged(sent), "the new voter lacks it");
    cluster.settle();
    assert!(cluster.is_acknowledged(sent));
}
