//! Queues that are used, changed, emptied and ended: C78–C81, C83, C84.

use super::{
    answer::{BAD_RECEIPT, NO_MESSAGE, NO_QUEUE},
    caller::{Counts, counts},
    world::{START, World},
};

#[test]
fn c078_the_counts_follow_the_messages() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "20")]);
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
    caller.send("q", "a");
    caller.send("q", "b");
    let delayed = [("queueName", "q"), ("msgBody", "c"), ("delaySeconds", "10")];
    caller.call("SendMessage", &delayed).done();
    assert_eq!(caller.counts("q"), counts(2, 0, 1));
    let first = caller.receive("q").done();
    assert_eq!(caller.counts("q"), counts(1, 1, 1));
    world.advance(10);
    assert_eq!(caller.counts("q"), counts(2, 1, 0));
    caller.delete("q", first.text("receiptHandle")).done();
    assert_eq!(caller.counts("q"), counts(2, 0, 0));
    caller.batch_receive("q", "16").done();
    assert_eq!(caller.counts("q"), counts(0, 2, 0));
    world.advance(19);
    assert_eq!(caller.counts("q"), counts(0, 2, 0));
    world.advance(1);
    assert_eq!(caller.counts("q"), counts(2, 0, 0));
}

#[test]
fn c079_setting_an_attribute_changes_it_at_once_and_no_other() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("pollingWaitSeconds", "3"), ("maxMsgSize", "2048")]);
    let values = [
        ("maxMsgHeapNum", "2000000"),
        ("pollingWaitSeconds", "7"),
        ("visibilityTimeout", "77"),
        ("maxMsgSize", "4096"),
        ("msgRetentionSeconds", "7777"),
        ("rewindSeconds", "777"),
    ];
    for (name, value) in values {
        let mut wanted = caller.picture("q");
        let answer = caller.set("q", &[(name, value)]).done();
        assert_eq!(answer[name].to_string(), value);
        wanted[name] = value.parse().unwrap();
        assert_eq!(caller.picture("q"), wanted, "{name}");
    }
    // Zero is a value, and nothing is nothing.
    let before = caller.picture("q");
    caller.set("q", &[]).done();
    assert_eq!(caller.picture("q"), before);
    caller
        .set("q", &[("pollingWaitSeconds", "0"), ("rewindSeconds", "0")])
        .done();
    assert_eq!(caller.attributes("q")["pollingWaitSeconds"], 0);
    assert_eq!(caller.attributes("q")["rewindSeconds"], 0);
}

#[test]
fn c080_a_change_renews_the_time_of_change_alone() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    world.advance(100);
    caller.send("q", "x");
    let attributes = caller.attributes("q");
    assert_eq!(
        attributes["lastModifyTime"], START,
        "a message is no change"
    );
    caller.set("q", &[("visibilityTimeout", "7")]).done();
    let attributes = caller.attributes("q");
    assert_eq!(attributes["lastModifyTime"], START + 100);
    assert_eq!(attributes["createTime"], START);
}

#[test]
fn c081_a_deleted_queue_is_not_there() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c081", &[]);
    caller.send("c081", "x");
    let handle = caller
        .receive("c081")
        .done()
        .text("receiptHandle")
        .to_owned();
    caller.delete_queue("c081").done();
    let q = ("queueName", "c081");
    for (action, parameter) in [
        ("SendMessage", ("msgBody", "x")),
        ("BatchSendMessage", ("msgBody.1", "x")),
        ("ReceiveMessage", ("pollingWaitSeconds", "0")),
        ("ReceiveMessage", ("pollingWaitSeconds", "30")),
        ("BatchReceiveMessage", ("numOfMsg", "1")),
        ("DeleteMessage", ("receiptHandle", handle.as_str())),
        ("BatchDeleteMessage", ("receiptHandle.1", handle.as_str())),
        ("GetQueueAttributes", ("a", "b")),
        ("SetQueueAttributes", ("visibilityTimeout", "7")),
        ("ClearQueue", ("a", "b")),
        ("RewindQueue", ("startConsumeTime", "1700000000")),
        ("UnbindDeadLetterQueue", ("a", "b")),
        ("DeleteQueue", ("a", "b")),
        (
            "ListDeadLetterSourceQueues",
            ("deadLetterQueueName", "c081"),
        ),
    ] {
        caller.call(action, &[q, parameter]).refused(NO_QUEUE);
    }
    let listed = caller.call("ListQueue", &[("searchWord", "c081")]).done();
    assert_eq!(listed["totalCount"], 0);

    // A queue of the same name is another queue.
    caller.create("c081", &[]);
    caller.receive("c081").refused(NO_MESSAGE);
    caller.delete("c081", &handle).refused(BAD_RECEIPT);
}

#[test]
fn c083_a_bound_dead_letter_queue_cannot_be_deleted() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c083-dead", &[]);
    let policy = r#"{"deadLetterQueue":"c083-dead","policy":0,"maxReceiveCount":1}"#;
    caller.create("c083", &[("deadLetterPolicy", policy)]);
    let before = caller.picture("c083-dead");
    let text = "(10750)it is not allowed to be deleted when the queue is dead letter queue";
    caller.delete_queue("c083-dead").refused((4000, text));
    assert_eq!(caller.picture("c083-dead"), before);
    caller.delete_queue("c083").done();
    caller.delete_queue("c083-dead").done();
}

#[test]
fn c084_clearing_a_queue_takes_every_message() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    for body in ["deleted", "inactive", "active"] {
        caller.send("q", body);
    }
    caller.consume("q");
    let handle = caller.receive("q").done().text("receiptHandle").to_owned();
    let delayed = [
        ("queueName", "q"),
        ("msgBody", "delayed"),
        ("delaySeconds", "10"),
    ];
    caller.call("SendMessage", &delayed).done();
    let full = Counts {
        rewindable: 1,
        ..counts(1, 1, 1)
    };
    assert_eq!(caller.counts("q"), full);
    caller.call("ClearQueue", &[("queueName", "q")]).done();
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
    caller.delete("q", &handle).refused(BAD_RECEIPT);
    world.advance(60);
    caller.receive("q").refused(NO_MESSAGE);
    caller.send("q", "new");
    assert_eq!(caller.receive("q").done()["msgBody"], "new");
}
