//! A node in a folder of its own, and the few words the tests say to it.

use std::path::Path;

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    context::{Context, Principal, RequestId},
    error::Error,
    id::{AccountId, MessageId},
    name::QueueName,
    op::{
        CreateQueue, DeleteMessages, DescribeQueue, NamedDeadLetterPolicy, QueueCounts,
        ReceiveMessages, ReceivedMessage, SendMessages,
    },
    service::Service,
    time::{Millis, Timestamp},
};
use anser_node::{Clock, Config, Node, Status};
use tempfile::TempDir;

const ACCOUNT: AccountId = AccountId(123_456_789_012);

/// Somebody of the account asks for what is the account's.
pub(crate) fn context() -> Context {
    Context {
        owner: ACCOUNT,
        caller: Principal {
            account: ACCOUNT,
            key: "a-key".into(),
        },
        request: RequestId(1),
        source: None,
    }
}

pub(crate) struct House {
    pub(crate) node: Node,
    pub(crate) clock: Clock,
    pub(crate) config: Config,
    _folder: Option<TempDir>,
}

impl House {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let mut config = config(folder.path());
        change(&mut config);
        let clock = Clock::manual(Timestamp(1_700_000_000_000));
        let node = Node::start(&config, clock.clone()).expect("a fresh folder starts");
        Self {
            node,
            clock,
            config,
            _folder: Some(folder),
        }
    }

    /// Stops the node and starts it again in the same folder.
    pub(crate) fn restart(&mut self) {
        self.node.shutdown();
        self.node = Node::start(&self.config, self.clock.clone()).expect("the folder starts again");
    }

    pub(crate) async fn create(&self, name: &str) {
        self.create_with(name, None, |_| {})
            .await
            .expect("the queue is created");
    }

    pub(crate) async fn create_with(
        &self,
        name: &str,
        dead_letter: Option<NamedDeadLetterPolicy>,
        change: impl FnOnce(&mut QueueAttributes),
    ) -> Result<(), Error> {
        let mut attributes = attributes();
        change(&mut attributes);
        let operation = CreateQueue {
            name: queue(name),
            attributes,
            dead_letter,
            queues_max: 1_000,
            reuse_after: Millis(0),
        };
        self.node.execute(context(), operation).await.map(drop)
    }

    pub(crate) async fn send(&self, name: &str, body: &str) -> Result<MessageId, Error> {
        let bodies = vec![body.to_owned().into()];
        let operation = SendMessages {
            queue: queue(name),
            bodies,
            delay: None,
            token: None,
        };
        self.node
            .execute(context(), operation)
            .await
            .map(|sent| sent.messages[0])
    }

    /// Receives up to `max` without waiting.
    pub(crate) async fn receive(&self, name: &str, max: u32) -> Vec<ReceivedMessage> {
        let operation = receive(name, max, 0);
        self.node
            .execute(context(), operation)
            .await
            .expect("the queue is there")
            .messages
    }

    pub(crate) async fn delete(
        &self,
        name: &str,
        messages: &[ReceivedMessage],
    ) -> Vec<Result<(), Error>> {
        let receipts = messages.iter().map(|message| message.receipt).collect();
        let operation = DeleteMessages {
            queue: queue(name),
            receipts,
        };
        self.node
            .execute(context(), operation)
            .await
            .expect("the queue is there")
            .results
    }

    pub(crate) async fn counts(&self, name: &str) -> QueueCounts {
        let operation = DescribeQueue { name: queue(name) };
        self.node
            .execute(context(), operation)
            .await
            .expect("the queue is there")
            .counts
    }

    /// Waits, in real time and not for ever, until the node as a whole is in some state.
    pub(crate) async fn until_status(&self, done: impl Fn(&Status) -> bool) {
        for _ in 0..12_000 {
            if done(&self.node.status()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!("{:?} does not change", self.node.status());
    }

    /// Waits, in real time, until the node has got round to something.
    pub(crate) async fn until(&self, name: &str, done: impl Fn(&QueueCounts) -> bool) {
        for _ in 0..2_000 {
            if done(&self.counts(name).await) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        panic!(
            "{name} has {:?} and does not change",
            self.counts(name).await
        );
    }
}

impl Drop for House {
    fn drop(&mut self) {
        self.node.shutdown();
    }
}

pub(crate) fn receive(name: &str, max: u32, wait: u64) -> ReceiveMessages {
    ReceiveMessages {
        queue: queue(name),
        max,
        visibility: None,
        wait: Some(Millis(wait)),
    }
}

pub(crate) fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("tests use valid names")
}

pub(crate) fn bodies(messages: &[ReceivedMessage]) -> Vec<&str> {
    messages
        .iter()
        .map(|message| std::str::from_utf8(&message.body).expect("text"))
        .collect()
}

/// Small files, so that a test fills and recycles them.
fn config(folder: &Path) -> Config {
    Config {
        data: folder.join("data"),
        shards: 4,
        runners: 2,
        wal_file_bytes: 256 << 10,
        wal_budget_bytes: 1 << 20,
        segment_bytes: 256 << 10,
        cache_bytes: 64 << 10,
        reserve_bytes: 0,
        in_flight_bytes: 8 << 20,
        in_flight_requests: 1_000,
        time_off_max: Millis(86_400_000),
        cluster: None,
    }
}

fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1_000_000,
        wait: Millis(0),
        visibility: Millis(30_000),
        body_bytes_max: 65_536,
        retention: Millis(86_400_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(3_600_000),
        delayed_max: 1_000,
        in_flight_max: 100_000,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}
