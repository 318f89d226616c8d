//! Publishing, one message or a batch.

use anser_broker::{
    error::Error,
    labels::{Labels, RoutingKey, Tag},
    name::TopicName,
};

use super::*;

const PUBLISH: &[(&str, &str)] = &[
    ("Action", "PublishMessage"),
    ("topicName", "News"),
    ("msgBody", "hello"),
];
const BATCH: &[(&str, &str)] = &[
    ("Action", "BatchPublishMessage"),
    ("topicName", "News"),
    ("msgBody.0", "a"),
    ("msgBody.1", "b&c"),
];

#[test]
fn a_published_message_carries_its_labels() {
    let world = world();
    let labels = [
        ("msgTag.1", "red"),
        ("msgTag.2", "\u{7ea2}"),
        ("routingKey", "a.b"),
    ];
    let answer = world.ask(&with(PUBLISH, &labels));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success", "msgId": "1"});
    assert_eq!(without_number(answer), expected);
    let Some(AnyOperation::PublishMessages(publish)) = world.fake.last() else {
        panic!("nothing was published");
    };
    assert_eq!(publish.topic, TopicName::new("News").unwrap());
    assert_eq!(publish.bodies, ["hello"]);
    let labels = Labels {
        tags: vec![Tag::new("red").unwrap(), Tag::new("\u{7ea2}").unwrap()],
        routing_key: Some(RoutingKey::new("a.b").unwrap()),
    };
    assert_eq!(publish.labels, labels);
    assert_eq!(world.codes(&with(PUBLISH, &[("routingKey", "")])), (0, 0));
    let Some(AnyOperation::PublishMessages(publish)) = world.fake.last() else {
        panic!("nothing was published");
    };
    assert_eq!(publish.labels, Labels::default());
}

