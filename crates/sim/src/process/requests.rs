//! Requests of clients: in by this node's door, to the replica that leads, and back.

use anser_broker::{
    attributes::Acknowledge,
    codec::{BatchBuilder, encode},
    command::{Command, Destination, Placed, Reply},
    error::Error,
    id::{QueueId, Sequence, ShardId},
    op::ReceivedMessage,
    shard::Shard,
    time::Stamp,
};
use anser_host::{
    Admission, Denied, Leases, Request as HostRequest, Response as HostResponse, Unreadable,
};
use anser_replica::ReceiveRequest;

use super::{
    Process,
    port::{Call, Responder},
    tasks::Task,
};
use crate::{
    coverage::sometimes,
    event::{Ask, Event, Happening, LostReceive, Micros, Request, Response, SECOND},
    world::Common,
};

/// As long ago as what is delivered now was leased at most: a node may be paused in between.
const LEASED_WITHIN: Micros = 60 * SECOND;

/// A request of a replica here that has no answer yet.
pub(super) struct Pending {
    pub(super) shard: u16,
    pub(super) sends_to: Option<Destination>,
    /// What a client may know to be applied when it asked.
    pub(super) known: u64,
    /// Where a receive looks, and by what time it was asked for.
    pub(super) receives: Option<(QueueId, Stamp)>,
    pub(super) polls: bool,
    pub(super) responder: Responder,
}

impl Process {
    /// A client asks at this node's door.
    pub(super) fn request(&mut self, request: Request) {
        let Request { number, shard, ask } = request;
        if self.abandoned.remove(&number) {
            return;
        }
        let port = self.port.clone();
        let request = match ask {
            Ask::Propose(command) => HostRequest::Propose(command),
            Ask::Receive { queue, max, wait } => HostRequest::Receive(ReceiveRequest {
                queue,
                max,
                visibility: None,
                wait: Some(wait),
            }),
            Ask::Read(query) => HostRequest::Read(query),
            Ask::Change(command) => {
                let task = async move {
                    let placed = anser_host::change(&port, &command).await;
                    port.call(Call::AnswerChange {
                        request: number,
                        placed,
                    });
                };
                return self.serve(number, Box::pin(task));
            }
            Ask::Join { add, knows } => {
                let task = async move {
                    let versions = port.versions();
                    let placed = anser_host::take_in(&port, versions, knows, &add).await;
                    port.call(Call::AnswerJoin {
                        request: number,
                        placed,
                    });
                };
                return self.serve(number, Box::pin(task));
            }
        };
        let task = async move {
            let response = anser_host::ask(&port, ShardId(shard), request).await;
            port.call(Call::Answer {
                request: number,
                response,
            });
        };
        self.serve(number, Box::pin(task));
    }

    fn serve(&mut self, request: u64, task: Task) {
        let task = self.tasks.begin(task);
        self.serving.insert(request, task);
    }

    /// A client has gone.
    pub(super) fn cancel(&mut self, request: u64) {
        if let Some(task) = self.serving.remove(&request) {
            self.tasks.end(task);
        } else {
            // The end of a connection does not overtake what was said on it.
            self.abandoned.insert(request);
        }
    }

    /// The answer leaves by the node that the client speaks to.
    pub(super) fn answer(
        &mut self,
        request: u64,
        response: Result<HostResponse, Error>,
        common: &mut Common,
    ) {
        self.serving.remove(&request);
        let response = match response {
            Ok(HostResponse::Reply(reply)) => Response::Reply(reply),
            Ok(HostResponse::Answer(answer)) => Response::Answer(answer),
            Ok(HostResponse::Messages(messages)) => Response::Messages(messages),
            Err(error) => Response::Refused(error),
        };
        answer_at_door(request, response, common);
    }

    pub(super) fn answer_change(
        &mut self,
        request: u64,
        placed: Result<Placed, Error>,
        common: &mut Common,
    ) {
        self.serving.remove(&request);
        let response = match placed {
            Ok(placed) => Response::Reply(Reply::Placed(placed)),
            Err(error) => Response::Refused(error),
        };
        answer_at_door(request, response, common);
    }

