//! The desk: hands requests to whoever leads their shard, here or on another node, and waits for what
//! comes back.
//!
//! Bytes under way are counted per shard; beyond the bound a request is refused at the door, so that
//! nothing inside needs to be dropped.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc,
};

use anser_broker::{
    codec,
    command::{Command, Reply},
    error::Error,
    id::ShardId,
    version::ClusterVersion,
};
use anser_log::RECORD_BYTES_MAX;
use anser_replica::Ticket;
use tokio::sync::oneshot;

use crate::{
    bodies,
    cluster::{forwarding, peers::Cluster},
    event::{Event, HostEvent, Request, Responder, Response},
    inboxes::Inboxes,
    receiving::Receiving,
    routes::Routes,
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
    inboxes: Inboxes,
    /// Bytes under way, by shard.
    in_flight: Arc<[Arc<AtomicU64>]>,
    body_readers: Arc<[mpsc::Sender<bodies::Job>]>,
    last_ticket: Arc<AtomicU64>,
    bounds: Bounds,
}

impl Desk {
    pub(crate) fn new(
        routes: Arc<Routes>,
        cluster: Option<Arc<Cluster>>,
        versions: Arc<Versions>,
        inboxes: Inboxes,
        shards: u16,
        body_readers: Vec<mpsc::Sender<bodies::Job>>,
        bounds: Bounds,
    ) -> Self {
        Self {
            routes,
            cluster,
            versions,
            inboxes,
            in_flight: (0..shards).map(|_| Arc::default()).collect(),
            body_readers: body_readers.into(),
            last_ticket: Arc::default(),
            bounds,
        }
    }

    /// Sends something that is not counted to a shard's runner.
    pub(crate) fn send(&self, shard: ShardId, event: Event) -> Result<(), Error> {
        let inbox = self.inboxes.of(shard);
        inbox.send(event).map_err(|_| Error::Unavailable)
    }

    pub(crate) fn read_bodies(&self, job: bodies::Job) -> Result<(), Error> {
        let bodies::Job::Fetch { shard, .. } = &job else {
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

    /// Has a request done by whoever leads the shard. Dropped before its end, a receive gives back what
    /// it got.
    pub(crate) async fn ask(&self, shard: ShardId, request: Request) -> Result<Response, Error> {
        match &self.cluster {
            None => self.do_here(shard, request).await,
            Some(cluster) => forwarding::ask(self, cluster, shard, request).await,
        }
    }

    /// As [`Desk::ask`], but does not wait for a leader: without one it fails with [`Error::Unavailable`], and
    /// nothing has happened.
    pub(crate) async fn ask_now(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Result<Response, Error> {
        match &self.cluster {
            None => self.do_here(shard, request).await,
            Some(cluster) => forwarding::ask_now(self, cluster, shard, request).await,
        }
    }

    /// Has a request done here; `None` if this node does not lead the shard or is about to stop leading
    /// it, and nothing has happened.
    pub(crate) async fn ask_here(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Option<Result<Response, Error>> {
        if !self.leads(shard) {
            return None;
        }
        let result = self.do_here(shard, request).await;
        let not_done = self.cluster.is_some() && matches!(result, Err(Error::Unavailable));
        (!not_done).then_some(result)
    }

    /// Whether this node leads the shard, as far as is known here.
    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        let cluster = self.cluster.as_ref();
        cluster.is_none_or(|cluster| cluster.leaders.serves_here(shard))
    }

    async fn do_here(&self, shard: ShardId, request: Request) -> Result<Response, Error> {
        if let Request::Receive(receive) = request {
            return Receiving::begin(self, shard, receive)?.end().await;
        }
        let (_, answered) = self.hand_in(shard, request)?;
        answered.await.unwrap_or(Err(Error::Unknown))
    }

    /// Proposes a command and waits for its reply; a refusal is an error.
    pub(crate) async fn propose(&self, shard: ShardId, command: &Command) -> Result<Reply, Error> {
        let proposed = self.ask(shard, Request::Propose(codec::encode(command)));
        Ok(reply_of(proposed.await?))
    }

    /// As [`Desk::propose`], but does not wait for a leader.
    pub(crate) async fn propose_now(
        &self,
        shard: ShardId,
        command: &Command,
    ) -> Result<Reply, Error> {
        let proposed = self.ask_now(shard, Request::Propose(codec::encode(command)));
        Ok(reply_of(proposed.await?))
    }

    /// Proposes commands to a shard that is led here, in this order, and waits for all of them; a refusal
    /// is an error.
    pub(crate) async fn propose_all(
        &self,
        shard: ShardId,
        commands: impl Iterator<Item = Command>,
    ) -> Result<(), Error> {
        let mut under_way = Vec::new();
        for command in commands {
            let (_, answered) = self.hand_in(shard, Request::Propose(codec::encode(&command)))?;
            under_way.push(answered);
        }
        for answered in under_way {
            answered.await.unwrap_or(Err(Error::Unknown))?;
        }
        Ok(())
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

fn reply_of(response: Response) -> Reply {
    match response {
        Response::Reply(reply) => reply,
        other => unreachable!("a proposal is answered with a reply, not {other:?}"),
    }
}

pub(crate) type Answered = oneshot::Receiver<Result<Response, Error>>;

/// What a shard takes at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Of all requests under way together; a single one is always let in.
    pub(crate) in_flight_bytes: u64,
    /// Of one command.
    pub(crate) command_bytes: u64,
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
    fn begin(counter: &Arc<AtomicU64>, bytes: u64) -> Self {
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
    use anser_broker::{codec::BatchBuilder, id::QueueId, id::Sequence, time::Stamp};
    use bytes::Bytes;

    use super::*;

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
