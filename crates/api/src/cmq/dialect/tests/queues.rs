//! Making, changing and showing queues.

use anser_broker::{
    attributes::{DeadLetterAfter, DeadLetterPolicy, QueueAttributes, RetentionFrom},
    op::{DeadLetterChange, QueueCounts},
};

use super::*;
use crate::testing::QUEUE;

#[test]
fn a_queue_is_created_with_the_vendors_defaults() {
    let world = world();
    let created = op::QueueCreated { queue: QUEUE };
    *world.fake.answer.lock().unwrap() = Some(AnyOutput::CreateQueue(created));
    let answer = world.ask(CREATE);
    assert!(answer["queueId"].as_str().unwrap().starts_with("queue-"));
    let Some(AnyOperation::CreateQueue(create)) = world.fake.last() else {
        panic!("no create");
    };
    let defaults = create.attributes;
    assert_eq!(defaults.visibility, Millis(30_000));
    assert_eq!(defaults.retention, Millis(345_600_000));
    assert_eq!(defaults.retention_from, RetentionFrom::Sent);
    assert_eq!(defaults.delay_max, Millis(345_600_000));
    assert_eq!(defaults.body_bytes_max, 65_536);
    assert_eq!(defaults.backlog_max, 100_000_000);
    assert_eq!((defaults.wait, defaults.rewind), (Millis(0), Millis(0)));
    assert_eq!(defaults.check(), Ok(()));
    assert_eq!((create.queues_max, create.reuse_after), (10_000, Millis(0)));
}

#[test]
fn attributes_end_where_the_vendor_says() {
    let world = world();
    for (name, least, most) in [
        ("maxMsgHeapNum", 1_000_000_u64, 1_000_000_000_u64),
        ("pollingWaitSeconds", 0, 30),
        ("visibilityTimeout", 1, 43_200),
        ("maxMsgSize", 1_024, 1_048_576),
        ("msgRetentionSeconds", 60, 1_296_000),
        ("rewindSeconds", 0, 1_296_000),
    ] {
        let text = format!("(10350)parameter {name} value or length is out of range");
        let ask = |value: String| world.ask(&with(CREATE, &[(name, &value)]));
        assert_eq!(
            ask(least.to_string())["code"],
            4440,
            "{name}: the fake has no queue"
        );
        assert_eq!(ask(most.to_string())["code"], 4440, "{name}");
        assert_eq!(ask((most + 1).to_string())["message"], text);
        let below = least
            .checked_sub(1)
            .map_or("-1".to_owned(), |below| below.to_string());
        assert_eq!(ask(below)["message"], text);
        assert_eq!(codes(&ask("x".to_owned())), (4000, 10360));
    }
}

#[test]
fn setting_changes_what_is_given_and_shows_all() {
    let world = world();
    let attributes = QueueAttributes {
        dead_letter: Some(DeadLetterPolicy {
            queue: QUEUE,
            after: DeadLetterAfter::Receives(3),
        }),
        ..crate::cmq::attributes::defaults(&world.scope())
    };
    let queue = QUEUE;
    let changed = op::QueueChanged { queue, attributes };
    *world.fake.answer.lock().unwrap() = Some(AnyOutput::SetQueueAttributes(changed));
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":3}"#;
    let answer = world.ask(&[
        ("Action", "SetQueueAttributes"),
        ("queueName", "q"),
        ("msgRetentionSeconds", "60"),
        ("deadLetterPolicy", policy),
    ]);
    assert_eq!(answer["visibilityTimeout"], 30);
    assert_eq!(answer["deadLetterPolicy"]["maxReceiveCount"], 3);
    assert_eq!(
        answer["deadLetterPolicy"]["deadLetterQueue"],
        answer["queueId"]
    );
    let Some(AnyOperation::SetQueueAttributes(set)) = world.fake.last() else {
        panic!("no set");
    };
    assert_eq!(set.changes.retention, Some(Millis(60_000)));
    assert_eq!(set.changes.delay_max, Some(Millis(3_600_000)));
    assert_eq!((set.changes.wait, set.changes.visibility), (None, None));
    assert!(matches!(set.dead_letter, DeadLetterChange::Set(_)));
    world.ask(&[("Action", "UnbindDeadLetterQueue"), ("queueName", "q")]);
    let Some(AnyOperation::SetQueueAttributes(set)) = world.fake.last() else {
        panic!("no unbind");
    };
    assert_eq!(set.dead_letter, DeadLetterChange::Remove);
}

#[test]
fn a_description_has_every_field_that_clients_index() {
    let world = world();
    let description = op::QueueDescription {
        queue: QUEUE,
        name: QueueName::new("Orders").unwrap(),
        attributes: crate::cmq::attributes::defaults(&world.scope()),
        dead_letter: None,
        created: Timestamp(5_999),
        modified: Timestamp(7_000),
        counts: QueueCounts {
            ready: 1,
            leased: 2,
            delayed: 3,
            retired: 4,
            ..QueueCounts::default()
        },
    };
    *world.fake.answer.lock().unwrap() = Some(AnyOutput::DescribeQueue(description));
    let mut answer = world.ask(&[("Action", "GetQueueAttributes"), ("queueName", "orders")]);
    let object = answer.as_object_mut().unwrap();
    object.remove("requestId");
    object.remove("queueId");
    let expected = json!({
        "code": 0, "message": "", "codeDesc": "Success",
        "queueName": "Orders", "maxMsgHeapNum": 100_000_000, "pollingWaitSeconds": 0,
        "visibilityTimeout": 30, "maxMsgSize": 65_536, "msgRetentionSeconds": 345_600,
        "rewindSeconds": 0, "createTime": 5, "lastModifyTime": 7,
        "activeMsgNum": 1, "inactiveMsgNum": 2, "delayMsgNum": 3,
        "rewindMsgNum": 4, "rewindmsgNum": 4, "minMsgTime": NOW,
        "createUin": ACCOUNT.0, "Bps": 52_428_800, "qps": 5_000, "tags": [],
    });
    assert_eq!(answer, expected);
}

#[test]
fn lists_are_pages_and_never_null() {
    let world = world();
    let listed = op::QueuesListed {
        total: 7,
        queues: Vec::new(),
    };
    *world.fake.answer.lock().unwrap() = Some(AnyOutput::ListQueues(listed));
    let answer = world.ask(&[("Action", "ListQueue"), ("limit", "100"), ("offset", "3")]);
    assert_eq!(answer["totalCount"], 7);
    assert_eq!(answer["queueList"], json!([]));
    let Some(AnyOperation::ListQueues(list)) = world.fake.last() else {
        panic!("no list");
    };
    assert_eq!((list.offset, list.limit, list.search.as_str()), (3, 50, ""));
}

#[test]
fn rewinding_takes_seconds_and_milliseconds() {
    let world = world();
    for (text, expected) in [("1700000000", NOW), ("1700000000000", NOW)] {
        let rewind = [
            ("Action", "RewindQueue"),
            ("queueName", "q"),
            ("startConsumeTime", text),
        ];
        world.ask(&rewind);
        let Some(AnyOperation::RewindQueue(rewind)) = world.fake.last() else {
            panic!("no rewind");
        };
        assert_eq!(rewind.to, Timestamp(expected * 1000));
    }
    let form = signed_for(
        "POST",
        HOST,
        PATH,
        &[
            ("Action", "RewindQueue"),
            ("queueName", "q"),
            ("startConsumeTime", "\u{1}"),
        ],
    );
    assert_eq!(
        codes(&world.raw(form)),
        (4000, 10360),
        "the odd byte of the C++ client"
    );
}
