//! Where files are: every path below the root of a disk is made here.
//!
//! Numbers are written with leading zeros, so that names sort as their numbers do.

pub(crate) const ROOT: &str = "";
/// Without this file a folder has no log.
pub const MANIFEST: &str = "manifest";
pub(crate) const MANIFEST_STAGED: &str = "manifest.temp";
pub(crate) const WAL: &str = "wal";
pub(crate) const WAL_STAGED: &str = "wal/next.temp";
pub(crate) const MARKS: &str = "wal/durable";
pub(crate) const SHARDS: &str = "shards";
/// How the name of a file ends that was set aside because it is damaged.
pub(crate) const SET_ASIDE: &str = ".damaged";

pub(crate) fn wal_file(sequence: u64) -> String {
    format!("wal/{sequence:016}.wal")
}

/// The sequence in a file name of the folder `wal`.
pub(crate) fn wal_sequence(name: &str) -> Option<u64> {
    name.strip_suffix(".wal")?.parse().ok()
}

/// Whether a file name in the folder of a shard is that of a segment or a snapshot.
pub(crate) fn is_sealed(name: &str) -> bool {
    name.ends_with(".segment") || name.ends_with(".snapshot")
}

/// The shard to which a file belongs, by its path.
pub(crate) fn shard_of(path: &str) -> Option<u16> {
    let (shard, _) = path.strip_prefix("shards/")?.split_once('/')?;
    shard.parse().ok()
}

pub(crate) fn is_segment(path: &str) -> bool {
    path.ends_with(".segment")
}

pub(crate) fn shard_directory(shard: u16) -> String {
    format!("shards/{shard:05}")
}

pub(crate) fn segment(shard: u16, id: u64) -> String {
    format!("shards/{shard:05}/{id:016}.segment")
}

pub(crate) fn snapshot(shard: u16, id: u64) -> String {
    format!("shards/{shard:05}/{id:016}.snapshot")
}
