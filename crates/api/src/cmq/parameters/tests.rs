//! What is wrong with parameters, and which mistake is told first.

use proptest::prelude::*;

use super::*;

const FIELDS: &[Field] = &[
    Field::required("queueName", Kind::QueueName),
    Field::required("numOfMsg", Kind::integer(1, 16)),
    Field::optional("searchWord", Kind::Text(8)),
    Field::optional("limit", Kind::integer(0, 50)),
];
const BATCH: &[Field] = &[Field::required("msgBody", Kind::Bodies)];

const SUBSCRIBE: &[Field] = &[
    Field::required("topicName", Kind::TopicName),
    Field::required("subscriptionName", Kind::SubscriptionName),
    Field::optional(
        "filterTag",
        Kind::Tags {
            beyond: Fault::TooManyFilterTags,
        },
    ),
    Field::optional(
        "bindingKey",
        Kind::Keys {
            beyond: Fault::TooManyBindingKeys,
        },
    ),
    Field::optional("routingKey", Kind::Key),
    Field::optional("deadLetterQueueName", Kind::QueueNameOrEmpty),
];

fn form(text: &str) -> Form {
    Form::parse(text.to_owned().into()).unwrap()
}

fn message(text: &str, fields: &[Field]) -> String {
    match Arguments::read(&form(text), fields) {
        Ok(_) => "fine".to_owned(),
        Err(refusal) => refusal.to_string(),
    }
}

fn module(text: &str, fields: &[Field]) -> u16 {
    Arguments::read(&form(text), fields).map_or_else(|refusal| refusal.fault.module(), |_| 0)
}

#[test]
fn each_mistake_has_its_text() {
    for (text, expected) in [
        ("queueName=q&numOfMsg=1", "fine"),
        (
            "numOfMsg=1",
            "(10390)lacked of required parameter queueName",
        ),
        (
            "queueName=q&numOfMsg=x",
            "(10360)parameter numOfMsg error type",
        ),
        (
            "queueName=q&numOfMsg=17",
            "(10350)parameter numOfMsg value or length is out of range",
        ),
        (
            "queueName=q&numOfMsg=1&queueName.1=r",
            "(10330)parameter queueName.1 is NOT a repeatable parameter",
        ),
        (
            "queueName=q&numOfMsg=1&numOfMsg=2",
            "(10330)parameter numOfMsg is NOT a repeatable parameter",
        ),
        ("queueName=1q&numOfMsg=1", "(10020)queue name format error"),
        ("queueName=&numOfMsg=1", "(10020)queue name format error"),
        (
            "queueName=q&numOfMsg=1&searchWord=%ff",
            "(10420)cannot parse searchWord, or request size is more than 1MB",
        ),
    ] {
        assert_eq!(message(text, FIELDS), expected, "{text}");
    }
}

#[test]
fn mistakes_are_told_in_the_vendors_order() {
    assert_eq!(module("queueName=1q&limit=x", FIELDS), 10390, "presence");
    assert_eq!(
        module("queueName=1q&numOfMsg=99&limit=x", FIELDS),
        10360,
        "type"
    );
    assert_eq!(module("queueName=1q&numOfMsg=99", FIELDS), 10350, "range");
    assert_eq!(module("queueName=1q&numOfMsg=9", FIELDS), 10020, "name");
}

#[test]
fn odd_integers_are_no_integers() {
    for odd in ["1e3", "%201", "%2B1", "+1", "1.0", "0x1", "%D9%A1", ""] {
        let text = format!("queueName=q&numOfMsg={odd}");
        assert_eq!(module(&text, FIELDS), 10360, "{odd}");
    }
    for far in [
        "-1",
        "0",
        "17",
        "2147483648",
        "9223372036854775808",
        "99999999999999999999",
    ] {
        let text = format!("queueName=q&numOfMsg={far}");
        assert_eq!(module(&text, FIELDS), 10350, "{far}");
    }
}

#[test]
fn strange_names_are_no_queue_names() {
    let long = "q".repeat(65);
    for name in [
        "..%2Fx",
        "a%2Fb",
        ".",
        "%252e",
        "q%00",
        "q%20",
        "%E2%80%AEq",
        "q.",
        &long,
    ] {
        let text = format!("queueName={name}&numOfMsg=1");
        assert_eq!(module(&text, FIELDS), 10020, "{name}");
    }
    let text = format!("queueName={}&numOfMsg=1", "q".repeat(64));
    assert_eq!(module(&text, FIELDS), 0);
}

#[test]
fn an_empty_optional_value_is_an_absent_one() {
    let form = form("queueName=q&numOfMsg=1&limit=&searchWord=");
    let arguments = Arguments::read(&form, FIELDS).unwrap();
    assert_eq!(arguments.integer("limit"), None);
    assert_eq!(arguments.text("searchWord"), None);
}

