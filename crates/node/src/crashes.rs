//! Entries that have ended the process, by a panic in the middle of them, or because they, or the state before them, cannot be read: one that always
//! does closes its shard and not the node (`docs/decisions/0015-states-are-compared.md`).
//!
//! A panic ends the process, for the state may be half applied. Before that the entry is written down; a start that
//! finds the same one for the third time does not try again with the same program. The file is no data: without it, or if it
//! cannot be read, everything is tried.

use std::{
    collections::BTreeMap,
    fs, io, panic,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use anser_broker::id::ShardId;
use anser_host::GivenUp;
use anser_replica::{Replica, being_applied};
use serde::{Deserialize, Serialize};
use tracing::warn;

const FILE: &str = "crashes.json";
const VERSION: u32 = 1;
/// So often one entry ends the process.
const TIMES_MAX: u32 = 3;
/// Of what a panic says.
const TEXT_CHARACTERS_MAX: usize = 500;

/// What the file holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Crashes {
    version: u32,
    /// Another program may get over it.
    program: String,
    shards: BTreeMap<u16, Crash>,
}

/// The entry of a shard that ended the process last, and how often in a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Crash {
    index: u64,
    times: u32,
    panic: String,
}

/// Of the one node that this process is, if it is one.
static FOLDER: OnceLock<PathBuf> = OnceLock::new();

/// From now on entries that end this process are written down in the data folder of its node.
pub fn note_crashes(data: &Path) {
    let before = panic::take_hook();
    FOLDER.get_or_init(|| data.to_owned());
    panic::set_hook(Box::new(move |info| {
        before(info);
        if let Some((shard, index)) = being_applied() {
            note(shard, index, &info.to_string());
        }
    }));
}

/// The process is about to end because of this entry.
pub(crate) fn note(shard: ShardId, index: u64, why: &str) {
    if let Some(data) = FOLDER.get() {
        // If that fails, the entry is tried once more than it would be.
        Crashes::read(data).add(shard, index, why).write(data).ok();
    }
}

/// The shards that are not to be opened.
pub(crate) fn given_up(data: &Path) -> BTreeMap<ShardId, GivenUp> {
    let crashes = Crashes::read(data).shards.into_iter();
    let given_up = crashes.filter(|(_, crash)| crash.times >= TIMES_MAX);
    let what = |(shard, crash): (u16, Crash)| {
        let Crash {
            index,
            times,
            panic,
        } = crash;
        let why = format!("the process has ended {times} times at entry {index}: {panic}");
        (ShardId(shard), GivenUp { index, why })
    };
    given_up.map(what).collect()
}

/// Forgets what these replicas have got over, or were given up with, and shards that are not here any more.
pub(crate) fn forget(data: &Path, replicas: &[(ShardId, Replica)], closed: &[ShardId]) {
    let applied: BTreeMap<u16, u64> = replicas
        .iter()
        .map(|(shard, replica)| (shard.0, replica.applied().index))
        .collect();
    let is_closed = |shard: u16| closed.iter().any(|closed| closed.0 == shard);
    let mut crashes = Crashes::read(data);
    let before = crashes.shards.len();
    crashes
        .shards
        .retain(|shard, crash| match applied.get(shard) {
            // Without a state the entry is not here either.
            Some(&applied) => 0 < applied && applied < crash.index,
            None => is_closed(*shard),
        });
    if crashes.shards.len() < before
        && let Err(error) = crashes.write(data)
    {
        warn!(%error, "{FILE} cannot be written");
    }
}

impl Crashes {
    /// Nothing, if there is no such file, or it is none that this program wrote.
    fn read(data: &Path) -> Self {
        let nothing = Self {
            version: VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            shards: BTreeMap::new(),
        };
        let text = fs::read(data.join(FILE)).unwrap_or_default();
        let read = serde_json::from_slice::<Self>(&text).ok();
        let is_ours = |read: &Self| read.version == VERSION && read.program == nothing.program;
        read.filter(is_ours).unwrap_or(nothing)
    }

    fn add(mut self, shard: ShardId, index: u64, panic: &str) -> Self {
        let known = self.shards.get(&shard.0);
        let before = known.filter(|known| known.index == index);
        let times = before.map_or(0, |before| before.times) + 1;
        let panic = panic.chars().take(TEXT_CHARACTERS_MAX).collect();
        let crash = Crash {
            index,
            times,
            panic,
        };
        self.shards.insert(shard.0, crash);
        self
    }

    /// Written aside and renamed. It need not survive the machine.
    fn write(&self, data: &Path) -> io::Result<()> {
        let aside = data.join(format!("{FILE}.new"));
        fs::write(&aside, serde_json::to_vec_pretty(self)?)?;
        fs::rename(aside, data.join(FILE))
    }
}

#[cfg(test)]
mod tests {
    use anser_replica::applying;

    use super::*;

    const SHARD: ShardId = ShardId(3);

    fn crash(data: &Path, shard: ShardId, index: u64) {
        let crashes = Crashes::read(data).add(shard, index, "a bug");
        crashes.write(data).expect("there is room");
    }

    #[test]
    fn a_panic_in_the_middle_of_an_entry_is_written_down() {
        let folder = tempfile::tempdir().expect("there is room");
        note_crashes(folder.path());
        let panicked = panic::catch_unwind(|| applying(SHARD, 7, || panic!("a planted bug")));
        assert!(panicked.is_err());
        drop(panic::take_hook());
        let crashes = Crashes::read(folder.path());
        let crash = &crashes.shards[&SHARD.0];
        assert_eq!((crash.index, crash.times), (7, 1));
        assert!(crash.panic.contains("a planted bug"), "{}", crash.panic);
    }

    /// Core review, finding 9: an entry that ends the process ended every node, at each start again.
    #[test]
    fn the_third_time_a_shard_is_given_up() {
        let folder = tempfile::tempdir().expect("there is room");
        let data = folder.path();
        for _ in 0..2 {
            crash(data, SHARD, 7);
            assert!(given_up(data).is_empty());
        }
        crash(data, ShardId(4), 7);
        crash(data, SHARD, 7);
        let given_up = given_up(data);
        let why = "the process has ended 3 times at entry 7: a bug".to_owned();
        assert_eq!(
            given_up,
            BTreeMap::from([(SHARD, GivenUp { index: 7, why })])
        );
    }

    #[test]
    fn another_entry_is_counted_anew() {
        let folder = tempfile::tempdir().expect("there is room");
        let data = folder.path();
        for index in [7, 7, 8, 8] {
            crash(data, SHARD, index);
        }
        assert!(given_up(data).is_empty());
    }

    #[test]
    fn another_program_tries_again_and_so_does_one_that_cannot_read_the_file() {
        let folder = tempfile::tempdir().expect("there is room");
        let data = folder.path();
        for _ in 0..3 {
            crash(data, SHARD, 7);
        }
        let mut of_another = Crashes::read(data);
        of_another.program = "0.0.9".into();
        of_another.write(data).expect("there is room");
        assert!(given_up(data).is_empty());
        fs::write(data.join(FILE), "{").expect("there is room");
        assert!(given_up(data).is_empty());
    }

    #[test]
    fn what_is_not_here_any_more_is_forgotten_and_what_is_closed_is_not() {
        let folder = tempfile::tempdir().expect("there is room");
        let data = folder.path();
        for shard in [SHARD, ShardId(4)] {
            for _ in 0..3 {
                crash(data, shard, 7);
            }
        }
        forget(data, &[], &[SHARD]);
        assert_eq!(given_up(data).into_keys().collect::<Vec<_>>(), [SHARD]);
    }
}
