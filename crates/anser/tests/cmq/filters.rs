//! Which subscriptions get a message: C160–C163.

use super::{
    answer::{NO_MATCH, NO_MESSAGE},
    caller::{Caller, borrowed, numbered},
    world::World,
};

/// Of topic.md §5, and a few more: a binding key, a routing key, and whether they match.
const KEYS: &[(&str, &str, bool)] = &[
    ("1.*.0", "1.any.0", true),
    ("1.*.0", "1.2.3.0", false),
    ("1.*.0", "1.0", false),
    ("1.#.0", "1.0", true),
    ("1.#.0", "1.2.3.4.4.2.2.0", true),
    ("#", "anything", true),
    ("#", "any.thing", true),
    ("*.*.*", "a.b.c", true),
    ("*.*.*", "a.b", false),
    ("usa.#", "usa", true),
    ("a", "A", false),
    ("a", "a", true),
    ("a.b", "a", false),
    ("*", "a.b", false),
    ("*.b", ".b", false),
    ("#.b", "a.b.c", false),
    ("#.b", "a.c.b", true),
    ("#.b.#", "a.b.c", true),
    ("*.#", "a", true),
    // Only whole words are wildcards, and only in binding keys.
    ("a*", "ab", false),
    ("a*", "a*", true),
    ("a.b", "a.*", false),
    ("a.b", "#", false),
];

/// A queue that subscribes to a topic with a filter.
fn subscribe(caller: &mut Caller, topic: &str, queue: &str, (list, labels): (&str, &[&str])) {
    caller.create(queue, &[]);
    let labels = numbered(list, labels);
    let labels = borrowed(&labels);
    caller.subscribe(topic, queue, queue, &labels).done();
}

/// Publishes a message for each tag, its body the tag, and then one without tags.
fn publish_each(caller: &mut Caller, topic: &str, tags: &[&str]) {
    for tag in tags {
        caller.publish_with(topic, tag, &[("msgTag.1", tag)]).done();
    }
    caller.publish(topic, "untagged");
}

#[test]
fn c160_a_subscription_without_tags_gets_everything() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c160", &[]);
    subscribe(&mut caller, "c160", "c160", ("filterTag", &[]));
    publish_each(&mut caller, "c160", &["red", "blue"]);
    assert_eq!(caller.arrived("c160", 3), ["red", "blue", "untagged"]);
}

#[test]
fn c161_a_subscription_with_tags_gets_what_shares_one() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c161", &[]);
    subscribe(&mut caller, "c161", "c161-all", ("filterTag", &[]));
    let tags = ["red", "green", "中文"];
    subscribe(&mut caller, "c161", "c161-some", ("filterTag", &tags));
    subscribe(&mut caller, "c161", "c161-none", ("filterTag", &["grey"]));
    let published = ["red", "Red", "re", "redd", "blue", "green", "中文"];
    publish_each(&mut caller, "c161", &published);
    let several = [("msgTag.1", "blue"), ("msgTag.2", "green")];
    caller.publish_with("c161", "several", &several).done();
    assert_eq!(
        caller.arrived("c161-some", 4),
        ["red", "green", "中文", "several"]
    );
    let mut everything = published.to_vec();
    everything.extend(["untagged", "several"]);
    assert_eq!(caller.arrived("c161-all", 9), everything);
    caller.receive("c161-some").refused(NO_MESSAGE);
    caller.receive("c161-none").refused(NO_MESSAGE);
}

#[test]
fn c162_a_star_is_one_word_and_a_hash_any_number() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c162", &[]);
    for (number, (binding, routing, matches)) in KEYS.iter().enumerate() {
        let topic = format!("c162-{number}");
        caller.create_topic(&topic, &[("filterType", "2")]);
        let key = [("bindingKey.1", *binding)];
        caller.subscribe(&topic, "s", "c162", &key).done();
        let key = [("routingKey", *routing)];
        let published = caller.publish_with(&topic, routing, &key);
        if *matches {
            published.done();
            assert_eq!(caller.arrived("c162", 1), [*routing], "{binding}");
        } else {
            published.refused(NO_MATCH);
        }
    }
    caller.receive("c162").refused(NO_MESSAGE);
}

#[test]
fn c162_each_subscription_of_a_topic_matches_by_itself() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c162-many", &[("filterType", "2")]);
    let subscriptions = [
        ("c162-all", &["#"][..], &["eu.fr", "us.ny.nyc", "us"][..]),
        ("c162-us", &["us.#"], &["us.ny.nyc", "us"]),
        ("c162-two", &["*.*"], &["eu.fr"]),
        ("c162-lists", &["us", "eu.*"], &["eu.fr", "us"]),
    ];
    for (queue, keys, _) in subscriptions {
        subscribe(&mut caller, "c162-many", queue, ("bindingKey", keys));
    }
    for key in ["eu.fr", "us.ny.nyc", "us"] {
        let label = [("routingKey", key)];
        caller.publish_with("c162-many", key, &label).done();
    }
    for (queue, _, wanted) in subscriptions {
        assert_eq!(caller.arrived(queue, wanted.len()), wanted, "{queue}");
        caller.receive(queue).refused(NO_MESSAGE);
    }
}

#[test]
fn c163_several_matches_are_one_delivery() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c163", &[("filterType", "2")]);
    let keys = ["#", "a.*", "*.b", "a.b"];
    subscribe(&mut caller, "c163", "c163", ("bindingKey", &keys));
    let published = [("once", "a.b"), ("end", "other")];
    for (body, key) in published {
        let label = [("routingKey", key)];
        caller.publish_with("c163", body, &label).done();
    }
    assert_eq!(caller.arrived("c163", 2), ["once", "end"]);
    caller.receive("c163").refused(NO_MESSAGE);
    caller.create_topic("c163-tags", &[]);
    let tags = ["a", "b"];
    subscribe(&mut caller, "c163-tags", "c163-tags", ("filterTag", &tags));
    let both = [("msgTag.1", "b"), ("msgTag.2", "a")];
    caller.publish_with("c163-tags", "once", &both).done();
    let one = [("msgTag.1", "a")];
    caller.publish_with("c163-tags", "end", &one).done();
    assert_eq!(caller.arrived("c163-tags", 2), ["once", "end"]);
    caller.receive("c163-tags").refused(NO_MESSAGE);
}