    pub(super) fn answer_join(
        &mut self,
        request: u64,
        placed: Result<Admission, Denied>,
        common: &mut Common,
    ) {
        self.serving.remove(&request);
        let response = match placed {
            Ok(place) => Response::Admitted(Box::new(place)),
            Err(Denied::TooOld(_)) => Response::TooOld,
            Err(Denied::Refused(error)) => Response::Refused(error),
        };
        answer_at_door(request, response, common);
    }

    /// What a replica here answers.
    pub(super) fn respond(
        &mut self,
        ticket: u64,
        response: Result<HostResponse, Error>,
        common: &mut Common,
    ) {
        match &response {
            Ok(HostResponse::Reply(reply)) => {
                self.acknowledge(ticket, common);
                if let Reply::Sent { messages } = reply {
                    self.check_everywhere(ticket, messages, common);
                }
            }
            Ok(HostResponse::Answer(_)) => self.check_read(ticket, common),
            Ok(HostResponse::Messages(messages)) if messages.is_empty() => {
                self.check_nothing_is_hidden(ticket, common);
            }
            Err(Error::Unknown) => sometimes("a deposed leader answered that it does not know"),
            Ok(HostResponse::Messages(_)) | Err(_) => {}
        }
        self.send(ticket, response, common);
    }

    /// What is answered now has been applied by whoever answers.
    fn acknowledge(&self, ticket: u64, common: &mut Common) {
        if let Some(&Pending { shard, .. }) = self.pending.get(&ticket)
            && let Some(replica) = self.replica(shard)
        {
            common.checks.acknowledged(shard, replica.applied().index);
        }
    }

    /// What every voter must have is on all their disks when its sender hears so.
    fn check_everywhere(&self, ticket: u64, messages: &[Sequence], common: &mut Common) {
        let Some(pending) = self.pending.get(&ticket) else {
            return;
        };
        let replica = self.replica(pending.shard).zip(pending.sends_to);
        let Some((replica, _)) =
            replica.filter(|(replica, to)| replica.shard().acknowledge(*to) == Acknowledge::All)
        else {
            return;
        };
        sometimes("a send was answered that every voter has");
        let membership = replica.status().membership;
        let view = &self.watched[&pending.shard].view;
        for message in messages {
            let index = message.index();
            let term = view.term(index);
            let (place, now) = ((self.node, pending.shard), common.now);
            let checks = &mut common.checks;
            checks.everywhere(place, (index, term), &membership, now);
        }
    }

    /// Whoever hears that nothing is there hears so of everything that had fallen due, by the leader's own time, when it
    /// asked: what did later may come later.
    fn check_nothing_is_hidden(&self, ticket: u64, common: &mut Common) {
        let pending = self.pending.get(&ticket);
        let Some((shard, (queue, asked))) =
            pending.and_then(|pending| Some((pending.shard, pending.receives?)))
        else {
            return;
        };
        let Some(replica) = self.replica(shard) else {
            return;
        };
        let hidden = hidden(replica.shard(), queue, asked);
        if hidden > 0 {
            let node = self.node;
            common.checks.fail(format!(
                "node {node}, shard {shard}: a receive of queue {} heard that nothing is there, and {hidden} had fallen due when it was asked for",
                queue.0
            ));
        }
    }

