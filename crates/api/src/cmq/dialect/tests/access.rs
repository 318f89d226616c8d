//! Who may ask: common parameters, signatures, rates.

use std::sync::atomic::{AtomicUsize, Ordering};

use anser_broker::op::AnyOperation;

use super::*;
use crate::{
    Accounts, Algorithm, encode_form, sign_v1,
    testing::{ID, message},
};

#[test]
fn common_parameters_must_be_there_and_numbers_be_numbers() {
    let world = world();
    for missing in ["SecretId", "Timestamp", "Nonce", "Signature"] {
        let form = signed_for("POST", HOST, PATH, SEND);
        let rest: Vec<_> = form
            .split('&')
            .filter(|pair| !pair.starts_with(missing))
            .collect();
        let answer = world.raw(rest.join("&"));
        let text = format!("(10390)lacked of required parameter {missing}");
        assert_eq!(answer["message"], text);
    }
    for odd in ["x", "1.5", "1e9", "", " 1"] {
        assert_eq!(
            world.codes(&with(SEND, &[("Timestamp", odd)])),
            (4000, 10360),
            "{odd}"
        );
        assert_eq!(
            world.codes(&with(SEND, &[("Nonce", odd)])),
            (4000, 10360),
            "{odd}"
        );
    }
}

#[test]
fn only_the_time_window_is_accepted() {
    let world = world();
    for (shift, good) in [
        (-301, false),
        (-300, true),
        (0, true),
        (300, true),
        (301, false),
    ] {
        let time = NOW.checked_add_signed(shift).unwrap().to_string();
        let codes = world.codes(&with(SEND, &[("Timestamp", &time)]));
        assert_eq!(codes, if good { (0, 0) } else { (4100, 10030) }, "{shift}");
    }
    for far in ["-1", "0", "9223372036854775808", "18446744073709551616"] {
        assert_eq!(
            world.codes(&with(SEND, &[("Timestamp", far)])),
            (4100, 10030),
            "{far}"
        );
    }
    let mut config = Config::new([9; 32]);
    config.clock_skew = std::time::Duration::from_secs(100_000);
    let world = world_with(config, [key()]);
    let time = (NOW - 7201).to_string();
    let codes = world.codes(&with(SEND, &[("Timestamp", &time)]));
    assert_eq!(codes, (4100, 10030), "two hours are the most");
}

fn accounts(texts: &[&str]) -> Accounts {
    let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
    Accounts::read(&texts).unwrap()
}

#[test]
fn an_account_can_be_made_to_sign_with_sha_256() {
    let signed = |algorithm, method| {
        let time = NOW.to_string();
        let mut all = with(
            SEND,
            &[
                ("SecretId", ID),
                ("Timestamp", &time),
                ("Nonce", "1"),
                ("SignatureMethod", method),
            ],
        );
        let signature = sign_v1(&key(), algorithm, "POST", HOST, PATH, &all);
        all.push(("Signature", &signature));
        encode_form(all)
    };
    for (only, sha1_is_good) in [
        (&[][..], true),
        (&["7"], true),
        (&["100000001"], false),
        (&["*"], false),
    ] {
        let world = world_with(
            Config {
                sha256_only: accounts(only),
                ..Config::new([9; 32])
            },
            [key()],
        );
        for (algorithm, method, good) in [
            (Algorithm::Sha256, "HmacSHA256", true),
            (Algorithm::Sha1, "HmacSHA1", sha1_is_good),
            (Algorithm::Sha1, "none", sha1_is_good),
        ] {
            let answered = codes(&world.raw(signed(algorithm, method)));
            let expected = if good { (0, 0) } else { (4100, 10030) };
            assert_eq!(answered, expected, "{only:?} {method}");
        }
    }
}

#[test]
fn of_an_account_each_signed_request_can_be_accepted_once_only() {
    let world = world_with(
        Config {
            once_only: accounts(&["100000001"]),
            ..Config::new([9; 32])
        },
        [key()],
    );
    let form = signed_for("POST", HOST, PATH, SEND);
    assert_eq!(codes(&world.raw(form.clone())), (0, 0));
    assert_eq!(codes(&world.raw(form.clone())), (4100, 10030));
    let respelled = form.replace("%3D", "=").replace("%2B", "+");
    assert_ne!(respelled, form);
    assert_eq!(codes(&world.raw(respelled)), (4100, 10030));
    assert_eq!(world.codes(&with(SEND, &[("Nonce", "2")])), (0, 0));
    // The vendor's clients may repeat a nonce.
    let other = with(SEND, &[("delaySeconds", "1")]);
    assert_eq!(world.codes(&other), (0, 0));
}

