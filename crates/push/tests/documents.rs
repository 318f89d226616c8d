//! The verifier that `docs/push.md` gives to users, run as they would run it.

use std::{
    collections::BTreeMap,
    io::Write,
    process::{Command, Stdio},
};

use anser_push::{Config, secret_of};
use serde_json::json;

use crate::{
    memory::EPOCH,
    receiver::{Answer, Receiver, Request},
    rig::{FIRST, Rig, config, subscriber},
};

const KEY: [u8; 32] = [42; 32];
const NOW: u64 = EPOCH / 1000;
/// Runs the sample with what the test gives it.
const CALL: &str = "
import json, sys
case = json.load(sys.stdin)
print(verify(case['secret'], case['headers'], bytes(case['body']), case['now']))
";

fn sample() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/push.md");
    let page = std::fs::read_to_string(page).unwrap();
    let (_, rest) = page.split_once("```python\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn verify(secret: &str, headers: &BTreeMap<String, String>, body: &[u8], now: u64) -> bool {
    let mut python = Command::new("python3")
        .args(["-c", &(sample() + CALL)])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let case = json!({"secret": secret, "headers": headers, "body": body, "now": now});
    let mut input = python.stdin.take().unwrap();
    input.write_all(case.to_string().as_bytes()).unwrap();
    drop(input);
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    match String::from_utf8(output.stdout).unwrap().trim() {
        "True" => true,
        "False" => false,
        other => panic!("{other}"),
    }
}

async fn signed_push() -> Request {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let config = Config {
        signing_key: Some(KEY),
        ..config()
    };
    let rig = Rig::new(subscriber(1, &receiver.url()), config);
    rig.publish("what was sold");
    rig.delivered(1).await;
    receiver.requests().remove(0)
}

#[tokio::test]
async fn row_72_the_sample_accepts_real_pushes_and_no_others() {
    let push = signed_push().await;
    let headers: BTreeMap<String, String> =
        ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| (name.to_owned(), push.header(name).unwrap().to_owned()))
            .into();
    assert_eq!(
        headers["webhook-id"],
        push.header("x-cmq-message-id").unwrap()
    );
    assert_eq!(headers["webhook-timestamp"], NOW.to_string());
    let secret = secret_of(&KEY, FIRST);
    assert!(verify(&secret, &headers, &push.body, NOW));
    assert!(verify(&secret, &headers, &push.body, NOW + 299));

    let other_secret = secret_of(&KEY, anser_broker::id::SubscriptionId(2));
    assert!(!verify(&other_secret, &headers, &push.body, NOW));
    assert!(!verify(&secret, &headers, b"what was stolen", NOW));
    for (name, value) in [
        ("webhook-id", "1"),
        ("webhook-timestamp", "1700000001"),
        ("webhook-signature", "v1,AAAA"),
        ("webhook-signature", ""),
    ] {
        let mut forged = headers.clone();
        forged.insert(name.into(), value.into());
        assert!(!verify(&secret, &forged, &push.body, NOW), "{name}");
    }
    assert!(
        !verify(&secret, &headers, &push.body, NOW + 301),
        "replayed"
    );
    assert!(!verify(&secret, &BTreeMap::new(), &push.body, NOW));
}
