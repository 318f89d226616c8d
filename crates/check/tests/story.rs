//! Histories written by hand: times in milliseconds, one line per operation.
//!
//! Queue `q` has a visibility timeout of 10 s and keeps messages for a day, `d` is the dead-letter
//! queue of `s`, where a message may be received twice. Each story ends with a message of its own that
//! the final drain receives, and with empty receives long after everything is due.
//!
//! Topic `tags` has the subscriptions `all`, `red` and `ordered` (with back-off), and `reds` to queue `t`;
//! topic `keys` has `users`. `Story::of_topics` also drains them.

use anser_check::{
    Answer, Counters, DeadLetter, Delivery, Event, Filter, History, Invalid, Labels, Operation,
    Outcome, Push, QueueFacts, Report, Retry, Rule, SentBody, SubscriptionFacts, Target, judge,
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
            ..QueueFacts::default()
        };
        let policy = DeadLetter {
            queue: "d".to_owned(),
            receives_max: 2,
            age_ms: None,
        };
        let queues = vec![facts("q", None), facts("s", Some(policy)), facts("d", None)];
        Self {
            history: History {
                queues,
                ..History::default()
            },
            drained: true,
        }
    }

    pub(crate) fn of_topics() -> Self {
        let mut story = Self::new();
        let mut subscribe = |topic: &str, name: &str, filter, target, retry| {
            story.history.subscriptions.push(SubscriptionFacts {
                topic: topic.to_owned(),
                name: name.to_owned(),
                filter,
                target,
                retry,
            });
        };
        let (decay, back_off) = (Retry::ExponentialDecay, Retry::BackOff);
        let red = || Filter::Tags(vec!["red".to_owned()]);
        let users = Filter::BindingKeys(vec!["user.#".to_owned()]);
        subscribe("tags", "all", Filter::Tags(Vec::new()), Target::Http, decay);
        subscribe("tags", "red", red(), Target::Http, decay);
        let ordered = Filter::Tags(vec!["ordered".to_owned()]);
        subscribe("tags", "ordered", ordered, Target::Http, back_off);
        subscribe("tags", "reds", red(), Target::Queue("t".to_owned()), decay);
        subscribe("keys", "users", users, Target::Http, decay);
        let facts = QueueFacts {
            name: "t".to_owned(),
            ..story.history.queues[0].clone()
        };
        story.history.queues.push(facts);
        story
    }

    /// Changes what is known of the queues and subscriptions.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut History)) -> Self {
        change(&mut self.history);
        self
    }

    /// An acknowledged publish of body `id` to `tags`, which takes 5 ms and gives the message `m<id>`.
    pub(crate) fn publish(self, at: u64, id: u64, tags: &[&str]) -> Self {
        let outcome = Outcome::Ok(vec![format!("m{id}")]);
        self.published("tags", at, &[id], labels(tags, None), outcome)
    }

    pub(crate) fn published(
        self,
        topic: &str,
        at: u64,
        ids: &[u64],
        labels: Labels,
        outcome: Outcome<Vec<String>>,
    ) -> Self {
        let bodies = bodies(ids);
        let operation = Operation::Publish {
            labels,
            bodies,
            outcome,
        };
        self.event(topic, at, at + 5, operation)
    }

    /// Message `m<id>` of `tags` is received at `at`.
    pub(crate) fn push(self, name: &str, at: u64, id: u64, tags: &[&str]) -> Self {
        self.pushed("tags", at, push(name, id, tags))
    }

    pub(crate) fn failed(self, name: &str, at: u64, id: u64, tags: &[&str]) -> Self {
        let status = Some(500);
        let push = push(name, id, tags);
        self.pushed("tags", at, Push { status, ..push })
    }

    pub(crate) fn pushed(self, topic: &str, at: u64, push: Push) -> Self {
        self.event(topic, at, at + 5, Operation::Push(push))
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
        let bodies = bodies(ids);
        self.event(
            queue,
            at,
            at + 5,
            Operation::Send {
                delay_ms: Some(delay_ms),
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
        self.counted("q", at, (active, inactive, delayed))
    }

    pub(crate) fn counted(
        self,
        queue: &str,
        at: u64,
        (active, inactive, delayed): (u64, u64, u64),
    ) -> Self {
        self.event(
            queue,
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
            if !self.history.subscriptions.is_empty() {
                for place in ["tags", "keys"] {
                    self = self.event(place, DRAIN, DRAIN + 100_000, Operation::Drain);
                }
                self = self
                    .event("t", DRAIN, DRAIN + 200_000, Operation::Drain)
                    .empty("t", DRAIN + 150_000);
            }
            let has_ended = |story: &Self, queue: &str| {
                let mut events = story.history.events.iter();
                events.any(|event| {
                    event.queue == queue && matches!(event.operation, Operation::End { .. })
                })
            };
            for queue in ["q", "s", "d"] {
                if has_ended(&self, queue) {
                    continue;
                }
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

fn bodies(ids: &[u64]) -> Vec<SentBody> {
    let body = |&id: &u64| SentBody {
        id,
        checksum: id + 1,
    };
    ids.iter().map(body).collect()
}

pub(crate) fn labels(tags: &[&str], routing_key: Option<&str>) -> Labels {
    Labels {
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        routing_key: routing_key.map(str::to_owned),
    }
}

/// A push of body `id` to a subscription, which takes it.
pub(crate) fn push(name: &str, id: u64, tags: &[&str]) -> Push {
    Push {
        subscription: name.to_owned(),
        body: Some(id),
        checksum: id + 1,
        message: format!("m{id}"),
        tags: labels(tags, None).tags,
        status: Some(200),
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
