//! Everything that can happen to a replica.

use anser_broker::{codec::Encoded, command::Query, id::QueueId, time::Millis};

/// Names a request from its arrival to its reply. The shell gives it out and keeps who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

#[derive(Debug, Clone)]
pub enum Input {
    /// A command for the log. Without a ticket nobody waits for its reply.
    Propose {
        ticket: Option<Ticket>,
        command: Encoded,
    },
    Receive {
        ticket: Ticket,
        request: ReceiveRequest,
    },
    /// A read that sees everything acknowledged before it came.
    Read { ticket: Ticket, query: Query },
    /// Whoever asked is gone. A receive that has leased something by now is answered all the same;
    /// the shell gives the messages back.
    Cancel { ticket: Ticket },
    /// The append of this number, and all before it, are on the disk.
    Durable { number: u64 },
    /// A heartbeat interval has passed.
    Tick,
}

/// A receive, before it is a command: it may wait until there is something to receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveRequest {
    pub queue: QueueId,
    pub max: u32,
    /// `None`: the queue's own.
    pub visibility: Option<Millis>,
    /// `None`: the queue's own.
    pub wait: Option<Millis>,
}
