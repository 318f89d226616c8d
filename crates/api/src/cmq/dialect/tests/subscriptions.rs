//! Making, changing, showing and ending subscriptions.

use anser_broker::{
    attributes::{BodyFormat, Endpoint, Filter},
    error::Error,
    id::{MessageId, SubscriptionId},
    labels::{BindingKey, Tag},
    name::{SubscriptionName, TopicName},
    op::{
        DeadLetterQueueChange, DeliveryFailure, EndpointName, SubscriptionDescription,
        SubscriptionListing, SubscriptionTotals,
    },
    retry::RetryStrategy,
};

use super::*;

const THIS: &[(&str, &str)] = &[("topicName", "News"), ("subscriptionName", "Reader")];
const HTTP: &[(&str, &str)] = &[
    ("Action", "Subscribe"),
    ("protocol", "HTTP"),
    ("endpoint", "http://h.example:8080/in?a=1&b=2"),
];
const QUEUE: &[(&str, &str)] = &[
    ("Action", "Subscribe"),
    ("protocol", "queue"),
    ("endpoint", "Orders"),
];
const READER: SubscriptionId = SubscriptionId(79);

fn tag(text: &str) -> Tag {
    Tag::new(text).unwrap()
}

fn binding_key(text: &str) -> BindingKey {
    BindingKey::new(text).unwrap()
}

impl World {
    fn subscribed(&self, parameters: &[(&str, &str)]) -> op::Subscribe {
        self.ask(&with(THIS, parameters));
        match self.fake.last() {
            Some(AnyOperation::Subscribe(subscribe)) => subscribe,
            other => panic!("no subscription but {other:?}"),
        }
    }

    fn set(&self, parameters: &[(&str, &str)]) -> op::SetSubscriptionAttributes {
        self.ask(&with(THIS, parameters));
        match self.fake.last() {
            Some(AnyOperation::SetSubscriptionAttributes(set)) => set,
            other => panic!("no change but {other:?}"),
        }
    }
}

#[test]
fn a_subscription_is_made_with_the_vendors_defaults() {
    let world = world();
    let subscription = READER;
    world.answers(AnyOutput::Subscribe(op::Subscribed { subscription }));
    let answer = world.ask(&with(THIS, HTTP));
    let id = answer["subscriptionId"].as_str().unwrap();
    assert!(id.starts_with("subsc-") && id.len() == "subsc-".len() + 8);
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success", "subscriptionId": id});
    assert_eq!(without_number(answer.clone()), expected);
    let made = world.subscribed(HTTP);
    assert_eq!(made.topic, TopicName::new("News").unwrap());
    assert_eq!(made.name, SubscriptionName::new("Reader").unwrap());
    let url = "http://h.example:8080/in?a=1&b=2".to_owned();
    assert_eq!(made.endpoint, EndpointName::Http { url });
    assert_eq!(made.retry, RetryStrategy::ExponentialDecay);
    assert_eq!(made.format, BodyFormat::Json);
    assert_eq!((made.tags.len(), made.binding_keys.len()), (0, 0));
    assert_eq!((made.dead_letter, made.subscriptions_max), (None, 500));
    let made = world.subscribed(QUEUE);
    let queue = QueueName::new("Orders").unwrap();
    assert_eq!(made.endpoint, EndpointName::Queue(queue));
    assert_eq!(made.format, BodyFormat::Simplified);
}

#[test]
fn a_subscription_has_what_it_asks_for() {
    let world = world();
    let all = [
        ("notifyStrategy", "BACKOFF_RETRY"),
        ("notifyContentFormat", "SIMPLIFIED"),
        ("filterTag.1", "red"),
        ("filterTag.2", "blue"),
        ("bindingKey.0", "a.*.#"),
        ("deadLetterQueueName", "lost"),
    ];
    let made = world.subscribed(&with(HTTP, &all));
    assert_eq!(made.retry, RetryStrategy::BackOff);
    assert_eq!(made.format, BodyFormat::Simplified);
    assert_eq!(made.tags, [tag("red"), tag("blue")]);
    assert_eq!(made.binding_keys, [binding_key("a.*.#")]);
    assert_eq!(made.dead_letter, Some(QueueName::new("lost").unwrap()));
    let secure = [HTTP[0], ("protocol", "https"), ("endpoint", "https://h/")];
    assert!(matches!(
        world.subscribed(&secure).endpoint,
        EndpointName::Http { .. }
    ));
}

