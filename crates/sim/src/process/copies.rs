//! Copies of shards on their way from node to node, as `anser-node`'s `cluster/copies` does it.

use std::{collections::BTreeMap, rc::Rc};

use anser_log::{
    Error, Export, ExportedFile, Import, Imported, SegmentInfo, SnapshotInfo,
    disk::simulated::SimulatedDisk,
};
use anser_replica::{Input, PeerMessage, Place};
use bytes::Bytes;

use super::{Process, open};
use crate::{
    checks::LogView,
    coverage::sometimes,
    event::{CopyAsk, Event, Happening, Incoming, MILLISECOND, Told},
    planted::is_planted,
    world::Common,
};

/// Attempts to reach the other side before a copy is given up.
const ATTEMPTS_MAX: u64 = 20;
const RETRY_INTERVAL: u64 = 250 * MILLISECOND;
const CHUNK_BYTES: usize = 8 << 10;

#[derive(Default)]
pub(super) struct Copies {
    /// What can be sent: the newest offer of each shard.
    pub(super) offers: BTreeMap<u16, Rc<Export<SimulatedDisk>>>,
    outgoing: BTreeMap<u64, Outgoing>,
    counted: u64,
    coming: BTreeMap<u16, Coming>,
    /// Complete, until the replica accepts them.
    arrived: BTreeMap<u16, Imported>,
}

struct Outgoing {
    shard: u16,
    to: u64,
    export: Rc<Export<SimulatedDisk>>,
    message: Bytes,
    failures: u64,
    /// Counts the questions, so that an old timeout is known.
    asked: u64,
}

struct Coming {
    snapshot: SnapshotInfo,
    segments: Vec<SegmentInfo>,
    import: Import<SimulatedDisk>,
}

