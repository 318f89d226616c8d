//! Deliveries over HTTP: C164, C166–C170, C174, C175.

use serde_json::{Value, json};

use super::{
    receiver::{Push, Receiver, Reply, texts},
    stage::{Stage, Witness, wait_for_failure, wait_until_empty},
    world::{ACCOUNT, START, World},
};

const SIMPLIFIED: (&str, &str) = ("notifyContentFormat", "SIMPLIFIED");

/// More than are pushed at once to one subscription.
const MANY: usize = 40;

#[test]
fn c164_a_dead_endpoint_delays_no_other_subscription() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Hang);
    let alive = stage.world.receiver();
    let url = alive.url("/");
    let caller = &mut stage.caller;
    caller.create("q", &[]);
    caller.subscribe("t", "alive", &url, &[SIMPLIFIED]).done();
    caller.subscribe("t", "queue", "q", &[]).done();
    let bodies: Vec<String> = (0..MANY).map(|number| format!("{number:02}")).collect();
    for body in &bodies {
        caller.publish("t", body);
    }
    let pushes = alive.wait_for(MANY);
    let mut arrived = texts(&pushes);
    arrived.sort_unstable();
    assert_eq!(arrived, bodies);
    assert_eq!(caller.arrived("q", MANY), bodies);
    wait_until_empty(caller, "t", "alive");
    wait_until_empty(caller, "t", "queue");
    let dead = stage.subscription();
    assert_eq!(dead["msgCount"], MANY);
    assert_eq!(dead["lastFailures"], json!([]), "it hangs still");
    assert!(!stage.receiver.pushes().is_empty());
    assert_eq!(stage.caller.topic("t")["msgCount"], MANY);
}

#[test]
fn c164_a_failing_endpoint_delays_no_other_subscription() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Status(500));
    let first = stage.publish("first");
    stage.settle(&first, 1);
    // Held back, and the others are not.
    let alive = stage.world.receiver();
    let url = alive.url("/");
    stage
        .caller
        .subscribe("t", "alive", &url, &[SIMPLIFIED])
        .done();
    stage.publish("second");
    assert_eq!(texts(&alive.wait_for(1)), ["second"]);
    assert_eq!(texts(&stage.assert_pushes(1)), ["first"]);
}

/// The headers of a push, sorted, less what is different each time.
fn headers(push: &Push) -> Vec<(&str, &str)> {
    let mut headers: Vec<(&str, &str)> = push
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .filter(|(name, _)| *name != "x-cmq-request-id")
        .collect();
    headers.sort_unstable();
    headers
}

#[test]
fn c166_a_push_is_a_post_with_these_headers_and_no_other() {
    let world = World::new();
    let mut caller = world.caller();
    let receiver = world.receiver();
    caller.create_topic("t", &[]);
    let place = "/hooks/../a//b;c?x=1&y=%41&&z";
    let url = receiver.url(place);
    caller.subscribe("t", "s", &url, &[SIMPLIFIED]).done();
    let id = caller.publish("t", "twelve bytes");
    let push = receiver.wait_for(1).remove(0);
    assert_eq!(push.line, format!("POST {place} HTTP/1.1"));
    let host = receiver.host();
    let wanted = [
        ("content-length", "12"),
        ("content-type", "text/plain"),
        ("host", &host),
        ("user-agent", "Qcloud Notification Service Agent"),
        ("x-cmq-message-id", &id),
    ];
    assert_eq!(headers(&push), wanted);
    let request = push.header("x-cmq-request-id");
    assert!(request.parse::<u64>().is_ok(), "{request}");
}

#[test]
fn c166_both_formats_have_the_same_headers() {
    let mut stage = Stage::new(&[]);
    let id = stage.publish("x");
    let push = stage.receiver.wait_for(1).remove(0);
    assert_eq!(push.line, "POST / HTTP/1.1");
    let (host, length) = (stage.receiver.host(), push.body.len().to_string());
    let wanted = [
        ("content-length", length.as_str()),
        ("content-type", "text/plain"),
        ("host", &host),
        ("user-agent", "Qcloud Notification Service Agent"),
        ("x-cmq-message-id", &id),
    ];
    assert_eq!(headers(&push), wanted);
}

#[test]
fn c167_tags_are_joined_by_a_comma_and_a_blank() {
    let mut stage = Stage::new(&[("notifyStrategy", "BACKOFF_RETRY")]);
    let lists = [
        &["one"][..],
        &["b", "a", "b"],
        &["1", "2", "3", "4", "sixteen letters!"],
        &["中文", "a,b", "é"],
    ];
    for (number, tags) in lists.iter().enumerate() {
        let tags = super::caller::numbered("msgTag", tags);
        let tags = super::caller::borrowed(&tags);
        stage.caller.publish_with("t", "x", &tags).done();
        let push = stage.receiver.wait_for(number + 1).remove(number);
        assert_eq!(push.header("x-cmq-message-tag"), lists[number].join(", "));
    }
    stage.publish("without tags");
    let push = stage.receiver.wait_for(lists.len() + 1).remove(lists.len());
    let mut names = push.headers.iter().map(|(name, _)| name);
    assert!(!names.any(|name| name == "x-cmq-message-tag"));
}

