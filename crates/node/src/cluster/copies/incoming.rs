//! The thread that takes in copies.

use std::{
    collections::BTreeMap,
    io::{self, Read},
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use anser_broker::id::ShardId;
use anser_log::{
    ExportedFile, FileSystem, Import, Imported, Reader, SegmentInfo, SnapshotInfo, Store,
};
use anser_replica::{PeerMessage, Place, SnapshotError, read_snapshot};
use bytes::Bytes;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::{
    cluster::words::{CopyAsk, CopyFile, Offer, OfferedSegment, Told},
    event::{Event, HostEvent},
    failure::Failed,
    inboxes::Inboxes,
    status::{Counters, add},
};

/// How long to leave alone what could not be done.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) enum Job {
    Take {
        from: u64,
        ask: CopyAsk,
        told: oneshot::Sender<Told>,
    },
    Install {
        shard: ShardId,
        place: Place,
    },
    /// What could not be done for lack of space.
    InstallAgain {
        shard: ShardId,
    },
    Forget {
        shard: ShardId,
        floor: u64,
    },
    Stop,
}

pub(crate) struct Incoming {
    store: Store<FileSystem>,
    reader: Reader<FileSystem>,
    inboxes: Inboxes,
    counters: Arc<Counters>,
    failed: Failed,
    coming: BTreeMap<u16, Coming>,
    /// The last copy of each shard that came as a whole: whose, and what. It is staged, or the replica
    /// has it or a newer one.
    ended: BTreeMap<u16, (u64, Offer)>,
    /// Complete, until the replica accepts them.
    arrived: BTreeMap<(u16, u64), Imported>,
    /// Accepted copies that wait for space on the disk.
    waiting: BTreeMap<ShardId, Place>,
    /// How this thread gives itself what it has to try again.
    itself: mpsc::Sender<Job>,
}

struct Coming {
    from: u64,
    offer: Offer,
    import: Import<FileSystem>,
}

