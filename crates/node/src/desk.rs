//! The desk: hands requests to the shards' runners and waits for what comes back.
//!
//! Bytes under way are counted per shard; beyond the bound a request is refused at the door, so that
//! nothing inside needs to be dropped.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
};

use anser_broker::{codec, command::Command, error::Error, id::ShardId};
use anser_replica::Ticket;
use tokio::sync::oneshot;

use crate::{
    bodies,
    event::{Event, Request, Responder, Response},
    routes::Routes,
};

/// What a request costs beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

#[derive(Clone)]
pub(crate) struct Desk {
    pub(crate) routes: Arc<Routes>,
    shards: Arc<BTreeMap<ShardId, Counter>>,
    body_readers: Arc<[mpsc::Sender<bodies::Job>]>,
    last_ticket: Arc<AtomicU64>,
    bounds: Bounds,
}

struct Counter {
    runner: mpsc::Sender<Event>,
    in_flight_bytes: Arc<AtomicU64>,
}

impl Desk {
    pub(crate) fn new(
        routes: Arc<Routes>,
        runners: &BTreeMap<ShardId, mpsc::Sender<Event>>,
        body_readers: Vec<mpsc::Sender<bodies::Job>>,
        bounds: Bounds,
    ) -> Self {
        let counter = |runner: &mpsc::Sender<Event>| Counter {
            runner: runner.clone(),
            in_flight_bytes: Arc::default(),
        };
        let shards = runners
            .iter()
            .map(|(&shard, runner)| (shard, counter(runner)))
            .collect();
        Self {
            routes,
            shards: Arc::new(shards),
            body_readers: body_readers.into(),
            last_ticket: Arc::default(),
            bounds,
        }
    }

    pub(crate) fn send(&self, shard: ShardId, event: Event) -> Result<(), Error> {
        let counter = self.shards.get(&shard).ok_or(Error::Unavailable)?;
        counter.runner.send(event).map_err(|_| Error::Unavailable)
    }

    pub(crate) fn read_bodies(&self, job: bodies::Job) -> Result<(), Error> {
        let bodies::Job::Fetch { shard, .. } = &job else {
            unreachable!("runners deliver")
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

    /// Hands in a request and waits for the answer.
    pub(crate) async fn ask(&self, shard: ShardId, request: Request) -> Result<Response, Error> {
        let (_, answered) = self.hand_in(shard, request)?;
        answered.await.unwrap_or(Err(Error::Unknown))
    }

    /// Proposes commands in this order and waits for all of them; a refusal is an error.
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

    /// Hands in a request; the answer will come to the receiver.
    pub(crate) fn hand_in(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Result<(Ticket, Answered), Error> {
        let counter = self.shards.get(&shard).ok_or(Error::Unavailable)?;
        let command_bytes = match &request {
            Request::Propose(command) => command.bytes.len() as u64,
            Request::Receive(_) | Request::Read(_) => 0,
        };
        if command_bytes > self.bounds.command_bytes {
            return Err(Error::BatchSize);
        }
        let in_flight = InFlight::begin(&counter.in_flight_bytes, OVERHEAD_BYTES + command_bytes);
        if in_flight.before > 0 && in_flight.before + in_flight.bytes > self.bounds.in_flight_bytes
        {
            return Err(Error::Busy);
        }
        let ticket = Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1);
        let (responder, answered) = oneshot::channel();
        let event = Event::Request {
            shard,
            ticket,
            request,
            responder: Responder::new(responder, in_flight),
        };
        counter.runner.send(event).map_err(|_| Error::Unavailable)?;
        Ok((ticket, answered))
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
