//! Making the log unnecessary: what is alive in it goes to segments, the state to a snapshot.
//!
//! Both become the shard's at once, by a commit (`docs/decisions/0003-generations.md`).

use std::collections::BTreeMap;

use anser_broker::{codec, id::Sequence};
use anser_log::{Change, Disk, Error, Kept, SegmentInfo, SegmentWriter, SnapshotInfo, Stored};
use anser_replica::Image;

use super::{Maintenance, is_undone};
use crate::snapshots::save;

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
            snapshot: snapshot.inspect_err(|_| self.store.discard(shard, &kept))?,
            add: kept,
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

    /// Copies what is alive between two indexes to segments, but for what is there already.
    fn keep(
        &mut self,
        shard: u16,
        first: u64,
        last: u64,
        image: &Image,
    ) -> Result<Vec<SegmentInfo>, Error> {
        let kept_before = self
            .store
            .segments(shard)
            .iter()
            .map(|info| info.last_index)
            .max();
        let first = first.max(kept_before.map_or(0, |index| index + 1));
        if first > last {
            return Ok(Vec::new());
        }
        let live = image.shard.live_between(first, last);
        self.copy(shard, &live)
    }

    pub(super) fn copy(
        &mut self,
        shard: u16,
        live: &[Sequence],
    ) -> Result<Vec<SegmentInfo>, Error> {
        if live.is_empty() {
            return Ok(Vec::new());
        }
        let mut writer = self.store.begin_segment(shard)?;
        for messages in live.chunk_by(|one, other| one.index() == other.index()) {
            self.copy_entry(shard, messages, &mut writer)?;
        }
        writer.finish()
    }

    fn copy_entry(
        &mut self,
        shard: u16,
        messages: &[Sequence],
        writer: &mut SegmentWriter<D>,
    ) -> Result<(), Error> {
        let index = messages[0].index();
        let ordinals: Vec<u32> = messages.iter().map(|message| message.ordinal()).collect();
        #[cfg(feature = "sabotage")]
        if anser_broker::sabotage::is_planted("recycled without what cannot be read")
            && self.reader.read(shard, index).is_err()
        {
            return Ok(());
        }
        let (term, payload) = match self.reader.read(shard, index)? {
            Stored::Entry(entry) => (entry.term, codec::keep(&entry.data, &ordinals)),
            Stored::Kept(kept) => (kept.term, codec::keep_again(&kept.payload, &ordinals)),
        };
        // What was thinned out by a state that is newer than this one, which has just started.
        let payload = payload.ok_or(Error::Missing { shard, index })?;
        self.done.kept_bytes += payload.len() as u64;
        writer.append(&Kept {
            index,
            term,
            payload,
        })
    }
}
