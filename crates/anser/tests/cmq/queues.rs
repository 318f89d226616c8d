//! Making and finding queues: C68–C77.

use super::{
    answer::{out_of_range, wrong_type},
    caller::Caller,
    world::{START, World},
};

#[test]
fn c068_a_queue_without_attributes_gets_the_documented_ones() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c068", &[]);
    let attributes = caller.attributes("c068");
    for (name, value) in [
        ("msgRetentionSeconds", 345_600),
        ("visibilityTimeout", 30),
        ("pollingWaitSeconds", 0),
        ("maxMsgSize", 65_536),
        ("maxMsgHeapNum", 100_000_000),
        ("rewindSeconds", 0),
    ] {
        assert_eq!(attributes.number(name), value, "{name}");
    }
    assert!(attributes["deadLetterPolicy"].is_null());
}

#[test]
fn c069_a_new_queue_has_an_id() {
    let world = World::shared();
    let mut caller = world.caller();
    let ids: Vec<String> = ["c069-a", "c069-b"]
        .map(|name| caller.create(name, &[]).text("queueId").to_owned())
        .into();
    for id in &ids {
        let tail = id.strip_prefix("queue-").unwrap();
        let fits = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit();
        assert!(tail.len() == 8 && tail.bytes().all(fits), "{id}");
    }
    assert_ne!(ids[0], ids[1]);
    assert_eq!(caller.attributes("c069-a").text("queueId"), ids[0]);
    let listed = caller.call("ListQueue", &[("searchWord", "c069")]).done();
    assert_eq!(listed.texts("queueList", "queueId"), ids);
}

#[test]
fn c070_a_name_is_taken_in_any_letter_case() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c070-Orders", &[]);
    let before = caller.picture("c070-Orders");
    let refusal = (4460, "(10210)queue is already existed");
    for name in ["c070-Orders", "C070-ORDERS", "c070-orders"] {
        let parameters = [("queueName", name), ("visibilityTimeout", "7")];
        caller.call("CreateQueue", &parameters).refused(refusal);
    }
    assert_eq!(caller.picture("c070-Orders"), before);
    // The documents say that names are found in any case; the case of creation is shown.
    assert_eq!(caller.attributes("C070-ORDERS")["queueName"], "c070-Orders");
}

#[test]
fn c071_a_name_that_breaks_the_rule_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    let (longest, longer) = ("a".repeat(64), "a".repeat(65));
    let refusal = (4000, "(10020)queue name format error");
    for name in [
        "", "1a", "-a", "_a", "a b", "a.b", "a/b", "ä", "a\u{0}", "队列", "a\n", &longer,
    ] {
        caller
            .call("CreateQueue", &[("queueName", name)])
            .refused(refusal);
        caller
            .call("ReceiveMessage", &[("queueName", name)])
            .refused(refusal);
    }
    for name in [&longest, "c", "C071_a-9", "c071-retry"] {
        caller.create(name, &[]);
        caller.delete_queue(name).done();
    }
}

/// Attributes with the least and the most that they take.
const RANGES: &[(&str, i64, i64)] = &[
    ("maxMsgHeapNum", 1_000_000, 1_000_000_000),
    ("pollingWaitSeconds", 0, 30),
    ("visibilityTimeout", 1, 43_200),
    ("maxMsgSize", 1_024, 1_048_576),
    ("msgRetentionSeconds", 60, 1_296_000),
    ("rewindSeconds", 0, 1_296_000),
];

#[test]
fn c072_both_ends_of_each_range_work_and_one_step_beyond_does_not() {
    let world = World::shared();
    let mut caller = world.caller();
    let long = ("msgRetentionSeconds", "1296000");
    for (name, least, most) in RANGES {
        for value in [least, most] {
            let value = value.to_string();
            let mut attributes = vec![(*name, value.as_str())];
            if *name == "rewindSeconds" {
                attributes.push(long);
            }
            caller.create("c072", &attributes);
            assert_eq!(caller.attributes("c072")[name].to_string(), value);
            caller.delete_queue("c072").done();
            caller.create("c072", &[]);
            let set = caller.set("c072", &attributes).done();
            assert_eq!(set[name].to_string(), value);
            assert_eq!(caller.attributes("c072")[name].to_string(), value);
            caller.delete_queue("c072").done();
        }
        caller.create("c072-set", &[]);
        let before = caller.picture("c072-set");
        for value in [least - 1, most + 1] {
            let value = value.to_string();
            let parameters = [("queueName", "c072"), (*name, value.as_str())];
            caller
                .call("CreateQueue", &parameters)
                .refused(out_of_range(name));
            caller
                .set("c072-set", &parameters[1..])
                .refused(out_of_range(name));
        }
        caller
            .set("c072-set", &[(name, "many")])
            .refused(wrong_type(name));
        assert_eq!(caller.picture("c072-set"), before);
        caller.delete_queue("c072-set").done();
    }
    assert_eq!(
        caller
            .call("GetQueueAttributes", &[("queueName", "c072")])
            .code(),
        4440
    );
}

