//! What the judge says: the violations with their rule, the counts, or why the run proves nothing.

use std::fmt;

/// A promise of the queue, by its number in the reliability design.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Q1: an acknowledged message never came.
    Loss,
    /// Q2: something came that nobody sent.
    Phantom,
    /// Q4: a message came before its delay ended, or long after.
    Delay,
    /// Q5: a message was handed out while another lease on it was running.
    Invisibility,
    /// Q6: a message that was not deleted did not come again.
    Redelivery,
    /// Q7: a message came after its delete was acknowledged.
    Delete,
    /// Q8: a stale receipt worked, or a live one did not.
    Receipt,
    /// Q9: one send led to two messages.
    Duplicate,
    /// Q12: a rewind brought back too little or too much.
    Rewind,
    /// Q13: a published message is not where it is wanted, or is where it is not.
    FanOut,
    /// Q14: a message that gave up is not in the dead-letter queue exactly once.
    DeadLetter,
    /// Q15: counters do not tell what is there.
    Counters,
    /// Q16: something was there that had ended: by its retention, by a purge or with its queue.
    Ending,
    /// Q17: the results of a batch do not fit its items.
    Batch,
    /// Q18: what was told of queues, or by their names, does not fit what was done to them.
    Control,
    /// Q21: a queue held more than its limits, or refused what they allow.
    Limits,
}

impl Rule {
    pub fn number(self) -> u32 {
        match self {
            Self::Loss => 1,
            Self::Phantom => 2,
            Self::Delay => 4,
            Self::Invisibility => 5,
            Self::Redelivery => 6,
            Self::Delete => 7,
            Self::Receipt => 8,
            Self::Duplicate => 9,
            Self::Rewind => 12,
            Self::FanOut => 13,
            Self::DeadLetter => 14,
            Self::Counters => 15,
            Self::Ending => 16,
            Self::Batch => 17,
            Self::Control => 18,
            Self::Limits => 21,
        }
    }
}

#[derive(Debug, Clone)]
pub struct Violation {
    pub rule: Rule,
    pub queue: String,
    pub detail: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            rule,
            queue,
            detail,
        } = self;
        write!(
            formatter,
            "Q{} {rule:?} in {queue}: {detail}",
            rule.number()
        )
    }
}

/// Why a run proves nothing, for or against the server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    #[error("the history names queue {0}, whose facts are not given")]
    UnknownQueue(String),
    #[error("the history names subscription {name} of {topic}, whose facts are not given")]
    UnknownSubscription { topic: String, name: String },
    #[error("the history names topic {0}, of which no subscription is given")]
    UnknownTopic(String),
    #[error("queue {0} has dead letters or two subscriptions: what must be there cannot be said")]
    UnclearTarget(String),
    #[error("no send or publish was acknowledged")]
    NothingAcknowledged,
    #[error("{0} was not drained at the end")]
    NotDrained(String),
    #[error("the final drain received nothing")]
    EmptyDrain,
    #[error("body {body:016x} in {queue} had not yet to be visible when the drain ended")]
    DrainTooShort { queue: String, body: u64 },
}

/// Counts of one history, in the words of Jepsen's total-queue checker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    pub attempted: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Q3: sends without an answer whose message came all the same.
    pub recovered: u64,
    pub delivered: u64,
    /// Deliveries beyond the first of a message in a queue.
    pub redelivered: u64,
    pub deleted: u64,
    pub deleted_unknown: u64,
    /// Deliveries within the final drain.
    pub drained: u64,
    pub outages: u64,
    /// Counters that could be compared with the model.
    pub counters_judged: u64,
    pub topics: TopicStatistics,
}

/// Counts of what went through topics.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TopicStatistics {
    pub published: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub unknown: u64,
    /// Publishes without an answer that happened all the same.
    pub recovered: u64,
    /// What the receivers saw, whatever they answered.
    pub pushes: u64,
    /// Messages that a receiver took, once for each subscription.
    pub received: u64,
    /// Those that it took again.
    pub received_again: u64,
    /// Messages that a subscription with back-off may have given up.
    pub given_up: u64,
    /// Messages that the queues of subscriptions had to get.
    pub carried: u64,
    /// Pushes received within the final drain.
    pub drained: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Report {
    pub statistics: Statistics,
    pub violations: Vec<Violation>,
}

impl Report {
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    pub fn count(&self, rule: Rule) -> usize {
        self.violations
            .iter()
            .filter(|violation| violation.rule == rule)
            .count()
    }

    pub(crate) fn add(&mut self, rule: Rule, queue: &str, detail: String) {
        self.violations.push(Violation {
            rule,
            queue: queue.to_owned(),
            detail,
        });
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        writeln!(formatter, "{:?}", self.statistics)?;
        writeln!(formatter, "{} violations", self.violations.len())?;
        let mut rules: Vec<Rule> = self.violations.iter().map(|one| one.rule).collect();
        rules.sort_unstable();
        for rule in rules.chunk_by(|one, other| one == other) {
            writeln!(
                formatter,
                "  Q{} {:?}: {}",
                rule[0].number(),
                rule[0],
                rule.len()
            )?;
        }
        for violation in self.violations.iter().take(SHOWN) {
            writeln!(formatter, "  {violation}")?;
        }
        Ok(())
    }
}
