//! Long polls: when they end, and for whom. C82, C101–C105, C116.
//!
//! A receive is sent, and then a look at the queue over another connection: the server has one HTTP
//! thread, so when the look is answered the receive is waiting, and the clock may move.

use super::{
    answer::{NO_MESSAGE, NO_QUEUE},
    caller::{Caller, counts},
    world::World,
};

/// A receiver that waits at the server, as long as it asks for; `None`: as the queue says.
fn waiting(world: &World, wait: Option<&str>) -> Caller {
    let mut receiver = world.caller();
    receiver.attributes("q");
    let mut parameters = vec![("queueName", "q")];
    parameters.extend(wait.map(|wait| ("pollingWaitSeconds", wait)));
    let request = receiver.request("ReceiveMessage", &parameters);
    receiver.start(&request);
    receiver.neighbour().attributes("q");
    receiver
}

/// Asserts that a receiver gets nothing after exactly so many seconds.
#[track_caller]
fn ends_after(world: &World, mut receiver: Caller, seconds: u64) {
    if seconds > 0 {
        world.advance(seconds - 1);
        world.caller().attributes("q");
        assert!(receiver.connection.is_silent());
        world.advance(1);
    }
    receiver.finish().refused(NO_MESSAGE);
}

#[test]
fn c101_without_a_wait_an_empty_queue_answers_at_once() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("pollingWaitSeconds", "30")]);
    // The clock stands still: an answer at all is an answer at once.
    caller.receive("q").refused(NO_MESSAGE);
    caller.set("q", &[("pollingWaitSeconds", "0")]).done();
    caller
        .call("ReceiveMessage", &[("queueName", "q")])
        .refused(NO_MESSAGE);
    caller.batch_receive("q", "16").refused(NO_MESSAGE);
}

#[test]
fn c102_a_wait_ends_when_its_time_is_up() {
    let world = World::new();
    world.caller().create("q", &[]);
    for seconds in [1, 2, 10, 30] {
        let receiver = waiting(&world, Some(&seconds.to_string()));
        ends_after(&world, receiver, seconds);
    }
}

#[test]
fn c103_a_message_that_comes_during_a_wait_goes_to_one_receiver_at_once() {
    let world = World::new();
    let mut sender = world.caller();
    sender.create("q", &[]);
    let mut receivers: Vec<Caller> = (0..3).map(|_| waiting(&world, Some("20"))).collect();
    // The clock stands still, so that no wait ends by itself.
    for place in 0..3 {
        let id = sender.send("q", "x");
        // Who has waited longest is first.
        let received = receivers[place].finish().done();
        assert_eq!(received["msgId"], id.as_str());
        assert_eq!(received["dequeueCount"], 1);
        for other in &mut receivers[place + 1..] {
            assert!(other.connection.is_silent());
        }
    }
    assert_eq!(sender.counts("q"), counts(0, 3, 0));
}

#[test]
fn c103_a_message_that_becomes_active_during_a_wait_is_received() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "5")]);
    caller.send("q", "x");
    caller.receive("q").done();
    let mut receiver = waiting(&world, Some("20"));
    world.advance(5);
    assert_eq!(receiver.finish().done()["dequeueCount"], 2);
    let delayed = [("queueName", "q"), ("msgBody", "y"), ("delaySeconds", "3")];
    caller.call("SendMessage", &delayed).done();
    let mut receiver = waiting(&world, Some("20"));
    world.advance(3);
    assert_eq!(receiver.finish().done()["msgBody"], "y");
}

#[test]
fn c104_the_queues_own_wait_applies_unless_the_request_names_one() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("pollingWaitSeconds", "5")]);
    let receiver = waiting(&world, None);
    ends_after(&world, receiver, 5);
    let receiver = waiting(&world, Some("0"));
    ends_after(&world, receiver, 0);
    let receiver = waiting(&world, Some("12"));
    ends_after(&world, receiver, 12);
    caller.set("q", &[("pollingWaitSeconds", "7")]).done();
    let receiver = waiting(&world, None);
    ends_after(&world, receiver, 7);
}

#[test]
fn c105_a_wait_that_is_too_long_is_30_seconds() {
    let world = World::new();
    world.caller().create("q", &[]);
    for wait in ["30000", "31", "18446744073709551615"] {
        let receiver = waiting(&world, Some(wait));
        ends_after(&world, receiver, 30);
    }
}

#[test]
fn c106_a_waiting_batch_receive_ends_with_the_first_message() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let mut receiver = world.caller();
    receiver.attributes("q");
    let parameters = [
        ("queueName", "q"),
        ("numOfMsg", "16"),
        ("pollingWaitSeconds", "30"),
    ];
    let request = receiver.request("BatchReceiveMessage", &parameters);
    receiver.start(&request);
    caller.attributes("q");
    caller.send("q", "x");
    let received = receiver.finish().done();
    assert_eq!(received.texts("msgInfoList", "msgBody"), ["x"]);
}

#[test]
fn c082_a_wait_ends_when_its_queue_is_deleted() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let mut receivers = [waiting(&world, Some("30")), waiting(&world, Some("30"))];
    caller.delete_queue("q").done();
    for receiver in &mut receivers {
        receiver.finish().refused(NO_QUEUE);
    }
}

#[test]
fn c116_a_receiver_that_left_takes_no_message() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    for _ in 0..20 {
        drop(waiting(&world, Some("30")));
        caller.send("q", "x");
        // If the server heard of the message first, it takes the delivery back at once.
        let received = caller.receive_due("q");
        assert_eq!(received["dequeueCount"], 1);
        caller.delete("q", received.text("receiptHandle")).done();
    }
    // Someone who is still there gets it, though others before them have left.
    let left = waiting(&world, Some("30"));
    let mut stays = waiting(&world, Some("30"));
    drop(left);
    caller.send("q", "y");
    assert_eq!(stays.finish().done()["msgBody"], "y");
}
