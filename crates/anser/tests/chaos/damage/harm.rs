//! Damage to one file of a data directory, and whether it is still there.

use std::{
    fs,
    io::ErrorKind,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use super::cell::{Kind, Target};
use crate::chaos::workload::Chance;

const PAGE: usize = 4_096;
const SECTOR: usize = 512;
const WAL_MAGIC: &[u8] = b"AWAL";
/// Where the first record of a log file has the file's own number.
const WAL_SEQUENCE_AT: usize = 16;

#[derive(Debug)]
pub(super) struct Harm {
    path: PathBuf,
    /// The file's path in the data directory.
    pub(super) name: String,
    pub(super) what: String,
    left: Left,
}

/// What a damaged file is known by.
#[derive(Debug)]
enum Left {
    Nothing,
    Length(u64),
    Bytes(Vec<(usize, Vec<u8>)>),
}

impl Harm {
    /// Damages a file of this kind that chance chooses; `None` while there is none that can be damaged so.
    pub(super) fn inflict(
        data: &Path,
        target: Target,
        kind: Kind,
        chance: &mut Chance,
    ) -> Option<Self> {
        let mut files = files(data, target);
        files.sort();
        let path = files.get(index(chance, files.len())?)?.clone();
        let content = fs::read(&path).ok()?;
        let used = content.iter().rposition(|&byte| byte != 0)? + 1;
        let (what, left) = damage(&path, &content, used, kind, chance)?;
        let name = path.strip_prefix(data).expect("it is in there");
        let name = name.to_str().expect("plain names").to_owned();
        Some(Self {
            path,
            name,
            what,
            left,
        })
    }

    /// Whether the file is as the damage left it.
    pub(super) fn is_in_place(&self) -> bool {
        match &self.left {
            Left::Nothing => !self.path.exists(),
            Left::Length(length) => {
                fs::metadata(&self.path).is_ok_and(|file| file.len() == *length)
            }
            Left::Bytes(pieces) => fs::read(&self.path).is_ok_and(|content| {
                let mut pieces = pieces.iter();
                pieces.all(|(from, bytes)| content.get(*from..from + bytes.len()) == Some(bytes))
            }),
        }
    }

    /// Whether anybody could tell from the file's place that something was set right: a file that is gone or short may
    /// be replaced by one of another name.
    pub(super) fn is_seen_in_place(&self) -> bool {
        matches!(self.left, Left::Bytes(_))
    }

    pub(super) fn is_removal(&self) -> bool {
        matches!(self.left, Left::Nothing)
    }

    /// Whether a log warns or complains of this file.
    pub(super) fn is_named_in(&self, log: &str) -> bool {
        let file = self.path.file_name().and_then(|name| name.to_str());
        let file = file.expect("plain names");
        let mut lines = log.lines();
        lines.any(|line| line.contains(file) && !line.contains("INFO"))
    }
}

fn damage(
    path: &Path,
    content: &[u8],
    used: usize,
    kind: Kind,
    chance: &mut Chance,
) -> Option<(String, Left)> {
    let file = || fs::File::options().write(true).open(path);
    match kind {
        Kind::Missing => {
            fs::remove_file(path).ok()?;
            Some(("removed".to_owned(), Left::Nothing))
        }
        Kind::Cut => {
            let length = chance.below(used as u64);
            file().ok()?.set_len(length).ok()?;
            let what = format!("cut to {length} of {} bytes", content.len());
            Some((what, Left::Length(length)))
        }
        Kind::Append => {
            let count = 1 + index(chance, PAGE)?;
            let bytes: Vec<u8> = (0..count).map(|_| byte(chance)).collect();
            file()
                .ok()?
                .write_all_at(&bytes, content.len() as u64)
                .ok()?;
            let what = format!("{count} bytes of garbage behind {}", content.len());
            Some((what, Left::Bytes(vec![(content.len(), bytes)])))
        }
        Kind::Flip | Kind::Zero | Kind::Swap => {
            let pieces = altered(content, used, kind, chance)?;
            for (from, bytes) in &pieces {
                file().ok()?.write_all_at(bytes, *from as u64).ok()?;
            }
            let places: Vec<String> = pieces
                .iter()
                .map(|(from, bytes)| format!("{from}+{}", bytes.len()))
                .collect();
            Some((
                format!("{kind:?} at {}", places.join(" and ")),
                Left::Bytes(pieces),
            ))
        }
    }
}

/// Bytes to write over some that differ, and where.
fn altered(
    content: &[u8],
    used: usize,
    kind: Kind,
    chance: &mut Chance,
) -> Option<Vec<(usize, Vec<u8>)>> {
    const TRIES: usize = 100;
    for _ in 0..TRIES {
        let pieces = match kind {
            Kind::Flip => {
                let from = index(chance, used)?;
                vec![(from, vec![content[from] ^ 1 << chance.below(8)])]
            }
            Kind::Zero => {
                let length = [SECTOR, PAGE][index(chance, 2)?];
                let from = index(chance, used)? / SECTOR * SECTOR;
                vec![(from, vec![0; length.min(content.len() - from)])]
            }
            _ => {
                let length = PAGE.min(used / 2);
                let pages = used / length.max(1);
                let [one, other] = [index(chance, pages)?, index(chance, pages)?];
                let page = |page: usize| content[page * length..(page + 1) * length].to_vec();
                vec![(one * length, page(other)), (other * length, page(one))]
            }
        };
        let mut changed = pieces.iter();
        if changed.all(|(from, bytes)| content[*from..from + bytes.len()] != bytes[..]) {
            return Some(pieces);
        }
    }
    None
}

fn files(data: &Path, target: Target) -> Vec<PathBuf> {
    match target {
        Target::Wal => {
            let mut logs = named(&data.join("wal"), "wal");
            logs.retain(|path| is_begun(path));
            logs
        }
        Target::Marks => vec![data.join("wal/durable")],
        Target::Manifest => vec![data.join("manifest")],
        Target::Identity => vec![data.join("node.json")],
        Target::Keys => vec![data.join("keys.anser")],
        Target::Segment => in_shards(data, "segment"),
        Target::Snapshot => in_shards(data, "snapshot"),
    }
}

fn in_shards(data: &Path, extension: &str) -> Vec<PathBuf> {
    let Ok(shards) = fs::read_dir(data.join("shards")) else {
        return Vec::new();
    };
    let shards = shards.filter_map(Result::ok);
    shards
        .flat_map(|shard| named(&shard.path(), extension))
        .collect()
}

/// Files come and go while their node runs.
fn named(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Vec::new(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    paths
        .filter(|path| path.extension().is_some_and(|one| one == extension))
        .collect()
}

/// A log file that is in use, and not one that is prepared or of which only old bytes are left.
fn is_begun(path: &Path) -> bool {
    let number = path
        .file_stem()
        .and_then(|stem| stem.to_str()?.parse::<u64>().ok());
    let mut head = [0; WAL_SEQUENCE_AT + 8];
    let read = fs::File::open(path).and_then(|file| file.read_exact_at(&mut head, 0));
    let sequence = head[WAL_SEQUENCE_AT..].try_into().map(u64::from_le_bytes);
    read.is_ok() && head.starts_with(WAL_MAGIC) && sequence.ok() == number
}

fn index(chance: &mut Chance, bound: usize) -> Option<usize> {
    let bound = u64::try_from(bound).expect("fits");
    (bound > 0).then(|| usize::try_from(chance.below(bound)).expect("fits"))
}

fn byte(chance: &mut Chance) -> u8 {
    u8::try_from(chance.below(256)).expect("below 256")
}
