//! Subscriptions themselves: C142–C154, C158.

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, NO_MATCH, NO_QUEUE, NO_SUBSCRIPTION, Refusal, out_of_range},
    caller::{Caller, borrowed, numbered},
    world::{ACCOUNT, START, World},
};

const EXISTS: Refusal = (4490, "(10470)subscribtion is already existed");
const NOT_FOR_QUEUES: Refusal = (
    4000,
    "(10640)notifyContentFormat of protocol queue must be SIMPLIFIED",
);
const BAD_ENDPOINT: Refusal = (4000, "(10500)endpoint format error");
const BAD_STRATEGY: Refusal = (4000, "(10520)undefined notify retry stragety");
const BAD_FORMAT: Refusal = (4000, "(10530)undefined notify content format");
const NO_BINDING_KEY: Refusal = (4000, "(10710)parameters lack of bindingKey");
const TOO_MANY_DOTS: Refusal = (4000, "(10691)too many delimeters");
const JSON: (&str, &str) = ("notifyContentFormat", "JSON");
/// Nothing is published to it.
const URL: &str = "http://subscriber.example/hook?a=1&b=2";

/// Subscribes with a list of labels in place of other attributes.
fn subscribe_with(
    caller: &mut Caller,
    (topic, subscription): (&str, &str),
    endpoint: &str,
    (list, labels): (&str, &[&str]),
) -> Answer {
    let labels = numbered(list, labels);
    caller.subscribe(topic, subscription, endpoint, &borrowed(&labels))
}

fn set_with(
    caller: &mut Caller,
    (topic, subscription): (&str, &str),
    (list, labels): (&str, &[&str]),
) -> Answer {
    let labels = numbered(list, labels);
    caller.set_subscription(topic, subscription, &borrowed(&labels))
}

#[test]
fn c142_a_subscription_has_an_id() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c142", &[]);
    let made = caller.subscribe("c142", "s", URL, &[]).done();
    let id = made.text("subscriptionId");
    let digits = id.strip_prefix("subsc-").expect("a subscription's id");
    assert_eq!(digits.len(), 8);
    assert_eq!(caller.subscription("c142", "s")["subscriptionId"], id);
    let listed = caller.call("ListSubscriptionByTopic", &[("topicName", "c142")]);
    let wanted = json!([{
        "subscriptionId": id,
        "subscriptionName": "s",
        "protocol": "http",
        "endpoint": URL,
    }]);
    assert_eq!(listed.done()["subscriptionList"], wanted);
}

#[test]
fn c143_a_name_subscribes_once() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c143", &[]);
    caller.create_topic("c143-other", &[]);
    caller.subscribe("c143", "name", URL, &[]).done();
    let before = caller.subscription_picture("c143", "name");
    for name in ["name", "NAME"] {
        caller.subscribe("c143", name, URL, &[]).refused(EXISTS);
        let other = "http://other.example/";
        caller.subscribe("c143", name, other, &[]).refused(EXISTS);
    }
    assert_eq!(caller.subscription_picture("c143", "name"), before);
    assert_eq!(caller.subscriptions("c143"), ["name"]);
    // One endpoint may subscribe twice, and a name belongs to its topic.
    caller.subscribe("c143", "other-name", URL, &[]).done();
    caller.subscribe("c143-other", "name", URL, &[]).done();
}

#[test]
fn a_subscriptions_name_follows_the_rule_of_names() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("names", &[]);
    let refusal = (4000, "(10580)subscription name format error");
    let long = "s".repeat(65);
    for name in ["", "1a", "-a", "a b", "a.b", "é", &long] {
        caller.subscribe("names", name, URL, &[]).refused(refusal);
    }
    assert_eq!(caller.subscriptions("names"), [""; 0]);
    caller.subscribe("names", &long[..64], URL, &[]).done();
}

#[test]
fn c144_a_queue_gets_no_json() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c144", &[]);
    caller.create_topic("c144", &[]);
    caller
        .subscribe("c144", "s", "c144", &[JSON])
        .refused(NOT_FOR_QUEUES);
    assert_eq!(caller.subscriptions("c144"), [""; 0]);
    caller.subscribe("c144", "s", "c144", &[]).done();
    let before = caller.subscription_picture("c144", "s");
    caller
        .set_subscription("c144", "s", &[JSON])
        .refused(NOT_FOR_QUEUES);
    assert_eq!(caller.subscription_picture("c144", "s"), before);
}

