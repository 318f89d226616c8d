//! What a client asks for, and of which shard.

use anser_broker::{
    attributes::{AttributeChanges, DeadLetterAfter, QueueAttributes},
    codec,
    command::{Command, CreateQueue, DeadLetterUpdate, Query},
    id::{AccountId, QueueId, Sequence},
    name::QueueName,
    time::{Millis, Timestamp},
};
use anser_check::SentBody;
use bytes::Bytes;

use super::{
    queues::Queue,
    topics::{TopicWork, Topics},
};
use crate::{
    event::{Ask, MILLISECOND, Micros, SECOND},
    random,
};

#[derive(Debug, Clone)]
pub(super) enum Work {
    Create {
        account: AccountId,
        name: String,
        attributes: Box<QueueAttributes>,
        /// The name of another queue, and when a message goes there.
        dead_letter: Option<(String, DeadLetterAfter)>,
        reuse_after: u64,
    },
    Change {
        queue: usize,
        changes: AttributeChanges,
    },
    /// Takes its dead-letter queue from a queue.
    Unbind {
        queue: usize,
    },
    Describe {
        queue: usize,
    },
    /// Something about a topic.
    Topic(TopicWork),
    /// Deletes a queue.
    End {
        queue: usize,
    },
    Purge {
        queue: usize,
    },
    Rewind {
        queue: usize,
        to_seconds: u64,
    },
    Send {
        queue: usize,
        /// `None`: the queue's own.
        delay: Option<u64>,
        bodies: Vec<Bytes>,
        sent: Vec<SentBody>,
        /// A repeat is the same send.
        once: bool,
    },
    Receive {
        queue: usize,
        max: u32,
        wait: u64,
    },
    Delete {
        queue: usize,
        receipts: Vec<Sequence>,
    },
    Extend {
        queue: usize,
        receipt: Sequence,
        visibility: u64,
    },
    Count {
        queue: usize,
    },
}

impl Work {
    pub(super) fn is_receive(&self) -> bool {
        matches!(self, Self::Receive { .. })
    }

    /// Whether doing it twice is like doing it once.
    pub(super) fn may_repeat(&self) -> bool {
        matches!(self, Self::End { .. } | Self::Send { once: true, .. })
    }

    pub(super) fn sends_to(&self) -> Option<usize> {
        match self {
            Self::Send { queue, .. } => Some(*queue),
            _ => None,
        }
    }

    /// How long the answer may be waited for besides.
    pub(super) fn waits(&self) -> Micros {
        match self {
            Self::Receive { wait, .. } => wait * MILLISECOND,
            _ => 0,
        }
    }

    /// The shard and what it is asked.
    pub(super) fn ask(&self, queues: &[Queue], topics: &Topics) -> (u16, Ask) {
        match self {
            Self::Create { .. }
            | Self::Change { .. }
            | Self::Unbind { .. }
            | Self::End { .. }
            | Self::Describe { .. } => self.ask_of_queues(queues),
            Self::Topic(work) => work.ask(topics),
            Self::Receive { queue, max, wait } => {
                let ask = Ask::Receive {
                    queue: queues[*queue].id,
                    max: *max,
                    wait: Millis(*wait),
                };
                (queues[*queue].shard, ask)
            }
            Self::Count { queue } => {
                let query = Query::Counts {
                    queue: queues[*queue].id,
                };
                (queues[*queue].shard, Ask::Read(query))
            }
            in_a_queue => {
                let (queue, command) = in_a_queue.command(queues);
                (queues[queue].shard, Ask::Propose(codec::encode(&command)))
            }
        }
    }

    /// What concerns the catalog.
    fn ask_of_queues(&self, queues: &[Queue]) -> (u16, Ask) {
        let change = |command: Command| (0, Ask::Change(Box::new(command)));
        let by_name = |queue: &usize| (queues[*queue].account, name(&queues[*queue].name));
        match self {
            Self::Create {
                account,
                name: of,
                attributes,
                dead_letter,
                reuse_after,
            } => {
                let dead_letter = dead_letter.as_ref();
                let command = Command::CreateQueue(CreateQueue {
                    account: *account,
                    name: name(of),
                    attributes: (**attributes).clone(),
                    dead_letter: dead_letter.map(|(queue, after)| (name(queue), *after)),
                    queues_max: 1_000,
                    reuse_after: Millis(*reuse_after),
                    avoid: Vec::new(),
                });
                change(command)
            }
            Self::Change { queue, changes } => {
                let (account, name) = by_name(queue);
                let command = Command::SetQueueAttributes {
                    account,
                    name,
                    changes: changes.clone(),
                    dead_letter: DeadLetterUpdate::Keep,
                };
                change(command)
            }
            Self::Unbind { queue } => {
                let (account, name) = by_name(queue);
                change(Command::SetQueueAttributes {
                    account,
                    name,
                    changes: AttributeChanges::default(),
                    dead_letter: DeadLetterUpdate::Remove,
                })
            }
            Self::End { queue } => {
                let (account, name) = by_name(queue);
                change(Command::DeleteQueue { account, name })
            }
            Self::Describe { queue } => {
                let (account, name) = by_name(queue);
                (0, Ask::Read(Query::Queue { account, name }))
            }
            other => unreachable!("this is asked of a queue: {other:?}"),
        }
    }

    /// What is asked of a queue, and changes it.
    fn command(&self, queues: &[Queue]) -> (usize, Command) {
        let id = |queue: &usize| queues[*queue].id;
        match self {
            Self::Send {
                queue,
                delay,
                bodies,
                sent,
                once,
            } => {
                let token = once.then(|| random::mix(sent[0].id));
                (*queue, send(id(queue), delay.map(Millis), bodies, token))
            }
            Self::Delete { queue, receipts } => {
                let command = Command::DeleteMessages {
                    queue: id(queue),
                    receipts: receipts.clone(),
                };
                (*queue, command)
            }
            Self::Extend {
                queue,
                receipt,
                visibility,
            } => {
                let command = Command::ChangeVisibility {
                    queue: id(queue),
                    receipts: vec![*receipt],
                    visibility: Millis(*visibility),
                };
                (*queue, command)
            }
            Self::Purge { queue } => (*queue, Command::ClearQueue { queue: id(queue) }),
            Self::Rewind { queue, to_seconds } => {
                let command = Command::RewindQueue {
                    queue: id(queue),
                    to: Timestamp(to_seconds * 1_000),
                };
                (*queue, command)
            }
            other => unreachable!("this is no command to a queue: {other:?}"),
        }
    }
}

pub(super) fn name(name: &str) -> QueueName {
    QueueName::new(name).expect("names are made of letters")
}

fn send(queue: QueueId, delay: Option<Millis>, bodies: &[Bytes], token: Option<u64>) -> Command {
    let bodies = bodies.to_vec();
    match token {
        Some(half) => Command::SendMessagesOnce {
            queue,
            token: u128::from(half).to_le_bytes(),
            delay,
            bodies,
        },
        None => Command::SendMessages {
            queue,
            delay,
            bodies,
        },
    }
}

/// What is late by an outage is late by no more than the outages on its way: so they are short.
pub(super) const SLICE: Micros = SECOND;
