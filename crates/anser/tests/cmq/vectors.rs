//! The signatures that the vendor's own code made, sent as they stand: C32.

use super::{
    caller::{Caller, PATH, Request, numbered},
    world::World,
};

/// Signs nothing: the signature is the vendor's.
fn vector(
    caller: &mut Caller,
    method: &'static str,
    host: &str,
    algorithm: &str,
    parameters: &[(&str, &str)],
) -> Request {
    let action = parameters[0].1;
    let mut request = caller.request(action, &parameters[1..]);
    request.method = method;
    request.host = host.into();
    request.set("Nonce", "4242424242");
    request.set("RequestClient", "SDK_Python_1.3");
    request.set("SignatureMethod", algorithm);
    assert!(request.text().contains("&Timestamp=1700000000&"));
    request
}

fn send(caller: &mut Caller, request: &Request, signature: &str) -> super::answer::Answer {
    let bytes = request.bytes_of(&request.form_with(signature));
    caller.connection.write(&bytes);
    caller.finish()
}

const LOCAL: &str = "127.0.0.1:8080";

#[test]
fn c032_the_vectors_of_the_vendors_clients_verify() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("test-queue-123", &[]);
    caller.create("q1", &[]);
    let queue = ("queueName", "test-queue-123");
    let action = |name| ("Action", name);
    let no_delay = ("delaySeconds", "0");

    let hello = ("msgBody", "helloworld");
    let parameters = [action("SendMessage"), queue, hello, no_delay];
    let v1 = vector(&mut caller, "POST", LOCAL, "HmacSHA1", &parameters);
    send(&mut caller, &v1, "cvFhajT2YxmLtJLOQgCtSB4df0A=").done();

    let public = "cmq-queue-gz.api.qcloud.com";
    let v2 = vector(&mut caller, "POST", public, "HmacSHA256", &parameters);
    let signature = "k5hGtB0aYApIpYPNb9RJgqOyihdvpfk1X9+78iGpjSE=";
    send(&mut caller, &v2, signature).done();

    let bodies = [
        "m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "m9", "m10", "m11", "m12",
    ];
    let bodies = numbered("msgBody", &bodies);
    let mut parameters = vec![action("BatchSendMessage"), queue, ("delaySeconds", "5")];
    parameters.extend(super::caller::borrowed(&bodies));
    let v3 = vector(&mut caller, "POST", LOCAL, "HmacSHA256", &parameters);
    let signature = "it6Si6wxFMgtd+vogh02eoB2E2dYhbNAooXy0TeDHco=";
    let sent = send(&mut caller, &v3, signature).done();
    assert_eq!(sent.list("msgList").len(), 12);

    let waits = [
        ("UserpollingWaitSeconds", "10"),
        ("pollingWaitSeconds", "10"),
    ];
    let parameters = [action("ReceiveMessage"), queue, waits[0], waits[1]];
    let v4 = vector(&mut caller, "GET", LOCAL, "HmacSHA1", &parameters);
    let received = send(&mut caller, &v4, "c7VuA0Gqq1InZ+G3UKWw9+6bg3A=").done();
    assert_eq!(received["msgBody"], "helloworld");

    let q1 = ("queueName", "q1");
    let single = |body| [action("SendMessage"), q1, no_delay, ("msgBody", body)];
    let all = single("héllo 世界 &=+%/?");
    let v5 = vector(&mut caller, "POST", LOCAL, "HmacSHA1", &all);
    send(&mut caller, &v5, "DuyObwwvGyziGjbgMEWkVD6kbvs=").done();

    let skipped = single("@at-start is skipped for POST");
    let v6 = vector(&mut caller, "POST", LOCAL, "HmacSHA1", &skipped);
    send(&mut caller, &v6, "T4OEn+oMzvkO5uz/5/QWWHd4X6M=").done();

    let kept = single("@at-start is kept for GET");
    let v7 = vector(&mut caller, "GET", LOCAL, "HmacSHA1", &kept);
    send(&mut caller, &v7, "6dUbpjVQMKnYnXp8cknk3/8TOyo=").done();

    let bodies = caller.batch_receive("q1", "16").done();
    let wanted = [all[3].1, skipped[3].1, kept[3].1];
    assert_eq!(bodies.texts("msgInfoList", "msgBody"), wanted);
}

#[test]
fn c032_the_vector_of_a_publish_verifies() {
    let world = World::new();
    let mut caller = world.caller();
    let receiver = world.receiver();
    caller.create_topic("t1", &[]);
    caller.subscribe("t1", "s", &receiver.url("/"), &[]).done();
    let parameters = [
        ("Action", "PublishMessage"),
        ("topicName", "t1"),
        ("msgBody", "m"),
        ("routingKey", ""),
        ("msgTag.1", "x"),
        ("msgTag.2", "y"),
        ("custom_key", "1"),
    ];
    let v8 = vector(&mut caller, "POST", LOCAL, "HmacSHA1", &parameters);
    let published = send(&mut caller, &v8, "KSt6MmSVRVljwEYVJpHU2B8kRnE=").done();
    let push = receiver.wait_for(1).remove(0);
    assert_eq!(push.message(), published.text("msgId"));
    assert_eq!(push.header("x-cmq-message-tag"), "x, y");
}

/// The documents' own example of a text to sign, with keys of ours: only its shape is public.
#[test]
fn c032_a_request_of_the_documents_shape_verifies() {
    let world = World::shared();
    let mut caller = world.caller();
    let parameters = [
        ("Region", "gz"),
        ("searchWord", "c032-none"),
        ("limit", "10"),
    ];
    let mut request = caller.request("ListQueue", &parameters);
    request.method = "GET";
    request.host = "cmq-queue-gz.api.qcloud.com".into();
    request.path = PATH.into();
    assert_eq!(caller.ask(&request).done()["totalCount"], 0);
}