#[test]
fn c145_a_queue_subscribes_without_a_format() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c145", &[]);
    caller.create_topic("c145", &[]);
    caller.subscribe("c145", "s", "c145", &[]).done();
    let shown = caller.subscription("c145", "s");
    assert_eq!(shown["notifyContentFormat"], "SIMPLIFIED");
    assert_eq!(shown["protocol"], "queue");
    assert_eq!(shown["endpoint"], "c145");
    caller.publish("c145", "bare");
    assert_eq!(caller.arrived("c145", 1), ["bare"]);
}

#[test]
fn a_queue_that_subscribes_must_exist() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("no-queue", &[]);
    caller
        .subscribe("no-queue", "s", "no-such-queue", &[])
        .refused(NO_QUEUE);
    caller
        .subscribe("no-queue", "s", "no queue", &[])
        .refused(BAD_ENDPOINT);
    assert_eq!(caller.subscriptions("no-queue"), [""; 0]);
}

#[test]
fn c146_an_endpoint_over_http_is_a_url() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c146", &[]);
    let mut subscribe = |protocol, endpoint| {
        let parameters = [
            ("topicName", "c146"),
            ("subscriptionName", "s"),
            ("protocol", protocol),
            ("endpoint", endpoint),
        ];
        caller.call("Subscribe", &parameters)
    };
    let long = format!("http://h/{}", "x".repeat(492));
    for endpoint in ["", "h", "ftp://h/", "http:/h", "http://", "c146", &long] {
        subscribe("http", endpoint).refused(BAD_ENDPOINT);
    }
    let refusal = (4510, "(10570)url connot contain any blank characters");
    for endpoint in ["http://h/a b", " http://h/", "http://h/\t", "no url"] {
        subscribe("http", endpoint).refused(refusal);
    }
    subscribe("HTTP", &long[..500]).done();
    assert_eq!(caller.subscription("c146", "s")["protocol"], "http");
    assert_eq!(caller.subscription("c146", "s")["endpoint"], long[..500]);
}

#[test]
fn c146_an_endpoint_over_https_is_accepted_too() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c146-tls", &[]);
    let url = "https://subscriber.example/";
    caller.subscribe("c146-tls", "s", url, &[]).done();
    assert_eq!(caller.subscription("c146-tls", "s")["endpoint"], url);
}

#[test]
fn c147_words_that_nobody_knows_are_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c147", &[]);
    for protocol in ["", "sms", "tcp", "queues"] {
        let parameters = [
            ("topicName", "c147"),
            ("subscriptionName", "s"),
            ("protocol", protocol),
            ("endpoint", URL),
        ];
        let refusal = (4000, "(10510)undefined protocol");
        caller.call("Subscribe", &parameters).refused(refusal);
    }
    let wrong = [
        (("notifyStrategy", "LINEAR_RETRY"), BAD_STRATEGY),
        (("notifyStrategy", "backoff_retry"), BAD_STRATEGY),
        (("notifyContentFormat", "XML"), BAD_FORMAT),
        (("notifyContentFormat", "json"), BAD_FORMAT),
    ];
    for (attribute, refusal) in wrong {
        caller
            .subscribe("c147", "s", URL, &[attribute])
            .refused(refusal);
    }
    assert_eq!(caller.subscriptions("c147"), [""; 0]);
    caller.subscribe("c147", "s", URL, &[]).done();
    let before = caller.subscription_picture("c147", "s");
    for (attribute, refusal) in wrong {
        caller
            .set_subscription("c147", "s", &[attribute])
            .refused(refusal);
    }
    assert_eq!(caller.subscription_picture("c147", "s"), before);
}

#[test]
fn c148_without_a_strategy_retries_decay_exponentially() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c148", &[]);
    caller.create("c148", &[]);
    caller.subscribe("c148", "web", URL, &[]).done();
    caller.subscribe("c148", "queue", "c148", &[]).done();
    let empty = [("notifyStrategy", "")];
    caller.subscribe("c148", "empty", URL, &empty).done();
    for name in ["web", "queue", "empty"] {
        let shown = caller.subscription("c148", name);
        assert_eq!(shown["notifyStrategy"], "EXPONENTIAL_DECAY_RETRY");
    }
    let other = [("notifyStrategy", "BACKOFF_RETRY")];
    caller.subscribe("c148", "other", URL, &other).done();
    let shown = caller.subscription("c148", "other");
    assert_eq!(shown["notifyStrategy"], "BACKOFF_RETRY");
}

