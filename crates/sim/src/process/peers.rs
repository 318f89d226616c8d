//! What nodes ask each other, over connections that hold or break: an answer that does not come in time is lost.

use std::collections::BTreeMap;

use anser_broker::{codec, command::Command};
use anser_host::{PeerError, PeerRequest, PeerResponse, Request};

use super::{
    Process,
    port::{Call, PeerResponder},
};
use crate::{
    coverage::sometimes,
    event::{Caller, Event, Happening, LostReceive, Micros, SECOND},
    world::Common,
};

/// How often a connection on which an answer is waited for is looked at.
const LOOKED_AT_EVERY: Micros = 2 * SECOND;

/// Requests between this process and others.
#[derive(Default)]
pub(super) struct Peers {
    asked: BTreeMap<u64, Asked>,
    /// The tasks that answer, by who asked.
    answering: BTreeMap<Caller, u64>,
}

/// A request to another node that has no answer yet.
struct Asked {
    node: u64,
    /// Of the other's process.
    life: u64,
    responder: PeerResponder,
    /// What may be leased though nobody will know, if the answer is lost.
    receive: Option<LostReceive>,
}

impl Process {
    pub(super) fn carry_out_peer_call(&mut self, call: Call, common: &mut Common) {
        match call {
            Call::AskPeer {
                number,
                node,
                request,
                responder,
            } => self.ask_peer(number, node, request, responder, common),
            Call::Unask { number } => self.unask(number, common),
            Call::AnswerPeer { caller, response } => self.answer_peer(caller, response, common),
            _ => unreachable!("carried out elsewhere"),
        }
    }

    fn ask_peer(
        &mut self,
        number: u64,
        node: u64,
        request: PeerRequest,
        responder: PeerResponder,
        common: &mut Common,
    ) {
        let life = common.lives.get(&node).copied();
        let Some(life) = life.filter(|_| common.network.is_connected(self.node, node)) else {
            // Whoever asked may be gone.
            drop(responder.send(Err(PeerError::NotSent)));
            return;
        };
        if matches!(request, PeerRequest::Shard { .. }) {
            sometimes("a request was forwarded");
        }
        let receive = match &request {
            PeerRequest::Shard {
                request: Request::Receive(receive),
                ..
            } => Some(LostReceive {
                queue: receive.queue,
                max: receive.max,
                from: common.now,
                to: common.now,
            }),
            _ => None,
        };
        let asked = Asked {
            node,
            life,
            responder,
            receive,
        };
        self.peers.asked.insert(number, asked);
        let caller = Caller {
            node: self.node,
            life: self.life,
            number,
        };
        let breaks = common.network.breaks(&mut common.random) && is_of_an_errand(&request);
        let arrives = if breaks {
            None
        } else {
            arrival(self.node, node, common)
        };
        if let Some(at) = arrives {
            let what = Happening::Asked { caller, request };
            common.agenda.add(at, Event::Node { node, life, what });
            let what = Happening::LookAt { number };
            common.later(self.node, self.life, LOOKED_AT_EVERY, what);
        } else {
            lose_soon(caller, common);
            stray(caller, (node, life), request, common);
        }
    }

    /// A connection on which an answer is waited for may have broken.
    pub(super) fn look_at(&mut self, number: u64, common: &mut Common) {
        let Some(asked) = self.peers.asked.get(&number) else {
            return;
        };
        let node = asked.node;
        let holds = common.lives.get(&node) == Some(&asked.life)
            && common.network.is_connected(self.node, node)
            && common.network.is_connected(node, self.node);
        if holds {
            let what = Happening::LookAt { number };
            common.later(self.node, self.life, LOOKED_AT_EVERY, what);
        } else {
            self.peer_lost(number, common);
        }
    }

