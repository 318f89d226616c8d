//! A service that remembers what it was asked, one access key, and a client that signs.

use std::{
    collections::BTreeMap,
    future::Future,
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use anser_broker::{
    context::Context,
    error::Error,
    id::{AccountId, MessageId, QueueId},
    op::{
        AnyOperation, AnyOutput, MessagesPublished, MessagesReceived, MessagesSent, Operation,
        ReceivedMessage,
    },
    service::Service,
    time::{Millis, Timestamp},
};

use crate::{AccessKey, Algorithm, KeyStore, WallClock, encode_form, record::Arrival, sign_v1};

pub(crate) const ID: &str = "EXAMPLE-ID-0000000000000000000000001";
pub(crate) const SECRET: &[u8] = b"example-secret-not-real-0000001";
pub(crate) const ACCOUNT: AccountId = AccountId(100_000_001);
/// The time of the vectors, in seconds.
pub(crate) const NOW: u64 = 1_700_000_000;

pub(crate) fn clock() -> WallClock {
    Arc::new(|| Timestamp(NOW * 1000))
}

/// Just now, from a documentation address.
pub(crate) fn arrival() -> Arrival {
    Arrival {
        started: Instant::now(),
        source: Ipv4Addr::new(192, 0, 2, 7).into(),
    }
}

pub(crate) fn key() -> AccessKey {
    AccessKey::new(ID, SECRET, ACCOUNT, true)
}

#[derive(Default)]
pub(crate) struct Keys(BTreeMap<String, Arc<AccessKey>>);

impl Keys {
    pub(crate) fn of(keys: impl IntoIterator<Item = AccessKey>) -> Arc<Self> {
        let keys = keys.into_iter();
        Arc::new(Self(
            keys.map(|key| (key.id().to_owned(), Arc::new(key)))
                .collect(),
        ))
    }
}

impl KeyStore for Keys {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.0.get(id).cloned()
    }
}

/// Sends succeed; a receive finds `found`, or waits for ever if that is nothing; all else is asked
/// of a queue that does not exist. What is put into `answer` or `refusal` is said once instead.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) seen: Arc<Mutex<Vec<AnyOperation>>>,
    /// Of the last operation.
    pub(crate) context: Arc<Mutex<Option<Context>>>,
    pub(crate) found: Arc<Mutex<Vec<ReceivedMessage>>>,
    pub(crate) answer: Arc<Mutex<Option<AnyOutput>>>,
    pub(crate) refusal: Arc<Mutex<Option<Error>>>,
    pub(crate) waiting: Arc<AtomicUsize>,
}

impl Fake {
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    pub(crate) fn last(&self) -> Option<AnyOperation> {
        self.seen.lock().unwrap().pop()
    }

    async fn perform(self, operation: AnyOperation) -> Result<AnyOutput, Error> {
        self.seen.lock().unwrap().push(operation.clone());
        if let Some(refusal) = self.refusal.lock().unwrap().take() {
            return Err(refusal);
        }
        if let Some(answer) = self.answer.lock().unwrap().take() {
            return Ok(answer);
        }
        match operation {
            AnyOperation::SendMessages(send) => {
                let messages = ids(send.bodies.len());
                Ok(AnyOutput::SendMessages(MessagesSent { messages }))
            }
            AnyOperation::PublishMessages(publish) => {
                let messages = ids(publish.bodies.len());
                Ok(AnyOutput::PublishMessages(MessagesPublished { messages }))
            }
            AnyOperation::ReceiveMessages(receive) => {
                let messages = self.found.lock().unwrap().clone();
                if messages.is_empty() && receive.wait.unwrap_or_default() > Millis(0) {
                    let _waiting = Waiting::new(self.waiting.clone());
                    std::future::pending::<()>().await;
                }
                Ok(AnyOutput::ReceiveMessages(MessagesReceived { messages }))
            }
            _ => Err(Error::NoSuchQueue),
        }
    }
}

impl Service for Fake {
    fn execute<O: Operation>(
        &self,
        context: Context,
        operation: O,
    ) -> impl Future<Output = Result<O::Output, Error>> + Send {
        *self.context.lock().unwrap() = Some(context);
        let performed = self.clone().perform(operation.into());
        async move { Ok(O::output(performed.await?).expect("the answer fits the operation")) }
    }
}

fn ids(count: usize) -> Vec<MessageId> {
    let ids = (1..).map(|number| MessageId::from_number(number).unwrap());
    ids.take(count).collect()
}

struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    fn new(count: Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn message(number: u64, body: &[u8]) -> ReceivedMessage {
    ReceivedMessage {
        message: MessageId::from_number(number).unwrap(),
        receipt: MessageId::from_number(number + 1000).unwrap(),
        body: body.to_vec().into(),
        sent: Timestamp(NOW * 1000 - 5_500),
        first_received: Timestamp(NOW * 1000 - 1_500),
        visible_again: Timestamp(NOW * 1000 + 30_000),
        deliveries: 2,
    }
}

pub(crate) const QUEUE: QueueId = QueueId(77);

/// The parameters of a request, signed for a host.
pub(crate) fn signed_for(
    method: &str,
    host: &str,
    path: &str,
    parameters: &[(&str, &str)],
) -> String {
    let time = NOW.to_string();
    let mut all = vec![
        ("SecretId", ID),
        ("Timestamp", time.as_str()),
        ("Nonce", "1"),
    ];
    all.retain(|(name, _)| parameters.iter().all(|(given, _)| given != name));
    all.extend(parameters);
    let signature = sign_v1(&key(), Algorithm::Sha1, method, host, path, &all);
    all.push(("Signature", &signature));
    encode_form(all)
}
