//! Deleting by receipt handle: C97–C100, C110–C113.

use super::{
    answer::{Answer, BAD_RECEIPT, NO_MESSAGE, Refusal},
    caller::{Caller, counts},
    world::World,
};

const MALFORMED: Refusal = (4000, "(10470)receiptHandle error");
const SOME_FAILED: Refusal = (6010, "(10150)delete message partially failed");
const ALL_FAILED: Refusal = (6020, "(10290)batch delete message failed");

fn handle(received: &Answer) -> &str {
    received.text("receiptHandle")
}

/// Receives all messages of a queue; their handles.
fn handles(caller: &mut Caller, queue: &str) -> Vec<String> {
    let received = caller.batch_receive(queue, "16").done();
    received.texts("msgInfoList", "receiptHandle")
}

#[test]
fn c097_the_newest_handle_deletes_before_the_message_is_seen_again() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.send("q", "x");
    caller.receive("q").done();
    world.advance(10);
    let newest = caller.receive_due("q");
    world.advance(9);
    caller.delete("q", handle(&newest)).done();
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
    world.advance(60);
    caller.receive("q").refused(NO_MESSAGE);
    caller.delete("q", handle(&newest)).refused(BAD_RECEIPT);
}

#[test]
fn c098_an_old_handle_does_not_delete() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.send("q", "x");
    let old = caller.receive("q").done();
    world.advance(10);
    let newest = caller.receive_due("q");
    caller.delete("q", handle(&old)).refused(BAD_RECEIPT);
    assert_eq!(caller.counts("q"), counts(0, 1, 0));
    caller.delete("q", handle(&newest)).done();
}

#[test]
fn c099_a_handle_dies_when_the_message_is_seen_again() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("visibilityTimeout", "10")]);
    caller.send("q", "x");
    let received = caller.receive("q").done();
    world.advance(10);
    caller.delete("q", handle(&received)).refused(BAD_RECEIPT);
    assert_eq!(caller.counts("q"), counts(1, 0, 0));
    assert_eq!(caller.receive_due("q")["dequeueCount"], 2);
}

#[test]
fn c100_a_malformed_handle_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c100", &[]);
    caller.create("c100-other", &[]);
    caller.send("c100", "x");
    let received = caller.receive("c100").done();
    let before = caller.picture("c100");
    let long = "1".repeat(20);
    let padded = format!("0{}", handle(&received));
    for bad in [
        "",
        "x",
        "-1",
        "+1",
        "1.0",
        "0x1",
        " 1",
        "9223372036854775808",
        &long,
        &padded,
    ] {
        caller.delete("c100", bad).refused(MALFORMED);
    }
    // Well-formed, but nobody's, or another queue's.
    for stranger in ["0", "1", "9223372036854775807"] {
        caller.delete("c100", stranger).refused(BAD_RECEIPT);
    }
    caller
        .delete("c100-other", handle(&received))
        .refused(BAD_RECEIPT);
    assert_eq!(caller.picture("c100"), before);
    caller.delete("c100", handle(&received)).done();
}

#[test]
fn c110_a_batch_of_good_handles_is_deleted() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c110", &[]);
    for count in [1, 16] {
        caller.batch_send("c110", &vec!["x"; count]).done();
        let handles = handles(&mut caller, "c110");
        let handles: Vec<&str> = handles.iter().map(String::as_str).collect();
        assert_eq!(handles.len(), count);
        let answer = caller.batch_delete("c110", &handles).done();
        assert!(answer.fields().is_empty());
        assert_eq!(caller.counts("c110"), counts(0, 0, 0));
    }
}

#[test]
fn c111_good_handles_are_deleted_among_bad_ones() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    caller.batch_send("q", &["a", "b", "c"]).done();
    let handles = handles(&mut caller, "q");
    caller.delete("q", &handles[1]).done();
    let all = [&handles[0], "17", &handles[1], "no handle", &handles[2]];
    let answer = caller.batch_delete("q", &all).refused(SOME_FAILED);
    let failed = answer.texts("errorList", "receiptHandle");
    assert_eq!(failed, ["17", handles[1].as_str(), "no handle"]);
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
    world.advance(60);
    caller.receive("q").refused(NO_MESSAGE);
}

#[test]
fn c111_a_handle_given_twice_is_deleted_once() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c111", &[]);
    caller.send("c111", "x");
    let handles = handles(&mut caller, "c111");
    let answer = caller.batch_delete("c111", &[&handles[0], &handles[0]]);
    let answer = answer.refused(SOME_FAILED);
    assert_eq!(
        answer.texts("errorList", "receiptHandle"),
        [handles[0].as_str()]
    );
    assert_eq!(caller.counts("c111"), counts(0, 0, 0));
}

#[test]
fn c112_a_batch_of_bad_handles_fails_whole() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c112", &[]);
    caller.send("c112", "x");
    caller.receive("c112").done();
    let before = caller.picture("c112");
    for bad in [
        &["17"][..],
        &["1", "2", "3"],
        &["x"],
        &["x", "4"],
        &["", "y"],
    ] {
        let answer = caller.batch_delete("c112", bad).refused(ALL_FAILED);
        assert_eq!(answer.texts("errorList", "receiptHandle"), bad);
    }
    assert_eq!(caller.picture("c112"), before);
}

#[test]
fn c113_each_failure_holds_code_message_and_handle() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c113", &[]);
    let answer = caller
        .batch_delete("c113", &["17", "x"])
        .refused(ALL_FAILED);
    let list = answer.list("errorList");
    let (stranger, malformed) = (&list[0], &list[1]);
    assert_eq!(stranger["code"], BAD_RECEIPT.0);
    assert_eq!(stranger["message"], BAD_RECEIPT.1);
    assert_eq!(stranger["receiptHandle"], "17");
    assert_eq!(malformed["code"], MALFORMED.0);
    assert_eq!(malformed["message"], MALFORMED.1);
    assert_eq!(malformed["receiptHandle"], "x");
}
