//! The ledger: the events of a history, sorted by message.
//!
//! Each attempted body has one [`Copy`] per queue it was seen in, the first one in the queue it was sent
//! to; a copy holds its handouts in the order in which they returned. All rules read the ledger, none
//! reads events.

mod build;
mod life;

use std::collections::BTreeMap;

use crate::{
    event::{Answer, Counters, Nanos, QueueFacts, Settings},
    evidence::{Evidence, Outages},
    leaps::Leaps,
    report::{Invalid, Statistics},
    subscription::{Labels, SubscriptionFacts},
};

pub(crate) use life::{Absence, Attributes, Span};

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
    /// What was done and told by the names of queues.
    pub(crate) named: BTreeMap<&'h str, Vec<Named>>,
    /// Of the time in which names are free again.
    pub(crate) leaps_of_names: Leaps,
    pub(crate) told: Vec<Told>,
    /// What fits no send or no receipt, found while sorting.
    pub(crate) strays: Vec<Stray<'h>>,
    pub(crate) statistics: Statistics,
}

#[derive(Debug)]
pub(crate) struct Queue<'h> {
    pub(crate) facts: &'h QueueFacts,
    pub(crate) attributes: Attributes,
    pub(crate) leaps: Leaps,
    pub(crate) purges: Vec<Span>,
    /// Its creation, if it is part of the history.
    pub(crate) created: Option<Span>,
    /// Its deletion.
    pub(crate) ended: Option<Span>,
    /// The place of the dead-letter queue, and the deliveries after which messages go there.
    pub(crate) dead_letter: Option<(usize, u32)>,
    /// The age at which they go there, if they go by their age.
    pub(crate) dead_letter_age: Option<Nanos>,
    /// When messages ceased to go there.
    pub(crate) unbound: Option<Span>,
    pub(crate) evidence: Evidence,
    /// By time of request.
    pub(crate) rewinds: Vec<Rewind>,
    pub(crate) counts: Vec<(Nanos, Nanos, Counters)>,
    /// When its final drain ended; for ever if it had none.
    pub(crate) drained: Nanos,
    pub(crate) receives: Vec<Received>,
}

/// A receive.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) most: u32,
    pub(crate) outcome: ReceiveOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReceiveOutcome {
    Got(usize),
    Refused(i64),
    Unknown,
}

/// Something that was done or told by the name of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named {
    pub(crate) invoked: Nanos,
    /// `None` if no answer came.
    pub(crate) returned: Option<Nanos>,
    pub(crate) act: NamedAct,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NamedAct {
    Create {
        reuse_after: Nanos,
    },
    End,
    /// A creation was refused: there is one.
    Exists,
    /// A creation was refused: there was one a moment ago.
    InRelease {
        reuse_after: Nanos,
    },
    /// There is none.
    Missing,
}

/// What somebody was told of a queue.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) queue: usize,
    pub(crate) invoked: Nanos,
    pub(crate) returned: Nanos,
    pub(crate) settings: Settings,
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
    /// At least, and at most if the queue's own may have been one of several.
    pub(crate) delay: Nanos,
    pub(crate) delay_most: Nanos,
    /// Until when its delay certainly lasts if it was taken at once.
    pub(crate) hidden_until: Nanos,
    /// When it must be visible at the latest, if it was acknowledged.
    pub(crate) due: Nanos,
    /// Whether a topic carries it here, and nobody sent it.
    pub(crate) is_carried: bool,
    pub(crate) outcome: SendOutcome<'h>,
    /// The code of the refusal.
    pub(crate) refusal: Option<i64>,
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
    /// The same if nobody had moved its end.
    pub(crate) unchanged_until: Nanos,
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
    /// `None`: it was there from the beginning.
    pub(crate) begun: Option<Span>,
    pub(crate) ended: Option<Span>,
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
    fn fits(&self, published: &Published<'_>) -> bool {
        self.facts.topic == published.topic && self.facts.filter.wants(published.labels)
    }

    /// Whether it wants a message, and may have been there when that was published.
    pub(crate) fn may_want(&self, published: &Published<'_>) -> bool {
        let begun = self
            .begun
            .is_none_or(|begun| begun.invoked <= published.until());
        let lasts = self
            .ended
            .is_none_or(|ended| ended.may_follow(published.invoked));
        begun && lasts && self.fits(published)
    }

    /// Whether it wants a message, and was certainly there then.
    pub(crate) fn surely_wants(&self, published: &Published<'_>) -> bool {
        let begun = self.begun.map_or(Some(0), |begun| begun.returned);
        let begun = begun.is_some_and(|begun| begun <= published.invoked);
        let lasts = self
            .ended
            .is_none_or(|ended| ended.invoked > published.until());
        begun && lasts && self.fits(published)
    }

    /// Whether a message that was published must come: what it has not delivered ends with it.
    pub(crate) fn must_get(&self, published: &Published<'_>) -> bool {
        self.ended.is_none() && self.surely_wants(published)
    }

    /// How it is called in a report.
    pub(crate) fn name(&self) -> String {
        format!("{}/{}", self.facts.topic, self.facts.name)
    }
}

impl Published<'_> {
    /// When it was published at the latest.
    fn until(&self) -> Nanos {
        match self.outcome {
            SendOutcome::Unknown => Nanos::MAX,
            _ => self.returned,
        }
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

    /// From when until when its lease may have run, on the server's side of every doubt.
    pub(crate) fn maybe_leased(&self, outages: &Outages) -> (Nanos, Nanos) {
        let length = self.free_from.saturating_sub(self.returned);
        let ended = outages.latest(self.returned, length);
        let deleted = self.deleted().map(|delete| delete.returned);
        (self.earliest, ended.min(deleted.unwrap_or(Nanos::MAX)))
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
