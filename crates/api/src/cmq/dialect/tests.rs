//! Whole requests against a service that remembers what it was asked.

use anser_broker::{
    error::Error,
    name::QueueName,
    op::{self, AnyOperation, AnyOutput},
    time::{Millis, Timestamp},
};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::{
    AccessKey, Rates,
    cmq::action::Scope,
    front::Settings,
    metrics::HttpMetrics,
    stop::Stopping,
    testing::{ACCOUNT, Fake, Keys, NOW, SECRET, arrival, clock, key, signed_for},
};

mod access;
mod messages;
mod publishing;
mod queues;
mod subscriptions;
mod topics;

const HOST: &str = "localhost:8080";
const PATH: &str = "/v2/index.php";

const CREATE: &[(&str, &str)] = &[("Action", "CreateQueue"), ("queueName", "Orders")];

struct World {
    fake: Fake,
    front: Front<Fake>,
    cmq: Cmq,
    host: Host<'static>,
    stop: watch::Sender<Option<Stopping>>,
}

fn world_with(config: Config, keys: impl IntoIterator<Item = AccessKey>) -> World {
    world_keyed(config, Keys::of(keys))
}

fn world_keyed(config: Config, keys: Arc<dyn KeyStore>) -> World {
    world_set(config, keys, &SETTINGS)
}

const SETTINGS: Settings = Settings {
    rates: None,
    answers_bytes: 512 << 20,
};

fn world_set(config: Config, keys: Arc<dyn KeyStore>, settings: &Settings) -> World {
    let fake = Fake::default();
    let (stop, stopped) = watch::channel(None);
    let metrics = Arc::new(HttpMetrics::new(vec![Cmq::vocabulary::<Fake>()]));
    let front = Front::new(
        fake.clone(),
        Arc::clone(&keys),
        clock(),
        stopped,
        metrics,
        settings,
    );
    World {
        fake,
        front,
        cmq: Cmq::new(config, keys),
        host: HOST.parse().unwrap(),
        stop,
    }
}

fn world_rated(rates: Rates) -> World {
    let settings = Settings {
        rates: Some(rates),
        ..SETTINGS
    };
    world_set(Config::new([9; 32]), Keys::of([key()]), &settings)
}

fn world() -> World {
    world_with(Config::new([9; 32]), [key()])
}

impl World {
    fn send(&self, form: String, path: &str) -> Bytes {
        self.answer(true, &self.host, path, form)
    }

    fn answer(&self, post: bool, host: &Host<'_>, path: &str, form: String) -> Bytes {
        let request = Request {
            post,
            host,
            path,
            presence: &Presence::default(),
            arrival: arrival(),
        };
        let form = Form::parse(form.into());
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().unwrap();
        runtime.block_on(self.cmq.answer(&self.front, &request, form))
    }

    fn raw(&self, form: String) -> Value {
        serde_json::from_slice(&self.send(form, PATH)).unwrap()
    }

    fn ask(&self, parameters: &[(&str, &str)]) -> Value {
        self.raw(signed_for("POST", HOST, PATH, parameters))
    }

    /// What the service says to the next operation.
    fn answers(&self, output: AnyOutput) {
        *self.fake.answer.lock().unwrap() = Some(output);
    }

    /// The answer if the service refuses.
    fn refused(&self, error: Error, parameters: &[(&str, &str)]) -> Value {
        *self.fake.refusal.lock().unwrap() = Some(error);
        self.ask(parameters)
    }

    fn scope(&self) -> Scope<'_> {
        Scope {
            config: &self.cmq.config,
            cipher: &self.cmq.cipher,
            account: ACCOUNT,
            host: &self.host,
            now: Timestamp(0),
        }
    }

    /// Code and module code of the answer.
    fn codes(&self, parameters: &[(&str, &str)]) -> (u64, u64) {
        codes(&self.ask(parameters))
    }
}

fn without_number(mut answer: Value) -> Value {
    answer.as_object_mut().unwrap().remove("requestId");
    answer
}

fn codes(answer: &Value) -> (u64, u64) {
    let message = answer["message"].as_str().unwrap();
    let module = message
        .strip_prefix('(')
        .and_then(|rest| rest.split_once(')'));
    let module = module.map_or(0, |(module, _)| module.parse().unwrap());
    (answer["code"].as_u64().unwrap(), module)
}

const SEND: &[(&str, &str)] = &[
    ("Action", "SendMessage"),
    ("queueName", "orders"),
    ("msgBody", "hello"),
];

fn with<'a>(base: &[(&'a str, &'a str)], more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    [base, more].concat()
}

#[test]
fn every_answer_has_the_envelope() {
    let world = world();
    let sent = world.ask(&with(SEND, &[("clientRequestId", "42")]));
    assert_eq!(sent["code"], 0);
    assert_eq!(sent["message"], "");
    assert_eq!(sent["codeDesc"], "Success");
    assert_eq!(sent["msgId"], "1");
    assert_eq!(sent["clientRequestId"], 42);
    let number = sent["requestId"].as_str().unwrap();
    assert!(number.bytes().all(|byte| byte.is_ascii_digit()));
    let refused = world.ask(&[("Action", "DeleteQueue"), ("queueName", "q")]);
    assert_eq!(refused["code"], 4440);
    assert_eq!(
        refused["message"],
        "(10100)queue is not existed, or deleted"
    );
    assert_ne!(refused["requestId"], sent["requestId"]);
}

#[test]
fn actions_are_found_in_any_case_and_unknown_ones_named() {
    let world = world();
    let sent = world.ask(&[
        ("Action", "sENDmESSAGE"),
        ("queueName", "q"),
        ("msgBody", "x"),
    ]);
    assert_eq!(sent["code"], 0);
    let unknown = world.ask(&[("Action", "CreateMulticast")]);
    assert_eq!(
        unknown["message"],
        "(10430)action name CreateMulticast is not existed"
    );
    assert_eq!(world.codes(&[("queueName", "q")]), (4000, 10280));
    assert_eq!(world.codes(&[("Action", "")]), (4000, 10280));
    assert_eq!(codes(&world.raw(String::new())), (4000, 10280));
}

#[test]
fn malformed_forms_are_named() {
    let world = world();
    for (form, expected) in [
        ("Action=%", (4000, 10420)),
        ("Ac%tion=x", (4000, 10310)),
        ("Action=SendMessage&Action=SendMessage", (4000, 10330)),
        ("Action.1=SendMessage", (4000, 10280)),
    ] {
        assert_eq!(codes(&world.raw(form.to_owned())), expected, "{form}");
    }
    assert_eq!(codes(&world.raw("a=1&".repeat(1000))), (4000, 10420));
}
