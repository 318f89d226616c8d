//! Methods, paths, lengths and connections: C1–C5, C24, C26–C31.

use serde_json::{Map, Value, json};

use super::{
    answer::{Answer, NO_QUEUE, NO_TOPIC},
    caller::{Caller, PATH, counts},
    world::World,
};

#[test]
fn c001_post_and_get_give_the_same_result_for_every_action() {
    let story = |method| {
        let world = World::new();
        let mut told = Vec::new();
        let mut caller = world.caller();
        let mut call = |action: &str, parameters: &[(&str, &str)]| {
            let mut request = caller.request(action, parameters);
            request.method = method;
            let answer = caller.ask(&request);
            told.push((action.to_owned(), plain(&answer)));
            answer
        };
        tell_every_action_of_queues(&mut call);
        tell_every_action_of_topics(&mut call);
        told
    };
    let (post, get) = (story("POST"), story("GET"));
    assert_eq!(post, get);
    let mut actions: Vec<&String> = post.iter().map(|(action, _)| action).collect();
    actions.sort();
    actions.dedup();
    assert_eq!(actions.len(), 30, "{actions:?}");
}

fn tell_every_action_of_queues(call: &mut impl FnMut(&str, &[(&str, &str)]) -> Answer) {
    let q = ("queueName", "q");
    call("CreateQueue", &[("queueName", "dead")]);
    call("CreateQueue", &[q, ("rewindSeconds", "600")]);
    call("CreateQueue", &[q]).refused((4460, "(10210)queue is already existed"));
    let policy = r#"{"deadLetterQueue":"dead","policy":0,"maxReceiveCount":9}"#;
    call("SetQueueAttributes", &[q, ("deadLetterPolicy", policy)]);
    call(
        "ListDeadLetterSourceQueues",
        &[("deadLetterQueueName", "dead")],
    );
    call("UnbindDeadLetterQueue", &[q]);
    call("ListQueue", &[("searchWord", "D"), ("limit", "5")]);
    call("SendMessage", &[q, ("msgBody", "héllo &=+% 世界")]);
    call(
        "BatchSendMessage",
        &[q, ("msgBody.1", "a b"), ("msgBody.2", "c+d")],
    );
    let one = call("ReceiveMessage", &[q])
        .text("receiptHandle")
        .to_owned();
    let more = call("BatchReceiveMessage", &[q, ("numOfMsg", "16")]);
    let more = more.texts("msgInfoList", "receiptHandle");
    call("DeleteMessage", &[q, ("receiptHandle", &one)]);
    let handles = [q, ("receiptHandle.1", &more[0]), ("receiptHandle.2", "x")];
    call("BatchDeleteMessage", &handles);
    call("GetQueueAttributes", &[q]);
    call("RewindQueue", &[q, ("startConsumeTime", "1700000000")]);
    call("ClearQueue", &[q]);
    call("GetQueueAttributes", &[q]);
    call("DeleteQueue", &[q]);
    call("SendMessage", &[q, ("msgBody", "x")]).refused(NO_QUEUE);
}

fn tell_every_action_of_topics(call: &mut impl FnMut(&str, &[(&str, &str)]) -> Answer) {
    let (q, t) = (("queueName", "q"), ("topicName", "t"));
    let (s, web) = (("subscriptionName", "s"), ("subscriptionName", "web"));
    let tag = ("msgTag.1", "日本");
    call("CreateQueue", &[q]);
    call("QueryQueueRoute", &[q]);
    call("CreateTopic", &[t, ("maxMsgSize", "2048")]);
    call("SetTopicAttributes", &[t, ("maxMsgSize", "4096")]);
    call("GetTopicAttributes", &[t]);
    call("ListTopic", &[("searchWord", "T"), ("limit", "5")]);
    call("QueryTopicRoute", &[t]);
    let endpoint = ("endpoint", "http://subscriber.example/?a=1&b=%2B");
    call("Subscribe", &[t, web, ("protocol", "http"), endpoint]);
    call("Unsubscribe", &[t, web]);
    call("PublishMessage", &[t, ("msgBody", "too early")]);
    let (protocol, endpoint) = (("protocol", "queue"), ("endpoint", "q"));
    call(
        "Subscribe",
        &[t, s, protocol, endpoint, ("filterTag.1", "a&b")],
    );
    call("Subscribe", &[t, s, protocol, endpoint]);
    call(
        "SetSubscriptionAttributes",
        &[t, s, ("filterTag.1", "日本"), ("filterTag.2", "b c")],
    );
    call("GetSubscriptionAttributes", &[t, s]);
    call("ListSubscriptionByTopic", &[t]);
    call("PublishMessage", &[t, ("msgBody", "héllo &=+% 世界"), tag]);
    let bodies = [t, ("msgBody.1", "a b"), ("msgBody.2", "c+d"), tag];
    call("BatchPublishMessage", &bodies);
    call("ReceiveMessage", &[q, ("pollingWaitSeconds", "30")]);
    call("DeleteTopic", &[t]);
    call("ClearSubscriptionFilterTags", &[t, s]);
    call("Unsubscribe", &[t, s]);
    call("DeleteTopic", &[t]);
    call("GetTopicAttributes", &[t]).refused(NO_TOPIC);
}