#[test]
fn each_mistake_of_a_subscriber_has_its_code() {
    let world = world();
    let refused = |parameters: &[(&str, &str)]| {
        let answer = world.ask(&with(THIS, parameters));
        let message = answer["message"].as_str().unwrap().to_owned();
        (answer["code"].as_u64().unwrap(), message)
    };
    let endpoint = |text| [HTTP[0], HTTP[1], ("endpoint", text)];
    for (parameters, code, message) in [
        (
            &endpoint("h.example")[..],
            4000,
            "(10500)endpoint format error",
        ),
        (
            &endpoint("http://user@h/"),
            4000,
            "(10500)endpoint format error",
        ),
        (
            &endpoint("http://h/a b"),
            4510,
            "(10570)url connot contain any blank characters",
        ),
        (
            &[QUEUE[0], QUEUE[1], ("endpoint", "http://h/")],
            4000,
            "(10500)endpoint format error",
        ),
        (
            &[HTTP[0], HTTP[2], ("protocol", "email")],
            4000,
            "(10510)undefined protocol",
        ),
        (
            &with(HTTP, &[("notifyStrategy", "never")]),
            4000,
            "(10520)undefined notify retry stragety",
        ),
        (
            &with(HTTP, &[("notifyContentFormat", "json")]),
            4000,
            "(10530)undefined notify content format",
        ),
        (
            &with(HTTP, &[("deadLetterQueueName", "1")]),
            4000,
            "(10020)queue name format error",
        ),
    ] {
        assert_eq!(refused(parameters), (code, message.to_owned()));
    }
    let wrong = [THIS[0], ("subscriptionName", "a.b")];
    let answer = world.ask(&with(&wrong, HTTP));
    assert_eq!(answer["message"], "(10580)subscription name format error");
    assert_eq!(answer["code"], 4000);
    assert!(world.fake.last().is_none());
}

#[test]
fn filters_have_the_vendors_bounds() {
    let world = world();
    let list = |name: &str| (1..=6).map(|index| format!("{name}.{index}")).collect();
    let (tags, keys): (Vec<_>, Vec<_>) = (list("filterTag"), list("bindingKey"));
    let tags: Vec<_> = tags.iter().map(|name| (name.as_str(), "t")).collect();
    let keys: Vec<_> = keys.iter().map(|name| (name.as_str(), "k")).collect();
    assert_eq!(world.subscribed(&with(HTTP, &tags[..5])).tags.len(), 5);
    let made = world.subscribed(&with(HTTP, &keys[..5]));
    assert_eq!(made.binding_keys.len(), 5);
    let (tag, key, dots) = ("t".repeat(17), "k".repeat(65), ".".repeat(16));
    for (more, message) in [
        (&tags[..], "(10490)number of filterTag exceed limit"),
        (&keys, "(10680)too many bindingKey"),
        (
            &[("filterTag.1", tag.as_str())],
            "(10350)parameter filterTag value or length is out of range",
        ),
        (
            &[("bindingKey.1", key.as_str())],
            "(10350)parameter bindingKey value or length is out of range",
        ),
        (
            &[("bindingKey.1", dots.as_str())],
            "(10691)too many delimeters",
        ),
    ] {
        for base in [HTTP, &[("Action", "SetSubscriptionAttributes")]] {
            let answer = world.ask(&with(&with(THIS, base), more));
            assert_eq!(answer["code"], 4000);
            assert_eq!(answer["message"], message);
        }
    }
}

#[test]
fn a_subscription_is_refused_for_the_vendors_reasons() {
    let world = world();
    for (error, code, message) in [
        (
            Error::NoSuchTopic,
            4440,
            "(10600)topic is not existed, or deleted",
        ),
        (
            Error::SubscriptionExists,
            4490,
            "(10470)subscribtion is already existed",
        ),
        (
            Error::TooManySubscriptions,
            4500,
            "(10480)number of subscription has reached the limit",
        ),
        (
            Error::NoSuchEndpointQueue,
            4440,
            "(10100)queue is not existed, or deleted",
        ),
        (
            Error::FormatNotForQueues,
            4000,
            "(10640)notifyContentFormat of protocol queue must be SIMPLIFIED",
        ),
        (
            Error::BindingKeyMissing,
            4000,
            "(10710)parameters lack of bindingKey",
        ),
        (
            Error::NoSuchDeadLetterQueue,
            4000,
            "(10730)deadLetter queue not exist",
        ),
    ] {
        let answer = world.refused(error, &with(THIS, QUEUE));
        assert_eq!(answer["code"], code);
        assert_eq!(answer["message"], message);
    }
    let made = world.subscribed(&with(QUEUE, &[("notifyContentFormat", "JSON")]));
    assert_eq!(made.format, BodyFormat::Json, "the core refuses it");
}

