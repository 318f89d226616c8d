//! Opening a log after a crash: what was acknowledged is there, or the reason why not is named.
//!
//! The chain of batches is followed from the first listed file to the first bad byte. If anything
//! proves that the place was durable once (a later batch, a mark, the manifest), that is damage: the log of a node that has
//! no peers stays closed, another says of each shard what it may have lost (`holes.rs`). Damage to files of a single shard is that shard's affair.
//! Otherwise the rest was never acknowledged, or cannot be told from it: it is
//! wiped before new batches may stand there. After a power failure the disk may have lost the end
//! without a trace: then the log is suspect whatever stands there. Recovery may crash at any point and begin again.

mod holes;
mod mend;
mod replay;
mod sealed;
mod tail;

use std::{collections::VecDeque, io, sync::Arc};

use crate::{
    appender::Appender,
    disk::{Disk, DiskFile, OpenMode},
    entry::{Entry, HardState, Position, SnapshotInfo},
    error::Error,
    index::{Index, WalFile},
    log_end::{Current, LogEnd},
    manifest::Manifest,
    marks::Marks,
    names,
    options::Options,
    reader::Reader,
    segment::files::SegmentFiles,
    shared::Shared,
    store::Store,
    wal_files::PreparedFile,
};
pub use mend::{Mended, MendedShard, MendedState};
use replay::Replayed;

/// Opens logs.
#[derive(Debug)]
pub struct Log;

/// An open log.
#[derive(Debug)]
pub struct Opened<D: Disk> {
    pub appender: Appender<D>,
    pub reader: Reader<D>,
    pub store: Store<D>,
    /// By shard.
    pub shards: Vec<RecoveredShard>,
    pub report: RecoveryReport,
}

/// What a shard has after recovery. All of it is durable.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each may be so with any of the others"
)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveredShard {
    pub shard: u16,
    pub hard_state: HardState,
    pub snapshot: Option<SnapshotInfo>,
    /// The first entry behind the snapshot, which is the next to come if there is none yet.
    pub first_index: u64,
    /// The last entry, or the snapshot's.
    pub last_index: u64,
    /// The shard was forgotten, and only a snapshot at this index or a later one may bring it back
    /// ([`Store::forget`]). Zero otherwise.
    pub floor: u64,
    /// Something that was alive could not be read when its log file was recycled, or stood where the log is damaged.
    pub damaged: bool,
    /// The log was damaged where the last entries of the shard may have stood: it may lack some that it acknowledged, but no
    /// term and no vote.
    pub doubtful: bool,
    /// The log was damaged where a term or a vote of the shard may have stood: nothing may be promised for it here.
    pub lost: bool,
    /// Entries between the snapshot and the last one are not here: no state can be made of the rest.
    pub has_gap: bool,
}

/// What recovery found.
#[derive(Debug)]
pub struct RecoveryReport {
    /// A batch at the end that was not whole and was removed.
    pub torn_tail: Option<TornTail>,
    /// This or an earlier recovery met an ambiguous tail, or a log that was not closed and whose machine was
    /// switched off since, and [`Store::clear_suspicion`] was not called yet. Concerns all shards:
    /// their replicas may have lost acknowledged entries.
    pub suspect: bool,
    /// The log was written anew without what was lost ([`Log::mend`]), and [`Store::note_agreed`] was not called yet:
    /// shards may give out again what they gave out.
    pub mended: bool,
    /// What is damaged of single shards, each error with its file. The others are not touched by it.
    pub damage: Vec<ShardDamage>,
    /// Where the log is damaged. What it cost stands with the shards.
    pub holes: Vec<Error>,
    pub files_replayed: u64,
    pub bytes_replayed: u64,
}

/// Something of a shard that cannot be read.
#[derive(Debug)]
pub struct ShardDamage {
    pub shard: u16,
    pub error: Error,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TornTail {
    pub file: String,
    pub offset: u64,
    pub certainty: Certainty,
}

/// Whether a removed batch can have been acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Its end never reached the disk: it was not, unless the disk lost what it had promised.
    Torn,
    /// It was torn, or it was acknowledged and then damaged.
    Ambiguous,
}

