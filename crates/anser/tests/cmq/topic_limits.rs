//! Limits of topics and subscriptions that fill up: C209–C212. Each refusal leaves everything as it was.

use super::{
    answer::Refusal,
    limits::{THROTTLED, limited},
    stage::wait_until_empty,
    world::World,
};

const TOO_MANY_SUBSCRIPTIONS: Refusal =
    (4500, "(10480)number of subscription has reached the limit");
const IN_RELEASE: Refusal = (
    6040,
    "(10660)It will take some time to release resources of previous topic before you can create a \
     new topic with the same name. Please try later.",
);
/// Nothing is published to it.
const URL: &str = "http://subscriber.example/";

#[test]
fn c209_an_account_has_only_so_many_topics() {
    let world = World::configured(|config| {
        config.api.topics = 2;
        config.api.queues = 2;
    });
    let mut caller = world.caller();
    caller.create_topic("a", &[]);
    caller.create_topic("b", &[]);
    let before = caller.call("ListTopic", &[]).done().fields();
    let refusal = (4450, "(10610)number of topics has reached the limit");
    let parameters = [("topicName", "c")];
    caller.call("CreateTopic", &parameters).refused(refusal);
    assert_eq!(caller.call("ListTopic", &[]).done().fields(), before);
    // Queues and topics are counted apart.
    caller.create("a", &[]);
    caller.create("b", &[]);
    caller.delete_topic("b").done();
    caller.create_topic("c", &[]);
}

#[test]
fn c209_a_topic_has_only_so_many_subscriptions() {
    let world = World::configured(|config| config.api.subscriptions = 2);
    let mut caller = world.caller();
    caller.create_topic("t", &[]);
    caller.create_topic("other", &[]);
    caller.subscribe("t", "a", URL, &[]).done();
    caller.subscribe("t", "b", URL, &[]).done();
    caller
        .subscribe("t", "c", URL, &[])
        .refused(TOO_MANY_SUBSCRIPTIONS);
    assert_eq!(caller.subscriptions("t"), ["a", "b"]);
    caller.subscribe("other", "c", URL, &[]).done();
    caller.unsubscribe("t", "a").done();
    caller.subscribe("t", "c", URL, &[]).done();
    assert_eq!(caller.subscriptions("t"), ["b", "c"]);
}

#[test]
fn c210_an_excess_of_published_messages_is_refused() {
    let world = World::new();
    let mut observer = world.caller();
    for name in ["t", "other"] {
        observer.create(name, &[]);
        observer.create_topic(name, &[]);
        observer.subscribe(name, "s", name, &[]).done();
    }
    let port = limited(&world, 1, 1_000_000);
    let mut caller = world.caller_at(&port);
    // 16 at a rate of 1: the next 15 seconds are spent.
    caller.batch_publish("t", &["x"; 16], &[]).done();
    assert_eq!(observer.arrived("t", 16), ["x"; 16]);
    wait_until_empty(&mut observer, "t", "s");
    let before = observer.subscription_picture("t", "s");
    caller.publish_with("t", "y", &[]).refused(THROTTLED);
    assert_eq!(observer.subscription_picture("t", "s"), before);
    // Other topics, the queue of the same name and other ports are not held up.
    caller.publish("other", "x");
    caller.send("t", "x");
    observer.publish("t", "x");
}

#[test]
fn c210_an_excess_of_control_calls_about_topics_is_refused() {
    let world = World::new();
    let mut observer = world.caller();
    observer.create("t", &[]);
    observer.create_topic("t", &[]);
    observer.subscribe("t", "s", "t", &[]).done();
    let port = limited(&world, 1_000_000, 1);
    let mut caller = world.caller_at(&port);
    let before = observer.topic_picture("t");
    let text = "(10460)exceed interface frequency limit, please slow down";
    let mut refusals = 0;
    for _ in 0..20 {
        let answer = caller.set_topic("t", &[]);
        if answer.code() != 0 {
            answer.refused((4480, text));
            refusals += 1;
        }
    }
    assert!(refusals > 0, "20 calls did not take 20 seconds");
    assert_eq!(observer.topic_picture("t"), before);
    caller.publish("t", "x");
}

#[test]
fn c211_a_batch_that_is_published_counts_each_of_its_messages() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    caller.create_topic("t", &[]);
    caller.subscribe("t", "s", "q", &[]).done();
    // A rate of 4 allows four messages at once: single ones, or a batch.
    let port = limited(&world, 4, 1_000_000);
    let mut caller = world.caller_at(&port);
    caller.batch_publish("t", &["x"; 16], &[]).done();
    caller.publish_with("t", "y", &[]).refused(THROTTLED);
    let port = limited(&world, 4, 1_000_000);
    let mut caller = world.caller_at(&port);
    for _ in 0..4 {
        caller.publish("t", "y");
    }
}

#[test]
fn c212_the_name_of_a_deleted_topic_rests() {
    let world = World::configured(|config| config.api.name_reuse_seconds = 30);
    let mut caller = world.caller();
    caller.create_topic("Orders", &[]);
    caller.delete_topic("Orders").done();
    for name in ["Orders", "ORDERS"] {
        let parameters = [("topicName", name)];
        caller.call("CreateTopic", &parameters).refused(IN_RELEASE);
    }
    // Other topics may come, and a queue of the same name.
    caller.create_topic("other", &[]);
    caller.create("Orders", &[]);
    world.advance(29);
    let parameters = [("topicName", "Orders")];
    caller.call("CreateTopic", &parameters).refused(IN_RELEASE);
    assert_eq!(caller.call("ListTopic", &[]).done()["totalCount"], 1);
    world.advance(1);
    caller.create_topic("Orders", &[]);
}

#[test]
fn c212_without_that_time_the_name_of_a_topic_can_be_used_at_once() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    for round in 0..5 {
        caller.create_topic("t", &[]);
        assert_eq!(caller.subscriptions("t"), [""; 0]);
        caller.subscribe("t", "s", "q", &[]).done();
        let body = round.to_string();
        caller.publish("t", &body);
        assert_eq!(caller.arrived("q", 1), [body]);
        caller.unsubscribe("t", "s").done();
        caller.delete_topic("t").done();
    }
}
