//! When failed deliveries are tried again, and when they end: C171–C173.

use std::iter;

use serde_json::json;

use super::{
    receiver::{Reply, texts},
    stage::{Stage, until, wait_until_empty},
    world::{START, World},
};

const SIMPLIFIED: (&str, &str) = ("notifyContentFormat", "SIMPLIFIED");
const BACK_OFF: (&str, &str) = ("notifyStrategy", "BACKOFF_RETRY");

/// A stage whose receiver answers nothing but failures.
fn failing(attributes: &[(&str, &str)]) -> Stage {
    let stage = Stage::new(attributes);
    stage.receiver.answer(Reply::Status(500));
    stage
}

#[test]
fn c171_back_off_tries_three_times_more_and_goes_on() {
    let mut stage = failing(&[BACK_OFF, SIMPLIFIED]);
    let first = stage.publish("first");
    let second = stage.publish("second");
    for attempt in 1..=3 {
        stage.settle(&first, attempt);
        // A random wait of 10 to 20 seconds; meanwhile no other message is pushed.
        stage.world.advance_milliseconds(9_999);
        stage.assert_pushes(attempt);
        stage.world.advance_milliseconds(10_001);
        stage.receiver.wait_for(attempt + 1);
    }
    // The fourth failure ends it, and the next message does not wait.
    stage.settle(&second, 1);
    let pushes = stage.assert_pushes(5);
    assert_eq!(
        texts(&pushes),
        ["first", "first", "first", "first", "second"]
    );
    assert_eq!(stage.subscription()["givenUpNum"], 1);
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance(20);
    let shown = stage.wait_until_empty();
    assert_eq!(shown["deliveredNum"], 1);
    assert_eq!(texts(&stage.assert_pushes(6))[5], "second");
}

#[test]
fn c171_back_off_pushes_one_message_at_a_time() {
    let mut stage = Stage::new(&[BACK_OFF, SIMPLIFIED]);
    stage.receiver.answer(Reply::Hang);
    stage.publish("first");
    stage.publish("second");
    stage.receiver.wait_for(1);
    assert_eq!(texts(&stage.assert_pushes(1)), ["first"]);
}

/// The waits of C172, in seconds.
fn decay() -> impl Iterator<Item = u64> {
    let doubling = (0..10).map(|power| 1 << power);
    doubling.chain(iter::repeat(512)).take(176)
}

#[test]
fn c172_exponential_decay_tries_176_times_more() {
    let mut stage = failing(&[SIMPLIFIED]);
    let id = stage.publish("x");
    let mut wanted = vec![START * 1000];
    for (wait, attempt) in decay().zip(1..) {
        stage.settle(&id, attempt);
        stage.world.advance_milliseconds(wait * 1000 - 1);
        // Later all waits are alike, and that nothing comes too early is seen by its time.
        if attempt <= 12 {
            stage.assert_pushes(attempt);
        }
        stage.world.advance_milliseconds(1);
        stage.receiver.wait_for(attempt + 1);
        wanted.push(wanted[attempt - 1] + wait * 1000);
    }
    stage.settle(&id, 177);
    let shown = stage.subscription();
    assert_eq!(
        (&shown["msgCount"], &shown["givenUpNum"]),
        (&0.into(), &1.into())
    );
    let pushes = stage.assert_pushes(177);
    let times: Vec<u64> = pushes.iter().map(|push| push.at).collect();
    assert_eq!(times, wanted);
    assert_eq!(decay().sum::<u64>(), 86_015);
}

#[test]
fn c172_a_subscription_that_failed_is_held_back_and_gets_its_backlog_in_order() {
    let mut stage = failing(&[SIMPLIFIED]);
    let first = stage.publish("1");
    stage.settle(&first, 1);
    let backlog = ["2", "3", "4"].map(|body| stage.publish(body));
    stage.assert_pushes(1);
    stage.world.advance(2);
    // What failed before comes again, and two others are tried.
    stage.settle(&first, 2);
    for probe in &backlog[..2] {
        stage.settle(probe, 1);
    }
    stage.assert_pushes(4);
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance(3);
    stage.wait_until_empty();
    let pushes = stage.assert_pushes(8);
    let mut bodies = texts(&pushes);
    assert_eq!(bodies[0], "1");
    bodies.sort_unstable();
    assert_eq!(bodies, ["1", "1", "1", "2", "2", "3", "3", "4"]);
}

