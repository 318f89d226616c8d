//! The desk: hands requests to the shards of this node. How they get here, and to other nodes, is `anser-host`'s router's.
//!
//! Bytes under way are counted per shard; beyond the bound a request is refused at the door, so that
//! nothing inside needs to be dropped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::Instant,
};

use anser_broker::{codec, command::Command, error::Error, id::ShardId, version::ClusterVersion};
use anser_host::{Answered, Routes};
use anser_log::RECORD_BYTES_MAX;
use anser_replica::Ticket;
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use crate::{
    bodies,
    cluster::peers::Cluster,
    courier::Errand,
    door::Door,
    event::{Event, HostEvent, Request, Responder},
    inboxes::Inboxes,
    status::Counters,
    version::Versions,
};

/// What a batch has at most beside the one command in it: its head, and the places of 1,024 bodies.
const BATCH_BYTES: u64 = 8 << 10;
/// What a request costs beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) routes: Arc<Routes>,
    /// `None`: a node for itself.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) errands: UnboundedSender<Errand>,
    pub(crate) door: Arc<Door>,
    inboxes: Inboxes,
    /// When this part of the node began.
    pub(crate) begun: Instant,
    /// Bytes under way, by shard.
    in_flight: Arc<[Arc<AtomicU64>]>,
    body_readers: Arc<[mpsc::Sender<bodies::Job>]>,
    last_ticket: Arc<AtomicU64>,
    bounds: Bounds,
}

/// What a desk is placed among.
pub(crate) struct Around {
    pub(crate) routes: Arc<Routes>,
    /// `None`: a node for itself.
    pub(crate) cluster: Option<Arc<Cluster>>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) errands: UnboundedSender<Errand>,
    pub(crate) inboxes: Inboxes,
    pub(crate) body_readers: Vec<mpsc::Sender<bodies::Job>>,
}

impl Desk {
    pub(crate) fn new(around: Around, shards: u16, bounds: Bounds) -> Self {
        Self {
            routes: around.routes,
            cluster: around.cluster,
            versions: around.versions,
            counters: around.counters,
            errands: around.errands,
            door: Arc::new(Door::new(bounds.in_flight_requests)),
            inboxes: around.inboxes,
            begun: Instant::now(),
            in_flight: (0..shards).map(|_| Arc::default()).collect(),
            body_readers: around.body_readers.into(),
            last_ticket: Arc::default(),
            bounds,
        }
    }

    /// Sends something that is not counted to a shard's runner.
    pub(crate) fn send(&self, shard: ShardId, event: Event) -> Result<(), Error> {
        let inbox = self.inboxes.of(shard);
        inbox.send(event).map_err(|_| Error::Unavailable)
    }

    pub(crate) fn inbox_of(&self, shard: ShardId) -> mpsc::Sender<Event> {
        self.inboxes.of(shard).clone()
    }

    pub(crate) fn read_bodies(&self, job: bodies::Job) -> Result<(), Error> {
        let (bodies::Job::Fetch { shard, .. } | bodies::Job::Give { shard, .. }) = &job else {
            unreachable!("runners deliver and fetch entries")
        };
        let reader = usize::from(shard.0) % self.body_readers.len();
        self.body_readers[reader]
            .send(job)
            .map_err(|_| Error::Unavailable)
    }

    /// Bytes of the largest command that is taken.
    pub(crate) fn command_bytes_max(&self) -> usize {
        usize::try_from(self.bounds.command_bytes).unwrap_or(usize::MAX)
    }

