//! Homes and the catalog: what was set in the catalog is told to where it lives, and then the catalog
//! that it was told.
//!
//! Errands queue by the shard of the home, so that a shard without a leader or with a slow disk holds up
//! only its own. Whoever waits for a change gets an answer in time; the change goes on without them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anser_broker::{
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
};
use tokio::sync::{Semaphore, oneshot};

use super::RETRY_INTERVAL;
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
}

impl<P: Port> Reconciler<P> {
    pub fn new(port: P) -> Self {
        Self {
            port,
            lines: Arc::default(),
        }
    }

    /// Tells a home what the catalog says, until it is told.
    pub fn place(&self, placed: Placed) {
        let this = self.clone();
        self.port.spawn(async move { this.settle(&placed).await });
    }

    /// Changes the catalog and the home. It is done here and not by whoever asked, who may leave in the middle.
    pub fn change(&self, command: Command, done: oneshot::Sender<Result<Placed, Error>>) {
        let (finished, changed) = oneshot::channel();
        let this = self.clone();
        self.port.spawn(async move {
            // Nobody may wait for it any more.
            finished.send(this.carry_through(command).await).ok();
        });
        let port = self.port.clone();
        self.port.spawn(async move {
            let changed = within(&port, CHANGE_PATIENCE, changed).await;
            let answer = match changed {
                Some(Ok(changed)) => changed,
                Some(Err(_)) | None => Err(Error::Unknown),
            };
            // Whoever asked may have left.
            done.send(answer).ok();
        });
    }

    async fn carry_through(&self, mut command: Command) -> Result<Placed, Error> {
        self.steer(&mut command);
        let proposed = router::propose(&self.port, ShardId::CATALOG, &command);
        let Reply::Placed(placed) = proposed.await? else {
            unreachable!("changes of the catalog are answered with what was placed")
        };
        self.settle(&placed).await;
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

    async fn settle(&self, placed: &Placed) {
        let mut rest = RETRY_INTERVAL;
        loop {
            let news = self.news_of_leaders();
            let told = self.lines.take_turn(placed.shard(), self.tell(placed));
            let Err(error) = told.await else { return };
            let number = placed.number();
            self.port.retries(Retry::Home { number }, error);
            self.wait_for_leaders(news, rest).await;
            rest = (2 * rest).min(RETRY_INTERVAL_MAX);
        }
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

/// Where errands wait for their turn: a line for each shard.
#[derive(Debug, Default)]
struct Lines(Mutex<BTreeMap<ShardId, Arc<Semaphore>>>);

impl Lines {
    /// Does something about a shard when it is its turn.
    async fn take_turn<T>(&self, shard: ShardId, act: impl Future<Output = T>) -> T {
        let line = self.of(shard);
        let _turn = line.acquire().await.expect("a line is never closed");
        act.await
    }

    fn of(&self, shard: ShardId) -> Arc<Semaphore> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(lines.entry(shard).or_insert_with(new_line))
    }
}

fn new_line() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(TELLERS_MAX))
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

#[cfg(test)]
mod tests {
    use std::{
        future::pending,
        sync::atomic::{AtomicUsize, Ordering},
    };

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    const DEAD: ShardId = ShardId(1);
    const WELL: ShardId = ShardId(2);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn errands_for_a_shard_that_never_answers_hold_up_no_other() {
        run(async {
            let lines = Arc::new(Lines::default());
            for _ in 0..10 * TELLERS_MAX {
                let lines = Arc::clone(&lines);
                tokio::task::spawn_local(async move {
                    lines.take_turn(DEAD, pending::<()>()).await;
                });
            }
            yield_now().await;
            assert!(lines.take_turn(WELL, async { true }).await);
        });
    }

    #[test]
    fn errands_for_one_shard_are_done_a_few_at_a_time() {
        run(async {
            let lines = Arc::new(Lines::default());
            let begun = Arc::new(AtomicUsize::new(0));
            for _ in 0..10 * TELLERS_MAX {
                let (lines, begun) = (Arc::clone(&lines), Arc::clone(&begun));
                tokio::task::spawn_local(async move {
                    let act = async {
                        begun.fetch_add(1, Ordering::Relaxed);
                        pending::<()>().await;
                    };
                    lines.take_turn(WELL, act).await;
                });
            }
            yield_now().await;
            assert_eq!(begun.load(Ordering::Relaxed), TELLERS_MAX);
        });
    }
}
