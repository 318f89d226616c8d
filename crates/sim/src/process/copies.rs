//! Copies of shards on their way from node to node, as `anser-node`'s `cluster/copies` does it.

use std::{collections::BTreeMap, rc::Rc};

use anser_broker::id::ShardId;
use anser_host::{Deferred, Event as HostEvent, ReadError};
use anser_log::{
    Error, Export, ExportedFile, Import, Imported, SegmentInfo, SnapshotInfo,
    disk::simulated::SimulatedDisk,
};
use anser_replica::{PeerMessage, Place};
use bytes::Bytes;

use super::{Process, maintenance::since_the_beginning};
use crate::{
    checks::LogView,
    coverage::sometimes,
    event::{CopyAsk, Event, Happening, MILLISECOND, Told},
    planted::is_planted,
    world::Common,
};

/// Attempts to reach the other side before a copy is given up.
const ATTEMPTS_MAX: u64 = 20;
const RETRY_INTERVAL: u64 = 250 * MILLISECOND;
const CHUNK_BYTES: usize = 8 << 10;
/// Of one copy in five: so slow that much is written while it is on its way.
const SLOW_CHUNK_BYTES: usize = 512;
const SLOW_PAUSE: u64 = 100 * MILLISECOND;

#[derive(Default)]
pub(super) struct Copies {
    /// What can be sent: the newest offer of each shard.
    pub(super) offers: BTreeMap<u16, Rc<Export<SimulatedDisk>>>,
    outgoing: BTreeMap<u64, Outgoing>,
    counted: u64,
    coming: BTreeMap<u16, Coming>,
    /// The last copy of each shard that came as a whole: whose, and what.
    ended: BTreeMap<u16, (u64, Offer)>,
    /// Complete, until the replica accepts them.
    arrived: BTreeMap<(u16, u64), Imported>,
}

struct Outgoing {
    shard: u16,
    to: u64,
    export: Rc<Export<SimulatedDisk>>,
    message: Bytes,
    failures: u64,
    /// Counts the questions, so that an old timeout is known.
    asked: u64,
    is_slow: bool,
}

type Offer = (SnapshotInfo, Vec<SegmentInfo>);

struct Coming {
    from: u64,
    offer: Offer,
    import: Import<SimulatedDisk>,
}

impl Copies {
    fn coming_from(&mut self, from: u64, shard: u16) -> Option<&mut Coming> {
        let coming = self.coming.get_mut(&shard);
        coming.filter(|coming| coming.from == from)
    }

