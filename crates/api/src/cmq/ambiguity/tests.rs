//! Sets of parameters that share a signed text, and which of them is taken.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::{
    auth::host::Host,
    cmq::{
        action::Action,
        message::{BatchSendMessage, SendMessage},
        parameters::Arguments,
        publish::{BatchPublishMessage, PublishMessage},
        queue::ListQueue,
        subscription::{SetSubscriptionAttributes, Subscribe},
    },
    dialect::CMQ_PATHS,
    encode_form,
};

fn fault<A: Action>(form: &str) -> Option<Fault> {
    let form = Form::parse(form.to_owned().into()).unwrap();
    check(&form, A::FIELDS).err().map(|refusal| refusal.fault)
}

/// What is said about a set of parameters, if it is refused.
fn said<A: Action>(form: &str) -> String {
    let form = Form::parse(form.to_owned().into()).unwrap();
    check(&form, A::FIELDS).unwrap_err().to_string()
}

#[test]
fn what_has_no_equals_sign_belongs_to_the_value_before_it() {
    for form in [
        "msgBody=x&msgTag.1=R%26D&msgTag.2=%26%26&routingKey=a.%26&topicName=n",
        "RequestClient=a%26b&msgBody=x%26y&msgTag.1=a%26b%26c&topicName=n",
        "msgBody=x%26msgTag.1&msgTag.1=R%26D&topicName=n",
    ] {
        assert_eq!(fault::<PublishMessage>(form), None, "{form}");
    }
    let form = "msgBody.1=x&msgBody.2=%26y&msgTag.1=R%26D&topicName=n";
    assert_eq!(fault::<BatchPublishMessage>(form), None);
    let form = "bindingKey.1=a%26b&endpoint=http%3A%2F%2Fh%2F%3Fa%26b&filterTag.1=R%26D\
        &protocol=http&subscriptionName=s&topicName=n";
    assert_eq!(fault::<Subscribe>(form), None);
    assert_eq!(fault::<SetSubscriptionAttributes>(form), None);
    assert_eq!(fault::<ListQueue>("limit=5&searchWord=R%26D"), None);
    let refused = Some(Fault::ParametersInvalid);
    for word in ["a%26x%3D", "a%26%3D", "a%26b%26x%3D1%26c", "a%26b%3Dc%26"] {
        let form = format!("limit=5&searchWord={word}");
        assert_eq!(fault::<ListQueue>(&form), refused, "{word}");
    }
}

#[test]
fn what_is_refused_says_which_rule_it_broke() {
    let place = "docs/dialects/cmq.md, Ambiguity, rule";
    for (said, vendors, own, rule) in [
        (
            said::<ListQueue>("a%26b=1"),
            "(10310)error: parameter a&b key format error",
            "it holds & or =",
            1,
        ),
        (
            said::<ListQueue>("searchWord=a%26x%3D1"),
            "(10110)request parameters error",
            "searchWord holds a & and then a =, like another parameter",
            2,
        ),
        (
            said::<SendMessage>("msgBody=x&page=2&queueName=q"),
            "(10320)no such parameter page",
            "it may not stand here beside a message body or an endpoint",
            3,
        ),
        (
            said::<BatchSendMessage>("msgBody.1=a%26msgBody.2%3Db&queueName=q"),
            "(10110)request parameters error",
            "msgBody.1 holds what reads like another message of the batch",
            4,
        ),
        (
            said::<PublishMessage>("msgBody=a%26msgTag.1%3Db&topicName=n"),
            "(10110)request parameters error",
            "msgBody ends in what reads like another parameter",
            5,
        ),
    ] {
        assert_eq!(said, format!("{vendors}: {own} ({place} {rule})"));
    }
}

#[test]
fn bodies_may_hold_what_they_like() {
    let body = "x%26y%3D1%26queueName%3Db";
    let form = format!("a=1&msgBody={body}&queueName=q");
    assert_eq!(fault::<SendMessage>(&form), None);
    let form = "msgBody.0=x%26y%3D1&msgBody.1=%26&queueName=q";
    assert_eq!(fault::<BatchSendMessage>(form), None);
    let form = "msgBody=a%26msgBody.1%3Db&queueName=q";
    assert_eq!(fault::<SendMessage>(form), None);
    let body = "x%26msgTag.1%3Da%26y%3D1%26topicName%3Db";
    for tail in ["msgTag.1=t&routingKey=r&topicName=n", "topicName=n"] {
        let form = format!("a=1&msgBody={body}&{tail}");
        assert_eq!(fault::<PublishMessage>(&form), None, "{tail}");
        let form = format!("msgBody.1=%26&msgBody.2={body}&{tail}");
        assert_eq!(fault::<BatchPublishMessage>(&form), None, "{tail}");
    }
}

