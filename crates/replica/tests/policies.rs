//! Queues whose messages every voter must have before a send is answered.

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes},
    command::Command,
    error::Error,
};

use anser_replica::{Input, MembershipChange, MembershipStep, Ticket};

use crate::{
    cluster::{Cluster, Outcome, Wire},
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

/// Time goes on, but the disk of one does nothing.
fn run_without_disk(cluster: &mut Cluster, ticks: usize, slow: u64) {
    for _ in 0..ticks {
        cluster.tick_all();
        loop {
            cluster.deliver_all();
            for id in cluster.up() {
                while id != slow && cluster.sync(id) {}
            }
            if cluster.wires.is_empty() {
                break;
            }
        }
    }
}

/// A leader has given its place away while one of the three voters had none of two sends: one that it had applied, and one
/// that it had not. Who led, who leads, the third, and the sends.
fn handed_over(cluster: &mut Cluster) -> ([u64; 3], [Ticket; 2]) {
    let (first, followers) = (cluster.leader(), cluster.followers());
    let (heir, slow) = (followers[0], followers[1]);
    let applied = cluster.send();
    for id in [first, heir] {
        cluster.deliver_all();
        while cluster.sync(id) {}
    }
    cluster.deliver_all();
    let index = cluster.replica(first).applied().index;
    let proposed = cluster.send();
    cluster.deliver_all();
    while cluster.sync(heir) {}
    cluster.deliver_all();
    assert_eq!(cluster.replica(first).applied().index, index);
    cluster.step(first, Input::TransferLeadership { to: heir });
    cluster.turn(first);
    ([first, heir, slow], [applied, proposed])
}

/// No client notices that a leader was moved.
#[test]
fn a_leader_that_gives_its_place_away_answers_what_every_voter_has() {
    let mut cluster = strict();
    let ([first, heir, slow], sent) = handed_over(&mut cluster);
    run_without_disk(&mut cluster, 40, slow);
    assert_eq!(cluster.leader(), heir);
    assert!(!cluster.replica(first).serves());
    for ticket in sent {
        assert_eq!(cluster.outcomes.get(&ticket), None, "one voter lacks it");
    }
    cluster.settle();
    cluster.run(2);
    assert!(sent.iter().all(|&ticket| cluster.is_acknowledged(ticket)));
}

#[test]
fn a_send_to_one_that_leads_no_more_is_unknown_if_a_voter_goes_on_lacking_it() {
    let mut cluster = strict();
    let ([_, _, slow], sent) = handed_over(&mut cluster);
    run_without_disk(&mut cluster, 210, slow);
    for ticket in sent {
        let unknown = Some(&Outcome::Refused(Error::Unknown));
        assert_eq!(cluster.outcomes.get(&ticket), unknown);
    }
}

/// Everything goes on, but for the heartbeats from one to another, which are on their way for longer.
fn run_with_late_heartbeats(
    cluster: &mut Cluster,
    way: (u64, u64),
    is_over: impl Fn(&Cluster) -> bool,
) -> Vec<Wire> {
    let mut late = Vec::new();
    while !is_over(cluster) {
        let Some(wire) = cluster.wires.pop_front() else {
            cluster.tick_all();
            continue;
        };
        if (wire.from, wire.to) == way && wire.is_heartbeat() {
            late.push(wire);
        } else {
            cluster.deliver(wire);
        }
        cluster.sync_all();
    }
    late
}

/// How far the log of another is known to reach by one that leads.
fn matched(cluster: &Cluster, leader: u64, other: u64) -> u64 {
    let peers = cluster.replica(leader).status().peers;
    let peer = peers.iter().find(|peer| peer.node == other);
    peer.map_or(0, |peer| peer.matched)
}

/// Who leads may have said that every voter has it before another one became a voter.
#[test]
fn what_was_said_of_other_voters_does_not_count() {
    let mut cluster = strict_with(3, 4);
    cluster.change(&[MembershipStep::AddLearner(4)]);
    cluster.run(20);
    cluster.cut_off(4);
    cluster.send_many(5);
    let ([first, heir, _], sent) = handed_over(&mut cluster);
    let way = (heir, first);
    let until = cluster.now + 300;
    let before = run_with_late_heartbeats(&mut cluster, way, |cluster| cluster.now > until);
    assert_eq!(cluster.leader(), heir);
    // The new member hears of entries that are in memory no more, and not of those that are.
    cluster.cut.clear();
    let is_known = |cluster: &Cluster| matched(cluster, heir, 4) > 0;
    run_with_late_heartbeats(&mut cluster, way, is_known);
    cluster.cut_off(4);
    cluster.change(&[MembershipStep::AddVoter(4)]);
    let is_voter = |cluster: &Cluster| cluster.membership(first).voters == [1, 2, 3, 4];
    run_with_late_heartbeats(&mut cluster, way, is_voter);
    for wire in before {
        cluster.deliver(wire);
    }
    for ticket in sent {
        let answer = cluster.outcomes.get(&ticket);
        assert_eq!(answer, None, "the new voter lacks it");
    }
    cluster.cut.clear();
    cluster.run(10);
    assert!(sent.iter().all(|&ticket| cluster.is_acknowledged(ticket)));
}
