//! The door alone, with a service that remembers what it was asked and no dialect.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use anser_broker::{
    op::{
        AnyOperation, DescribeQueue, MessagesReceived, MessagesSent, ReceiveMessages, SendMessages,
    },
    time::Millis,
};
use tokio::sync::watch;
use tracing::{Event, Metadata, Subscriber, field::Field, span};

use super::*;
use crate::{
    metrics::{Code, Vocabulary},
    record::TARGET,
    stop::Stopping,
    testing::{ACCOUNT, Fake, ID, Keys as Store, SECRET, arrival, clock, key, message},
};

const CODES: &[Code] = &[
    Code {
        text: "done",
        module: "",
        is_denial: false,
    },
    Code {
        text: "refused",
        module: "",
        is_denial: false,
    },
];

struct World {
    fake: Fake,
    front: Front<Fake>,
    stop: watch::Sender<Option<Stopping>>,
}

/// What is told to the client of no dialect.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Refused(Refused),
    NotWritten,
}

impl From<Refused> for Told {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

fn world(keys: Arc<dyn KeyStore>, rates: Option<Rates>) -> World {
    let fake = Fake::default();
    let (stop, stopped) = watch::channel(None);
    let metrics = HttpMetrics::new(vec![Vocabulary {
        dialect: Dialect::Cmq,
        actions: vec!["Do"],
        codes: CODES,
    }]);
    let settings = Settings {
        rates,
        answers_bytes: 1 << 20,
    };
    let front = Front::new(
        fake.clone(),
        keys,
        clock(),
        stopped,
        Arc::new(metrics),
        &settings,
    );
    World { fake, front, stop }
}

fn usual() -> World {
    world(Store::of([key()]), None)
}

impl World {
    /// One whole request by the usual key.
    fn ask<O: Operation>(
        &self,
        operation: O,
        write: impl FnOnce(O::Output) -> Vec<u8>,
    ) -> Result<Bytes, Told> {
        self.ask_for(operation, |output| Ok(write(output)))
    }

    /// As [`World::ask`], if there may be no way to write the output.
    fn ask_for<O: Operation>(
        &self,
        operation: O,
        write: impl FnOnce(O::Output) -> Result<Vec<u8>, Told>,
    ) -> Result<Bytes, Told> {
        let presence = Presence::default();
        let caller = Caller {
            key: Arc::new(key()),
            presence: &presence,
        };
        let mut record = self.front.arrived(Dialect::Cmq, arrival());
        record.action = Some(0);
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().expect("a runtime");
        let performed = self.front.perform(&mut record, &caller, operation, write);
        let performed = runtime.block_on(performed);
        let code = usize::from(performed.is_err());
        self.front.answered(&record, code);
        performed
    }

    fn given_back(&self) -> bool {
        matches!(self.fake.last(), Some(AnyOperation::ReturnMessages(given))
            if given.receipts == [message(1, b"").receipt])
    }
}

fn queue() -> QueueName {
    QueueName::new("Orders").expect("a name")
}

fn send() -> SendMessages {
    SendMessages {
        queue: queue(),
        bodies: vec!["a".into(), "b".into()],
        delay: None,
        token: None,
    }
}

fn sent(output: MessagesSent) -> Vec<u8> {
    let messages = output.messages.into_iter();
    format!("{} sent", messages.count()).into_bytes()
}

fn receive(wait: u64) -> ReceiveMessages {
    ReceiveMessages {
        queue: queue(),
        max: 1,
        visibility: None,
        wait: Some(Millis(wait)),
    }
}

fn received(output: MessagesReceived) -> Vec<u8> {
    let bodies = output.messages.into_iter().map(|message| message.body);
    bodies.flatten().collect()
}

/// A key that is no longer what it was when the wait began.
struct Faded(Option<AccessKey>, AtomicUsize);

impl KeyStore for Faded {
    fn find(&self, _id: &str) -> Option<Arc<AccessKey>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        let disabled = || AccessKey::new(ID, SECRET, ACCOUNT, false);
        self.0.as_ref().map(|_| Arc::new(disabled()))
    }
}

#[test]
fn who_asks_goes_with_every_operation() {
    let world = usual();
    let answer = world.ask(send(), sent);
    assert_eq!(answer.as_deref(), Ok(&b"2 sent"[..]));
    let context = world.fake.context.lock().unwrap().take().unwrap();
    assert_eq!((context.owner, context.caller.account), (ACCOUNT, ACCOUNT));
    assert_eq!(&*context.caller.key, ID);
    assert_eq!(context.source, Some(arrival().source));
    assert!(context.request.0 < 1 << 63);
}