/// Lists of labels that are too long or hold what is too long, and what is said to them.
fn wrong_labels() -> Vec<(&'static str, Vec<String>, (i64, String))> {
    let refusal = |text: &str| (4000, text.to_owned());
    let many = |label: &str| vec![label.to_owned(); 6];
    let dots = (4000, TOO_MANY_DOTS.1.to_owned());
    vec![
        (
            "filterTag",
            many("tag"),
            refusal("(10490)number of filterTag exceed limit"),
        ),
        ("filterTag", vec!["t".repeat(17)], out_of_range("filterTag")),
        ("filterTag", vec![String::new()], out_of_range("filterTag")),
        (
            "bindingKey",
            many("key"),
            refusal("(10680)too many bindingKey"),
        ),
        (
            "bindingKey",
            vec!["k".repeat(65)],
            out_of_range("bindingKey"),
        ),
        ("bindingKey", vec![".".repeat(16)], dots),
    ]
}

/// As many labels as may be, and as long as they may be.
fn largest_labels() -> [(&'static str, Vec<String>); 2] {
    let tags = (1..=5).map(|number| "é".repeat(15) + &number.to_string());
    let keys = (1..=5).map(|number| {
        format!(
            "{}{}",
            "a.".repeat(15),
            "k".repeat(33) + &number.to_string()
        )
    });
    [
        ("filterTag", tags.collect()),
        ("bindingKey", keys.collect()),
    ]
}

#[test]
fn c149_labels_are_bounded() {
    let world = World::shared();
    let mut caller = world.caller();
    for (topic, kind) in [("c149-filterTag", "1"), ("c149-bindingKey", "2")] {
        caller.create_topic(topic, &[("filterType", kind)]);
    }
    for (list, labels) in largest_labels() {
        let topic = format!("c149-{list}");
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        subscribe_with(&mut caller, (&topic, "s"), URL, (list, &labels)).done();
        assert_eq!(caller.subscription(&topic, "s")[list], json!(labels));
    }
    for (list, labels, refusal) in wrong_labels() {
        let topic = format!("c149-{list}");
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        subscribe_with(&mut caller, (&topic, "new"), URL, (list, &labels)).refused(refusal.clone());
        let before = caller.subscription_picture(&topic, "s");
        set_with(&mut caller, (&topic, "s"), (list, &labels)).refused(refusal);
        assert_eq!(caller.subscription_picture(&topic, "s"), before);
        assert_eq!(caller.subscriptions(&topic), ["s"]);
    }
}

#[test]
fn c150_a_list_that_is_given_replaces_and_an_absent_one_stays() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c150", &[]);
    let s = ("c150", "s");
    subscribe_with(&mut caller, s, URL, ("filterTag", &["a", "b"])).done();
    let attributes = [("notifyStrategy", "BACKOFF_RETRY")];
    caller.set_subscription("c150", "s", &attributes).done();
    assert_eq!(
        caller.subscription("c150", "s")["filterTag"],
        json!(["a", "b"])
    );
    set_with(&mut caller, s, ("filterTag", &["c"])).done();
    let shown = caller.subscription("c150", "s");
    assert_eq!(shown["filterTag"], json!(["c"]));
    assert_eq!(shown["notifyStrategy"], "BACKOFF_RETRY");
    caller.create_topic("c150-keys", &[("filterType", "2")]);
    let s = ("c150-keys", "s");
    subscribe_with(&mut caller, s, URL, ("bindingKey", &["a.*", "b"])).done();
    caller.set_subscription("c150-keys", "s", &[]).done();
    let shown = caller.subscription("c150-keys", "s");
    assert_eq!(shown["bindingKey"], json!(["a.*", "b"]));
    set_with(&mut caller, s, ("bindingKey", &["#"])).done();
    let shown = caller.subscription("c150-keys", "s");
    assert_eq!(shown["bindingKey"], json!(["#"]));
}

#[test]
fn c150_the_new_list_decides_what_arrives() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c150-q", &[]);
    caller.create_topic("c150-t", &[]);
    let s = ("c150-t", "s");
    subscribe_with(&mut caller, s, "c150-q", ("filterTag", &["old"])).done();
    caller
        .publish_with("c150-t", "1", &[("msgTag.1", "old")])
        .done();
    set_with(&mut caller, s, ("filterTag", &["new"])).done();
    caller
        .publish_with("c150-t", "2", &[("msgTag.1", "old")])
        .refused(NO_MATCH);
    caller
        .publish_with("c150-t", "3", &[("msgTag.1", "new")])
        .done();
    assert_eq!(caller.arrived("c150-q", 2), ["1", "3"]);
}