#[test]
fn a_cut_off_tail_of_a_body_is_no_parameter() {
    for (form, expected) in [
        ("msgBody=x&page=2&queueName=q", Fault::NoSuchParameter),
        ("msgBody=x&queueName=a&queueName=b", Fault::NotRepeatable),
        (
            "msgBody=x&queueName=a%26queueName%3Db",
            Fault::ParametersInvalid,
        ),
    ] {
        assert_eq!(fault::<SendMessage>(form), Some(expected), "{form}");
    }
    for (form, expected) in [
        ("msgBody=x&page=2&topicName=n", Fault::NoSuchParameter),
        ("msgBody=x&queueName=q&topicName=n", Fault::NoSuchParameter),
        ("msgBody=x&msgTag.x=t&topicName=n", Fault::NoSuchParameter),
        (
            "msgBody=x&msgTag.1=t%26msgTag.2%3Du&topicName=n",
            Fault::ParametersInvalid,
        ),
    ] {
        assert_eq!(fault::<PublishMessage>(form), Some(expected), "{form}");
    }
}

#[test]
fn the_end_of_a_published_body_is_no_label() {
    for (end, tail, expected) in [
        ("msgTag.1%3Dt", "topicName=n", false),
        ("msgTag_1%3Dt", "topicName=n", false),
        ("%20msgTag.12%20%3Dt", "topicName=n", false),
        ("msgTag.1%3Dt", "msgTag.2=u&topicName=n", false),
        ("msgTag.1%3Dt", "routingKey=r&topicName=n", false),
        ("routingKey%3Dr", "topicName=n", false),
        ("routingKey%3Dr", "routingKey=s&topicName=n", true),
        ("routingKey%3Dr", "msgTag.1=t&topicName=n", true),
        ("topicName%3Dm", "topicName=n", true),
        ("msgTag%3Dt", "topicName=n", true),
        ("msgTag.%3Dt", "topicName=n", true),
        ("msgTag.x%3Dt", "topicName=n", true),
        ("msgTag.1", "topicName=n", true),
        ("msgTag.1%3Dt%26", "topicName=n", false),
        ("msgTag.1%3DR%26D%26", "topicName=n", false),
        ("routingKey%3Dr%26D", "routingKey=s&topicName=n", true),
        ("msgTag.1%3Dt%26x%3D1%26y", "topicName=n", true),
        ("queueName%3Dq", "topicName=n", true),
    ] {
        let refusal = (!expected).then_some(Fault::ParametersInvalid);
        let form = format!("msgBody=a%26{end}&{tail}");
        assert_eq!(fault::<PublishMessage>(&form), refusal, "{form}");
        let form = format!("msgBody.1=a%26{end}&msgBody.2=b&{tail}");
        assert_eq!(fault::<BatchPublishMessage>(&form), None, "{form}");
        let form = format!("msgBody.1=a&msgBody.2=a%26{end}&{tail}");
        assert_eq!(fault::<BatchPublishMessage>(&form), refusal, "{form}");
        let form = format!("msgBody={end}&{tail}");
        assert_eq!(fault::<PublishMessage>(&form), None, "{form}");
    }
}

#[test]
fn a_url_may_have_a_query() {
    let rest = "protocol=http&subscriptionName=s&topicName=n";
    let url = "http%3A%2F%2Fh%2F%3Fa%3D1%26b%3D2%26filterTag.1%3Dx%26c%3D3";
    for tail in [rest, &format!("filterTag.1=x&notifyStrategy=y&{rest}")] {
        let form = format!("bindingKey.1=k&endpoint={url}&{tail}");
        assert_eq!(fault::<Subscribe>(&form), None, "{tail}");
        assert_eq!(fault::<SetSubscriptionAttributes>(&form), None, "{tail}");
    }
    for end in [
        "filterTag.1%3Dx",
        "notifyStrategy%3Dx",
        "notifyContentFormat%3Dx",
    ] {
        let form = format!("endpoint={url}%26{end}&{rest}");
        let refused = Some(Fault::ParametersInvalid);
        assert_eq!(fault::<Subscribe>(&form), refused, "{end}");
    }
    let form = format!("endpoint={url}&page=2&{rest}");
    assert_eq!(fault::<Subscribe>(&form), Some(Fault::NoSuchParameter));
}