#[test]
fn the_key_is_looked_at_again_after_a_receive_and_what_it_may_not_have_goes_back() {
    for (later, refused) in [
        (None, Refused::NoSuchKey),
        (Some(key()), Refused::KeyDisabled),
    ] {
        let keys = Arc::new(Faded(later, AtomicUsize::new(0)));
        let world = world(Arc::clone(&keys) as Arc<dyn KeyStore>, None);
        *world.fake.found.lock().unwrap() = vec![message(1, b"hush")];
        let answer = world.ask(receive(0), |_| panic!("nobody may have it"));
        assert_eq!(answer, Err(Told::Refused(refused)));
        assert!(world.given_back());
        // A send does not wait, and is done when it is answered.
        assert!(world.ask(send(), sent).is_ok());
        assert_eq!(keys.1.load(Ordering::SeqCst), 1);
    }
}

#[test]
fn messages_of_which_no_document_is_written_go_back() {
    let world = usual();
    *world.fake.found.lock().unwrap() = vec![message(1, b"a")];
    let answer = world.ask_for(receive(0), |_| Err(Told::NotWritten));
    assert_eq!(answer, Err(Told::NotWritten));
    assert!(world.given_back());
    assert_eq!(world.ask(receive(0), received).as_deref(), Ok(&b"a"[..]));
    assert!(!world.given_back());
}

#[test]
fn a_wait_ends_when_the_server_does() {
    let world = usual();
    world.stop.send_replace(Some(Stopping::now()));
    let answer = world.ask(receive(9_000), received);
    assert_eq!(answer, Err(Told::Refused(Refused::WaitEnded)));
    assert_eq!(world.fake.waiting(), 0);
}

#[test]
fn each_class_has_its_own_rate_and_a_receive_pays_for_what_it_got() {
    let rates = Rates {
        messages_per_second: 1,
        account_messages_per_second: u32::MAX,
        control_per_second: 1,
    };
    let world = world(Store::of([key()]), Some(rates));
    assert!(world.ask(send(), sent).is_ok());
    let refused = |class| Err(Told::Refused(Refused::Rate(class)));
    assert_eq!(world.ask(send(), sent), refused(Class::Send));
    *world.fake.found.lock().unwrap() = vec![message(1, b"a"), message(2, b"b")];
    assert!(world.ask(receive(0), received).is_ok());
    assert_eq!(world.ask(receive(0), received), refused(Class::Receive));
    let describe = || DescribeQueue { name: queue() };
    let write = |_| Vec::new();
    let by_service = Refused::Operation(Error::NoSuchQueue);
    assert_eq!(world.ask(describe(), write), Err(Told::Refused(by_service)));
    assert_eq!(world.ask(describe(), write), refused(Class::Control));
}

#[test]
fn each_request_leaves_one_record_of_who_asked_and_what_came_of_it() {
    let world = usual();
    let told = Log::default();
    tracing::subscriber::with_default(told.clone(), || {
        assert!(world.ask(send(), sent).is_ok());
        let describe = DescribeQueue { name: queue() };
        assert!(world.ask(describe, |_| Vec::new()).is_err());
    });
    let context = world.fake.context.lock().unwrap().take().unwrap();
    let records = told.0.lock().unwrap();
    let [first, second] = &records[..] else {
        panic!("two requests leave two records: {records:?}");
    };
    let expected = |pairs: &[(&str, &str)], record: &BTreeMap<&str, String>| {
        for (name, value) in pairs {
            assert_eq!(record.get(name).map(String::as_str), Some(*value), "{name}");
        }
    };
    let who = [
        ("source", "192.0.2.7"),
        ("dialect", "\"cmq\""),
        ("action", "\"Do\""),
        ("account", "100000001"),
        ("key", &*format!("{ID:?}")),
        ("resource", "\"queue/Orders\""),
    ];
    expected(&who, first);
    expected(&who, second);
    let sent = [("class", "Send"), ("messages", "2"), ("code", "\"done\"")];
    expected(&sent, first);
    assert!(!first.contains_key("error"));
    let request = context.request.to_string();
    let refused = [
        ("request", request.as_str()),
        ("class", "Control"),
        ("code", "\"refused\""),
        ("error", "the queue does not exist"),
    ];
    expected(&refused, second);
    assert_ne!(first["request"], second["request"]);
}

/// What the log was told of requests.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<BTreeMap<&'static str, String>>>>);

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = BTreeMap::new();
        event.record(&mut |field: &Field, value: &dyn std::fmt::Debug| {
            fields.insert(field.name(), format!("{value:?}"));
        });
        self.0.lock().expect("no test panics in it").push(fields);
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}