#[test]
fn c151_cleared_tags_let_everything_pass() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c151", &[]);
    caller.create_topic("c151", &[]);
    let clear = "ClearSubscriptionFilterTags";
    // The Java client's letter case, and the trailing blank of the Go client.
    for (action, name) in [
        (clear, "subscriptionName"),
        ("ClearSUbscriptionFIlterTags", "subscriptionName "),
    ] {
        let s = ("c151", "s");
        subscribe_with(&mut caller, s, "c151", ("filterTag", &["a"])).done();
        caller.publish_with("c151", "1", &[]).refused(NO_MATCH);
        let parameters = [("topicName", "c151"), (name, "s")];
        caller.call(action, &parameters).done();
        assert_eq!(caller.subscription("c151", "s")["filterTag"], json!([]));
        caller.publish("c151", "2");
        caller
            .publish_with("c151", "3", &[("msgTag.1", "b")])
            .done();
        assert_eq!(caller.arrived("c151", 2), ["2", "3"]);
        caller.unsubscribe("c151", "s").done();
    }
}

#[test]
fn c151_clearing_leaves_binding_keys() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c151-keys", &[("filterType", "2")]);
    let s = ("c151-keys", "s");
    subscribe_with(&mut caller, s, URL, ("bindingKey", &["a.#"])).done();
    let parameters = [("topicName", "c151-keys"), ("subscriptionName", "s")];
    caller
        .call("ClearSubscriptionFilterTags", &parameters)
        .done();
    let shown = caller.subscription("c151-keys", "s");
    assert_eq!(shown["bindingKey"], json!(["a.#"]));
}

/// What is shown of a new subscription over HTTP.
fn shown(id: &str, topic: &str) -> Map<String, Value> {
    let shown = json!({
        "subscriptionId": id,
        "subscriptionName": "s",
        "topicName": topic,
        "topicOwner": ACCOUNT.to_string(),
        "protocol": "http",
        "protocal": "http",
        "endpoint": URL,
        "notifyStrategy": "EXPONENTIAL_DECAY_RETRY",
        "notifyContentFormat": "JSON",
        "filterTag": [],
        "filterTags": [],
        "bindingKey": [],
        "createTime": START,
        "lastModifyTime": START,
        "msgCount": 0,
        "deliveredNum": 0,
        "expiredNum": 0,
        "givenUpNum": 0,
        "deadLetteredNum": 0,
        "lastFailures": [],
    });
    let Value::Object(shown) = shown else {
        unreachable!("an object was written");
    };
    shown
}

#[test]
fn c152_a_subscription_is_shown_in_the_words_of_every_client() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c152", &[]);
    let made = caller.subscribe("c152", "s", URL, &[]).done();
    let mut wanted = shown(made.text("subscriptionId"), "c152");
    assert_eq!(caller.subscription_picture("c152", "s"), wanted);
    set_with(&mut caller, ("c152", "s"), ("filterTag", &["a", "b"])).done();
    for name in ["filterTag", "filterTags"] {
        wanted.insert(name.into(), json!(["a", "b"]));
    }
    assert_eq!(caller.subscription_picture("c152", "s"), wanted);
    caller.create_topic("c152-keys", &[("filterType", "2")]);
    let s = ("c152-keys", "s");
    let made = subscribe_with(&mut caller, s, URL, ("bindingKey", &["#"])).done();
    let mut wanted = shown(made.text("subscriptionId"), "c152-keys");
    wanted.insert("bindingKey".into(), json!(["#"]));
    assert_eq!(caller.subscription_picture("c152-keys", "s"), wanted);
}

#[test]
fn c152_a_change_renews_the_time_of_the_last_change() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create_topic("t", &[]);
    caller.subscribe("t", "s", URL, &[]).done();
    let mut wanted = caller.subscription_picture("t", "s");
    world.advance(7);
    // The PHP client sends the protocol and the endpoint, too; neither can be changed.
    let attributes = [
        ("notifyContentFormat", "SIMPLIFIED"),
        ("protocol", "queue"),
        ("endpoint", "http://other.example/"),
    ];
    caller.set_subscription("t", "s", &attributes).done();
    wanted.insert("notifyContentFormat".into(), json!("SIMPLIFIED"));
    wanted.insert("lastModifyTime".into(), json!(START + 7));
    assert_eq!(caller.subscription_picture("t", "s"), wanted);
}

