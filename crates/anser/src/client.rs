//! A small CMQ client: what the command line, the benchmark and the tests speak to a server with.
//!
//! A [`Client`] is one connection, opened when first needed and again when it broke. A call ends in
//! one of three ways: it happened, it did not ([`Error::Refused`], [`Error::Unreachable`]), or nobody
//! can know ([`Error::Unknown`]). Nothing is tried twice here.

mod answer;
mod connection;
mod endpoint;
mod request;
mod topics;

use std::{borrow::Cow, future::Future, time::Duration};

use anser_network::Connector;
use serde::de::DeserializeOwned;

pub use answer::{
    BatchDeleted, BatchSent, Done, NotDeleted, QueueCreated, QueueDetails, QueueList, QueueListing,
    Received, Sent,
};
pub(crate) use connection::Connection;
pub use endpoint::Endpoint;
pub(crate) use endpoint::tls_of;
use request::RequestWriter;
pub use request::{Parameter, SignatureMethod};
pub use topics::{
    DeliveryFailure, Labels, Subscribed, SubscriptionDetails, SubscriptionList,
    SubscriptionListing, SubscriptionSettings, TopicCreated, TopicDetails, TopicList, TopicListing,
    TopicSettings,
};

const PATH: &str = "/v2/index.php";
/// How long an answer may take beyond the wait that was asked for.
const PATIENCE: Duration = Duration::from_secs(15);

/// The code of an answer that found nothing to receive.
const CODE_NO_MESSAGE: i64 = 7000;
/// The code of a batch delete that failed for some handles, and for all.
const CODES_NOT_DELETED: [i64; 2] = [6010, 6020];
/// The code of internal errors, after which nobody can know, but for a full disk.
const CODE_INTERNAL: i64 = 6000;
const FULL_DISK: &str = "(10090)";

/// Why a call gave no result.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The server answered no; nothing has changed.
    #[error("the server refused: {message} (code {code})")]
    Refused { code: i64, message: String },
    /// The request never left; nothing has changed.
    #[error("cannot connect to {address}: {cause}")]
    Unreachable {
        address: String,
        cause: std::io::Error,
    },
    /// The request left and no usable answer came: it may have happened.
    #[error("whether it happened is unknown: {0}")]
    Unknown(String),
    #[error("the endpoint \"{0}\" is not of the form http://HOST:PORT or https://HOST:PORT")]
    Endpoint(String),
}

impl Error {
    /// The server's code, if it refused.
    pub fn code(&self) -> Option<i64> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }
}

pub type Outcome<T> = Result<T, Error>;

/// What a queue can be told; `None` leaves it as it is, or at its default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueSettings {
    pub max_msg_heap_num: Option<u64>,
    pub polling_wait_seconds: Option<u64>,
    pub visibility_timeout: Option<u64>,
    pub max_msg_size: Option<u64>,
    pub msg_retention_seconds: Option<u64>,
    pub rewind_seconds: Option<u64>,
    /// JSON text.
    pub dead_letter_policy: Option<String>,
    /// `majority` or `all`; an extension of CMQ.
    pub acknowledge: Option<String>,
}

#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    writer: RequestWriter,
    connection: Option<Connection>,
    patience: Duration,
}

impl Client {
    /// `endpoint` is `http://HOST:PORT`.
    pub fn new(endpoint: &str, key_id: &str, secret: &str) -> Outcome<Self> {
        Self::with_tls(endpoint, None, key_id, secret)
    }

    /// `endpoint` is `http://HOST:PORT`, or, with `tls`, `https://HOST:PORT`.
    pub fn with_tls(
        endpoint: &str,
        tls: Option<&Connector>,
        key_id: &str,
        secret: &str,
    ) -> Outcome<Self> {
        let read = Endpoint::read(endpoint, tls);
        let endpoint = read.ok_or_else(|| Error::Endpoint(endpoint.to_owned()))?;
        let method = SignatureMethod::default();
        let writer = RequestWriter::new(endpoint.host(), PATH, key_id, secret, method);
        Ok(Self {
            endpoint,
            writer,
            connection: None,
            patience: PATIENCE,
        })
    }

