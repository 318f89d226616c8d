//! Making, changing, listing and ending topics, and where they are found.

use anser_broker::{
    attributes::{Acknowledge, FilterKind, TopicAttributes, TopicChanges},
    error::Error,
    id::{QueueId, TopicId},
    name::TopicName,
    op::{QueueCounts, TopicDescription, TopicListing},
    version::ClusterVersion,
};

use super::*;

const CREATE: &[(&str, &str)] = &[("Action", "CreateTopic"), ("topicName", "News")];
const NEWS: TopicId = TopicId(78);

fn name() -> TopicName {
    TopicName::new("News").unwrap()
}

fn description() -> TopicDescription {
    TopicDescription {
        topic: NEWS,
        name: name(),
        attributes: TopicAttributes {
            body_bytes_max: 65_536,
            retention: Millis(86_400_000),
            filter: FilterKind::RoutingKey,
            acknowledge: Acknowledge::Majority,
        },
        created: Timestamp(5_999),
        modified: Timestamp(7_000),
        subscriptions: 2,
        waiting: 3,
        published: 4,
    }
}

#[test]
fn a_topic_is_created_with_the_vendors_defaults() {
    let world = world();
    world.answers(AnyOutput::CreateTopic(op::TopicCreated { topic: NEWS }));
    let answer = world.ask(CREATE);
    let id = answer["topicId"].as_str().unwrap();
    assert!(id.starts_with("topic-") && id.len() == "topic-".len() + 8);
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success", "topicId": id});
    assert_eq!(without_number(answer.clone()), expected);
    let Some(AnyOperation::CreateTopic(create)) = world.fake.last() else {
        panic!("no create");
    };
    assert_eq!(create.name, name());
    let defaults = TopicAttributes {
        body_bytes_max: 65_536,
        retention: Millis(86_400_000),
        filter: FilterKind::Tags,
        acknowledge: Acknowledge::Majority,
    };
    assert_eq!(create.attributes, defaults);
    assert_eq!((create.topics_max, create.reuse_after), (10_000, Millis(0)));
    world.ask(&with(
        CREATE,
        &[
            ("filterType", "2"),
            ("maxMsgSize", "1024"),
            ("msgRetentionSeconds", "60"),
            ("acknowledge", "all"),
        ],
    ));
    let Some(AnyOperation::CreateTopic(create)) = world.fake.last() else {
        panic!("no create");
    };
    assert_eq!(create.attributes.filter, FilterKind::RoutingKey);
    assert_eq!(create.attributes.body_bytes_max, 1_024);
    assert_eq!(create.attributes.retention, Millis(60_000));
    assert_eq!(create.attributes.acknowledge, Acknowledge::All);
}

#[test]
fn a_topic_is_refused_for_the_vendors_reasons() {
    let world = world();
    for (more, expected) in [
        (("filterType", "0"), (4000, 10350)),
        (("filterType", "3"), (4000, 10350)),
        (("filterType", "x"), (4000, 10360)),
        (("maxMsgSize", "1023"), (4000, 10350)),
        (("maxMsgSize", "1048577"), (4000, 10350)),
        (("msgRetentionSeconds", "59"), (4000, 10350)),
        (("msgRetentionSeconds", "86401"), (4000, 10350)),
        (("acknowledge", "most"), (4000, 10350)),
    ] {
        assert_eq!(world.codes(&with(CREATE, &[more])), expected, "{more:?}");
    }
    let long = "n".repeat(65);
    for name in ["", "1n", "a.b", "n\u{e9}", &long] {
        let answer = world.ask(&[CREATE[0], ("topicName", name)]);
        assert_eq!(answer["message"], "(10590)topic name format error");
        assert_eq!(answer["code"], 4000);
    }
    assert_eq!(world.codes(&CREATE[..1]), (4000, 10390));
    assert!(world.fake.last().is_none());
    for (error, code, message) in [
        (Error::TopicExists, 4460, "(10550)topic is already existed"),
        (
            Error::TopicRecentlyDeleted,
            6040,
            "(10660)It will take some time to release resources of previous topic before you can \
             create a new topic with the same name. Please try later.",
        ),
        (
            Error::NeedsVersion(ClusterVersion(2)),
            4000,
            "(10900)not until every node of the cluster runs version 2",
        ),
        (
            Error::TooManyTopics,
            4450,
            "(10610)number of topics has reached the limit",
        ),
    ] {
        let answer = world.refused(error, CREATE);
        assert_eq!(answer["code"], code);
        assert_eq!(answer["message"], message);
    }
}