/// An answer without what differs between two servers.
fn plain(answer: &Answer) -> Value {
    fn strip(members: &mut Map<String, Value>) {
        for (name, value) in members {
            match value {
                Value::Array(list) => list.iter_mut().for_each(|value| match value {
                    Value::Object(members) => strip(members),
                    other => *other = json!("?"),
                }),
                Value::String(text) if name.ends_with("Id") || name == "receiptHandle" => {
                    *text = "?".into();
                }
                _ => {}
            }
        }
    }
    let mut fields = answer.fields();
    strip(&mut fields);
    json!([answer.code(), answer.message(), fields])
}

#[test]
fn c002_other_methods_are_refused() {
    let world = World::shared();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let mut caller = world.caller();
        let mut request = caller.request("ListQueue", &[]);
        request.method = method;
        let text = format!("(10410)unexpected http {method} only GET or POST is supported");
        caller.ask(&request).refused((4000, text));
    }
    let mut caller = world.caller();
    caller
        .connection
        .write(b"HEAD /v2/index.php HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(caller.connection.byte());
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "));
}

#[test]
fn c003_the_query_of_a_post_is_not_used() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c003", &[]);
    let mut request = caller.request("SendMessage", &[("queueName", "c003"), ("msgBody", "x")]);
    request.signed_path = Some(PATH.into());
    request.path = format!("{PATH}?delaySeconds=100&Action=DeleteQueue&Signature=x");
    caller.ask(&request).done();
    assert_eq!(caller.counts("c003"), counts(1, 0, 0));

    let mut request = caller.request("GetQueueAttributes", &[]);
    request.signed_path = Some(PATH.into());
    request.path = format!("{PATH}?queueName=c003");
    let text = "(10390)lacked of required parameter queueName";
    caller.ask(&request).refused((4000, text));
}

#[test]
fn c004_a_form_is_read_whatever_the_content_type() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c004", &[]);
    for headers in [
        "",
        "Content-Type: */*;charset=utf-8\r\n",
        "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n",
        "Content-Type: application/json\r\n",
        "Content-Type:\r\n",
        "content-type: text/plain\r\nAccept: */*\r\n",
    ] {
        let mut request = caller.request("SendMessage", &[("queueName", "c004"), ("msgBody", "x")]);
        request.headers = headers.into();
        caller.ask(&request).done();
    }
    assert_eq!(caller.counts("c004"), counts(6, 0, 0));
}

#[test]
fn c005_errors_of_the_api_have_http_status_200() {
    let world = World::shared();
    let mut caller = world.caller();
    let no_signature =
        b"POST /v2/index.php HTTP/1.1\r\nHost: x\r\nContent-Length: 16\r\n\r\nAction=ListQueue";
    let no_queue = caller.request("ReceiveMessage", &[("queueName", "c005-none")]);
    for bytes in [no_signature.to_vec(), no_queue.bytes()] {
        caller.connection.write(&bytes);
        let response = caller.connection.read();
        assert_eq!(response.status, 200);
        assert_ne!(Answer::new(&response).code(), 0);
    }
}

