//! Sending copies of shards to other nodes: what is on offer, and what comes next in a copy that is on its way.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anser_broker::id::ShardId;
use anser_log::{Disk, Export, ExportedFile};

use crate::incoming::{Missing, Offer};

/// How long to wait before the other side is tried again.
pub const COPY_INTERVAL: Duration = Duration::from_millis(250);
/// How long an answer is waited for, before the other side is tried again: it writes what comes for others too.
pub const COPY_PATIENCE: Duration = Duration::from_secs(60);
/// Attempts to reach the other side, without anything having come of them, before the copy is given up; the replica
/// asks again.
const ATTEMPTS_MAX: u32 = 20;
/// How long an offer is kept for somebody who may want it.
const OFFER_PATIENCE: Duration = Duration::from_secs(60);

/// What can be sent: the newest offer of each shard, until nobody wanted it for a while. Times are counted from
/// any one moment.
#[derive(Debug)]
pub struct Offers<D: Disk>(BTreeMap<ShardId, Offered<D>>);

#[derive(Debug)]
struct Offered<D: Disk> {
    export: Arc<Export<D>>,
    wanted: Duration,
}

impl<D: Disk> Default for Offers<D> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<D: Disk> Offers<D> {
    /// Holds the files of a shard open for whoever needs them.
    pub fn put(&mut self, shard: ShardId, export: Export<D>, now: Duration) {
        let offered = Offered {
            export: Arc::new(export),
            wanted: now,
        };
        self.0.insert(shard, offered);
    }

    /// The offer at this index; `None` if a newer one has taken its place.
    pub fn take(&mut self, shard: ShardId, index: u64, now: Duration) -> Option<Arc<Export<D>>> {
        let offered = self.0.get_mut(&shard)?;
        if offered.export.snapshot.index != index {
            return None;
        }
        offered.wanted = now;
        Some(Arc::clone(&offered.export))
    }

    /// Lets go of offers that nobody takes: they hold deleted files open.
    pub fn withdraw_unwanted(&mut self, now: Duration) {
        self.0.retain(|_, offered| {
            let is_wanted = now.saturating_sub(offered.wanted) < OFFER_PATIENCE;
            Arc::strong_count(&offered.export) > 1 || is_wanted
        });
    }
}

/// What the other side says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyAnswer {
    Missing(Missing),
    /// The message has reached its replica.
    Reached,
    Refused(String),
}

/// What comes next in a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The other side is told what the copy consists of.
    Begin,
    /// As [`Next::Begin`], after [`COPY_INTERVAL`]: what has arrived is still there.
    BeginAgain,
    /// A part of a file goes.
    Chunk(ExportedFile, u64),
    /// The message goes.
    End,
    Arrived,
    GivenUp(String),
    /// Whoever sends has nothing more to say to the receiver, or says it in a newer copy: nobody is told what became of
    /// this one, for that would be taken for the newer one's fate.
    Dropped,
}

/// The copies on their way from here.
#[derive(Debug, Default)]
pub struct Sendings(BTreeMap<(ShardId, u64), Arc<AtomicBool>>);

impl Sendings {
    /// A copy to a node takes the place of an earlier one.
    pub fn begin(&mut self, shard: ShardId, to: u64) -> Sending {
        let wanted = Arc::new(AtomicBool::new(true));
        let earlier = self.0.insert((shard, to), Arc::clone(&wanted));
        if let Some(earlier) = earlier {
            earlier.store(false, Ordering::Relaxed);
        }
        Sending {
            wanted,
            failures: 0,
            missing: None,
        }
    }

    /// Breaks off the copies of a shard, but for those to nodes that `stay`. Whoever leads no more, or has let go
    /// of the receiver, speaks for an earlier time.
    pub fn end(&mut self, shard: ShardId, stay: impl Fn(u64) -> bool) {
        self.0.retain(|&(of, to), wanted| {
            let goes_on = of != shard || stay(to);
            if !goes_on {
                wanted.store(false, Ordering::Relaxed);
            }
            // Whoever sends holds the flag.
            goes_on && Arc::strong_count(wanted) > 1
        });
    }
}