#[test]
fn c168_in_json_a_push_says_where_the_message_comes_from() {
    let mut stage = Stage::new(&[]);
    stage.world.advance(100);
    let bodies = [
        "plain",
        "a&b=c%20\"quoted\" \\ / \r\n\t\u{0}\u{7f}",
        "中文 👩‍👩‍👧‍👦 \u{2028}",
        "{\"json\": [1, 2]}",
    ];
    for (number, body) in bodies.into_iter().enumerate() {
        let id = stage.publish(body);
        let push = stage.receiver.wait_for(number + 1).remove(number);
        let found: Value = serde_json::from_slice(&push.body).unwrap();
        let wanted = json!({
            "TopicOwner": ACCOUNT,
            "topicName": "t",
            "subscriptionName": "s",
            "msgId": id,
            "msgBody": body,
            "publishTime": START + 100,
        });
        assert_eq!(found, wanted);
    }
}

#[test]
fn c168_the_time_is_that_of_publishing_and_not_of_the_push() {
    let mut stage = Stage::new(&[]);
    stage.receiver.answer(Reply::Status(500));
    let id = stage.publish("x");
    stage.settle(&id, 1);
    stage.world.advance(50);
    let push = stage.receiver.wait_for(2).remove(1);
    let found: Value = serde_json::from_slice(&push.body).unwrap();
    assert_eq!(found["publishTime"], START);
}

#[test]
fn c169_in_the_simplified_format_a_push_is_the_message() {
    let mut stage = Stage::new(&[SIMPLIFIED, ("notifyStrategy", "BACKOFF_RETRY")]);
    let long = "x".repeat(65_536);
    let bodies = ["plain", "a&b=c%20\"\r\n\u{0}", "中文 👩‍👩‍👧‍👦", "{}", " ", &long];
    for body in bodies {
        stage.publish(body);
    }
    assert_eq!(texts(&stage.receiver.wait_for(bodies.len())), bodies);
}

#[test]
fn the_format_can_be_changed() {
    let mut stage = Stage::new(&[]);
    stage.publish("1");
    let push = stage.receiver.wait_for(1).remove(0);
    assert_ne!(push.text(), "1");
    stage
        .caller
        .set_subscription("t", "s", &[SIMPLIFIED])
        .done();
    stage.publish("2");
    assert_eq!(stage.receiver.wait_for(2)[1].text(), "2");
}

#[test]
fn c170_any_success_ends_a_delivery() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    for (number, status) in [200, 201, 202, 204, 299].into_iter().enumerate() {
        stage.receiver.answer(Reply::Status(status));
        stage.publish("x");
        stage.receiver.wait_for(number + 1);
        let shown = stage.wait_until_empty();
        assert_eq!(shown["deliveredNum"], number + 1);
        assert_eq!(shown["lastFailures"], json!([]));
    }
    stage.world.advance(1_000);
    stage.assert_pushes(5);
}

/// A subscription whose receiver fails in some way.
struct Failing {
    topic: String,
    receiver: Receiver,
    reason: &'static str,
    status: Option<u16>,
    message: String,
}

/// What is no success, and the reason that is shown for it.
fn failures(elsewhere: &Receiver) -> Vec<(Reply, &'static str, Option<u16>)> {
    let place = elsewhere.url("/elsewhere");
    let redirect = |status| Reply::Redirect(status, place.clone());
    let status = |status, reason| (Reply::Status(status), reason, Some(status));
    vec![
        (
            redirect(301),
            "status 301: redirects are not followed",
            Some(301),
        ),
        (
            redirect(307),
            "status 307: redirects are not followed",
            Some(307),
        ),
        status(400, "status 400"),
        status(404, "status 404"),
        status(429, "status 429"),
        status(500, "status 500"),
        status(503, "status 503"),
        (
            Reply::Close,
            "the connection was closed before the answer",
            None,
        ),
    ]
}