#[test]
fn c024_a_request_that_is_too_large_is_refused() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c024", &[]);
    let before = caller.picture("c024");
    let refusal = (
        4000,
        "(10420)cannot parse body, or request size is more than 1MB",
    );
    let head = format!("POST {PATH} HTTP/1.1\r\nHost: x\r\n");
    let limit = 8 << 20;

    let mut claims = world.caller();
    let length = format!("{head}Content-Length: {}\r\n\r\nAction=", limit + 1);
    claims.connection.write(length.as_bytes());
    claims.finish().refused(refusal);
    assert!(claims.connection.is_closed());

    let mut pours = world.caller();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    pours.connection.write(chunked.as_bytes());
    let chunk = [b"100000\r\n", &vec![b'a'; 1 << 20][..], b"\r\n"].concat();
    for _ in 0..limit >> 20 {
        pours.connection.write(&chunk);
    }
    pours.connection.write(b"1\r\na\r\n0\r\n\r\n");
    pours.finish().refused(refusal);
    assert_eq!(caller.picture("c024"), before);
}

#[test]
fn c026_a_connection_carries_many_requests() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c026", &[]);
    for number in 0..100 {
        let body = number.to_string();
        caller.send("c026", &body);
        assert_eq!(caller.receive("c026").done()["msgBody"], body.as_str());
        let none = caller.receive("c026");
        assert_eq!(none.code(), 7000, "a refusal keeps the connection, too");
    }
    let requests: Vec<_> = (0..3)
        .map(|_| caller.request("GetQueueAttributes", &[("queueName", "c026")]))
        .collect();
    let bytes: Vec<u8> = requests
        .iter()
        .flat_map(super::caller::Request::bytes)
        .collect();
    caller.connection.write(&bytes);
    for _ in requests {
        caller.finish().done();
    }
}

#[test]
fn c027_expect_100_continue_is_answered() {
    let world = World::shared();
    let mut caller = world.caller();
    caller.create("c027", &[]);
    let body = "x".repeat(2000);
    let mut request = caller.request("SendMessage", &[("queueName", "c027"), ("msgBody", &body)]);
    request.headers += "Expect: 100-continue\r\n";
    let bytes = request.bytes();
    let end = bytes
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    caller.connection.write(&bytes[..end]);
    assert_eq!(caller.connection.read().status, 100);
    caller.connection.write(&bytes[end..]);
    caller.finish().done();
}

#[test]
fn c028_an_odd_accept_encoding_does_no_harm() {
    let world = World::shared();
    let mut caller = world.caller();
    for encoding in ["UTF-8", "gzip, deflate", "*"] {
        let mut request = caller.request("ListQueue", &[]);
        request.headers = format!("Accept-Encoding: {encoding}\r\n");
        // That it is not compressed is checked with every answer.
        caller.ask(&request).done();
    }
}

#[test]
fn c029_a_path_that_begins_with_two_slashes_works() {
    let world = World::shared();
    let mut caller = world.caller();
    for method in ["POST", "GET"] {
        for signed in [format!("/{PATH}"), PATH.to_owned()] {
            let mut request = caller.request("ListQueue", &[]);
            request.method = method;
            request.path = format!("/{PATH}");
            request.signed_path = Some(signed);
            caller.ask(&request).done();
        }
    }
}

#[test]
fn c030_a_path_given_twice_and_signed_once_works() {
    let world = World::shared();
    let mut caller = world.caller();
    let mut request = caller.request("ListQueue", &[]);
    request.method = "GET";
    request.path = format!("{PATH}{PATH}");
    request.signed_path = Some(PATH.into());
    caller.ask(&request).done();
}

#[test]
fn c031_the_root_takes_requests_that_speak_no_other_dialect() {
    let world = World::shared();
    let mut caller = world.caller();
    for method in ["POST", "GET"] {
        let mut request = caller.request("ListQueue", &[]);
        request.method = method;
        request.path = "/".into();
        caller.ask(&request).done();
    }
    let mut marked = caller.request("ListQueue", &[("Version", "2019-03-04")]);
    marked.path = "/".into();
    assert!(says_api_three(&mut caller, &marked));
    let mut marked = caller.request("ListQueue", &[]);
    marked.path = "/".into();
    marked.headers += "X-TC-Action: ListQueue\r\n";
    assert!(says_api_three(&mut caller, &marked));
}

fn says_api_three(caller: &mut Caller, request: &super::caller::Request) -> bool {
    let response = caller.raw(request);
    let json: Value = serde_json::from_slice(&response.body).unwrap();
    json["Response"]["RequestId"].is_string()
}
