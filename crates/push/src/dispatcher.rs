//! The dispatcher: follows which subscriptions have work, and gives each of them one loop at most.
//!
//! A subscription without work has no loop and costs nothing. A loop takes itself off the list at the
//! moment when it ends, so that no announcement is told to a loop that does not listen.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    pin::pin,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anser_broker::{id::SubscriptionId, outboxes::Outboxes};
use tokio::{
    select,
    sync::{Notify, watch},
    task::{JoinError, JoinSet},
    time,
};

use crate::{
    Stop, accounts::Accounts, config::Config, hosts::Hosts, metrics::Metrics, places::Places,
    sender::Sender, subscription::Subscription, trust::Trust,
};

/// How often idle connections are looked after, at least.
const SWEEP_MOST: Duration = Duration::from_secs(10);
const SWEEP_LEAST: Duration = Duration::from_millis(100);

/// What all subscriptions share.
pub(crate) struct Shared<O> {
    pub(crate) outboxes: O,
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) hosts: Hosts,
    pub(crate) accounts: Accounts,
    pub(crate) places: Places,
    pub(crate) sender: Sender,
    pub(crate) bells: RefCell<HashMap<SubscriptionId, Rc<Bell>>>,
    /// Whether nothing more shall be taken.
    pub(crate) closing: watch::Sender<bool>,
}

/// Tells a loop that its subscription was announced again.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    changed: Notify,
}

impl Bell {
    fn ring(&self) {
        self.rung.set(true);
        self.changed.notify_one();
    }

    /// Whether it was rung since it was asked last.
    pub(crate) fn was_rung(&self) -> bool {
        self.rung.take()
    }

    /// Waits until it may have been rung.
    pub(crate) async fn listen(&self) {
        self.changed.notified().await;
    }
}

/// Pushes until it shall stop or the node does.
pub(crate) async fn run<O: Outboxes>(
    outboxes: O,
    config: Config,
    trust: Trust,
    metrics: Arc<Metrics>,
    stop: watch::Receiver<Stop>,
) {
    let shared = Rc::new(Shared {
        hosts: Hosts::new(&config),
        accounts: Accounts::new(&config),
        places: Places::new(&config),
        sender: Sender::new(&config, trust, Arc::clone(&metrics)),
        bells: RefCell::default(),
        closing: watch::Sender::new(false),
        outboxes,
        config,
        metrics,
    });
    let mut loops = JoinSet::new();
    select! {
        () = follow(&shared, &mut loops) => {}
        () = asked_to_stop(stop.clone()) => {}
    }
    shared.closing.send_replace(true);
    select! {
        () = all_ended(&mut loops) => {}
        () = end_of_grace(stop) => {}
    }
}

async fn follow<O: Outboxes>(shared: &Rc<Shared<O>>, loops: &mut JoinSet<()>) {
    // Kept while other things happen: an announcement must not be lost with its future.
    let mut pending = pin!(shared.outboxes.next_pending());
    let mut sweep = time::interval(shared.hosts.idle_time().clamp(SWEEP_LEAST, SWEEP_MOST));
    loop {
        select! {
            announced = &mut pending => {
                let Some(subscription) = announced else {
                    return;
                };
                announce(shared, subscription, loops);
                pending.set(shared.outboxes.next_pending());
            }
            Some(ended) = loops.join_next() => pass_on_panic(ended),
            _ = sweep.tick() => {
                shared.hosts.sweep();
                shared.accounts.sweep();
            }
        }
    }
}

fn announce<O: Outboxes>(
    shared: &Rc<Shared<O>>,
    subscription: SubscriptionId,
    loops: &mut JoinSet<()>,
) {
    let mut bells = shared.bells.borrow_mut();
    if let Some(bell) = bells.get(&subscription) {
        bell.ring();
        return;
    }
    let bell = Rc::new(Bell::default());
    bells.insert(subscription, Rc::clone(&bell));
    let shared = Rc::clone(shared);
    loops.spawn_local(Subscription::new(shared, subscription, bell).run());
}

async fn all_ended(loops: &mut JoinSet<()>) {
    while let Some(ended) = loops.join_next().await {
        pass_on_panic(ended);
    }
}

pub(crate) fn pass_on_panic<T>(ended: Result<T, JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        std::panic::resume_unwind(error.into_panic());
    }
}

async fn asked_to_stop(mut stop: watch::Receiver<Stop>) {
    // An error means that nobody is left who could ask.
    _ = stop.wait_for(|stop| *stop != Stop::Not).await;
}

async fn end_of_grace(mut stop: watch::Receiver<Stop>) {
    let asked = stop.wait_for(|stop| matches!(stop, Stop::At(_))).await;
    let asked = asked.map(|stop| *stop);
    if let Ok(Stop::At(end)) = asked {
        time::sleep_until(end).await;
    }
}
