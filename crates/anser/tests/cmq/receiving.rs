//! Receiving: what a message says, how long it is hidden, and who gets it. C92–C96, C106–C109, C117,
//! C118.

use std::collections::BTreeMap;

use super::{
    answer::{NO_MESSAGE, out_of_range},
    caller::counts,
    world::{START, World},
};

#[test]
fn c092_a_received_message_says_what_and_when() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let id = caller.send("q", "hello");
    world.advance(5);
    let received = caller.receive("q").done();
    assert_eq!(received.text("msgId"), id);
    assert_eq!(received.text("msgBody"), "hello");
    let handle = received.text("receiptHandle");
    assert!(
        handle.parse::<i64>().is_ok_and(|handle| handle >= 0),
        "{handle}"
    );
    assert_eq!(received.number("enqueueTime"), START);
    assert_eq!(received.number("firstDequeueTime"), START + 5);
    assert_eq!(received.number("nextVisibleTime"), START + 35);
    assert_eq!(received.number("dequeueCount"), 1);
    assert_eq!(received.fields().len(), 7);
}

#[test]
fn c093_a_received_message_is_hidden_and_then_received_again() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    let id = caller.send("q", "x");
    for count in 1..=5 {
        let received = caller.receive_due("q");
        assert_eq!(
            (received.text("msgId"), received.number("dequeueCount")),
            (id.as_str(), count)
        );
        caller.receive("q").refused(NO_MESSAGE);
        world.advance(9);
        caller.receive("q").refused(NO_MESSAGE);
        world.advance(1);
    }
}

#[test]
fn c094_a_message_says_when_it_will_be_seen_again() {
    let world = World::new();
    let mut caller = world.caller();
    for visibility in ["1", "30", "43200"] {
        caller.create("q", &[("visibilityTimeout", visibility)]);
        caller.send("q", "x");
        caller.send("q", "y");
        let now = world.now();
        let one = caller.receive("q").done();
        assert_eq!(
            (one.number("nextVisibleTime") - now).to_string(),
            visibility
        );
        let many = caller.batch_receive("q", "1").done();
        let next = many.list("msgInfoList")[0]["nextVisibleTime"]
            .as_u64()
            .unwrap();
        assert_eq!((next - now).to_string(), visibility);
        caller.delete_queue("q").done();
    }
}

#[test]
fn c095_the_first_delivery_keeps_its_time() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.send("q", "x");
    world.advance(3);
    caller.receive("q").done();
    world.advance(50);
    let again = caller.receive_due("q");
    assert_eq!(again["firstDequeueTime"], START + 3);
    assert_eq!(again["enqueueTime"], START);
    assert_eq!(again["nextVisibleTime"], START + 63);
}

#[test]
fn c096_each_delivery_has_a_handle_of_its_own() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.batch_send("q", &["x"; 8]).done();
    let mut handles = Vec::new();
    for _ in 0..5 {
        let received = caller.batch_receive_due("q");
        handles.extend(received.texts("msgInfoList", "receiptHandle"));
        world.advance(10);
    }
    handles.sort();
    handles.dedup();
    assert_eq!(handles.len(), 40);
}

#[test]
fn c106_a_batch_receive_takes_what_there_is_up_to_the_number() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c106", &[("pollingWaitSeconds", "30")]);
    caller.batch_send("c106", &["a", "b", "c", "d", "e"]).done();
    // It does not wait to be full: this clock stands still, so a wait would not end.
    let wait = ("pollingWaitSeconds", "30");
    let q = ("queueName", "c106");
    for (count, wanted) in [("2", vec!["a", "b"]), ("16", vec!["c", "d", "e"])] {
        let received = caller
            .call("BatchReceiveMessage", &[q, ("numOfMsg", count), wait])
            .done();
        assert_eq!(received.texts("msgInfoList", "msgBody"), wanted);
    }
}

