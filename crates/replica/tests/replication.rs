//! What several replicas promise together.

use anser_broker::{
    attributes::{DeadLetterAfter, DeadLetterPolicy, QueueAttributes},
    command::{Command, Query},
    error::Error,
    id::QueueId,
    time::Millis,
};
use anser_replica::{Input, MembershipStep, Role, Ticket};

use crate::{
    cluster::{Cluster, Outcome, TICK_MILLIS, Wire},
    disk::Write,
    harness::{QUEUE, attributes},
};

#[test]
fn a_leader_is_elected_and_everybody_has_what_it_was_told() {
    let mut cluster = Cluster::serving(3, 3, 1);
    let sent = cluster.send();
    cluster.settle();
    assert!(cluster.is_acknowledged(sent));
    cluster.run(3);
    let applied = cluster.replica(cluster.leader()).applied();
    for id in 1..=3 {
        assert_eq!(cluster.replica(id).applied(), applied);
        cluster.check_nothing_lost(id);
        assert!(cluster.replica(id).needs_ticks());
    }
    let status = cluster.replica(cluster.leader()).status();
    assert_eq!(status.role, Role::Leader);
    assert_eq!(status.peers.len(), 2);
    assert!(status.peers.iter().all(|peer| peer.matched == status.last));
}

#[test]
fn elections_depend_on_the_seed_alone() {
    let leaders = |seed| {
        let mut cluster = Cluster::new(5, 5, seed);
        let leader = cluster.elect();
        (leader, cluster.term(leader))
    };
    for seed in 0..10 {
        assert_eq!(leaders(seed), leaders(seed));
    }
    assert!((0..10).any(|seed| leaders(seed).0 != leaders(0).0));
}

#[test]
fn a_reply_leaves_when_a_majority_has_the_entry_on_disk() {
    let mut cluster = Cluster::serving(3, 3, 2);
    let leader = cluster.leader();
    let followers = cluster.followers();
    let sent = cluster.send();
    while cluster.sync(leader) {}
    assert!(!cluster.is_acknowledged(sent), "one disk is no majority");
    cluster.deliver_all();
    assert!(
        !cluster.is_acknowledged(sent),
        "the followers only have it in memory"
    );
    assert!(cluster.sync(followers[0]));
    assert!(!cluster.is_acknowledged(sent), "the leader has not heard");
    cluster.deliver_all();
    assert!(cluster.is_acknowledged(sent));
}

#[test]
fn a_majority_without_the_leader_commits_and_the_leaders_disk_lets_the_reply_go() {
    let mut cluster = Cluster::serving(3, 3, 3);
    let leader = cluster.leader();
    let before = cluster.replica(leader).status().commit;
    let sent = cluster.send();
    cluster.deliver_all();
    for id in cluster.followers() {
        cluster.sync(id);
    }
    cluster.deliver_all();
    assert_eq!(cluster.replica(leader).status().commit, before + 1);
    // raft-rs 0.7 applies only what is durable here too.
    assert!(!cluster.is_acknowledged(sent));
    cluster.sync(leader);
    assert!(cluster.is_acknowledged(sent));
}

#[test]
fn a_follower_acknowledges_only_what_is_durable() {
    let mut cluster = Cluster::serving(3, 3, 4);
    let leader = cluster.leader();
    let matched = |cluster: &Cluster| {
        let status = cluster.replica(leader).status();
        status.peers.iter().map(|peer| peer.matched).max().unwrap()
    };
    let before = matched(&cluster);
    cluster.send();
    cluster.deliver_all();
    for _ in 0..4 {
        // Heartbeats are answered meanwhile.
        cluster.tick_all();
        cluster.deliver_all();
    }
    assert_eq!(matched(&cluster), before);
    assert!(cluster.replica(leader).serves());
    cluster.settle();
    assert_eq!(matched(&cluster), before + 1);
}

#[test]
fn a_slow_disk_does_not_look_like_a_dead_replica() {
    let mut cluster = Cluster::serving(3, 3, 4);
    let leader = cluster.leader();
    cluster.send();
    for _ in 0..100 {
        cluster.tick_all();
        cluster.deliver_all();
    }
    assert!(cluster.replica(leader).serves());
}

