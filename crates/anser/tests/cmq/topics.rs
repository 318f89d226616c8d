//! Topics themselves: C138–C141.

use serde_json::{Value, json};

use super::{
    answer::{NO_MESSAGE, NO_TOPIC, Refusal, out_of_range},
    caller::Caller,
    world::{ACCOUNT, START, World},
};

const EXISTS: Refusal = (4460, "(10550)topic is already existed");
const HAS_SUBSCRIPTIONS: Refusal = (
    4000,
    "(10540)there exists subscriptions under this topic, please unsubscribe all of them before \
     DeleteTopic",
);
const BAD_NAME: Refusal = (4000, "(10590)topic name format error");
/// Nothing is published to it.
const URL: &str = "http://subscriber.example/";

fn create(caller: &mut Caller, topic: &str, attributes: &[(&str, &str)]) -> super::answer::Answer {
    let mut parameters = vec![("topicName", topic)];
    parameters.extend(attributes);
    caller.call("CreateTopic", &parameters)
}

/// The names on a page of the list of topics.
fn listed(caller: &mut Caller, parameters: &[(&str, &str)]) -> (u64, Vec<String>) {
    let listed = caller.call("ListTopic", parameters).done();
    let names = listed.texts("topicList", "topicName");
    (listed.number("totalCount"), names)
}

#[test]
fn c138_a_topic_has_an_id_and_the_usual_attributes() {
    let world = World::shared();
    let mut caller = world.caller();
    let created = caller.create_topic("c138", &[]);
    let id = created.text("topicId");
    let digits = id.strip_prefix("topic-").expect("the id of a topic");
    assert_eq!(digits.len(), 8);
    let wanted = json!({
        "topicId": id,
        "topicName": "c138",
        "msgCount": 0,
        "maxMsgSize": 65_536,
        "msgRetentionSeconds": 86_400,
        "createTime": START,
        "lastModifyTime": START,
        "filterType": 1,
        "createUin": ACCOUNT,
        "qps": 5000,
        "tags": [],
        "loggingEnabled": 0,
        "LoggingEnabled": 0,
    });
    assert_eq!(Value::Object(caller.topic_picture("c138")), wanted);
}

#[test]
fn c138_attributes_that_are_given_are_kept() {
    let world = World::shared();
    let mut caller = world.caller();
    for (number, (name, value)) in [
        ("maxMsgSize", 1_024),
        ("maxMsgSize", 1_048_576),
        ("filterType", 1),
        ("filterType", 2),
        ("msgRetentionSeconds", 60),
        ("msgRetentionSeconds", 86_400),
    ]
    .into_iter()
    .enumerate()
    {
        let topic = format!("c138-kept-{number}");
        caller.create_topic(&topic, &[(name, &value.to_string())]);
        assert_eq!(caller.topic(&topic)[name], value);
    }
    for (name, value) in [
        ("maxMsgSize", "1023"),
        ("maxMsgSize", "1048577"),
        ("filterType", "0"),
        ("filterType", "3"),
        ("msgRetentionSeconds", "59"),
        ("msgRetentionSeconds", "86401"),
    ] {
        create(&mut caller, "c138-none", &[(name, value)]).refused(out_of_range(name));
    }
    let parameters = [("topicName", "c138-none")];
    caller
        .call("GetTopicAttributes", &parameters)
        .refused(NO_TOPIC);
}

#[test]
fn a_topics_name_follows_the_rule_of_names() {
    let world = World::shared();
    let mut caller = world.caller();
    let long = "t".repeat(65);
    for name in [
        "", "1a", "-a", "_a", "a b", "a.b", "a/b", "é", "主题", &long,
    ] {
        create(&mut caller, name, &[]).refused(BAD_NAME);
        caller.publish_with(name, "x", &[]).refused(BAD_NAME);
    }
    for name in [&long[..64], "t", "Topic_a-9"] {
        caller.create_topic(name, &[]);
        caller.delete_topic(name).done();
    }
}

#[test]
fn c139_a_topic_that_exists_is_not_made_again() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c139", &[("maxMsgSize", "2048")]);
    let before = caller.topic_picture("c139");
    create(&mut caller, "c139", &[("maxMsgSize", "2048")]).refused(EXISTS);
    create(&mut caller, "C139", &[("filterType", "2")]).refused(EXISTS);
    assert_eq!(caller.topic_picture("c139"), before);
    assert_eq!(caller.topic_picture("C139"), before, "as it was written");
}

#[test]
fn c140_a_topic_with_subscriptions_is_not_deleted() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c140", &[]);
    caller.subscribe("c140", "a", URL, &[]).done();
    caller.subscribe("c140", "b", URL, &[]).done();
    let before = caller.topic_picture("c140");
    caller.delete_topic("c140").refused(HAS_SUBSCRIPTIONS);
    caller.unsubscribe("c140", "a").done();
    caller.delete_topic("c140").refused(HAS_SUBSCRIPTIONS);
    assert_eq!(caller.topic_picture("c140"), before);
    caller.unsubscribe("c140", "b").done();
    caller.delete_topic("c140").done();
    caller.delete_topic("c140").refused(NO_TOPIC);
}

