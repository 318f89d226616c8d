//! The vendor's vectors, and the spellings that clients use.

use bytes::Bytes;

use super::*;
use crate::testing::{ID, key};

const HOST: &str = "127.0.0.1:8080";
const BATCH: &str = "Action=BatchSendMessage&SignatureMethod=HmacSHA256&delaySeconds=5\
    &msgBody.1=m1&msgBody.10=m10&msgBody.11=m11&msgBody.12=m12&msgBody.2=m2&msgBody.3=m3\
    &msgBody.4=m4&msgBody.5=m5&msgBody.6=m6&msgBody.7=m7&msgBody.8=m8&msgBody.9=m9\
    &queueName=test-queue-123";

/// A request of the vectors: method, host, parameters beside the common ones, signature.
struct Vector(&'static str, &'static str, &'static str, &'static str);

const VECTORS: &[Vector] = &[
    Vector(
        "POST",
        HOST,
        "Action=SendMessage&SignatureMethod=HmacSHA1&delaySeconds=0&msgBody=helloworld&queueName=test-queue-123",
        "cvFhajT2YxmLtJLOQgCtSB4df0A=",
    ),
    Vector(
        "POST",
        "cmq-queue-gz.api.qcloud.com",
        "Action=SendMessage&SignatureMethod=HmacSHA256&delaySeconds=0&msgBody=helloworld&queueName=test-queue-123",
        "k5hGtB0aYApIpYPNb9RJgqOyihdvpfk1X9+78iGpjSE=",
    ),
    Vector(
        "POST",
        HOST,
        BATCH,
        "it6Si6wxFMgtd+vogh02eoB2E2dYhbNAooXy0TeDHco=",
    ),
    Vector(
        "GET",
        HOST,
        "Action=ReceiveMessage&SignatureMethod=HmacSHA1&UserpollingWaitSeconds=10&pollingWaitSeconds=10&queueName=test-queue-123",
        "c7VuA0Gqq1InZ+G3UKWw9+6bg3A=",
    ),
    Vector(
        "POST",
        HOST,
        "Action=SendMessage&SignatureMethod=HmacSHA1&delaySeconds=0&msgBody=h%C3%A9llo+%E4%B8%96%E7%95%8C+%26%3D%2B%25%2F%3F&queueName=q1",
        "DuyObwwvGyziGjbgMEWkVD6kbvs=",
    ),
    Vector(
        "POST",
        HOST,
        "Action=SendMessage&SignatureMethod=HmacSHA1&delaySeconds=0&msgBody=%40at-start+is+skipped+for+POST&queueName=q1",
        "T4OEn+oMzvkO5uz/5/QWWHd4X6M=",
    ),
    Vector(
        "GET",
        HOST,
        "Action=SendMessage&SignatureMethod=HmacSHA1&delaySeconds=0&msgBody=%40at-start+is+kept+for+GET&queueName=q1",
        "6dUbpjVQMKnYnXp8cknk3/8TOyo=",
    ),
    Vector(
        "POST",
        HOST,
        "Action=PublishMessage&SignatureMethod=HmacSHA1&custom_key=1&msgBody=m&msgTag.1=x&msgTag.2=y&routingKey=&topicName=t1",
        "KSt6MmSVRVljwEYVJpHU2B8kRnE=",
    ),
];

fn form(parameters: &str) -> Form {
    let common =
        format!("Nonce=4242424242&RequestClient=SDK_Python_1.3&SecretId={ID}&Timestamp=1700000000");
    Form::parse(Bytes::from(format!("{common}&{parameters}"))).unwrap()
}

fn host(text: &str) -> Host<'_> {
    Host::read(text.as_bytes()).unwrap()
}

fn signed<'a>(method: &str, host: &'a Host<'a>, path: &'a str, form: &'a Form) -> Signed<'a> {
    Signed {
        post: method == "POST",
        host,
        public_names: &[],
        path,
        form,
    }
}

