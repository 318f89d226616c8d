//! Sending copies.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anser_broker::id::ShardId;
use anser_log::{Export, ExportedFile, FileSystem};
use tokio::sync::{Mutex, mpsc::UnboundedReceiver};
use tracing::{info, warn};

use super::{CHUNK_BYTES, MessageBytes};
use crate::{
    cluster::{
        peers::Cluster,
        words::{Ask, CopyAsk, CopyFile, Offer, OfferedSegment, OfferedSnapshot, Told},
    },
    event::HostEvent,
    inboxes::Inboxes,
    status::{Counters, add},
};

/// Attempts to reach the other side before the copy is given up; the replica asks again.
const ATTEMPTS_MAX: u32 = 20;
const RETRY_INTERVAL: Duration = Duration::from_millis(250);

pub(crate) struct Outgoing {
    pub(super) shard: ShardId,
    pub(super) to: u64,
    /// `None`: a newer offer has taken its place.
    pub(super) export: Option<Arc<Export<FileSystem>>>,
    pub(super) message: MessageBytes,
    /// False once whoever sends has nothing more to say to the receiver.
    pub(super) wanted: Arc<AtomicBool>,
}

/// Sends copies until nobody can ask for any.
pub(crate) async fn send_all(
    cluster: Arc<Cluster>,
    inboxes: Inboxes,
    counters: Arc<Counters>,
    bytes_per_second: u64,
    mut copies: UnboundedReceiver<Outgoing>,
) {
    let pace = Arc::new(Pace::new(bytes_per_second));
    while let Some(copy) = copies.recv().await {
        let (cluster, pace) = (Arc::clone(&cluster), Arc::clone(&pace));
        let (inboxes, counters) = (inboxes.clone(), Arc::clone(&counters));
        tokio::task::spawn_local(async move {
            let (shard, to) = (copy.shard, copy.to);
            let begun = Instant::now();
            add(&counters.copies.begun, 1);
            let sent = send(&cluster, &pace, &counters, copy).await;
            let ended = match sent {
                Ok(_) => &counters.copies.sent,
                Err(_) => &counters.copies.failed,
            };
            add(ended, 1);
            match &sent {
                Ok(bytes) => info!(
                    shard = shard.0,
                    to,
                    bytes,
                    millis = begun.elapsed().as_millis(),
                    "a copy was sent"
                ),
                Err(reason) => warn!(shard = shard.0, to, %reason, "a copy could not be sent"),
            }
            let arrived = sent.is_ok();
            let sent = HostEvent::SnapshotSent { shard, to, arrived };
            drop(inboxes.of(shard).send(sent.into()));
        });
    }
}

async fn send(
    cluster: &Cluster,
    pace: &Pace,
    counters: &Counters,
    copy: Outgoing,
) -> Result<u64, String> {
    let export = copy.export.ok_or("it is no longer offered")?;
    let shard = copy.shard.0;
    let mut sent = 0;
    let begin = Ask::Copy(CopyAsk::Begin {
        shard,
        offer: offer_of(&export),
    });
    let mut ask = begin;
    let mut failures = 0;
    loop {
        if !copy.wanted.load(Ordering::Relaxed) {
            return Err("it is no longer wanted".into());
        }
        let told = match &ask {
            Ask::Copy(CopyAsk::Chunk { .. }) => cluster.ask_bulk(copy.to, &ask).await,
            _ => cluster.ask(copy.to, &ask).await,
        };
        let told = match told {
            Ok(told) => told,
            Err(_) if failures < ATTEMPTS_MAX => {
                failures += 1;
                tokio::time::sleep(RETRY_INTERVAL).await;
                // What has arrived is still there.
                ask = Ask::Copy(CopyAsk::Begin {
                    shard,
                    offer: offer_of(&export),
                });
                continue;
            }
            Err(error) => return Err(error.to_string()),
        };
        ask = match told {
            Told::CopyMissing(Some((file, offset))) => {
                let bytes = read(&export, file, offset).await?;
                pace.wait(bytes.len()).await;
                sent += bytes.len() as u64;
                add(&counters.copies.sent_bytes, bytes.len() as u64);
                Ask::Copy(CopyAsk::Chunk {
                    shard,
                    file,
                    offset,
                    bytes: bytes.into(),
                })
            }
            Told::CopyMissing(None) => Ask::Copy(CopyAsk::End {
                shard,
                message: copy.message.clone(),
            }),
            Told::Reached => return Ok(sent),
            Told::CopyRefused(reason) => return Err(reason),
            _ => return Err("the other side did not understand".into()),
        };
    }
}

/// Reading waits for the disk and is not done on the thread that serves the others.
async fn read(
    export: &Arc<Export<FileSystem>>,
    file: CopyFile,
    offset: u64,
) -> Result<Vec<u8>, String> {
    let export = Arc::clone(export);
    let file = match file {
        CopyFile::Snapshot => ExportedFile::Snapshot,
        CopyFile::Segment(id) => ExportedFile::Segment(id),
    };
    let read = tokio::task::spawn_blocking(move || export.read(file, offset, CHUNK_BYTES));
    let read = read.await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

fn offer_of(export: &Export<FileSystem>) -> Offer {
    let snapshot = export.snapshot;
    let segment = |info: &anser_log::SegmentInfo| OfferedSegment {
        id: info.id,
        first_index: info.first_index,
        last_index: info.last_index,
        bytes: info.bytes,
        records: info.records,
    };
    Offer {
        snapshot: OfferedSnapshot {
            index: snapshot.index,
            term: snapshot.term,
            bytes: snapshot.bytes,
            id: snapshot.id,
            checksum: snapshot.checksum,
        },
        segments: export.segments.iter().map(segment).collect(),
    }
}

/// Keeps all copies together below a rate.
struct Pace {
    bytes_per_second: u64,
    free_at: Mutex<Instant>,
}

impl Pace {
    fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            free_at: Mutex::new(Instant::now()),
        }
    }

    async fn wait(&self, bytes: usize) {
        let mut free_at = self.free_at.lock().await;
        let now = Instant::now();
        let start = (*free_at).max(now);
        let nanos = (bytes as u128 * 1_000_000_000) / u128::from(self.bytes_per_second);
        *free_at = start + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        drop(free_at);
        tokio::time::sleep_until(start.into()).await;
    }
}
