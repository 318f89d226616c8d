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
use anser_replica::{Place, SnapshotError, read_snapshot};
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::{
    cluster::words::{CopyAsk, CopyFile, Offer, Told},
    event::Event,
    failure::Failed,
    inboxes::Inboxes,
    status::{Counters, add},
};

/// How long to leave alone what could not be done.
const RETRY_INTERVAL: Duration = Duration::from_millis(200);

pub(crate) enum Job {
    Take {
        ask: CopyAsk,
        told: oneshot::Sender<Told>,
    },
    Install {
        shard: ShardId,
        place: Place,
    },
    Forget {
        shard: ShardId,
    },
    Stop,
}

pub(crate) struct Incoming {
    store: Store<FileSystem>,
    reader: Reader<FileSystem>,
    inboxes: Inboxes,
    counters: Arc<Counters>,
    failed: Failed,
    coming: BTreeMap<u16, (Offer, Import<FileSystem>)>,
    /// Complete, until the replica accepts them.
    arrived: BTreeMap<(u16, u64), Imported>,
    /// How this thread gives itself what it has to try again.
    itself: mpsc::Sender<Job>,
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
            arrived: BTreeMap::new(),
            itself,
        }
    }

    pub(crate) fn run(mut self, jobs: &mpsc::Receiver<Job>) {
        while let Ok(job) = jobs.recv() {
            match job {
                Job::Take { ask, told } => {
                    let answer = self.take(ask);
                    // Whoever sends begins again if it hears nothing.
                    drop(told.send(answer));
                }
                Job::Install { shard, place } => match self.install(shard, place) {
                    Ok(()) => {}
                    Err(InstallError::Log(anser_log::Error::NoSpace { .. })) => {
                        warn!(shard = shard.0, "a copy waits for space on the disk");
                        self.again(Job::Install { shard, place });
                    }
                    Err(reason) => {
                        error!(shard = shard.0, %reason, "a copy could not be made part of the log");
                        self.failed
                            .set(format!("a copy of shard {}: {reason}", shard.0));
                        return;
                    }
                },
                Job::Forget { shard } => match self.store.forget(shard.0) {
                    // A runner that is gone begins nothing anew.
                    Ok(()) => drop(self.inboxes.of(shard).send(Event::Forgot { shard })),
                    Err(reason) => {
                        warn!(shard = shard.0, %reason, "a replica that moved away is still on the disk");
                        self.again(Job::Forget { shard });
                    }
                },
                Job::Stop => return,
            }
        }
    }

    /// Puts a job behind all others, after a pause.
    fn again(&self, job: Job) {
        thread::sleep(RETRY_INTERVAL);
        drop(self.itself.send(job));
    }

    fn take(&mut self, ask: CopyAsk) -> Told {
        let taken = match ask {
            CopyAsk::Begin { shard, offer } => self.begin(shard, offer),
            CopyAsk::Chunk {
                shard,
                file,
                offset,
                bytes,
            } => self.chunk(shard, file, offset, &bytes),
            CopyAsk::End { shard, message } => self.end(shard).map(|()| {
                let shard = ShardId(shard);
                drop(self.inboxes.of(shard).send(Event::Peer { shard, message }));
                Told::Reached
            }),
        };
        taken.unwrap_or_else(Told::CopyRefused)
    }

    fn begin(&mut self, shard: u16, offer: Offer) -> Result<Told, String> {
        if self
            .coming
            .get(&shard)
            .is_none_or(|(known, _)| *known != offer)
        {
            self.coming.remove(&shard);
            let snapshot = SnapshotInfo {
                index: offer.snapshot.index,
                term: offer.snapshot.term,
                bytes: offer.snapshot.bytes,
                id: offer.snapshot.id,
                checksum: offer.snapshot.checksum,
            };
            let segment = |info: &crate::cluster::words::OfferedSegment| SegmentInfo {
                id: info.id,
                first_index: info.first_index,
                last_index: info.last_index,
                bytes: info.bytes,
                records: info.records,
            };
            let segments = offer.segments.iter().map(segment).collect();
            let import = self
                .store
                .begin_import(shard, snapshot, segments)
                .map_err(|error| error.to_string())?;
            self.coming.insert(shard, (offer, import));
        }
        self.missing(shard)
    }

    fn missing(&self, shard: u16) -> Result<Told, String> {
        let (_, import) = self.coming.get(&shard).ok_or("no copy was begun")?;
        let missing = import.missing().map(|(file, offset)| {
            let file = match file {
                ExportedFile::Snapshot => CopyFile::Snapshot,
                ExportedFile::Segment(id) => CopyFile::Segment(id),
            };
            (file, offset)
        });
        Ok(Told::CopyMissing(missing))
    }

    fn chunk(
        &mut self,
        shard: u16,
        file: CopyFile,
        offset: u64,
        bytes: &[u8],
    ) -> Result<Told, String> {
        let (_, import) = self.coming.get_mut(&shard).ok_or("no copy was begun")?;
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
        self.missing(shard)
    }

    fn end(&mut self, shard: u16) -> Result<(), String> {
        let Some((_, import)) = self.coming.remove(&shard) else {
            return Err("no copy was begun".into());
        };
        let imported = import.finish().map_err(|error| error.to_string())?;
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
        self.discard_older(number, place.index);
        let (_, mut snapshot) = self.reader.snapshot(number)?.ok_or(InstallError::Missing)?;
        let mut bytes = Vec::new();
        snapshot.read_to_end(&mut bytes)?;
        let image = read_snapshot(&bytes)?;
        let event = Event::Installed {
            shard,
            place,
            membership: image.membership,
            state: Box::new(image.shard),
        };
        // A runner that is gone needs no state.
        drop(self.inboxes.of(shard).send(event));
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