#[test]
fn another_leads_when_the_leader_is_gone() {
    let mut cluster = Cluster::serving(3, 3, 5);
    let first = cluster.leader();
    let sent = cluster.send();
    cluster.settle();
    cluster.crash(first, 0);
    let second = cluster.elect_other(&[first]);
    let again = cluster.send_at(second);
    cluster.settle();
    assert!(cluster.is_acknowledged(sent) && cluster.is_acknowledged(again));
    cluster.start(first, false);
    cluster.run(10);
    cluster.check_nothing_lost(first);
}

/// Whoever asked must not notice that a leader was moved. Its own disk is slow, so that it has not committed what its
/// successor has.
#[test]
fn a_leader_that_gives_its_place_away_answers_what_it_had_proposed() {
    for seed in 0..20 {
        let mut cluster = Cluster::serving(3, 3, 600 + seed);
        let (first, heir) = (cluster.leader(), cluster.followers()[0]);
        let other = cluster.followers()[1];
        cluster.send_many(2);
        cluster.cut_off(other);
        let received = cluster.receive_at(first, QUEUE, 0);
        let sent = cluster.send_at(first);
        cluster.deliver_all();
        while cluster.sync(heir) {}
        cluster.deliver_all();
        assert_eq!(cluster.outcomes.get(&sent), None, "one of three has it");
        cluster.step(first, Input::TransferLeadership { to: heir });
        cluster.turn(first);
        cluster.deliver_all();
        while cluster.sync(heir) {}
        cluster.deliver_all();
        assert!(!cluster.replica(first).serves());
        cluster.cut.clear();
        cluster.run(20);
        assert_eq!(cluster.leader(), heir);
        assert!(cluster.is_acknowledged(sent));
        assert_eq!(cluster.outcomes.get(&received), Some(&Outcome::Other));
    }
}

#[test]
fn a_replica_that_leaves_gives_its_leadership_away_and_takes_none() {
    for seed in 0..10 {
        let mut cluster = Cluster::serving(3, 3, 650 + seed);
        cluster.send_many(2);
        let first = cluster.leader();
        cluster.step(first, Input::Leave);
        cluster.turn(first);
        let sent = cluster.send_at(first);
        cluster.run(10);
        let second = cluster.leader();
        assert_ne!(second, first);
        assert!(!matches!(
            cluster.outcomes.get(&sent),
            Some(Outcome::Refused(Error::Unknown))
        ));
        cluster.step(second, Input::TransferLeadership { to: first });
        cluster.turn(second);
        cluster.run(30);
        assert_ne!(cluster.leader(), first, "it has said that it leaves");
        // It still counts.
        let third = cluster.followers().into_iter().find(|&id| id != first);
        cluster.crash(third.expect("there are three"), 0);
        let sent = cluster.send();
        cluster.run(5);
        assert!(cluster.is_acknowledged(sent));
    }
}

#[test]
fn a_replica_that_leaves_leads_on_while_no_other_answers() {
    let mut cluster = Cluster::serving(1, 2, 660);
    cluster.change(&[MembershipStep::AddLearner(2)]);
    cluster.run(20);
    cluster.step(1, Input::Leave);
    cluster.run(40);
    assert_eq!(cluster.leader(), 1);
    cluster.send_many(1);
    cluster.change(&[MembershipStep::AddVoter(2)]);
    cluster.run(10);
    assert_eq!(cluster.leader(), 2);
}

/// It leads again before it has heard what became of them.
#[test]
fn what_an_earlier_leadership_had_proposed_does_not_hold_up_the_next() {
    let mut cluster = Cluster::serving(3, 3, 7);
    let first = cluster.leader();
    cluster.cut_off(first);
    let lost = [cluster.send_at(first), cluster.send_at(first)];
    cluster.sync_all();
    let second = cluster.elect_other(&[first]);
    cluster.cut.clear();
    cluster.cut_off(second);
    // What it had proposed is replaced by nothing of the second leader's.
    cluster.elect_other(&[second]);
    cluster.cut.clear();
    cluster.run(60);
    for ticket in lost {
        assert!(matches!(
            cluster.outcomes[&ticket],
            Outcome::Refused(Error::Unknown) | Outcome::Sent(_)
        ));
    }
    let sent = [cluster.send(), cluster.send(), cluster.send()];
    cluster.settle();
    assert!(sent.iter().all(|&ticket| cluster.is_acknowledged(ticket)));
}