impl Log {
    /// Writes the log anew if something in it, or a snapshot, is damaged, with what can still be read: for a log whose
    /// shards nobody else has. Nothing may have it open. `beginning`: the index behind which the first entries of a
    /// shard stand that nobody has used. `left_out` hears of each entry that can be read but counts no more.
    pub fn mend<D: Disk>(
        disk: &D,
        options: &Options,
        beginning: u64,
        left_out: &mut dyn FnMut(u16, &Entry),
    ) -> Result<Mended, Error> {
        mend::mend(disk, options, beginning, left_out)
    }

    /// Opens the log of a disk, or makes one if the disk is empty.
    pub fn open<D: Disk>(disk: D, options: Options) -> Result<Opened<D>, Error> {
        options.check()?;
        let (manifest, is_new) = match Manifest::read(&disk)? {
            Some(manifest) => (manifest, false),
            None => (create(&disk)?, true),
        };
        let mut marks = Marks::open(&disk, options.boot)?;
        let mut index = Index::new(manifest.wal_first);
        let replayed = replay::replay(&disk, &options, &manifest, &marks, &mut index)?;
        let segments = Arc::new(SegmentFiles::new(disk.clone(), options.open_segments));
        let sealed = sealed::open_sealed(&disk, &segments, &manifest, &mut index)?;
        sealed::check_unlisted(&disk, &manifest)?;

        // From here on the disk is changed.
        make_names_durable(&disk).map_err(|error| Error::io("sync", names::ROOT, error))?;
        let is_doubtful = !is_new && is_doubtful(&marks, &replayed, options.boot);
        let manifest = tail::settle(&disk, &options, manifest, &replayed, is_doubtful)?;
        sealed::remove_unlisted(&disk, &manifest)?;
        let (shards, gaps) = recovered_shards(&manifest, &index);
        index.durable = replayed.end;
        marks
            .begin(replayed.end, manifest.generation)
            .map_err(|error| Error::io("write", names::MARKS, error))?;

        let mut report = report(&manifest, &replayed);
        let end = LogEnd::new(current_file(&index, &replayed));
        let prepared = prepared_files(&disk, &manifest, &index)?;
        let shared = Arc::new(Shared::new(
            disk, options, segments, manifest, prepared, index, end,
        ));
        let reader = Reader::new(Arc::clone(&shared));
        report.damage = damage(sealed.into_iter().chain(gaps), &reader);
        Ok(Opened {
            appender: Appender::new(Arc::clone(&shared), marks),
            reader,
            store: Store::new(shared),
            shards,
            report,
        })
    }
}

/// Lays out an empty disk. Anything that only a manifest could have led to means that it was lost.
fn create<D: Disk>(disk: &D) -> Result<Manifest, Error> {
    let error = |error| Error::io("create the log in", "the empty folder", error);
    for directory in [names::WAL, names::SHARDS] {
        disk.create_directory(directory).map_err(error)?;
    }
    let files = disk.list(names::WAL).map_err(error)?;
    let shards = disk.list(names::SHARDS).map_err(error)?;
    if !shards.is_empty() || files.iter().any(|name| names::wal_sequence(name).is_some()) {
        return Err(Error::MissingFile {
            file: names::MANIFEST.to_owned(),
        });
    }
    Marks::create(disk).map_err(error)?;
    make_names_durable(disk).map_err(error)?;
    let manifest = Manifest {
        generation: 1,
        next_id: 1,
        wal_first: 1,
        durable: Position {
            sequence: 1,
            offset: 0,
        },
        ..Manifest::default()
    };
    manifest
        .write(disk)
        .map_err(|failure| error(failure.source))?;
    Ok(manifest)
}

/// Whether the disk may have lost the end of the log without a trace: nobody closed it, and the machine was
/// switched off since. Disks that lose their last writes with the power do so a sector or more at a time,
/// which may be all of a batch.
fn is_doubtful<D: Disk>(marks: &Marks<D>, replayed: &Replayed, boot: Option<u64>) -> bool {
    #[cfg(feature = "sabotage")]
    if crate::sabotage::is_planted("power loss trusted") {
        return false;
    }
    let last = marks.last();
    // A newer mark that cannot be read may be of a start that wrote more.
    let closed = marks.is_whole() && last.closed && last.durable == replayed.end;
    let same_boot = boot.is_some_and(|boot| boot == last.boot);
    // Neither may one that is damaged and was written in this time since the machine was switched on: what it called
    // durable may be gone together with it.
    !closed && (!same_boot || !marks.is_whole())
}

