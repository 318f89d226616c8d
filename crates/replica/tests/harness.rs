//! A replica with a disk that is told when to be done and a clock that is set.

use anser_broker::{
    attributes::{QueueAttributes, RetentionFrom},
    codec,
    command::{Command, Query, Reply},
    id::{QueueId, ShardId},
    shard::Shard,
    time::{Millis, Stamp, Timestamp},
};
use anser_replica::{
    Append, Input, Membership, Output, Place, ReceiveRequest, Replica, Start, Ticket,
};

pub(crate) const QUEUE: QueueId = QueueId(7);

pub(crate) struct Harness {
    pub(crate) replica: Replica,
    /// Appends that are not durable yet.
    pub(crate) appends: Vec<Append>,
    /// Everything else that came out.
    pub(crate) outputs: Vec<Output>,
    pub(crate) now: u64,
    /// How coarse the clock is.
    pub(crate) blur: u64,
    tickets: u64,
}

impl Harness {
    /// A serving replica with one queue.
    pub(crate) fn new() -> Self {
        let mut harness = Self::start(Shard::new(ShardId(3), 16), Place { index: 1, term: 1 });
        harness.sync();
        let attributes = attributes();
        harness.propose(&Command::PutQueue {
            queue: QUEUE,
            revision: 1,
            attributes,
        });
        harness.sync();
        harness.outputs.clear();
        harness
    }

    /// A replica at its start.
    pub(crate) fn start(shard: Shard, applied: Place) -> Self {
        let replica = Replica::new(Start {
            node: 1,
            term: applied.term,
            vote: 1,
            applied,
            membership: Membership {
                voters: vec![1],
                ..Membership::default()
            },
            shard,
            entries: Vec::new(),
            log_first: applied.index + 1,
            terms: Vec::new(),
            jitter: 1,
            suspect: false,
            floor: 0,
        });
        let mut harness = Self {
            replica,
            appends: Vec::new(),
            outputs: Vec::new(),
            now: 1_000,
            blur: 0,
            tickets: 0,
        };
        harness.turn();
        harness
    }

    pub(crate) fn turn(&mut self) {
        let stamp = Stamp {
            now: Timestamp(self.now),
            wall: Timestamp(self.now),
            blur: Millis(self.blur),
        };
        let mut outputs = Vec::new();
        self.replica.turn(stamp, &mut outputs);
        self.take(outputs);
    }

    /// Lets the disk finish, again and again, until nothing is left to write.
    pub(crate) fn sync(&mut self) {
        while let Some(append) = self.appends.pop() {
            self.appends.clear();
            self.step(Input::Durable {
                number: append.number,
            });
            self.turn();
        }
    }

    pub(crate) fn propose(&mut self, command: &Command) -> Ticket {
        let ticket = self.hand_in(command);
        self.turn();
        ticket
    }

    /// Hands in a command without ending the turn.
    pub(crate) fn hand_in(&mut self, command: &Command) -> Ticket {
        let ticket = self.ticket();
        self.step(Input::Propose {
            ticket: Some(ticket),
            command: codec::encode(command),
        });
        ticket
    }

    pub(crate) fn send(&mut self, body: &'static str) -> Ticket {
        self.propose(&send(body))
    }

    pub(crate) fn receive(&mut self, max: u32, wait: u64) -> Ticket {
        let ticket = self.ticket();
        let wait = Some(Millis(wait));
        let request = ReceiveRequest {
            queue: QUEUE,
            max,
            visibility: None,
            wait,
        };
        self.step(Input::Receive { ticket, request });
        self.turn();
        ticket
    }

    pub(crate) fn read(&mut self, query: Query) -> Ticket {
        let ticket = self.ticket();
        self.step(Input::Read { ticket, query });
        self.turn();
        ticket
    }

    pub(crate) fn step(&mut self, input: Input) {
        let mut outputs = Vec::new();
        self.replica.step(Timestamp(self.now), input, &mut outputs);
        self.take(outputs);
    }

    /// The reply to a ticket, if there is one by now.
    pub(crate) fn reply(&self, ticket: Ticket) -> Option<&Reply> {
        self.outputs.iter().find_map(|output| match output {
            Output::Reply {
                ticket: found,
                reply,
            } if *found == ticket => Some(reply),
            _ => None,
        })
    }

    /// How many messages a receive got; `None` while it has no reply.
    pub(crate) fn received(&self, ticket: Ticket) -> Option<usize> {
        match self.reply(ticket)? {
            Reply::Received { deliveries } => Some(deliveries.len()),
            other => panic!("a receive was answered with {other:?}"),
        }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn take(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Append(append) => self.appends.push(append),
                other => self.outputs.push(other),
            }
        }
    }
}

pub(crate) fn send(body: &'static str) -> Command {
    Command::SendMessages {
        queue: QUEUE,
        delay: None,
        bodies: vec![body.into()],
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
        acknowledge: anser_broker::attributes::Acknowledge::Majority,
    }
}
