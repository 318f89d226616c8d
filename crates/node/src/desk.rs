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

use anser_broker::{error::Error, id::ShardId};
use anser_replica::Ticket;
use tokio::sync::oneshot;

use crate::{
    bodies,
    event::{Event, Request, Response},
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
    in_flight_bytes_max: u64,
}

struct Counter {
    runner: mpsc::Sender<Event>,
    in_flight_bytes: AtomicU64,
}

impl Desk {
    pub(crate) fn new(
        routes: Arc<Routes>,
        runners: &BTreeMap<ShardId, mpsc::Sender<Event>>,
        body_readers: Vec<mpsc::Sender<bodies::Job>>,
        in_flight_bytes_max: u64,
    ) -> Self {
        let counter = |runner: &mpsc::Sender<Event>| Counter {
            runner: runner.clone(),
            in_flight_bytes: AtomicU64::new(0),
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
            in_flight_bytes_max,
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

    /// Hands in a request and waits for the answer.
    pub(crate) async fn ask(&self, shard: ShardId, request: Request) -> Result<Response, Error> {
        let (ticket, receiver, _in_flight) = self.hand_in(shard, request)?;
        let _ = ticket;
        receiver.await.unwrap_or(Err(Error::Unknown))
    }

    /// Hands in a request; the answer will come to the receiver. The guard stays until then.
    pub(crate) fn hand_in(
        &self,
        shard: ShardId,
        request: Request,
    ) -> Result<(Ticket, Answered, InFlight<'_>), Error> {
        let counter = self.shards.get(&shard).ok_or(Error::Unavailable)?;
        let bytes = OVERHEAD_BYTES
            + match &request {
                Request::Propose(command) => command.bytes.len() as u64,
                Request::Receive(_) | Request::Read(_) => 0,
            };
        let in_flight = InFlight {
            counter: &counter.in_flight_bytes,
            bytes,
        };
        let before = counter.in_flight_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes > self.in_flight_bytes_max {
            return Err(Error::Busy);
        }
        let ticket = Ticket(self.last_ticket.fetch_add(1, Ordering::Relaxed) + 1);
        let (responder, receiver) = oneshot::channel();
        let event = Event::Request {
            shard,
            ticket,
            request,
            responder,
        };
        counter.runner.send(event).map_err(|_| Error::Unavailable)?;
        Ok((ticket, receiver, in_flight))
    }
}

pub(crate) type Answered = oneshot::Receiver<Result<Response, Error>>;

/// Bytes that count as under way until this is dropped.
pub(crate) struct InFlight<'a> {
    counter: &'a AtomicU64,
    bytes: u64,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.counter.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