    /// Whether this node leads the shard, as far as is known here.
    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.leaders.serves_here(shard))
    }

    /// Has the cluster work at a version that every node can read, which are so many. The catalog must be led
    /// here.
    pub(crate) async fn raise_version(
        &self,
        version: ClusterVersion,
        nodes: u64,
    ) -> Result<(), Error> {
        let answered = self.hand_in_version(version, nodes)?;
        answered.await.unwrap_or(Err(Error::Unknown)).map(drop)
    }

    /// As [`Desk::raise_version`]; the answer will come to the receiver. This is the one command that is of
    /// the version that it brings, so the gate is not asked.
    pub(crate) fn hand_in_version(
        &self,
        version: ClusterVersion,
        nodes: u64,
    ) -> Result<Answered, Error> {
        let command = codec::encode(&Command::SetClusterVersion { version, nodes });
        let (_, answered) = self.let_in(ShardId::CATALOG, Request::Propose(command))?;
        Ok(answered)
    }

    /// Whether what a request would put into a log can be read by every node.
    pub(crate) fn permit(&self, request: &Request) -> Result<(), Error> {
        match request {
            Request::Propose(command) => self.versions.permit(command),
            Request::Receive(_) | Request::Read(_) => Ok(()),
        }
    }

    /// Hands in a request here; the answer will come to the receiver. All that is proposed on behalf of
    /// somebody passes here; what replicas and runners propose by themselves could be read ever since.
    pub(crate) fn hand_in(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Result<(Ticket, Answered), Error> {
        self.permit(&request)?;
        self.let_in(shard, request)
    }

    fn let_in(&self, shard: ShardId, request: Request) -> Result<(Ticket, Answered), Error> {
        let counter = self.in_flight.get(usize::from(shard.0));
        let counter = counter.ok_or(Error::Unavailable)?;
        let command_bytes = match &request {
            Request::Propose(command) => command.bytes.len() as u64,
            Request::Receive(_) | Request::Read(_) => 0,
        };
        if command_bytes > self.bounds.command_bytes {
            return Err(Error::BatchSize);
        }
        let in_flight = InFlight::begin(counter, OVERHEAD_BYTES + command_bytes);
        if in_flight.before > 0 && in_flight.before + in_flight.bytes > self.bounds.in_flight_bytes
        {
            return Err(Error::Busy);
        }
        let ticket = Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1);
        let (responder, answered) = oneshot::channel();
        let event = HostEvent::Request {
            shard,
            ticket,
            request,
            asker: Responder::new(responder, in_flight),
        };
        self.send(shard, event.into())?;
        Ok((ticket, answered))
    }
}

/// What a shard takes at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of all requests under way together; a single one is always let in.
    pub(crate) in_flight_bytes: u64,
    /// Of one command.
    pub(crate) command_bytes: u64,
    /// Requests of clients under way that are let in at least.
    pub(crate) in_flight_requests: usize,
}

impl Bounds {
    /// A command must fit into one record of the log with the rest of its batch, and into one log file beside
    /// what else a file begins with: what the log refuses stops the node.
    pub(crate) fn command_bytes(wal_file_bytes: u64) -> u64 {
        (wal_file_bytes * 3 / 4).min(RECORD_BYTES_MAX - BATCH_BYTES)
    }
}

/// Bytes that count as under way until this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight {
    counter: Arc<AtomicU64>,
    before: u64,
    bytes: u64,
}

impl InFlight {
    pub(crate) fn begin(counter: &Arc<AtomicU64>, bytes: u64) -> Self {
        let before = counter.fetch_add(bytes, Ordering::Relaxed);
        Self {
            counter: Arc::clone(counter),
            before,
            bytes,
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use anser_broker::{
        codec::BatchBuilder,
        id::{QueueId, Sequence},
        time::Stamp,
    };
    use bytes::Bytes;

    use super::*;

    /// Core review, finding 24: with large log files a command was let in that no record holds, and it ended the node.
    #[test]
    fn the_largest_command_fits_into_a_record_of_the_log() {
        let send = |bytes: usize| {
            let mut bodies = vec![Bytes::from_static(b"a"); Sequence::PER_ENTRY as usize];
            bodies[0] = Bytes::from(vec![0; bytes]);
            let queue = QueueId(1);
            let delay = None;
            codec::encode(&Command::SendMessages {
                queue,
                delay,
                bodies,
            })
        };
        let max = usize::try_from(Bounds::command_bytes(1 << 30)).unwrap();
        let beside = send(0).bytes.len();
        let largest = send(max - beside);
        assert_eq!(largest.bytes.len(), max);
        let mut batch = BatchBuilder::new(Stamp::default());
        batch.push(&largest);
        assert!(batch.finish().len() as u64 <= RECORD_BYTES_MAX);
        assert_eq!(Bounds::command_bytes(8 << 20), 6 << 20);
    }
}
