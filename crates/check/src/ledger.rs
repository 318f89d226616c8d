//! The ledger: the events of a history, sorted by message.
//!
//! Each attempted body has one [`Copy`] per queue it was seen in, the first one in the queue it was sent
//! to; a copy holds its handouts in the order in which they returned. All rules read the ledger, none
//! reads events.

mod build;

use std::collections::BTreeMap;

use crate::{
    event::{Answer, Counters, Nanos, QueueFacts},
    evidence::{Evidence, Outages},
    report::{Invalid, Statistics},
    subscription::{Labels, SubscriptionFacts},
};

#[derive(Debug)]
pub(crate) struct Ledger<'h> {
    pub(crate) queues: Vec<Queue<'h>>,
    pub(crate) sends: Vec<Sent<'h>>,
    /// The copy at a send's place is the one in the queue it was sent to; others follow.
    pub(crate) copies: Vec<Copy<'h>>,
    pub(crate) subscriptions: Vec<Subscription<'h>>,
    /// The bodies of one publish stand together, in their order.
    pub(crate) publishes: Vec<Published<'h>>,
    pub(crate) outages: Outages,
    /// What fits no send or no receipt, found while sorting.
    pub(crate) strays: Vec<Stray<'h>>,
    pub(crate) statistics: Statistics,
}

#[derive(Debug)]
pub(crate) struct Queue<'h> {
    pub(crate) facts: &'h QueueFacts,
    pub(crate) visibility: Nanos,
    pub(crate) retention: Nanos,
    /// The place of the dead-letter queue, and the deliveries after which messages go there.
    pub(crate) dead_letter: Option<(usize, u32)>,
    pub(crate) evidence: Evidence,
    /// By time of request.
    pub(crate) rewinds: Vec<Rewind>,
    pub(crate) counts: Vec<(Nanos, Nanos, Counters)>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Rewind {
    pub(crate) invoked: Nanos,
    /// `None` if no answer came.
    pub(crate) returned: Option<Nanos>,
    pub(crate) to_seconds: u64,
}

#[derive(Debug)]
pub(crate) struct Sent<'h> {
    pub(crate) body: u64,
    pub(crate) checksum: u64,
    pub(crate) queue: usize,
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) delay: Nanos,
    /// When it must be visible at the latest, if it was acknowledged.
    pub(crate) due: Nanos,
    /// Whether a topic carries it here, and nobody sent it.
    pub(crate) is_carried: bool,
    pub(crate) outcome: SendOutcome<'h>,
    /// Which request it was part of, and how many bodies that had.
    pub(crate) request: usize,
    pub(crate) request_size: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendOutcome<'h> {
    Acknowledged(&'h str),
    /// Acknowledged without an id to compare: the answer held too few, or it came by a topic.
    Unnamed,
    Refused,
    Unknown,
}

#[derive(Debug)]
pub(crate) struct Copy<'h> {
    pub(crate) send: usize,
    pub(crate) queue: usize,
    pub(crate) handouts: Vec<Handout<'h>>,
}

/// One delivery, and what was asked with its receipt.
#[derive(Debug)]
pub(crate) struct Handout<'h> {
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) message: &'h str,
    pub(crate) count: u32,
    pub(crate) enqueued_at: u64,
    pub(crate) uses: Vec<Use>,
    /// The lease certainly began no earlier, and certainly ran until here unless deleted.
    pub(crate) earliest: Nanos,
    pub(crate) held_until: Nanos,
    /// The lease ended here at the latest, lateness of the server not counted.
    pub(crate) free_from: Nanos,
}

/// One use of a receipt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Use {
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) what: Purpose,
    /// `None` if no answer came.
    pub(crate) answer: Option<Answer>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Delete,
    Extend(Nanos),
}

/// A subscription, and what its receiver saw.
#[derive(Debug)]
pub(crate) struct Subscription<'h> {
    pub(crate) facts: &'h SubscriptionFacts,
    /// By the place of what was published, in the order in which they came.
    pub(crate) pushes: BTreeMap<usize, Vec<Pushed<'h>>>,
}

