//! Dead-letter queues: C127–C134.

use super::{
    answer::{NO_MESSAGE, Refusal},
    caller::{Caller, counts},
    world::{START, World},
};

const POLICY_PARAMETERS: Refusal = (4000, "(10720)deadLetterPolicy params error,please check it");
const NESTED: Refusal = (4000, "(10740)deadLetter queue is not allowed to nest");

fn after_receives(queue: &str, count: u64) -> String {
    format!(r#"{{"deadLetterQueue":"{queue}","policy":0,"maxReceiveCount":{count}}}"#)
}

fn after_seconds(queue: &str, seconds: u64) -> String {
    format!(r#"{{"deadLetterQueue":"{queue}","policy":1,"maxTimeToLive":{seconds}}}"#)
}

fn bind(caller: &mut Caller, queue: &str, policy: &str) -> super::answer::Answer {
    caller.set(queue, &[("deadLetterPolicy", policy)])
}

/// A world with the queue `q` and its dead-letter queue `dead`.
fn bound(policy: &str) -> (World, Caller) {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("dead", &[]);
    let attributes = [("deadLetterPolicy", policy), ("visibilityTimeout", "10")];
    caller.create("q", &attributes);
    (world, caller)
}

#[test]
fn c127_a_message_received_too_often_moves() {
    let (world, mut caller) = bound(&after_receives("dead", 2));
    let id = caller.send("q", "x");
    assert_eq!(caller.receive("q").done()["dequeueCount"], 1);
    world.advance(10);
    assert_eq!(caller.receive_due("q")["dequeueCount"], 2);
    world.advance(9);
    caller.receive("dead").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(0, 1, 0));
    world.advance(1);
    caller.receive("q").refused(NO_MESSAGE);
    let moved = caller.receive_due("dead");
    assert_eq!(moved["msgBody"], "x");
    assert_eq!(moved["dequeueCount"], 1);
    assert_eq!(moved["enqueueTime"], START + 20);
    assert_ne!(moved["msgId"], id.as_str(), "it is a new message");
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
}

#[test]
fn c127_a_message_deleted_in_time_does_not_move() {
    let (world, mut caller) = bound(&after_receives("dead", 1));
    caller.send("q", "x");
    caller.consume("q");
    world.advance(60);
    caller.receive("dead").refused(NO_MESSAGE);
}

#[test]
fn c128_a_message_that_is_too_old_moves() {
    let (world, mut caller) = bound(&after_seconds("dead", 300));
    caller.send("q", "never received");
    world.advance(299);
    caller.receive("dead").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(1, 0, 0));
    world.advance(1);
    assert_eq!(caller.receive_due("dead")["msgBody"], "never received");
    caller.receive("q").refused(NO_MESSAGE);
    assert_eq!(caller.counts("q"), counts(0, 0, 0));
}

#[test]
fn c129_a_seventh_source_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c129-dead", &[]);
    let policy = after_receives("c129-dead", 1);
    let sources: Vec<String> = (1..=7).map(|number| format!("c129-{number}")).collect();
    for source in &sources[..6] {
        caller.create(source, &[("deadLetterPolicy", &policy)]);
    }
    let refusal = (4000, "(10780)the deadLetter Queue bind too many times");
    let seventh = [
        ("queueName", sources[6].as_str()),
        ("deadLetterPolicy", &policy),
    ];
    caller.call("CreateQueue", &seventh).refused(refusal);
    caller.create(&sources[6], &[]);
    let before = caller.picture(&sources[6]);
    bind(&mut caller, &sources[6], &policy).refused(refusal);
    assert_eq!(caller.picture(&sources[6]), before);
    // Binding again what is bound is no seventh; and one that ends makes room.
    bind(&mut caller, &sources[0], &after_receives("c129-dead", 2)).done();
    caller.delete_queue(&sources[0]).done();
    bind(&mut caller, &sources[6], &policy).done();
}

#[test]
fn c130_dead_letter_queues_do_not_nest() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c130-a", &[]);
    caller.create(
        "c130-b",
        &[("deadLetterPolicy", &after_receives("c130-a", 1))],
    );
    caller.create("c130-c", &[]);
    let before = caller.picture("c130-c");
    bind(&mut caller, "c130-c", &after_receives("c130-b", 1)).refused(NESTED);
    assert_eq!(caller.picture("c130-c"), before);
    let parameters = [
        ("queueName", "c130-d"),
        ("deadLetterPolicy", &after_seconds("c130-b", 300)),
    ];
    caller.call("CreateQueue", &parameters).refused(NESTED);
    // The other way round: a dead-letter queue gets none of its own, least of all itself.
    bind(&mut caller, "c130-a", &after_receives("c130-c", 1)).refused(NESTED);
    bind(&mut caller, "c130-c", &after_receives("c130-c", 1)).refused(NESTED);
}

#[test]
fn c131_a_dead_letter_queue_must_exist() {
    let world = World::shared();
    let mut caller = world.caller();
    let refusal = (4000, "(10730)deadLetter queue not exist");
    let policy = after_receives("c131-none", 1);
    let parameters = [("queueName", "c131"), ("deadLetterPolicy", policy.as_str())];
    caller.call("CreateQueue", &parameters).refused(refusal);
    caller.create("c131", &[]);
    let before = caller.picture("c131");
    bind(&mut caller, "c131", &policy).refused(refusal);
    assert_eq!(caller.picture("c131"), before);
}