#[test]
fn blanks_around_a_name_do_not_count() {
    let form = form("queueName=q&numOfMsg=1&limit+=7");
    let arguments = Arguments::read(&form, FIELDS).unwrap();
    assert_eq!(arguments.integer("limit"), Some(7));
    assert_eq!(
        module("queueName=q&numOfMsg=1&limit+=7&limit=8", FIELDS),
        10330
    );
}

#[test]
fn lists_begin_at_zero_or_one_and_have_no_gap() {
    for (text, expected) in [
        ("msgBody.0=a&msgBody.1=b", 0),
        ("msgBody.1=a&msgBody.2=b", 0),
        ("msgBody.1=a&msgBody_2=b", 0),
        ("msgBody.2=a", 10380),
        ("msgBody.1=a&msgBody.3=b", 10380),
        ("msgBody.1=a&msgBody.1=b", 10330),
        ("msgBody.1=a&msgBody_1=b", 10330),
        ("msgBody.01=a", 10310),
        ("msgBody.x=a", 10310),
        ("msgBody.=a", 10310),
        ("msgBody.-1=a", 10310),
        ("msgBody.1.1=a", 10310),
        ("msgBody.99999999999=a", 10380),
        ("msgBody=a", 10390),
        ("msgBodies.1=a", 10390),
        ("", 10390),
        ("msgBody.1=", 10120),
        ("msgBody.1=%ff", 10420),
    ] {
        assert_eq!(module(text, BATCH), expected, "{text}");
    }
}

#[test]
fn a_list_has_at_most_sixteen_members_in_numeric_order() {
    let list = |count: usize| {
        let members = (1..=count).map(|index| format!("msgBody.{index}={index}"));
        members.collect::<Vec<_>>().join("&")
    };
    let sixteen = form(&list(16));
    let arguments = Arguments::read(&sixteen, BATCH).unwrap();
    let bodies = arguments.bodies("msgBody");
    let expected: Vec<_> = (1..=16).map(|index| index.to_string()).collect();
    assert_eq!(bodies, expected);
    assert_eq!(module(&list(17), BATCH), 10370);
}

#[test]
fn each_kind_of_name_has_its_text() {
    for (text, expected) in [
        ("topicName=t&subscriptionName=s", "fine"),
        (
            "topicName=1&subscriptionName=1",
            "(10590)topic name format error",
        ),
        (
            "topicName=t&subscriptionName=1",
            "(10580)subscription name format error",
        ),
        (
            "topicName=t&subscriptionName=s&deadLetterQueueName=1",
            "(10020)queue name format error",
        ),
    ] {
        assert_eq!(message(text, SUBSCRIBE), expected, "{text}");
    }
}

#[test]
fn a_list_that_may_be_absent_has_its_own_bound() {
    let names = "topicName=t&subscriptionName=s";
    for (more, expected) in [
        ("filterTag.1=a&filterTag.2=b", 0),
        ("filterTag.2=a", 10380),
        ("filterTag.1=", 10350),
        ("filterTag.1=%ff", 10420),
        (
            "filterTag.1=&filterTag.3=&filterTag.4=&filterTag.5=&filterTag.6=&filterTag.7=",
            10490,
        ),
        ("filterTag=a", 0),
        ("bindingKey.1=a..b", 0),
        ("bindingKey.1=", 10350),
        ("routingKey=", 0),
        ("routingKey=%ff", 10420),
        ("routingKey=%00", 10350),
        ("routingKey.1=a", 10330),
    ] {
        let text = format!("{names}&{more}");
        assert_eq!(module(&text, SUBSCRIBE), expected, "{more}");
    }
    let form = form(names);
    let arguments = Arguments::read(&form, SUBSCRIBE).unwrap();
    assert!(arguments.tags("filterTag").is_empty());
    assert!(arguments.binding_keys("bindingKey").is_empty());
    assert_eq!(arguments.routing_key("routingKey"), None);
}

#[test]
fn an_empty_queue_name_may_mean_something() {
    let read = |more: &str| {
        let form = form(&format!("topicName=t&subscriptionName=s{more}"));
        let arguments = Arguments::read(&form, SUBSCRIBE).unwrap();
        let value = arguments.raw_if_given("deadLetterQueueName");
        value.map(<[u8]>::to_vec)
    };
    assert_eq!(read(""), None);
    assert_eq!(read("&deadLetterQueueName="), Some(Vec::new()));
    assert_eq!(read("&deadLetterQueueName=q"), Some(b"q".to_vec()));
}

proptest! {
    #[test]
    fn arbitrary_forms_never_panic(raw in "[a-zA-Z0-9.=&%_ -]{0,120}") {
        if let Ok(form) = Form::parse(raw.into_bytes().into()) {
            let _ = Arguments::read(&form, FIELDS);
            let _ = Arguments::read(&form, BATCH);
            let _ = Arguments::read(&form, SUBSCRIBE);
        }
    }

    #[test]
    fn arbitrary_values_never_panic(name in "\\PC{0,10}", count in "\\PC{0,10}") {
        let text = crate::encode_form([("queueName", &*name), ("numOfMsg", &*count)]);
        let _ = Arguments::read(&form(&text), FIELDS);
    }
}