#[test]
fn setting_a_topic_changes_what_is_given() {
    let world = world();
    let changed = op::TopicChanged {
        topic: NEWS,
        attributes: description().attributes,
    };
    let set = [
        ("Action", "SetTopicAttributes"),
        ("topicName", "news"),
        ("maxMsgSize", "2048"),
        ("filterType", "1"),
    ];
    world.answers(AnyOutput::SetTopicAttributes(changed));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success"});
    assert_eq!(without_number(world.ask(&set)), expected);
    let Some(AnyOperation::SetTopicAttributes(set)) = world.fake.last() else {
        panic!("no set");
    };
    let changes = TopicChanges {
        body_bytes_max: Some(2_048),
        retention: None,
        acknowledge: None,
    };
    assert_eq!(set.changes, changes);
    let majority = ("acknowledge", "majority");
    world.ask(&[("Action", "SetTopicAttributes"), CREATE[1], majority]);
    let Some(AnyOperation::SetTopicAttributes(set)) = world.fake.last() else {
        panic!("no set");
    };
    assert_eq!(set.changes.acknowledge, Some(Acknowledge::Majority));
    let longer = ("msgRetentionSeconds", "3600");
    world.ask(&[("Action", "SetTopicAttributes"), CREATE[1], longer]);
    let Some(AnyOperation::SetTopicAttributes(set)) = world.fake.last() else {
        panic!("no set");
    };
    assert_eq!(set.changes.retention, Some(Millis(3_600_000)));
    let get = [("Action", "GetTopicAttributes"), ("topicName", "other")];
    let answer = world.refused(Error::NoSuchTopic, &get);
    assert_eq!(answer["message"], "(10600)topic is not existed, or deleted");
    assert_eq!(answer["code"], 4440);
}

#[test]
fn a_topics_description_has_every_field_that_clients_index() {
    let world = world();
    world.answers(AnyOutput::DescribeTopic(description()));
    let answer = world.ask(&[("Action", "GetTopicAttributes"), ("topicName", "news")]);
    let id = answer["topicId"].clone();
    let expected = json!({
        "code": 0, "message": "", "codeDesc": "Success",
        "topicId": id, "topicName": "News", "msgCount": 3, "maxMsgSize": 65_536,
        "msgRetentionSeconds": 86_400, "createTime": 5, "lastModifyTime": 7, "filterType": 2,
        "createUin": ACCOUNT.0, "qps": 5_000, "tags": [], "loggingEnabled": 0, "LoggingEnabled": 0,
    });
    assert_eq!(without_number(answer), expected);
    let mut safe = description();
    safe.attributes.acknowledge = Acknowledge::All;
    world.answers(AnyOutput::DescribeTopic(safe));
    let answer = world.ask(&[("Action", "GetTopicAttributes"), ("topicName", "news")]);
    assert_eq!(answer["acknowledge"], "all");
}

