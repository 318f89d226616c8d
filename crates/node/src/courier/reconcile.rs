//! Homes and the catalog: what was set in the catalog is told to where it lives, and then the catalog
//! that it was told.

use std::rc::Rc;

use anser_broker::{
    command::{Command, Placed, Reply},
    error::Error,
    id::ShardId,
};
use tokio::sync::{Semaphore, oneshot};
use tracing::debug;

use super::RETRY_INTERVAL;
use crate::{cluster::freshness, desk::Desk};

/// Homes that are being told at once what the catalog says.
const TELLERS_MAX: usize = 64;

/// Makes homes agree with the catalog.
#[derive(Clone)]
pub(super) struct Reconciler {
    desk: Desk,
    /// Bounds what is told to homes at once.
    tellers: Rc<Semaphore>,
}

impl Reconciler {
    pub(super) fn new(desk: Desk) -> Self {
        Self {
            desk,
            tellers: Rc::new(Semaphore::new(TELLERS_MAX)),
        }
    }

    /// Tells a home what the catalog says, until it is told.
    pub(super) fn place(&self, placed: Placed) {
        let this = self.clone();
        tokio::task::spawn_local(async move {
            let _turn = this.tellers.acquire().await;
            place_until_settled(&this.desk, &placed).await;
        });
    }

    /// Changes the catalog and the home.
    pub(super) fn change(&self, command: Command, done: oneshot::Sender<Result<Placed, Error>>) {
        let this = self.clone();
        tokio::task::spawn_local(async move {
            // Whoever asked may have left.
            done.send(change(&this.desk, &command).await).ok();
        });
    }
}

async fn change(desk: &Desk, command: &Command) -> Result<Placed, Error> {
    let Reply::Placed(placed) = desk.propose(ShardId::CATALOG, command).await? else {
        unreachable!("changes of the catalog are answered with what was placed")
    };
    place_until_settled(desk, &placed).await;
    if let Some(cluster) = &desk.cluster {
        freshness::spread(cluster, desk).await;
    }
    Ok(placed)
}

async fn place_until_settled(desk: &Desk, placed: &Placed) {
    while let Err(error) = place(desk, placed).await {
        debug!(number = placed.number(), %error, "a home could not be told; trying again");
        tokio::time::sleep(RETRY_INTERVAL).await;
    }
}

/// Tells a home what the catalog says, then the catalog that it was told.
async fn place(desk: &Desk, placed: &Placed) -> Result<(), Error> {
    desk.propose(placed.shard(), &told(placed)).await?;
    let settled = Command::Settled {
        number: placed.number(),
        revision: placed.revision(),
    };
    desk.propose(ShardId::CATALOG, &settled).await?;
    Ok(())
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