#[test]
fn who_may_not_is_told_why_and_nothing_happens() {
    let disabled = AccessKey::new("off", SECRET, ACCOUNT, false);
    let temporary = AccessKey::new("temporary", SECRET, ACCOUNT, true)
        .with_token("token-1", Timestamp(NOW * 1000 + 1));
    let expired = AccessKey::new("expired", SECRET, ACCOUNT, true)
        .with_token("token-1", Timestamp(NOW * 1000));
    let world = world_with(Config::new([9; 32]), [key(), disabled, temporary, expired]);
    for (more, expected) in [
        (&[("SecretId", "nobody")][..], (4100, 10270)),
        (&[("SecretId", "")], (4100, 10270)),
        (&[("SecretId", "off")], (4100, 10080)),
        (&[("SecretId", "temporary")], (4100, 10030)),
        (
            &[("SecretId", "temporary"), ("Token", "token-2")],
            (4100, 10030),
        ),
        (
            &[("SecretId", "expired"), ("Token", "token-1")],
            (4100, 10030),
        ),
    ] {
        assert_eq!(world.codes(&with(SEND, more)), expected, "{more:?}");
    }
    let form = signed_for("POST", HOST, PATH, SEND).replace("hello", "hullo");
    assert_eq!(codes(&world.raw(form)), (4100, 10030));
    assert!(
        world.fake.last().is_none(),
        "nothing was asked of the service"
    );
    let token = [("SecretId", "temporary"), ("Token", "token-1")];
    assert_eq!(world.codes(&with(SEND, &token)), (0, 0));
}

#[test]
fn the_same_request_twice_is_accepted_twice() {
    let world = world();
    assert_eq!(world.codes(SEND), (0, 0));
    assert_eq!(world.codes(SEND), (0, 0));
}

#[test]
fn wrong_signatures_do_not_shut_out_the_right_one() {
    let off = AccessKey::new("off", SECRET, ACCOUNT, false);
    let world = world_with(Config::new([9; 32]), [key(), off]);
    let wrong = signed_for("POST", HOST, PATH, SEND).replace("hello", "hullo");
    for _ in 0..50 {
        assert_eq!(codes(&world.raw(wrong.clone())), (4100, 10030));
        let disabled = with(SEND, &[("SecretId", "off")]);
        assert_eq!(world.codes(&disabled), (4100, 10080));
        assert_eq!(world.codes(SEND), (0, 0));
    }
}

#[test]
fn a_receive_whose_key_ended_while_it_waited_gives_its_messages_back() {
    for (later, expected) in [
        (None, (4100, 10270)),
        (
            Some(AccessKey::new(ID, SECRET, ACCOUNT, false)),
            (4100, 10080),
        ),
    ] {
        let keys = Fading {
            asked: AtomicUsize::new(0),
            first: Arc::new(key()),
            later: later.map(Arc::new),
        };
        let world = world_keyed(Config::new([9; 32]), Arc::new(keys));
        *world.fake.found.lock().unwrap() = vec![message(1, b"hush")];
        let receive = [("Action", "ReceiveMessage"), ("queueName", "orders")];
        assert_eq!(world.codes(&receive), expected);
        let Some(AnyOperation::ReturnMessages(given)) = world.fake.last() else {
            panic!("the message was not given back");
        };
        assert_eq!(given.receipts, [message(1, b"").receipt]);
    }
}

/// A key that is no longer what it was when it is looked at again.
struct Fading {
    asked: AtomicUsize,
    first: Arc<AccessKey>,
    later: Option<Arc<AccessKey>>,
}

impl KeyStore for Fading {
    fn find(&self, _id: &str) -> Option<Arc<AccessKey>> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => Some(Arc::clone(&self.first)),
            _ => self.later.clone(),
        }
    }
}

#[test]
fn junk_that_clients_send_is_ignored() {
    let world = world();
    let junk = [
        ("RequestClient", "SDK_Python_1.3"),
        ("UserpollingWaitSeconds", "30000"),
        ("appId", "7"),
        ("Region", "gz"),
    ];
    assert_eq!(world.codes(&with(SEND, &junk)), (0, 0));
}

#[test]
fn a_body_cut_off_at_an_ampersand_is_not_accepted() {
    let world = world();
    let body = "x&page=2";
    let form = signed_for("POST", HOST, PATH, &with(&SEND[..2], &[("msgBody", body)]));
    assert_eq!(codes(&world.raw(form.clone())), (0, 0));
    // The same signed text, taken apart otherwise.
    let cut = form.replace("%26page%3D2", "&page=2");
    assert_eq!(codes(&world.raw(cut)), (4000, 10320));
    let doubled = format!("{form}&queueName=other");
    assert_ne!(codes(&world.raw(doubled)).0, 0);
}

#[test]
fn rates_refuse_what_is_over_them() {
    let world = world_rated(Rates {
        messages_per_second: 2,
        account_messages_per_second: u32::MAX,
        control_per_second: 1,
    });
    let batch = [("Action", "BatchSendMessage"), ("queueName", "orders")];
    let bodies = [("msgBody.0", "a"), ("msgBody.1", "b"), ("msgBody.2", "c")];
    assert_eq!(world.codes(&with(&batch, &bodies)), (0, 0));
    assert_eq!(world.codes(SEND), (4420, 10250));
    let other = with(&[SEND[0], SEND[2]], &[("queueName", "other")]);
    assert_eq!(world.codes(&other), (0, 0));
    assert_eq!(world.codes(CREATE), (4440, 10100));
    assert_eq!(world.codes(CREATE), (4480, 10460));
}

#[test]
fn no_answer_holds_a_secret() {
    let world = world();
    let answer = world.send(signed_for("POST", HOST, PATH, &[("Action", "x")]), PATH);
    let text = String::from_utf8(answer.to_vec()).unwrap();
    assert!(!text.contains(ID) && !text.contains("example-secret"));
    assert!(!format!("{:?}", world.cmq.config).contains("9, 9"));
}
