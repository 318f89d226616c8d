//! Changes of the membership whose commit is on its way to the disk.
//!
//! An entry that changes the members is committed by those before it. Of two voters one is let go of; the
//! other applies the change, and its machine stops before its commit index is durable: it starts again with two
//! voters, of which one is gone for ever, and nobody can elect a leader. So the nodes that are let go of keep
//! their replicas until the one that decides would know of it after a restart.

use std::collections::VecDeque;

use crate::Membership;

#[derive(Debug)]
pub(crate) struct Settling {
    settled: Settled,
    /// With the number of the append that makes each durable.
    under_way: VecDeque<(u64, Settled)>,
}

/// A membership that this replica would know after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settled {
    pub(crate) membership: Membership,
    /// Whoever has applied this entry knows it.
    pub(crate) index: u64,
}

impl Settling {
    pub(crate) fn new(settled: Settled) -> Self {
        Self {
            settled,
            under_way: VecDeque::new(),
        }
    }

    /// The append of this number makes a membership durable.
    pub(crate) fn begin(&mut self, append: u64, membership: Settled) {
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("unsettled members") {
            self.settled = membership;
            return;
        }
        self.under_way.push_back((append, membership));
    }

    pub(crate) fn durable(&mut self, append: u64) {
        while let Some((it, _)) = self.under_way.front()
            && *it <= append
        {
            let (_, membership) = self.under_way.pop_front().expect("just seen");
            self.settled = membership;
        }
    }

    pub(crate) fn settled(&self) -> &Settled {
        &self.settled
    }
}
