//! Receives at a leader that is one no longer, or is about to be.

use anser_broker::{command::Command, error::Error, id::QueueId};
use anser_replica::Input;

use crate::{
    cluster::{Cluster, Outcome},
    harness::{QUEUE, attributes},
};

const OTHER: QueueId = QueueId(8);

fn put(queue: QueueId, revision: u64, in_flight_max: u64) -> Command {
    let attributes = anser_broker::attributes::QueueAttributes {
        in_flight_max,
        ..attributes()
    };
    Command::PutQueue {
        queue,
        revision,
        attributes,
    }
}

/// Core review, finding 26: refusals were not confirmed by a majority.
#[test]
fn a_deposed_leader_does_not_say_that_a_queue_of_the_next_leader_is_not_there() {
    let mut cluster = Cluster::serving(3, 3, 21);
    let deposed = cluster.leader();
    cluster.cut_off(deposed);
    cluster.elect_other(&[deposed]);
    cluster.propose(&put(OTHER, 1, 100));
    cluster.settle();
    assert!(cluster.replica(deposed).serves(), "it does not know yet");
    let receive = cluster.receive_at(deposed, OTHER, 0);
    assert_eq!(cluster.outcomes.get(&receive), None);
    cluster.cut.clear();
    cluster.run(60);
    assert_eq!(
        cluster.outcomes.get(&receive),
        Some(&Outcome::Refused(Error::Unavailable))
    );
}

/// Core review, finding 26: nor was this one.
#[test]
fn a_deposed_leader_does_not_say_that_too_many_messages_are_in_flight() {
    let mut cluster = Cluster::serving(3, 3, 22);
    let deposed = cluster.leader();
    cluster.propose(&put(QUEUE, 9, 1));
    cluster.send_many(2);
    cluster.receive_at(deposed, QUEUE, 0);
    cluster.settle();
    cluster.cut_off(deposed);
    cluster.elect_other(&[deposed]);
    cluster.propose(&put(QUEUE, 10, 100));
    cluster.settle();
    let receive = cluster.receive_at(deposed, QUEUE, 0);
    assert_eq!(cluster.outcomes.get(&receive), None);
}

#[test]
fn a_leader_says_that_a_queue_is_not_there_when_others_confirm_that_it_leads() {
    let mut cluster = Cluster::serving(3, 3, 23);
    let leader = cluster.leader();
    let receive = cluster.receive_at(leader, OTHER, 0);
    cluster.settle();
    assert_eq!(
        cluster.outcomes.get(&receive),
        Some(&Outcome::Replied(Error::NoSuchQueue))
    );
}

/// Core review, finding 27: its claim ended, and nobody was served for that.
#[test]
fn a_waiter_does_not_sleep_on_when_the_receive_before_it_was_dropped() {
    let mut cluster = Cluster::serving(3, 3, 24);
    let leader = cluster.leader();
    cluster.send_many(1);
    // Handing over to a voter that does not hear of it: until that is given up, proposals are dropped.
    let follower = cluster.followers()[0];
    cluster.cut_off(follower);
    cluster.step(leader, Input::TransferLeadership { to: follower });
    let claiming = cluster.hand_in_receive(leader, QUEUE, 60_000);
    let waiting = cluster.hand_in_receive(leader, QUEUE, 60_000);
    cluster.turn(leader);
    for receive in [claiming, waiting] {
        assert_eq!(
            cluster.outcomes.get(&receive),
            Some(&Outcome::Refused(Error::Unavailable)),
            "whoever asked goes on at the next leader"
        );
    }
}
