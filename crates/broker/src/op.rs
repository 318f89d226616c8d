//! The operations: everything that can be asked of the product, in its own words.
//!
//! Dialects translate to and from these. Each operation names its output, so that
//! `service.execute(context, SendMessages { .. })` is a `MessagesSent` without any matching. What an
//! operation is, its class, its resource and its number of messages, stands in its row of the table
//! below, and nowhere in a dialect.

mod facts;
mod topic;

pub use facts::{Class, Resource};
pub use topic::{
    CreateTopic, DeadLetterQueueChange, DeleteTopic, DeliveryFailure, DescribeSubscription,
    DescribeTopic, EndpointName, ListSubscriptions, ListTopics, MessagesPublished, PublishMessages,
    SetSubscriptionAttributes, SetTopicAttributes, Subscribe, Subscribed, SubscriptionChanged,
    SubscriptionChanges, SubscriptionDescription, SubscriptionListing, SubscriptionTotals,
    SubscriptionsListed, TopicChanged, TopicCreated, TopicDeleted, TopicDescription, TopicListing,
    TopicsListed, Unsubscribe, Unsubscribed,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use self::facts::Count;
use crate::{
    attributes::{AttributeChanges, DeadLetterAfter, QueueAttributes},
    error::Error,
    id::{MessageId, QueueId, Receipt},
    name::QueueName,
    time::{Millis, Timestamp},
};

/// An operation, what it is, and what it gives.
pub trait Operation: Into<AnyOperation> + Send + 'static {
    type Output: Send + 'static;

    const CLASS: Class;

    fn resource(&self) -> Resource<'_>;

    /// How many messages it sends, publishes or names by their receipts, or receives at most.
    fn messages(&self) -> usize {
        0
    }

    /// The messages that a receive got.
    fn received(_output: &Self::Output) -> &[ReceivedMessage] {
        &[]
    }

    /// Takes this operation's output out of the sum of all; `None` if it is another's.
    fn output(any: AnyOutput) -> Option<Self::Output>;
}

/// A row: the operation and its output, with the field of messages that were received; its class, with the field that
/// says how many messages it is about; its resource, with the fields that name it.
macro_rules! operations {
    ($(
        $name:ident -> $output:ident $({ $received:ident })?:
        $class:ident $(($counted:ident))?, $resource:ident $(($($named:ident),+))?;
    )*) => {
        /// Any operation.
        #[derive(Debug, Clone)]
        pub enum AnyOperation {
            $($name($name),)*
        }

        /// The output of any operation, under the operation's name.
        #[derive(Debug, Clone)]
        pub enum AnyOutput {
            $($name($output),)*
        }

        impl AnyOperation {
            /// The operation's name, for logs and metrics.
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$name(_) => stringify!($name),)*
                }
            }
        }

        $(
            impl From<$name> for AnyOperation {
                fn from(operation: $name) -> Self {
                    Self::$name(operation)
                }
            }

            impl Operation for $name {
                type Output = $output;

                const CLASS: Class = Class::$class;

                fn resource(&self) -> Resource<'_> {
                    Resource::$resource $(($(&self.$named),+))?
                }

                $(
                    fn messages(&self) -> usize {
                        self.$counted.count()
                    }
                )?

                $(
                    fn received(output: &$output) -> &[ReceivedMessage] {
                        &output.$received
                    }
                )?

                fn output(any: AnyOutput) -> Option<$output> {
                    match any {
                        AnyOutput::$name(output) => Some(output),
                        _ => None,
                    }
                }
            }
        )*
    };
}

operations! {
    CreateQueue -> QueueCreated: Control, Queue(name);
    DeleteQueue -> QueueDeleted: Control, Queue(name);
    SetQueueAttributes -> QueueChanged: Control, Queue(name);
    DescribeQueue -> QueueDescription: Control, Queue(name);
    ListQueues -> QueuesListed: Control, Account;
    ListDeadLetterSources -> QueuesListed: Control, Queue(name);
    ClearQueue -> QueueCleared: Control, Queue(name);
    RewindQueue -> QueueRewound: Control, Queue(name);
    SendMessages -> MessagesSent: Send(bodies), Queue(queue);
    ReceiveMessages -> MessagesReceived { messages }: Receive(max), Queue(queue);
    DeleteMessages -> MessagesDeleted: Delete(receipts), Queue(queue);
    ChangeVisibility -> VisibilityChanged: Lease(receipts), Queue(queue);
    ReturnMessages -> MessagesReturned: Lease(receipts), Queue(queue);
    CreateTopic -> TopicCreated: Control, Topic(name);
    DeleteTopic -> TopicDeleted: Control, Topic(name);
    SetTopicAttributes -> TopicChanged: Control, Topic(name);
    DescribeTopic -> TopicDescription: Control, Topic(name);
    ListTopics -> TopicsListed: Control, Account;
    PublishMessages -> MessagesPublished: Publish(bodies), Topic(topic);
    Subscribe -> Subscribed: Control, Subscription(topic, name);
    SetSubscriptionAttributes -> SubscriptionChanged: Control, Subscription(topic, name);
    DescribeSubscription -> SubscriptionDescription: Control, Subscription(topic, name);
    ListSubscriptions -> SubscriptionsListed: Control, Topic(topic);
    Unsubscribe -> Unsubscribed: Control, Subscription(topic, name);
}