    /// How long an answer may take beyond the wait that was asked for.
    #[must_use]
    pub fn with_patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Opens the connection before it is needed.
    pub async fn connect(&mut self) -> Outcome<()> {
        if self
            .connection
            .as_ref()
            .is_none_or(|connection| !connection.is_usable())
        {
            self.connection = None;
            let opened =
                tokio::time::timeout(self.patience, Connection::open(&self.endpoint)).await;
            let opened = opened.unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()));
            let opened = opened.map_err(|cause| Error::Unreachable {
                address: self.endpoint.address().to_owned(),
                cause,
            })?;
            self.connection = Some(opened);
        }
        Ok(())
    }

    /// Does any action. For what has no method of its own.
    pub async fn call<T: DeserializeOwned>(
        &mut self,
        action: &str,
        parameters: Vec<Parameter<'_>>,
    ) -> Outcome<T> {
        self.exchange(action, parameters, Duration::ZERO, &[]).await
    }

    pub async fn create_queue(
        &mut self,
        name: &str,
        settings: &QueueSettings,
    ) -> Outcome<QueueCreated> {
        self.call("CreateQueue", settings.parameters(name)).await
    }

    pub async fn set_queue(&mut self, name: &str, settings: &QueueSettings) -> Outcome<Done> {
        self.call("SetQueueAttributes", settings.parameters(name))
            .await
    }

    pub async fn queue(&mut self, name: &str) -> Outcome<QueueDetails> {
        self.call("GetQueueAttributes", vec![queue_name(name)])
            .await
    }

    pub async fn delete_queue(&mut self, name: &str) -> Outcome<Done> {
        self.call("DeleteQueue", vec![queue_name(name)]).await
    }

    /// Ends a queue's dead-letter policy.
    pub async fn unbind_dead_letter_queue(&mut self, name: &str) -> Outcome<Done> {
        self.call("UnbindDeadLetterQueue", vec![queue_name(name)])
            .await
    }

    pub async fn clear_queue(&mut self, name: &str) -> Outcome<Done> {
        self.call("ClearQueue", vec![queue_name(name)]).await
    }

    /// Gives back the deleted messages that were sent at `to`, seconds since 1970, or later.
    pub async fn rewind_queue(&mut self, name: &str, to: u64) -> Outcome<Done> {
        let parameters = vec![queue_name(name), number("startConsumeTime", to)];
        self.call("RewindQueue", parameters).await
    }

    /// At most 50 queues from `offset` on whose name contains `search`.
    pub async fn list_queues(&mut self, search: &str, offset: u64) -> Outcome<QueueList> {
        let mut parameters = vec![number("offset", offset), number("limit", 50)];
        if !search.is_empty() {
            parameters.push(("searchWord".into(), search.into()));
        }
        self.call("ListQueue", parameters).await
    }

    pub async fn send(&mut self, queue: &str, body: &str, delay_seconds: u64) -> Outcome<Sent> {
        let parameters = vec![
            queue_name(queue),
            ("msgBody".into(), body.into()),
            number("delaySeconds", delay_seconds),
        ];
        self.call("SendMessage", parameters).await
    }

    /// All or nothing; at most 16 bodies.
    pub async fn batch_send(
        &mut self,
        queue: &str,
        bodies: &[impl AsRef<str>],
        delay_seconds: u64,
    ) -> Outcome<BatchSent> {
        let mut parameters = vec![queue_name(queue), number("delaySeconds", delay_seconds)];
        parameters.extend(numbered("msgBody", bodies));
        self.call("BatchSendMessage", parameters).await
    }

    /// `None` if nothing came. Without a wait the queue's own applies.
    pub async fn receive(&mut self, queue: &str, wait: Option<u64>) -> Outcome<Option<Received>> {
        let mut parameters = vec![queue_name(queue)];
        parameters.extend(wait.map(|wait| number("pollingWaitSeconds", wait)));
        let received = self
            .exchange("ReceiveMessage", parameters, longest_wait(wait), &[])
            .await;
        none_if_empty(received)
    }

    /// At most `max` messages, up to 16; empty if nothing came.
    pub async fn batch_receive(
        &mut self,
        queue: &str,
        max: u64,
        wait: Option<u64>,
    ) -> Outcome<Vec<Received>> {
        let mut parameters = vec![queue_name(queue), number("numOfMsg", max)];
        parameters.extend(wait.map(|wait| number("pollingWaitSeconds", wait)));
        let wait = longest_wait(wait);
        let received: Outcome<answer::BatchReceived> = self
            .exchange("BatchReceiveMessage", parameters, wait, &[])
            .await;
        Ok(none_if_empty(received)?.map_or_else(Vec::new, |received| received.msg_info_list))
    }

    pub async fn delete(&mut self, queue: &str, receipt_handle: &str) -> Outcome<Done> {
        let parameters = vec![
            queue_name(queue),
            ("receiptHandle".into(), receipt_handle.into()),
        ];
        self.call("DeleteMessage", parameters).await
    }

    /// At most 16 handles. The good ones are deleted even when others fail.
    pub async fn batch_delete(
        &mut self,
        queue: &str,
        receipt_handles: &[impl AsRef<str>],
    ) -> Outcome<BatchDeleted> {
        let mut parameters = vec![queue_name(queue)];
        parameters.extend(numbered("receiptHandle", receipt_handles));
        let accepted = &CODES_NOT_DELETED;
        self.exchange("BatchDeleteMessage", parameters, Duration::ZERO, accepted)
            .await
    }

    /// Sends the request and reads a `T` from an answer of code 0 or one of `accepted`.
    async fn exchange<T: DeserializeOwned>(
        &mut self,
        action: &str,
        parameters: Vec<Parameter<'_>>,
        wait: Duration,
        accepted: &[i64],
    ) -> Outcome<T> {
        self.connect().await?;
        let request = self.writer.write(action, &parameters);
        let connection = self.connection.as_mut().expect("it was opened above");
        let answer = limit(self.patience + wait, connection.exchange(&request)).await?;
        if answer.status != 200 {
            return Err(from_status(answer.status, answer.body));
        }
        let head: answer::Head<'_> =
            serde_json::from_slice(answer.body).map_err(|error| not_understood(&error))?;
        match head.code {
            code if code == 0 || accepted.contains(&code) => {
                serde_json::from_slice(answer.body).map_err(|error| not_understood(&error))
            }
            code => Err(from_code(code, head.message.into_owned())),
        }
    }
}

