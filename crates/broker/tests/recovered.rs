//! Shards that have lost something for good: messages whose bodies are lost, and the last of their commands.

use std::collections::{BTreeMap, BTreeSet};

use anser_broker::{
    attributes::{
        Acknowledge, DeadLetterAfter, DeadLetterPolicy, FilterKind, QueueAttributes, RetentionFrom,
        TopicAttributes,
    },
    codec::{self, BatchBuilder},
    command::{Command, CreateQueue, Placed, Reply, Seen},
    id::{AccountId, QueueId, Sequence, ShardId, TopicId},
    name::QueueName,
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};

const QUEUE: QueueId = QueueId(9);
const TARGET: QueueId = QueueId(10);

fn apply_at(shard: &mut Shard, now: u64, command: &Command) -> Reply {
    let stamp = Stamp {
        now: Timestamp(now),
        wall: Timestamp(now),
        blur: Millis(0),
    };
    let mut batch = BatchBuilder::new(stamp);
    batch.push(&codec::encode(command));
    let (mut replies, mut effects) = (Vec::new(), Vec::new());
    let index = shard.applied() + 1;
    let payload = batch.finish();
    shard
        .apply(index, &payload, &mut replies, &mut effects)
        .unwrap();
    replies.remove(0)
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1_000_000,
        wait: Millis(0),
        visibility: Millis(30_000),
        body_bytes_max: 65_536,
        retention: Millis(86_400_000),
        retention_from: RetentionFrom::Visible,
        rewind: Millis(3_600_000),
        delay: Millis(0),
        delay_max: Millis(3_600_000),
        delayed_max: 1_000_000,
        in_flight_max: 1_000_000,
        dead_letter: Some(DeadLetterPolicy {
            queue: TARGET,
            after: DeadLetterAfter::Receives(1),
        }),
        acknowledge: Acknowledge::Majority,
    }
}

fn send(shard: &mut Shard, now: u64, delay: Option<Millis>) {
    let send = Command::SendMessages {
        queue: QUEUE,
        delay,
        bodies: vec![b"body".to_vec().into()],
    };
    apply_at(shard, now, &send);
}

fn receive(shard: &mut Shard, now: u64) -> Sequence {
    let receive = Command::ReceiveMessages {
        queue: QUEUE,
        max: 1,
        visibility: None,
    };
    match apply_at(shard, now, &receive) {
        Reply::Received { deliveries } => deliveries[0].receipt,
        other => panic!("{other:?}"),
    }
}

/// Two messages in every state: moving, leased, retired, late, ready, delayed.
fn shard() -> Shard {
    let mut shard = Shard::new(ShardId(1), 2);
    let put = Command::PutQueue {
        queue: QUEUE,
        revision: 1,
        attributes: attributes(),
    };
    apply_at(&mut shard, 1_000, &put);
    for _ in 0..6 {
        send(&mut shard, 1_000, None);
    }
    // The first two give up after a lease.
    receive(&mut shard, 2_000);
    receive(&mut shard, 2_000);
    send(&mut shard, 3_000, Some(Millis(1_000)));
    send(&mut shard, 3_000, Some(Millis(1_000)));
    let receipts = vec![receive(&mut shard, 40_000), receive(&mut shard, 40_000)];
    let delete = Command::DeleteMessages {
        queue: QUEUE,
        receipts,
    };
    apply_at(&mut shard, 40_000, &delete);
    receive(&mut shard, 40_000);
    receive(&mut shard, 40_000);
    send(&mut shard, 40_000, None);
    send(&mut shard, 40_000, None);
    send(&mut shard, 40_000, Some(Millis(600_000)));
    send(&mut shard, 40_000, Some(Millis(600_000)));
    shard.check();
    shard
}