#[test]
fn lists_of_topics_are_pages_and_never_null() {
    let world = world();
    let listing = TopicListing {
        topic: NEWS,
        name: name(),
    };
    for (topics, count) in [(Vec::new(), 0), (vec![listing], 1)] {
        world.answers(AnyOutput::ListTopics(op::TopicsListed { total: 7, topics }));
        let list = [("Action", "ListTopic"), ("limit", "51"), ("offset ", "3")];
        let answer = world.ask(&with(&list, &[("searchWord", "ew")]));
        assert_eq!(answer["totalCount"], 7);
        assert_eq!(answer["topicList"].as_array().unwrap().len(), count);
        if count > 0 {
            let id = answer["topicList"][0]["topicId"].clone();
            assert!(id.as_str().unwrap().starts_with("topic-"));
            let expected = json!([{"topicId": id, "topicName": "News"}]);
            assert_eq!(answer["topicList"], expected);
        }
        let Some(AnyOperation::ListTopics(list)) = world.fake.last() else {
            panic!("no list");
        };
        assert_eq!((list.offset, list.limit, &*list.search), (3, 50, "ew"));
    }
    let none = [("Action", "ListTopic"), ("limit", "0")];
    assert_eq!(world.codes(&none), (4000, 10350));
    world.ask(&[("Action", "ListTopic")]);
    let Some(AnyOperation::ListTopics(list)) = world.fake.last() else {
        panic!("no list");
    };
    assert_eq!((list.offset, list.limit), (0, 20));
}

#[test]
fn a_topic_with_subscriptions_stays() {
    let world = world();
    let delete = [("Action", "DeleteTopic"), ("topicName", "news")];
    let answer = world.refused(Error::TopicHasSubscriptions, &delete);
    assert_eq!(answer["code"], 4000);
    assert_eq!(
        answer["message"],
        "(10540)there exists subscriptions under this topic, please unsubscribe all of them before \
         DeleteTopic"
    );
    world.answers(AnyOutput::DeleteTopic(op::TopicDeleted));
    let expected = json!({"code": 0, "message": "", "codeDesc": "Success"});
    assert_eq!(without_number(world.ask(&delete)), expected);
    assert!(matches!(
        world.fake.last(),
        Some(AnyOperation::DeleteTopic(_))
    ));
}

#[test]
fn a_route_is_the_address_that_the_client_used_unless_another_is_advertised() {
    let mut config = Config::new([9; 32]);
    let usual = world_with(config.clone(), [key()]);
    config.advertised_tcp = vec!["a.example:1".to_owned(), "[::1]:2".to_owned()];
    let advertising = world_with(config, [key()]);
    for (world, expected) in [
        (&usual, json!([HOST])),
        (&advertising, json!(["a.example:1", "[::1]:2"])),
    ] {
        let queue = queue_description();
        world.answers(AnyOutput::DescribeQueue(queue));
        let answer = world.ask(&[("Action", "QueryQueueRoute"), ("queueName", "q")]);
        assert_eq!((&answer["code"], &answer["addr"]), (&json!(0), &expected));
        world.answers(AnyOutput::DescribeTopic(description()));
        let answer = world.ask(&[("Action", "QueryTopicRoute"), ("topicName", "n")]);
        let whole = json!({"code": 0, "message": "", "codeDesc": "Success", "addr": expected});
        assert_eq!(without_number(answer), whole);
    }
    let missing = [("Action", "QueryQueueRoute"), ("queueName", "q")];
    assert_eq!(usual.codes(&missing), (4440, 10100));
    let missing = [("Action", "QueryTopicRoute"), ("topicName", "n")];
    let answer = usual.refused(Error::NoSuchTopic, &missing);
    assert_eq!(codes(&answer), (4440, 10600));
}

#[test]
fn a_route_has_a_port_even_if_the_client_wrote_none() {
    let world = world();
    for (host, expected) in [
        ("cmq.example", json!(["cmq.example:80"])),
        ("[::1]", json!(["[::1]:80"])),
        ("[::1]:9", json!(["[::1]:9"])),
    ] {
        world.answers(AnyOutput::DescribeTopic(description()));
        let query = [("Action", "QueryTopicRoute"), ("topicName", "n")];
        let form = signed_for("GET", host, PATH, &query);
        let answer = world.answer(false, &host.parse().unwrap(), PATH, form);
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["addr"], expected, "{host}");
    }
}

fn queue_description() -> op::QueueDescription {
    let world = world();
    op::QueueDescription {
        queue: QueueId(77),
        name: QueueName::new("q").unwrap(),
        attributes: crate::cmq::attributes::defaults(&world.scope()),
        dead_letter: None,
        created: Timestamp(0),
        modified: Timestamp(0),
        counts: QueueCounts::default(),
    }
}
