//! Telling the outbox how pushes ended, in spite of passing trouble.

use std::time::Duration;

use anser_broker::error::Error;
use tokio::time;

/// How often the outbox is told, at most. All the pauses together are shorter than the margin of a
/// lease.
const TRIES_MAX: u32 = 8;
const PAUSE_LEAST: Duration = Duration::from_millis(50);
const PAUSE_MOST: Duration = Duration::from_secs(5);

/// A pause before the next try: none at first, then each twice as long as the one before.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    pub(crate) length: Duration,
}

impl Pause {
    pub(crate) fn lengthen(&mut self) {
        self.length = (self.length * 2).clamp(PAUSE_LEAST, PAUSE_MOST);
    }
}

/// Calls the outbox until it agrees or says something final. If it never does, the lease ends by
/// itself and the message is pushed again.
pub(crate) async fn settle<F>(call: impl Fn() -> F)
where
    F: Future<Output = Result<(), Error>>,
{
    let mut pause = Pause::default();
    for _ in 0..TRIES_MAX {
        match call().await {
            Ok(()) => return,
            Err(error) if !passes(error) => {
                tracing::debug!(%error, "a push could not be settled");
                return;
            }
            Err(_) => {}
        }
        pause.lengthen();
        time::sleep(pause.length).await;
    }
    tracing::warn!("pushes could not be settled: their messages will be pushed again");
}

fn passes(error: Error) -> bool {
    matches!(
        error,
        Error::Busy | Error::Unknown | Error::Unavailable | Error::StorageFull
    )
}
