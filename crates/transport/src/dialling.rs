//! The connection to one peer: dial, live, wait, dial again.

use std::{
    rc::Rc,
    sync::{Arc, atomic::Ordering},
};

use anser_network::Stream;
use tokio::{
    sync::watch,
    time::{self, Instant},
};

use crate::{
    backoff::Backoff,
    config::Peer,
    dial::dial,
    error::{DialError, Refusal},
    handler::Handler,
    handshake::Purpose,
    link::{Link, Up},
    pulse::Pulse,
    session,
    transport::World,
};

/// Works for one peer until dropped. The peer's incarnation stays, its address may change.
pub(crate) async fn keep_connected(
    world: Rc<World>,
    node: u64,
    link: Arc<Link>,
    mut peer: watch::Receiver<Peer>,
) {
    let mut backoff = Backoff::new(&world.config.limits);
    let mut last_failure = None;
    loop {
        let target = peer.borrow_and_update().clone();
        let dialled = tokio::select! {
            dialled = Box::pin(reach(&world, node, &target)) => dialled,
            Ok(()) = peer.changed() => continue,
        };
        match dialled {
            Ok(stream) => {
                last_failure = None;
                link.counters.set_refusal(None);
                let since = Instant::now();
                live(&world, node, &link, stream, &target).await;
                backoff.lived(since.elapsed());
            }
            Err(error) => {
                link.counters.failed_dials.fetch_add(1, Ordering::Relaxed);
                let refusal = refusal(&error);
                link.counters.set_refusal(refusal);
                report(node, &target, &mut last_failure, &error);
                if refusal.is_some() {
                    world.handler.refused(node, &error);
                }
            }
        }
        tokio::select! {
            () = time::sleep(backoff.next()) => {}
            () = link.arrived.notified() => {}
            Ok(()) = peer.changed() => {}
        }
    }
}

async fn reach(world: &World, node: u64, target: &Peer) -> Result<Stream, DialError> {
    let config = &world.config;
    let purpose = Purpose::Reach {
        own: &world.introduction,
        node,
        incarnation: target.incarnation,
    };
    let tls = config.tls.as_ref();
    let length = config.limits.handshake_time;
    let dialled = dial(&target.address, purpose, &config.secret, tls, length).await;
    dialled.map(|(stream, _)| stream)
}

fn refusal(error: &DialError) -> Option<Refusal> {
    match error {
        DialError::Refused(refusal) => Some(*refusal),
        DialError::PlaceTaken { .. } => Some(Refusal::PlaceTaken),
        _ => None,
    }
}

async fn live(world: &World, node: u64, link: &Link, stream: Stream, target: &Peer) {
    let presence = Presence::new(node, link, &*world.handler);
    tracing::info!(node, address = target.address, "connected to a node");
    let pulse = Pulse::new(Arc::clone(&link.counters));
    let end = session::run(stream, link, &pulse, &world.config.limits).await;
    drop(presence);
    tracing::info!(node, address = target.address, %end, "the connection to a node ended");
}

/// A node that is down is one line in the log for each reason, not for each dial.
fn report(node: u64, target: &Peer, last: &mut Option<String>, error: &DialError) {
    let reason = error.to_string();
    if last.as_ref() == Some(&reason) {
        tracing::debug!(node, address = target.address, %error, "cannot connect to a node");
    } else {
        tracing::warn!(node, address = target.address, %error, "cannot connect to a node");
        *last = Some(reason);
    }
}

/// The link is up and the handler knows it, until dropped.
struct Presence<'life> {
    node: u64,
    up: Option<Up<'life>>,
    handler: &'life dyn Handler,
}

impl<'life> Presence<'life> {
    fn new(node: u64, link: &'life Link, handler: &'life dyn Handler) -> Self {
        let up = Some(link.up());
        handler.connection(node, true);
        Self { node, up, handler }
    }
}

impl Drop for Presence<'_> {
    fn drop(&mut self) {
        drop(self.up.take());
        self.handler.connection(self.node, false);
    }
}