impl Incoming {
    pub(crate) fn new(
        store: Store<FileSystem>,
        reader: Reader<FileSystem>,
        inboxes: Inboxes,
        counters: Arc<Counters>,
        failed: Failed,
        itself: mpsc::Sender<Job>,
    ) -> Self {
        Self {
            store,
            reader,
            inboxes,
            counters,
            failed,
            coming: BTreeMap::new(),
            ended: BTreeMap::new(),
            arrived: BTreeMap::new(),
            waiting: BTreeMap::new(),
            itself,
        }
    }

    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Take { from, ask, told } => {
                    let answer = self.take(from, ask);
                    // Whoever sends begins again if it hears nothing.
                    drop(told.send(answer));
                }
                Job::Install { shard, place } => {
                    self.waiting.insert(shard, place);
                    if self.install_waiting(shard).is_err() {
                        return;
                    }
                }
                Job::InstallAgain { shard } => {
                    if self.install_waiting(shard).is_err() {
                        return;
                    }
                }
                Job::Forget { shard, floor } => self.forget(shard, floor),
                Job::Stop => return,
            }
        }
    }

    /// Makes the accepted copy of a shard part of the log, if it was not forgotten meanwhile. An error stops the node.
    fn install_waiting(&mut self, shard: ShardId) -> Result<(), ()> {
        let Some(&place) = self.waiting.get(&shard) else {
            return Ok(());
        };
        match self.install(shard, place) {
            Ok(()) => {
                self.waiting.remove(&shard);
                Ok(())
            }
            Err(InstallError::Log(anser_log::Error::NoSpace { .. })) => {
                warn!(shard = shard.0, "a copy waits for space on the disk");
                self.again(Job::InstallAgain { shard });
                Ok(())
            }
            Err(reason) => {
                error!(shard = shard.0, %reason, "a copy could not be made part of the log");
                self.failed
                    .set(format!("a copy of shard {}: {reason}", shard.0));
                Err(())
            }
        }
    }

    /// Takes a shard off the disk. Copies of it that have come are of a time when it was here.
    fn forget(&mut self, shard: ShardId, floor: u64) {
        self.waiting.remove(&shard);
        if let Err(reason) = self.store.forget(shard.0, floor) {
            warn!(shard = shard.0, %reason, "a replica that moved away is still on the disk");
            return self.again(Job::Forget { shard, floor });
        }
        self.ended.remove(&shard.0);
        self.coming.remove(&shard.0);
        self.discard_older(shard.0, u64::MAX);
        // A runner that is gone begins nothing anew.
        let forgot = HostEvent::Forgot { shard };
        drop(self.inboxes.of(shard).send(forgot.into()));
    }

    /// Puts a job behind all others, after a pause.
    fn again(&self, job: Job) {
        thread::sleep(RETRY_INTERVAL);
        drop(self.itself.send(job));
    }

    fn take(&mut self, from: u64, ask: CopyAsk) -> Told {
        let taken = match ask {
            CopyAsk::Begin { shard, offer } => self.begin(from, shard, offer),
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => self.chunk(from, shard, file, offset, &bytes),
            CopyAsk::End { shard, message } => self.end(from, shard, &message).map(|()| {
                let shard = ShardId(shard);
                drop(self.inboxes.of(shard).send(Event::Peer { shard, message }));
                Told::Reached
            }),
        };
        taken.unwrap_or_else(Told::CopyRefused)
    }

    fn begin(&mut self, from: u64, shard: u16, offer: Offer) -> Result<Told, String> {
        let ended = self.ended.get(&shard);
        if ended.is_some_and(|(of, ended)| *of == from && *ended == offer) {
            // Whoever sends did not hear that it has arrived.
            return Ok(Told::CopyMissing(None));
        }
        let (snapshot, segments) = files_of(&offer);
        let import = match self.coming.remove(&shard) {
            Some(known) if known.from == from && known.offer == offer => Ok(known.import),
            // Numbers of segments say something only on the disk that they come from.
            Some(known) if known.from == from => {
                add(&self.counters.copies.renewed, 1);
                known.import.renew(snapshot, &segments)
            }
            _ => self.store.begin_import(shard, snapshot, segments),
        };
        let coming = Coming {
            from,
            offer,
            import: import.map_err(|error| error.to_string())?,
        };
        let told = missing(&coming.import);
        self.coming.insert(shard, coming);
        Ok(told)
    }

    fn chunk(
        &mut self,
        from: u64,
        shard: u16,
        file: CopyFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Told, String> {
        let coming = self.coming.get_mut(&shard);
        let coming = coming.filter(|coming| coming.from == from);
        let import = &mut coming.ok_or("no copy was begun")?.import;
        let file = match file {
            CopyFile::Snapshot => ExportedFile::Snapshot,
            CopyFile::Segment(id) => ExportedFile::Segment(id),
        };
        if import.missing() == Some((file, offset)) {
            add(&self.counters.copied_bytes, bytes.len() as u64);
            if let Err(reason) = import.write(file, offset, bytes) {
                warn!(shard, %reason, "a part of a copy is not usable");
                return Err(reason.to_string());
            }
        }
        Ok(missing(import))
    }

    /// Takes what has come as a whole, if it is what the message announces. What comes from elsewhere meanwhile is
    /// left alone.
    fn end(&mut self, from: u64, shard: u16, message: &Bytes) -> Result<(), String> {
        let message = PeerMessage::decode(message.clone()).map_err(|error| error.to_string())?;
        let announced = message.snapshot().ok_or("no snapshot is announced")?;
        let is_meant = |of: u64, offer: &Offer| of == from && place_of(offer) == announced;
        let is_whole = |coming: &Coming| {
            is_meant(coming.from, &coming.offer) && coming.import.missing().is_none()
        };
        if !self.coming.get(&shard).is_some_and(is_whole) {
            let ended = self.ended.get(&shard);
            let is_here = ended.is_some_and(|(of, offer)| is_meant(*of, offer));
            return if is_here {
                Ok(())
            } else {
                Err("no copy was begun".into())
            };
        }
        let coming = self.coming.remove(&shard).expect("it was just seen");
        let imported = coming.import.finish().map_err(|error| error.to_string())?;
        self.ended.insert(shard, (from, coming.offer));
        let place = (shard, imported.snapshot.index);
        if let Some(unused) = self.arrived.insert(place, imported) {
            self.store.discard_import(shard, &unused);
        }
        Ok(())
    }

    fn install(&mut self, shard: ShardId, place: Place) -> Result<(), InstallError> {
        let number = shard.0;
        let imported = self.arrived.get(&(number, place.index));
        let imported = imported.ok_or(InstallError::Missing)?;
        if imported.snapshot.term != place.term {
            return Err(InstallError::Missing);
        }
        self.store.install(number, imported)?;
        add(&self.counters.copies.installed, 1);
        self.discard_older(number, place.index);
        let (_, mut snapshot) = self.reader.snapshot(number)?.ok_or(InstallError::Missing)?;
        let mut bytes = Vec::new();
        snapshot.read_to_end(&mut bytes)?;
        let image = read_snapshot(&bytes)?;
        let event = HostEvent::Installed {
            shard,
            place,
            membership: image.membership,
            state: Box::new(image.shard),
        };
        // A runner that is gone needs no state.
        drop(self.inboxes.of(shard).send(event.into()));
        Ok(())
    }

    /// Removes what was not accepted before the copy at this index.
    fn discard_older(&mut self, shard: u16, installed: u64) {
        self.arrived.remove(&(shard, installed));
        let newer = self.arrived.split_off(&(shard, installed));
        let (older, kept) = std::mem::replace(&mut self.arrived, newer)
            .into_iter()
            .partition::<Vec<_>, _>(|((number, _), _)| *number == shard);
        for (_, unused) in older {
            self.store.discard_import(shard, &unused);
        }
        self.arrived.extend(kept);
    }
}

fn place_of(offer: &Offer) -> Place {
    Place {
        index: offer.snapshot.index,
        term: offer.snapshot.term,
    }
}

fn files_of(offer: &Offer) -> (SnapshotInfo, Vec<SegmentInfo>) {
    let snapshot = SnapshotInfo {
        index: offer.snapshot.index,
        term: offer.snapshot.term,
        bytes: offer.snapshot.bytes,
        id: offer.snapshot.id,
        checksum: offer.snapshot.checksum,
    };
    let segment = |info: &OfferedSegment| SegmentInfo {
        id: info.id,
        first_index: info.first_index,
        last_index: info.last_index,
        bytes: info.bytes,
        records: info.records,
    };
    (snapshot, offer.segments.iter().map(segment).collect())
}

fn missing(import: &Import<FileSystem>) -> Told {
    Told::CopyMissing(import.missing().map(|(file, offset)| {
        let file = match file {
            ExportedFile::Snapshot => CopyFile::Snapshot,
            ExportedFile::Segment(id) => CopyFile::Segment(id),
        };
        (file, offset)
    }))
}

/// Why an accepted copy is not part of the log.
#[derive(Debug, thiserror::Error)]
enum InstallError {
    #[error("it is not here")]
    Missing,
    #[error(transparent)]
    Log(#[from] anser_log::Error),
    #[error("it cannot be read back: {0}")]
    Unreadable(#[from] io::Error),
    #[error(transparent)]
    State(#[from] SnapshotError),
}
