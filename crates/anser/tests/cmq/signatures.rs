//! Who may speak: C33–C46.
//!
//! A server slows down whoever fails often, so tests that fail on purpose have servers of their own.

use anser_api::AccessKey;
use anser_broker::{id::AccountId, time::Timestamp};

use super::{
    answer::{BAD_SIGNATURE, Refusal},
    caller::{Caller, ID, PATH, Request, SECRET, borrowed, counts, numbered},
    world::{DISABLED_ID, START, World},
};

const UNKNOWN_ID: Refusal = (4100, "(10270)secret id is not existed");

#[test]
fn c033_the_signature_method_selects_the_hash() {
    let world = World::new();
    let mut caller = world.caller();
    let plain = caller.request("ListQueue", &[]);
    caller.ask(&plain).done();
    for method in ["HmacSHA1", "HmacSHA256", "unheard-of"] {
        caller
            .call("ListQueue", &[("SignatureMethod", method)])
            .done();
    }
    let sha256 = caller.request("ListQueue", &[("SignatureMethod", "HmacSHA256")]);
    let mut sha1 = sha256.clone();
    sha1.set("SignatureMethod", "HmacSHA1");
    let crossed = sha1.signature_of(&sha256.text());
    send_signed(&mut caller, &sha256, &crossed).refused(BAD_SIGNATURE);
    let crossed = sha256.signature_of(&plain.text());
    send_signed(&mut caller, &plain, &crossed).refused(BAD_SIGNATURE);
}

#[test]
fn c034_the_short_names_of_the_java_tcp_client_work() {
    let world = World::new();
    let mut caller = world.caller();
    for method in ["sha256", "sha1"] {
        caller
            .call("ListQueue", &[("SignatureMethod", method)])
            .done();
    }
    let short = caller.request("ListQueue", &[("SignatureMethod", "sha256")]);
    let sha1 = caller.request("ListQueue", &[]).signature_of(&short.text());
    send_signed(&mut caller, &short, &sha1).refused(BAD_SIGNATURE);
}

#[test]
fn c035_method_host_port_and_path_are_signed() {
    let world = World::new();
    let mut caller = world.caller();
    let changes: [fn(&mut Request); 6] = [
        |request| request.signed_method = Some("GET"),
        |request| {
            request.method = "GET";
            request.signed_method = Some("POST");
        },
        |request| request.signed_host = Some("127.0.0.1:1".into()),
        |request| request.signed_host = Some("127.0.0.1".into()),
        |request| request.signed_host = Some("localhost".into()),
        |request| request.signed_path = Some("/v2/index.html".into()),
    ];
    for change in changes {
        let mut request = caller.request("ListQueue", &[]);
        change(&mut request);
        caller.ask(&request).refused(BAD_SIGNATURE);
    }
}

#[test]
fn c036_a_usual_port_may_be_signed_and_not_sent() {
    let world = World::new();
    let mut caller = world.caller();
    for (host, port, works) in [
        ("127.0.0.1", "80", true),
        ("cmq.example", "443", true),
        ("cmq.example", "8080", false),
        ("cmq.example:8080", "80", false),
    ] {
        let mut request = caller.request("ListQueue", &[]);
        request.host = host.into();
        request.signed_host = Some(format!("{host}:{port}"));
        let answer = caller.ask(&request);
        if works {
            answer.done();
        } else {
            answer.refused(BAD_SIGNATURE);
        }
    }
}

#[test]
fn c037_underscores_in_names_are_signed_as_dots() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let parameters = [
        ("queueName", "q"),
        ("msgBody", "x_y"),
        ("custom_key", "a_b"),
    ];
    let request = caller.request("SendMessage", &parameters);
    assert!(request.text().contains("custom.key=a_b&msgBody=x_y"));
    caller.ask(&request).done();
    let kept = request.text().replace("custom.key", "custom_key");
    let signature = request.signature_of(&kept);
    send_signed(&mut caller, &request, &signature).refused(BAD_SIGNATURE);
}

