//! The life of a queue and of its settings, and when the messages in it end by themselves.

use super::{Copy, Ledger, Queue};
use crate::{
    event::{Limits, Nanos},
    setting::Setting,
};

/// What happened to a whole queue, or may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) invoked: Nanos,
    /// `None` if no answer came.
    pub(crate) returned: Option<Nanos>,
}

impl Span {
    /// Whether it may have happened at this moment or later.
    pub(crate) fn may_follow(&self, moment: Nanos) -> bool {
        self.returned.is_none_or(|returned| returned >= moment)
    }

    /// Whether it has certainly happened between two moments.
    fn is_within(&self, from: Nanos, to: Nanos) -> bool {
        self.invoked > from && self.returned.is_some_and(|returned| returned < to)
    }
}

/// Whether a message that must have been visible was not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    Proved,
    /// It ended by itself, and nobody had looked meanwhile.
    Unseen,
    /// Nobody looked for long enough.
    TooShort,
}

/// The settings of a queue over time.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) visibility: Setting<Nanos>,
    pub(crate) retention: Setting<Nanos>,
    pub(crate) delay: Setting<Nanos>,
    pub(crate) rewind: Setting<Nanos>,
    /// `u64::MAX` if there is no bound.
    pub(crate) backlog: Setting<u64>,
    pub(crate) limits: Limits,
}

impl Queue<'_> {
    /// Whether it has certainly ended before this moment.
    pub(crate) fn is_gone(&self, at: Nanos) -> bool {
        let returned = self.ended.and_then(|ended| ended.returned);
        returned.is_some_and(|returned| returned < at)
    }

    /// What a missing message proves that must have been visible for this long.
    pub(crate) fn absence(&self, from: Nanos, kept: Nanos) -> Absence {
        if self.evidence.nothing_visible(from, kept) {
            Absence::Proved
        } else if kept <= self.drained {
            Absence::Unseen
        } else {
            Absence::TooShort
        }
    }

    /// Until when what came here at a moment or later certainly stays if nobody deletes it.
    pub(crate) fn keeps_until(&self, since: Nanos) -> Nanos {
        let purges = self.purges.iter();
        let purges = purges.filter(|purge| purge.may_follow(since));
        let ends = purges.chain(&self.ended);
        let ends = ends.map(|span| span.invoked.max(since));
        let retention = self.attributes.retention.may_end(since, &self.leaps);
        ends.min().unwrap_or(Nanos::MAX).min(retention)
    }
}

impl Ledger<'_> {
    /// Until when a message certainly stays if nobody deletes it, and it does not give up by its receives.
    pub(crate) fn kept_until(&self, copy: &Copy<'_>) -> Nanos {
        let queue = self.queue_of(copy);
        let sent = self.sent_of(copy).invoked;
        let aged = queue
            .dead_letter_age
            .map(|age| queue.leaps.earliest(sent, age));
        queue.keeps_until(sent).min(aged.unwrap_or(Nanos::MAX))
    }

    /// From when on a message was certainly in its queue.
    pub(crate) fn here_since(&self, copy: &Copy<'_>) -> Option<Nanos> {
        let sent = self.sent_of(copy);
        let is_sent_here = copy.is_source(sent) && sent.acknowledged() && !sent.is_carried;
        let came = copy.handouts.first().map(|handout| handout.returned);
        let sent = is_sent_here.then_some(sent.returned);
        [sent, came].into_iter().flatten().min()
    }

    /// Why a message was certainly no more at this moment, though nobody had deleted it.
    pub(crate) fn ended_before(&self, copy: &Copy<'_>, at: Nanos) -> Option<&'static str> {
        let queue = self.queue_of(copy);
        if queue.is_gone(at) {
            return Some("after its queue was deleted");
        }
        let since = self.here_since(copy).filter(|since| *since < at)?;
        let purged = queue.purges.iter().any(|purge| purge.is_within(since, at));
        // What was on its way to another queue was not purged, and may have come back.
        if purged && queue.dead_letter.is_none() {
            return Some("after its queue was purged");
        }
        let sent = self.sent_of(copy);
        let is_sent_here = copy.is_source(sent) && !sent.is_carried;
        let retention = queue.attributes.retention.most(sent.invoked, at);
        let is_over = || self.outages.latest(since, retention) < at;
        (is_sent_here && since.saturating_add(retention) < at && is_over())
            .then_some("long after its retention had ended")
    }

    /// Whether a message that nobody held had certainly given up by its age at this moment.
    pub(crate) fn is_too_old(&self, copy: &Copy<'_>, at: Nanos) -> bool {
        let (queue, sent) = (self.queue_of(copy), self.sent_of(copy));
        let target = queue.dead_letter.map(|(place, _)| &self.queues[place]);
        // It comes back, or stays, if there is no such queue any more.
        let goes = queue.unbound.is_none() && target.is_some_and(|target| target.ended.is_none());
        let age = queue
            .dead_letter_age
            .filter(|_| goes && copy.is_source(sent));
        let since = self.here_since(copy).filter(|since| *since < at);
        let due = since
            .zip(age)
            .map(|(since, age)| self.outages.latest(since, age));
        due.is_some_and(|due| due < at)
    }

    /// Whether a message may have given up for a receive whose answer nobody got, and have ended in its dead-letter
    /// queue by a purge: nobody can say of such a one where it is.
    pub(crate) fn may_be_purged_elsewhere(&self, copy: &Copy<'_>) -> bool {
        let (queue, sent) = (self.queue_of(copy), self.sent_of(copy).invoked);
        let target = queue.dead_letter.map(|(place, _)| &self.queues[place]);
        let mut purges = target.into_iter().flat_map(|target| &target.purges);
        purges.any(|purge| purge.may_follow(sent)) && queue.evidence.foggy(sent, Nanos::MAX)
    }
}