#[test]
fn members_of_a_batch_are_not_merged() {
    for merged in [
        "a%26msgBody.2%3Db",
        "a%26msgBody_2%3Db",
        "a%26msgBody.12%20%3Db",
        "%26%20msgBody.2%3D",
        "a%26msgBody.%26msgBody.2%3Db",
    ] {
        let refused = Some(Fault::ParametersInvalid);
        let form = format!("msgBody.1={merged}&queueName=q");
        assert_eq!(fault::<BatchSendMessage>(&form), refused, "{merged}");
        let form = format!("msgBody.1={merged}&topicName=n");
        assert_eq!(fault::<BatchPublishMessage>(&form), refused, "{merged}");
    }
}

#[test]
fn what_only_resembles_a_member_may_stand_in_a_batch() {
    for body in [
        "a%26msgBody.",
        "see%20%26msgBody.length%3D3",
        "%26msgBody.2",
        "%26msgBody.2x%3D",
        "%26msgBody%3Dx",
        "%26msgBody-2%3D",
        "msgBody.2%3Dx",
    ] {
        let form = format!("msgBody.1={body}&queueName=q");
        assert_eq!(fault::<BatchSendMessage>(&form), None, "{body}");
    }
}

#[test]
fn a_single_body_beside_those_of_a_batch_is_refused() {
    // The first is signed like one member ` msgBody.1` with the value `a&msgBody=b`.
    for form in [
        "%20msgBody.1=a&msgBody=b&queueName=q",
        "msgBody=b&msgBody.1=a&queueName=q",
    ] {
        let refused = Some(Fault::NoSuchParameter);
        assert_eq!(fault::<BatchSendMessage>(form), refused, "{form}");
    }
}

#[test]
fn bodies_stand_together() {
    // Signed like two members, the second of which ends in `&queueName=z`.
    let form = "%09msgBody.1=a&%20queueName=q&msgBody.2=b";
    let refused = Some(Fault::NoSuchParameter);
    assert_eq!(fault::<BatchSendMessage>(form), refused);
}

#[test]
fn an_optional_parameter_does_not_hide_in_another() {
    let form = "clientRequestId=1%26delaySeconds%3D5&msgBody=x&queueName=q";
    let refused = Some(Fault::ParametersInvalid);
    assert_eq!(fault::<SendMessage>(form), refused);
    let form = "clientRequestId%3D1%26delaySeconds=5&msgBody=x&queueName=q";
    assert_eq!(fault::<SendMessage>(form), Some(Fault::KeyFormat));
    let form = "limit=5&searchWord=a%26x%3D1";
    assert_eq!(fault::<ListQueue>(form), refused);
}

/// Texts in which a name can begin, and some that only look like it.
const PIECES: &[&str] = &[
    "msgBody=a",
    "\tmsgBody=a",
    "msgBody.1=a",
    "msgBody.2=b",
    "\tmsgBody.1=a",
    " msgBody.2 =b",
    "msgBody_2=b",
    "msgTag.1=t",
    "msgTag.2=u",
    " msgTag.1=v",
    "msgTag_1=w",
    "msgTag.1",
    "routingKey=r",
    " routingKey=s",
    "routingKey =",
    "topicName=n",
    " topicName=m",
    "queueName=q",
    " queueName=p",
    "page=2",
    "b",
    "",
];
const URL_PIECES: &[&str] = &[
    "endpoint=http://h/?a=1",
    "\tendpoint=http://h/?a=1",
    "b=2",
    "b",
    "",
    "filterTag.1=t",
    " filterTag.1=u",
    "filterTag.2=v",
    "notifyContentFormat=JSON",
    "notifyStrategy=BACKOFF_RETRY",
    " notifyStrategy=x",
    "protocol=http",
    " protocol=https",
    "subscriptionName=s",
    " subscriptionName=r",
    "subscriptionName =q",
    "topicName=n",
    " topicName=m",
];
const BODY_ENDS: &[&[&str]] = &[
    &["queueName=q"],
    &["topicName=n"],
    &["msgTag.1=t", "topicName=n"],
    &["routingKey=r", "topicName=n"],
    &[],
];
const URL_ENDS: &[&[&str]] = &[
    &["protocol=http", "subscriptionName=s", "topicName=n"],
    &["subscriptionName=s", "topicName=n"],
    &[],
];

/// What an action takes from a set of parameters.
type Reading = Vec<Vec<Vec<u8>>>;

/// What the action reads, if the set is accepted.
fn reading(form: &Form, fields: &[Field]) -> Option<Reading> {
    let arguments = Arguments::read(form, fields).ok()?;
    check(form, fields).ok()?;
    let values = |field: &Field| arguments.raw_list(field.name).map(<[u8]>::to_vec).collect();
    Some(fields.iter().map(values).collect())
}