#[test]
fn c038_values_that_begin_with_an_at_sign_may_be_left_out_of_a_posts_signature() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    for leaves_out in [true, false] {
        for parameters in [
            vec![("queueName", "q"), ("msgBody", "@body")],
            vec![
                ("queueName", "q"),
                ("msgBody.1", "@one"),
                ("msgBody.2", "two"),
            ],
        ] {
            let action = if parameters.len() == 2 {
                "SendMessage"
            } else {
                "BatchSendMessage"
            };
            let mut request = caller.request(action, &parameters);
            request.leaves_at_out = leaves_out;
            caller.ask(&request).done();
        }
    }
    let received = caller.batch_receive("q", "16").done();
    let wanted = ["@body", "@one", "two", "@body", "@one", "two"];
    assert_eq!(received.texts("msgInfoList", "msgBody"), wanted);
}

#[test]
fn c039_values_that_begin_with_an_at_sign_are_signed_in_a_get() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let mut request = caller.request("SendMessage", &[("queueName", "q"), ("msgBody", "@x")]);
    request.method = "GET";
    caller.ask(&request).done();
    request.leaves_at_out = true;
    caller.ask(&request).refused(BAD_SIGNATURE);
    assert_eq!(caller.counts("q"), counts(1, 0, 0));
}

#[test]
fn c040_parameters_are_signed_in_the_order_of_their_bytes() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[]);
    let bodies: Vec<String> = (1..=12).map(|number| format!("m{number}")).collect();
    let bodies: Vec<&str> = bodies.iter().map(String::as_str).collect();
    let named = numbered("msgBody", &bodies);
    let mut parameters = vec![("queueName", "q")];
    parameters.extend(borrowed(&named));
    let request = caller.request("BatchSendMessage", &parameters);
    let text = request.text();
    let at = |name: &str| text.find(&format!("&{name}=")).unwrap();
    assert!(at("msgBody.10") < at("msgBody.2") && at("SecretId") < at("msgBody.1"));
    caller.ask(&request).done();

    // By number instead.
    let head = &text[..at("msgBody.1")];
    let pairs: Vec<String> = named
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let numeric = format!("{head}&{}&queueName=q", pairs.join("&"));
    assert_eq!(numeric.len(), text.len());
    let signature = request.signature_of(&numeric);
    send_signed(&mut caller, &request, &signature).refused(BAD_SIGNATURE);
}

#[test]
fn c041_a_wrong_signature_changes_nothing() {
    let world = World::new();
    let mut caller = world.caller();
    caller.create("q", &[("rewindSeconds", "60")]);
    caller.send("q", "x");
    let handle = caller.receive("q").done().text("receiptHandle").to_owned();
    caller.send("q", "y");
    let before = caller.picture("q");
    let q = ("queueName", "q");
    for (action, parameter) in [
        ("SendMessage", ("msgBody", "z")),
        ("BatchSendMessage", ("msgBody.1", "z")),
        ("ReceiveMessage", ("pollingWaitSeconds", "0")),
        ("DeleteMessage", ("receiptHandle", handle.as_str())),
        ("BatchDeleteMessage", ("receiptHandle.1", handle.as_str())),
        ("SetQueueAttributes", ("visibilityTimeout", "1")),
        ("ClearQueue", ("a", "b")),
        ("DeleteQueue", ("a", "b")),
    ] {
        let mut request = caller.request(action, &[q, parameter]);
        request.secret = "another-secret".into();
        caller.ask(&request).refused(BAD_SIGNATURE);
    }
    let request = caller.request("ClearQueue", &[q]);
    for signature in ["", "x", "AAAA", "not base64!", &"A".repeat(10_000)] {
        send_signed(&mut caller, &request, signature).refused(BAD_SIGNATURE);
    }
    assert_eq!(caller.picture("q"), before);
}

#[test]
fn c042_an_unknown_id_is_refused() {
    let world = World::new();
    let mut caller = world.caller();
    for id in ["AKIDunknown", "", "\u{0}", &"x".repeat(5000)] {
        caller
            .call("ListQueue", &[("SecretId", id)])
            .refused(UNKNOWN_ID);
    }
}

