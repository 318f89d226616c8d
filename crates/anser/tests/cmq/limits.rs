//! Limits of queues that fill up: C88, C119, C209–C212. Each refusal leaves everything as it was.

use anser_api::Rates;

use super::{
    answer::{NO_MESSAGE, Refusal},
    caller::counts,
    world::{World, usual_key},
};

const FULL: Refusal = (4410, "(10240)reach maximum retention number of message");
const TOO_MANY: Refusal = (
    6070,
    "(10690)too many unacked(inactive) messages or delayed messages",
);
pub(crate) const THROTTLED: Refusal = (4420, "(10250)qps throttling");

#[test]
fn c088_a_full_queue_takes_no_more() {
    let world = World::adjusted(|_| {}, |cmq| cmq.backlog_least = 1);
    let mut caller = world.caller();
    caller.create("q", &[("maxMsgHeapNum", "4")]);
    caller.batch_send("q", &["a", "b"]).done();
    caller.receive("q").done();
    let delayed = [
        ("queueName", "q"),
        ("msgBody", "c"),
        ("delaySeconds", "100"),
    ];
    caller.call("SendMessage", &delayed).done();
    let before = caller.picture("q");
    caller.batch_send("q", &["d", "e"]).refused(FULL);
    assert_eq!(caller.picture("q"), before, "a batch goes in whole or not");
    caller.send("q", "d");
    assert_eq!(
        caller.counts("q"),
        counts(2, 1, 1),
        "received and delayed ones count"
    );
    let before = caller.picture("q");
    caller
        .call("SendMessage", &[("queueName", "q"), ("msgBody", "e")])
        .refused(FULL);
    caller.call("SendMessage", &delayed).refused(FULL);
    assert_eq!(caller.picture("q"), before);
    caller.consume("q");
    caller.send("q", "e");
    caller.set("q", &[("maxMsgHeapNum", "5")]).done();
    caller.send("q", "f");
}

#[test]
fn c119_a_queue_hands_out_only_so_many_messages_at_once() {
    let world = World::configured(|config| config.api.in_flight_messages = 3);
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.batch_send("q", &["x"; 10]).done();
    caller.receive("q").done();
    // A batch gets what is left.
    let received = caller.batch_receive("q", "16").done();
    assert_eq!(received.list("msgInfoList").len(), 2);
    let before = caller.picture("q");
    caller.receive("q").refused(TOO_MANY);
    caller.batch_receive("q", "16").refused(TOO_MANY);
    let wait = [("queueName", "q"), ("pollingWaitSeconds", "30")];
    caller.call("ReceiveMessage", &wait).refused(TOO_MANY);
    assert_eq!(caller.picture("q"), before);
    let handles = received.texts("msgInfoList", "receiptHandle");
    caller.delete("q", &handles[0]).done();
    caller.receive("q").done();
    world.advance(10);
    let received = caller.batch_receive_due("q");
    assert_eq!(received.list("msgInfoList").len(), 3);
}

#[test]
fn c119_a_queue_takes_only_so_many_delayed_messages() {
    let world = World::configured(|config| config.api.delayed_messages = 2);
    let mut caller = world.caller();
    caller.create("q", &[]);
    let delayed = [("queueName", "q"), ("msgBody", "x"), ("delaySeconds", "10")];
    caller.call("SendMessage", &delayed).done();
    let before = caller.picture("q");
    let batch = [
        ("queueName", "q"),
        ("msgBody.1", "x"),
        ("msgBody.2", "y"),
        ("delaySeconds", "9"),
    ];
    caller.call("BatchSendMessage", &batch).refused(TOO_MANY);
    assert_eq!(caller.picture("q"), before);
    caller.call("SendMessage", &delayed).done();
    let before = caller.picture("q");
    caller.call("SendMessage", &delayed).refused(TOO_MANY);
    assert_eq!(caller.picture("q"), before);
    caller.send("q", "now");
    world.advance(10);
    caller.call("SendMessage", &delayed).done();
}

#[test]
fn c209_an_account_has_only_so_many_queues() {
    let world = World::configured(|config| config.api.queues = 2);
    let mut caller = world.caller();
    caller.create("a", &[]);
    caller.create("b", &[]);
    let before = caller.call("ListQueue", &[]).done().fields();
    let refusal = (4450, "(10220)number of queues has reached the limit");
    caller
        .call("CreateQueue", &[("queueName", "c")])
        .refused(refusal);
    assert_eq!(caller.call("ListQueue", &[]).done().fields(), before);
    caller.send("a", "x");
    caller.delete_queue("b").done();
    caller.create("c", &[]);
}