#[test]
fn setting_a_subscription_changes_what_is_given() {
    let world = world();
    let set = [("Action", "SetSubscriptionAttributes")];
    let subscription = READER;
    let changed = op::SubscriptionChanged { subscription };
    world.answers(AnyOutput::SetSubscriptionAttributes(changed));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success"});
    let answer = world.ask(&with(THIS, &set));
    assert_eq!(without_number(answer), expected);
    let Some(AnyOperation::SetSubscriptionAttributes(nothing)) = world.fake.last() else {
        panic!("no set");
    };
    assert_eq!(nothing.changes, op::SubscriptionChanges::default());
    let all = [
        ("endpoint", "any thing&at=all"),
        ("protocol", "any"),
        ("notifyStrategy", "EXPONENTIAL_DECAY_RETRY"),
        ("notifyContentFormat", "JSON"),
        ("filterTag.1", "red"),
        ("bindingKey.1", "k"),
        ("deadLetterQueueName", "lost"),
    ];
    let expected = op::SubscriptionChanges {
        retry: Some(RetryStrategy::ExponentialDecay),
        format: Some(BodyFormat::Json),
        tags: Some(vec![tag("red")]),
        binding_keys: Some(vec![binding_key("k")]),
        dead_letter: DeadLetterQueueChange::Set(QueueName::new("lost").unwrap()),
    };
    assert_eq!(world.set(&with(&set, &all)).changes, expected);
    let removed = world.set(&with(&set, &[("deadLetterQueueName", "")]));
    assert_eq!(removed.changes.dead_letter, DeadLetterQueueChange::Remove);
    for (more, expected) in [
        (("notifyStrategy", "x"), (4000, 10520)),
        (("notifyContentFormat", "x"), (4000, 10530)),
        (("deadLetterQueueName", "a.b"), (4000, 10020)),
    ] {
        let parameters = with(&with(THIS, &set), &[more]);
        assert_eq!(world.codes(&parameters), expected, "{more:?}");
    }
    let answer = world.refused(Error::NoSuchSubscription, &with(THIS, &set));
    assert_eq!(answer["code"], 4000);
    assert_eq!(answer["message"], "(10560)subscription is not existed");
}

#[test]
fn clearing_the_tags_is_spelled_as_clients_spell_it() {
    let world = world();
    let clear = [
        ("Action", "ClearSUbscriptionFIlterTags"),
        ("topicName", "News"),
        ("subscriptionName ", "Reader"),
    ];
    let subscription = READER;
    let changed = op::SubscriptionChanged { subscription };
    world.answers(AnyOutput::SetSubscriptionAttributes(changed));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success"});
    assert_eq!(without_number(world.ask(&clear)), expected);
    let Some(AnyOperation::SetSubscriptionAttributes(set)) = world.fake.last() else {
        panic!("no set");
    };
    let changes = op::SubscriptionChanges {
        tags: Some(Vec::new()),
        ..op::SubscriptionChanges::default()
    };
    assert_eq!((set.name.as_str(), set.changes), ("Reader", changes));
}

fn description(endpoint: Endpoint, filter: Filter) -> SubscriptionDescription {
    SubscriptionDescription {
        subscription: READER,
        topic: TopicName::new("News").unwrap(),
        name: SubscriptionName::new("Reader").unwrap(),
        endpoint,
        retry: RetryStrategy::BackOff,
        format: BodyFormat::Simplified,
        filter,
        dead_letter: None,
        created: Timestamp(5_999),
        modified: Timestamp(7_000),
        waiting: 8,
        totals: SubscriptionTotals {
            matched: 1,
            delivered: 2,
            expired: 3,
            given_up: 4,
            dead_lettered: 5,
        },
        failures: Vec::new(),
    }
}

#[test]
fn a_subscriptions_description_has_every_spelling_that_clients_read() {
    let world = world();
    let get = with(THIS, &[("Action", "GetSubscriptionAttributes")]);
    let endpoint = Endpoint::Queue {
        name: QueueName::new("Orders").unwrap(),
        queue: None,
    };
    let filter = Filter::BindingKeys(Box::new([binding_key("a.#")]));
    let output = AnyOutput::DescribeSubscription(description(endpoint, filter));
    world.answers(output);
    let answer = world.ask(&get);
    let id = answer["subscriptionId"].clone();
    let expected = json!({
        "code": 0, "message": "", "codeDesc": "Success",
        "subscriptionId": id, "subscriptionName": "Reader", "topicName": "News",
        "topicOwner": ACCOUNT.0.to_string(), "protocol": "queue", "protocal": "queue",
        "endpoint": "Orders", "notifyStrategy": "BACKOFF_RETRY",
        "notifyContentFormat": "SIMPLIFIED", "filterTag": [], "filterTags": [],
        "bindingKey": ["a.#"], "createTime": 5, "lastModifyTime": 7, "msgCount": 8,
        "deliveredNum": 2, "expiredNum": 3, "givenUpNum": 4, "deadLetteredNum": 5,
        "lastFailures": [],
    });
    assert_eq!(without_number(answer), expected);
    let answer = world.refused(Error::NoSuchSubscription, &get);
    assert_eq!(codes(&answer), (4000, 10560));
}