#[test]
fn c073_rewinding_is_not_longer_than_the_retention() {
    let world = World::shared();
    let mut caller = world.caller();
    let text = "(10700)rewindSeconds cannot be greater than msgRetentionSeconds";
    let refusal = (4000, text);
    let parameters = [
        ("queueName", "c073"),
        ("msgRetentionSeconds", "600"),
        ("rewindSeconds", "601"),
    ];
    caller.call("CreateQueue", &parameters).refused(refusal);
    caller.create(
        "c073",
        &[("msgRetentionSeconds", "600"), ("rewindSeconds", "600")],
    );
    let before = caller.picture("c073");
    caller
        .set("c073", &[("rewindSeconds", "601")])
        .refused(refusal);
    caller
        .set("c073", &[("msgRetentionSeconds", "599")])
        .refused(refusal);
    assert_eq!(caller.picture("c073"), before);
    caller
        .set(
            "c073",
            &[("msgRetentionSeconds", "700"), ("rewindSeconds", "700")],
        )
        .done();
}

fn list(caller: &mut Caller, parameters: &[(&str, &str)]) -> (u64, Vec<String>) {
    let listed = caller.call("ListQueue", parameters).done();
    (
        listed.number("totalCount"),
        listed.texts("queueList", "queueName"),
    )
}

#[test]
fn c074_a_list_tells_its_total_and_comes_in_pages() {
    let world = World::new();
    let mut caller = world.caller();
    let names: Vec<String> = (0..55).map(|number| format!("q{number}-x")).collect();
    for name in &names {
        caller.create(name, &[]);
    }
    assert_eq!(list(&mut caller, &[]), (55, names[..20].to_vec()));
    for (offset, limit) in [
        (0, 1),
        (0, 50),
        (20, 20),
        (40, 20),
        (54, 20),
        (55, 20),
        (1000, 20),
    ] {
        let (from, to) = (offset.min(55), (offset + limit).min(55));
        let (offset, limit) = (offset.to_string(), limit.to_string());
        let page = list(&mut caller, &[("offset", &offset), ("limit", &limit)]);
        assert_eq!(page, (55, names[from..to].to_vec()), "{offset} {limit}");
    }
    // A limit that is too high is cut; an offset needs no limit.
    assert_eq!(
        list(&mut caller, &[("limit", "100")]),
        (55, names[..50].to_vec())
    );
    assert_eq!(
        list(&mut caller, &[("offset", "50")]),
        (55, names[50..].to_vec())
    );
    caller.delete_queue("q0-x").done();
    assert_eq!(
        list(&mut caller, &[("limit", "1")]),
        (54, names[1..2].to_vec())
    );
}

#[test]
fn c075_an_empty_list_is_a_list() {
    let world = World::new();
    let mut caller = world.caller();
    assert_eq!(list(&mut caller, &[]), (0, vec![]));
    caller.create("dead", &[]);
    let parameters = [("deadLetterQueueName", "dead")];
    let sources = caller
        .call("ListDeadLetterSourceQueues", &parameters)
        .done();
    assert!(sources.list("queueList").is_empty());
    assert_eq!(list(&mut caller, &[("searchWord", "none")]), (0, vec![]));
}

#[test]
fn c076_a_search_word_is_part_of_the_name() {
    let world = World::new();
    let mut caller = world.caller();
    for name in ["orders-eu", "Orders-us", "invoices", "reorder"] {
        caller.create(name, &[]);
    }
    let found = |caller: &mut Caller, word| list(caller, &[("searchWord", word)]);
    let all = vec!["orders-eu".to_owned(), "Orders-us".into(), "reorder".into()];
    assert_eq!(found(&mut caller, "order"), (3, all.clone()));
    assert_eq!(found(&mut caller, "ORDER"), (3, all.clone()));
    assert_eq!(found(&mut caller, "-eu"), (1, all[..1].to_vec()));
    assert_eq!(found(&mut caller, "*").0, 0);
    assert_eq!(found(&mut caller, "or.er").0, 0);
    let page = [("searchWord", "order"), ("offset", "1"), ("limit", "1")];
    assert_eq!(list(&mut caller, &page), (3, all[1..2].to_vec()));
}

#[test]
fn c077_attributes_hold_all_documented_numbers() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c077", &[]);
    let attributes = caller.attributes("c077");
    for name in [
        "maxMsgHeapNum",
        "pollingWaitSeconds",
        "visibilityTimeout",
        "maxMsgSize",
        "msgRetentionSeconds",
        "rewindSeconds",
        "activeMsgNum",
        "inactiveMsgNum",
        "delayMsgNum",
        "rewindMsgNum",
        "rewindmsgNum",
        "createUin",
        "Bps",
        "qps",
    ] {
        attributes.number(name);
    }
    for name in ["createTime", "lastModifyTime", "minMsgTime"] {
        assert_eq!(attributes.number(name), START, "{name} is in seconds");
    }
    assert_eq!(attributes.text("queueName"), "c077");
    assert!(attributes.list("tags").is_empty());
}
