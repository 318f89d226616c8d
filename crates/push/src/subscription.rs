//! The loop of one subscription: take messages, push them, settle them, until there are none.
//!
//! The loop decides and never waits for one thing only; what takes time runs in its tasks and comes
//! back as an [`Event`]. It ends when no task is left, which is after a take that found nothing: then
//! the outbox announces the subscription again when there is something.

use std::{rc::Rc, sync::Arc, time::Duration};

use anser_broker::{
    error::Error,
    id::{Receipt, SubscriptionId},
    limits,
    outboxes::{Outboxes, PendingDelivery, Subscriber},
    retry::RetryStrategy,
    time::Millis,
};
use tokio::{
    select,
    task::{AbortHandle, JoinError, JoinSet},
    time,
};

use crate::{
    accounts::Account,
    dispatcher::{Bell, Shared},
    endpoint::{Endpoint, NotAnEndpoint},
    hosts::Host,
    pace::{Hold, Pace, Role},
    places::{Place, Wanted},
    settle::{Pause, settle},
};

mod push;

pub(crate) struct Subscription<O> {
    shared: Rc<Shared<O>>,
    id: SubscriptionId,
    bell: Rc<Bell>,
    tasks: JoinSet<Event>,
    target: Option<Rc<Target>>,
    supply: Supply,
    taking: bool,
    /// Waits that are cut short when nothing more shall be taken.
    waits: Waits,
    pushes: usize,
    pace: Pace,
    /// Pushed, and not yet ended.
    received: Vec<Receipt>,
    settling: bool,
    pause: Pause,
}

/// Long enough to gather the successes of a burst, and short enough for nobody to notice: a crash
/// meanwhile means as many more repeated pushes.
const GATHERING_TIME: Duration = Duration::from_millis(10);

/// How long the first probes after a hold may take until others follow them: as long as the shortest
/// hold.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// Whether a take may find something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Supply {
    Announced,
    /// Nothing until the next announcement.
    Nothing,
    /// Nothing shall be taken any more: the subscription is gone, or the pusher stops.
    Closed,
}

#[derive(Debug, Default)]
struct Waits {
    places: Option<AbortHandle>,
    hold: Option<AbortHandle>,
    /// Since the first probe after the last hold.
    probes: Option<AbortHandle>,
    /// One for each answer that asked for it, so no more than pushes can be under way. Nothing is taken
    /// while there is one: unlike a hold, the receiver has asked for it, and no success ends it.
    quiet: Vec<AbortHandle>,
}

/// Where the messages go, for as long as the subscription stays as it is.
#[derive(Debug)]
struct Target {
    subscriber: Arc<Subscriber>,
    endpoint: Result<Endpoint, NotAnEndpoint>,
    host: Rc<Host>,
    account: Rc<Account>,
}

/// What came of a task.
enum Event {
    /// There are places for messages.
    Places(Vec<Place>),
    Taken(Result<Vec<PendingDelivery>, Error>, Vec<Place>),
    Pushed(Receipt),
    /// A push failed, and its message was returned or given up. The receiver wants to be left alone for
    /// so long.
    Failed(Role, Millis),
    /// It is time to tell the outbox what was received.
    Gathered,
    /// What was received was told to the outbox.
    Settled,
    HoldEnded(u64),
    /// The first probe after this hold is a second old.
    ProbeTime(u64),
    QuietEnded,
}

impl<O: Outboxes> Subscription<O> {
    pub(crate) fn new(shared: Rc<Shared<O>>, id: SubscriptionId, bell: Rc<Bell>) -> Self {
        let pace = Pace::new(shared.config.subscription_pushes);
        Self {
            shared,
            id,
            bell,
            tasks: JoinSet::new(),
            target: None,
            supply: Supply::Announced,
            taking: false,
            waits: Waits::default(),
            pushes: 0,
            pace,
            received: Vec::new(),
            settling: false,
            pause: Pause::default(),
        }
    }

    pub(crate) async fn run(mut self) {
        let mut closing = self.shared.closing.subscribe();
        loop {
            // Once it has closed, what is announced is for after its end.
            if self.supply != Supply::Closed && self.bell.was_rung() {
                self.announce();
            }
            self.wait_for_places();
            self.end_received();
            if self.tasks.is_empty() {
                if self.supply == Supply::Closed && !*closing.borrow() && self.bell.was_rung() {
                    // The outbox was not there when it was looked for, and is now.
                    self.supply = Supply::Announced;
                }
                if self.supply != Supply::Announced {
                    break;
                }
                // Nobody would announce it again. Only the pace can hold back a loop without tasks.
                self.pace.reset();
                continue;
            }
            select! {
                Some(ended) = self.tasks.join_next() => self.handle(ended),
                () = self.bell.listen() => {}
                _ = closing.wait_for(|closing| *closing), if self.supply != Supply::Closed => self.close(),
            }
        }
        self.shared.bells.borrow_mut().remove(&self.id);
    }

