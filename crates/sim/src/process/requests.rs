//! Requests of clients: through this node's door, to the replica that leads, and back.

use anser_broker::{error::Error, id::ShardId, op::ReceivedMessage};
use anser_host::{
    Event as HostEvent, Leases, Request as HostRequest, Response as HostResponse, Unreadable,
};
use anser_replica::{ReceiveRequest, Ticket};

use super::Process;
use crate::{
    coverage::sometimes,
    event::{Ask, Event, Happening, Request, Response},
    world::Common,
};

/// A request that has no answer yet.
pub(super) struct Pending {
    door: u64,
    shard: u16,
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
        let leader = self.replica(shard).and_then(|replica| replica.leader().1);
        if !self.serves(shard) && !request.was_forwarded {
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
        let polls = matches!(&request.ask, Ask::Receive { wait, .. } if wait.0 > 0);
        let pending = Pending {
            door: request.door,
            shard,
            known: common.checks.last_acknowledged(shard),
            is_cancelled: false,
            polls,
        };
        self.pending.insert(number, pending);
        let request = match request.ask {
            Ask::Propose(command) => HostRequest::Propose(command),
            Ask::Receive { queue, max, wait } => HostRequest::Receive(ReceiveRequest {
                queue,
                max,
                visibility: None,
                wait: Some(wait),
            }),
            Ask::Read(query) => HostRequest::Read(query),
        };
        let request = HostEvent::Request {
            shard: ShardId(shard),
            ticket: Ticket(number),
            request,
            asker: number,
        };
        self.tell(request, common);
    }

    /// A client has gone.
    pub(super) fn cancel(&mut self, request: u64, common: &mut Common) {
        let Some(pending) = self.pending.get_mut(&request) else {
            return;
        };
        pending.is_cancelled = true;
        let cancel = HostEvent::Cancel {
            shard: ShardId(pending.shard),
            ticket: Ticket(request),
        };
        self.tell(cancel, common);
    }

    pub(super) fn respond(
        &mut self,
        number: u64,
        response: Result<HostResponse, Error>,
        common: &mut Common,
    ) {
        let response = match response {
            Ok(HostResponse::Reply(reply)) => {
                self.acknowledge(number, common);
                Response::Reply(reply)
            }
            Ok(HostResponse::Answer(_)) => {
                self.check_read(number, common);
                Response::Answered
            }
            Ok(HostResponse::Messages(messages)) => Response::Messages(messages),
            Err(error) => {
                if error == Error::Unknown {
                    sometimes("a deposed leader answered that it does not know");
                }
                Response::Refused(error)
            }
        };
        self.send(number, response, common);
    }

    /// What is answered now has been applied by whoever answers.
    fn acknowledge(&self, number: u64, common: &mut Common) {
        if let Some(&Pending { shard, .. }) = self.pending.get(&number)
            && let Some(replica) = self.replica(shard)
        {
            common.checks.acknowledged(shard, replica.applied().index);
        }
    }

    fn check_read(&self, number: u64, common: &mut Common) {
        sometimes("a read was confirmed");
        let Some(&Pending { shard, known, .. }) = self.pending.get(&number) else {
            return;
        };
        let applied = self.replica(shard).map(|replica| replica.applied().index);
        if applied < Some(known) {
            common.checks.fail(format!(
                "node {}, shard {shard}: a read after entry {known} saw the state after entry {applied:?}",
                self.node
            ));
        }
    }

    pub(super) fn deliver(
        &mut self,
        number: u64,
        leases: &Leases,
        messages: Vec<ReceivedMessage>,
        common: &mut Common,
    ) {
        self.watch_delivery(number, common);
        self.hand_over(number, leases, messages, common);
    }

    pub(super) fn deliver_soon(&mut self, request: u64, leases: Leases, common: &mut Common) {
        self.watch_delivery(request, common);
        let length = common.random.spread(200) * self.slowness;
        let what = Happening::Deliver { request, leases };
        common.later(self.node, self.life, length, what);
    }

    fn watch_delivery(&self, number: u64, common: &mut Common) {
        self.acknowledge(number, common);
        let pending = self.pending.get(&number);
        if pending.is_some_and(|pending| pending.polls) {
            sometimes("a long poll was answered with a message");
        }
    }

    pub(super) fn deliver_from_disk(&mut self, number: u64, leases: &Leases, common: &mut Common) {
        let shard = leases.shard;
        for delivery in &leases.deliveries {
            let is_in_log = delivery.message.index() >= self.reader.first_index(shard.0);
            sometimes(if is_in_log {
                "a body was read from the log"
            } else {
                "a body was read from a segment"
            });
        }
        let mut unreadable = Vec::new();
        let delivered = self
            .bodies
            .deliver(shard, &leases.deliveries, &mut unreadable);
        for Unreadable { message, reason } in unreadable {
            if reason
                .as_ref()
                .is_some_and(|reason| self.is_excused(reason))
            {
                sometimes("a body could not be read");
            } else if self.serves(shard.0) {
                // A replica that moved away meanwhile takes its bodies along.
                let (node, shard) = (self.node, shard.0);
                let text =
                    format!("node {node}, shard {shard}: no body of {message:?}: {reason:?}");
                common.checks.fail(text);
            }
        }
        match delivered {
            Ok(messages) => self.hand_over(number, leases, messages, common),
            Err(error) => self.send(number, Response::Refused(error), common),
        }
    }

    fn hand_over(
        &mut self,
        number: u64,
        leases: &Leases,
        messages: Vec<ReceivedMessage>,
        common: &mut Common,
    ) {
        let pending = self.pending.get(&number);
        if pending.is_some_and(|pending| pending.is_cancelled) {
            sometimes("leases were given back");
            self.tell(leases.give_back(), common);
        }
        self.send(number, Response::Messages(messages), common);
    }

    fn send(&mut self, number: u64, response: Response, common: &mut Common) {
        let Some(pending) = self.pending.remove(&number) else {
            return common
                .checks
                .fail(format!("request {number} has two outputs"));
        };
        let is_empty = matches!(&response, Response::Messages(messages) if messages.is_empty());
        if pending.polls && is_empty && !self.serves(pending.shard) {
            sometimes("a long poll ended with its leader");
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
