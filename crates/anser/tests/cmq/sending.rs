//! Sending, one message or a batch, now or later: C85–C87, C89–C91, C114, C115, C121.

use std::collections::BTreeSet;

use super::{
    answer::{NO_MESSAGE, Refusal, missing},
    caller::{Caller, counts},
    world::{START, World},
};

const EMPTY: Refusal = (4000, "(10120)message body can't be empty");
const TOO_LARGE: Refusal = (4400, "(10230)exceed maximum message size");
const DELAY: Refusal = (4000, "(10692)delay seconds is out of range");

fn send_delayed(caller: &mut Caller, queue: &str, delay: &str) -> super::answer::Answer {
    let parameters = [
        ("queueName", queue),
        ("msgBody", "x"),
        ("delaySeconds", delay),
    ];
    caller.call("SendMessage", &parameters)
}

#[test]
fn c085_message_ids_are_digits_and_unique() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c085-a", &[]);
    caller.create("c085-b", &[]);
    let mut ids = BTreeSet::new();
    for _ in 0..20 {
        for queue in ["c085-a", "c085-b"] {
            ids.insert(caller.send(queue, "x"));
            ids.extend(
                caller
                    .batch_send(queue, &["x"; 4])
                    .done()
                    .texts("msgList", "msgId"),
            );
        }
    }
    assert_eq!(ids.len(), 200);
    for id in ids {
        assert!(
            id.parse::<i64>().unwrap() > 0,
            "{id} fits what clients read it into"
        );
        assert!(id.bytes().all(|byte| byte.is_ascii_digit()));
    }
}

#[test]
fn c086_an_empty_body_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c086", &[]);
    let before = caller.picture("c086");
    caller
        .call("SendMessage", &[("queueName", "c086"), ("msgBody", "")])
        .refused(EMPTY);
    caller.batch_send("c086", &["x", "", "y"]).refused(EMPTY);
    caller.batch_send("c086", &[]).refused(missing("msgBody"));
    assert_eq!(caller.picture("c086"), before);
    caller.send("c086", " ");
}

#[test]
fn c087_a_body_of_exactly_the_largest_size_is_accepted() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c087", &[("maxMsgSize", "1024")]);
    // Two bytes a letter: bytes count, not letters.
    let (fits, letters) = ("é".repeat(512), "é".repeat(513));
    caller.send("c087", &fits);
    caller.send("c087", &"&".repeat(1024));
    let before = caller.picture("c087");
    for body in [letters.as_str(), &"x".repeat(1025), &"x".repeat(1 << 20)] {
        let parameters = [("queueName", "c087"), ("msgBody", body)];
        caller.call("SendMessage", &parameters).refused(TOO_LARGE);
    }
    assert_eq!(caller.picture("c087"), before);
    assert_eq!(caller.receive("c087").done()["msgBody"], fits.as_str());

    caller.set("c087", &[("maxMsgSize", "1048576")]).done();
    let largest = "x".repeat(1 << 20);
    caller.send("c087", &largest);
    caller.receive("c087").done();
    assert_eq!(caller.receive("c087").done()["msgBody"], largest.as_str());
    let more = "x".repeat((1 << 20) + 1);
    let parameters = [("queueName", "c087"), ("msgBody", more.as_str())];
    caller.call("SendMessage", &parameters).refused(TOO_LARGE);
}

#[test]
fn c089_a_batch_answers_in_the_order_of_its_bodies() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c089", &[]);
    let bodies: Vec<String> = (1..=16).map(|number| format!("body {number}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let ids = caller
        .batch_send("c089", &bodies)
        .done()
        .texts("msgList", "msgId");
    for (id, body) in ids.iter().zip(bodies) {
        let received = caller.receive("c089").done();
        assert_eq!(
            (received.text("msgId"), received.text("msgBody")),
            (id.as_str(), body)
        );
    }
}

#[test]
fn c090_a_batch_is_sent_whole_or_not_at_all() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c090", &[("maxMsgSize", "1024")]);
    let before = caller.picture("c090");
    let large = "x".repeat(1025);
    for bad in [large.as_str(), ""] {
        for place in [0, 7, 15] {
            let mut bodies = ["good"; 16];
            bodies[place] = bad;
            let refusal = if bad.is_empty() { EMPTY } else { TOO_LARGE };
            caller.batch_send("c090", &bodies).refused(refusal);
        }
    }
    assert_eq!(caller.picture("c090"), before);
}

#[test]
fn c091_a_batch_holds_at_most_a_mebibyte() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c091", &[("maxMsgSize", "1048576")]);
    let before = caller.picture("c091");
    let part = "x".repeat(1 << 16);
    let refusal = (4470, "(10300)total message size exceed 1MB");
    let mut bodies = [part.as_str(); 16];
    let longer = format!("{part}x");
    bodies[15] = &longer;
    caller.batch_send("c091", &bodies).refused(refusal);
    assert_eq!(caller.picture("c091"), before);
    caller.batch_send("c091", &[part.as_str(); 16]).done();
    assert_eq!(caller.counts("c091"), counts(16, 0, 0));
}

#[test]
fn c114_a_delayed_message_comes_after_its_delay() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    send_delayed(&mut caller, "q", "100").done();
    let batch = [
        ("queueName", "q"),
        ("msgBody.1", "y"),
        ("msgBody.2", "z"),
        ("delaySeconds", "50"),
    ];
    caller.call("BatchSendMessage", &batch).done();
    send_delayed(&mut caller, "q", "0").done();
    assert_eq!(caller.counts("q"), counts(1, 0, 3));
    caller.consume("q");
    world.advance(49);
    caller.receive("q").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(0, 0, 3));
    world.advance(1);
    let received = caller.batch_receive_due("q");
    assert_eq!(received.texts("msgInfoList", "msgBody"), ["y", "z"]);
    world.advance(49);
    assert_eq!(caller.counts("q").delayed, 1);
    world.advance(1);
    assert_eq!(caller.counts("q").delayed, 0);
    let bodies = caller.batch_receive_due("q");
    let first = &bodies.list("msgInfoList")[0];
    assert_eq!(
        (&first["msgBody"], &first["enqueueTime"]),
        (&"x".into(), &START.into())
    );
}

#[test]
fn c115_a_delay_out_of_range_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    for (retention, most) in [("60", 3_600), ("345600", 345_600), ("1296000", 1_296_000)] {
        caller.create("c115", &[("msgRetentionSeconds", retention)]);
        let before = caller.picture("c115");
        for delay in [
            "-1",
            &(most + 1).to_string(),
            "6048001",
            "99999999999999999999",
        ] {
            send_delayed(&mut caller, "c115", delay).refused(DELAY);
            let batch = [
                ("queueName", "c115"),
                ("msgBody.1", "y"),
                ("delaySeconds", delay),
            ];
            caller.call("BatchSendMessage", &batch).refused(DELAY);
        }
        assert_eq!(caller.picture("c115"), before);
        send_delayed(&mut caller, "c115", &most.to_string()).done();
        caller.delete_queue("c115").done();
    }
}

#[test]
fn c121_the_same_body_sent_twice_is_two_messages() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c121", &[]);
    // The very same bytes, signature and nonce included.
    let request = caller.request("SendMessage", &[("queueName", "c121"), ("msgBody", "x")]);
    let first = caller.ask(&request).done();
    let second = caller.ask(&request).done();
    assert_ne!(first["msgId"], second["msgId"]);
    assert_eq!(caller.counts("c121"), counts(2, 0, 0));
}