    /// An answer was lost. A receive is asked for again, and whoever waits for it never hears of this attempt.
    pub(super) fn peer_lost(&mut self, number: u64, common: &mut Common) {
        if let Some(asked) = self.peers.asked.remove(&number) {
            sometimes("the answer of another node was lost");
            let to = common.now;
            let lost = asked.receive.map(|receive| LostReceive { to, ..receive });
            common.lost_receives.extend(lost);
            drop(asked.responder.send(Err(PeerError::Lost)));
        }
    }

    fn unask(&mut self, number: u64, common: &mut Common) {
        let Some(asked) = self.peers.asked.remove(&number) else {
            return;
        };
        let caller = Caller {
            node: self.node,
            life: self.life,
            number,
        };
        // If it is lost, so is the connection, and the other finds out when it answers.
        send(
            self.node,
            (asked.node, asked.life),
            Happening::Unasked { caller },
            common,
        );
    }

    /// Another node asks this one.
    pub(super) fn asked(&mut self, caller: Caller, request: PeerRequest) {
        let port = self.port.clone();
        let task = self.tasks.begin(Box::pin(async move {
            let response = anser_host::answer(&port, request).await;
            port.call(Call::AnswerPeer { caller, response });
        }));
        self.peers.answering.insert(caller, task);
    }

    pub(super) fn unasked(&mut self, caller: Caller) {
        if let Some(task) = self.peers.answering.remove(&caller) {
            sometimes("nobody waited for an answer to another node any more");
            self.tasks.end(task);
        }
    }

    fn answer_peer(&mut self, caller: Caller, response: PeerResponse, common: &mut Common) {
        self.peers.answering.remove(&caller);
        let number = caller.number;
        let to = (caller.node, caller.life);
        if !send(
            self.node,
            to,
            Happening::Answered { number, response },
            common,
        ) {
            lose_soon(caller, common);
        }
    }

    pub(super) fn answered(&mut self, number: u64, response: PeerResponse) {
        if let Some(asked) = self.peers.asked.remove(&number) {
            // Whoever asked may be gone.
            drop(asked.responder.send(Ok(response)));
        }
    }
}

/// The connection breaks; it takes time until the caller notices.
fn lose_soon(caller: Caller, common: &mut Common) {
    let length = common.random.spread(SECOND).min(10 * SECOND);
    let number = caller.number;
    common.later(
        caller.node,
        caller.life,
        length,
        Happening::PeerLost { number },
    );
}

/// The connection has broken, and what a node's errands ask again and again comes all the same, long after. What clients
/// ask does not: the judge takes a visibility that was changed without an answer for one that is changed by then.
fn stray(caller: Caller, (node, life): (u64, u64), request: PeerRequest, common: &mut Common) {
    if !is_of_an_errand(&request) {
        return;
    }
    if let Some(late) = common.network.straying(&mut common.random) {
        sometimes("a request came whose connection had broken");
        common.later(node, life, late, Happening::Asked { caller, request });
    }
}

/// Whether it tells a home what the catalog says, or carries messages to another queue.
fn is_of_an_errand(request: &PeerRequest) -> bool {
    let PeerRequest::Shard {
        request: Request::Propose(command),
        ..
    } = request
    else {
        return false;
    };
    matches!(
        codec::decode(&command.bytes),
        Ok(Command::PutQueue { .. }
            | Command::DropQueue { .. }
            | Command::PutTopic { .. }
            | Command::DropTopic { .. }
            | Command::PutSubscription { .. }
            | Command::DropSubscription { .. }
            | Command::AcceptMoved { .. }
            | Command::Settled { .. })
    )
}

fn arrival(from: u64, to: u64, common: &mut Common) -> Option<Micros> {
    let network = &mut common.network;
    let arrivals = network.arrivals(from, to, common.now, &mut common.random);
    arrivals.first().copied()
}

/// Whether it arrives.
fn send(from: u64, (node, life): (u64, u64), what: Happening, common: &mut Common) -> bool {
    let Some(at) = arrival(from, node, common) else {
        return false;
    };
    common.agenda.add(at, Event::Node { node, life, what });
    true
}