/// Makes a queue that can be used when the answer is there.
#[derive(Debug, Clone)]
pub struct CreateQueue {
    pub name: QueueName,
    /// Its `dead_letter` is ignored: the policy below names the queue.
    pub attributes: QueueAttributes,
    pub dead_letter: Option<NamedDeadLetterPolicy>,
    /// How many queues the account may have, this one included.
    pub queues_max: u64,
    /// How long a deleted queue's name stays unusable.
    pub reuse_after: Millis,
}

/// A dead-letter policy as people write it: by the queue's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedDeadLetterPolicy {
    pub queue: QueueName,
    pub after: DeadLetterAfter,
}

#[derive(Debug, Clone)]
pub struct QueueCreated {
    pub queue: QueueId,
}

/// Ends a queue and all its messages. Refused for a dead-letter queue in use.
#[derive(Debug, Clone)]
pub struct DeleteQueue {
    pub name: QueueName,
}

#[derive(Debug, Clone)]
pub struct QueueDeleted;

#[derive(Debug, Clone)]
pub struct SetQueueAttributes {
    pub name: QueueName,
    pub changes: AttributeChanges,
    pub dead_letter: DeadLetterChange,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeadLetterChange {
    Keep,
    Remove,
    Set(NamedDeadLetterPolicy),
}

#[derive(Debug, Clone)]
pub struct QueueChanged {
    pub queue: QueueId,
    pub attributes: QueueAttributes,
}

#[derive(Debug, Clone)]
pub struct DescribeQueue {
    pub name: QueueName,
}

#[derive(Debug, Clone)]
pub struct QueueDescription {
    pub queue: QueueId,
    /// In the case it was created with.
    pub name: QueueName,
    pub attributes: QueueAttributes,
    /// The dead-letter policy's queue by name.
    pub dead_letter: Option<NamedDeadLetterPolicy>,
    /// By the wall clock.
    pub created: Timestamp,
    /// When an attribute was last set, by the wall clock.
    pub modified: Timestamp,
    pub counts: QueueCounts,
}

/// How many messages a queue has in each state; exact at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueCounts {
    pub ready: u64,
    pub leased: u64,
    pub delayed: u64,
    /// Deleted but kept for rewinding.
    pub retired: u64,
    /// On their way to a dead-letter queue.
    pub moving: u64,
    /// When the oldest message that is not deleted was sent, by the wall clock.
    pub oldest: Option<Timestamp>,
    pub totals: QueueTotals,
}

/// What happened in a queue since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueTotals {
    pub sent: u64,
    /// Leases granted; a message received twice counts twice, a lease that reached nobody not at all.
    pub received: u64,
    pub deleted: u64,
    /// Ended by retention.
    pub expired: u64,
    /// Moved to a dead-letter queue.
    pub dead_lettered: u64,
    /// Ended by clearing the queue.
    pub cleared: u64,
    /// Made ready again by rewinding.
    pub rewound: u64,
}

/// The account's queues in the order of their creation.
#[derive(Debug, Clone)]
pub struct ListQueues {
    /// Part of the name, in any case; empty: all.
    pub search: String,
    pub offset: u64,
    pub limit: u64,
}