    fn handle(&mut self, ended: Result<Event, JoinError>) {
        match ended {
            Ok(event) => self.on(event),
            // The only tasks that are cut short are waits.
            Err(error) if error.is_cancelled() => {}
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }

    fn on(&mut self, event: Event) {
        match event {
            Event::Places(places) => self.take(places),
            Event::Taken(Ok(deliveries), places) => self.push_all(deliveries, places),
            Event::Taken(Err(error), _) => self.take_failed(error),
            Event::Pushed(receipt) => self.pushed(receipt),
            Event::Failed(role, quiet) => {
                self.failed(role);
                self.keep_quiet(quiet);
            }
            Event::Gathered => self.end_gathered(),
            Event::Settled => self.settling = false,
            Event::HoldEnded(number) => {
                if self.pace.hold_ended(number) {
                    self.announce();
                }
            }
            Event::ProbeTime(number) => {
                if self.pace.second_passed(number) {
                    self.announce();
                }
            }
            Event::QuietEnded => {
                self.waits.quiet.retain(|wait| !wait.is_finished());
                self.announce();
            }
        }
    }

    fn announce(&mut self) {
        if self.supply == Supply::Nothing {
            self.supply = Supply::Announced;
        }
    }

    /// Begins to take messages, if there may be some and they may be pushed.
    fn wait_for_places(&mut self) {
        if self.supply != Supply::Announced || self.taking {
            return;
        }
        let Some(target) = self.current_target() else {
            self.close();
            return;
        };
        let room = self.room(&target);
        if room > 0 {
            self.taking = true;
            self.supply = Supply::Nothing;
            let (shared, pause) = (Rc::clone(&self.shared), self.pause.length);
            let subscription = self.id;
            self.waits.places = Some(self.tasks.spawn_local(async move {
                time::sleep(pause).await;
                let wanted = Wanted {
                    subscription,
                    host: &target.host,
                    account: &target.account,
                };
                Event::Places(shared.places.take(wanted, room).await)
            }));
        }
    }

    /// How many messages may be taken now.
    fn room(&self, target: &Target) -> usize {
        // Leases must not end because the outbox is slower than the endpoint.
        if self.received.len() >= limits::BATCH_MESSAGES_MAX || !self.waits.quiet.is_empty() {
            return 0;
        }
        match target.subscriber.retry {
            RetryStrategy::BackOff => {
                let settled = self.received.is_empty() && !self.settling;
                usize::from(self.pushes == 0 && settled)
            }
            RetryStrategy::ExponentialDecay => self.pace.room(self.pushes),
        }
    }

    /// Where messages go now; `None` if the subscription is gone.
    fn current_target(&mut self) -> Option<Rc<Target>> {
        let subscriber = self.shared.outboxes.subscriber(self.id)?;
        let known = self.target.take();
        let is_elsewhere = |known: &Rc<Target>| known.subscriber.url != subscriber.url;
        if known.as_ref().is_some_and(is_elsewhere) {
            // Another server has asked for it.
            self.end_quiet();
        }
        let target = known
            .filter(|target| target.subscriber == subscriber)
            .unwrap_or_else(|| Rc::new(self.target_of(subscriber)));
        self.target = Some(Rc::clone(&target));
        Some(target)
    }

    fn target_of(&self, subscriber: Arc<Subscriber>) -> Target {
        let endpoint = Endpoint::parse(&subscriber.url);
        Target {
            host: self.shared.hosts.of(endpoint.as_ref().ok()),
            account: self.shared.accounts.of(subscriber.account),
            subscriber,
            endpoint,
        }
    }

    fn take(&mut self, mut places: Vec<Place>) {
        self.waits.places = None;
        let room = self.target.as_ref().map_or(0, |target| self.room(target));
        // A hold may have begun in the meantime.
        if room == 0 || self.supply == Supply::Closed {
            self.taking = false;
            self.announce();
            return;
        }
        places.truncate(room);
        let (shared, id) = (Rc::clone(&self.shared), self.id);
        self.tasks.spawn_local(async move {
            let most = u32::try_from(places.len()).unwrap_or(u32::MAX);
            let visibility = shared.config.visibility();
            let taken = shared.outboxes.take(id, most, visibility).await;
            Event::Taken(taken, places)
        });
    }

    fn push_all(&mut self, deliveries: Vec<PendingDelivery>, places: Vec<Place>) {
        self.taking = false;
        self.pause = Pause::default();
        if deliveries.is_empty() {
            return;
        }
        self.announce();
        // As the subscription is now: what was taken may have been published after a change of it.
        let Some(target) = self.current_target() else {
            self.close();
            return;
        };
        for (delivery, place) in deliveries.into_iter().zip(places) {
            self.pushes += 1;
            let role = self.pace.took(delivery.attempt);
            if let Role::Probe(number) = role {
                self.time_probes(number);
            }
            let (shared, target) = (Rc::clone(&self.shared), Rc::clone(&target));
            self.tasks
                .spawn_local(push::push(shared, target, delivery, place, role));
        }
    }

    fn take_failed(&mut self, error: Error) {
        self.taking = false;
        if matches!(error, Error::NoSuchSubscription | Error::NoSuchQueue) {
            self.close();
            return;
        }
        tracing::debug!(%error, subscription = self.id.0, "nothing could be taken");
        self.pause.lengthen();
        self.announce();
    }

    fn pushed(&mut self, receipt: Receipt) {
        self.pushes -= 1;
        self.received.push(receipt);
        self.go_at_full_speed();
    }

    fn failed(&mut self, role: Role) {
        self.pushes -= 1;
        let is_held_back = self
            .target
            .as_ref()
            .is_some_and(|target| target.subscriber.retry == RetryStrategy::ExponentialDecay);
        if !is_held_back {
            // The strategy may change back before the next push.
            self.go_at_full_speed();
        } else if let Some(hold) = self.pace.failed(role) {
            self.hold(hold);
        }
    }

    fn go_at_full_speed(&mut self) {
        self.pace.reset();
        cut_short(&mut self.waits.hold);
        cut_short(&mut self.waits.probes);
    }

    fn hold(&mut self, hold: Hold) {
        if self.supply == Supply::Closed {
            return;
        }
        cut_short(&mut self.waits.probes);
        let outboxes = self.shared.outboxes.clone();
        self.waits.hold = Some(self.tasks.spawn_local(async move {
            outboxes.sleep(hold.length).await;
            Event::HoldEnded(hold.number)
        }));
    }

    fn time_probes(&mut self, number: u64) {
        if self.supply == Supply::Closed || self.waits.probes.is_some() {
            return;
        }
        self.waits.probes = Some(self.tasks.spawn_local(async move {
            time::sleep(PROBE_TIME).await;
            Event::ProbeTime(number)
        }));
    }

    /// Takes nothing for so long.
    fn keep_quiet(&mut self, length: Millis) {
        if length == Millis(0) || self.supply == Supply::Closed {
            return;
        }
        let outboxes = self.shared.outboxes.clone();
        self.waits.quiet.push(self.tasks.spawn_local(async move {
            outboxes.sleep(length).await;
            Event::QuietEnded
        }));
    }

    /// Tells the outbox what was received: one call at a time, with all that came in meanwhile.
    fn end_received(&mut self) {
        if self.settling || self.received.is_empty() {
            return;
        }
        self.settling = true;
        let wait = self.gathering_time();
        self.tasks.spawn_local(async move {
            time::sleep(wait).await;
            Event::Gathered
        });
    }

    /// How long what was received is gathered before the outbox is told: each telling is a write that
    /// waits for the disk.
    fn gathering_time(&self) -> Duration {
        let is_in_order = self
            .target
            .as_ref()
            .is_some_and(|target| target.subscriber.retry == RetryStrategy::BackOff);
        if is_in_order || self.received.len() >= limits::BATCH_MESSAGES_MAX {
            Duration::ZERO
        } else {
            GATHERING_TIME
        }
    }

    fn end_gathered(&mut self) {
        let count = self.received.len().min(limits::BATCH_MESSAGES_MAX);
        let batch: Vec<Receipt> = self.received.drain(..count).collect();
        let (shared, id) = (Rc::clone(&self.shared), self.id);
        self.tasks.spawn_local(async move {
            settle(|| shared.outboxes.delivered(id, batch.clone())).await;
            Event::Settled
        });
    }

    fn close(&mut self) {
        self.supply = Supply::Closed;
        cut_short(&mut self.waits.places);
        cut_short(&mut self.waits.hold);
        cut_short(&mut self.waits.probes);
        self.end_quiet();
    }

    fn end_quiet(&mut self) {
        for wait in self.waits.quiet.drain(..) {
            wait.abort();
        }
    }
}

fn cut_short(wait: &mut Option<AbortHandle>) {
    if let Some(wait) = wait.take() {
        wait.abort();
    }
}