fn signed_text(form: &Form) -> Vec<u8> {
    let parameters = form.pairs().map(|(name, value)| {
        let name: Vec<_> = name
            .iter()
            .map(|byte| if *byte == b'_' { b'.' } else { *byte })
            .collect();
        [&name, &b"="[..], value].concat()
    });
    parameters.collect::<Vec<_>>().join(&b'&')
}

/// Every set of parameters whose signed text consists of these pieces.
fn sets(pieces: &[&str]) -> Vec<Form> {
    let text = pieces.join("&").into_bytes();
    let mut sets = Vec::new();
    for cuts in 0..1_u32 << (pieces.len() - 1) {
        let mut parameters = vec![pieces[0].to_owned()];
        for (number, piece) in pieces[1..].iter().enumerate() {
            if cuts >> number & 1 == 1 {
                parameters.push((*piece).to_owned());
            } else {
                let last = parameters.last_mut().unwrap();
                last.push('&');
                last.push_str(piece);
            }
        }
        // A dot in a name may have been an underscore, which changes the order of names.
        let may_be = |number: usize| parameters[number].contains('.');
        for underscores in 0..1_u32 << parameters.len() {
            if (0..parameters.len()).any(|number| underscores >> number & 1 == 1 && !may_be(number))
            {
                continue;
            }
            let pairs: Vec<_> = parameters
                .iter()
                .enumerate()
                .filter_map(|(number, parameter)| {
                    let (name, value) = parameter.split_once('=')?;
                    let dotted = underscores >> number & 1 == 0;
                    let name = if dotted {
                        name.to_owned()
                    } else {
                        name.replace('.', "_")
                    };
                    Some((name, value))
                })
                .collect();
            let pairs = pairs.iter().map(|(name, value)| (name.as_str(), *value));
            let form = Form::parse(encode_form(pairs).into()).unwrap();
            if signed_text(&form) == text {
                sets.push(form);
            }
        }
    }
    sets
}

fn readings(pieces: &[&str], fields: &[Field]) -> BTreeSet<Reading> {
    let sets = sets(pieces);
    sets.iter()
        .filter_map(|form| reading(form, fields))
        .collect()
}

const WITH_BODIES: &[&[Field]] = &[
    SendMessage::FIELDS,
    BatchSendMessage::FIELDS,
    PublishMessage::FIELDS,
    BatchPublishMessage::FIELDS,
];
const WITH_URLS: &[&[Field]] = &[Subscribe::FIELDS, SetSubscriptionAttributes::FIELDS];

#[test]
fn one_reading_is_taken_of_a_text_that_has_many() {
    let pieces = ["msgBody=a", "msgTag.1=t", "routingKey=r", "topicName=n"];
    let taken = readings(&pieces, PublishMessage::FIELDS);
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    let expected = vec![text("n"), text("a"), text("t"), text("r")];
    assert_eq!(taken.into_iter().collect::<Vec<_>>(), [expected]);
}

/// Values that hold hosts, paths and the beginning of other parameters.
const WITH_HOSTS: &[&str] = &[
    "msgBody=a",
    "msgBody=a/v2/index.php?msgBody=b",
    "msgBody=h/?topicName=m",
    "msgBody.1=//v2/index.php?queueName=p",
    "b/v2/index.php/v2/index.php?msgBody=c",
    "searchWord=/v2/index.php?queueName=p",
    "/?msgBody.1=a",
    "queueName=q",
    "topicName=n/v2/index.php?queueName=p",
    "topicName=n",
];

/// Everything that a request could be whose signed text, without the method, is this one: a host, a
/// path and the pieces of its parameters.
fn requests(text: &str) -> Vec<(Host<'_>, &str, Vec<&str>)> {
    let mut requests = Vec::new();
    for place in 0..text.len() {
        for path in CMQ_PATHS {
            let Some(rest) = text[place..].strip_prefix(path) else {
                continue;
            };
            let (Some(pieces), Ok(host)) = (
                rest.strip_prefix('?'),
                Host::read(&text.as_bytes()[..place]),
            ) else {
                continue;
            };
            requests.push((host, path, pieces.split('&').collect()));
        }
    }
    requests
}

#[test]
fn a_signed_text_has_one_host_and_one_path() {
    for path in CMQ_PATHS {
        let text = format!("h:1{path}?msgBody=x/v2/index.php?a=1&queueName=h/?b");
        let requests = requests(&text);
        assert_eq!(requests.len(), 1, "{requests:?}");
        assert_eq!((requests[0].0.as_str(), requests[0].1), ("h:1", path));
    }
}

