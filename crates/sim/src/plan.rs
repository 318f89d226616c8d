//! What a seed decides: how large the cluster is, what its clients do and what may go wrong.

use std::collections::BTreeSet;

use anser_broker::{limits::TOKEN_WINDOW, time::Millis};

use crate::{
    event::{Micros, SECOND},
    random::Random,
};

/// A kind of thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    Latency,
    Drops,
    Doubles,
    Reordering,
    Partition,
    OneWayCut,
    Flapping,
    Kill,
    PowerLoss,
    TotalPowerLoss,
    Pause,
    SlowDisk,
    SyncError,
    FullDisk,
    BitFlip,
    LostDisk,
    ClockDrift,
    WallJump,
    Membership,
    Transfer,
    LostSector,
    ReadError,
    WriteError,
    RenameError,
    DirectorySyncError,
    ZeroedSector,
    StaleSector,
    MisdirectedSector,
    UnreadableSector,
    LostQuorum,
    OldCopy,
    WrongClock,
    Restart,
}

impl Fault {
    pub const ALL: [Self; 33] = [
        Self::Latency,
        Self::Drops,
        Self::Doubles,
        Self::Reordering,
        Self::Partition,
        Self::OneWayCut,
        Self::Flapping,
        Self::Kill,
        Self::PowerLoss,
        Self::TotalPowerLoss,
        Self::Pause,
        Self::SlowDisk,
        Self::SyncError,
        Self::FullDisk,
        Self::BitFlip,
        Self::LostDisk,
        Self::ClockDrift,
        Self::WallJump,
        Self::Membership,
        Self::Transfer,
        Self::LostSector,
        Self::ReadError,
        Self::WriteError,
        Self::RenameError,
        Self::DirectorySyncError,
        Self::ZeroedSector,
        Self::StaleSector,
        Self::MisdirectedSector,
        Self::UnreadableSector,
        Self::LostQuorum,
        Self::OldCopy,
        Self::WrongClock,
        Self::Restart,
    ];

    /// Whether it strikes at moments; the others last for the whole of the chaos.
    pub(crate) fn strikes(self) -> bool {
        !matches!(
            self,
            Self::Latency
                | Self::Drops
                | Self::Doubles
                | Self::Reordering
                | Self::ClockDrift
                | Self::WrongClock
        )
    }
}

/// One simulation.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) shards: u16,
    /// Nodes of the cluster at the beginning: the first, and those that join it.
    pub(crate) nodes: u64,
    /// The copies of a shard that are wanted at the beginning.
    pub(crate) replicas: usize,
    /// How long a node may be silent before its copies are made again elsewhere.
    pub(crate) grace: Micros,
    /// Copies that may be on their way at once.
    pub(crate) moves_max: usize,
    pub(crate) has_zones: bool,
    pub(crate) clients: usize,
    /// They publish to topics too.
    pub(crate) publishes: bool,
    pub(crate) faults: BTreeSet<Fault>,
    /// All programs are old ones at first.
    pub(crate) upgrades: bool,
    /// How long the chaos lasts.
    pub(crate) chaos: Micros,
    /// The usual time between two faults.
    pub(crate) fault_interval: Micros,
    /// Of every queue, in milliseconds.
    pub(crate) visibility: u64,
    pub(crate) wal_file_bytes: u64,
    pub(crate) wal_files: u64,
    /// The usual time of one sync.
    pub(crate) sync: Micros,
    /// Applied entries that a replica keeps in memory for others, in bytes.
    pub(crate) memory_bytes: usize,
    /// How much of the time that a node was off counts at most.
    pub(crate) time_off_max: Millis,
    /// The usual pause of a client between two requests.
    pub(crate) pace: Micros,
    /// How often clients choose one queue of all, in a thousand.
    pub(crate) crowding: u64,
    /// How often they do something with a whole queue, in a thousand.
    pub(crate) restlessness: u64,
    /// About the most bytes of a body.
    pub(crate) body_bytes: usize,
}

/// In a thousand: seeds that go beyond the budget.
const BEYOND_BUDGET: u64 = 150;

impl Plan {
    /// What this seed decides. With `only`, just these kinds of fault.
    pub(crate) fn new(seed: u64, only: &[Fault]) -> Self {
        let mut random = Random::new(seed ^ 0x706c_616e);
        let mut faults = BTreeSet::new();
        // One in sixteen is calm: healthy clusters have lost data too.
        if !seed.is_multiple_of(16) {
            for fault in Fault::ALL {
                if random.permille(500) {
                    faults.insert(fault);
                }
            }
        }
        if !random.permille(BEYOND_BUDGET) {
            faults.remove(&Fault::LostQuorum);
        }
        if !only.is_empty() {
            faults = only.iter().copied().collect();
        }
        let is_beyond = faults.contains(&Fault::LostQuorum);
        if is_beyond {
            // So that shards are on different nodes.
            faults.insert(Fault::Membership);
        }
        let nodes = if is_beyond { 5 } else { random.between(3, 5) };
        let replicas = match random.below(10) {
            0 if !is_beyond => 1,
            1 | 2 if !is_beyond => 2,
            _ if is_beyond => 3,
            _ if nodes == 5 && random.permille(500) => 5,
            _ => 3,
        };
        // What stands still is in the oldest of the log files only where they are used again often.
        let is_tight = is_beyond && random.permille(500);
        // Programs are exchanged by restarts.
        let is_calm = faults.is_empty();
        Self {
            seed,
            shards: u16::try_from(random.between(if is_beyond { 3 } else { 1 }, 4))
                .expect("few shards"),
            nodes,
            replicas,
            grace: random.between(4, 12) * SECOND,
            moves_max: usize::try_from(random.between(1, 4)).expect("few moves"),
            has_zones: random.permille(400),
            clients: usize::try_from(random.between(3, 8)).expect("few clients"),
            publishes: random.permille(500) && !is_beyond,
            faults,
            chaos: random.between(25, 50) * SECOND,
            fault_interval: random.between(200, 2_500) * 1_000,
            visibility: random.between(2_000, 8_000),
            wal_file_bytes: 4096 * random.between(6, if is_tight { 6 } else { 12 }),
            wal_files: random.between(3, if is_tight { 3 } else { 8 }),
            sync: random.between(100, 4_000),
            memory_bytes: usize::try_from(random.between(1, 64) * 1_024).expect("little memory"),
            time_off_max: time_off_max(&mut random),
            pace: random.between(20, if is_tight { 40 } else { 200 }) * 1_000,
            upgrades: random.permille(250) && !is_calm,
            crowding: if random.permille(250) { 600 } else { 0 },
            restlessness: if random.permille(250) { 250 } else { 70 },
            body_bytes: if random.permille(200) || is_tight {
                1_000
            } else {
                200
            },
        }
    }

    /// Whether a shard's time may go ahead by more than a send is known that is made again: then nobody can say of
    /// one whether it counts as the same.
    pub(crate) fn may_forget_sends(&self) -> bool {
        let jumps = self.has(Fault::WallJump) || self.has(Fault::WrongClock);
        jumps && self.time_off_max >= TOKEN_WINDOW
    }

    pub(crate) fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// Whether nothing goes wrong at all.
    pub(crate) fn is_calm(&self) -> bool {
        self.faults.is_empty()
    }
}

/// None, as much as matters to what ends within a run, or what the product has if nobody says otherwise.
fn time_off_max(random: &mut Random) -> Millis {
    match random.below(3) {
        0 => Millis(0),
        1 => Millis(random.between(1_000, 20_000)),
        _ => Millis::from_seconds(6 * 3_600),
    }
}