#[test]
fn c132_a_policy_that_is_none_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c132-dead", &[]);
    caller.create("c132", &[]);
    let before = caller.picture("c132");
    let not_json = (4000, "(10710)deadLetterPolicy must be a json string");
    let text = "(10760)the deadLetterPolicy must has deadLetterQueue member, only be a string";
    let no_queue = (4000, text);
    let text = "(10770)the deadLetterPolicy must has policy member , only set 0 or 1";
    let no_kind = (4000, text);
    let (seconds, receives) = (
        |seconds| after_seconds("c132-dead", seconds),
        |count| after_receives("c132-dead", count),
    );
    let name = r#""deadLetterQueue":"c132-dead""#;
    for (policy, refusal) in [
        ("no".to_owned(), not_json),
        ("[1]".into(), not_json),
        ("{".into(), not_json),
        ("{}".into(), no_queue),
        (r#"{"policy":0,"maxReceiveCount":3}"#.into(), no_queue),
        (
            r#"{"deadLetterQueue":5,"policy":0,"maxReceiveCount":3}"#.into(),
            no_queue,
        ),
        (format!(r#"{{{name},"maxReceiveCount":3}}"#), no_kind),
        (
            format!(r#"{{{name},"policy":2,"maxReceiveCount":3}}"#),
            no_kind,
        ),
        (format!(r#"{{{name},"policy":0}}"#), POLICY_PARAMETERS),
        (
            format!(r#"{{{name},"policy":1,"maxReceiveCount":3}}"#),
            POLICY_PARAMETERS,
        ),
        (receives(0), POLICY_PARAMETERS),
        (receives(1001), POLICY_PARAMETERS),
        (seconds(299), POLICY_PARAMETERS),
        (seconds(43_201), POLICY_PARAMETERS),
    ] {
        let parameters = [
            ("queueName", "c132-new"),
            ("deadLetterPolicy", policy.as_str()),
        ];
        caller.call("CreateQueue", &parameters).refused(refusal);
        bind(&mut caller, "c132", &policy).refused(refusal);
    }
    assert_eq!(caller.picture("c132"), before);
    for policy in [receives(1), receives(1000), seconds(300), seconds(43_200)] {
        bind(&mut caller, "c132", &policy).done();
    }
}

#[test]
fn c132_messages_must_be_able_to_reach_the_age_of_a_policy() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c132-age-dead", &[]);
    caller.create("c132-age", &[("msgRetentionSeconds", "600")]);
    let before = caller.picture("c132-age");
    let policy = after_seconds("c132-age-dead", 600);
    bind(&mut caller, "c132-age", &policy).refused(POLICY_PARAMETERS);
    assert_eq!(caller.picture("c132-age"), before);
    bind(
        &mut caller,
        "c132-age",
        &after_seconds("c132-age-dead", 599),
    )
    .done();
}

#[test]
fn c133_an_unbound_queue_moves_nothing() {
    let (world, mut caller) = bound(&after_receives("dead", 1));
    caller.send("q", "x");
    caller.receive("q").done();
    let answer = caller
        .call("UnbindDeadLetterQueue", &[("queueName", "q")])
        .done();
    let attributes = caller.attributes("q");
    assert_eq!(answer["queueId"], attributes["queueId"]);
    assert!(attributes["deadLetterPolicy"].is_null());
    world.advance(10);
    assert_eq!(caller.receive_due("q")["dequeueCount"], 2);
    caller.receive("dead").refused(NO_MESSAGE);
    caller.delete_queue("dead").done();
}

#[test]
fn c134_the_sources_of_a_dead_letter_queue_are_listed() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("dead", &[]);
    caller.create("stranger", &[]);
    let policy = after_receives("dead", 1);
    let names = ["orders-a", "orders-b", "invoices"];
    let ids = names.map(|name| {
        let created = caller.create(name, &[("deadLetterPolicy", &policy)]);
        created.text("queueId").to_owned()
    });
    let mut list = |parameters: &[(&str, &str)]| {
        let mut all = vec![("deadLetterQueueName", "dead")];
        all.extend(parameters);
        let listed = caller.call("ListDeadLetterSourceQueues", &all).done();
        let ids = listed.texts("queueList", "queueId");
        (
            listed.number("totalCount"),
            listed.texts("queueList", "queueName"),
            ids,
        )
    };
    let wanted = |total, range: std::ops::Range<usize>| {
        let names = names[range.clone()].iter().map(|&name| name.to_owned());
        (total, names.collect::<Vec<_>>(), ids[range].to_vec())
    };
    assert_eq!(list(&[]), wanted(3, 0..3));
    assert_eq!(list(&[("searchWord", "ORDERS")]), wanted(2, 0..2));
    assert_eq!(list(&[("offset", "1"), ("limit", "1")]), wanted(3, 1..2));
}

#[test]
fn a_policy_is_shown_with_the_id_of_its_queue() {
    let (_world, mut caller) = bound(&after_receives("dead", 3));
    let id = caller.attributes("dead").text("queueId").to_owned();
    let policy = caller.attributes("q")["deadLetterPolicy"].clone();
    let wanted = serde_json::json!({"deadLetterQueue": id, "policy": 0, "maxReceiveCount": 3});
    assert_eq!(policy, wanted);
}
