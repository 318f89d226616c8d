//! What the commands of one entry share while they are applied: the moment, the numbers they give
//! away, and what they ask of the shell.

use crate::{
    blocks::Blocks,
    command::Effect,
    id::Sequence,
    limits,
    time::{Stamp, Timestamp},
};

#[derive(Debug)]
pub(crate) struct Turn<'a> {
    pub(crate) index: u64,
    pub(crate) now: Timestamp,
    /// From when delays and leases run: `now`, and what may have been cut off it.
    pub(crate) starts: Timestamp,
    pub(crate) wall: WallOffset,
    /// Due messages that may still be settled because a receive came upon them.
    pub(crate) skips: usize,
    pub(crate) blocks: Blocks,
    messages: u32,
    leases: u32,
    effects: &'a mut Vec<Effect>,
}

impl<'a> Turn<'a> {
    pub(crate) fn new(
        index: u64,
        now: Timestamp,
        wall: WallOffset,
        blocks: Blocks,
        effects: &'a mut Vec<Effect>,
    ) -> Self {
        Self {
            index,
            now,
            starts: now,
            wall,
            skips: limits::SETTLED_PER_ENTRY,
            blocks,
            messages: 0,
            leases: 0,
            effects,
        }
    }

    /// The number of the next body, after passing over `count` bodies.
    pub(crate) fn number_messages(&mut self, count: u32) -> u32 {
        let first = self.messages;
        self.messages += count;
        first
    }

    pub(crate) fn leases_left(&self) -> u32 {
        Sequence::PER_ENTRY - self.leases
    }

    pub(crate) fn number_lease(&mut self) -> Sequence {
        let receipt = Sequence::new(self.index, self.leases);
        self.leases += 1;
        receipt
    }

    /// Asks the shell for something; saying it twice in a row is saying it once.
    pub(crate) fn effect(&mut self, effect: Effect) {
        if self.effects.last() != Some(&effect) {
            self.effects.push(effect);
        }
    }
}

/// How far the wall clock is ahead of a shard's own time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct WallOffset(pub(crate) i64);

impl WallOffset {
    pub(crate) fn of(stamp: Stamp) -> Self {
        let ahead = i128::from(stamp.wall.0) - i128::from(stamp.now.0);
        let ahead = ahead.clamp(i64::MIN.into(), i64::MAX.into());
        Self(i64::try_from(ahead).expect("clamped just now"))
    }

    /// What the wall clock shows at a moment of the shard's own time.
    pub(crate) fn wall(self, own: Timestamp) -> Timestamp {
        Timestamp(own.0.saturating_add_signed(self.0))
    }

    /// The moment of the shard's own time at which the wall clock shows this.
    pub(crate) fn own(self, wall: Timestamp) -> Timestamp {
        if wall == Timestamp(0) {
            return Timestamp(0);
        }
        let own = i128::from(wall.0) - i128::from(self.0);
        Timestamp(u64::try_from(own.max(0)).unwrap_or(u64::MAX))
    }
}