#[derive(Debug, Clone)]
pub struct QueuesListed {
    /// How many match, before offset and limit.
    pub total: u64,
    pub queues: Vec<QueueListing>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueListing {
    pub queue: QueueId,
    pub name: QueueName,
}

/// The queues whose dead letters go to this one.
#[derive(Debug, Clone)]
pub struct ListDeadLetterSources {
    pub name: QueueName,
    pub search: String,
    pub offset: u64,
    pub limit: u64,
}

/// Drops every message: ready, leased, delayed and retired.
#[derive(Debug, Clone)]
pub struct ClearQueue {
    pub name: QueueName,
}

#[derive(Debug, Clone)]
pub struct QueueCleared;

/// Makes the deleted but kept messages ready again that were sent at `to` or later.
#[derive(Debug, Clone)]
pub struct RewindQueue {
    pub name: QueueName,
    /// By the wall clock.
    pub to: Timestamp,
}

#[derive(Debug, Clone)]
pub struct QueueRewound {
    pub messages: u64,
}

/// All of the bodies become messages, or none.
#[derive(Debug, Clone)]
pub struct SendMessages {
    pub queue: QueueName,
    pub bodies: Vec<Bytes>,
    /// `None`: the queue's own.
    pub delay: Option<Millis>,
    /// The hash of the sender's name for this send. The same send with the same token within
    /// [`crate::limits::TOKEN_WINDOW`] gives the same messages and adds none.
    pub token: Option<[u8; 16]>,
}

#[derive(Debug, Clone)]
pub struct MessagesSent {
    /// In the order of the bodies.
    pub messages: Vec<MessageId>,
}

/// Leases up to `max` messages, oldest first; waits while there is none.
#[derive(Debug, Clone)]
pub struct ReceiveMessages {
    pub queue: QueueName,
    pub max: u32,
    /// `None`: the queue's own.
    pub visibility: Option<Millis>,
    /// `None`: the queue's own.
    pub wait: Option<Millis>,
}

#[derive(Debug, Clone)]
pub struct MessagesReceived {
    /// Empty if the wait ended first.
    pub messages: Vec<ReceivedMessage>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceivedMessage {
    pub message: MessageId,
    pub receipt: Receipt,
    pub body: Bytes,
    /// When it was sent, first received and when its lease ends, by the wall clock.
    pub sent: Timestamp,
    pub first_received: Timestamp,
    pub visible_again: Timestamp,
    /// Deliveries so far, this one included.
    pub deliveries: u32,
}

#[derive(Debug, Clone)]
pub struct DeleteMessages {
    pub queue: QueueName,
    pub receipts: Vec<Receipt>,
}

#[derive(Debug, Clone)]
pub struct MessagesDeleted {
    /// One result a receipt, in order.
    pub results: Vec<Result<(), Error>>,
}

/// Makes the running leases end this long from now; zero: at once.
#[derive(Debug, Clone)]
pub struct ChangeVisibility {
    pub queue: QueueName,
    pub receipts: Vec<Receipt>,
    pub visibility: Millis,
}

/// Gives back what was received and never reached its receiver: visible at once, and as if it had not been received.
#[derive(Debug, Clone)]
pub struct ReturnMessages {
    pub queue: QueueName,
    pub receipts: Vec<Receipt>,
}

#[derive(Debug, Clone)]
pub struct MessagesReturned;

#[derive(Debug, Clone)]
pub struct VisibilityChanged {
    /// One result a receipt, in order.
    pub results: Vec<Result<(), Error>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue() -> QueueName {
        QueueName::new("orders").expect("a name")
    }

    #[test]
    fn a_row_says_class_resource_and_messages() {
        let send = SendMessages {
            queue: queue(),
            bodies: vec![Bytes::from("a"), Bytes::from("b")],
            delay: None,
            token: None,
        };
        assert_eq!(SendMessages::CLASS, Class::Send);
        assert_eq!(send.resource(), Resource::Queue(&queue()));
        assert_eq!(send.messages(), 2);
        let delete = DeleteQueue { name: queue() };
        assert_eq!(DeleteQueue::CLASS, Class::Control);
        assert_eq!(
            (delete.resource().to_string(), delete.messages()),
            ("queue/orders".into(), 0)
        );
    }

    #[test]
    fn a_receive_is_about_as_many_messages_as_it_may_get_and_tells_those_that_it_got() {
        let receive = ReceiveMessages {
            queue: queue(),
            max: 7,
            visibility: None,
            wait: None,
        };
        assert_eq!(receive.messages(), 7);
        let none = MessagesReceived {
            messages: Vec::new(),
        };
        assert_eq!(ReceiveMessages::received(&none).len(), 0);
        assert_eq!(
            SendMessages::received(&MessagesSent {
                messages: Vec::new()
            })
            .len(),
            0
        );
    }
}
