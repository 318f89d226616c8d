//! What a story changes in the catalog, and how the homes hear of it.

use std::collections::BTreeSet;

use anser_broker::{
    command::{Command, CreateQueue, DeadLetterUpdate, Placed, Reply},
    time::Millis,
};

use super::{
    World,
    line::{Line, attributes, changes},
    shown::shown,
};

impl World {
    pub(super) fn change_catalog(&mut self, line: &Line<'_>) -> String {
        let (account, name) = (line.account(), line.name());
        let command = match line.verb {
            "create-queue" => Command::CreateQueue(CreateQueue {
                account,
                name,
                attributes: attributes(line),
                dead_letter: match line.dead_letter() {
                    DeadLetterUpdate::Set(name, after) => Some((name, after)),
                    _ => None,
                },
                queues_max: line.number("queues-max").unwrap_or(100),
                reuse_after: line.time("reuse-after").unwrap_or(Millis(0)),
                avoid: Vec::new(),
            }),
            "set-queue" => Command::SetQueueAttributes {
                account,
                name,
                changes: changes(line),
                dead_letter: line.dead_letter(),
            },
            _ => Command::DeleteQueue { account, name },
        };
        match self.apply(&command) {
            Reply::Placed(placed) => {
                let text = format!("queue {} revision {}", placed.number(), placed.revision());
                self.tell_home(&placed);
                text
            }
            other => shown(&other),
        }
    }

    /// The homes hear of everything that they do not know yet: all of it has been announced.
    fn tell_home(&mut self, placed: &Placed) {
        let told = std::mem::take(&mut self.announced);
        let key = |placed: &Placed| (placed.number(), placed.revision());
        assert!(told.iter().any(|told| key(told) == key(placed)));
        let keys = |all: &[Placed]| all.iter().map(key).collect::<BTreeSet<_>>();
        assert_eq!(keys(&told), keys(&self.shard.unsettled()));
        for placed in told {
            let (number, revision) = (placed.number(), placed.revision());
            let command = self.word_for_home(placed);
            assert_eq!(self.apply(&command), Reply::Done);
            let settled = Command::Settled { number, revision };
            assert_eq!(self.apply(&settled), Reply::Done);
        }
        assert_eq!(self.shard.unsettled(), []);
    }

    fn word_for_home(&mut self, placed: Placed) -> Command {
        let revision = placed.revision();
        match placed {
            Placed::Queue(placed) => {
                let queue = placed.queue;
                self.queues.insert(placed.name.folded(), queue);
                match placed.attributes {
                    Some(attributes) => Command::PutQueue {
                        queue,
                        revision,
                        attributes,
                    },
                    None => Command::DropQueue {
                        queue,
                        floor: placed.floor,
                    },
                }
            }
            Placed::Topic(placed) => {
                let topic = placed.topic;
                self.topics.insert(placed.name.folded(), topic);
                match placed.attributes {
                    Some(attributes) => Command::PutTopic {
                        topic,
                        revision,
                        attributes,
                    },
                    None => Command::DropTopic {
                        topic,
                        floor: placed.floor,
                    },
                }
            }
            Placed::Subscription(placed) => {
                let subscription = placed.subscription;
                let name = format!("{}/{}", placed.topic_name.folded(), placed.name.folded());
                self.queues.insert(name, subscription.outbox());
                match placed.attributes {
                    Some(attributes) => Command::PutSubscription {
                        subscription,
                        topic: placed.topic,
                        revision,
                        attributes,
                    },
                    None => Command::DropSubscription {
                        subscription,
                        floor: placed.floor,
                    },
                }
            }
        }
    }

    pub(super) fn change_topics(&mut self, line: &Line<'_>) -> String {
        let command = line.topic_command();
        match self.apply(&command) {
            Reply::Placed(placed) => {
                let kind = match placed {
                    Placed::Topic(_) => "topic",
                    _ => "subscription",
                };
                let text = format!("{kind} {} revision {}", placed.number(), placed.revision());
                self.tell_home(&placed);
                text
            }
            other => shown(&other),
        }
    }
}