#[test]
fn c173_what_nobody_could_deliver_is_gone_after_a_day() {
    let mut stage = failing(&[SIMPLIFIED]);
    let first = stage.publish("first");
    stage.settle(&first, 1);
    let second = stage.publish("second");
    stage.world.advance(86_000);
    stage.settle(&first, 2);
    stage.settle(&second, 1);
    stage.world.advance(399);
    stage.settle(&first, 3);
    stage.settle(&second, 2);
    assert_eq!(stage.subscription()["msgCount"], 2);
    assert_eq!(stage.caller.topic("t")["msgCount"], 2);
    // The day has passed; a retry that was to come will not.
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance(1);
    stage.world.advance(10);
    let shown = stage.wait_until_empty();
    assert_eq!(
        (&shown["expiredNum"], &shown["givenUpNum"]),
        (&2.into(), &0.into())
    );
    assert_eq!(shown["deliveredNum"], 0);
    assert_eq!(stage.caller.topic("t")["msgCount"], 0);
    let pushes = stage.assert_pushes(5);
    let mut bodies = texts(&pushes);
    bodies.sort_unstable();
    assert_eq!(bodies, ["first", "first", "first", "second", "second"]);
}

#[test]
fn c173_a_topic_may_keep_messages_for_a_shorter_time() {
    let mut stage = failing(&[SIMPLIFIED]);
    stage
        .caller
        .set_topic("t", &[("msgRetentionSeconds", "60")])
        .done();
    let id = stage.publish("x");
    stage.settle(&id, 1);
    stage.world.advance(59);
    stage.settle(&id, 2);
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance(10);
    assert_eq!(stage.wait_until_empty()["expiredNum"], 1);
    stage.assert_pushes(2);
}

#[test]
fn the_strategy_can_be_changed_while_messages_wait() {
    let mut stage = failing(&[SIMPLIFIED]);
    let id = stage.publish("x");
    stage.settle(&id, 1);
    stage.caller.set_subscription("t", "s", &[BACK_OFF]).done();
    stage.world.advance(2);
    stage.settle(&id, 2);
    stage.world.advance_milliseconds(9_999);
    stage.assert_pushes(2);
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance_milliseconds(10_001);
    assert_eq!(stage.wait_until_empty()["deliveredNum"], 1);
}

#[test]
fn a_server_that_starts_again_delivers_what_it_had() {
    let mut stage = failing(&[SIMPLIFIED]);
    stage.caller.create("q", &[]);
    stage.caller.subscribe("t", "queue", "q", &[]).done();
    stage.caller.delete_queue("q").done();
    let first = stage.publish("first");
    stage.settle(&first, 1);
    stage.publish("second");
    let without_failures = |mut picture: serde_json::Map<String, serde_json::Value>| {
        picture.insert("lastFailures".into(), json!([]));
        picture
    };
    let topic = stage.caller.topic_picture("t");
    let before = without_failures(stage.caller.subscription_picture("t", "s"));
    assert_eq!(before["msgCount"], 2);
    stage.receiver.answer(Reply::Close);
    let mut stage = stage.restarted();
    assert_eq!(stage.caller.topic_picture("t"), topic);
    let after = without_failures(stage.caller.subscription_picture("t", "s"));
    assert_eq!(after, before);
    stage.receiver.answer(Reply::Status(200));
    // A push that the new server began may fail only after the clock has moved, and is then held back.
    let shown = until(|| {
        stage.world.advance(5);
        let shown = stage.subscription();
        (shown["msgCount"] == 0).then_some(shown)
    });
    assert_eq!(shown["deliveredNum"], 2);
    let pushes = stage.receiver.pushes();
    let messages: Vec<&str> = pushes
        .iter()
        .filter(|push| push.text() == "first")
        .map(|push| push.message())
        .collect();
    assert!(messages.len() >= 2);
    assert!(messages.iter().all(|id| *id == first));
    assert!(texts(&pushes).contains(&"second"));
    let caller = &mut stage.caller;
    caller.create("q", &[]);
    assert_eq!(caller.arrived("q", 2), ["first", "second"]);
    caller.publish("t", "third");
    assert_eq!(caller.arrived("q", 1), ["third"]);
    stage.wait_until_empty();
    assert_eq!(stage.receiver.pushes().last().unwrap().text(), "third");
}

#[test]
fn a_push_that_a_server_did_not_live_to_end_is_made_again() {
    let world = World::new();
    let mut caller = world.caller();
    let receiver = world.receiver();
    receiver.answer(Reply::Hang);
    caller.create_topic("t", &[]);
    caller
        .subscribe("t", "s", &receiver.url("/"), &[SIMPLIFIED])
        .done();
    let id = caller.publish("t", "x");
    receiver.wait_for(1);
    receiver.answer(Reply::Status(200));
    let world = world.unplugged();
    let mut caller = world.caller();
    // The old server's lease has to end: the longest time of a push, and half a minute.
    world.advance(46);
    let shown = wait_until_empty(&mut caller, "t", "s");
    assert_eq!(shown["deliveredNum"], 1);
    let pushes = receiver.wait_for(2);
    assert_eq!((pushes[1].message(), pushes[1].text()), (id.as_str(), "x"));
}
