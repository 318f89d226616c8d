//! Taking over a shard's files from another node.
//!
//! The bytes of an [`crate::Export`] come in pieces. Every checksum is verified as they come, and what
//! they hold is written to files of this disk's own: a file names its number in every record, and the
//! numbers of two disks have nothing to do with each other. Nothing of it counts before it is installed.

use std::{collections::VecDeque, sync::Arc};

use super::{ExportedFile, Store};
use crate::{
    disk::Disk,
    entry::{SegmentInfo, SnapshotInfo},
    error::Error,
    names,
    segment::{self, incoming::IncomingSegment},
    shared::Shared,
    snapshot::{file_bytes, incoming::IncomingSnapshot},
};

/// The longest snapshot that is believed to be one: a tebibyte.
const SNAPSHOT_BYTES_MAX: u64 = 1 << 40;

/// Files on their way from another node. Dropping it removes them.
#[derive(Debug)]
pub struct Import<D: Disk> {
    shared: Arc<Shared<D>>,
    shard: u16,
    /// Not finished yet; the first is the one that comes next.
    waiting: VecDeque<Offered>,
    /// The first of `waiting`, if a piece of it came.
    incoming: Option<Incoming<D>>,
    snapshot: Option<SnapshotInfo>,
    segments: Vec<FinishedSegment>,
}

/// A segment that is here.
#[derive(Debug)]
struct FinishedSegment {
    /// As the other disk describes it.
    offered: SegmentInfo,
    /// What became of it on this one.
    own: Vec<SegmentInfo>,
}

/// What an [`Import`] brought, as files of this disk, for [`Store::install`] or [`Store::commit`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    pub snapshot: SnapshotInfo,
    /// By first index. There may be more of them than were offered, if this disk's segments are smaller.
    pub segments: Vec<SegmentInfo>,
}

/// A file as the other disk describes it.
#[derive(Debug, Clone, Copy)]
enum Offered {
    Snapshot(SnapshotInfo),
    Segment(SegmentInfo),
}

impl Offered {
    fn file(&self) -> ExportedFile {
        match self {
            Self::Snapshot(_) => ExportedFile::Snapshot,
            Self::Segment(info) => ExportedFile::Segment(info.id),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Snapshot(info) => file_bytes(info.bytes),
            Self::Segment(info) => info.bytes,
        }
    }

    /// The path on the disk it comes from.
    fn name(&self, shard: u16) -> String {
        match self {
            Self::Snapshot(info) => names::snapshot(shard, info.id),
            Self::Segment(info) => names::segment(shard, info.id),
        }
    }
}

#[derive(Debug)]
enum Incoming<D: Disk> {
    Snapshot(IncomingSnapshot<D>),
    Segment(IncomingSegment<D>),
}

impl<D: Disk> Store<D> {
    /// Begins to take over a shard's files, as an [`crate::Export`] on another node describes them. The
    /// shard here is not touched until they are installed.
    ///
    /// Refused if they cannot be one shard's: segments that overlap or reach beyond the snapshot.
    pub fn begin_import(
        &self,
        shard: u16,
        snapshot: SnapshotInfo,
        segments: Vec<SegmentInfo>,
    ) -> Result<Import<D>, Error> {
        self.shared.check_usable()?;
        check_offer(shard, snapshot, &segments)?;
        let mut waiting = VecDeque::from([Offered::Snapshot(snapshot)]);
        waiting.extend(segments.into_iter().map(Offered::Segment));
        Ok(Import {
            shared: Arc::clone(&self.shared),
            shard,
            waiting,
            incoming: None,
            snapshot: None,
            segments: Vec::new(),
        })
    }

    /// Removes the files of a finished import that will not be installed after all.
    pub fn discard_import(&self, shard: u16, imported: &Imported) {
        self.discard_snapshot(shard, &imported.snapshot);
        self.discard(shard, &imported.segments);
    }
}

/// They must be possible as one shard's files.
fn check_offer(shard: u16, snapshot: SnapshotInfo, segments: &[SegmentInfo]) -> Result<(), Error> {
    let refused = |what| Err(Error::Refused { shard, what });
    if snapshot.bytes > SNAPSHOT_BYTES_MAX {
        return refused("a snapshot was offered that is too long");
    }
    if !segments.iter().all(segment::is_possible) {
        return refused("a segment was offered that is impossible");
    }
    let follow = segments.is_sorted_by(|a, b| a.last_index < b.first_index);
    let last = segments.last().map_or(0, |info| info.last_index);
    if !follow || last > snapshot.index {
        return refused("segments were offered that overlap or reach beyond the snapshot");
    }
    Ok(())
}

