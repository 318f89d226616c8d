//! What the tasks of a process ask for, carried out in the simulated world.

use anser_broker::{
    id::{QueueId, ShardId},
    time::Stamp,
};
use anser_host::{Event as HostEvent, Request};
use anser_replica::Ticket;

use super::{
    Process,
    port::{Call, Responder},
    requests::Pending,
};
use crate::{
    coverage::sometimes,
    event::{Happening, Micros, Reading, micros},
    world::Common,
};

impl Process {
    /// Lets the tasks go on until all wait, and carries out what they ask for.
    pub(super) fn run_tasks(&mut self, common: &mut Common) {
        self.set_port(common);
        loop {
            self.tasks.run();
            let calls = self.port.take_calls();
            if calls.is_empty() {
                return;
            }
            for call in calls {
                self.carry_out_call(call, common);
            }
        }
    }

    fn set_port(&mut self, common: &Common) {
        let others = common.lives.keys().copied();
        let peers = others.filter(|&node| {
            node != self.node
                && common.network.is_connected(self.node, node)
                && common.network.is_connected(node, self.node)
        });
        let elapsed = self.clock.now(common.now).elapsed;
        let full = self.full_shards(common);
        self.port.set(elapsed, peers.collect(), full);
    }

    fn carry_out_call(&mut self, call: Call, common: &mut Common) {
        match call {
            Call::Submit {
                shard,
                ticket,
                request,
                responder,
            } => self.submit(shard, ticket, request, responder, common),
            Call::Cancel { shard, ticket } => {
                self.tell(HostEvent::Cancel { shard, ticket }, common);
            }
            Call::GiveBack {
                shard,
                queue,
                receipts,
            } => {
                sometimes("leases were given back");
                let event = HostEvent::GiveBack {
                    shard,
                    queue,
                    receipts,
                };
                self.tell(event, common);
            }
            Call::Change { command, done } => self.reconciler.change(command, done),
            Call::Spawn(task) => drop(self.tasks.begin(task)),
            Call::Sleep { length, responder } => {
                let what = Happening::Slept(responder);
                common.later(self.node, self.life, micros(length).max(1), what);
            }
            Call::Answer { request, response } => self.answer(request, response, common),
            Call::AnswerJoin { request, placed } => self.answer_join(request, placed, common),
            Call::AnswerChange { request, placed } => self.answer_change(request, placed, common),
            look @ (Call::Lanes { .. } | Call::Applied { .. } | Call::Bodies { .. }) => {
                self.look_for(look, common);
            }
            among_peers => self.carry_out_peer_call(among_peers, common),
        }
    }

    fn submit(
        &mut self,
        shard: ShardId,
        ticket: Ticket,
        request: Request,
        responder: Responder,
        common: &mut Common,
    ) {
        let polls = matches!(&request, Request::Receive(receive) if receive.wait.is_some_and(|wait| wait.0 > 0));
        let sends_to = match &request {
            Request::Propose(command) => command.sends_to(),
            _ => None,
        };
        let pending = Pending {
            shard: shard.0,
            sends_to,
            known: common.checks.last_acknowledged(shard.0),
            receives: self.receives(shard, &request, common.now),
            polls,
            responder,
        };
        self.pending.insert(ticket.0, pending);
        let request = HostEvent::Request {
            shard,
            ticket,
            request,
            asker: ticket.0,
        };
        self.tell(request, common);
    }

    /// Where a receive looks, and by what time it is asked for, if that is known here.
    fn receives(&self, shard: ShardId, request: &Request, now: Micros) -> Option<(QueueId, Stamp)> {
        let Request::Receive(receive) = request else {
            return None;
        };
        // One that waits may end while something is settled that was sent, by an older stamp, after it was asked for.
        if receive.wait.is_some_and(|wait| wait.0 > 0) {
            return None;
        }
        let clocks = self.clock.now(now);
        let asked = Stamp {
            now: self.host.time_of(shard, &clocks)?,
            wall: clocks.wall,
            ..Stamp::default()
        };
        Some((receive.queue, asked))
    }

    /// Whoever looks for a replica that is not here hears so by the end of its channel.
    fn look_for(&mut self, call: Call, common: &mut Common) {
        match call {
            Call::Lanes {
                shard,
                queue,
                moves_max,
                responder,
            } => {
                let replica = self.host.replica(shard);
                if let Some(replica) = replica.filter(|replica| replica.serves()) {
                    drop(responder.send(replica.shard().moves(queue, moves_max)));
                }
            }
            Call::Applied { shard, responder } => {
                if let Some(replica) = self.host.replica(shard) {
                    responder.send(replica.applied().index).ok();
                }
            }
            Call::Bodies {
                shard,
                messages,
                bytes_max,
                responder,
            } => {
                let reading = Reading {
                    shard,
                    messages,
                    bytes_max,
                    responder,
                };
                let length = common.random.spread(200) * self.slowness;
                common.later(self.node, self.life, length, Happening::ReadBodies(reading));
            }
            _ => unreachable!("carried out elsewhere"),
        }
    }

    /// Bodies for a task that carries them to another shard.
    pub(super) fn read_bodies(&mut self, reading: Reading, common: &mut Common) {
        let Reading {
            shard,
            messages,
            bytes_max,
            responder,
        } = reading;
        let mut unreadable = Vec::new();
        let bodies = self
            .bodies
            .fetch(shard, &messages, bytes_max, &mut unreadable);
        self.judge_unreadable(shard.0, &unreadable, common);
        drop(responder.send(bodies));
    }
}
