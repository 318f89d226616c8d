//! Mending what is damaged with what other nodes have of the entries (`mending.rs`).
//!
//! A record of the log is written back in its place. A segment is written anew with what is alive in it, of which each node
//! may have kept another part: so what others gave must have every message that is alive here, or nothing is changed.

use anser_broker::id::{Sequence, ShardId};
use anser_log::{Change, Disk, Entry, Error, Kept, SegmentInfo, Standing, Stored};
use anser_replica::Image;

use super::{Maintenance, is_passing, is_undone};
use crate::mending::{Attempted, ENTRIES_MAX, Given, Wound};

/// How often copying what is alive waits for what others may give.
const WAITS_MAX: u32 = 16;

impl<D: Disk> Maintenance<D> {
    /// Looks what a wound is and mends it, as far as what was given suffices. `image`: none if no replica is here.
    pub fn mend(
        &mut self,
        shard: ShardId,
        wound: &Wound,
        given: Given,
        image: Option<&Image>,
    ) -> Result<Attempted, Error> {
        let Some(image) = image else {
            return Ok(Attempted::Settled);
        };
        let standing = self.store.standing(shard.0, &wound.file, wound.offset);
        let attempted = match standing {
            Standing::Nothing => Ok(Attempted::Settled),
            Standing::Entry { index, .. } => self.mend_entry(shard.0, index, given),
            Standing::Segment(info) => self.mend_segment(shard.0, info, &given, image),
            Standing::Other => Ok(Attempted::Hopeless("only a copy replaces it".into())),
        };
        if matches!(attempted, Ok(Attempted::Mended)) {
            self.waits.remove(&shard.0);
        }
        match attempted {
            Err(Error::Overtaken { .. }) => Ok(Attempted::Settled),
            Err(error) if is_passing(&error) || matches!(error, Error::Refused { .. }) => {
                Ok(Attempted::Hopeless(error.to_string()))
            }
            attempted => attempted,
        }
    }

    fn mend_entry(&mut self, shard: u16, index: u64, mut given: Given) -> Result<Attempted, Error> {
        match self.reader.read(shard, index) {
            Ok(Stored::Entry(entry)) => return self.judge_chain(shard, &entry),
            Ok(Stored::Kept(_)) => return Ok(Attempted::Settled),
            Err(error) if error.is_damage() => {}
            Err(other) => return Err(other),
        }
        match given.remove(&index) {
            None => Ok(Attempted::Needs(vec![index])),
            Some(Stored::Entry(entry)) => {
                if !leaves_out_given() {
                    self.store.write_back(shard, &entry)?;
                }
                Ok(Attempted::Mended)
            }
            Some(kept) if self.waits.contains_key(&shard) => {
                // Enough for what was to be copied out of the log.
                self.given.entry(shard).or_default().insert(index, kept);
                Ok(Attempted::Settled)
            }
            Some(Stored::Kept(_)) => {
                let why = "others have only a part of the entry left";
                Ok(Attempted::Hopeless(why.into()))
            }
        }
    }

    /// What can be read and does not follow what stands before it is no entry's damage.
    fn judge_chain(&self, shard: u16, entry: &Entry) -> Result<Attempted, Error> {
        Ok(if self.store.is_in_chain(shard, entry)? {
            Attempted::Settled
        } else {
            Attempted::Hopeless("records do not follow each other".into())
        })
    }

    fn mend_segment(
        &mut self,
        shard: u16,
        info: SegmentInfo,
        given: &Given,
        image: &Image,
    ) -> Result<Attempted, Error> {
        if info.last_index > image.applied.index {
            return Ok(Attempted::Hopeless("its state is not known yet".into()));
        }
        let live = image.shard.live_between(info.first_index, info.last_index);
        let (mut needs, mut lacks) = (Vec::new(), None);
        let mut writer = self.store.begin_segment(shard)?;
        for messages in live.chunk_by(|one, other| one.index() == other.index()) {
            match self.kept(shard, messages, Some(given)) {
                Ok(kept) if leaves_out_given() && given.contains_key(&kept.index) => {}
                Ok(kept) if needs.is_empty() => writer.append(&kept)?,
                Ok(_) => {}
                Err(error) if error.is_damage() && !error.may_pass() => {
                    let index = messages[0].index();
                    lacks = lacks.or(given.contains_key(&index).then_some(index));
                    needs.push(index);
                }
                Err(other) => return Err(other),
            }
            if needs.len() > ENTRIES_MAX {
                break;
            }
        }
        if let Some(index) = lacks {
            let why = format!("messages of entry {index} are alive only here");
            return Ok(Attempted::Hopeless(why));
        }
        if !needs.is_empty() {
            return Ok(Attempted::Needs(needs));
        }
        self.store.keep_damaged(shard, info.id)?;
        let add = writer.finish()?;
        let change = Change {
            add: add.clone(),
            remove: vec![info.id],
            ..Change::default()
        };
        self.store.commit(shard, change).inspect_err(|error| {
            if is_undone(error) {
                self.store.discard(shard, &add);
            }
        })?;
        self.store.remove_oldest_aside(shard);
        Ok(Attempted::Mended)
    }

    /// Whether what is damaged may still come from others, so that copying waits for it.
    pub(super) fn waits_for_others(&mut self, shard: u16) -> bool {
        if !self.asks_others {
            return false;
        }
        let waits = self.waits.entry(shard).or_default();
        *waits += 1;
        *waits < WAITS_MAX
    }

    /// What is to be kept of an entry that cannot be read, of what others gave.
    pub(super) fn kept_of_others(
        &self,
        shard: u16,
        messages: &[Sequence],
        given: Option<&Given>,
    ) -> Option<Kept> {
        let index = messages[0].index();
        let stored = given
            .and_then(|given| given.get(&index))
            .or_else(|| self.given.get(&shard)?.get(&index))?;
        super::keep::thinned(stored, messages)
    }
}

/// Whether what others gave is not used, which is a bug.
fn leaves_out_given() -> bool {
    #[cfg(feature = "sabotage")]
    return anser_broker::sabotage::is_planted("mended without what was given");
    #[cfg(not(feature = "sabotage"))]
    false
}