#[test]
fn c210_an_excess_of_messages_is_refused() {
    let world = World::new();
    let mut observer = world.caller();
    observer.create("q", &[]);
    observer.create("other", &[]);
    observer.batch_send("q", &["x"; 16]).done();
    let port = limited(&world, 1, 1_000_000);
    let mut caller = world.caller_at(&port);
    // 16 at a rate of 1: the next 15 seconds are spent, in each direction by itself.
    caller.batch_send("q", &["y"; 16]).done();
    let before = observer.picture("q");
    caller
        .call("SendMessage", &[("queueName", "q"), ("msgBody", "z")])
        .refused(THROTTLED);
    assert_eq!(observer.picture("q"), before);
    let received = caller.batch_receive("q", "16").done();
    let handles = received.texts("msgInfoList", "receiptHandle");
    let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
    let before = observer.picture("q");
    caller.receive("q").refused(THROTTLED);
    assert_eq!(observer.picture("q"), before);
    caller.batch_delete("q", &handles).done();
    let before = observer.picture("q");
    caller.delete("q", handles[0]).refused(THROTTLED);
    assert_eq!(observer.picture("q"), before);
    // Other queues and other ports are not held up.
    caller.send("other", "x");
    observer.send("q", "x");
}

#[test]
fn c210_an_excess_of_control_calls_is_refused() {
    let world = World::new();
    let mut observer = world.caller();
    observer.create("q", &[]);
    let port = limited(&world, 1_000_000, 1);
    let mut caller = world.caller_at(&port);
    let before = observer.picture("q");
    let text = "(10460)exceed interface frequency limit, please slow down";
    let mut refusals = 0;
    for _ in 0..20 {
        let answer = caller.set("q", &[]);
        if answer.code() != 0 {
            answer.refused((4480, text));
            refusals += 1;
        }
    }
    assert!(refusals > 0, "20 calls did not take 20 seconds");
    assert_eq!(observer.picture("q"), before);
    caller.send("q", "x");
}

#[test]
fn c211_a_batch_counts_each_of_its_messages() {
    let world = World::new();
    world.caller().create("q", &[]);
    // A rate of 4 allows four messages at once: single ones, or a batch.
    let port = limited(&world, 4, 1_000_000);
    let mut caller = world.caller_at(&port);
    caller.batch_send("q", &["x"; 16]).done();
    let single = [("queueName", "q"), ("msgBody", "y")];
    caller.call("SendMessage", &single).refused(THROTTLED);
    let port = limited(&world, 4, 1_000_000);
    let mut caller = world.caller_at(&port);
    for _ in 0..4 {
        caller.call("SendMessage", &single).done();
    }
}

#[test]
fn c212_the_name_of_a_deleted_queue_rests() {
    let world = World::configured(|config| config.api.name_reuse_seconds = 30);
    let mut caller = world.caller();
    caller.create("Orders", &[]);
    caller.send("Orders", "x");
    caller.delete_queue("Orders").done();
    let refusal = (
        6040,
        "(10660)it will take some time to release resources of previous queue before you create a \
         new one with the same name, please try later",
    );
    for name in ["Orders", "ORDERS"] {
        caller
            .call("CreateQueue", &[("queueName", name)])
            .refused(refusal);
    }
    caller.create("other", &[]);
    world.advance(29);
    caller
        .call("CreateQueue", &[("queueName", "Orders")])
        .refused(refusal);
    assert_eq!(caller.call("ListQueue", &[]).done()["totalCount"], 1);
    world.advance(1);
    caller.create("Orders", &[]);
    caller.receive("Orders").refused(NO_MESSAGE);
}

#[test]
fn c212_without_that_time_a_name_can_be_used_at_once() {
    let world = World::new();
    let mut caller = world.caller();
    for _ in 0..5 {
        caller.create("q", &[]);
        caller.delete_queue("q").done();
    }
}

/// A port with rates to a node without.
pub(crate) fn limited(world: &World, messages: u32, control: u32) -> anser_api::Server {
    let rates = Rates {
        messages_per_second: messages,
        account_messages_per_second: u32::MAX,
        control_per_second: control,
    };
    world.second_port(vec![usual_key()], Some(rates))
}
