//! Sending copies.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_broker::id::ShardId;
use anser_host::{COPY_INTERVAL, COPY_PATIENCE, CopyAnswer, Next, Sending};
use anser_log::{Export, ExportedFile, FileSystem};
use tokio::sync::{Mutex, mpsc::UnboundedReceiver};
use tracing::{info, warn};

use super::{CHUNK_BYTES, MessageBytes, file_of, file_said};
use crate::{
    cluster::{
        peers::Cluster,
        words::{Ask, CopyAsk, Offer, OfferedSegment, OfferedSnapshot, Told},
    },
    event::HostEvent,
    inboxes::Inboxes,
    status::{Counters, add},
};

pub(crate) struct Outgoing {
    pub(super) shard: ShardId,
    pub(super) to: u64,
    /// `None`: a newer offer has taken its place.
    pub(super) export: Option<Arc<Export<FileSystem>>>,
    pub(super) message: MessageBytes,
    pub(super) sending: Sending,
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
            let sent = send(&cluster, &pace, &counters, copy).await.transpose();
            let arrived = matches!(sent, Some(Ok(_)));
            let copies = &counters.copies;
            add(
                if arrived {
                    &copies.sent
                } else {
                    &copies.failed
                },
                1,
            );
            let millis = begun.elapsed().as_millis();
            match sent {
                None => return info!(shard = shard.0, to, "a copy is of no interest any more"),
                Some(Ok(bytes)) => info!(shard = shard.0, to, bytes, millis, "a copy was sent"),
                Some(Err(reason)) => {
                    warn!(shard = shard.0, to, %reason, "a copy could not be sent");
                }
            }
            let sent = HostEvent::SnapshotSent { shard, to, arrived };
            drop(inboxes.of(shard).send(sent.into()));
        });
    }
}

/// The bytes that were sent; `None` if the copy is of no interest any more.
async fn send(
    cluster: &Cluster,
    pace: &Pace,
    counters: &Counters,
    copy: Outgoing,
) -> Result<Option<u64>, String> {
    let export = copy.export.ok_or("it is no longer offered")?;
    let shard = copy.shard.0;
    let mut sending = copy.sending;
    let mut next = Next::Begin;
    let mut sent = 0;
    loop {
        let ask = match next {
            Next::Begin => begin(shard, &export),
            Next::BeginAgain => {
                tokio::time::sleep(COPY_INTERVAL).await;
                begin(shard, &export)
            }
            Next::Chunk(file, offset) => {
                let bytes = read(&export, file, offset).await?;
                pace.wait(bytes.len()).await;
                sent += bytes.len() as u64;
                add(&counters.copies.sent_bytes, bytes.len() as u64);
                Ask::Copy(CopyAsk::Chunk {
                    shard,
                    file: file_said(file),
                    offset,
                    bytes: bytes.into(),
                })
            }
            Next::End => Ask::Copy(CopyAsk::End {
                shard,
                message: copy.message.clone(),
            }),
            Next::Arrived => return Ok(Some(sent)),
            Next::GivenUp(reason) => return Err(reason),
            Next::Dropped => return Ok(None),
        };
        next = sending.heard(answer(cluster, copy.to, &ask).await);
    }
}

/// What the other side says; its disk may hang.
async fn answer(cluster: &Cluster, to: u64, ask: &Ask) -> Result<CopyAnswer, String> {
    let told = async {
        match ask {
            Ask::Copy(CopyAsk::Chunk { .. }) => cluster.ask_bulk(to, ask).await,
            _ => cluster.ask(to, ask).await,
        }
    };
    let told = tokio::time::timeout(COPY_PATIENCE, told).await;
    let told = told.map_err(|_| String::from("it did not answer"))?;
    told.map(answer_of).map_err(|error| error.to_string())
}

fn begin(shard: u16, export: &Export<FileSystem>) -> Ask {
    let offer = offer_said(&anser_host::offer_of(export));
    Ask::Copy(CopyAsk::Begin { shard, offer })
}

fn answer_of(told: Told) -> CopyAnswer {
    match told {
        Told::CopyMissing(missing) => {
            CopyAnswer::Missing(missing.map(|(file, offset)| (file_of(file), offset)))
        }
        Told::Reached => CopyAnswer::Reached,
        Told::CopyRefused(reason) => CopyAnswer::Refused(reason),
        _ => CopyAnswer::Refused("the other side did not understand".into()),
    }
}

/// Reading waits for the disk and is not done on the thread that serves the others.
async fn read(
    export: &Arc<Export<FileSystem>>,
    file: ExportedFile,
    offset: u64,
) -> Result<Vec<u8>, String> {
    let export = Arc::clone(export);
    let read = tokio::task::spawn_blocking(move || export.read(file, offset, CHUNK_BYTES));
    let read = read.await.map_err(|error| error.to_string())?;
    read.map_err(|error| error.to_string())
}

fn offer_said(offer: &anser_host::Offer) -> Offer {
    let snapshot = offer.snapshot;
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
        segments: offer.segments.iter().map(segment).collect(),
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