/// A copy on its way.
#[derive(Debug)]
pub struct Sending {
    /// False once whoever sends has nothing more to say to the receiver.
    wanted: Arc<AtomicBool>,
    /// Since the other side was last missing something else.
    failures: u32,
    /// What the other side was missing when it was heard last.
    missing: Missing,
}

impl Sending {
    /// What comes after an answer; `Err` if the other side was not reached.
    pub fn heard(&mut self, answer: Result<CopyAnswer, String>) -> Next {
        if !self.wanted.load(Ordering::Relaxed) {
            return Next::Dropped;
        }
        match answer {
            Ok(CopyAnswer::Missing(Some((file, offset)))) => {
                let before = self.missing.replace((file, offset));
                if before.is_some_and(|before| before != (file, offset)) {
                    self.failures = 0;
                }
                Next::Chunk(file, offset)
            }
            Ok(CopyAnswer::Missing(None)) => Next::End,
            Ok(CopyAnswer::Reached) => Next::Arrived,
            Err(_) if self.failures < ATTEMPTS_MAX => {
                self.failures += 1;
                Next::BeginAgain
            }
            Ok(CopyAnswer::Refused(reason)) | Err(reason) => Next::GivenUp(reason),
        }
    }
}

/// What the files of an export are, for whoever is to receive them.
pub fn offer_of<D: Disk>(export: &Export<D>) -> Offer {
    Offer {
        snapshot: export.snapshot,
        segments: if lacks_segments() {
            Vec::new()
        } else {
            export.segments.clone()
        },
    }
}

/// Whether bodies are not sent along, which is a bug.
fn lacks_segments() -> bool {
    #[cfg(feature = "sabotage")]
    return anser_broker::sabotage::is_planted("snapshot without its segments");
    #[cfg(not(feature = "sabotage"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_breaks_off_begins_again_and_is_given_up_in_the_end() {
        let mut sending = Sendings::default().begin(ShardId(1), 2);
        let lost = || Err("lost".to_owned());
        for _ in 0..ATTEMPTS_MAX {
            assert_eq!(sending.heard(lost()), Next::BeginAgain);
            let file = ExportedFile::Snapshot;
            let missing = CopyAnswer::Missing(Some((file, 7)));
            assert_eq!(sending.heard(Ok(missing)), Next::Chunk(file, 7));
        }
        assert_eq!(sending.heard(lost()), Next::GivenUp("lost".into()));
    }

    /// A copy may take an hour over a line that breaks every few minutes.
    #[test]
    fn a_copy_that_makes_progress_is_not_given_up() {
        let mut sending = Sendings::default().begin(ShardId(1), 2);
        for offset in 0..u64::from(5 * ATTEMPTS_MAX) {
            let lost = Err("lost".to_owned());
            assert_eq!(sending.heard(lost), Next::BeginAgain, "at {offset}");
            let file = ExportedFile::Snapshot;
            let missing = CopyAnswer::Missing(Some((file, offset)));
            assert_eq!(sending.heard(Ok(missing)), Next::Chunk(file, offset));
        }
    }

    #[test]
    fn a_copy_ends_when_a_newer_one_begins_or_its_receiver_is_let_go_of() {
        let mut sendings = Sendings::default();
        let mut first = sendings.begin(ShardId(1), 2);
        let mut second = sendings.begin(ShardId(1), 2);
        let mut other = sendings.begin(ShardId(1), 3);
        let whole = || Ok(CopyAnswer::Missing(None));
        assert_eq!(first.heard(whole()), Next::Dropped);
        assert_eq!(second.heard(whole()), Next::End);
        sendings.end(ShardId(1), |node| node == 3);
        assert_eq!(second.heard(whole()), Next::Dropped);
        assert_eq!(other.heard(whole()), Next::End);
    }
}
