//! Turning a queue back: C122–C126.

use super::{
    answer::{Answer, NO_MESSAGE, Refusal},
    caller::{Caller, Counts, counts},
    world::{START, World},
};

const OUT_OF_RANGE: Refusal = (
    4000,
    "(10680)invalid rewind time, you can get the vaild range of that via GetQueueAttributes",
);
const NOT_REWINDABLE: Refusal = (6050, "(10670)your queue cannot be rewinded");

fn rewind(caller: &mut Caller, to: u64) -> Answer {
    let parameters = [("queueName", "q"), ("startConsumeTime", &to.to_string())];
    caller.call("RewindQueue", &parameters)
}

/// Sends a message each ten seconds and deletes it; the ids.
fn consumed(world: &World, caller: &mut Caller, bodies: &[&str]) -> Vec<String> {
    let mut ids = Vec::new();
    for body in bodies {
        caller.send("q", body);
        ids.push(caller.consume("q"));
        world.advance(10);
    }
    ids
}

#[test]
fn c122_deleted_messages_come_back_with_their_bodies_and_ids() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    let ids = consumed(&world, &mut caller, &["a", "b", "c"]);
    rewind(&mut caller, START + 10).done();
    let received = caller.batch_receive("q", "16").done();
    assert_eq!(received.texts("msgInfoList", "msgBody"), ["b", "c"]);
    assert_eq!(received.texts("msgInfoList", "msgId"), ids[1..]);
    for message in received.list("msgInfoList") {
        assert_eq!(message["dequeueCount"], 1, "counting begins anew");
        assert_eq!(message["firstDequeueTime"], START + 30);
    }
    assert_eq!(received.list("msgInfoList")[0]["enqueueTime"], START + 10);
    for handle in received.texts("msgInfoList", "receiptHandle") {
        caller.delete("q", &handle).done();
    }
    // And once more, from before.
    rewind(&mut caller, START).done();
    let received = caller.batch_receive("q", "16").done();
    assert_eq!(received.texts("msgInfoList", "msgId"), ids);
}

#[test]
fn c122_messages_that_were_not_consumed_stay_as_they_are() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create(
        "q",
        &[("rewindSeconds", "600"), ("visibilityTimeout", "600")],
    );
    consumed(&world, &mut caller, &["gone"]);
    caller.send("q", "held");
    let held = caller.receive("q").done();
    caller.send("q", "waits");
    rewind(&mut caller, START).done();
    assert_eq!(caller.counts("q"), counts(2, 1, 0));
    let received = caller.batch_receive("q", "16").done();
    assert_eq!(received.texts("msgInfoList", "msgBody"), ["gone", "waits"]);
    caller.delete("q", held.text("receiptHandle")).done();
}

#[test]
fn c122_the_time_may_be_in_milliseconds() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    consumed(&world, &mut caller, &["a", "b"]);
    rewind(&mut caller, (START + 10) * 1000).done();
    assert_eq!(caller.receive("q").done()["msgBody"], "b");
    caller.receive("q").refused(NO_MESSAGE);
}

#[test]
fn c123_a_queue_that_keeps_nothing_cannot_be_turned_back() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c123", &[]);
    for time in ["1700000000", "1600000000", "1"] {
        let parameters = [("queueName", "c123"), ("startConsumeTime", time)];
        caller
            .call("RewindQueue", &parameters)
            .refused(NOT_REWINDABLE);
    }
}

#[test]
fn c124_a_time_outside_the_range_is_refused() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    consumed(&world, &mut caller, &["a"]);
    caller.send("q", "b");
    world.advance(10);
    let before = caller.picture("q");
    // From as long ago as deleted messages are kept to the oldest message that is not deleted.
    let (now, oldest) = (START + 20, START + 10);
    assert_eq!(before["minMsgTime"], oldest);
    for time in [
        0,
        1,
        now - 601,
        oldest + 1,
        now,
        now + 1,
        (now - 601) * 1000,
        u64::MAX,
    ] {
        rewind(&mut caller, time).refused(OUT_OF_RANGE);
    }
    let negative = [("queueName", "q"), ("startConsumeTime", "-1")];
    caller.call("RewindQueue", &negative).refused(OUT_OF_RANGE);
    assert_eq!(caller.picture("q"), before);
    rewind(&mut caller, now - 600).done();
    rewind(&mut caller, START).done();
    caller.call("ClearQueue", &[("queueName", "q")]).done();
    // An empty queue can be turned back to any time up to now.
    rewind(&mut caller, now).done();
    rewind(&mut caller, now + 1).refused(OUT_OF_RANGE);
}

#[test]
fn c125_switching_it_off_forgets_at_once() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    consumed(&world, &mut caller, &["a", "b"]);
    assert_eq!(caller.counts("q").rewindable, 2);
    caller.set("q", &[("rewindSeconds", "0")]).done();
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
    rewind(&mut caller, START).refused(NOT_REWINDABLE);
    caller.set("q", &[("rewindSeconds", "600")]).done();
    rewind(&mut caller, START).done();
    caller.receive("q").refused(NO_MESSAGE);
}

#[test]
fn c126_deleted_messages_are_counted_while_they_are_kept() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "600")]);
    consumed(&world, &mut caller, &["a", "b", "c"]);
    caller.send("q", "d");
    let kept = |rewindable| Counts {
        rewindable,
        ..counts(1, 0, 0)
    };
    assert_eq!(caller.counts("q"), kept(3));
    let both = caller.attributes("q");
    assert_eq!(both["rewindMsgNum"], both["rewindmsgNum"]);
    world.advance(570);
    assert_eq!(caller.counts("q"), kept(2), "the first is 600 seconds old");
    world.advance(20);
    assert_eq!(caller.counts("q"), kept(0));
}
