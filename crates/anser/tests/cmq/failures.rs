//! What becomes of messages that could not be delivered, and what is told of it: beyond CMQ.

use serde_json::{Value, json};

use super::{
    answer::{NO_MESSAGE, Refusal},
    receiver::{ANSWER, Reply, texts},
    stage::{Stage, until, wait_for_failure},
    world::{START, World},
};

const SIMPLIFIED: (&str, &str) = ("notifyContentFormat", "SIMPLIFIED");
const BACK_OFF: (&str, &str) = ("notifyStrategy", "BACKOFF_RETRY");
const DEAD: (&str, &str) = ("deadLetterQueueName", "dead");
const NO_DEAD_LETTER_QUEUE: Refusal = (4000, "(10730)deadLetter queue not exist");
const IS_DEAD_LETTER_QUEUE: Refusal = (
    4000,
    "(10750)it is not allowed to be deleted when the queue is dead letter queue",
);

/// A stage with a dead-letter queue, whose receiver answers nothing but failures.
fn failing_into_dead(attributes: &[(&str, &str)]) -> Stage {
    let world = World::new();
    world.caller().create("dead", &[]);
    let mut all = vec![DEAD, SIMPLIFIED];
    all.extend(attributes);
    let stage = Stage::in_world(world, &all);
    stage.receiver.answer(Reply::Status(500));
    stage
}

#[test]
fn a_message_that_is_given_up_goes_to_the_dead_letter_queue() {
    let mut stage = failing_into_dead(&[BACK_OFF]);
    let id = stage.publish("body & tags");
    for attempt in 1..=3 {
        stage.settle(&id, attempt);
        stage.caller.receive("dead").refused(NO_MESSAGE);
        stage.world.advance(20);
    }
    let received = stage.caller.receive_due("dead");
    assert_eq!(received["msgBody"], "body & tags");
    assert_eq!(received["dequeueCount"], 1);
    assert_eq!(received["enqueueTime"], START + 60);
    // It is counted a moment after it has arrived.
    let shown = until(|| {
        let shown = stage.caller.subscription("t", "s");
        (shown["deadLetteredNum"] == 1).then_some(shown)
    });
    assert_eq!(shown["deadLetterQueueName"], "dead");
    assert_eq!(
        (&shown["givenUpNum"], &shown["deliveredNum"]),
        (&0.into(), &0.into())
    );
    stage.world.advance(100);
    stage.assert_pushes(4);
}

#[test]
fn a_message_that_is_too_old_goes_to_the_dead_letter_queue() {
    let mut stage = failing_into_dead(&[]);
    stage
        .caller
        .set_topic("t", &[("msgRetentionSeconds", "60")])
        .done();
    let id = stage.publish("x");
    stage.settle(&id, 1);
    let second = stage.publish("second");
    stage.world.advance(59);
    stage.settle(&id, 2);
    stage.settle(&second, 1);
    stage.caller.receive("dead").refused(NO_MESSAGE);
    stage.world.advance(3);
    let mut dead = stage.caller.arrived("dead", 2);
    dead.sort();
    assert_eq!(dead, ["second", "x"]);
    let shown = until(|| {
        let shown = stage.subscription();
        (shown["deadLetteredNum"] == 2).then_some(shown)
    });
    assert_eq!(
        (&shown["msgCount"], &shown["expiredNum"]),
        (&0.into(), &0.into())
    );
    let pushes = stage.assert_pushes(3);
    let mut bodies = texts(&pushes);
    bodies.sort_unstable();
    assert_eq!(bodies, ["second", "x", "x"]);
}

#[test]
fn a_dead_letter_queue_must_exist_and_stays_while_it_is_one() {
    let world = World::new();
    let mut caller = world.caller();
    let url = "http://subscriber.example/";
    caller.create("q", &[]);
    caller.create_topic("t", &[]);
    caller
        .subscribe("t", "s", url, &[DEAD])
        .refused(NO_DEAD_LETTER_QUEUE);
    let malformed = [("deadLetterQueueName", "a b")];
    let refusal = (4000, "(10020)queue name format error");
    caller.subscribe("t", "s", url, &malformed).refused(refusal);
    caller.subscribe("t", "s", url, &[]).done();
    assert_eq!(
        caller.subscription("t", "s")["deadLetterQueueName"],
        Value::Null
    );
    caller
        .set_subscription("t", "s", &[DEAD])
        .refused(NO_DEAD_LETTER_QUEUE);
    caller.create("dead", &[]);
    caller.set_subscription("t", "s", &[DEAD]).done();
    caller.set_subscription("t", "s", &[BACK_OFF]).done();
    assert_eq!(caller.subscription("t", "s")["deadLetterQueueName"], "dead");
    caller.delete_queue("dead").refused(IS_DEAD_LETTER_QUEUE);
    let none = [("deadLetterQueueName", "")];
    caller.set_subscription("t", "s", &none).done();
    assert_eq!(
        caller.subscription("t", "s")["deadLetterQueueName"],
        Value::Null
    );
    caller.delete_queue("dead").done();
}

