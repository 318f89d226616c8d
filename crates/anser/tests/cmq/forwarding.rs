//! Deliveries into queues: C165, and what is in their way.

use super::{
    answer::{NO_MESSAGE, NO_TOPIC},
    caller::{Caller, counts},
    stage::{until, wait_until_empty},
    world::{START, World},
};

/// A topic `t` with a subscription `s` of a queue `q`.
fn subscribed(world: &World, queue: &[(&str, &str)]) -> Caller {
    let mut caller = world.caller();
    caller.create("q", queue);
    caller.create_topic("t", &[]);
    caller.subscribe("t", "s", "q", &[]).done();
    caller
}

fn bodies() -> Vec<String> {
    let all = (0..0x250).filter_map(char::from_u32).collect();
    let long = "0123456789".repeat(6_000);
    let texts = [
        "a&b=c+d%e f%20g",
        "topicName=x&queueName=y&Signature=z",
        "line\r\nline\n\ttab",
        "中文内容,句子。",
        "👩‍👩‍👧‍👦🏳️‍🌈",
        r#"{"json":"\"quoted\" \\ / \u0041"}"#,
        "@starts with an at sign",
        " blanks around ",
    ];
    let texts = texts.into_iter().map(str::to_owned);
    texts.chain([all, long]).collect()
}

#[test]
fn c165_a_body_enters_a_queue_unchanged() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c165", &[]);
    caller.create_topic("c165", &[]);
    caller.subscribe("c165", "s", "c165", &[]).done();
    let bodies = bodies();
    let mut published = Vec::new();
    for body in &bodies {
        let tags = [("msgTag.1", "tag")];
        let answer = caller.publish_with("c165", body, &tags).done();
        published.push(answer.text("msgId").to_owned());
    }
    for (body, id) in bodies.iter().zip(&published) {
        let received = caller.receive_due("c165");
        assert_eq!(received.text("msgBody").as_bytes(), body.as_bytes());
        assert_ne!(
            received["msgId"],
            id.as_str(),
            "it is a message of the queue"
        );
        assert_eq!(received["enqueueTime"], START);
        assert_eq!(received["dequeueCount"], 1);
        caller.delete("c165", received.text("receiptHandle")).done();
    }
    let shown = wait_until_empty(&mut caller, "c165", "s");
    assert_eq!(shown["deliveredNum"], bodies.len());
    assert_eq!(caller.counts("c165"), counts(0, 0, 0));
}

#[test]
fn c165_a_batch_enters_every_queue_in_its_order() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c165-batch", &[]);
    let queues = ["c165-batch-a", "c165-batch-b"];
    for queue in queues {
        caller.create(queue, &[]);
        caller.subscribe("c165-batch", queue, queue, &[]).done();
    }
    let mut bodies: Vec<String> = (0..15).map(|number| format!("{number}&{number}")).collect();
    bodies.push("=%".repeat(30_000));
    let given: Vec<&str> = bodies.iter().map(String::as_str).collect();
    caller.batch_publish("c165-batch", &given, &[]).done();
    for queue in queues {
        assert_eq!(caller.arrived(queue, 16), bodies);
        caller.receive(queue).refused(NO_MESSAGE);
    }
}

#[test]
fn a_full_queue_gets_the_rest_when_there_is_room() {
    let world = World::adjusted(|_| {}, |cmq| cmq.backlog_least = 1);
    let mut caller = subscribed(&world, &[("maxMsgHeapNum", "2")]);
    caller.batch_publish("t", &["1", "2", "3"], &[]).done();
    until(|| (caller.counts("q") == counts(2, 0, 0)).then_some(()));
    until(|| (caller.subscription("t", "s")["msgCount"] == 1).then_some(()));
    assert_eq!(caller.topic("t")["msgCount"], 1);
    assert_eq!(caller.arrived("q", 3), ["1", "2", "3"]);
    assert_eq!(wait_until_empty(&mut caller, "t", "s")["deliveredNum"], 3);
}

