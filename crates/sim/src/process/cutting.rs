//! The end of a process: what its disk holds then. A write that is under way may be cut at any of the
//! disk operations that it consists of.

use anser_log::disk::simulated::{Durability, SimulatedDisk};

use super::{Process, writer::UnderWay};
use crate::{coverage::sometimes, random::Random, world::Common};

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// Only the process: what it wrote is in the cache of the system.
    Kill,
    /// The machine: what was not synced may be lost, page by page.
    PowerLoss,
    /// The process, in order: it writes what it has to and closes its log.
    Exit,
    /// The process in order, and then the machine.
    Shutdown,
}

impl Stop {
    pub(crate) fn is_of_the_machine(self) -> bool {
        matches!(self, Self::PowerLoss | Self::Shutdown)
    }

    fn is_in_order(self) -> bool {
        matches!(self, Self::Exit | Self::Shutdown)
    }
}

/// What is left of a process.
#[derive(Debug)]
pub(crate) struct Remains {
    pub(crate) disk: SimulatedDisk,
    /// Entries from this index on, by shard, that were being written when it ended.
    pub(crate) under_way: Vec<(u16, u64)>,
    /// Its log was closed, and nothing of it was in doubt.
    pub(crate) is_closed: bool,
}

/// A moment to end a process at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A batch is on its way to the disk.
    Writing,
    /// Log files are being recycled.
    Recycling,
}

impl Process {
    /// Whether it is such a moment.
    pub(crate) fn is_at(&self, moment: Moment) -> bool {
        match moment {
            Moment::Writing => self.writer.unwritten().is_some(),
            Moment::Recycling => self.maintenance.recycling.is_some(),
        }
    }

    pub(crate) fn end(mut self, stop: Stop, common: &mut Common) -> Remains {
        if stop.is_in_order() && self.finish_writing(common) {
            return self.close(stop, common);
        }
        let mut under_way = Vec::new();
        if let Some(UnderWay { batch, .. }) = &self.writer.under_way {
            for write in &batch.writes {
                let first = write.entries.first().map_or(u64::MAX, |entry| entry.index);
                under_way.push((write.shard, first));
            }
        }
        let mut durability = self.disk.durability();
        let writing = self.is_at(Moment::Writing);
        let recycling = self.is_at(Moment::Recycling);
        if self.failed.is_none() && (writing || recycling) && common.random.permille(700) {
            self.disk.record();
            if writing {
                sometimes("a crash cut a batch in the middle");
                let under_way = self.writer.under_way.take().expect("it was just seen");
                // Whatever comes of it, nobody will hear.
                drop(under_way.batch.write(&mut self.appender));
            } else {
                sometimes("a crash cut maintenance in the middle");
                // Its judgements are of a world that ends here.
                self.end_maintenance(common);
            }
            let operations = self.disk.recorded();
            let done = common.random.place(operations.len() + 1);
            for operation in &operations[..done] {
                durability.apply(operation);
            }
        }
        Remains {
            disk: after(stop, &durability, common),
            under_way,
            is_closed: false,
        }
    }

    fn close(self, stop: Stop, common: &mut Common) -> Remains {
        sometimes("a log was closed");
        let is_whole = self.suspects.is_empty() && !self.is_noted_suspect;
        let is_closed = match self.appender.close() {
            Ok(()) => is_whole,
            Err(_) => false,
        };
        Remains {
            disk: after(stop, &self.disk.durability(), common),
            under_way: Vec::new(),
            is_closed,
        }
    }
}

fn after(stop: Stop, durability: &Durability, common: &mut Common) -> SimulatedDisk {
    if stop.is_of_the_machine() {
        after_power_loss(durability, &mut common.random)
    } else {
        SimulatedDisk::after_kill(durability)
    }
}

fn after_power_loss(durability: &Durability, random: &mut Random) -> SimulatedDisk {
    let page_bytes = if random.permille(500) { 512 } else { 4096 };
    let mood = random.below(4);
    let picks: Vec<usize> = durability
        .choices(page_bytes)
        .into_iter()
        .map(|most| match mood {
            0 => 0,
            1 => most,
            _ => random.place(most + 1),
        })
        .collect();
    SimulatedDisk::from_image(&durability.image(page_bytes, &picks))
}
