//! What a sole voter promises to its clients.

use anser_broker::{
    attributes::{
        Acknowledge, BodyFormat, Endpoint, Filter, FilterKind, SubscriptionAttributes,
        TopicAttributes,
    },
    command::{Answer, Command, Query, Reply},
    error::Error,
    id::{ShardId, SubscriptionId, TopicId},
    labels::{Labels, Published},
    limits,
    retry::RetryStrategy,
    shard::Shard,
    time::{Millis, Timestamp},
};
use anser_replica::{Input, Output, Place, Ticket, read_snapshot};

use crate::harness::{Harness, QUEUE, send};

fn refused(harness: &Harness, ticket: Ticket) -> Option<Error> {
    harness.outputs.iter().find_map(|output| match output {
        Output::Refuse {
            ticket: found,
            error,
        } if *found == ticket => Some(*error),
        _ => None,
    })
}

#[test]
fn nothing_is_served_before_the_first_entry_of_the_term_is_durable() {
    let mut harness = Harness::start(Shard::new(ShardId(0), 1), Place { index: 1, term: 1 });
    let early = harness.send("early");
    assert_eq!(refused(&harness, early), Some(Error::Unavailable));
    assert!(!harness.replica.serves());
    harness.sync();
    assert!(harness.replica.serves());
}

#[test]
fn a_reply_leaves_only_when_its_entry_is_durable() {
    let mut harness = Harness::new();
    let ticket = harness.send("a");
    assert!(harness.reply(ticket).is_none());
    let append = harness.appends.pop().expect("the entry goes to the disk");
    assert_eq!(append.entries.len(), 1);
    assert!(harness.reply(ticket).is_none());
    harness.step(Input::Durable {
        number: append.number,
    });
    harness.turn();
    assert!(matches!(harness.reply(ticket), Some(Reply::Sent { .. })));
}

#[test]
fn a_read_acknowledges_nothing_that_is_not_on_the_disk() {
    let mut harness = Harness::new();
    let sent = harness.send("a");
    harness.read(Query::Counts { queue: QUEUE });
    harness.receive(1, 0);
    assert!(harness.reply(sent).is_none());
    harness.sync();
    assert!(harness.reply(sent).is_some());
}

#[test]
fn the_second_of_two_entries_is_not_acknowledged_with_the_first() {
    let mut harness = Harness::new();
    let first = harness.send("a");
    let second = harness.send("b");
    let append = harness.appends.remove(0);
    harness.step(Input::Durable {
        number: append.number,
    });
    harness.turn();
    assert!(harness.reply(first).is_some());
    assert!(harness.reply(second).is_none());
    harness.sync();
    assert!(harness.reply(second).is_some());
}

#[test]
fn a_wait_begins_when_the_receive_comes_however_long_the_shard_slept() {
    let mut harness = Harness::new();
    harness.now += 60_000;
    let waiting = harness.receive(1, 20_000);
    assert_eq!(harness.received(waiting), None);
    harness.now += 20_000;
    harness.turn();
    assert_eq!(harness.received(waiting), Some(0));
}

#[test]
fn a_waiter_is_served_when_a_lease_ends_that_was_one_too_many() {
    let mut harness = Harness::new();
    let attributes = anser_broker::attributes::QueueAttributes {
        in_flight_max: 1,
        ..crate::harness::attributes()
    };
    harness.propose(&Command::PutQueue {
        queue: QUEUE,
        revision: 2,
        attributes,
    });
    harness.send("a");
    harness.sync();
    let holder = harness.receive(1, 0);
    harness.sync();
    let waiting = harness.receive(1, 60_000);
    harness.send("b");
    harness.sync();
    assert_eq!(harness.received(waiting), None);
    let Some(Reply::Received { deliveries }) = harness.reply(holder) else {
        panic!("the holder has a message")
    };
    let receipts = vec![deliveries[0].receipt];
    harness.propose(&Command::DeleteMessages {
        queue: QUEUE,
        receipts,
    });
    harness.sync();
    assert_eq!(harness.received(waiting), Some(1));
}

#[test]
fn a_cancelled_receive_leaves_its_claim_to_the_next() {
    let mut harness = Harness::new();
    harness.send("a");
    harness.sync();
    // Two entries on their way, so that the receive stays unpacked.
    for _ in 0..2 {
        let attributes = crate::harness::attributes();
        harness.propose(&Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes,
        });
    }
    let claiming = harness.receive(16, 60_000);
    let waiting = harness.receive(1, 60_000);
    harness.step(Input::Cancel { ticket: claiming });
    harness.turn();
    harness.sync();
    assert_eq!(harness.received(waiting), Some(1));
}

#[test]
fn all_commands_of_a_turn_share_one_entry() {
    let mut harness = Harness::new();
    let tickets = ["a", "b", "c"].map(|body| harness.hand_in(&send(body)));
    harness.turn();
    let [append] = &harness.appends[..] else {
        panic!("one append")
    };
    assert_eq!(append.entries.len(), 1);
    harness.sync();
    assert!(
        tickets
            .iter()
            .all(|&ticket| harness.reply(ticket).is_some())
    );
}

