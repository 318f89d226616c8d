//! What a story does with messages.

use anser_broker::{
    command::{Command, Reply},
    id::Sequence,
    labels::{Labels, Published, RoutingKey},
    time::Timestamp,
};
use bytes::Bytes;

use super::{
    START, World,
    line::Line,
    shown::{shown, since_start},
};

impl World {
    pub(super) fn publish(&mut self, line: &Line<'_>) -> String {
        let labels = Labels {
            tags: line.tags().unwrap_or_default(),
            routing_key: line
                .named
                .get("key")
                .map(|key| RoutingKey::new(key).unwrap()),
        };
        let bodies = line.bodies();
        let command = Command::Publish {
            topic: self.topic(line),
            bodies: bodies
                .iter()
                .map(|body| Published::seal(&labels, body))
                .collect(),
        };
        match self.apply(&command) {
            Reply::Sent { messages } => self.remember(&messages, &bodies),
            other => shown(&other),
        }
    }

    pub(super) fn change_messages(&mut self, line: &Line<'_>) -> String {
        let queue = self.queue(line);
        let receipts = |world: &Self| {
            let numbers = line.plain[1..].iter();
            numbers
                .map(|number| world.receipts[number.parse::<usize>().unwrap() - 1])
                .collect()
        };
        let command = match line.verb {
            "send" => match line.number("token") {
                None => Command::SendMessages {
                    queue,
                    delay: line.time("delay"),
                    bodies: line.bodies(),
                },
                Some(token) => Command::SendMessagesOnce {
                    queue,
                    token: u128::from(token).to_le_bytes(),
                    delay: line.time("delay"),
                    bodies: line.bodies(),
                },
            },
            "receive" => Command::ReceiveMessages {
                queue,
                max: line
                    .number("max")
                    .map_or(1, |max| u32::try_from(max).unwrap()),
                visibility: line.time("visibility"),
            },
            "delete" => Command::DeleteMessages {
                queue,
                receipts: receipts(self),
            },
            "change" => Command::ChangeVisibility {
                queue,
                receipts: receipts(self),
                visibility: line.time("visibility").unwrap(),
            },
            "give-up" => Command::GiveUp {
                queue,
                receipts: receipts(self),
            },
            "return-leases" => Command::ReturnLeases {
                queue,
                receipts: receipts(self),
            },
            "return-moves" => Command::ReturnMoves {
                queue,
                target: self.queues[line.plain[1]],
            },
            "clear" => Command::ClearQueue { queue },
            "rewind" => Command::RewindQueue {
                queue,
                to: Timestamp(START + line.time("to").unwrap().0),
            },
            verb => panic!("no verb {verb}"),
        };
        self.reply(&command)
    }

    /// Keeps the bodies of new messages, and says how these are numbered here.
    fn remember(&mut self, messages: &[Sequence], bodies: &[Bytes]) -> String {
        let mut texts = Vec::new();
        for (message, body) in messages.iter().zip(bodies) {
            // A send that is repeated answers with messages that are known.
            let known = self.messages.iter().position(|(known, _)| known == message);
            let place = known.unwrap_or(self.messages.len());
            if known.is_none() {
                self.messages.push((*message, body.clone()));
            }
            texts.push(format!("message {}", place + 1));
        }
        texts.join("\n")
    }

    pub(super) fn body(&self, message: Sequence) -> Bytes {
        let found = self
            .messages
            .iter()
            .find(|(sequence, _)| *sequence == message);
        found.unwrap().1.clone()
    }

    pub(super) fn reply(&mut self, command: &Command) -> String {
        let reply = self.apply(command);
        match &reply {
            Reply::Sent { messages } => {
                let (Command::SendMessages { bodies, .. }
                | Command::SendMessagesOnce { bodies, .. }) = command
                else {
                    unreachable!()
                };
                self.remember(messages, bodies)
            }
            Reply::Received { deliveries } if !deliveries.is_empty() => {
                let mut text = Vec::new();
                for one in deliveries {
                    self.receipts.push(one.receipt);
                    let place = self
                        .messages
                        .iter()
                        .position(|(sequence, _)| *sequence == one.message);
                    text.push(format!(
                        "message {} \"{}\" receipt={} delivery={} sent={} first={} until={}",
                        place.unwrap() + 1,
                        String::from_utf8_lossy(&self.body(one.message)),
                        self.receipts.len(),
                        one.deliveries,
                        since_start(one.sent),
                        since_start(one.first_received),
                        since_start(one.visible_again),
                    ));
                }
                text.join("\n")
            }
            other => shown(other),
        }
    }
}