#[test]
fn messages_whose_bodies_are_lost_end_in_every_state() {
    let whole = shard();
    let all = BTreeSet::from_iter(whole.messages(QUEUE));
    assert_eq!(all.len(), 12);
    let totals = whole.totals();
    let states = [
        totals.moving,
        totals.leased,
        totals.retired,
        totals.ready,
        totals.delayed,
    ];
    assert_eq!(states, [2, 2, 2, 4, 2]);
    for lost in &all {
        let mut shard = whole.clone();
        assert_eq!(shard.drop_messages(QUEUE, &BTreeSet::from([*lost])), 1);
        shard.check();
        let left = BTreeSet::from_iter(shard.messages(QUEUE));
        assert_eq!(left.len(), 11);
        assert!(left.is_subset(&all) && !left.contains(lost));
    }
    let mut shard = whole.clone();
    for lost in &all {
        shard.drop_messages(QUEUE, &BTreeSet::from([*lost]));
        let totals = shard.totals();
        let waiting = totals.ready + totals.leased + totals.delayed;
        assert_eq!(totals.totals.cleared, 8 - waiting, "each that waited");
    }
    let mut shard = whole;
    assert_eq!(shard.drop_messages(QUEUE, &all), 12);
    shard.check();
    assert!(shard.messages(QUEUE).is_empty());
    assert_eq!(shard.drop_messages(QUEUE, &all), 0);
    let mut bytes = Vec::new();
    shard.save(&mut |piece| bytes.extend_from_slice(piece));
    Shard::restore(&bytes).unwrap().check();
}

#[test]
fn what_the_catalog_does_not_know_ends() {
    let mut shard = shard();
    let topic = |number| Command::PutTopic {
        topic: TopicId(number),
        revision: 1,
        attributes: TopicAttributes {
            body_bytes_max: 65_536,
            retention: Millis(86_400_000),
            filter: FilterKind::Tags,
            acknowledge: Acknowledge::Majority,
        },
    };
    apply_at(&mut shard, 1_000, &topic(20));
    apply_at(&mut shard, 1_000, &topic(21));
    let known = BTreeSet::from([QUEUE.0, 21]);
    assert_eq!(shard.end_unknown(&known), BTreeMap::from([(20, 0)]));
    assert!(shard.end_unknown(&known).is_empty());
    shard.check();
    let ended = shard.end_unknown(&BTreeSet::from([21]));
    assert_eq!(ended, BTreeMap::from([(QUEUE.0, 12)]));
    let left: Vec<u64> = shard.revisions().map(|(number, _)| number).collect();
    assert_eq!(left, [21]);
    assert!(shard.live_between(0, u64::MAX - 1).is_empty());
    shard.check();
}

#[test]
fn what_moves_after_a_loss_has_numbers_that_no_other_had() {
    let mut shard = shard();
    let first = |shard: &Shard| shard.moves(QUEUE, 10)[0].moves[0].number;
    let before = first(&shard);
    let moving = shard.moves(QUEUE, 10)[0].moves[0].message;
    shard.drop_messages(QUEUE, &BTreeSet::from([moving]));
    assert_eq!(first(&shard), before + 2, "two had numbers");
    let (target, unused) = (TARGET, QueueId(11));
    assert_eq!(shard.settled(QUEUE, unused), Some(0));
    shard.pass_numbers();
    assert!(first(&shard) > before + 1_000_000);
    assert!(shard.settled(QUEUE, target).unwrap() > 1_000_000);
    let next_lane = shard.settled(QUEUE, unused);
    assert!(next_lane.unwrap() >= 1_000_000, "nor has a lane to come");
    shard.check();
}

/// As repair does it, once both shards are as they will be.
fn agree(source: &Shard, target: &mut Shard) -> bool {
    let sources = target.sources().into_iter();
    let passed =
        sources.map(|(to, from)| target.agree_on_arrival(to, from, source.settled(from, to)));
    passed.fold(false, |any, it| any | it)
}

/// Brings the first dead letters of the source to the target.
fn carry(source: &Shard, target: &mut Shard) -> Reply {
    let lane = source.moves(QUEUE, 10).remove(0);
    let accept = Command::AcceptMoved {
        queue: TARGET,
        source: QUEUE,
        seen: lane.seen,
        first: lane.moves[0].number,
        bodies: vec![b"body".to_vec().into(); lane.moves.len()],
    };
    apply_at(target, 50_000, &accept)
}

/// The shard of the queue that takes the dead letters.
fn target() -> Shard {
    let mut target = Shard::new(ShardId(0), 2);
    let put = Command::PutQueue {
        queue: TARGET,
        revision: 1,
        attributes: QueueAttributes {
            dead_letter: None,
            ..attributes()
        },
    };
    apply_at(&mut target, 1_000, &put);
    target
}

