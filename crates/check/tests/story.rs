//! Histories written by hand: times in milliseconds, one line per operation.
//!
//! Queue `q` has a visibility timeout of 10 s and keeps messages for a day, `d` is the dead-letter
//! queue of `s`, where a message may be received twice. Each story ends with a message of its own that
//! the final drain receives, and with empty receives long after everything is due.

use anser_check::{
    Answer, Counters, DeadLetter, Delivery, Event, History, Invalid, Operation, Outcome,
    QueueFacts, Report, Rule, SentBody, judge,
};

pub(crate) const VISIBILITY: u64 = 10_000;
/// When the final drain begins.
pub(crate) const DRAIN: u64 = 1_000_000;
/// The server's clock at the start of the story, in seconds.
pub(crate) const EPOCH: u64 = 1_700_000_000;
const MILLISECOND: u64 = 1_000_000;

pub(crate) struct Story {
    history: History,
    drained: bool,
}

impl Story {
    pub(crate) fn new() -> Self {
        let facts = |name: &str, dead_letter| QueueFacts {
            name: name.to_owned(),
            visibility_ms: VISIBILITY,
            retention_ms: 86_400_000,
            dead_letter,
        };
        let policy = DeadLetter {
            queue: "d".to_owned(),
            receives_max: 2,
        };
        let queues = vec![facts("q", None), facts("s", Some(policy)), facts("d", None)];
        Self {
            history: History {
                queues,
                events: Vec::new(),
            },
            drained: true,
        }
    }

    /// A story whose author drains, or forgets to.
    pub(crate) fn without_drain(mut self) -> Self {
        self.drained = false;
        self
    }

    pub(crate) fn event(mut self, queue: &str, from: u64, to: u64, operation: Operation) -> Self {
        self.history.events.push(Event {
            client: 1,
            queue: queue.to_owned(),
            invoked: from * MILLISECOND,
            returned: to * MILLISECOND,
            operation,
        });
        self
    }

    /// An acknowledged send of body `id` at `at`, which takes 5 ms and gives the message `m<id>`.
    pub(crate) fn send(self, queue: &str, at: u64, id: u64) -> Self {
        self.delayed(queue, at, id, 0)
    }

    pub(crate) fn delayed(self, queue: &str, at: u64, id: u64, delay_ms: u64) -> Self {
        let outcome = Outcome::Ok(vec![format!("m{id}")]);
        self.sent(queue, at, &[id], delay_ms, outcome)
    }

    pub(crate) fn sent(
        self,
        queue: &str,
        at: u64,
        ids: &[u64],
        delay_ms: u64,
        outcome: Outcome<Vec<String>>,
    ) -> Self {
        let bodies = ids
            .iter()
            .map(|&id| SentBody {
                id,
                checksum: id + 1,
            })
            .collect();
        self.event(
            queue,
            at,
            at + 5,
            Operation::Send {
                delay_ms,
                bodies,
                outcome,
            },
        )
    }

    /// Message `m<id>` comes at `at` for the `count`th time; the receipt is `r<id>.<count>`.
    pub(crate) fn receive(self, queue: &str, at: u64, id: u64, count: u32) -> Self {
        let delivery = delivery(id, count);
        self.received(queue, at, at + 5, vec![delivery])
    }

    pub(crate) fn received(
        self,
        queue: &str,
        from: u64,
        to: u64,
        deliveries: Vec<Delivery>,
    ) -> Self {
        let outcome = Outcome::Ok(deliveries);
        self.event(
            queue,
            from,
            to,
            Operation::Receive {
                most: 16,
                wait_ms: to - from,
                outcome,
            },
        )
    }

    pub(crate) fn empty(self, queue: &str, at: u64) -> Self {
        self.received(queue, at, at + 5, Vec::new())
    }

    /// A receive from which no answer came.
    pub(crate) fn unanswered(self, queue: &str, at: u64) -> Self {
        let outcome = Outcome::Unknown;
        self.event(
            queue,
            at,
            at + 5,
            Operation::Receive {
                most: 16,
                wait_ms: 0,
                outcome,
            },
        )
    }

    pub(crate) fn delete(self, queue: &str, at: u64, receipt: &str) -> Self {
        self.deleted(queue, at, receipt, Outcome::Ok(vec![Answer::Done]))
    }

    pub(crate) fn deleted(
        self,
        queue: &str,
        at: u64,
        receipt: &str,
        outcome: Outcome<Vec<Answer>>,
    ) -> Self {
        let receipts = vec![receipt.to_owned()];
        self.event(queue, at, at + 5, Operation::Delete { receipts, outcome })
    }

    pub(crate) fn extend(self, queue: &str, at: u64, receipt: &str, visibility_ms: u64) -> Self {
        let receipt = receipt.to_owned();
        let outcome = Outcome::Ok(Answer::Done);
        self.event(
            queue,
            at,
            at + 5,
            Operation::Extend {
                receipt,
                visibility_ms,
                outcome,
            },
        )
    }

    /// Back to the `seconds`th second of the story.
    pub(crate) fn rewind(self, queue: &str, at: u64, seconds: u64) -> Self {
        let to_seconds = EPOCH + seconds;
        self.event(
            queue,
            at,
            at + 5,
            Operation::Rewind {
                to_seconds,
                outcome: Outcome::Ok(()),
            },
        )
    }

    pub(crate) fn count(self, at: u64, active: u64, inactive: u64, delayed: u64) -> Self {
        self.event(
            "q",
            at,
            at + 5,
            Operation::Count(Counters {
                active,
                inactive,
                delayed,
            }),
        )
    }

    pub(crate) fn outage(self, from: u64, to: u64) -> Self {
        self.event("", from, to, Operation::Outage)
    }

    pub(crate) fn judge(mut self) -> Result<Report, Invalid> {
        if self.drained {
            self = self
                .send("q", DRAIN - 20, 9999)
                .receive("q", DRAIN + 10, 9999, 1);
            self = self.delete("q", DRAIN + 20, "r9999.1");
            for queue in ["q", "s", "d"] {
                self = self
                    .event(queue, DRAIN, DRAIN + 200_000, Operation::Drain)
                    .empty(queue, DRAIN + 150_000);
            }
        }
        judge(&self.history)
    }

    /// Asserts that this rule is found broken, and no other.
    #[track_caller]
    pub(crate) fn breaks(self, rule: Rule) {
        let report = self.judge().expect("the run is valid");
        let mut rules: Vec<Rule> = report.violations.iter().map(|one| one.rule).collect();
        rules.sort_unstable();
        rules.dedup();
        assert_eq!(rules, [rule], "{report}");
    }

    #[track_caller]
    pub(crate) fn holds(self) -> Report {
        let report = self.judge().expect("the run is valid");
        assert!(report.passed(), "{report}");
        report
    }
}

/// A delivery of body `id`; the server took it in second `id` of the story.
pub(crate) fn delivery(id: u64, count: u32) -> Delivery {
    Delivery {
        body: Some(id),
        checksum: id + 1,
        message: format!("m{id}"),
        receipt: format!("r{id}.{count}"),
        count,
        enqueued_at: EPOCH + id,
    }
}
