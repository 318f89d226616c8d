//! The cells of the damage matrix: how a file is damaged, which file, and when.

use std::fmt;

use crate::chaos::workload::Chance;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    /// One bit.
    Flip,
    /// 512 or 4096 bytes become zeros.
    Zero,
    Cut,
    Missing,
    /// Two pages, or the two halves of a small file.
    Swap,
    /// Garbage behind the end.
    Append,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    Wal,
    Marks,
    Segment,
    Snapshot,
    Manifest,
    Identity,
    Keys,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum When {
    Down,
    Running,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cell {
    pub(super) target: Target,
    pub(super) kind: Kind,
    pub(super) when: When,
}

pub(super) const KINDS: [Kind; 6] = [
    Kind::Flip,
    Kind::Zero,
    Kind::Cut,
    Kind::Missing,
    Kind::Swap,
    Kind::Append,
];

pub(super) const TARGETS: [Target; 7] = [
    Target::Wal,
    Target::Marks,
    Target::Segment,
    Target::Snapshot,
    Target::Manifest,
    Target::Identity,
    Target::Keys,
];

/// Those whose names contain `filter`, once each in an order that chance decides, again and again.
pub(crate) fn drawn(filter: &str, count: usize, chance: &mut Chance) -> Vec<Cell> {
    let whens = [When::Down, When::Running];
    let all = TARGETS.into_iter().flat_map(|target| {
        let cells = KINDS
            .into_iter()
            .flat_map(move |kind| whens.map(|when| Cell { target, kind, when }));
        cells.collect::<Vec<_>>()
    });
    let all: Vec<Cell> = all
        .filter(|cell| cell.to_string().contains(filter))
        .collect();
    assert!(!all.is_empty(), "no cell has a name with {filter} in it");
    let mut drawn = Vec::new();
    while drawn.len() < count {
        let mut left = all.clone();
        while !left.is_empty() {
            let next = usize::try_from(chance.below(left.len() as u64)).expect("small");
            drawn.push(left.swap_remove(next));
        }
    }
    drawn.truncate(count);
    drawn
}

impl fmt::Display for Cell {
    /// As in `flip wal down`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Flip => "flip",
            Kind::Zero => "zero",
            Kind::Cut => "cut",
            Kind::Missing => "missing",
            Kind::Swap => "swap",
            Kind::Append => "append",
        };
        let target = match self.target {
            Target::Wal => "wal",
            Target::Marks => "marks",
            Target::Segment => "segment",
            Target::Snapshot => "snapshot",
            Target::Manifest => "manifest",
            Target::Identity => "node.json",
            Target::Keys => "keys",
        };
        let when = match self.when {
            When::Down => "down",
            When::Running => "running",
        };
        write!(formatter, "{kind} {target} {when}")
    }
}