/// Asserts that each of these answers leads to a retry, in a world without topics.
#[track_caller]
fn lead_to_a_retry(world: &World, failures: Vec<(Reply, &'static str, Option<u16>)>) {
    let mut caller = world.caller();
    let mut all = Vec::new();
    for (number, (reply, reason, status)) in failures.into_iter().enumerate() {
        let topic = format!("t{number}");
        let receiver = world.receiver();
        receiver.answer(reply);
        caller.create_topic(&topic, &[]);
        caller
            .subscribe(&topic, "s", &receiver.url("/"), &[SIMPLIFIED])
            .done();
        let message = caller.publish(&topic, "x");
        all.push(Failing {
            topic,
            receiver,
            reason,
            status,
            message,
        });
    }
    for failing in &all {
        wait_for_failure(&mut caller, (&failing.topic, "s"), &failing.message, 1);
        let shown = caller.subscription(&failing.topic, "s");
        assert_eq!(shown["msgCount"], 1);
        let failure = &shown["lastFailures"][0];
        assert_eq!(failure["reason"], failing.reason);
        assert_eq!(
            failure.get("status"),
            failing.status.map(Value::from).as_ref()
        );
        failing.receiver.answer(Reply::Status(200));
    }
    Witness::new(world).look();
    world.advance(2);
    for failing in &all {
        let pushes = failing.receiver.wait_for(2);
        let messages: Vec<&str> = pushes.iter().map(Push::message).collect();
        assert_eq!(messages, [&failing.message, &failing.message]);
        let shown = wait_until_empty(&mut caller, &failing.topic, "s");
        assert_eq!(shown["deliveredNum"], 1);
    }
}

#[test]
fn c170_everything_else_leads_to_a_retry() {
    let world = World::new();
    let elsewhere = world.receiver();
    lead_to_a_retry(&world, failures(&elsewhere));
    assert_eq!(elsewhere.connections(), 0, "redirects are not followed");
}

/// Apart from the others, which must not fail for being slow: the time of a push is real time.
#[test]
fn c170_no_answer_in_time_leads_to_a_retry() {
    let world = World::configured(|config| config.push.total_seconds = 3);
    lead_to_a_retry(&world, vec![(Reply::Hang, "no answer within 3 s", None)]);
}

#[test]
fn c170_an_endpoint_that_nobody_listens_at_leads_to_a_retry() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create_topic("t", &[]);
    // Servers of tests listen at 127.0.0.1 only.
    caller
        .subscribe("t", "s", "http://127.0.0.2:9/", &[])
        .done();
    let id = caller.publish("t", "x");
    wait_for_failure(&mut caller, ("t", "s"), &id, 1);
    let reason = caller.subscription("t", "s")["lastFailures"][0]["reason"].clone();
    assert_eq!(reason, "connection refused");
    Witness::new(&world).look();
    world.advance(2);
    wait_for_failure(&mut caller, ("t", "s"), &id, 2);
}

#[test]
fn c174_retries_keep_the_id_of_the_message_and_have_their_own() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Status(500));
    let id = stage.publish("x");
    for attempt in 1..=3 {
        stage.settle(&id, attempt);
        if attempt == 3 {
            stage.receiver.answer(Reply::Status(200));
        }
        stage.world.advance(10);
        stage.receiver.wait_for(attempt + 1);
    }
    stage.wait_until_empty();
    let pushes = stage.assert_pushes(4);
    for push in &pushes {
        assert_eq!((push.message(), push.text()), (id.as_str(), "x"));
    }
    let requests = pushes.iter().map(|push| push.header("x-cmq-request-id"));
    let mut requests: Vec<&str> = requests.collect();
    requests.sort_unstable();
    requests.dedup();
    assert_eq!(requests.len(), 4);
}

#[test]
fn c175_nothing_is_sent_before_the_first_message() {
    let mut stage = Stage::new(&[]);
    let attributes = [("notifyStrategy", "BACKOFF_RETRY"), SIMPLIFIED];
    stage.caller.set_subscription("t", "s", &attributes).done();
    stage.world.advance(3_600);
    stage.assert_pushes(0);
    assert_eq!(stage.receiver.connections(), 0);
    stage.publish("the first");
    assert_eq!(texts(&stage.receiver.wait_for(1)), ["the first"]);
    assert_eq!(stage.receiver.connections(), 1);
}

#[test]
fn whoever_unsubscribes_gets_nothing_more() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Status(500));
    let failed = stage.publish("failed");
    stage.settle(&failed, 1);
    stage.publish("held back");
    assert_eq!(stage.caller.topic("t")["msgCount"], 2);
    stage.caller.unsubscribe("t", "s").done();
    assert_eq!(stage.caller.topic("t")["msgCount"], 0);
    stage.receiver.answer(Reply::Status(200));
    stage.world.advance(600);
    stage.assert_pushes(1);
    // Under the same name everything begins anew.
    let url = stage.receiver.url("/");
    stage.caller.subscribe("t", "s", &url, &[SIMPLIFIED]).done();
    stage.publish("new");
    assert_eq!(texts(&stage.receiver.wait_for(2)), ["failed", "new"]);
    assert_eq!(stage.wait_until_empty()["lastFailures"], json!([]));
}

#[test]
fn whoever_unsubscribes_need_not_wait_for_a_push_that_hangs() {
    let mut stage = Stage::new(&[SIMPLIFIED]);
    stage.receiver.answer(Reply::Hang);
    stage.publish("x");
    stage.receiver.wait_for(1);
    stage.caller.unsubscribe("t", "s").done();
    assert_eq!(stage.caller.topic("t")["msgCount"], 0);
    stage.caller.delete_topic("t").done();
    stage.world.advance(600);
    stage.assert_pushes(1);
}