#[test]
fn a_deposed_leader_does_not_know_and_its_entry_is_replaced() {
    let mut cluster = Cluster::serving(3, 3, 6);
    let first = cluster.leader();
    cluster.cut_off(first);
    let lost = cluster.send_at(first);
    let read = cluster.read_at(first);
    cluster.sync_all();
    let second = cluster.elect_other(&[first]);
    let kept = cluster.send_at(second);
    cluster.settle();
    assert!(cluster.is_acknowledged(kept));
    cluster.run(60);
    assert_eq!(cluster.outcomes[&lost], Outcome::Refused(Error::Unknown));
    assert_eq!(
        cluster.outcomes[&read],
        Outcome::Refused(Error::Unavailable),
        "a deposed leader answers no read"
    );
    cluster.cut.clear();
    cluster.run(10);
    cluster.check_nothing_lost(first);
    assert_eq!(
        cluster.replica(first).applied(),
        cluster.replica(second).applied()
    );
}

#[test]
fn a_leader_without_a_majority_serves_no_read() {
    let mut cluster = Cluster::serving(3, 3, 7);
    let first = cluster.leader();
    let before = cluster.read_at(first);
    cluster.settle();
    assert_eq!(cluster.outcomes[&before], Outcome::Other);
    cluster.cut_off(first);
    let read = cluster.read_at(first);
    cluster.settle();
    assert_eq!(cluster.outcomes.get(&read), None);
    cluster.run(40);
    assert_eq!(
        cluster.outcomes[&read],
        Outcome::Refused(Error::Unavailable)
    );
}

#[test]
fn all_reads_of_a_turn_are_confirmed_together() {
    let mut cluster = Cluster::serving(3, 3, 7);
    let leader = cluster.leader();
    let tickets = [900, 901, 902].map(Ticket);
    for ticket in tickets {
        let query = Query::Counts { queue: QUEUE };
        cluster.step(leader, Input::Read { ticket, query });
    }
    cluster.turn(leader);
    assert_eq!(cluster.wires.len(), 2, "one heartbeat to each follower");
    cluster.settle();
    for ticket in tickets {
        assert_eq!(cluster.outcomes[&ticket], Outcome::Other);
    }
}

#[test]
fn leadership_is_handed_over() {
    let mut cluster = Cluster::serving(3, 3, 8);
    let first = cluster.leader();
    let to = cluster.followers()[1];
    let sent = cluster.send();
    cluster.step(first, Input::TransferLeadership { to });
    cluster.turn(first);
    cluster.settle();
    assert_eq!(cluster.leader(), to);
    assert!(cluster.is_acknowledged(sent));
    let nobody = Input::TransferLeadership { to: 77 };
    cluster.step(to, nobody);
    cluster.run(2);
    assert_eq!(cluster.leader(), to);
}

#[test]
fn a_vote_is_on_the_disk_before_it_is_cast() {
    let mut cluster = Cluster::new(3, 3, 9);
    while cluster.wires.is_empty() {
        cluster.tick_all();
    }
    // The question whether there may be an election changes nothing; the election itself does.
    for _ in 0..3 {
        cluster.deliver_all();
    }
    assert!(
        cluster.wires.is_empty(),
        "a candidate's own vote is not durable"
    );
    let queued = |id: &u64| !cluster.nodes[id].disk.queue.is_empty();
    let candidate = cluster.up().into_iter().find(queued).expect("one stands");
    cluster.sync(candidate);
    assert_eq!(cluster.wires.len(), 2);
    cluster.deliver_all();
    assert!(cluster.servers().is_empty());
    let term = cluster.term(candidate);
    for id in 1..=3 {
        let queue = &cluster.nodes[&id].disk.queue;
        let promised = |write: &Write| matches!(write, Write::Append(append) if append.term == term && append.vote == candidate);
        assert!(id == candidate || queue.iter().any(promised));
    }
    cluster.settle();
    assert_eq!(cluster.leader(), candidate);
}

