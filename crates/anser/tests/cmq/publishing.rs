//! Publishing: C155–C157, C159.

use super::{
    answer::{NO_MATCH, NO_MESSAGE, Refusal, out_of_range},
    caller::{Caller, borrowed, numbered},
    receiver::texts,
    stage::Stage,
    world::World,
};

const NO_SUBSCRIPTIONS: Refusal = (
    6030,
    "(10650)topic has no subscription, please create a subscription before publishing message",
);
const NO_ROUTING_KEY: Refusal = (4000, "(10700)parameters lack of routingKey");
const BODY_EMPTY: Refusal = (4000, "(10120)message body can't be empty");
const TOO_LARGE: Refusal = (4400, "(10230)exceed maximum message size");

/// A topic and a queue of one name, the queue subscribed.
fn subscribed(caller: &mut Caller, name: &str, kind: &str, filter: &[(&str, &str)]) {
    caller.create(name, &[]);
    caller.create_topic(name, &[("filterType", kind)]);
    caller.subscribe(name, "s", name, filter).done();
}

#[test]
fn c155_without_subscriptions_nothing_is_published() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c155", &[]);
    caller.create_topic("c155", &[]);
    caller
        .publish_with("c155", "1", &[])
        .refused(NO_SUBSCRIPTIONS);
    caller
        .batch_publish("c155", &["1", "2"], &[])
        .refused(NO_SUBSCRIPTIONS);
    assert_eq!(caller.topic("c155")["msgCount"], 0);
    caller.subscribe("c155", "s", "c155", &[]).done();
    caller.publish("c155", "3");
    assert_eq!(caller.arrived("c155", 1), ["3"]);
    caller.receive("c155").refused(NO_MESSAGE);
    caller.unsubscribe("c155", "s").done();
    caller
        .publish_with("c155", "4", &[])
        .refused(NO_SUBSCRIPTIONS);
}

#[test]
fn c156_a_message_that_nobody_wants_is_not_kept() {
    let world = World::shared();
    let mut caller = world.caller();
    subscribed(&mut caller, "c156", "1", &[("filterTag.1", "wanted")]);
    let other = [("msgTag.1", "other")];
    caller.publish_with("c156", "1", &[]).refused(NO_MATCH);
    caller.publish_with("c156", "2", &other).refused(NO_MATCH);
    caller
        .batch_publish("c156", &["3", "4"], &other)
        .refused(NO_MATCH);
    assert_eq!(caller.topic("c156")["msgCount"], 0);
    // Whoever would want them came too late.
    caller.subscribe("c156", "all", "c156", &[]).done();
    caller.publish("c156", "5");
    assert_eq!(caller.arrived("c156", 1), ["5"]);
    caller.receive("c156").refused(NO_MESSAGE);
    subscribed(&mut caller, "c156-keys", "2", &[("bindingKey.1", "a.*")]);
    let key = [("routingKey", "b.c")];
    caller
        .publish_with("c156-keys", "1", &key)
        .refused(NO_MATCH);
}

#[test]
fn c157_a_topic_with_routing_keys_wants_a_routing_key() {
    let world = World::shared();
    let mut caller = world.caller();
    subscribed(&mut caller, "c157", "2", &[("bindingKey.1", "#")]);
    for labels in [&[][..], &[("routingKey", "")], &[("msgTag.1", "a")]] {
        caller
            .publish_with("c157", "x", labels)
            .refused(NO_ROUTING_KEY);
        caller
            .batch_publish("c157", &["x"], labels)
            .refused(NO_ROUTING_KEY);
    }
    let dots = (4000, "(10691)too many delimeters");
    let many = ".".repeat(16);
    caller
        .publish_with("c157", "x", &[("routingKey", &many)])
        .refused(dots);
    let long = "k".repeat(65);
    caller
        .publish_with("c157", "x", &[("routingKey", &long)])
        .refused(out_of_range("routingKey"));
    assert_eq!(caller.topic("c157")["msgCount"], 0);
    let most = format!("{}{}", "a.".repeat(15), "k".repeat(34));
    // Tags mean nothing here.
    let labels = [("routingKey", most.as_str()), ("msgTag.1", "a")];
    caller.publish_with("c157", "1", &labels).done();
    assert_eq!(caller.arrived("c157", 1), ["1"]);
}

