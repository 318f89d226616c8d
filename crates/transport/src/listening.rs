//! Connections from others: accept, agree on TLS, hear who it is, serve.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use anser_network::Stream;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::spawn_local,
    time,
};

use crate::{
    error::Refusal,
    handler::{Caller, Visitor},
    handshake::{self, Heard},
    hello::Guest,
    places::{Place, Places},
    pulse::Pulse,
    reader::End,
    serving::Serving,
    session,
    transport::World,
    welcome::Rejection,
};

/// How long a listener rests that cannot accept, for want of file descriptors perhaps.
const REST: Duration = Duration::from_millis(50);

/// Accepts until dropped.
pub(crate) async fn listen(world: Rc<World>, listener: TcpListener) {
    let places = Rc::new(Places::new(world.config.limits.handshakes));
    let joining = Arc::new(Semaphore::new(world.config.limits.joining));
    let mut number = 0;
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the transport cannot accept a connection");
                time::sleep(REST).await;
                continue;
            }
        };
        number += 1;
        let counters = &world.shared.counters;
        counters.accepted.fetch_add(1, Ordering::Relaxed);
        let visit = Visit {
            world: Rc::clone(&world),
            joining: Arc::clone(&joining),
            number,
            from,
        };
        let place = places.place(number);
        let task = spawn_local(visit.receive(stream, place)).abort_handle();
        if places.take(number, from.ip(), task) {
            counters.crowded_out.fetch_add(1, Ordering::Relaxed);
        }
    }
}

struct Visit {
    world: Rc<World>,
    joining: Arc<Semaphore>,
    number: u64,
    from: SocketAddr,
}

impl Visit {
    async fn receive(self, stream: TcpStream, place: Place) {
        let mut permit = None;
        let hearing = Box::pin(self.hear(stream, &mut permit));
        let heard = time::timeout(self.world.config.limits.handshake_time, hearing).await;
        drop(place);
        let counters = &self.world.shared.counters;
        match heard {
            Ok((Heard::Accepted(guest), Some(stream))) => {
                Box::pin(self.serve(stream, guest)).await;
            }
            Ok((Heard::Refused(refusal), _)) => {
                counters.refused(refusal);
                tracing::debug!(from = %self.from, %refusal, "refused a connection");
            }
            Ok((Heard::Nothing(error), _)) => self.stranger(&error),
            // Without a stream nobody was accepted.
            Ok((Heard::Accepted(_), None)) | Err(_) => {
                self.stranger(&io::ErrorKind::TimedOut.into());
            }
        }
        drop(permit);
    }

    fn stranger(&self, error: &io::Error) {
        let counters = &self.world.shared.counters;
        counters.strangers.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(from = %self.from, %error, "a connection ended before it was agreed upon");
    }

    async fn hear(
        &self,
        stream: TcpStream,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> (Heard, Option<Stream>) {
        let config = &self.world.config;
        // Only a matter of speed.
        _ = stream.set_nodelay(true);
        let secured = match &config.tls {
            Some(tls) => tls.accept(stream).await,
            None => Ok(Stream::Plain(stream)),
        };
        let mut stream = match secured {
            Ok(stream) => stream,
            Err(error) => return (Heard::Nothing(error), None),
        };
        let judge = async |guest: &Guest| self.judge(guest, permit).await;
        let heard = handshake::listen(&mut stream, &config.identity, &config.secret, judge).await;
        (heard, Some(stream))
    }

    async fn judge(
        &self,
        guest: &Guest,
        permit: &mut Option<OwnedSemaphorePermit>,
    ) -> Result<(), Rejection> {
        let world = &self.world;
        let visitor = match guest {
            Guest::Joining => {
                let free = Arc::clone(&self.joining).try_acquire_owned();
                *permit = Some(free.map_err(|_| Refusal::Busy)?);
                return Ok(());
            }
            Guest::Node(visitor) => visitor,
        };
        if visitor.node == world.config.identity.node {
            return Err(Refusal::UnknownNode.into());
        }
        world.handler.judge(visitor)?;
        let patience = world.config.limits.probe_time;
        let is_agreed = |visitor: &Visitor| world.handler.is_agreed(visitor);
        let judged = world.arrivals.may_come(visitor, patience, is_agreed).await;
        judged.inspect_err(|rejection| {
            tracing::warn!(node = visitor.node, address = visitor.address, from = %self.from,
                holder = rejection.text, reason = %rejection.refusal, "one more process of a node was refused");
        })
    }

    async fn serve(&self, stream: Stream, guest: Guest) {
        let world = &self.world;
        let visitor = match guest {
            Guest::Joining => {
                let pulse = Pulse::new(Arc::default());
                let end = self.live(stream, Caller::Joining, &pulse).await;
                tracing::debug!(from = %self.from, %end, "a connection of who joins ended");
                return;
            }
            Guest::Node(visitor) => visitor,
        };
        let node = visitor.node;
        let pulse = Rc::new(Pulse::new(world.shared.counters.of(node)));
        world.handler.arrived(&visitor);
        let arrived = (world.arrivals).arrive(visitor, self.from, self.number, Rc::clone(&pulse));
        let (_arrived, end) = arrived;
        if let Some(link) = world.shared.link(node) {
            link.arrived.notify_one();
        }
        let end = tokio::select! {
            biased;
            _ = end => End::Unwanted,
            end = self.live(stream, Caller::Node(node), &pulse) => end,
        };
        tracing::debug!(from = %self.from, node, %end, "a connection from a node ended");
    }

    async fn live(&self, stream: Stream, caller: Caller, pulse: &Pulse) -> End {
        let limits = &self.world.config.limits;
        let serving = Serving::new(caller, Arc::clone(&self.world.handler), *limits);
        session::run(stream, &serving, pulse, limits).await
    }
}
