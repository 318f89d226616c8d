//! The thread around a runner of `anser-host`: takes everything that waits, then carries out what its shards
//! ask for.

use std::{
    sync::{Arc, atomic::Ordering, mpsc},
    time::Duration,
};

use anser_broker::{command::Effect, id::ShardId};
use anser_host::{CatalogNodes, Deferred, Job, Leases, Routes, WriterJob};
use anser_replica::PeerMessage;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use crate::{
    announcements::Announcements,
    bodies::{self, Deliver},
    clock::Clock,
    courier::Errand,
    crashes,
    event::{Event, HostEvent, Look, Responder, Response},
    failure::Failed,
    member::Member,
    status::{Counters, add},
    version::Versions,
};

mod member;
mod report;

/// Events taken in before the replicas' turns end.
const EVENTS_PER_TURN: usize = 4096;

/// A sleep without an end that still fits every clock.
const NEVER: Duration = Duration::from_secs(3_600);

pub(crate) struct Runner {
    pub(crate) host: anser_host::Runner<Responder>,
    pub(crate) inbox: mpsc::Receiver<Event>,
    pub(crate) itself: mpsc::Sender<Event>,
    pub(crate) writer: mpsc::Sender<WriterJob>,
    /// A shard's body reader is the one at its number modulo their count.
    pub(crate) body_readers: Vec<mpsc::Sender<bodies::Job>>,
    pub(crate) errands: UnboundedSender<Errand>,
    pub(crate) routes: Arc<Routes>,
    pub(crate) versions: Arc<Versions>,
    pub(crate) announcements: Arc<Announcements>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) failed: Failed,
    pub(crate) clock: Clock,
    /// `None`: a node for itself.
    pub(crate) member: Option<Member>,
}

impl Runner {
    pub(crate) fn run(mut self) {
        let itself = self.itself.clone();
        self.clock
            .on_advance(Box::new(move || drop(itself.send(Event::Wake))));
        loop {
            self.end_turns();
            let mut next = self.next_event();
            let mut taken = 0;
            while let Some(event) = next {
                if matches!(event, Event::Stop) {
                    return self.end_turns();
                }
                self.take(event);
                taken += 1;
                next = if taken < EVENTS_PER_TURN {
                    self.inbox.try_recv().ok()
                } else {
                    None
                };
            }
        }
    }

    /// The next event, or `None` when something is due by itself.
    fn next_event(&self) -> Option<Event> {
        let now = self.clock.now();
        let due = self.host.next_wake();
        let due = due.map_or(NEVER, |at| at.saturating_sub(now.elapsed).min(NEVER));
        let tick = self.host.next_tick();
        let tick = tick.map_or(NEVER, |at| at.saturating_sub(now.beat));
        if due.is_zero() || tick.is_zero() {
            return self.inbox.try_recv().ok();
        }
        let sleep = self.clock.sleep_for(due).min(tick);
        self.inbox.recv_timeout(sleep).ok()
    }

    fn take(&mut self, event: Event) {
        let event = match event {
            Event::Host(event) => event,
            Event::Peer { shard, message } => {
                let bytes = message.len() as u64;
                self.counters
                    .unwritten_bytes
                    .fetch_sub(bytes, Ordering::Relaxed);
                match PeerMessage::decode(message) {
                    Ok(message) => HostEvent::Peer { shard, message },
                    Err(error) => {
                        return warn!(shard = shard.0, %error, "a peer's message is not usable");
                    }
                }
            }
            Event::Order(order) => match self.ordered(order) {
                Some(event) => event,
                None => return,
            },
            Event::Look { shard, look } => return self.look(shard, look),
            Event::Report(sender) => return self.report(&sender),
            Event::Wake | Event::Stop => return,
        };
        self.host.take(&self.clock.now(), event);
    }

    fn end_turns(&mut self) {
        let now = self.clock.now();
        self.host.end_turns(&now);
        while let Some(job) = self.host.next_job() {
            self.carry_out(job);
        }
        self.end_turns_among_peers(&now);
    }