#[test]
fn while_two_entries_are_on_their_way_the_others_wait_and_are_packed() {
    let mut harness = Harness::new();
    for body in ["a", "b", "c", "d", "e"] {
        harness.send(body);
    }
    assert_eq!(harness.appends.len(), 2);
    let first = harness.appends.remove(0);
    harness.step(Input::Durable {
        number: first.number,
    });
    harness.turn();
    assert_eq!(harness.appends.len(), 2, "three sends became one entry");
    harness.sync();
    let read = harness.read(Query::Counts { queue: QUEUE });
    let ready = harness.outputs.iter().find_map(|output| match output {
        Output::Answer {
            ticket,
            answer: Answer::Counts(counts),
        } if *ticket == read => Some(counts.ready),
        _ => None,
    });
    assert_eq!(ready, Some(5));
}

/// Core review, finding 17: publishes to many subscriptions were packed by their bytes alone, and one entry held a shard up
/// for seconds.
#[test]
fn publishes_share_an_entry_only_as_far_as_their_copies_are_few() {
    let mut harness = Harness::new();
    let (topic, subscriptions) = (TopicId(20), 40u64);
    harness.propose(&Command::PutTopic {
        topic,
        revision: 1,
        attributes: TopicAttributes {
            acknowledge: Acknowledge::Majority,
            body_bytes_max: 1_024,
            retention: Millis(3_600_000),
            filter: FilterKind::Tags,
        },
    });
    for number in 0..subscriptions {
        harness.hand_in(&Command::PutSubscription {
            subscription: SubscriptionId(21 + number),
            topic,
            revision: 1,
            attributes: SubscriptionAttributes {
                endpoint: Endpoint::Http {
                    url: "http://a/".into(),
                },
                retry: RetryStrategy::BackOff,
                format: BodyFormat::Json,
                filter: Filter::Tags([].into()),
                dead_letter: None,
            },
        });
    }
    harness.turn();
    harness.sync();
    let bodies = vec![Published::seal(&Labels::default(), b"x"); 16];
    let publish = Command::Publish { topic, bodies };
    let fit = limits::ENTRY_COPIES / (16 * subscriptions);
    let tickets: Vec<_> = (0..=fit).map(|_| harness.hand_in(&publish)).collect();
    harness.turn();
    let entries = harness.appends.iter().map(|append| append.entries.len());
    assert_eq!(entries.sum::<usize>(), 2, "one has an entry of its own");
    harness.sync();
    for ticket in tickets {
        assert!(matches!(harness.reply(ticket), Some(Reply::Sent { .. })));
    }
}

#[test]
fn an_empty_receive_writes_nothing() {
    let mut harness = Harness::new();
    let at_once = harness.receive(1, 0);
    assert_eq!(harness.received(at_once), Some(0));
    let waiting = harness.receive(1, 5_000);
    assert_eq!(harness.received(waiting), None);
    assert!(harness.appends.is_empty());
    harness.now += 4_999;
    harness.turn();
    assert_eq!(harness.received(waiting), None);
    assert_eq!(
        harness.replica.next_deadline(),
        Some(Timestamp(harness.now + 1))
    );
    harness.now += 1;
    harness.turn();
    assert_eq!(harness.received(waiting), Some(0));
    assert!(harness.appends.is_empty());
}

#[test]
fn one_message_wakes_the_waiter_who_came_first_and_no_other() {
    let mut harness = Harness::new();
    let first = harness.receive(10, 60_000);
    let second = harness.receive(10, 60_000);
    harness.send("a");
    harness.sync();
    assert_eq!(harness.received(first), Some(1));
    assert_eq!(harness.received(second), None);
    harness.send("b");
    harness.sync();
    assert_eq!(harness.received(second), Some(1));
}

#[test]
fn waiters_share_what_one_send_brings() {
    let mut harness = Harness::new();
    let waiters: Vec<Ticket> = (0..3).map(|_| harness.receive(1, 60_000)).collect();
    let bodies = ["a", "b"].map(Into::into).to_vec();
    harness.propose(&Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies,
    });
    harness.sync();
    let received: Vec<_> = waiters
        .iter()
        .map(|&ticket| harness.received(ticket))
        .collect();
    assert_eq!(received, [Some(1), Some(1), None]);
}

#[test]
fn a_lease_that_ends_is_settled_without_anyone_asking_and_wakes_a_waiter() {
    let mut harness = Harness::new();
    harness.send("a");
    harness.sync();
    let first = harness.receive(1, 0);
    harness.sync();
    assert_eq!(harness.received(first), Some(1));
    let waiting = harness.receive(1, 60_000);
    assert_eq!(
        harness.replica.next_deadline(),
        Some(Timestamp(harness.now + 30_000))
    );
    harness.now += 30_000;
    harness.turn();
    harness.sync();
    assert_eq!(harness.received(waiting), Some(1));
}

