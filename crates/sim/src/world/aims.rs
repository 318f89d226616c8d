//! The sets of voters that may come: those that an order leads to which somebody may still follow, and those that an
//! entry leads to which may still be committed.

use crate::event::{Micros, SECOND};

/// How long an order is on its way at most, once its node is awake.
const ON_ITS_WAY: Micros = 5 * SECOND;

#[derive(Debug, Default)]
pub(crate) struct Aims {
    ordered: Vec<Ordered>,
    written: Vec<Written>,
}

#[derive(Debug, PartialEq, Eq)]
struct Ordered {
    shard: u16,
    to: u64,
    voters: Vec<u64>,
    at: Micros,
}

#[derive(Debug, PartialEq, Eq)]
struct Written {
    shard: u16,
    index: u64,
    voters: Vec<u64>,
}

impl Aims {
    /// An order to a node leads to these voters.
    pub(crate) fn ordered(&mut self, shard: u16, to: u64, voters: Vec<u64>, at: Micros) {
        self.ordered
            .retain(|known| (known.shard, known.to, &known.voters) != (shard, to, &voters));
        self.ordered.push(Ordered {
            shard,
            to,
            voters,
            at,
        });
    }

    /// An entry of some replica's log leads to these voters.
    pub(crate) fn written(&mut self, shard: u16, index: u64, voters: Vec<u64>) {
        let written = Written {
            shard,
            index,
            voters,
        };
        if !self.written.contains(&written) {
            self.written.push(written);
        }
    }

    /// The sets that may still come in a shard.
    pub(crate) fn of(
        &self,
        shard: u16,
        now: Micros,
        paused_until: impl Fn(u64) -> Micros,
        is_committed: impl Fn(u64) -> bool,
    ) -> Vec<Vec<u64>> {
        let ordered = self.ordered.iter().filter(|order| {
            order.shard == shard && now < order.at.max(paused_until(order.to)) + ON_ITS_WAY
        });
        let written = self.written.iter();
        let written = written.filter(|entry| entry.shard == shard && !is_committed(entry.index));
        let written = written.map(|entry| entry.voters.clone());
        ordered
            .map(|order| order.voters.clone())
            .chain(written)
            .collect()
    }
}