#[test]
fn a_batch_is_published_in_its_order() {
    let world = world();
    let answer = world.ask(&with(BATCH, &[("msgTag.0", "red")]));
    let expected = json!({
        "code": 0, "message": "", "codeDesc": "Success",
        "msgList": [{"msgId": "1"}, {"msgId": "2"}],
    });
    assert_eq!(without_number(answer), expected);
    let Some(AnyOperation::PublishMessages(publish)) = world.fake.last() else {
        panic!("nothing was published");
    };
    assert_eq!(publish.bodies, ["a", "b&c"]);
    assert_eq!(publish.labels.tags, [Tag::new("red").unwrap()]);
    let half = "x".repeat(600_000);
    let large = [("msgBody.0", half.as_str()), ("msgBody.1", &half)];
    assert_eq!(world.codes(&with(&BATCH[..2], &large)), (4470, 10300));
    assert_eq!(world.codes(&BATCH[..2]), (4000, 10390));
    let names: Vec<_> = (0..17).map(|index| format!("msgBody.{index}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), "x")).collect();
    assert_eq!(world.codes(&with(&BATCH[..2], &many)), (4000, 10370));
}

#[test]
fn labels_have_the_vendors_bounds() {
    let world = world();
    let tags: Vec<_> = (1..=6).map(|index| format!("msgTag.{index}")).collect();
    let tags: Vec<_> = tags.iter().map(|name| (name.as_str(), "t")).collect();
    assert_eq!(world.codes(&with(PUBLISH, &tags[..5])), (0, 0));
    let answer = world.ask(&with(PUBLISH, &tags));
    assert_eq!(answer["code"], 4000);
    assert_eq!(answer["message"], "(10720)too many msgTag");
    let (sixteen, seventeen) = ("\u{7ea2}".repeat(16), "t".repeat(17));
    assert_eq!(
        world.codes(&with(PUBLISH, &[("msgTag.1", &sixteen)])),
        (0, 0)
    );
    for tag in [&seventeen, "", "a\tb", "a\u{85}b"] {
        let codes = world.codes(&with(PUBLISH, &[("msgTag.1", tag)]));
        assert_eq!(codes, (4000, 10350), "{tag:?}");
    }
    let (most, beyond) = ("k".repeat(64), "k".repeat(65));
    let (dots, too_many) = (".".repeat(15), ".".repeat(16));
    for (key, expected) in [
        (most.as_str(), (0, 0)),
        (&beyond, (4000, 10350)),
        ("a\nb", (4000, 10350)),
        (&dots, (0, 0)),
        (&too_many, (4000, 10691)),
    ] {
        let codes = world.codes(&with(PUBLISH, &[("routingKey", key)]));
        assert_eq!(codes, expected, "{key:?}");
    }
    let answer = world.ask(&with(PUBLISH, &[("routingKey", &too_many)]));
    assert_eq!(answer["message"], "(10691)too many delimeters");
}

#[test]
fn a_message_is_not_published_for_the_vendors_reasons() {
    let world = world();
    for (error, code, message) in [
        (
            Error::NoSuchTopic,
            4440,
            "(10600)topic is not existed, or deleted",
        ),
        (
            Error::NoSubscription,
            6030,
            "(10650)topic has no subscription, please create a subscription before publishing \
             message",
        ),
        (
            Error::NoSubscriptionMatches,
            6030,
            "(10730)no bindingKey or filterTag matches the routingKey or msgTag",
        ),
        (
            Error::RoutingKeyMissing,
            4000,
            "(10700)parameters lack of routingKey",
        ),
        (
            Error::BodyTooLarge,
            4400,
            "(10230)exceed maximum message size",
        ),
    ] {
        for publish in [PUBLISH, BATCH] {
            let answer = world.refused(error, publish);
            assert_eq!(answer["code"], code);
            assert_eq!(answer["message"], message);
        }
    }
    let empty = [PUBLISH[0], PUBLISH[1], ("msgBody", "")];
    assert_eq!(world.codes(&empty), (4000, 10120));
    let unnamed = [PUBLISH[0], PUBLISH[2], ("topicName", "a b")];
    assert_eq!(world.codes(&unnamed), (4000, 10590));
}

#[test]
fn rates_of_topics_are_their_own() {
    let world = world_rated(Rates {
        messages_per_second: 2,
        account_messages_per_second: u32::MAX,
        control_per_second: 1,
    });
    assert_eq!(world.codes(BATCH), (0, 0));
    assert_eq!(world.codes(PUBLISH), (4420, 10250));
    let send = [
        ("Action", "SendMessage"),
        ("queueName", "news"),
        ("msgBody", "x"),
    ];
    assert_eq!(world.codes(&send), (0, 0));
    let other = [PUBLISH[0], PUBLISH[2], ("topicName", "other")];
    assert_eq!(world.codes(&other), (0, 0));
}

#[test]
fn tags_and_keys_may_hold_an_ampersand() {
    let world = world();
    let labels = [("msgTag.1", "R&D"), ("routingKey", "a&b.&")];
    assert_eq!(world.codes(&with(PUBLISH, &labels)), (0, 0));
    let Some(AnyOperation::PublishMessages(publish)) = world.fake.last() else {
        panic!("nothing was published");
    };
    assert_eq!(publish.labels.tags, [Tag::new("R&D").unwrap()]);
    assert_eq!(
        publish.labels.routing_key,
        Some(RoutingKey::new("a&b.&").unwrap())
    );
    // The same signed text, taken apart otherwise.
    let form = signed_for("POST", HOST, PATH, &with(PUBLISH, &labels));
    let cut = form.replace("R%26D", "R&D");
    assert_ne!(cut, form);
    assert_ne!(codes(&world.raw(cut)), (0, 0));
    let answer = world.ask(&with(PUBLISH, &[("msgTag.1", "R&D=x")]));
    assert_eq!(
        answer["message"],
        "(10110)request parameters error: msgTag.1 holds a & and then a =, like another parameter \
        (docs/dialects/cmq.md, Ambiguity, rule 2)"
    );
}

#[test]
fn a_body_cut_into_labels_is_not_accepted() {
    let world = world();
    let body = "x&routingKey=a";
    let publish = [PUBLISH[0], PUBLISH[1], ("msgBody", body)];
    let form = signed_for("POST", HOST, PATH, &publish);
    assert_eq!(codes(&world.raw(form.clone())), (4000, 10110));
    // The same signed text, taken apart otherwise: this is what the signer may have meant.
    let cut = form.replace("%26routingKey%3Da", "&routingKey=a");
    assert_eq!(codes(&world.raw(cut)), (0, 0));
}
