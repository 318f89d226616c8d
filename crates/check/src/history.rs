//! A history: the queues, the subscriptions and the events of one run, and its form as a file of JSON lines.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::{
    event::{Event, QueueFacts},
    subscription::SubscriptionFacts,
};

#[derive(Debug, Clone, Default)]
pub struct History {
    pub queues: Vec<QueueFacts>,
    pub subscriptions: Vec<SubscriptionFacts>,
    /// In any order; the judge sorts for itself.
    pub events: Vec<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history could not be read or written")]
    Io(#[from] std::io::Error),
    #[error("line {line} of the history is not a queue, a subscription or an event")]
    Line {
        line: usize,
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Queue(QueueFacts),
    Subscription(SubscriptionFacts),
    Event(Event),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Queue(&'a QueueFacts),
    Subscription(&'a SubscriptionFacts),
    Event(&'a Event),
}

impl History {
    pub fn read(input: impl BufRead) -> Result<Self, HistoryError> {
        let mut history = Self::default();
        for (at, text) in input.lines().enumerate() {
            let parsed = serde_json::from_str(&text?).map_err(|source| HistoryError::Line {
                line: at + 1,
                source,
            })?;
            match parsed {
                Line::Queue(facts) => history.queues.push(facts),
                Line::Subscription(facts) => history.subscriptions.push(facts),
                Line::Event(event) => history.events.push(event),
            }
        }
        Ok(history)
    }

    pub fn write(&self, mut output: impl Write) -> Result<(), HistoryError> {
        let queues = self.queues.iter().map(LineRef::Queue);
        let subscriptions = self.subscriptions.iter().map(LineRef::Subscription);
        let events = self.events.iter().map(LineRef::Event);
        for line in queues.chain(subscriptions).chain(events) {
            serde_json::to_writer(&mut output, &line).map_err(std::io::Error::from)?;
            output.write_all(b"\n")?;
        }
        Ok(output.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Operation, Outcome, SentBody},
        subscription::{Filter, Retry, Target},
    };

    #[test]
    fn a_history_survives_its_file() {
        let send = Operation::Send {
            delay_ms: Some(5),
            bodies: vec![SentBody {
                id: u64::MAX,
                checksum: 2,
            }],
            outcome: Outcome::Ok(vec!["17".to_owned()]),
        };
        let event = Event {
            client: 1,
            queue: "q".to_owned(),
            invoked: 3,
            returned: 4,
            operation: send,
        };
        let subscription = SubscriptionFacts {
            topic: "t".to_owned(),
            name: "s".to_owned(),
            filter: Filter::Tags(vec!["red".to_owned()]),
            target: Target::Queue("q".to_owned()),
            retry: Retry::BackOff,
        };
        let history = History {
            queues: Vec::new(),
            subscriptions: vec![subscription],
            events: vec![event],
        };
        let mut file = Vec::new();
        history.write(&mut file).unwrap();
        let read = History::read(file.as_slice()).unwrap();
        assert_eq!(format!("{history:?}"), format!("{read:?}"));
    }

    #[test]
    fn a_bad_line_is_named() {
        let text = "{\"queue\":{}}\n";
        let error = History::read(text.as_bytes()).unwrap_err();
        assert!(error.to_string().starts_with("line 1 "), "{error}");
    }
}