#[test]
fn c141_the_kind_of_filter_stays() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c141", &[]);
    caller.create_topic("c141", &[]);
    caller.subscribe("c141", "s", "c141", &[]).done();
    let before = caller.topic_picture("c141");
    caller.set_topic("c141", &[("filterType", "2")]).done();
    assert_eq!(caller.topic_picture("c141"), before);
    // With routing keys this would be refused.
    caller.publish("c141", "no key");
    assert_eq!(caller.arrived("c141", 1), ["no key"]);
}

#[test]
fn set_topic_attributes_changes_what_is_given() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    caller.create_topic("t", &[]);
    caller.subscribe("t", "s", "q", &[]).done();
    let mut wanted = caller.topic_picture("t");
    world.advance(5);
    caller.set_topic("t", &[("maxMsgSize", "1024")]).done();
    wanted.insert("maxMsgSize".into(), json!(1024));
    wanted.insert("lastModifyTime".into(), json!(START + 5));
    assert_eq!(caller.topic_picture("t"), wanted);
    let body = "x".repeat(1025);
    let too_large = (4400, "(10230)exceed maximum message size");
    caller.publish_with("t", &body, &[]).refused(too_large);
    caller.publish("t", &body[..1024]);
    caller
        .set_topic("t", &[("maxMsgSize", "1023")])
        .refused(out_of_range("maxMsgSize"));
    caller
        .set_topic("t", &[("msgRetentionSeconds", "3600")])
        .done();
    let shown = caller.topic("t");
    assert_eq!(shown["maxMsgSize"], 1024);
    assert_eq!(shown["msgRetentionSeconds"], 3600);
    caller
        .set_topic("none", &[("maxMsgSize", "1024")])
        .refused(NO_TOPIC);
}

#[test]
fn topics_are_listed_in_pages() {
    let world = World::new();
    let mut caller = world.caller();
    assert_eq!(listed(&mut caller, &[]), (0, Vec::new()));
    let names: Vec<String> = (0..60).map(|number| format!("topic-{number:02}")).collect();
    let ids: Vec<String> = names
        .iter()
        .map(|name| caller.create_topic(name, &[]).text("topicId").to_owned())
        .collect();
    caller.create_topic("other", &[]);
    caller.create("topic-queue", &[]);
    assert_eq!(listed(&mut caller, &[]), (61, names[..20].to_vec()));
    let page = [("offset", "58"), ("limit", "5")];
    let mut last = names[58..].to_vec();
    last.push("other".into());
    assert_eq!(listed(&mut caller, &page), (61, last));
    let large = [("limit", "51")];
    assert_eq!(listed(&mut caller, &large), (61, names[..50].to_vec()));
    let searched = [("searchWord", "PIC-1"), ("offset", "2"), ("limit", "3")];
    assert_eq!(listed(&mut caller, &searched), (10, names[12..15].to_vec()));
    let beyond = [("offset", "61")];
    assert_eq!(listed(&mut caller, &beyond), (61, Vec::new()));
    let none = [("searchWord", "nothing-like-it")];
    assert_eq!(listed(&mut caller, &none), (0, Vec::new()));
    let page = caller.call("ListTopic", &[("offset", "7"), ("limit", "2")]);
    assert_eq!(page.done().texts("topicList", "topicId"), ids[7..9]);
    caller
        .call("ListTopic", &[("limit", "0")])
        .refused(out_of_range("limit"));
}

#[test]
fn a_topic_and_a_queue_may_have_one_name() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("Orders", &[]);
    caller.create_topic("orders", &[]);
    caller.subscribe("orders", "orders", "orders", &[]).done();
    caller.publish("ORDERS", "by the topic");
    caller.send("orders", "to the queue");
    let mut arrived = caller.arrived("orders", 2);
    arrived.sort();
    assert_eq!(arrived, ["by the topic", "to the queue"]);
    caller.unsubscribe("orders", "orders").done();
    caller.delete_topic("orders").done();
    caller.receive("orders").refused(NO_MESSAGE);
    caller.create_topic("orders", &[]);
    caller.delete_queue("orders").done();
    assert_eq!(caller.topic("orders")["msgCount"], 0);
}

#[test]
fn a_topic_that_is_not_there_is_named_by_every_action() {
    let world = World::shared();
    let mut caller = world.caller();
    let topic = ("topicName", "none");
    let subscription = ("subscriptionName", "s");
    for (action, parameters) in [
        ("SetTopicAttributes", &[topic][..]),
        ("GetTopicAttributes", &[topic]),
        ("DeleteTopic", &[topic]),
        ("PublishMessage", &[topic, ("msgBody", "x")]),
        ("BatchPublishMessage", &[topic, ("msgBody.1", "x")]),
        ("SetSubscriptionAttributes", &[topic, subscription]),
        ("GetSubscriptionAttributes", &[topic, subscription]),
        ("ClearSubscriptionFilterTags", &[topic, subscription]),
        ("ListSubscriptionByTopic", &[topic]),
        ("Unsubscribe", &[topic, subscription]),
    ] {
        caller.call(action, parameters).refused(NO_TOPIC);
    }
    caller.subscribe("none", "s", URL, &[]).refused(NO_TOPIC);
}
