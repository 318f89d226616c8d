//! The bugs that can be planted, with the feature `sabotage`, to see that the simulator finds them.

use std::fmt;

use crate::plan::Fault;

/// A bug and where it sits.
#[derive(Debug, Clone, Copy)]
pub struct Planted {
    pub name: &'static str,
    pub place: &'static str,
    /// If any are named: just these kinds of fault find it.
    pub faults: &'static [Fault],
}

const fn planted(name: &'static str, place: &'static str) -> Planted {
    found_by(name, place, &[])
}

const fn found_by(name: &'static str, place: &'static str, faults: &'static [Fault]) -> Planted {
    Planted {
        name,
        place,
        faults,
    }
}

impl fmt::Display for Planted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)?;
        for fault in self.faults {
            write!(formatter, ", {fault:?}")?;
        }
        Ok(())
    }
}

const NONE: Planted = planted("", "");

/// Every bug that can be planted. One may be there several times, for several kinds of fault that must find it.
pub const PLANTED: &[Planted] = &[
    planted(
        "acknowledge before sync",
        "log: the sync of a batch is left out",
    ),
    planted("ignored sync error", "log: a failed sync counts as done"),
    planted(
        "files without sync",
        "log: snapshots, segments and manifests are not synced",
    ),
    planted(
        "tail cut at damage",
        "log: damage in the middle counts as a torn tail",
    ),
    planted(
        "the hole is forgotten",
        "log: what a shard may have lost where the log is damaged is not noted",
    ),
    planted(
        "sync only on the leader",
        "replica: followers answer before their disk has it",
    ),
    planted(
        "vote without sync",
        "replica: votes leave before the disk has them",
    ),
    planted(
        "vote not written",
        "replica: the vote is left out of the append",
    ),
    planted("no pre-vote", "replica: who cannot win stands all the same"),
    planted(
        "change in one step",
        "replica: voters are swapped without a joint state",
    ),
    planted(
        "applied before commit",
        "replica: the leader takes its log for everybody's",
    ),
    found_by(
        "lease kept over pause",
        "replica: reads without a round of heartbeats",
        &[Fault::Pause, Fault::Partition],
    ),
    planted(
        "suspects vote",
        "replica: a suspect's vote counts without all others",
    ),
    planted(
        "answers of any life",
        "replica: what was answered before a loss counts",
    ),
    planted(
        "blank at its word",
        "replica: a voter is let go of for what it said before it had a state",
    ),
    found_by(
        "suspects become voters",
        "replica: who may lack what it acknowledged is made a voter",
        &[
            Fault::Membership,
            Fault::LostSector,
            Fault::PowerLoss,
            Fault::Transfer,
        ],
    ),
    planted(
        "hidden by a claim",
        "replica: what falls due is left to receives from before it did",
    ),
    planted(
        "no tombstones",
        "replica: of a replica that was let go of nothing is remembered",
    ),
    planted(
        "unsettled members",
        "replica: a change of members is acted on before its commit is durable",
    ),
    planted(
        "power loss trusted",
        "log: what a disk may have lost with the power is not suspected",
    ),
    planted(
        "promises without a mark",
        "log: a new term or vote is not marked as durable",
    ),
    planted(
        "snapshot not taken over",
        "replica: the state stays what it was",
    ),
    planted(
        "no leases in snapshots",
        "broker: what is in flight is left out",
    ),
    planted(
        "no tokens in snapshots",
        "broker: what was sent once is forgotten",
    ),
    planted(
        "older attributes win",
        "broker: a home takes over an older revision",
    ),
    planted(
        "backlog without leases",
        "broker: what is in flight does not count for the backlog",
    ),
    planted(
        "retention never changed",
        "broker: a changed retention is not taken over",
    ),
    planted(
        "rewind passes some over",
        "broker: a rewind goes to three seconds later",
    ),
    planted(
        "purge leaves leases",
        "broker: a purge ends nothing that is in flight",
    ),
    planted(
        "account left out of names",
        "broker: a name means the same in every account",
    ),
    planted(
        "names free at once",
        "broker: the name of a deleted queue can be used again at once",
    ),
    planted(
        "a majority for everybody",
        "replica: a send is answered before every voter has it",
    ),
    planted(
        "longer lease not granted",
        "broker: a changed visibility only shortens",
    ),
    planted(
        "delete by any receipt",
        "broker: a stale receipt ends another lease",
    ),
    planted(
        "time from the wall clock",
        "shell: a restart asks the wall clock",
    ),
    planted(
        "time of before kept",
        "host: who leads goes on with its own time, whoever has led meanwhile",
    ),
    planted(
        "empty disk under the old number",
        "shell: a lost disk comes back as the same node",
    ),
    planted(
        "starts are not told apart",
        "host: an old copy of a disk is let in under its number",
    ),
    planted(
        "no gate for versions",
        "host: what only newer programs read is proposed at once",
    ),
    planted(
        "copy given up first",
        "placement: who is to be replaced goes before another is there",
    ),
    planted(
        "the only copy cannot move",
        "placement: of two copies of which one is wanted the leader's stays",
    ),
    planted(
        "moves without a bound",
        "placement: as many copies at once as there are shards",
    ),
    planted(
        "change without a majority",
        "placement: voters are changed to who does not answer",
    ),
    planted(
        "snapshot without its segments",
        "shell: the bodies are not sent along",
    ),
    found_by(
        "cache trusted",
        "log: recovery builds on what a failed sync left in the cache",
        &[Fault::SyncError],
    ),
    found_by(
        "ignored write error",
        "log: a failed write of a batch counts as done",
        &[Fault::WriteError, Fault::Kill],
    ),
    found_by(
        "failed rename ignored",
        "log: a failed rename of the manifest counts as done",
        &[Fault::RenameError, Fault::Kill],
    ),
    found_by(
        "failed sync of a folder ignored",
        "log: new names count as durable",
        &[Fault::DirectorySyncError, Fault::PowerLoss],
    ),
    found_by(
        "unreadable log taken for empty",
        "log: a log file that cannot be read counts as never begun",
        &[Fault::ReadError],
    ),
    found_by(
        "log bodies not verified",
        "log: checksums of entries are not looked at when they are read",
        &[Fault::StaleSector],
    ),
    found_by(
        "log bodies not verified",
        "log: checksums of entries are not looked at when they are read",
        &[Fault::BitFlip],
    ),
    found_by(
        "segments not verified",
        "log: checksums of records are not looked at when they are read",
        &[Fault::MisdirectedSector],
    ),
    found_by(
        "segments not verified",
        "log: checksums of records are not looked at when they are read",
        &[Fault::ZeroedSector],
    ),
    found_by(
        "recycled without what cannot be read",
        "shell: what is alive and cannot be read is left out of segments",
        &[Fault::UnreadableSector],
    ),
    found_by(
        "log held by a dead shard",
        "shell: recycling waits for a shard that has no quorum",
        &[Fault::LostQuorum],
    ),
    found_by(
        "segments not verified",
        "log: checksums of records are not looked at when they are read",
        &[Fault::BitFlip],
    ),
    found_by(
        "mended without what was given",
        "host: what another node gave for a damaged entry is not written, and the entry is called mended",
        &[
            Fault::BitFlip,
            Fault::ZeroedSector,
            Fault::StaleSector,
            Fault::MisdirectedSector,
        ],
    ),
    planted(
        "an apply that differs on one node",
        "replica: one node makes something else of an entry, and the others find it",
    ),
    planted(
        "a catalog that differs on one node",
        "replica: one node has another record of a queue, and the others find it",
    ),
    planted(
        "states are not compared",
        "host: the same, and nobody looks",
    ),
];

#[cfg(feature = "sabotage")]
pub(crate) fn is_planted(name: &str) -> bool {
    anser_broker::sabotage::is_planted(name)
}

#[cfg(not(feature = "sabotage"))]
pub(crate) fn is_planted(_name: &str) -> bool {
    false
}

/// Plants the bug of this name on this thread, or removes it if the name is empty; `None` if there is no
/// such bug, or none at all.
#[cfg(feature = "sabotage")]
pub fn plant(name: &str) -> Option<Planted> {
    let is_meant = |planted: &&Planted| planted.name == name || planted.to_string() == name;
    let found = PLANTED.iter().find(is_meant);
    let planted = if name.is_empty() { NONE } else { *found? };
    anser_broker::sabotage::plant(planted.name);
    anser_log::sabotage::plant(planted.name);
    Some(planted)
}

/// Without the feature there are none: only an empty name is known.
#[cfg(not(feature = "sabotage"))]
pub fn plant(name: &str) -> Option<Planted> {
    name.is_empty().then_some(NONE)
}