#[test]
fn a_description_tells_why_deliveries_failed() {
    let world = world();
    let url = "https://h/".into();
    let filter = Filter::Tags(Box::new([tag("red")]));
    let mut found = description(Endpoint::Http { url }, filter);
    found.dead_letter = Some(QueueName::new("lost").unwrap());
    found.format = BodyFormat::Json;
    found.retry = RetryStrategy::ExponentialDecay;
    let failure = DeliveryFailure {
        at: Timestamp(9_999),
        message: MessageId::from_number(12).unwrap(),
        attempt: 3,
        status: Some(503),
        took: Millis(42),
        reason: "the answer is no success".to_owned(),
        answer: b"busy\xff"[..].into(),
    };
    let unanswered = DeliveryFailure {
        status: None,
        answer: b""[..].into(),
        ..failure.clone()
    };
    found.failures = vec![failure, unanswered];
    world.answers(AnyOutput::DescribeSubscription(found));
    let answer = world.ask(&with(THIS, &[("Action", "GetSubscriptionAttributes")]));
    assert_eq!(answer["protocol"], "http");
    assert_eq!(answer["endpoint"], "https://h/");
    assert_eq!(answer["notifyStrategy"], "EXPONENTIAL_DECAY_RETRY");
    assert_eq!(answer["notifyContentFormat"], "JSON");
    assert_eq!(answer["filterTag"], json!(["red"]));
    assert_eq!(answer["filterTags"], json!(["red"]));
    assert_eq!(answer["bindingKey"], json!([]));
    assert_eq!(answer["deadLetterQueueName"], "lost");
    let reason = "the answer is no success";
    let expected = json!([
        {
            "time": 9, "msgId": "12", "attempt": 3, "status": 503, "milliseconds": 42,
            "reason": reason, "answer": "busy\u{fffd}",
        },
        {
            "time": 9, "msgId": "12", "attempt": 3, "milliseconds": 42,
            "reason": reason, "answer": "",
        },
    ]);
    assert_eq!(answer["lastFailures"], expected);
}

#[test]
fn lists_of_subscriptions_are_pages_and_never_null() {
    let world = world();
    let list = [
        ("Action", "ListSubscriptionByTopic"),
        ("topicName", "News"),
        ("searchWord ", "ead"),
        ("offset ", "2"),
    ];
    let url = "https://h/".into();
    let subscriptions = vec![SubscriptionListing {
        subscription: READER,
        name: SubscriptionName::new("Reader").unwrap(),
        endpoint: Endpoint::Http { url },
    }];
    let total = 7;
    let listed = op::SubscriptionsListed {
        total,
        subscriptions,
    };
    world.answers(AnyOutput::ListSubscriptions(listed));
    let answer = world.ask(&with(&list, &[("limit ", "101")]));
    let id = answer["subscriptionList"][0]["subscriptionId"].clone();
    let expected = json!({
        "code": 0, "message": "", "codeDesc": "Success", "totalCount": 7,
        "subscriptionList": [{
            "subscriptionId": id, "subscriptionName": "Reader", "protocol": "http",
            "endpoint": "https://h/",
        }],
    });
    assert_eq!(without_number(answer), expected);
    for (more, limit) in [
        (&[("limit ", "101")][..], 100),
        (&[("limit", "0")], 0),
        (&[], 20),
    ] {
        let listed = op::SubscriptionsListed {
            total,
            subscriptions: Vec::new(),
        };
        world.answers(AnyOutput::ListSubscriptions(listed));
        let answer = world.ask(&with(&list, more));
        assert_eq!(answer["subscriptionList"], json!([]));
        let Some(AnyOperation::ListSubscriptions(list)) = world.fake.last() else {
            panic!("no list");
        };
        let found = (list.offset, list.limit, &*list.search);
        assert_eq!(found, (2, limit, "ead"));
    }
}

#[test]
fn a_subscription_ends_once() {
    let world = world();
    let end = with(THIS, &[("Action", "Unsubscribe")]);
    world.answers(AnyOutput::Unsubscribe(op::Unsubscribed));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success"});
    assert_eq!(without_number(world.ask(&end)), expected);
    let Some(AnyOperation::Unsubscribe(ended)) = world.fake.last() else {
        panic!("nothing ended");
    };
    let names = (ended.topic.as_str(), ended.name.as_str());
    assert_eq!(names, ("News", "Reader"));
    for (error, expected) in [
        (Error::NoSuchSubscription, (4000, 10560)),
        (Error::NoSuchTopic, (4440, 10600)),
    ] {
        assert_eq!(codes(&world.refused(error, &end)), expected);
    }
}