#[test]
fn a_message_that_is_too_large_for_a_queue_waits_and_holds_up_no_other() {
    let world = World::new();
    let mut caller = subscribed(&world, &[("maxMsgSize", "1024")]);
    let large = "x".repeat(1_025);
    caller.publish("t", &large);
    caller.publish("t", "small");
    assert_eq!(caller.arrived("q", 1), ["small"]);
    until(|| (caller.subscription("t", "s")["msgCount"] == 1).then_some(()));
    caller.set("q", &[("maxMsgSize", "2048")]).done();
    world.advance(60);
    assert_eq!(caller.arrived("q", 1), [large]);
    assert_eq!(wait_until_empty(&mut caller, "t", "s")["deliveredNum"], 2);
}

#[test]
fn a_queue_that_was_deleted_gets_its_messages_when_it_is_there_again() {
    let world = World::new();
    let mut caller = subscribed(&world, &[]);
    caller.delete_queue("q").done();
    assert_eq!(caller.subscriptions("t"), ["s"]);
    caller.publish("t", "1");
    caller.publish("t", "2");
    assert_eq!(caller.subscription("t", "s")["msgCount"], 2);
    caller.create("Q", &[]);
    assert_eq!(caller.arrived("q", 2), ["1", "2"]);
    caller.publish("t", "3");
    assert_eq!(caller.arrived("q", 1), ["3"]);
}

#[test]
fn c173_a_message_that_no_queue_took_is_gone_after_a_day() {
    let world = World::new();
    let mut caller = subscribed(&world, &[]);
    caller.delete_queue("q").done();
    caller.publish("t", "too old");
    world.advance(10);
    caller.publish("t", "just in time");
    world.advance(86_389);
    assert_eq!(caller.subscription("t", "s")["msgCount"], 2);
    world.advance(1);
    let shown = caller.subscription("t", "s");
    assert_eq!(
        (&shown["msgCount"], &shown["expiredNum"]),
        (&1.into(), &1.into())
    );
    assert_eq!(caller.topic("t")["msgCount"], 1);
    caller.create("q", &[]);
    assert_eq!(caller.arrived("q", 1), ["just in time"]);
    caller.receive("q").refused(NO_MESSAGE);
}

#[test]
fn c173_a_message_that_a_queue_refused_for_its_size_is_gone_after_a_day() {
    let world = World::new();
    let mut caller = subscribed(&world, &[("maxMsgSize", "1024")]);
    caller.publish("t", &"x".repeat(1_025));
    caller.publish("t", "small");
    assert_eq!(caller.arrived("q", 1), ["small"]);
    world.advance(86_400);
    let shown = wait_until_empty(&mut caller, "t", "s");
    assert_eq!(shown["expiredNum"], 1);
    caller.set("q", &[("maxMsgSize", "2048")]).done();
    caller.publish("t", "end");
    assert_eq!(caller.arrived("q", 1), ["end"]);
    caller.receive("q").refused(NO_MESSAGE);
}

#[test]
fn whoever_unsubscribes_leaves_what_did_not_arrive() {
    let world = World::new();
    let mut caller = subscribed(&world, &[]);
    caller.delete_queue("q").done();
    caller.publish("t", "1");
    assert_eq!(caller.topic("t")["msgCount"], 1);
    caller.unsubscribe("t", "s").done();
    assert_eq!(caller.topic("t")["msgCount"], 0);
    caller.create("q", &[]);
    caller.subscribe("t", "s", "q", &[]).done();
    caller.publish("t", "2");
    assert_eq!(caller.arrived("q", 1), ["2"]);
    caller.receive("q").refused(NO_MESSAGE);
    caller.unsubscribe("t", "s").done();
    caller.delete_topic("t").done();
    caller.publish_with("t", "3", &[]).refused(NO_TOPIC);
}

#[test]
fn a_subscription_sees_only_what_is_published_after_it() {
    let world = World::new();
    let mut caller = subscribed(&world, &[]);
    caller.create("late", &[]);
    caller.publish("t", "before");
    caller.subscribe("t", "late", "late", &[]).done();
    caller.publish("t", "after");
    assert_eq!(caller.arrived("late", 1), ["after"]);
    assert_eq!(caller.arrived("q", 2), ["before", "after"]);
    caller.receive("late").refused(NO_MESSAGE);
}