    fn check_read(&self, ticket: u64, common: &mut Common) {
        sometimes("a read was confirmed");
        let Some(&Pending { shard, known, .. }) = self.pending.get(&ticket) else {
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

    /// Messages that were leased, with their bodies.
    pub(super) fn deliver(
        &mut self,
        ticket: u64,
        leases: &Leases,
        messages: Vec<ReceivedMessage>,
        common: &mut Common,
    ) {
        self.watch_delivery(ticket, common);
        self.hand_over(ticket, leases, messages, common);
    }

    pub(super) fn deliver_soon(&mut self, ticket: u64, leases: Leases, common: &mut Common) {
        self.watch_delivery(ticket, common);
        let length = common.random.spread(200) * self.slowness;
        let what = Happening::Deliver { ticket, leases };
        common.later(self.node, self.life, length, what);
    }

    fn watch_delivery(&self, ticket: u64, common: &mut Common) {
        self.acknowledge(ticket, common);
        let pending = self.pending.get(&ticket);
        if pending.is_some_and(|pending| pending.polls) {
            sometimes("a long poll was answered with a message");
        }
    }

    pub(super) fn deliver_from_disk(&mut self, ticket: u64, leases: &Leases, common: &mut Common) {
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
        self.judge_unreadable(shard.0, &unreadable, common);
        if !unreadable.is_empty() {
            // They are leased, and nobody is told of it.
            common.lost_receives.push(LostReceive {
                queue: leases.queue,
                max: u32::try_from(unreadable.len()).expect("few messages"),
                from: common.now.saturating_sub(LEASED_WITHIN),
                to: common.now,
            });
        }
        match delivered {
            Ok(messages) => self.hand_over(ticket, leases, messages, common),
            Err(error) => drop(self.send(ticket, Err(error), common)),
        }
    }

    /// Damage excuses what it struck. A replica that moved away meanwhile takes its bodies along.
    pub(super) fn judge_unreadable(
        &mut self,
        shard: u16,
        unreadable: &[Unreadable],
        common: &mut Common,
    ) {
        for body in unreadable {
            if let Some(damaged) = body.damage(ShardId(shard)) {
                self.tell(damaged, common);
            }
            let Unreadable { message, reason } = body;
            let reason = reason.as_ref();
            if reason.is_some_and(|reason| self.is_excused(reason)) {
                sometimes("a body could not be read");
            } else if self.serves(shard) && !self.is_known_damaged(shard) {
                let node = self.node;
                let text =
                    format!("node {node}, shard {shard}: no body of {message:?}: {reason:?}");
                common.checks.fail(text);
            }
        }
    }

    fn hand_over(
        &mut self,
        ticket: u64,
        leases: &Leases,
        messages: Vec<ReceivedMessage>,
        common: &mut Common,
    ) {
        if !self.send(ticket, Ok(HostResponse::Messages(messages)), common) {
            sometimes("leases were given back");
            self.tell(leases.give_back(), common);
        }
    }

    /// Whether anybody took it.
    fn send(
        &mut self,
        ticket: u64,
        response: Result<HostResponse, Error>,
        common: &mut Common,
    ) -> bool {
        let Some(pending) = self.pending.remove(&ticket) else {
            common
                .checks
                .fail(format!("request {ticket} has two outputs"));
            return false;
        };
        let is_empty =
            matches!(&response, Ok(HostResponse::Messages(messages)) if messages.is_empty());
        if pending.polls && is_empty && !self.serves(pending.shard) {
            sometimes("a long poll ended with its leader");
        }
        pending.responder.send(response).is_ok()
    }
}

/// How many messages of a queue an entry of this moment would make ready, if nothing later has been applied.
fn hidden(shard: &Shard, queue: QueueId, at: Stamp) -> u64 {
    let is_due = shard.next_deadline().is_some_and(|due| due <= at.now);
    if !is_due || at.now <= shard.now().now {
        return 0;
    }
    let ready = |shard: &Shard| {
        let mut all = shard.counts();
        all.find(|(id, _)| *id == queue)
            .map_or(0, |(_, counts)| counts.ready)
    };
    let mut settled = shard.clone();
    let mut entry = BatchBuilder::new(at);
    entry.push(&encode(&Command::Settle));
    settled
        .apply(
            shard.applied() + 1,
            &entry.finish(),
            &mut Vec::new(),
            &mut Vec::new(),
        )
        .expect("it was just encoded");
    ready(&settled).saturating_sub(ready(shard))
}

fn answer_at_door(request: u64, response: Response, common: &mut Common) {
    if common.random.permille(common.lost_answers) {
        return;
    }
    let at = common.now + common.network.client_delay(&mut common.random);
    common.agenda.add(at, Event::Response { request, response });
}