/// When a whole cluster starts anew, the last stamp is all that it knows of the time.
#[test]
fn while_something_waits_for_a_time_the_log_says_once_a_minute_what_time_it_is() {
    let mut harness = Harness::new();
    assert_eq!(harness.replica.next_deadline(), None, "nothing waits");
    harness.send("it is kept for a while");
    harness.sync();
    for _ in 0..3 {
        let minute = Timestamp(harness.now + 60_000);
        assert_eq!(harness.replica.next_deadline(), Some(minute));
        harness.now = minute.0 - 1;
        harness.turn();
        assert!(harness.appends.is_empty());
        harness.now = minute.0;
        harness.turn();
        harness.sync();
        assert_eq!(harness.replica.shard().now().now, minute);
    }
}

#[test]
fn a_receive_that_does_not_wait_gets_what_falls_due_at_its_moment() {
    let mut harness = Harness::new();
    harness.send("a");
    harness.sync();
    harness.receive(1, 0);
    harness.sync();
    harness.now += 30_000;
    let second = harness.receive(1, 0);
    harness.sync();
    assert_eq!(harness.received(second), Some(1));
}

#[test]
fn what_falls_due_is_not_hidden_by_a_receive_under_way_that_claims_what_was_there() {
    let mut harness = Harness::new();
    harness.send("at once");
    harness.sync();
    harness.propose(&Command::SendMessages {
        queue: QUEUE,
        delay: Some(Millis(1_000)),
        bodies: vec!["later".into()],
    });
    harness.sync();
    let claims_all = harness.receive(8, 0);
    harness.now += 1_000;
    let asks_later = harness.receive(8, 0);
    assert_eq!(harness.received(asks_later), None, "it is visible now");
    harness.sync();
    assert_eq!(harness.received(claims_all), Some(1));
    assert_eq!(harness.received(asks_later), Some(1));
}

#[test]
fn a_lease_stamped_by_a_rounded_clock_is_not_too_short() {
    let mut harness = Harness::new();
    harness.blur = 1;
    harness.send("a");
    harness.sync();
    harness.receive(1, 0);
    harness.sync();
    harness.now += 30_000;
    let early = harness.receive(1, 0);
    harness.sync();
    assert_eq!(harness.received(early), Some(0));
    harness.now += 1;
    let late = harness.receive(1, 0);
    harness.sync();
    assert_eq!(harness.received(late), Some(1));
}

#[test]
fn a_cancelled_waiter_takes_no_message() {
    let mut harness = Harness::new();
    let gone = harness.receive(1, 60_000);
    harness.step(Input::Cancel { ticket: gone });
    assert_eq!(refused(&harness, gone), Some(Error::Unavailable));
    let waiting = harness.receive(1, 60_000);
    harness.send("a");
    harness.sync();
    assert_eq!(harness.received(gone), None);
    assert_eq!(harness.received(waiting), Some(1));
}

#[test]
fn waiters_of_a_queue_that_ends_hear_so() {
    let mut harness = Harness::new();
    let waiting = harness.receive(1, 60_000);
    harness.propose(&Command::DropQueue {
        queue: QUEUE,
        floor: 0,
    });
    harness.sync();
    assert_eq!(
        harness.reply(waiting),
        Some(&Reply::Refused(Error::NoSuchQueue))
    );
    let later = harness.receive(1, 60_000);
    assert_eq!(
        harness.reply(later),
        Some(&Reply::Refused(Error::NoSuchQueue))
    );
}

#[test]
fn a_receive_without_its_own_wait_waits_as_the_queue_says() {
    let mut harness = Harness::new();
    let attributes = anser_broker::attributes::QueueAttributes {
        wait: Millis(2_000),
        ..crate::harness::attributes()
    };
    harness.propose(&Command::PutQueue {
        queue: QUEUE,
        revision: 2,
        attributes,
    });
    harness.sync();
    let ticket = Ticket(1_000);
    let request = anser_replica::ReceiveRequest {
        queue: QUEUE,
        max: 1,
        visibility: None,
        wait: None,
    };
    harness.step(Input::Receive { ticket, request });
    harness.turn();
    assert_eq!(harness.received(ticket), None);
    harness.now += 2_000;
    harness.turn();
    assert_eq!(harness.received(ticket), Some(0));
}

#[test]
fn a_replica_restored_from_its_snapshot_goes_on_where_it_was() {
    let mut harness = Harness::new();
    harness.send("a");
    harness.send("b");
    harness.sync();
    harness.receive(1, 0);
    harness.sync();
    let image = harness.replica.image();
    let mut bytes = Vec::new();
    image.save(&mut |piece| bytes.extend_from_slice(piece));
    let restored = read_snapshot(&bytes).expect("a snapshot reads what a snapshot wrote");
    assert_eq!(restored.membership.voters, [1]);
    let mut again = Harness::start(restored.shard, image.applied);
    again.now = harness.now;
    again.sync();
    let receive = again.receive(10, 0);
    again.sync();
    assert_eq!(
        again.received(receive),
        Some(1),
        "one is leased, one is ready"
    );
    assert!(read_snapshot(&bytes[..bytes.len() - 1]).is_err());
    assert!(read_snapshot(&[9]).is_err());
}
