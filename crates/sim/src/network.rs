//! The network between the nodes: late, lossy, and cut in one or both directions.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    event::{Micros, SECOND},
    random::Random,
};

/// In a thousand: messages that come when everybody has forgotten them.
const STRAGGLERS: u64 = 10;
const STRAGGLING: Micros = 3 * SECOND;
/// In a thousand: requests that come though their connection has broken.
const STRAYS: u64 = 800;
/// In a thousand: requests of errands whose connections break, where messages overtake each other.
const BREAKS: u64 = 100;

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// The usual time of a message, in microseconds.
    pub(crate) latency: Micros,
    /// In a thousand.
    pub(crate) drops: u64,
    /// In a thousand.
    pub(crate) doubles: u64,
    /// Messages may overtake each other.
    pub(crate) reorders: bool,
    /// Directions in which nothing arrives.
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// Connections, from who dialled to who let it in; what one says to the other goes by the one it dialled.
    links: BTreeSet<(u64, u64)>,
    is_healed: bool,
    last: BTreeMap<(u64, u64), Micros>,
}

impl Network {
    pub(crate) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.contains(&(from, to)) || !self.links.contains(&(from, to))
    }

    /// A node has let in another that dialled it.
    pub(crate) fn link(&mut self, from: u64, to: u64) {
        self.links.insert((from, to));
    }

    pub(crate) fn is_linked(&self, from: u64, to: u64) -> bool {
        self.links.contains(&(from, to))
    }

    /// Ends a node's connections, but for those with nodes that `stay`.
    pub(crate) fn unlink(&mut self, node: u64, stay: impl Fn(u64) -> bool) {
        self.links.retain(|&(from, to)| {
            let other = if from == node { to } else { from };
            (from != node && to != node) || stay(other)
        });
    }

    /// Whether a connection between the two can be made.
    pub(crate) fn is_connected(&self, one: u64, other: u64) -> bool {
        !self.is_cut(one, other) && !self.is_cut(other, one)
    }

    /// When a node that is dialled now hears of it, if ever.
    pub(crate) fn dial(
        &mut self,
        from: u64,
        to: u64,
        now: Micros,
        random: &mut Random,
    ) -> Option<Micros> {
        let lost = !self.reaches(from, to) || random.permille(self.drops);
        (!lost).then(|| now + random.spread(self.latency))
    }

    /// Whether packets pass in both directions.
    fn reaches(&self, from: u64, to: u64) -> bool {
        !self.cut.contains(&(from, to)) && !self.cut.contains(&(to, from))
    }

    /// When a message that is sent now arrives: once, never or twice.
    pub(crate) fn arrivals(
        &mut self,
        from: u64,
        to: u64,
        now: Micros,
        random: &mut Random,
    ) -> Vec<Micros> {
        if self.is_cut(from, to) || random.permille(self.drops) {
            return Vec::new();
        }
        let count = if random.permille(self.doubles) { 2 } else { 1 };
        (0..count)
            .map(|_| {
                let arrival = now + random.spread(self.latency);
                let last = self.last.entry((from, to)).or_default();
                if !self.reorders {
                    *last = arrival.max(*last);
                    return *last;
                }
                arrival
            })
            .collect()
    }

    /// How much later than others a message of consensus comes, as if by a connection that nobody uses any
    /// more.
    pub(crate) fn straggling(&self, random: &mut Random) -> Micros {
        if self.reorders && !self.is_healed && random.permille(STRAGGLERS) {
            random.spread(STRAGGLING)
        } else {
            0
        }
    }

    /// Whether a connection breaks under a request, though the network is well: homes that are told of two changes hear of
    /// them in the wrong order only so.
    pub(crate) fn breaks(&self, random: &mut Random) -> bool {
        self.reorders && !self.is_healed && random.permille(BREAKS)
    }

    /// How much later a request comes whose connection has broken, if ever: it may lie in the buffers of a machine that
    /// gets round to it when whoever asked has asked again.
    pub(crate) fn straying(&self, random: &mut Random) -> Option<Micros> {
        let strays = self.reorders && !self.is_healed && random.permille(STRAYS);
        strays.then(|| random.spread(STRAGGLING))
    }

    /// The time that a message between a client and a node takes.
    pub(crate) fn client_delay(&self, random: &mut Random) -> Micros {
        random.spread(self.latency.min(2_000))
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
        self.is_healed = true;
        self.drops = 0;
        self.doubles = 0;
        self.latency = self.latency.min(1_000);
    }
}