#[test]
fn c043_a_disabled_id_is_refused() {
    let world = World::new();
    let mut caller = world.caller();
    let refusal = (4100, "(10080)secret id status error");
    let mut request = caller.request("CreateQueue", &[("queueName", "q")]);
    request.set("SecretId", DISABLED_ID);
    caller.ask(&request).refused(refusal);
    // Whoever does not know the secret does not learn that the key exists and is disabled.
    request.secret = "another-secret".into();
    caller.ask(&request).refused(BAD_SIGNATURE);
    assert_eq!(caller.call("ListQueue", &[]).done()["totalCount"], 0);
}

#[test]
fn c044_a_time_outside_the_window_is_refused() {
    let world = World::new();
    let mut caller = world.caller();
    for (time, works) in [
        (START - 300, true),
        (START + 300, true),
        (START - 301, false),
        (START + 301, false),
        (0, false),
        (START * 1000, false),
        (u64::MAX, false),
    ] {
        let time = time.to_string();
        let answer = caller.call("CreateQueue", &[("queueName", "q"), ("Timestamp", &time)]);
        if works {
            answer.done();
            caller.delete_queue("q").done();
        } else {
            answer.refused(BAD_SIGNATURE);
        }
    }
    let old = caller.request("ListQueue", &[]);
    world.advance(301);
    caller.ask(&old).refused(BAD_SIGNATURE);
    assert_eq!(caller.call("ListQueue", &[]).done()["totalCount"], 0);
}

#[test]
fn c044_the_window_can_be_set() {
    let world = World::configured(|config| config.api.clock_skew_seconds = 7200);
    let mut caller = world.caller();
    for (time, works) in [
        (START - 7200, true),
        (START + 7200, true),
        (START - 7201, false),
    ] {
        let answer = caller.call("ListQueue", &[("Timestamp", &time.to_string())]);
        assert_eq!(answer.code() == 0, works, "{time}");
    }
}

#[test]
fn c045_a_nonce_may_come_again() {
    let world = World::shared();
    let mut caller = world.caller();
    for nonce in ["1", "65535", "1", "0", "9999", "9223372036854775807", "1"] {
        caller.call("ListQueue", &[("Nonce", nonce)]).done();
    }
}

#[test]
fn c046_a_temporary_key_works_with_its_token_until_it_expires() {
    let world = World::new();
    let expires = Timestamp((START + 60) * 1000);
    let key = AccessKey::new(ID, SECRET.as_bytes(), AccountId(5), true);
    let port = world.second_port(vec![key.with_token("tok-1", expires)], None);
    let mut caller = world.caller_at(&port);
    caller.call("ListQueue", &[("Token", "tok-1")]).done();
    for wrong in ["tok-2", "", "tok-1 "] {
        caller
            .call("ListQueue", &[("Token", wrong)])
            .refused(BAD_SIGNATURE);
    }
    caller.call("ListQueue", &[]).refused(BAD_SIGNATURE);
    world.advance(59);
    caller.call("ListQueue", &[("Token", "tok-1")]).done();
    world.advance(1);
    caller
        .call("ListQueue", &[("Token", "tok-1")])
        .refused(BAD_SIGNATURE);
}

#[test]
fn a_blank_in_a_signature_is_a_plus_that_was_not_escaped() {
    let world = World::shared();
    let mut caller = world.caller();
    let (request, signature) = loop {
        let request = caller.request("ListQueue", &[]);
        let signature = request.signature();
        if signature.contains('+') {
            break (request, signature);
        }
    };
    send_signed(&mut caller, &request, &signature.replace('+', " ")).done();
    assert_eq!(request.path, PATH);
}

fn send_signed(caller: &mut Caller, request: &Request, signature: &str) -> super::answer::Answer {
    let bytes = request.bytes_of(&request.form_with(signature));
    caller.connection.write(&bytes);
    caller.finish()
}