#[test]
fn messages_that_are_for_nobody_here_are_harmless() {
    let mut cluster = Cluster::serving(3, 3, 10);
    let leader = cluster.leader();
    cluster.send();
    let strays: Vec<_> = cluster.wires.iter().cloned().collect();
    cluster.settle();
    for mut stray in strays {
        for to in 1..=3 {
            // Late, to the wrong replica and twice.
            cluster.deliver_as_is(to, &stray);
            cluster.deliver_as_is(to, &stray);
        }
        stray.from = 9;
        cluster.deliver_as_is(leader, &stray);
    }
    cluster.step(leader, Input::Unreachable { node: 2 });
    cluster.step(leader, Input::Unreachable { node: 99 });
    let fetched = Input::Fetched {
        request: 9_999,
        entries: Vec::new(),
    };
    cluster.step(leader, fetched);
    let sent = cluster.send();
    cluster.run(3);
    assert!(cluster.is_acknowledged(sent));
}

#[test]
fn only_the_one_that_serves_reaches_outside() {
    let mut cluster = Cluster::serving(3, 3, 11);
    let policy = DeadLetterPolicy {
        queue: QueueId(8),
        after: DeadLetterAfter::Age(Millis(1_000)),
    };
    cluster.propose(&Command::PutQueue {
        queue: QUEUE,
        revision: 2,
        attributes: QueueAttributes {
            dead_letter: Some(policy),
            ..attributes()
        },
    });
    let leader = cluster.leader();
    cluster.send();
    cluster.run(40);
    for id in 1..=3 {
        let moves = cluster.replica(id).shard().queues_with_moves();
        assert_eq!(moves, [QUEUE], "all know of it");
        assert_eq!(cluster.nodes[&id].effects > 0, id == leader);
    }
}

/// Without it, a node that was off, or that got a copy, would take the time of the last entry for the present, and delays
/// would be late by all the time in which nothing had happened.
#[test]
fn who_follows_hears_what_time_it_is_though_nothing_happens() {
    let mut cluster = Cluster::serving(3, 3, 5);
    let stamp = cluster.replica(1).shard().now().now;
    cluster.run(50);
    let (leader, followers) = (cluster.leader(), cluster.followers());
    for follower in followers {
        let told = cluster.node(follower).told.expect("heartbeats say it");
        assert_eq!(told.stamp, stamp);
        let age = cluster.now - told.now.0;
        assert!(age <= 2 * TICK_MILLIS, "said {age} ms ago");
    }
    assert_eq!(cluster.node(leader).told, None);
}

#[test]
fn what_a_leader_of_an_earlier_term_says_of_the_time_is_not_heard() {
    let mut cluster = Cluster::serving(3, 3, 5);
    let old = cluster.leader();
    while !cluster.wires.iter().any(Wire::is_heartbeat) {
        cluster.tick(old);
    }
    let mut wires = cluster.wires.iter();
    let late = wires.find(|wire| wire.is_heartbeat()).cloned();
    let late = late.expect("it was just seen");
    cluster.cut_off(old);
    cluster.elect_other(&[old]);
    cluster.node(late.to).told = None;
    cluster.deliver_as_is(late.to, &late);
    assert_eq!(cluster.node(late.to).told, None);
}

/// Otherwise its shell would begin turn after turn without a pause, each of which proposes what is refused.
#[test]
fn nothing_is_due_at_a_leader_that_hands_over() {
    let mut cluster = Cluster::serving(3, 3, 6);
    cluster.send_many(1);
    let (leader, heir) = (cluster.leader(), cluster.followers()[0]);
    cluster.cut_off(heir);
    cluster.now += 60_000;
    let due = cluster.replica(leader).next_deadline();
    assert!(due.is_some_and(|due| due.0 <= cluster.now), "{due:?}");
    cluster.step(leader, Input::TransferLeadership { to: heir });
    cluster.turn(leader);
    assert_eq!(cluster.replica(leader).next_deadline(), None);
}
