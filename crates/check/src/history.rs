//! A history: the queues and the events of one run, and its form as a file of JSON lines.

use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::event::{Event, QueueFacts};

#[derive(Debug, Clone, Default)]
pub struct History {
    pub queues: Vec<QueueFacts>,
    /// In any order; the judge sorts for itself.
    pub events: Vec<Event>,
}

#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    #[error("the history could not be read or written")]
    Io(#[from] std::io::Error),
    #[error("line {line} of the history is not a queue or an event")]
    Line {
        line: usize,
        source: serde_json::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Queue(QueueFacts),
    Event(Event),
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum LineRef<'a> {
    Queue(&'a QueueFacts),
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
                Line::Event(event) => history.events.push(event),
            }
        }
        Ok(history)
    }

    pub fn write(&self, mut output: impl Write) -> Result<(), HistoryError> {
        let queues = self.queues.iter().map(LineRef::Queue);
        let events = self.events.iter().map(LineRef::Event);
        for line in queues.chain(events) {
            serde_json::to_writer(&mut output, &line).map_err(std::io::Error::from)?;
            output.write_all(b"\n")?;
        }
        Ok(output.flush()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Operation, Outcome, SentBody};

    #[test]
    fn a_history_survives_its_file() {
        let send = Operation::Send {
            delay_ms: 5,
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
        let history = History {
            queues: Vec::new(),
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
