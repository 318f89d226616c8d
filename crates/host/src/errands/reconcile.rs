//! Homes and the catalog: what was set in the catalog is told to where it lives, and then the catalog
//! that it was told.
//!
//! Each home is told by one task, what is newest, as long as this node leads the catalog: whoever leads it next finds
//! what is unsettled. Tasks queue by the shard of the home. Whoever waits for a change gets an answer in time;
//! the change goes on without them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use anser_broker::{
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
};
use tokio::sync::oneshot;

use super::{RETRY_INTERVAL, lines::Lines};
use crate::{
    port::{Port, Retry, within},
    routing::{freshness, router},
};

/// Homes of one shard that are being told at once what the catalog says.
const TELLERS_MAX: usize = 16;
/// The longest time that a home is left alone which could not be told again and again.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(4);
/// How long whoever asked for a change waits for it: longer than the catalog's leader is waited for.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// Makes homes agree with the catalog.
#[derive(Debug, Clone)]
pub struct Reconciler<P> {
    port: P,
    lines: Arc<Lines>,
    /// What is being told, by number.
    telling: Arc<Mutex<BTreeMap<u64, Telling>>>,
}

/// What a home is being told.
#[derive(Debug)]
struct Telling {
    newest: Placed,
    /// Who waits until the home has this revision or a newer one. Dropped, they hear that nobody here knows.
    waiting: Vec<(u64, oneshot::Sender<()>)>,
}

impl<P: Port> Reconciler<P> {
    pub fn new(port: P) -> Self {
        Self {
            port,
            lines: Arc::new(Lines::new(TELLERS_MAX)),
            telling: Arc::default(),
        }
    }

    /// Has a home told what the catalog says, until it is told.
    pub fn place(&self, placed: &Placed) {
        self.begin(placed, None);
    }

    /// As [`Self::place`]; what is returned gets a word when the home has been told this, or something newer, and ends
    /// without one if this node gives up.
    fn place_and_hear(&self, placed: &Placed) -> oneshot::Receiver<()> {
        let (told, hears) = oneshot::channel();
        self.begin(placed, Some(told));
        hears
    }

    fn begin(&self, placed: &Placed, told: Option<oneshot::Sender<()>>) {
        let number = placed.number();
        if self.is_news(placed, told) {
            let this = self.clone();
            self.port.spawn(async move { this.settle(number).await });
        }
    }

    /// Notes what a home is to be told, unless that is older than what is known; whether a task is to be begun.
    fn is_news(&self, placed: &Placed, told: Option<oneshot::Sender<()>>) -> bool {
        let mut all = self.telling();
        let is_new = !all.contains_key(&placed.number());
        let telling = all.entry(placed.number()).or_insert_with(|| Telling {
            newest: placed.clone(),
            waiting: Vec::new(),
        });
        if telling.newest.revision() < placed.revision() {
            telling.newest = placed.clone();
        }
        // Many may have given up on a home that cannot be told.
        telling.waiting.retain(|(_, told)| !told.is_closed());
        let told = told.map(|told| (placed.revision(), told));
        telling.waiting.extend(told);
        is_new
    }

    /// Changes the catalog and the home. It is done here and not by whoever asked, who may leave in the middle.
    pub fn change(&self, command: Command, done: oneshot::Sender<Result<Placed, Error>>) {
        let this = self.clone();
        self.port.spawn(async move {
            let changed = within(&this.port, CHANGE_PATIENCE, this.carry_through(command)).await;
            // Whoever asked may have left.
            done.send(changed.unwrap_or(Err(Error::Unknown))).ok();
        });
    }

    /// Fails with [`Error::Unavailable`] if the catalog is not led here, and nothing has happened: another leader would
    /// not know that its home is to be told. It is in force when this returns: a newer change that came meanwhile is not
    /// enough, as long as the home knows of neither.
    async fn carry_through(&self, mut command: Command) -> Result<Placed, Error> {
        self.steer(&mut command);
        let proposed = router::propose_here(&self.port, ShardId::CATALOG, &command);
        let Reply::Placed(placed) = proposed.await? else {
            unreachable!("changes of the catalog are answered with what was placed")
        };
        if self.place_and_hear(&placed).await.is_err() {
            // Another node leads the catalog now and tells the home in its own time. It may be told twice.
            let put = router::propose(&self.port, placed.shard(), &told(&placed)).await;
            put.map_err(|_| Error::Unknown)?;
        }
        freshness::spread(&self.port).await;
        Ok(placed)
    }

