//! Requests of clients: through this node's door, to the replica that leads, and back.

use anser_broker::{
    codec,
    command::{Command, Delivery, Reply},
    error::Error,
    id::{QueueId, ShardId},
    op::ReceivedMessage,
};
use anser_replica::{Input, ReceiveRequest, Ticket};
use bytes::Bytes;

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Ask, Delivering, Event, Happening, Request, Response},
    world::Common,
};

/// A request that has no answer yet.
pub(super) struct Pending {
    door: u64,
    /// Where a receive leases from.
    queue: Option<QueueId>,
    /// What a client may know to be applied when it asked.
    known: u64,
    /// Nobody waits for the answer any more.
    is_cancelled: bool,
    polls: bool,
}

impl Process {
    /// Takes a request in: here, or at the node that leads.
    pub(super) fn request(&mut self, request: Request, common: &mut Common) {
        let (number, shard) = (request.number, request.shard);
        let hosted = self.hosted.get(&shard);
        let serves = hosted.is_some_and(|hosted| hosted.replica.serves());
        let leader = hosted.and_then(|hosted| hosted.replica.status().leader);
        if !serves && !request.was_forwarded {
            let leader = leader.filter(|&leader| leader != self.node);
            let life = leader.and_then(|leader| common.lives.get(&leader).copied());
            let (Some(leader), Some(life)) = (leader, life) else {
                return answer_at_door(number, Response::Refused(Error::Unavailable), common);
            };
            sometimes("a request was forwarded");
            let forwarded = Request {
                was_forwarded: true,
                ..request
            };
            let arrivals =
                common
                    .network
                    .arrivals(self.node, leader, common.now, &mut common.random);
            if let Some(&at) = arrivals.first() {
                let what = Happening::Request(forwarded);
                common.agenda.add(
                    at,
                    Event::Node {
                        node: leader,
                        life,
                        what,
                    },
                );
            }
            return;
        }
        let (queue, polls) = match &request.ask {
            Ask::Receive { queue, wait, .. } => (Some(*queue), wait.0 > 0),
            _ => (None, false),
        };
        let pending = Pending {
            door: request.door,
            queue,
            known: common.checks.last_acknowledged(shard),
            is_cancelled: false,
            polls,
        };
        self.pending.insert(number, pending);
        if hosted.is_none() {
            return self.send(number, Response::Refused(Error::Unavailable), common);
        }
        let ticket = Ticket(number);
        let input = match request.ask {
            Ask::Propose(command) => Input::Propose {
                ticket: Some(ticket),
                command,
            },
            Ask::Receive { queue, max, wait } => Input::Receive {
                ticket,
                request: ReceiveRequest {
                    queue,
                    max,
                    visibility: None,
                    wait: Some(wait),
                },
            },
            Ask::Read(query) => Input::Read { ticket, query },
        };
        self.step(shard, input, common);
    }

    /// A client has gone.
    pub(super) fn cancel(&mut self, request: u64, common: &mut Common) {
        let Some(pending) = self.pending.get_mut(&request) else {
            return;
        };
        pending.is_cancelled = true;
        let ticket = Ticket(request);
        let shards: Vec<u16> = self.hosted.keys().copied().collect();
        if let Some(shard) = common
            .shard_of(request)
            .filter(|shard| shards.contains(shard))
        {
            self.step(shard, Input::Cancel { ticket }, common);
        }
    }

    pub(super) fn reply(&mut self, shard: u16, number: u64, reply: Reply, common: &mut Common) {
        let applied = self.hosted[&shard].replica.applied().index;
        match reply {
            Reply::Received { deliveries } if deliveries.is_empty() => {
                self.send(number, Response::Messages(Vec::new()), common);
            }
            Reply::Received { deliveries } => {
                common.checks.acknowledged(shard, applied);
                self.deliver(shard, number, deliveries, common);
            }
            Reply::Refused(error) => self.send(number, Response::Refused(error), common),
            reply => {
                common.checks.acknowledged(shard, applied);
                self.send(number, Response::Reply(reply), common);
            }
        }
    }

    pub(super) fn answer(&mut self, shard: u16, number: u64, common: &mut Common) {
        let applied = self.hosted[&shard].replica.applied().index;
        let known = self.pending.get(&number).map_or(0, |pending| pending.known);
        if applied < known {
            common.checks.fail(format!(
                "node {}, shard {shard}: a read after entry {known} saw the state after entry {applied}",
                self.node
            ));
        }
        sometimes("a read was confirmed");
        self.send(number, Response::Answered, common);
    }