    /// Whether the last copy that came as a whole is this node's, and such a one.
    fn has_ended(&self, from: u64, shard: u16, is_such: impl Fn(&Offer) -> bool) -> bool {
        let ended = self.ended.get(&shard);
        ended.is_some_and(|(of, ended)| *of == from && is_such(ended))
    }
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
            return self.copy_ended(shard, to, false, common);
        };
        let mut bytes = Vec::new();
        message.encode(&mut bytes);
        let holds = &mut self.maintenance.holds;
        holds.copying(shard, to, place.index, since_the_beginning(common));
        self.copies.counted += 1;
        let transfer = self.copies.counted;
        let outgoing = Outgoing {
            shard,
            to,
            export,
            message: bytes.into(),
            failures: 0,
            asked: 0,
            is_slow: common.random.permille(200),
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
        let pause = if outgoing.is_slow { SLOW_PAUSE } else { 0 };
        let late = Happening::CopyLate { transfer, attempt };
        common.later(
            self.node,
            self.life,
            pause + RETRY_INTERVAL + 500 * MILLISECOND,
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
                at + pause,
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
                let most = if outgoing.is_slow {
                    SLOW_CHUNK_BYTES
                } else {
                    CHUNK_BYTES
                };
                let Ok(bytes) = outgoing.export.read(*file, *offset, most) else {
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

    /// Breaks off the copies of a shard, but for those to nodes that `stay`.
    pub(super) fn end_copies(
        &mut self,
        shard: u16,
        stay: impl Fn(u64) -> bool,
        common: &mut Common,
    ) {
        let outgoing = self.copies.outgoing.iter();
        let ended = outgoing.filter(|(_, copy)| copy.shard == shard && !stay(copy.to));
        let ended: Vec<u64> = ended.map(|(&transfer, _)| transfer).collect();
        for transfer in ended {
            self.end_copy(transfer, false, common);
        }
    }

    fn end_copy(&mut self, transfer: u64, arrived: bool, common: &mut Common) {
        let Some(Outgoing { shard, to, .. }) = self.copies.outgoing.remove(&transfer) else {
            return;
        };
        if !arrived {
            sometimes("a copy was given up");
        }
        self.copy_ended(shard, to, arrived, common);
    }

    fn copy_ended(&mut self, shard: u16, to: u64, arrived: bool, common: &mut Common) {
        let shard = ShardId(shard);
        self.tell(HostEvent::SnapshotSent { shard, to, arrived }, common);
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
            } => self.begin_import(from, shard, (snapshot, segments)),
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => self.chunk(from, shard, file, offset, &bytes),
            CopyAsk::End { shard, message } => self.end_import(from, shard, &message).map(|()| {
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

    fn begin_import(&mut self, from: u64, shard: u16, offer: Offer) -> Result<Told, Error> {
        if self.copies.has_ended(from, shard, |ended| *ended == offer) {
            sometimes("a copy that had arrived did not come again");
            return Ok(Told::Missing(None));
        }
        let (snapshot, segments) = offer.clone();
        let import = match self.copies.coming.remove(&shard) {
            Some(known) if known.from == from && known.offer == offer => known.import,
            Some(known) if known.from == from => {
                let renewed = known.import.renew(snapshot, &segments)?;
                let fresh = self.store.begin_import(shard, snapshot, segments)?;
                if renewed.missing_bytes() < fresh.missing_bytes() {
                    sometimes("a newer copy went on with the segments of one that was broken off");
                }
                renewed
            }
            _ => self.store.begin_import(shard, snapshot, segments)?,
        };
        let coming = Coming {
            from,
            offer,
            import,
        };
        let told = Told::Missing(coming.import.missing());
        self.copies.coming.insert(shard, coming);
        Ok(told)
    }

    fn chunk(
        &mut self,
        from: u64,
        shard: u16,
        file: ExportedFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Told, Error> {
        let Some(coming) = self.copies.coming_from(from, shard) else {
            return Ok(Told::Refused);
        };
        if coming.import.missing() == Some((file, offset)) {
            coming.import.write(file, offset, bytes)?;
        }
        Ok(Told::Missing(coming.import.missing()))
    }

    fn end_import(&mut self, from: u64, shard: u16, message: &Bytes) -> Result<(), Error> {
        let message = PeerMessage::decode(message.clone()).ok();
        let announced = message.and_then(|message| message.snapshot());
        let is_meant = |(snapshot, _): &Offer| announced.is_some_and(|place| at(place, snapshot));
        let coming = self.copies.coming_from(from, shard);
        if coming.is_none_or(|coming| !is_meant(&coming.offer) || coming.import.missing().is_some())
        {
            let is_here = self.copies.has_ended(from, shard, is_meant);
            return is_here
                .then_some(())
                .ok_or(Error::Missing { shard, index: 0 });
        }
        let coming = self.copies.coming.remove(&shard).expect("just seen");
        let imported = coming.import.finish()?;
        self.copies.ended.insert(shard, (from, coming.offer));
        let place = (shard, imported.snapshot.index);
        if let Some(unused) = self.copies.arrived.insert(place, imported) {
            self.store.discard_import(shard, &unused);
        }
        Ok(())
    }

    /// What was to be done after all appends before it.
    pub(super) fn deferred(&mut self, deferred: Deferred, common: &mut Common) {
        match deferred {
            Deferred::Install { shard, place } => {
                let shard = shard.0;
                if let Err(error) = self.install(shard, place, common) {
                    let full = matches!(error, InstallError::Log(Error::NoSpace { .. }));
                    let dead = matches!(
                        error,
                        InstallError::Log(Error::Failed { .. } | Error::Io { .. })
                    );
                    if !(full || dead || self.damaged) {
                        let text = format!("node {}: installing: {error:?}", self.node);
                        common.checks.fail(text);
                    }
                    self.fail(format!("a copy of shard {shard}: {error:?}"), dead);
                }
            }
            Deferred::Forget { shard, floor } => match self.store.forget(shard.0, floor) {
                Ok(()) => {
                    let shard = shard.0;
                    sometimes("a removed replica was forgotten");
                    self.copies.ended.remove(&shard);
                    self.forgotten.insert(shard);
                    self.discard_older(shard, u64::MAX);
                    common.checks.forgotten(self.node, shard);
                    let shard = ShardId(shard);
                    self.tell(HostEvent::Forgot { shard }, common);
                }
                Err(Error::NoSpace { .. }) => {}
                Err(error) => self.fail(format!("forgetting shard {}: {error}", shard.0), true),
            },
        }
    }

    fn install(
        &mut self,
        shard: u16,
        place: Place,
        common: &mut Common,
    ) -> Result<(), InstallError> {
        let imported = self.copies.arrived.remove(&(shard, place.index));
        let imported = imported.ok_or(InstallError::Missing)?;
        if !at(place, &imported.snapshot) {
            return Err(InstallError::Missing);
        }
        self.store.install(shard, &imported)?;
        self.discard_older(shard, place.index);
        common.checks.installed(self.node, shard, place);
        let found = anser_host::read(&self.reader, shard).map_err(|error| match error {
            ReadError::Log(error) => InstallError::Log(error),
            other => InstallError::Unreadable(other),
        })?;
        let (image, _) = found.ok_or(InstallError::Missing)?;
        self.note_install(shard, common);
        let node = self.node;
        common.trace.say(common.now, || {
            format!("node {node} shard {shard} has installed {place:?}")
        });
        if let Some(watched) = self.watched.get_mut(&shard) {
            watched.view = LogView::new(place.index, place.term);
            watched.applied = place.index;
        }
        let installed = HostEvent::Installed {
            shard: ShardId(shard),
            place,
            membership: image.membership,
            state: Box::new(image.shard),
        };
        self.tell(installed, common);
        Ok(())
    }

    /// Removes what was not accepted before the copy at this index.
    fn discard_older(&mut self, shard: u16, installed: u64) {
        let older = self.copies.arrived.range((shard, 0)..(shard, installed));
        let older: Vec<(u16, u64)> = older.map(|(&place, _)| place).collect();
        for place in older {
            if let Some(unused) = self.copies.arrived.remove(&place) {
                self.store.discard_import(shard, &unused);
            }
        }
    }

    fn note_install(&self, shard: u16, common: &Common) {
        sometimes("a snapshot was installed");
        let replica = self.replica(shard);
        if replica.is_some_and(|replica| replica.applied().index > 0) {
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

#[derive(Debug)]
enum InstallError {
    Missing,
    Log(Error),
    Unreadable(#[expect(dead_code, reason = "for whoever reads the trace")] ReadError),
}

impl From<Error> for InstallError {
    fn from(error: Error) -> Self {
        Self::Log(error)
    }
}

fn at(place: Place, snapshot: &SnapshotInfo) -> bool {
    (snapshot.index, snapshot.term) == (place.index, place.term)
}