/// Few enough for every row of four; a name with a blank before it is signed early.
const SHORT: &[(&[Field], &[&str])] = &[
    (
        PublishMessage::FIELDS,
        &[
            "msgBody=a",
            "\tmsgBody=a",
            "msgTag.1=t",
            " msgTag.2=u",
            "routingKey=r",
            " routingKey=s",
            "topicName=n",
            " topicName=m",
            "b",
        ],
    ),
    (
        BatchPublishMessage::FIELDS,
        &[
            "\tmsgBody.1=a",
            "msgBody.1=a",
            "msgBody.2=b",
            "msgTag.1=t",
            " msgTag.2=u",
            "routingKey=r",
            " routingKey=s",
            "topicName=n",
            " topicName=m",
            "b",
        ],
    ),
    (
        BatchSendMessage::FIELDS,
        &[
            "\tmsgBody.1=a",
            "msgBody.1=a",
            "msgBody.2=b",
            "queueName=q",
            " queueName=p",
            "delaySeconds=1",
            "b",
        ],
    ),
    (
        SetSubscriptionAttributes::FIELDS,
        &[
            "\tendpoint=u",
            "endpoint=u",
            "filterTag.1=t",
            " filterTag.2=u",
            " protocol=http",
            "subscriptionName=s",
            " subscriptionName=r",
            "topicName=n",
            " topicName=m",
            "b",
        ],
    ),
];

#[test]
fn of_all_short_texts_one_reading_is_taken_at_most() {
    for (fields, alphabet) in SHORT {
        let mut taken = 0;
        let mut row = [0; 4];
        loop {
            let pieces: Vec<_> = row.iter().map(|place| alphabet[*place]).collect();
            let readings = readings(&pieces, fields);
            assert!(readings.len() <= 1, "{pieces:?}: {readings:?}");
            taken += readings.len();
            let Some(place) = row.iter().position(|place| place + 1 < alphabet.len()) else {
                break;
            };
            row[..place].fill(0);
            row[place] += 1;
        }
        assert!(taken > 0, "something is taken");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn no_two_readings_share_a_signed_text(
        mut pieces in proptest::collection::vec(proptest::sample::select(PIECES), 1..6),
        end in proptest::sample::select(BODY_ENDS),
    ) {
        pieces.extend(end);
        for fields in WITH_BODIES {
            let taken = readings(&pieces, fields);
            prop_assert!(taken.len() <= 1, "{pieces:?}: {taken:?}");
        }
    }

    #[test]
    fn no_two_requests_share_a_signed_text_wherever_their_host_ends(
        host in proptest::sample::select(&["h", "h:80", "[::1]"][..]),
        path in proptest::sample::select(&CMQ_PATHS[..]),
        pieces in proptest::collection::vec(proptest::sample::select(WITH_HOSTS), 1..6),
    ) {
        let text = format!("{host}{path}?{}", pieces.join("&"));
        let actions = [WITH_BODIES, &[ListQueue::FIELDS]].concat();
        let mut taken = BTreeSet::new();
        for (host, path, pieces) in requests(&text) {
            for fields in &actions {
                let readings = readings(&pieces, fields);
                prop_assert!(readings.len() <= 1, "{pieces:?}: {readings:?}");
                taken.extend((!readings.is_empty()).then(|| (host.to_string(), path)));
            }
        }
        prop_assert!(taken.len() <= 1, "{text}: {taken:?}");
    }

    #[test]
    fn no_two_subscriptions_share_a_signed_text(
        mut pieces in proptest::collection::vec(proptest::sample::select(URL_PIECES), 1..5),
        end in proptest::sample::select(URL_ENDS),
    ) {
        pieces.extend(end);
        for fields in WITH_URLS {
            let taken = readings(&pieces, fields);
            prop_assert!(taken.len() <= 1, "{pieces:?}: {taken:?}");
        }
    }

    #[test]
    fn an_accepted_set_is_the_one_that_its_text_is_cut_into(
        parameters in proptest::collection::vec(
            (proptest::sample::select(PIECES), proptest::collection::vec(proptest::sample::select(PIECES), 0..3)),
            1..6,
        ),
    ) {
        let pairs: Vec<_> = parameters
            .iter()
            .filter_map(|(piece, more)| {
                let (name, value) = piece.split_once('=')?;
                Some((name, [&[value], &more[..]].concat().join("&")))
            })
            .collect();
        let pairs = pairs.iter().map(|(name, value)| (*name, value.as_str()));
        crate::fuzzing::canonical(encode_form(pairs).as_bytes());
    }
}