#[test]
fn the_last_failures_are_shown_the_newest_first() {
    let mut stage = Stage::new(&[BACK_OFF, SIMPLIFIED]);
    assert_eq!(stage.subscription()["lastFailures"], json!([]));
    stage.receiver.answer(Reply::Status(503));
    let id = stage.publish("x");
    stage.settle(&id, 1);
    stage.receiver.answer(Reply::Close);
    stage.world.advance(20);
    stage.settle(&id, 2);
    let mut failures = stage.subscription()["lastFailures"].clone();
    for failure in failures.as_array_mut().unwrap() {
        let took = failure.as_object_mut().unwrap().remove("milliseconds");
        // In real time, and no more than the time limit.
        assert!(took.unwrap().as_u64().unwrap() < 15_000);
    }
    let wanted = json!([
        {
            "time": START + 20,
            "msgId": id,
            "attempt": 2,
            "reason": "the connection was closed before the answer",
            "answer": "",
        },
        {
            "time": START,
            "msgId": id,
            "attempt": 1,
            "status": 503,
            "reason": "status 503",
            "answer": ANSWER,
        },
    ]);
    assert_eq!(failures, wanted);
}

#[test]
fn ten_failures_are_kept() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Status(500));
    let id = stage.publish("x");
    for attempt in 1..=11 {
        stage.settle(&id, attempt);
        stage.world.advance(513);
    }
    stage.settle(&id, 12);
    let failures = stage.subscription()["lastFailures"].clone();
    let attempts = failures.as_array().unwrap().iter();
    let attempts: Vec<u64> = attempts
        .map(|failure| failure["attempt"].as_u64().unwrap())
        .collect();
    assert_eq!(attempts, (3..=12).rev().collect::<Vec<u64>>());
}

/// Subscribes and publishes; why the message does not arrive.
fn refused(world: &World, url: &str) -> String {
    let mut caller = world.caller();
    caller.create_topic("t", &[]);
    caller.subscribe("t", "s", url, &[]).done();
    let id = caller.publish("t", "x");
    wait_for_failure(&mut caller, ("t", "s"), &id, 1);
    let shown = caller.subscription("t", "s");
    assert_eq!(shown["msgCount"], 1);
    let failure = &shown["lastFailures"][0];
    assert_eq!(failure.get("status"), None);
    failure["reason"].as_str().unwrap().to_owned()
}

/// All that whoever subscribed learns of an address that is not dialled.
const NO_ADDRESS: &str = "the host has no address that may be pushed to";

#[test]
fn a_private_address_is_not_dialled_unless_it_is_allowed() {
    let world = World::configured(|config| config.push.allow.clear());
    let receiver = world.receiver();
    let reason = refused(&world, &receiver.url("/"));
    assert_eq!(reason, NO_ADDRESS);
    let mut caller = world.caller();
    // Names have their tests in `crates/push`: not every machine knows one for itself.
    for (number, host) in ["127.1", "0x7f000001", "2130706433", "[::1]"]
        .into_iter()
        .enumerate()
    {
        let name = format!("s{number}");
        let port = receiver.host();
        let (_, port) = port.split_once(':').unwrap();
        let url = format!("http://{host}:{port}/");
        caller.subscribe("t", &name, &url, &[]).done();
        let id = caller.publish("t", "x");
        wait_for_failure(&mut caller, ("t", &name), &id, 1);
        let reason = caller.subscription("t", &name)["lastFailures"][0]["reason"].clone();
        assert_eq!(reason, NO_ADDRESS, "{host}");
    }
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn a_port_that_is_denied_is_not_dialled() {
    let world = World::new();
    let receiver = world.receiver();
    let port = receiver.host().rsplit_once(':').unwrap().1.parse().unwrap();
    let world = World::configured(|config| config.push.denied_ports = vec![port]);
    let reason = refused(&world, &receiver.url("/"));
    assert_eq!(reason, format!("port {port} is not allowed"));
    assert_eq!(receiver.connections(), 0);
}

#[test]
fn the_server_does_not_push_to_itself() {
    let world = World::alone();
    let address = world.address();
    let reason = refused(&world, &format!("http://{address}/"));
    assert_eq!(reason, NO_ADDRESS);
}