fn verifies(signed: Signed<'_>, algorithm: Algorithm, signature: &str) -> bool {
    signed.verify(key().hmac(algorithm), signature.as_bytes())
}

#[test]
fn all_vectors_verify_and_only_for_their_method_host_and_text() {
    for (number, Vector(method, host, parameters, signature)) in VECTORS.iter().enumerate() {
        let form = form(parameters);
        let chosen = form
            .pairs()
            .find(|(name, _)| *name == b"SignatureMethod")
            .unwrap()
            .1;
        let algorithm = Algorithm::from_method(Some(chosen));
        let check = |method, host, form: &Form| {
            let host = self::host(host);
            let signed = signed(method, &host, USUAL_PATH, form);
            verifies(signed, algorithm, signature)
        };
        assert!(check(method, host, &form), "V{}", number + 1);
        let other = if *method == "POST" { "GET" } else { "POST" };
        assert!(!check(other, host, &form), "V{}", number + 1);
        assert!(!check(method, "127.0.0.1:8081", &form));
        let changed = format!("{parameters}&x=1");
        assert!(!check(method, host, &self::form(&changed)));
    }
}

#[test]
fn our_own_client_signs_like_the_vendors() {
    let parameters = [
        ("queueName", "test-queue-123"),
        ("Action", "SendMessage"),
        ("Nonce", "4242424242"),
        ("RequestClient", "SDK_Python_1.3"),
        ("SecretId", ID),
        ("SignatureMethod", "HmacSHA1"),
        ("Timestamp", "1700000000"),
        ("delaySeconds", "0"),
        ("msgBody", "helloworld"),
    ];
    let signature = sign_v1(
        &key(),
        Algorithm::Sha1,
        "POST",
        HOST,
        USUAL_PATH,
        &parameters,
    );
    assert_eq!(signature, VECTORS[0].3);
}

#[test]
fn the_method_parameter_chooses_the_hash() {
    for (method, algorithm) in [
        (None, Algorithm::Sha1),
        (Some("HmacSHA1"), Algorithm::Sha1),
        (Some("sha1"), Algorithm::Sha1),
        (Some("none"), Algorithm::Sha1),
        (Some(""), Algorithm::Sha1),
        (Some("HMACSHA256"), Algorithm::Sha1),
        (Some("HmacSHA256"), Algorithm::Sha256),
        (Some("sha256"), Algorithm::Sha256),
    ] {
        let chosen = Algorithm::from_method(method.map(str::as_bytes));
        assert_eq!(chosen, algorithm, "{method:?}");
    }
}

fn signature_of(host: &str, path: &str) -> String {
    let parameters = [
        ("Action", "ListQueue"),
        ("Nonce", "4242424242"),
        ("RequestClient", "SDK_Python_1.3"),
        ("SecretId", ID),
        ("Timestamp", "1700000000"),
    ];
    sign_v1(&key(), Algorithm::Sha1, "POST", host, path, &parameters)
}

#[test]
fn a_default_port_in_the_signed_host_is_found() {
    let form = form("Action=ListQueue");
    for (header, spelled, good) in [
        ("h", "h", true),
        ("h", "h:80", true),
        ("h", "h:443", true),
        ("h", "h:8080", false),
        ("h:8080", "h", false),
        ("h:8080", "h:8080:80", false),
        ("[::1]", "[::1]:80", true),
    ] {
        let header = host(header);
        let signed = signed("POST", &header, USUAL_PATH, &form);
        let signature = signature_of(spelled, USUAL_PATH);
        let verified = verifies(signed, Algorithm::Sha1, &signature);
        assert_eq!(verified, good, "{header} {spelled}");
    }
}

#[test]
fn public_names_and_both_paths_are_tried() {
    let form = form("Action=ListQueue");
    let names = ["mq.example.com:9443".parse().unwrap()];
    let header = host(HOST);
    let signed = Signed {
        public_names: &names,
        ..signed("POST", &header, "//v2/index.php", &form)
    };
    for (host, path, good) in [
        (HOST, "//v2/index.php", true),
        (HOST, USUAL_PATH, true),
        (HOST, "/", false),
        ("mq.example.com:9443", USUAL_PATH, true),
        ("mq.example.com", USUAL_PATH, false),
    ] {
        let signature = signature_of(host, path);
        let verified = verifies(signed, Algorithm::Sha1, &signature);
        assert_eq!(verified, good, "{host} {path}");
    }
}

