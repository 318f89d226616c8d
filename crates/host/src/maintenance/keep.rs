//! Making the log unnecessary: what is alive in it goes to segments, the state to a snapshot.
//!
//! Both become the shard's at once, by a commit (`docs/decisions/0003-generations.md`).

use std::collections::BTreeMap;

use anser_broker::{codec, id::Sequence};
use anser_log::{Change, Disk, Error, Kept, SegmentInfo, SnapshotInfo, Stored};
use anser_replica::Image;

use super::{Damage, Maintenance, is_undone};
use crate::{mending::Given, snapshots::save};

/// How often a read may fail before the rest is kept without it.
const FAILED_READS_MAX: u32 = 1_000;

/// What was copied to segments.
#[derive(Debug, Default)]
pub(super) struct Copied {
    pub(super) segments: Vec<SegmentInfo>,
    /// Something alive could not be read, and is left out.
    pub(super) damaged: bool,
}

impl<D: Disk> Maintenance<D> {
    /// What makes the log unnecessary for a shard's entries between two indexes, which the image knows, once it
    /// is committed; perhaps nothing.
    pub(super) fn seal(
        &mut self,
        shard: u16,
        (first, last): (u64, u64),
        image: &Image,
    ) -> Result<Change, Error> {
        let kept = self.keep(shard, first, last, image)?;
        let snapshot = self.snapshot(shard, image);
        Ok(Change {
            snapshot: snapshot.inspect_err(|_| self.store.discard(shard, &kept.segments))?,
            add: kept.segments,
            damaged: kept.damaged,
            ..Change::default()
        })
    }

    /// Makes what was sealed part of the log, at once for all shards.
    pub(super) fn commit(&self, mut sealed: BTreeMap<u16, Change>) -> Result<(), Error> {
        sealed.retain(|_, change| change.snapshot.is_some() || !change.add.is_empty());
        if sealed.is_empty() {
            return Ok(());
        }
        self.store.commit_all(&sealed).inspect_err(|error| {
            if is_undone(error) {
                for (&shard, change) in &sealed {
                    self.store.discard(shard, &change.add);
                    if let Some(snapshot) = &change.snapshot {
                        self.store.discard_snapshot(shard, snapshot);
                    }
                }
            }
        })
    }

    /// Writes a snapshot, unless the shard has the one of this moment: nothing was applied since.
    fn snapshot(&mut self, shard: u16, image: &Image) -> Result<Option<SnapshotInfo>, Error> {
        let present = self.store.snapshot(shard);
        let place = (image.applied.index, image.applied.term);
        if present.is_some_and(|present| (present.index, present.term) == place) {
            return Ok(None);
        }
        self.done.snapshots += 1;
        save(&self.store, shard, image).map(Some)
    }

    /// The first index that segments do not know yet.
    fn unkept(&self, shard: u16) -> u64 {
        let segments = self.store.segments(shard);
        let kept_before = segments.iter().map(|info| info.last_index).max();
        kept_before.map_or(0, |index| index + 1)
    }

    /// Copies all bodies between two indexes to segments, but for what is there already: nobody knows which are alive.
    pub(super) fn keep_everything(
        &mut self,
        shard: u16,
        first: u64,
        last: u64,
    ) -> Result<Copied, Error> {
        let mut copied = Copied::default();
        let mut writer = self.store.begin_segment(shard)?;
        for index in first.max(self.unkept(shard))..=last {
            match self.reader.read(shard, index) {
                Ok(Stored::Entry(entry)) => {
                    let term = entry.term;
                    if let Some(payload) = codec::keep_all(&entry.data) {
                        self.done.kept_bytes += payload.len() as u64;
                        writer.append(&Kept {
                            index,
                            term,
                            payload,
                        })?;
                    }
                }
                // Where entries are missing there is nothing to keep.
                Ok(Stored::Kept(_)) | Err(Error::Missing { .. }) => {}
                Err(error) if error.is_damage() => {
                    if error.may_pass() && self.is_tried_again(shard) {
                        return Err(error);
                    }
                    copied.damaged = true;
                    self.damaged.push(Damage::new(shard, error));
                }
                Err(other) => return Err(other),
            }
        }
        copied.segments = writer.finish()?;
        self.failed_reads.remove(&shard);
        Ok(copied)
    }