impl QueueSettings {
    fn parameters(&self, name: &str) -> Vec<Parameter<'_>> {
        let numbers = [
            ("maxMsgHeapNum", self.max_msg_heap_num),
            ("pollingWaitSeconds", self.polling_wait_seconds),
            ("visibilityTimeout", self.visibility_timeout),
            ("maxMsgSize", self.max_msg_size),
            ("msgRetentionSeconds", self.msg_retention_seconds),
            ("rewindSeconds", self.rewind_seconds),
        ];
        let given = numbers
            .into_iter()
            .filter_map(|(name, value)| Some(number(name, value?)));
        let mut parameters: Vec<Parameter<'_>> = given.collect();
        parameters.push(("queueName".into(), name.to_owned().into()));
        if let Some(policy) = &self.dead_letter_policy {
            parameters.push(("deadLetterPolicy".into(), policy.as_str().into()));
        }
        if let Some(acknowledge) = &self.acknowledge {
            parameters.push(("acknowledge".into(), acknowledge.as_str().into()));
        }
        parameters
    }
}

fn queue_name(name: &str) -> Parameter<'_> {
    ("queueName".into(), name.into())
}

fn number(name: &'static str, value: u64) -> Parameter<'static> {
    (name.into(), value.to_string().into())
}

fn numbered<'a>(name: &str, values: &'a [impl AsRef<str>]) -> impl Iterator<Item = Parameter<'a>> {
    let named = move |(place, value): (usize, &'a _)| {
        let value: &str = AsRef::<str>::as_ref(value);
        (Cow::from(format!("{name}.{}", place + 1)), Cow::from(value))
    };
    values.iter().enumerate().map(named)
}

/// How long the server may hold a receive; a queue's own wait is at most 30 seconds.
fn longest_wait(wait: Option<u64>) -> Duration {
    Duration::from_secs(wait.unwrap_or(30).min(30))
}

fn none_if_empty<T>(outcome: Outcome<T>) -> Outcome<Option<T>> {
    match outcome {
        Ok(received) => Ok(Some(received)),
        Err(Error::Refused {
            code: CODE_NO_MESSAGE,
            ..
        }) => Ok(None),
        Err(error) => Err(error),
    }
}

async fn limit<T>(
    patience: Duration,
    exchange: impl Future<Output = std::io::Result<T>>,
) -> Outcome<T> {
    match tokio::time::timeout(patience, exchange).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(cause)) => Err(Error::Unknown(format!("the connection broke: {cause}"))),
        Err(_) => Err(Error::Unknown(format!(
            "no answer in {} s",
            patience.as_secs()
        ))),
    }
}

fn from_code(code: i64, message: String) -> Error {
    if code == CODE_INTERNAL && !message.starts_with(FULL_DISK) {
        return Error::Unknown(message);
    }
    Error::Refused { code, message }
}

fn from_status(status: u16, body: &[u8]) -> Error {
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    if status < 500 {
        return Error::Refused {
            code: status.into(),
            message: text,
        };
    }
    Error::Unknown(format!(
        "the server answered with HTTP status {status}: {text}"
    ))
}

fn not_understood(error: &serde_json::Error) -> Error {
    Error::Unknown(format!("the answer is not understood: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_internal_errors_only_a_full_disk_is_a_no() {
        let full = from_code(6000, "(10090)send message failed".into());
        assert_eq!(full.code(), Some(6000));
        let unclear = from_code(6000, "(10050)server internal error".into());
        assert!(matches!(unclear, Error::Unknown(_)));
    }
}
