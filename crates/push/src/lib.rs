//! Messages out: a pusher consumes the outboxes of subscriptions over HTTP.
//!
//! It is a consumer like any other: it leases messages, posts them, and ends or returns the leases.
//! A pusher that dies leaves leases that end by themselves, so that another one delivers again.
//!
//! Read [`start`] first, then `dispatcher` for which subscriptions have work, `subscription` for the
//! life of one of them, `sender` for one push, and `guard` for where a push may go.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use anser_broker::outboxes::Outboxes;
use tokio::{runtime, sync::watch, task::LocalSet, time::Instant};

mod accounts;
mod address;
mod answer;
mod config;
mod connection;
mod connector;
mod dispatcher;
mod endpoint;
mod failure;
mod fair;
mod format;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod hosts;
mod machine;
mod metrics;
mod pace;
mod peers;
mod places;
mod prelude;
mod resolver;
mod retry_after;
mod sender;
mod settle;
mod signature;
mod subscription;
mod trust;

pub use anser_network::{Network, NotANetwork};
pub use config::{Config, OtherNodes};
pub use endpoint::{Endpoint, NotAnEndpoint};
pub use metrics::Metrics;
pub use resolver::{Addresses, Resolver, SystemResolver};
pub use signature::secret_of;

/// How far the pusher shall stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    Not,
    /// Nothing more is taken. What is under way goes on.
    Taking,
    /// Nothing goes on beyond this moment.
    At(Instant),
}

/// How many names may be looked up at once. The system's resolver takes a thread for each.
const LOOKUP_THREADS: usize = 256;

/// A running pusher. Dropped without [`Pusher::shutdown`], it stops at once.
#[derive(Debug)]
pub struct Pusher {
    metrics: Arc<Metrics>,
    stop: watch::Sender<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// Begins to push what is in the outboxes, until [`Pusher::shutdown`].
///
/// # Errors
/// If a setting is out of its range, or the file of root certificates cannot be read.
pub fn start<O: Outboxes>(outboxes: O, config: Config) -> io::Result<Pusher> {
    config.check()?;
    let trust = trust::Trust::load(config.roots.as_deref())?;
    let metrics = Arc::new(Metrics::default());
    let (stop, stopped) = watch::channel(Stop::Not);
    let runtime = runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LOOKUP_THREADS)
        .thread_name("push-lookup")
        .build()?;
    let counted = Arc::clone(&metrics);
    let thread = thread::Builder::new().name("push".into()).spawn(move || {
        let tasks = LocalSet::new();
        tasks.block_on(
            &runtime,
            dispatcher::run(outboxes, config, trust, counted, stopped),
        );
        drop(tasks);
        // A lookup that hangs must not hold up the end.
        runtime.shutdown_background();
    })?;
    Ok(Pusher {
        metrics,
        stop,
        thread: Some(thread),
    })
}

impl Pusher {
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Takes no more messages. Pushes under way go on, until [`Pusher::shutdown`] at the longest.
    pub fn close(&self) {
        self.stop.send_if_modified(|stop| {
            let is_open = *stop == Stop::Not;
            if is_open {
                *stop = Stop::Taking;
            }
            is_open
        });
    }

    /// Takes no more messages, lets pushes under way end, and returns when they have, or after
    /// `grace`. Messages that were being pushed then are pushed again when their leases have ended.
    pub fn shutdown(mut self, grace: Duration) {
        self.end(grace);
    }

    fn end(&mut self, grace: Duration) {
        self.stop.send_replace(Stop::At(Instant::now() + grace));
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the pusher's thread panicked");
        }
    }
}

impl Drop for Pusher {
    fn drop(&mut self) {
        self.end(Duration::ZERO);
    }
}