    fn carry_out(&mut self, job: Job<Responder>) {
        match job {
            Job::Write(job) => self.write(job),
            Job::Respond { asker, response } => {
                // Whoever asked may be gone, and then nobody wants the answer.
                asker.send(response);
            }
            Job::HandOver {
                asker,
                leases,
                messages,
            } => {
                add(&self.counters.cache_hits, leases.deliveries.len() as u64);
                if !asker.send(Ok(Response::Messages(messages))) {
                    bodies::give_back(&self.itself, &leases);
                }
            }
            Job::Deliver { asker, leases } => self.read_and_deliver(asker, leases),
            Job::Effect { shard, effect } => self.heed(shard, effect),
            Job::NodesChanged(nodes) => self.nodes_changed(nodes),
            Job::Leadership { shard, term, leads } => {
                info!(shard = shard.0, leads, "leadership");
                self.leads(shard, term, leads);
            }
            Job::Failed { shard, reason } => {
                error!(shard = shard.0, %reason, "a replica cannot go on");
                if let anser_replica::Failure::UnreadableEntry { index, .. } = &reason {
                    crashes::note(shard, *index, &reason.to_string());
                }
                self.failed.set(format!("shard {}: {reason}", shard.0));
            }
            among_peers => self.carry_out_among_peers(among_peers),
        }
    }

    fn write(&self, job: WriterJob) {
        if let WriterJob::Defer(Deferred::Forget { shard, damaged, .. }) = &job {
            warn!(
                shard = shard.0,
                set_aside = damaged,
                "the shard's members have decided that no replica of it is here"
            );
        }
        add(&self.counters.unwritten_bytes, job.bytes());
        // A writer that is gone has failed and said so; nothing is acknowledged any more.
        drop(self.writer.send(job));
    }

    fn heed(&self, shard: ShardId, effect: Effect) {
        match effect {
            Effect::RouteChanged(placed) => {
                self.routes.change(&placed);
                self.announce_late(&placed);
            }
            Effect::MovesPending { queue } => {
                // The courier ends only with the node.
                drop(self.errands.send(Errand::Moves { shard, queue }));
            }
            Effect::Unsettled(placed) => drop(self.errands.send(Errand::Place(placed))),
            Effect::OutboxReady { subscription } => self.announcements.announce(subscription),
            Effect::NodesChanged | Effect::QueueReady { .. } | Effect::QueueGone { .. } => {}
        }
    }

    fn read_and_deliver(&self, responder: Responder, leases: Leases) {
        add(&self.counters.cache_misses, leases.deliveries.len() as u64);
        let job = Deliver {
            leases,
            responder,
            runner: self.itself.clone(),
        };
        self.read(job.leases.shard, bodies::Job::Deliver(job));
    }

    fn read(&self, shard: ShardId, job: bodies::Job) {
        let reader = usize::from(shard.0) % self.body_readers.len();
        // Body readers end after the runners; a lease that nobody hears of ends by itself.
        drop(self.body_readers[reader].send(job));
    }

    fn nodes_changed(&self, catalog: CatalogNodes) {
        // A node that cannot read what the others may write from now on stops before it comes.
        if let Err(error) = self.versions.rise(catalog.version) {
            error!(%error, "this node cannot go on");
            self.failed.set(error.to_string());
        }
        if let Some(member) = &self.member {
            member.cluster.members.set(catalog.nodes);
        }
    }

    /// Whoever looks for a replica that is not here hears so by the end of its channel.
    fn look(&self, shard: ShardId, look: Look) {
        // Whoever looks may have given up waiting.
        if let Look::Image(sender) = look {
            if let Some(image) = self.host.image(shard) {
                drop(sender.send(image));
            }
            return;
        }
        let Some(replica) = self.host.replica(shard) else {
            return;
        };
        match look {
            Look::Moves(queue, most, sender) if replica.serves() => {
                let moves = replica.shard().moves(queue, most);
                drop(sender.send(moves));
            }
            Look::Moves(..) | Look::Image(_) => {}
            Look::Followers(sender) => drop(sender.send(anser_host::followers(replica))),
            Look::Applied(sender) => drop(sender.send(replica.applied().index)),
        }
    }
}
