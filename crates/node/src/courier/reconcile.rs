//! Homes and the catalog: what was set in the catalog is told to where it lives, and then the catalog
//! that it was told.
//!
//! Errands queue by the shard of the home, so that a shard without a leader or with a slow disk holds up
//! only its own. Whoever waits for a change gets an answer in time; the change goes on without them.

use std::{cell::RefCell, collections::BTreeMap, future::pending, rc::Rc, time::Duration};

use anser_broker::{
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
};
use tokio::sync::{Semaphore, oneshot, watch};
use tracing::debug;

use super::RETRY_INTERVAL;
use crate::{cluster::freshness, desk::Desk};

/// Homes of one shard that are being told at once what the catalog says.
const TELLERS_MAX: usize = 16;
/// The longest time that a home is left alone which could not be told again and again.
const RETRY_INTERVAL_MAX: Duration = Duration::from_secs(4);
/// How long whoever asked for a change waits for it: longer than the catalog's leader is waited for.
const CHANGE_PATIENCE: Duration = Duration::from_secs(10);

/// Makes homes agree with the catalog.
#[derive(Clone)]
pub(super) struct Reconciler {
    desk: Desk,
    lines: Rc<Lines>,
}

impl Reconciler {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            lines: Rc::default(),
        }
    }

    /// Tells a home what the catalog says, until it is told.
    pub(super) fn place(&self, placed: Placed) {
        let this = self.clone();
        tokio::task::spawn_local(async move { this.settle(&placed).await });
    }

    /// Changes the catalog and the home.
    pub(super) fn change(&self, command: Command, done: oneshot::Sender<Result<Placed, Error>>) {
        let this = self.clone();
        let changed = async move { this.carry_through(&command).await };
        tokio::task::spawn_local(async move {
            // Whoever asked may have left.
            done.send(within(CHANGE_PATIENCE, changed).await).ok();
        });
    }

    async fn carry_through(&self, command: &Command) -> Result<Placed, Error> {
        let desk = &self.desk;
        let Reply::Placed(placed) = desk.propose(ShardId::CATALOG, command).await? else {
            unreachable!("changes of the catalog are answered with what was placed")
        };
        self.settle(&placed).await;
        if let Some(cluster) = &desk.cluster {
            freshness::spread(cluster, desk).await;
        }
        Ok(placed)
    }

    async fn settle(&self, placed: &Placed) {
        let mut rest = RETRY_INTERVAL;
        loop {
            let news = self.news_of_leaders();
            let told = self.lines.take_turn(placed.shard(), self.tell(placed));
            let Err(error) = told.await else { return };
            debug!(number = placed.number(), %error, "a home could not be told; trying again");
            tokio::time::timeout(rest, changed(news)).await.ok();
            rest = (2 * rest).min(RETRY_INTERVAL_MAX);
        }
    }

    fn news_of_leaders(&self) -> Option<watch::Receiver<u64>> {
        let cluster = self.desk.cluster.as_ref();
        cluster.map(|cluster| cluster.leaders.changes())
    }

    /// Tells a home what the catalog says, then the catalog that it was told.
    async fn tell(&self, placed: &Placed) -> Result<(), Error> {
        self.desk.propose_now(placed.shard(), &told(placed)).await?;
        let settled = Command::Settled {
            number: placed.number(),
            revision: placed.revision(),
        };
        self.desk.propose_now(ShardId::CATALOG, &settled).await?;
        Ok(())
    }
}

/// Waits for news; for ever, if there will be none.
async fn changed(news: Option<watch::Receiver<u64>>) {
    if let Some(mut news) = news
        && news.changed().await.is_ok()
    {
        return;
    }
    pending::<()>().await;
}

/// The answer of work that goes on if it is not done in time; then nobody knows.
async fn within<T: 'static>(
    patience: Duration,
    work: impl Future<Output = Result<T, Error>> + 'static,
) -> Result<T, Error> {
    let work = tokio::task::spawn_local(work);
    match tokio::time::timeout(patience, work).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) | Err(_) => Err(Error::Unknown),
    }
}

/// Where errands wait for their turn: a line for each shard.
#[derive(Default)]
struct Lines(RefCell<BTreeMap<ShardId, Rc<Semaphore>>>);

impl Lines {
    /// Does something about a shard when it is its turn.
    async fn take_turn<T>(&self, shard: ShardId, act: impl Future<Output = T>) -> T {
        let line = Rc::clone(self.0.borrow_mut().entry(shard).or_insert_with(new_line));
        let _turn = line.acquire().await.expect("a line is never closed");
        act.await
    }
}

fn new_line() -> Rc<Semaphore> {
    Rc::new(Semaphore::new(TELLERS_MAX))
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
    use std::cell::Cell;

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    const DEAD: ShardId = ShardId(1);
    const WELL: ShardId = ShardId(2);

    fn run(test: impl Future<Output = ()>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, test);
    }

    #[test]
    fn errands_for_a_shard_that_never_answers_hold_up_no_other() {
        run(async {
            let lines = Rc::new(Lines::default());
            for _ in 0..10 * TELLERS_MAX {
                let lines = Rc::clone(&lines);
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
            let lines = Rc::new(Lines::default());
            let begun = Rc::new(Cell::new(0));
            for _ in 0..10 * TELLERS_MAX {
                let (lines, begun) = (Rc::clone(&lines), Rc::clone(&begun));
                tokio::task::spawn_local(async move {
                    let act = async {
                        begun.set(begun.get() + 1);
                        pending::<()>().await;
                    };
                    lines.take_turn(WELL, act).await;
                });
            }
            yield_now().await;
            assert_eq!(begun.get(), TELLERS_MAX);
        });
    }

    #[test]
    fn whoever_waits_for_a_change_is_told_that_nobody_knows_and_the_change_goes_on() {
        run(async {
            let (release, released) = oneshot::channel::<()>();
            let (sender, done) = oneshot::channel();
            let work = async move {
                released.await.unwrap();
                sender.send(()).unwrap();
                Ok(())
            };
            assert_eq!(within(Duration::ZERO, work).await, Err(Error::Unknown));
            release.send(()).unwrap();
            done.await.unwrap();
        });
    }

    #[test]
    fn a_change_that_is_done_in_time_has_its_own_answer() {
        run(async {
            let refused = async { Err::<(), _>(Error::QueueExists) };
            assert_eq!(
                within(CHANGE_PATIENCE, refused).await,
                Err(Error::QueueExists)
            );
        });
    }
}