impl Process {
    /// Sends the files of the offer, then the message.
    pub(super) fn send_copy(
        &mut self,
        shard: u16,
        to: u64,
        place: Place,
        message: &PeerMessage,
        common: &mut Common,
    ) {
        let export = self.copies.offers.get(&shard).cloned();
        let Some(export) = export.filter(|export| export.snapshot.index == place.index) else {
            return self.step(shard, Input::SnapshotSent { to, arrived: false }, common);
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        self.copies.counted += 1;
        let transfer = self.copies.counted;
        let outgoing = Outgoing {
            shard,
            to,
            export,
            message: bytes.into(),
            failures: 0,
            asked: 0,
        };
        self.copies.outgoing.insert(transfer, outgoing);
        self.begin_copy(transfer, common);
    }

    fn begin_copy(&mut self, transfer: u64, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get(&transfer) else {
            return;
        };
        let ask = CopyAsk::Begin {
            shard: outgoing.shard,
            snapshot: outgoing.export.snapshot,
            segments: if is_planted("snapshot without its segments") {
                Vec::new()
            } else {
                outgoing.export.segments.clone()
            },
        };
        self.ask(transfer, ask, common);
    }

    fn ask(&mut self, transfer: u64, ask: CopyAsk, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get_mut(&transfer) else {
            return;
        };
        outgoing.asked += 1;
        let attempt = outgoing.asked;
        let to = outgoing.to;
        let late = Happening::CopyLate { transfer, attempt };
        common.later(
            self.node,
            self.life,
            RETRY_INTERVAL + 500 * MILLISECOND,
            late,
        );
        let from = self.node;
        let Some(&life) = common.lives.get(&to) else {
            return;
        };
        let arrivals = common
            .network
            .arrivals(from, to, common.now, &mut common.random);
        if let Some(&at) = arrivals.first() {
            let what = Happening::Copy {
                from,
                transfer,
                ask,
            };
            common.agenda.add(
                at,
                Event::Node {
                    node: to,
                    life,
                    what,
                },
            );
        }
    }

    /// The other side did not answer in time.
    pub(super) fn copy_late(&mut self, transfer: u64, attempt: u64, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get_mut(&transfer) else {
            return;
        };
        if outgoing.asked != attempt {
            return;
        }
        outgoing.failures += 1;
        if outgoing.failures > ATTEMPTS_MAX {
            return self.end_copy(transfer, false, common);
        }
        sometimes("a copy was resumed after a broken connection");
        self.begin_copy(transfer, common);
    }

    pub(super) fn told(&mut self, transfer: u64, told: &Told, common: &mut Common) {
        let Some(outgoing) = self.copies.outgoing.get(&transfer) else {
            return;
        };
        let shard = outgoing.shard;
        let ask = match told {
            Told::Missing(Some((file, offset))) => {
                let Ok(bytes) = outgoing.export.read(*file, *offset, CHUNK_BYTES) else {
                    return self.end_copy(transfer, false, common);
                };
                CopyAsk::Chunk {
                    shard,
                    file: *file,
                    offset: *offset,
                    bytes: bytes.into(),
                }
            }
            Told::Missing(None) => CopyAsk::End {
                shard,
                message: outgoing.message.clone(),
            },
            Told::Reached => return self.end_copy(transfer, true, common),
            Told::Refused => return self.end_copy(transfer, false, common),
        };
        self.ask(transfer, ask, common);
    }

    fn end_copy(&mut self, transfer: u64, arrived: bool, common: &mut Common) {
        let Some(Outgoing { shard, to, .. }) = self.copies.outgoing.remove(&transfer) else {
            return;
        };
        if !arrived {
            sometimes("a copy was given up");
        }
        self.step(shard, Input::SnapshotSent { to, arrived }, common);
    }

    /// Takes in what another node sends, and answers.
    pub(super) fn take_copy(
        &mut self,
        from: u64,
        transfer: u64,
        ask: CopyAsk,
        common: &mut Common,
    ) {
        let taken = match ask {
            CopyAsk::Begin {
                shard,
                snapshot,
                segments,
            } => self.begin_import(shard, snapshot, segments),
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => self.chunk(shard, file, offset, &bytes),
            CopyAsk::End { shard, message } => self.end_import(shard).map(|()| {
                self.peer(shard, message, common);
                Told::Reached
            }),
        };
        let told = taken.unwrap_or_else(|error| {
            if matches!(error, Error::Failed { .. } | Error::Io { .. }) {
                self.fail(format!("a copy: {error}"), true);
            }
            Told::Refused
        });
        let Some(&life) = common.lives.get(&from) else {
            return;
        };
        let node = self.node;
        let arrivals = common
            .network
            .arrivals(node, from, common.now, &mut common.random);
        if let Some(&at) = arrivals.first() {
            let at = at + common.random.spread(200) * self.slowness;
            let what = Happening::Told { transfer, told };
            common.agenda.add(
                at,
                Event::Node {
                    node: from,
                    life,
                    what,
                },
            );
        }
    }

    fn begin_import(
        &mut self,
        shard: u16,
        snapshot: SnapshotInfo,
        segments: Vec<SegmentInfo>,
    ) -> Result<Told, Error> {
        let known = self.copies.coming.get(&shard);
        if known.is_none_or(|known| known.snapshot != snapshot || known.segments != segments) {
            self.copies.coming.remove(&shard);
            let import = self.store.begin_import(shard, snapshot, segments.clone())?;
            let coming = Coming {
                snapshot,
                segments,
                import,
            };
            self.copies.coming.insert(shard, coming);
        }
        Ok(self.missing(shard))
    }

    fn missing(&self, shard: u16) -> Told {
        match self.copies.coming.get(&shard) {
            Some(coming) => Told::Missing(coming.import.missing()),
            None => Told::Refused,
        }
    }

    fn chunk(
        &mut self,
        shard: u16,
        file: ExportedFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Told, Error> {
        if let Some(coming) = self.copies.coming.get_mut(&shard)
            && coming.import.missing() == Some((file, offset))
        {
            coming.import.write(file, offset, bytes)?;
        }
        Ok(self.missing(shard))
    }

    fn end_import(&mut self, shard: u16) -> Result<(), Error> {
        let nothing = Error::Missing { shard, index: 0 };
        let coming = self.copies.coming.remove(&shard).ok_or(nothing)?;
        let imported = coming.import.finish()?;
        if let Some(unused) = self.copies.arrived.insert(shard, imported) {
            self.store.discard_import(shard, &unused);
        }
        Ok(())
    }

    /// What was to be done after all appends before it.
    pub(super) fn incoming(&mut self, incoming: Incoming, common: &mut Common) {
        match incoming {
            Incoming::Install { shard, place } => {
                if let Err(error) = self.install(shard, place, common) {
                    let full = matches!(error, open::OpeningError::Log(Error::NoSpace { .. }));
                    let dead = matches!(
                        error,
                        open::OpeningError::Log(Error::Failed { .. } | Error::Io { .. })
                    );
                    if !(full || dead || self.damaged) {
                        let text = format!("node {}: installing: {error}", self.node);
                        common.checks.fail(text);
                    }
                    self.fail(format!("a copy of shard {shard}: {error}"), dead);
                }
            }
            Incoming::Forget { shard } => match self.store.forget(shard) {
                Ok(()) => {
                    sometimes("a removed replica was forgotten");
                    self.forgotten.insert(shard);
                    common.checks.leaving.remove(&(self.node, shard));
                    common.checks.durable.remove(&(self.node, shard));
                }
                Err(Error::NoSpace { .. }) => {}
                Err(error) => self.fail(format!("forgetting shard {shard}: {error}"), true),
            },
        }
    }

    fn install(
        &mut self,
        shard: u16,
        place: Place,
        common: &mut Common,
    ) -> Result<(), open::OpeningError> {
        let missing = |text: &str| open::OpeningError::Damaged(text.to_owned());
        let imported = self.copies.arrived.remove(&shard);
        let imported = imported.ok_or_else(|| missing("the copy is not here"))?;
        if (imported.snapshot.index, imported.snapshot.term) != (place.index, place.term) {
            return Err(missing("the copy is another one"));
        }
        self.store.install(shard, &imported)?;
        common.checks.installed(self.node, shard, place);
        let found = open::snapshot(&self.reader, shard)?;
        let (image, _) = found.ok_or_else(|| missing("the copy has vanished"))?;
        self.note_install(shard, common);
        let node = self.node;
        common.trace.say(common.now, || {
            format!("node {node} shard {shard} has installed {place:?}")
        });
        let stamp = image.shard.now().now;
        let input = Input::Installed {
            place,
            membership: image.membership,
            shard: Box::new(image.shard),
        };
        if let Some(hosted) = self.hosted.get_mut(&shard) {
            hosted.view = LogView::new(place.index, place.term);
            hosted.applied = place.index;
            hosted.time.follow(stamp, &self.clock, common.now);
        }
        self.step(shard, input, common);
        Ok(())
    }

    fn note_install(&self, shard: u16, common: &Common) {
        sometimes("a snapshot was installed");
        if self
            .hosted
            .get(&shard)
            .is_some_and(|hosted| hosted.replica.applied().index > 0)
        {
            sometimes("a snapshot was installed over an older state");
        }
        if self.forgotten.contains(&shard) {
            sometimes("a node that was forgotten came again");
        }
        if !common.led.contains_key(&shard) {
            sometimes("a snapshot was installed while its shard had no leader");
        }
    }
}