impl<D: Disk> Import<D> {
    /// Goes on with a newer offer of the same disk: whole segments that are here and in it stay, the rest
    /// begins anew. A disk never gives a number to two segments that it offered.
    ///
    /// Refused as by [`Store::begin_import`]; then all of this import is dropped.
    pub fn renew(
        mut self,
        snapshot: SnapshotInfo,
        segments: &[SegmentInfo],
    ) -> Result<Self, Error> {
        check_offer(self.shard, snapshot, segments)?;
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.segments)
            .into_iter()
            .partition(|finished| segments.contains(&finished.offered));
        let is_here = |info: &SegmentInfo| stay.iter().any(|finished| finished.offered == *info);
        let mut waiting = VecDeque::from([Offered::Snapshot(snapshot)]);
        let missing = segments.iter().filter(|info| !is_here(info));
        waiting.extend(missing.copied().map(Offered::Segment));
        let renewed = Self {
            shared: Arc::clone(&self.shared),
            shard: self.shard,
            waiting,
            incoming: None,
            snapshot: None,
            segments: stay,
        };
        // Dropped, it removes what is of no use.
        self.segments = go;
        Ok(renewed)
    }

    /// The file and the offset in it that come next; `None` once everything is here. After a broken
    /// connection go on from here.
    pub fn missing(&self) -> Option<(ExportedFile, u64)> {
        let received = match &self.incoming {
            None => 0,
            Some(Incoming::Snapshot(incoming)) => incoming.received(),
            Some(Incoming::Segment(incoming)) => incoming.received(),
        };
        self.waiting.front().map(|next| (next.file(), received))
    }

    /// Bytes of the files that have not come yet.
    pub fn missing_bytes(&self) -> u64 {
        let all: u64 = self.waiting.iter().map(Offered::bytes).sum();
        all - self.missing().map_or(0, |(_, received)| received)
    }

    /// Takes a piece, which must be the one that [`Import::missing`] names; another is refused and
    /// changes nothing. The piece that ends a file returns once the file is verified and synced.
    ///
    /// Damage gives [`Error::Corrupt`] with the file's path on the disk it comes from. After that, and
    /// after any error of this disk, the file is dropped and begins again at offset 0.
    pub fn write(&mut self, file: ExportedFile, offset: u64, bytes: &[u8]) -> Result<(), Error> {
        self.shared.check_usable()?;
        let next = self.waiting.front().copied();
        let Some(next) = next.filter(|_| self.missing() == Some((file, offset))) else {
            return Err(Error::Refused {
                shard: self.shard,
                what: "a piece of an import is not the next one",
            });
        };
        // Taken out, so that an error drops it.
        let incoming = match self.incoming.take() {
            Some(incoming) => incoming,
            None => self.begin(next)?,
        };
        if bytes.len() as u64 > next.bytes() - offset {
            let name = next.name(self.shard);
            return Err(Error::corrupt(&name, next.bytes(), "longer than announced"));
        }
        let is_last = bytes.len() as u64 == next.bytes() - offset;
        match incoming {
            Incoming::Snapshot(mut incoming) => {
                incoming.write(bytes)?;
                if is_last {
                    self.snapshot = Some(incoming.finish()?);
                } else {
                    self.incoming = Some(Incoming::Snapshot(incoming));
                }
            }
            Incoming::Segment(mut incoming) => {
                incoming.write(bytes)?;
                if is_last {
                    let Offered::Segment(offered) = next else {
                        unreachable!("what comes in is what waited")
                    };
                    let own = incoming.finish()?;
                    self.segments.push(FinishedSegment { offered, own });
                } else {
                    self.incoming = Some(Incoming::Segment(incoming));
                }
            }
        }
        if is_last {
            self.waiting.pop_front();
        }
        Ok(())
    }

    fn begin(&self, offered: Offered) -> Result<Incoming<D>, Error> {
        let shared = Arc::clone(&self.shared);
        let name = offered.name(self.shard);
        Ok(match offered {
            Offered::Snapshot(info) => {
                Incoming::Snapshot(IncomingSnapshot::begin(shared, self.shard, info, name)?)
            }
            Offered::Segment(info) => {
                Incoming::Segment(IncomingSegment::begin(shared, self.shard, info, name))
            }
        })
    }

    /// Gives the files, once none is missing; otherwise they are removed and it is refused. They are
    /// the caller's from here on: to install or to discard.
    pub fn finish(mut self) -> Result<Imported, Error> {
        let snapshot = self.snapshot.take_if(|_| self.waiting.is_empty());
        let snapshot = snapshot.ok_or(Error::Refused {
            shard: self.shard,
            what: "an import was ended before all of it was there",
        })?;
        let finished = std::mem::take(&mut self.segments);
        let mut segments: Vec<_> = finished.into_iter().flat_map(|it| it.own).collect();
        segments.sort_by_key(|info| info.first_index);
        Ok(Imported { snapshot, segments })
    }
}

impl<D: Disk> Drop for Import<D> {
    fn drop(&mut self) {
        // Best effort: what no manifest lists is removed when the log is opened next.
        let disk = &self.shared.disk;
        if let Some(info) = self.snapshot {
            drop(disk.remove(&names::snapshot(self.shard, info.id)));
        }
        for info in self.segments.iter().flat_map(|finished| &finished.own) {
            drop(disk.remove(&names::segment(self.shard, info.id)));
        }
    }
}