    pub(super) fn refuse(&mut self, number: u64, error: Error, common: &mut Common) {
        if error == Error::Unknown {
            sometimes("a deposed leader answered that it does not know");
        }
        self.send(number, Response::Refused(error), common);
    }

    fn deliver(&mut self, shard: u16, number: u64, deliveries: Vec<Delivery>, common: &mut Common) {
        let Some(pending) = self.pending.get(&number) else {
            return common
                .checks
                .fail(format!("request {number} has two outputs"));
        };
        let queue = pending
            .queue
            .expect("only a receive is answered with deliveries");
        if pending.polls {
            sometimes("a long poll was answered with a message");
        }
        let at_hand = deliveries.iter().map(|delivery| {
            let payload = self.cache.get(ShardId(shard), delivery.message.index())?;
            codec::body(payload, delivery.message.ordinal())
        });
        let bodies: Option<Vec<Bytes>> = at_hand.collect();
        if let Some(bodies) = bodies {
            let messages = anser_host::messages(ShardId(shard), &deliveries, bodies);
            return self.hand_over(shard, number, queue, &deliveries, messages, common);
        }
        let delivering = Delivering {
            shard,
            request: number,
            queue,
            deliveries,
        };
        let length = common.random.spread(200) * self.slowness;
        common.later(self.node, self.life, length, Happening::Deliver(delivering));
    }

    pub(super) fn deliver_from_disk(&mut self, delivering: Delivering, common: &mut Common) {
        let Delivering {
            shard,
            request,
            queue,
            deliveries,
        } = delivering;
        for delivery in &deliveries {
            let is_in_log = delivery.message.index() >= self.reader.first_index(shard);
            sometimes(if is_in_log {
                "a body was read from the log"
            } else {
                "a body was read from a segment"
            });
        }
        let mut unreadable = Vec::new();
        let delivered = self
            .bodies
            .deliver(ShardId(shard), &deliveries, &mut unreadable);
        // A replica that moved away meanwhile takes its bodies along.
        let hosted = self.hosted.get(&shard);
        let is_here = hosted.is_some_and(|hosted| hosted.replica.serves());
        if is_here && !self.damaged && !unreadable.is_empty() {
            let node = self.node;
            let text = format!("node {node}, shard {shard}: bodies cannot be read: {unreadable:?}");
            common.checks.fail(text);
        }
        match delivered {
            Ok(messages) => {
                self.hand_over(shard, request, queue, &deliveries, messages, common);
            }
            Err(error) => self.send(request, Response::Refused(error), common),
        }
    }

    fn hand_over(
        &mut self,
        shard: u16,
        number: u64,
        queue: QueueId,
        deliveries: &[Delivery],
        messages: Vec<ReceivedMessage>,
        common: &mut Common,
    ) {
        let gone = self
            .pending
            .get(&number)
            .is_some_and(|pending| pending.is_cancelled);
        if gone {
            sometimes("leases were given back");
            let receipts = deliveries.iter().map(|delivery| delivery.receipt).collect();
            let command = codec::encode(&Command::ReturnLeases { queue, receipts });
            let ticket = None;
            self.step(shard, Input::Propose { ticket, command }, common);
        }
        self.send(number, Response::Messages(messages), common);
    }

    fn send(&mut self, number: u64, response: Response, common: &mut Common) {
        let Some(pending) = self.pending.remove(&number) else {
            return common
                .checks
                .fail(format!("request {number} has two outputs"));
        };
        if pending.polls && matches!(&response, Response::Messages(messages) if messages.is_empty())
        {
            let serves = |hosted: &super::Hosted| hosted.replica.serves();
            let shard = common
                .shard_of(number)
                .and_then(|shard| self.hosted.get(&shard));
            if !shard.is_some_and(serves) {
                sometimes("a long poll ended with its leader");
            }
        }
        if pending.is_cancelled {
            return;
        }
        if pending.door == self.node {
            return answer_at_door(number, response, common);
        }
        // Back to the door it came in by, over the network between the nodes.
        let arrivals =
            common
                .network
                .arrivals(self.node, pending.door, common.now, &mut common.random);
        if let Some(&at) = arrivals.first() {
            let at = at + common.network.client_delay(&mut common.random);
            common.agenda.add(
                at,
                Event::Response {
                    request: number,
                    response,
                },
            );
        }
    }
}

/// The answer leaves by the node that the client speaks to.
fn answer_at_door(number: u64, response: Response, common: &mut Common) {
    if common.random.permille(common.lost_answers) {
        return;
    }
    let at = common.now + common.network.client_delay(&mut common.random);
    let request = number;
    common.agenda.add(at, Event::Response { request, response });
}