#[test]
fn security_finding_13_a_form_larger_than_any_that_is_served_is_hashed_for_one_spelling_only() {
    let largest = 1 << 20;
    for (bytes, spelled, good) in [
        (largest, "h", true),
        (largest, "h:443", true),
        (largest + (64 << 10), "h", true),
        (largest + (64 << 10), "h:80", false),
    ] {
        let body = "x".repeat(bytes);
        let form = form(&format!("Action=SendMessage&msgBody={body}&queueName=q"));
        let all = [
            ("Action", "SendMessage"),
            ("Nonce", "4242424242"),
            ("RequestClient", "SDK_Python_1.3"),
            ("SecretId", ID),
            ("Timestamp", "1700000000"),
            ("msgBody", &body),
            ("queueName", "q"),
        ];
        let signature = sign_v1(&key(), Algorithm::Sha1, "POST", spelled, USUAL_PATH, &all);
        let header = host("h");
        let signed = signed("POST", &header, USUAL_PATH, &form);
        let verified = verifies(signed, Algorithm::Sha1, &signature);
        assert_eq!(verified, good, "{bytes} {spelled}");
    }
}

#[test]
fn a_value_with_an_at_sign_may_be_signed_or_not_but_not_for_get() {
    let parameters = "Action=SendMessage&msgBody=%40x&queueName=q";
    let form = form(parameters);
    let mut all = vec![
        ("Action", "SendMessage"),
        ("Nonce", "4242424242"),
        ("RequestClient", "SDK_Python_1.3"),
        ("SecretId", ID),
        ("Timestamp", "1700000000"),
        ("queueName", "q"),
    ];
    for with_at in [false, true] {
        if with_at {
            all.push(("msgBody", "@x"));
        }
        for method in ["GET", "POST"] {
            let signature = sign_v1(&key(), Algorithm::Sha1, method, HOST, USUAL_PATH, &all);
            let header = host(HOST);
            let signed = signed(method, &header, USUAL_PATH, &form);
            let verified = verifies(signed, Algorithm::Sha1, &signature);
            assert_eq!(verified, with_at || method == "POST", "{method} {with_at}");
        }
    }
}

#[test]
fn a_damaged_signature_does_not_verify() {
    let Vector(method, host, parameters, good) = VECTORS[1];
    let form = form(parameters);
    let host = self::host(host);
    let check = |signature: &str| {
        let signed = signed(method, &host, USUAL_PATH, &form);
        verifies(signed, Algorithm::Sha256, signature)
    };
    assert!(check(good));
    assert!(
        check(&good.replace('+', " ")),
        "a client that does not escape"
    );
    for place in 0..good.len() {
        let mut damaged = good.as_bytes().to_vec();
        damaged[place] ^= 1;
        assert!(!check(&String::from_utf8(damaged).unwrap()), "{place}");
    }
    let long = good.repeat(100);
    for bad in ["", "=", &good[..good.len() - 1], &long, "k5hG"] {
        assert!(!check(bad), "{bad}");
    }
}

#[test]
fn pieces_of_any_size_feed_the_same_text() {
    for length in [0, 1, 500, 511, 512, 513, 1024, 100_000] {
        let body = "x".repeat(length);
        let text = format!("a{body}b{body}c");
        let mut feed = Feed::new(key().hmac(Algorithm::Sha1));
        for piece in ["a", &body, "b", &body, "c"] {
            feed.put(piece.as_bytes());
        }
        let whole = hmac::sign(key().hmac(Algorithm::Sha1), text.as_bytes());
        assert_eq!(feed.finish().as_ref(), whole.as_ref(), "{length}");
    }
}