#[derive(Debug)]
pub(crate) struct Published<'h> {
    pub(crate) body: u64,
    pub(crate) checksum: u64,
    pub(crate) topic: &'h str,
    pub(crate) labels: &'h Labels,
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) outcome: SendOutcome<'h>,
    /// The code of the refusal.
    pub(crate) refusal: Option<i64>,
    pub(crate) request: usize,
    /// Whether it was acknowledged, or something of the same publish came.
    pub(crate) happened: bool,
}

#[derive(Debug)]
pub(crate) struct Pushed<'h> {
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) message: &'h str,
    pub(crate) tags: &'h [String],
    pub(crate) status: Option<u16>,
}

#[derive(Debug)]
pub(crate) struct Stray<'h> {
    /// The queue or the topic.
    pub(crate) place: &'h str,
    pub(crate) kind: StrayKind,
    pub(crate) detail: String,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum StrayKind {
    Phantom,
    Receipt,
    Batch,
    FanOut,
}

impl<'h> Ledger<'h> {
    pub(crate) fn new(history: &'h crate::History) -> Result<Self, Invalid> {
        build::ledger(history)
    }

    pub(crate) fn queue_of(&self, copy: &Copy<'_>) -> &Queue<'h> {
        &self.queues[copy.queue]
    }

    pub(crate) fn sent_of(&self, copy: &Copy<'_>) -> &Sent<'h> {
        &self.sends[copy.send]
    }

    pub(crate) fn name(&self, queue: usize) -> &'h str {
        &self.queues[queue].facts.name
    }
}

impl Subscription<'_> {
    pub(crate) fn wants(&self, published: &Published<'_>) -> bool {
        self.facts.topic == published.topic && self.facts.filter.wants(published.labels)
    }

    /// How it is called in a report.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.facts.topic, self.facts.name)
    }
}

impl Pushed<'_> {
    pub(crate) fn is_received(&self) -> bool {
        self.status
            .is_some_and(|status| (200..300).contains(&status))
    }
}

impl Copy<'_> {
    /// Whether this is the copy in the queue it was sent to.
    pub(crate) fn is_source(&self, sent: &Sent<'_>) -> bool {
        self.queue == sent.queue
    }
}

impl Sent<'_> {
    pub(crate) fn acknowledged(&self) -> bool {
        matches!(
            self.outcome,
            SendOutcome::Acknowledged(_) | SendOutcome::Unnamed
        )
    }
}

impl Handout<'_> {
    /// The first delete with this receipt that was acknowledged.
    pub(crate) fn deleted(&self) -> Option<Use> {
        self.deletes()
            .find(|delete| delete.answer == Some(Answer::Done))
    }

    /// From when on a delete may have worked.
    pub(crate) fn maybe_deleted_from(&self) -> Option<Nanos> {
        self.deletes()
            .filter(|delete| matches!(delete.answer, None | Some(Answer::Done)))
            .map(|delete| delete.invoked)
            .min()
    }

    /// Whether the receive counts say that `other` is a later handout of the same message.
    pub(crate) fn counted_before(&self, other: &Self) -> bool {
        self.message == other.message && other.count > self.count && other.returned >= self.invoked
    }

    fn deletes(&self) -> impl Iterator<Item = Use> {
        self.uses
            .iter()
            .copied()
            .filter(|one| one.what == Purpose::Delete)
    }
}

impl Queue<'_> {
    /// Whether some rewind may have happened between the two times.
    pub(crate) fn maybe_rewound(&self, from: Nanos, to: Nanos) -> bool {
        self.rewinds_between(from, to).next().is_some()
    }

    pub(crate) fn rewinds_between(&self, from: Nanos, to: Nanos) -> impl Iterator<Item = &Rewind> {
        let end = self.rewinds.partition_point(|rewind| rewind.invoked <= to);
        self.rewinds[..end]
            .iter()
            .filter(move |rewind| rewind.returned.is_none_or(|at| at >= from))
    }
}