    /// Copies what is alive between two indexes to segments, but for what is there already.
    fn keep(&mut self, shard: u16, first: u64, last: u64, image: &Image) -> Result<Copied, Error> {
        let first = first.max(self.unkept(shard));
        if first > last {
            return Ok(Copied::default());
        }
        let live = image.shard.live_between(first, last);
        self.copy(shard, &live, image)
    }

    /// Copies what is alive, but for what is damaged: its messages cannot be had from here any more, which is no reason
    /// to hold up the log of all shards. A read that fails is tried again for a while, that of an only copy for ever, in case
    /// that the disk gives it after all.
    pub(super) fn copy(
        &mut self,
        shard: u16,
        live: &[Sequence],
        image: &Image,
    ) -> Result<Copied, Error> {
        let mut copied = Copied::default();
        if live.is_empty() {
            return Ok(copied);
        }
        let is_only_copy = image.membership().voters.len() < 2;
        let mut writer = self.store.begin_segment(shard)?;
        for messages in live.chunk_by(|one, other| one.index() == other.index()) {
            match self.kept(shard, messages, None) {
                Ok(kept) => {
                    self.done.kept_bytes += kept.payload.len() as u64;
                    writer.append(&kept)?;
                }
                // It stood where the log was damaged, and does not come back.
                Err(Error::Missing { .. }) if self.store.is_damaged(shard) => copied.damaged = true,
                Err(error) if error.is_damage() => {
                    copied.damaged = true;
                    if self.tries_again(shard, error, is_only_copy) {
                        return Err(Error::Missing {
                            shard,
                            index: messages[0].index(),
                        });
                    }
                }
                Err(other) => return Err(other),
            }
        }
        copied.segments = writer.finish()?;
        self.failed_reads.remove(&shard);
        self.waits.remove(&shard);
        self.given.remove(&shard);
        Ok(copied)
    }

    /// Notes what could not be read; whether it is tried again, or else left out.
    fn tries_again(&mut self, shard: u16, error: Error, is_only_copy: bool) -> bool {
        let waits = !is_only_copy && !error.may_pass() && self.waits_for_others(shard);
        let may_pass = error.may_pass() && (self.is_tried_again(shard) || is_only_copy);
        let damage = Damage::new(shard, error);
        self.damaged.push(Damage {
            may_pass,
            // What nobody could give in all that time is asked for no more.
            wound: damage.wound.filter(|_| waits),
            ..damage
        });
        waits || may_pass
    }

    fn is_tried_again(&mut self, shard: u16) -> bool {
        let tries = self.failed_reads.entry(shard).or_default();
        *tries += 1;
        *tries < FAILED_READS_MAX
    }

    /// What is to be kept of an entry, of which these messages are alive.
    pub(super) fn kept(
        &mut self,
        shard: u16,
        messages: &[Sequence],
        given: Option<&Given>,
    ) -> Result<Kept, Error> {
        let index = messages[0].index();
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("recycled without what cannot be read")
            && self.reader.read(shard, index).is_err()
        {
            let payload = bytes::Bytes::new();
            return Ok(Kept {
                index,
                term: 0,
                payload,
            });
        }
        match self.reader.read(shard, index) {
            // What was thinned out by a state that is newer than this one, which has just started.
            Ok(stored) => thinned(&stored, messages).ok_or(Error::Missing { shard, index }),
            Err(error) if error.is_damage() => {
                let kept = self.kept_of_others(shard, messages, given);
                kept.ok_or(error)
            }
            Err(other) => Err(other),
        }
    }
}

/// Of what is stored of an entry, these messages; `None` if one is not there.
pub(super) fn thinned(stored: &Stored, messages: &[Sequence]) -> Option<Kept> {
    let ordinals: Vec<u32> = messages.iter().map(|message| message.ordinal()).collect();
    let (term, payload) = match stored {
        Stored::Entry(entry) => (entry.term, codec::keep(&entry.data, &ordinals)),
        Stored::Kept(kept) => (kept.term, codec::keep_again(&kept.payload, &ordinals)),
    };
    let index = stored.index();
    payload.map(|payload| Kept {
        index,
        term,
        payload,
    })
}