    /// What is made goes where somebody leads.
    fn steer(&self, command: &mut Command) {
        let avoid = match command {
            Command::CreateQueue(create) => &mut create.avoid,
            Command::CreateTopic(create) => &mut create.avoid,
            _ => return,
        };
        if let Some(cluster) = self.port.cluster() {
            *avoid = cluster.leaders.without_leader();
        }
    }

    /// Tells a home what is newest, until it is told or another node leads the catalog.
    async fn settle(&self, number: u64) {
        let mut rest = RETRY_INTERVAL;
        while let Some(placed) = self.newest(number) {
            let news = self.news_of_leaders();
            let told = {
                let _turn = self.lines.turn(placed.shard()).await;
                self.tell(&placed).await
            };
            match told {
                Ok(()) => self.note_told(&placed),
                Err(_) if !self.leads_catalog() => self.give_up(&placed),
                Err(error) => {
                    self.port.retries(Retry::Home { number }, error);
                    self.wait_for_leaders(news, rest).await;
                    rest = (2 * rest).min(RETRY_INTERVAL_MAX);
                }
            }
        }
    }

    fn newest(&self, number: u64) -> Option<Placed> {
        let telling = self.telling();
        telling.get(&number).map(|telling| telling.newest.clone())
    }

    /// The home has been told: whoever waited for this, or for something older, hears so.
    fn note_told(&self, placed: &Placed) {
        let mut all = self.telling();
        if let Some(telling) = all.get_mut(&placed.number()) {
            let heard = |of: &mut (u64, _)| of.0 <= placed.revision();
            for (_, told) in telling.waiting.extract_if(.., heard) {
                // Who waited may have given up.
                told.send(()).ok();
            }
        }
        forget(&mut all, placed);
    }

    /// It is not for this node any more.
    fn give_up(&self, placed: &Placed) {
        forget(&mut self.telling(), placed);
    }

    fn leads_catalog(&self) -> bool {
        let cluster = self.port.cluster();
        cluster.is_none_or(|cluster| cluster.leaders.serves_here(ShardId::CATALOG))
    }

    fn telling(&self) -> MutexGuard<'_, BTreeMap<u64, Telling>> {
        self.telling.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn news_of_leaders(&self) -> u64 {
        let cluster = self.port.cluster();
        cluster.map_or(0, |cluster| cluster.leaders.changes())
    }

    /// Waits for newer news of leaders than these, but not longer than this.
    async fn wait_for_leaders(&self, news: u64, length: Duration) {
        match self.port.cluster() {
            None => self.port.sleep(length).await,
            Some(cluster) => {
                let newer = cluster.leaders.changed_since(news);
                within(&self.port, length, newer).await;
            }
        }
    }

    /// Tells a home what the catalog says, then the catalog that it was told.
    async fn tell(&self, placed: &Placed) -> Result<(), Error> {
        router::propose_now(&self.port, placed.shard(), &told(placed)).await?;
        let settled = Command::Settled {
            number: placed.number(),
            revision: placed.revision(),
        };
        router::propose_now(&self.port, ShardId::CATALOG, &settled).await?;
        Ok(())
    }
}

/// Nothing more is to be done about this, unless there is something newer.
fn forget(all: &mut BTreeMap<u64, Telling>, placed: &Placed) {
    let known = all.get(&placed.number());
    if known.is_some_and(|known| known.newest.revision() == placed.revision()) {
        all.remove(&placed.number());
    }
}

/// What the home is told.
fn told(placed: &Placed) -> Command {
    match placed.clone() {
        Placed::Queue(placed) => match placed.attributes {
            Some(attributes) => Command::PutQueue {
                queue: placed.queue,
                revision: placed.revision,
                attributes,
            },
            None => Command::DropQueue {
                queue: placed.queue,
                floor: placed.floor,
            },
        },
        Placed::Topic(placed) => match placed.attributes {
            Some(attributes) => Command::PutTopic {
                topic: placed.topic,
                revision: placed.revision,
                attributes,
            },
            None => Command::DropTopic {
                topic: placed.topic,
                floor: placed.floor,
            },
        },
        Placed::Subscription(placed) => match placed.attributes {
            Some(attributes) => Command::PutSubscription {
                subscription: placed.subscription,
                topic: placed.topic,
                revision: placed.revision,
                attributes,
            },
            None => Command::DropSubscription {
                subscription: placed.subscription,
                floor: placed.floor,
            },
        },
    }
}