#[test]
fn what_comes_from_a_source_that_was_lost_and_made_anew_is_new() {
    let accepted = |reply: Reply| match reply {
        Reply::Accepted { through, refused } => (through, refused),
        other => panic!("{other:?}"),
    };
    let published = Command::AcceptPublished {
        queue: TARGET,
        source: QUEUE,
        seen: Seen {
            shard: ShardId(1),
            index: 1_000,
        },
        first: 1,
        bodies: vec![b"body".to_vec().into(); 2],
    };
    for is_published in [false, true] {
        let bring = |target: &mut Shard| {
            accepted(if is_published {
                apply_at(target, 50_000, &published)
            } else {
                carry(&shard(), target)
            })
        };
        let mut target = target();
        assert_eq!(bring(&mut target), (2, None));
        // The shard of the source is lost, and the catalog tells of the queue again.
        assert!(agree(&Shard::new(ShardId(1), 2), &mut target));
        assert_eq!(bring(&mut target), (2, None));
        assert_eq!(target.messages(TARGET).len(), 4, "they are other messages");
        target.check();
    }
}

#[test]
fn dead_letters_go_on_after_a_loss_on_either_side() {
    let mut source = shard();
    let mut target = target();
    let refused = |reply: &Reply| !matches!(reply, Reply::Accepted { .. });
    let older = source.clone();
    let moved = carry(&source, &mut target);
    let Reply::Accepted { through, .. } = moved else {
        panic!("{moved:?}")
    };
    // The source loses that it was told, and goes on above; one of its letters has lost its body.
    for lost in [0, 1] {
        let mut source = older.clone();
        let mut target = target.clone();
        let moving = source.moves(QUEUE, 10)[0].moves[0].message;
        let dropped: BTreeSet<_> = [moving].into_iter().take(lost).collect();
        source.drop_messages(QUEUE, &dropped);
        source.pass_numbers();
        assert!(refused(&carry(&source, &mut target.clone())));
        assert!(agree(&source, &mut target));
        assert!(!agree(&source, &mut target), "they have agreed just now");
        assert!(!refused(&carry(&source, &mut target)));
        assert!(!agree(&source, &mut target), "nothing is left to agree on");
        target.check();
    }
    // Source and target forgot the lane, and the target lost that: the next lane goes on above.
    let settled = Command::MovesSettled {
        queue: QUEUE,
        target: TARGET,
        through,
    };
    apply_at(&mut source, 50_000, &settled);
    source.pass_numbers();
    assert!(agree(&source, &mut target));
    receive(&mut source, 100_000);
    assert!(!refused(&carry(&source, &mut target)));
}

#[test]
fn numbers_that_only_others_name_are_known() {
    assert_eq!(shard().highest_number(), TARGET.0);
}

#[test]
fn a_catalog_that_lost_its_last_commands_tells_all_homes_again() {
    let mut catalog = Shard::new(ShardId::CATALOG, 2);
    let create = |name: &str| {
        Command::CreateQueue(CreateQueue {
            account: AccountId(1),
            name: QueueName::new(name).unwrap(),
            attributes: QueueAttributes {
                dead_letter: None,
                ..attributes()
            },
            dead_letter: None,
            queues_max: 100,
            reuse_after: Millis(0),
            avoid: Vec::new(),
        })
    };
    let created = |reply: Reply| match reply {
        Reply::Placed(Placed::Queue(queue)) => queue,
        other => panic!("{other:?}"),
    };
    let queue = created(apply_at(&mut catalog, 1_000, &create("orders")));
    let settled = Command::Settled {
        number: queue.queue.0,
        revision: queue.revision,
    };
    apply_at(&mut catalog, 1_000, &settled);
    assert!(catalog.unsettled().is_empty());

    catalog.tell_homes_again(500);
    let [again] = &catalog.unsettled()[..] else {
        panic!("one queue is to be told")
    };
    assert_eq!(again.number(), queue.queue.0);
    assert!(again.revision() > queue.revision + 1_000_000);
    let next = created(apply_at(&mut catalog, 1_000, &create("more")));
    assert!(next.queue.0 > 1_000_000, "more may have been placed");
}