fn make_names_durable<D: Disk>(disk: &D) -> io::Result<()> {
    disk.sync_directory(names::WAL)?;
    disk.sync_directory(names::SHARDS)?;
    disk.sync_directory(names::ROOT)
}

/// By shard, and where entries are missing.
fn recovered_shards<D: Disk>(
    manifest: &Manifest,
    index: &Index<D>,
) -> (Vec<RecoveredShard>, Vec<Error>) {
    let mut recovered = Vec::new();
    let mut gaps = Vec::new();
    for (&number, shard) in &index.shards {
        let covered = shard.snapshot_index();
        let listed = manifest.shards.get(&number);
        let floor = listed.map_or(0, |listed| listed.floor);
        let behind_gap = shard.runs.first().filter(|&first| first > covered + 1);
        gaps.extend(behind_gap.map(|first| {
            let place = shard.runs.find(first).unwrap_or_default();
            let file = names::wal_file(place.sequence);
            let what = "entries before this one are neither in the log nor in a snapshot";
            Error::corrupt(&file, place.offset.into(), what)
        }));
        let (term, vote, commit) = shard
            .hard_state
            .map_or((0, 0, 0), |state| (state.term, state.vote, state.commit));
        let snapshot_term = shard.snapshot.map_or(0, |snapshot| snapshot.term);
        let hard_state = HardState {
            term: term.max(snapshot_term),
            vote: if snapshot_term > term { 0 } else { vote },
            // What was committed before the shard was forgotten is not here.
            commit: if floor > 0 { 0 } else { commit.max(covered) },
        };
        recovered.push(RecoveredShard {
            shard: number,
            hard_state,
            snapshot: shard.snapshot,
            first_index: covered + 1,
            last_index: shard.last_index(),
            floor,
            damaged: listed.is_some_and(|listed| listed.damaged),
            doubtful: listed.is_some_and(|listed| listed.doubtful),
            lost: listed.is_some_and(|listed| listed.lost),
            has_gap: behind_gap.is_some(),
        });
    }
    (recovered, gaps)
}

/// Whose each damage is.
fn damage<D: Disk>(found: impl Iterator<Item = Error>, reader: &Reader<D>) -> Vec<ShardDamage> {
    let damage = found.map(|error| {
        let shard = reader.shard_of(&error).expect("it is of one shard");
        ShardDamage { shard, error }
    });
    damage.collect()
}

fn report(manifest: &Manifest, replayed: &Replayed) -> RecoveryReport {
    RecoveryReport {
        torn_tail: replayed.torn_tail(),
        suspect: manifest.suspect,
        mended: manifest.mended,
        damage: Vec::new(),
        holes: replayed.holes.places(),
        files_replayed: replayed.files,
        bytes_replayed: replayed.bytes,
    }
}

fn current_file<D: Disk>(index: &Index<D>, replayed: &Replayed) -> Option<Current<D>> {
    let file: &WalFile<D> = index.files.get(&replayed.end.sequence)?;
    Some(Current {
        file: file.clone(),
        end: replayed.end,
        chain: replayed.chain,
    })
}

fn prepared_files<D: Disk>(
    disk: &D,
    manifest: &Manifest,
    index: &Index<D>,
) -> Result<VecDeque<PreparedFile<D>>, Error> {
    let mut prepared = VecDeque::new();
    for (sequence, bytes) in manifest.wal_files() {
        if index.files.contains_key(&sequence) {
            continue;
        }
        let file = open_wal_file(disk, sequence)?;
        prepared.push_back(PreparedFile {
            sequence,
            file: Arc::new(file),
            bytes,
        });
    }
    Ok(prepared)
}

/// Opens a listed file, past the cache if the system will have it so: damage on the device is found now, not
/// when the cache has let go of it.
fn open_wal_file<D: Disk>(disk: &D, sequence: u64) -> Result<D::File, Error> {
    let name = names::wal_file(sequence);
    let error = |error| Error::io("open", &name, error);
    let file = disk.open(&name, OpenMode::Existing).map_err(error)?;
    #[cfg(feature = "sabotage")]
    let forgets = !crate::sabotage::is_planted("cache trusted");
    #[cfg(not(feature = "sabotage"))]
    let forgets = true;
    if forgets {
        file.forget_cache().map_err(error)?;
    }
    Ok(file)
}