#[test]
fn c107_a_batch_receive_takes_1_to_16() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c107", &[]);
    caller.batch_send("c107", &["x"; 16]).done();
    let before = caller.picture("c107");
    for count in ["0", "17", "-1", "1000000"] {
        caller
            .batch_receive("c107", count)
            .refused(out_of_range("numOfMsg"));
    }
    assert_eq!(caller.picture("c107"), before);
    caller.batch_receive("c107", "1").done();
    let received = caller.batch_receive("c107", "16").done();
    assert_eq!(received.list("msgInfoList").len(), 15);
}

#[test]
fn c108_a_batch_receive_of_nothing_is_no_message() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c108", &[]);
    let answer = caller.batch_receive("c108", "16").refused(NO_MESSAGE);
    assert!(answer["msgInfoList"].is_null());
}

#[test]
fn c109_members_of_a_batch_say_the_same_as_a_single_message() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c109", &[]);
    caller.send("c109", "x");
    let one = caller.receive("c109").done().fields();
    caller.batch_send("c109", &["y", "z"]).done();
    let many = caller.batch_receive("c109", "16").done();
    for member in many.list("msgInfoList") {
        let member = member.as_object().unwrap();
        assert_eq!(member.len(), 7);
        for (name, value) in &one {
            assert_eq!(member[name].is_string(), value.is_string(), "{name}");
            assert_eq!(member[name].is_u64(), value.is_u64(), "{name}");
        }
        assert_eq!(member["dequeueCount"], 1);
    }
}

#[test]
fn c117_no_two_receivers_hold_a_message_at_once() {
    const MESSAGES: usize = 160;
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    for _ in 0..MESSAGES / 16 {
        caller.batch_send("q", &["x"; 16]).done();
    }
    let receive = |single| {
        let mut caller = world.caller();
        let mut ids = Vec::new();
        loop {
            let answer = if single {
                caller.receive("q")
            } else {
                caller.batch_receive("q", "3")
            };
            if answer.code() != 0 {
                answer.refused(NO_MESSAGE);
                return ids;
            }
            if single {
                ids.push(answer.text("msgId").to_owned());
            } else {
                ids.extend(answer.texts("msgInfoList", "msgId"));
            }
        }
    };
    let mut holders: BTreeMap<String, usize> = BTreeMap::new();
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| scope.spawn(move || receive(number % 2 == 0)))
            .collect();
        for thread in threads {
            for id in thread.join().unwrap() {
                *holders.entry(id).or_default() += 1;
            }
        }
    });
    assert_eq!(holders.len(), MESSAGES);
    assert!(holders.values().all(|&holders| holders == 1), "{holders:?}");
}

#[test]
fn c118_a_message_disappears_when_it_is_too_old() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create(
        "q",
        &[("msgRetentionSeconds", "60"), ("visibilityTimeout", "3600")],
    );
    caller.send("q", "received");
    caller.send("q", "not received");
    let delayed = [
        ("queueName", "q"),
        ("msgBody", "delayed"),
        ("delaySeconds", "3600"),
    ];
    caller.call("SendMessage", &delayed).done();
    caller.receive("q").done();
    world.advance(59);
    caller.send("q", "young");
    assert_eq!(caller.counts("q"), counts(2, 1, 1));
    world.advance(1);
    assert_eq!(caller.receive("q").done()["msgBody"], "young");
    assert_eq!(caller.counts("q"), counts(0, 1, 0));
    world.advance(3600);
    caller.receive("q").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
}

#[test]
fn c118_a_shorter_retention_holds_for_messages_that_are_there() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    caller.send("q", "x");
    world.advance(100);
    caller.set("q", &[("msgRetentionSeconds", "101")]).done();
    assert_eq!(caller.counts("q"), counts(1, 0, 0));
    world.advance(1);
    caller.receive("q").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
}

#[test]
fn messages_come_in_the_order_in_which_they_were_sent() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.batch_send("q", &["a", "b", "c"]).done();
    assert_eq!(caller.receive("q").done()["msgBody"], "a");
    caller.send("q", "d");
    world.advance(10);
    // One that comes back keeps its place.
    let all = caller.batch_receive_due("q");
    assert_eq!(all.texts("msgInfoList", "msgBody"), ["a", "b", "c", "d"]);
}
