//! The smallest shell around a runner: every job is done at once, and time passes only when it is told to.

use std::{collections::BTreeMap, time::Duration};

use anser_broker::{
    attributes::{Acknowledge, QueueAttributes, RetentionFrom},
    codec,
    command::Command,
    error::Error,
    id::{QueueId, ShardId},
    time::{Millis, Timestamp},
};
use anser_host::{
    Batch, Beginning, BodyReader, Event, Job, Now, Opener, Request, Response, Runner, WriterJob,
};
use anser_log::{Appender, Log, Options, disk::simulated::SimulatedDisk};
use anser_replica::{MembershipChange, MembershipStep, PeerMessage, Ticket};

pub(crate) const SHARD: ShardId = ShardId(0);
pub(crate) const QUEUE: QueueId = QueueId(7);
const RUN: u64 = 0x5eed;
const LEARNER: u64 = 2;

pub(crate) struct Shell {
    pub(crate) runner: Runner<u64>,
    pub(crate) now: Now,
    disk: SimulatedDisk,
    appender: Appender<SimulatedDisk>,
    bodies: BodyReader<SimulatedDisk>,
    asked: u64,
    answer: Option<Result<Response, Error>>,
    /// Whoever asks has gone.
    pub(crate) nobody_waits: bool,
    pub(crate) read_from_disk: usize,
    /// Every job but those of the log's writer's appends and those that answer.
    pub(crate) seen: Vec<Job<u64>>,
}

impl Shell {
    /// A node that decides alone, with a queue.
    pub(crate) fn begin(cache_bytes: usize) -> Self {
        let disk = SimulatedDisk::default();
        let log = Log::open(disk.clone(), Options::default()).expect("the disk is well");
        anser_host::begin(&log.store, 1, &[1]).expect("the disk is well");
        drop(log);
        let mut shell = Self::open(1, disk, cache_bytes);
        let put = Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes: attributes(),
        };
        let put = Request::Propose(codec::encode(&put));
        shell.ask(SHARD, put).expect("the disk is well");
        shell
    }

    /// A node whose disk has nothing.
    pub(crate) fn follower() -> Self {
        Self::open(LEARNER, SimulatedDisk::default(), 0)
    }

    pub(crate) fn restart(self) -> Self {
        Self::open(1, self.disk, 1 << 20)
    }

    fn open(node: u64, disk: SimulatedDisk, cache_bytes: usize) -> Self {
        let log = Log::open(disk.clone(), Options::default()).expect("the disk is well");
        let opener = Opener {
            node,
            is_member: true,
            shards: 1,
            suspect: false,
            run: RUN,
            given_up: BTreeMap::new(),
            reader: &log.reader,
        };
        let restored = log.shards.iter().map(|recovered| {
            let replica = opener.restore(recovered).expect("the disk is well");
            (ShardId(recovered.shard), replica)
        });
        let beginning = Beginning {
            node,
            shards: 1,
            run: RUN,
            cache_bytes,
            time_off_max: Millis(0),
            replicas: restored.collect(),
            damaged: Vec::new(),
            closed: Vec::new(),
        };
        let now = Now {
            elapsed: Duration::from_secs(1),
            beat: Duration::from_secs(1),
            wall: Timestamp(1_000_000),
            is_exact: true,
        };
        let mut shell = Self {
            runner: Runner::new(beginning, &now),
            now,
            disk,
            appender: log.appender,
            bodies: BodyReader::new(log.reader, 0),
            asked: 0,
            answer: None,
            nobody_waits: false,
            read_from_disk: 0,
            seen: Vec::new(),
        };
        shell.work();
        shell
    }

    pub(crate) fn tell(&mut self, event: Event<u64>) {
        self.runner.take(&self.now, event);
        self.work();
    }

    /// Asks and waits for the answer.
    pub(crate) fn ask(&mut self, shard: ShardId, request: Request) -> Result<Response, Error> {
        self.asked += 1;
        self.tell(Event::Request {
            shard,
            ticket: Ticket(self.asked),
            request,
            asker: self.asked,
        });
        self.answer.take().expect("it does not take long")
    }

    pub(crate) fn pass(&mut self, length: Duration) {
        self.now.elapsed += length;
        self.now.beat += length;
        self.work();
    }

    /// A node that has a shard together with another one.
    pub(crate) fn of_two() -> Self {
        let disk = SimulatedDisk::default();
        let log = Log::open(disk.clone(), Options::default()).expect("the disk is well");
        anser_host::begin(&log.store, 1, &[1, LEARNER]).expect("the disk is well");
        drop(log);
        Self::open(1, disk, 0)
    }

    /// What the leader of the shard says to a node that is to have a replica.
    pub(crate) fn heartbeat() -> Event<u64> {
        let mut leader = Self::begin(0);
        let steps = vec![MembershipStep::AddLearner(LEARNER)];
        leader.tell(Event::Change {
            shard: SHARD,
            change: MembershipChange { steps },
        });
        leader.pass(Duration::from_millis(200));
        let said = leader.seen.into_iter().find_map(|job| match job {
            Job::Send { message, .. } if message.is_from_leader() => Some(message),
            _ => None,
        });
        let mut bytes = Vec::new();
        said.expect("it speaks to its learner").encode(&mut bytes);
        Event::Peer {
            shard: SHARD,
            message: PeerMessage::decode(bytes.into()).expect("it was just encoded"),
        }
    }

    /// Ends turns until nothing is due.
    fn work(&mut self) {
        loop {
            self.runner.end_turns(&self.now);
            let mut is_quiet = true;
            while let Some(job) = self.runner.next_job() {
                is_quiet = false;
                self.carry_out(job);
            }
            let wake = self.runner.next_wake();
            let tick = self.runner.next_tick();
            let sleeps = wake.is_none_or(|at| at > self.now.elapsed)
                && tick.is_none_or(|at| at > self.now.beat);
            if is_quiet && sleeps {
                return;
            }
        }
    }

    fn carry_out(&mut self, job: Job<u64>) {
        match job {
            Job::Write(job @ WriterJob::Append { .. }) => {
                let batch = Batch::gather([job]);
                batch.write(&mut self.appender).expect("the disk is well");
                for (shard, number) in batch.appends {
                    let durable = Event::Durable { shard, number };
                    self.runner.take(&self.now, durable);
                }
            }
            Job::Respond { asker, response } => {
                assert_eq!(asker, self.asked);
                self.answer = Some(response);
            }
            Job::HandOver {
                leases, messages, ..
            } => {
                if self.nobody_waits {
                    self.runner.take(&self.now, leases.give_back());
                }
                self.answer = Some(Ok(Response::Messages(messages)));
            }
            Job::Deliver { leases, .. } => {
                let mut unreadable = Vec::new();
                let read = self
                    .bodies
                    .deliver(leases.shard, &leases.deliveries, &mut unreadable);
                assert!(unreadable.is_empty(), "{unreadable:?}");
                self.read_from_disk += leases.deliveries.len();
                self.answer = Some(read.map(Response::Messages));
            }
            other => self.seen.push(other),
        }
    }
}

pub(crate) fn attributes() -> QueueAttributes {
    QueueAttributes {
        backlog_max: 1_000,
        wait: Millis(0),
        visibility: Millis(30_000),
        body_bytes_max: 1_024,
        retention: Millis(3_600_000),
        retention_from: RetentionFrom::Sent,
        rewind: Millis(0),
        delay: Millis(0),
        delay_max: Millis(60_000),
        delayed_max: 100,
        in_flight_max: 100,
        dead_letter: None,
        acknowledge: Acknowledge::Majority,
    }
}