#[test]
fn c153_a_topic_without_subscriptions_has_an_empty_list() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c153", &[]);
    let topic = ("topicName", "c153");
    let wanted = json!({"totalCount": 0, "subscriptionList": []});
    let listed = caller.call("ListSubscriptionByTopic", &[topic]).done();
    assert_eq!(Value::Object(listed.fields()), wanted);
    caller.subscribe("c153", "s", URL, &[]).done();
    let parameters = [topic, ("searchWord", "none")];
    let listed = caller.call("ListSubscriptionByTopic", &parameters).done();
    assert_eq!(Value::Object(listed.fields()), wanted);
}

#[test]
fn subscriptions_are_listed_in_pages() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create_topic("t", &[]);
    caller.create_topic("other", &[]);
    caller.subscribe("other", "sub-other", URL, &[]).done();
    let names: Vec<String> = (0..110).map(|number| format!("sub-{number:03}")).collect();
    for name in &names {
        caller.subscribe("t", name, URL, &[]).done();
    }
    let mut listed = |parameters: &[(&str, &str)]| {
        let mut all = vec![("topicName", "t")];
        all.extend(parameters);
        let listed = caller.call("ListSubscriptionByTopic", &all).done();
        let names = listed.texts("subscriptionList", "subscriptionName");
        (listed.number("totalCount"), names)
    };
    assert_eq!(listed(&[]), (110, names[..20].to_vec()));
    assert_eq!(listed(&[("limit", "101")]), (110, names[..100].to_vec()));
    assert_eq!(listed(&[("limit", "0")]), (110, Vec::new()));
    let page = [("offset ", "108"), ("limit ", "5")];
    assert_eq!(listed(&page), (110, names[108..].to_vec()));
    let searched = [("searchWord ", "B-09"), ("offset", "3"), ("limit", "2")];
    assert_eq!(listed(&searched), (10, names[93..95].to_vec()));
    assert_eq!(listed(&[("offset", "110")]), (110, Vec::new()));
}

#[test]
fn c154_a_subscription_that_is_not_there_is_named_by_every_action() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c154", &[]);
    caller.subscribe("c154", "s", URL, &[]).done();
    let parameters = [("topicName", "c154"), ("subscriptionName", "none")];
    for action in [
        "Unsubscribe",
        "GetSubscriptionAttributes",
        "SetSubscriptionAttributes",
        "ClearSubscriptionFilterTags",
    ] {
        caller.call(action, &parameters).refused(NO_SUBSCRIPTION);
    }
    assert_eq!(caller.subscriptions("c154"), ["s"]);
    caller.unsubscribe("c154", "S").done();
    caller.unsubscribe("c154", "s").refused(NO_SUBSCRIPTION);
}

#[test]
fn c158_a_topic_with_routing_keys_wants_binding_keys() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create_topic("c158", &[("filterType", "2")]);
    caller
        .subscribe("c158", "s", URL, &[])
        .refused(NO_BINDING_KEY);
    let tags = [("filterTag.1", "a")];
    caller
        .subscribe("c158", "s", URL, &tags)
        .refused(NO_BINDING_KEY);
    assert_eq!(caller.subscriptions("c158"), [""; 0]);
    let keys = [("filterTag.1", "a"), ("bindingKey.1", "b")];
    caller.subscribe("c158", "s", URL, &keys).done();
    let shown = caller.subscription("c158", "s");
    assert_eq!(shown["filterTag"], json!([]));
    assert_eq!(shown["bindingKey"], json!(["b"]));
}

#[test]
fn binding_keys_mean_nothing_to_a_topic_with_tags() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("no-keys", &[]);
    caller.create_topic("no-keys", &[]);
    let keys = [("bindingKey.1", "a.b")];
    caller.subscribe("no-keys", "s", "no-keys", &keys).done();
    assert_eq!(caller.subscription("no-keys", "s")["bindingKey"], json!([]));
    caller.publish("no-keys", "1");
    let key = [("routingKey", "c.d")];
    caller.publish_with("no-keys", "2", &key).done();
    assert_eq!(caller.arrived("no-keys", 2), ["1", "2"]);
}