#[test]
fn c159_a_batch_has_an_id_for_each_body_in_order() {
    // One message after the other, so that they come in their order.
    let attributes = [
        ("notifyStrategy", "BACKOFF_RETRY"),
        ("notifyContentFormat", "SIMPLIFIED"),
    ];
    let mut stage = Stage::new(&attributes);
    let bodies: Vec<String> = (1..=16).map(|number| format!("body {number}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let published = stage.caller.batch_publish("t", &bodies, &[]).done();
    let ids = published.texts("msgList", "msgId");
    let pushes = stage.receiver.wait_for(16);
    assert_eq!(texts(&pushes), bodies);
    let pushed: Vec<&str> = pushes.iter().map(|push| push.message()).collect();
    assert_eq!(pushed, ids);
    let mut unique = ids.clone();
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), 16);
}

#[test]
fn the_tags_of_a_batch_are_those_of_each_body() {
    let attributes = [
        ("filterTag.1", "b"),
        ("notifyStrategy", "BACKOFF_RETRY"),
        ("notifyContentFormat", "SIMPLIFIED"),
    ];
    let mut stage = Stage::new(&attributes);
    let tags = [("msgTag.0", "a"), ("msgTag.1", "b")];
    let bodies = ["1", "2", "3"];
    stage.caller.batch_publish("t", &bodies, &tags).done();
    let pushes = stage.receiver.wait_for(3);
    assert_eq!(texts(&pushes), bodies);
    for push in &pushes {
        assert_eq!(push.header("x-cmq-message-tag"), "a, b");
    }
    stage
        .caller
        .batch_publish("t", &bodies, &[("msgTag.1", "a")])
        .refused(NO_MATCH);
    stage.assert_pushes(3);
}

#[test]
fn a_batch_is_published_whole_or_not() {
    let world = World::shared();
    let mut caller = world.caller();
    subscribed(&mut caller, "whole", "1", &[]);
    let large = "x".repeat(65_537);
    caller
        .batch_publish("whole", &["1", &large], &[])
        .refused(TOO_LARGE);
    caller
        .batch_publish("whole", &["1", ""], &[])
        .refused(BODY_EMPTY);
    caller
        .batch_publish("whole", &["1"; 17], &[])
        .refused((4000, "(10370)msgBody parameter batch size is out of range"));
    let megabyte = "x".repeat((1 << 20) / 16 + 1);
    caller
        .batch_publish("whole", &[megabyte.as_str(); 16], &[])
        .refused((4470, "(10300)total message size exceed 1MB"));
    assert_eq!(caller.topic("whole")["msgCount"], 0);
    caller.publish("whole", "2");
    assert_eq!(caller.arrived("whole", 1), ["2"]);
    caller.receive("whole").refused(NO_MESSAGE);
}

#[test]
fn a_message_has_a_body_of_at_most_the_topics_size() {
    let world = World::shared();
    let mut caller = world.caller();
    subscribed(&mut caller, "sizes", "1", &[]);
    caller.publish_with("sizes", "", &[]).refused(BODY_EMPTY);
    // In bytes, and not in characters.
    let body = "é".repeat(32_768);
    let longer = format!("{body}!");
    caller
        .publish_with("sizes", &longer, &[])
        .refused(TOO_LARGE);
    caller.publish("sizes", &body);
    assert_eq!(caller.arrived("sizes", 1), [body]);
}

#[test]
fn a_message_has_at_most_five_tags_of_16_characters() {
    let world = World::shared();
    let mut caller = world.caller();
    let last = "é".repeat(16);
    subscribed(&mut caller, "tags", "1", &[("filterTag.1", &last)]);
    let five = ["a", "b", "c", "d", &last];
    let tags = numbered("msgTag", &five);
    caller.publish_with("tags", "1", &borrowed(&tags)).done();
    let tags = numbered("msgTag", &["a", "b", "c", "d", "e", &last]);
    caller
        .publish_with("tags", "2", &borrowed(&tags))
        .refused((4000, "(10720)too many msgTag"));
    for tag in [&"t".repeat(17), ""] {
        caller
            .publish_with("tags", "3", &[("msgTag.1", tag), ("msgTag.2", &last)])
            .refused(out_of_range("msgTag"));
    }
    assert_eq!(caller.arrived("tags", 1), ["1"]);
    caller.receive("tags").refused(NO_MESSAGE);
}
