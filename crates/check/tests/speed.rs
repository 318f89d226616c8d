//! The judge's speed: a million events in ten seconds, built with optimisation.

use std::time::{Duration, Instant};

use anser_check::{
    Answer, Delivery, Event, History, Operation, Outcome, QueueFacts, SentBody, judge,
};

/// An unoptimised build gets a smaller history and the same ten seconds.
const MESSAGES: u64 = if cfg!(debug_assertions) {
    80_000
} else {
    400_000
};

#[test]
fn a_long_history_is_judged_in_seconds() {
    let history = long_history();
    let begun = Instant::now();
    let report = judge(&history).unwrap();
    let taken = begun.elapsed();
    assert!(report.passed(), "{report}");
    assert_eq!(report.statistics.delivered, MESSAGES + MESSAGES / 10);
    assert!(
        taken < Duration::from_secs(10),
        "{} events took {taken:?}",
        history.events.len()
    );
}

/// Events of one queue, a millisecond apart.
struct Flow(Vec<Event>);

impl Flow {
    fn add(&mut self, invoked: u64, operation: Operation) {
        let (queue, returned) = ("q".to_owned(), invoked + 100_000);
        self.0.push(Event {
            client: 1,
            queue,
            invoked,
            returned,
            operation,
        });
    }

    fn send(&mut self, at: u64, id: u64) {
        let bodies = vec![SentBody { id, checksum: id }];
        let outcome = Outcome::Ok(vec![id.to_string()]);
        self.add(
            at,
            Operation::Send {
                delay_ms: Some(0),
                bodies,
                outcome,
            },
        );
    }

    fn receive(&mut self, at: u64, id: u64, count: u32) {
        let delivery = Delivery {
            body: Some(id),
            checksum: id,
            message: id.to_string(),
            receipt: format!("r{id}.{count}"),
            count,
            enqueued_at: 0,
        };
        let outcome = Outcome::Ok(vec![delivery]);
        self.add(
            at,
            Operation::Receive {
                most: 16,
                wait_ms: 0,
                outcome,
            },
        );
    }

    fn delete(&mut self, at: u64, id: u64, count: u32) {
        let receipts = vec![format!("r{id}.{count}")];
        let outcome = Outcome::Ok(vec![Answer::Done]);
        self.add(at, Operation::Delete { receipts, outcome });
    }
}

/// A steady flow in which every tenth message is received twice.
fn long_history() -> History {
    let facts = QueueFacts {
        name: "q".to_owned(),
        visibility_ms: 1_000,
        retention_ms: 86_400_000,
        ..QueueFacts::default()
    };
    let step = 1_000_000;
    let mut flow = Flow(Vec::new());
    for id in 0..MESSAGES {
        let at = id * step;
        flow.send(at, id);
        let times = if id % 10 == 0 { 2 } else { 1 };
        for count in 1..=times {
            flow.receive(
                at + 200_000 + u64::from(count - 1) * 1_500_000_000,
                id,
                count,
            );
        }
        flow.delete(
            at + 400_000 + u64::from(times - 1) * 1_500_000_000,
            id,
            times,
        );
    }
    let end = MESSAGES * step + 3_600_000_000_000;
    flow.add(0, Operation::Drain);
    let outcome = Outcome::Ok(Vec::new());
    flow.add(
        end,
        Operation::Receive {
            most: 16,
            wait_ms: 0,
            outcome,
        },
    );
    History {
        queues: vec![facts],
        events: flow.0,
        ..History::default()
    }
}
