//! One bit of a message rots where it rests on one node of three: the entry comes back from another node, and no voter is
//! let go of.

use std::{
    cell::OnceCell,
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{beside_others, fleet::Fleet, folder, node_kill::SHARDS, say, story::Story};
use crate::cluster::dev_cluster::within;

/// Small files, so that there are some of each kind soon.
const SETTINGS: &str = "[storage]\nwal_file_bytes = \"8 MiB\"\nwal_budget_bytes = \"32 MiB\"\nsegment_bytes = \"8 MiB\"\n";
const BULK_QUEUES: usize = 2 * SHARDS as usize;
const BATCHES: u64 = 6;
const BODY_BYTES: usize = 48_000;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const THERE_WITHIN: Duration = Duration::from_secs(60);
/// What rests is read within a round of the scrub.
const SCRUBBED_WITHIN: Duration = Duration::from_secs(180);
const RECEIVED_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_rotten_bit_of_a_message_comes_back_from_another_node() {
    let _turn = beside_others();
    let folder = folder();
    let story = Story::with_bulk("mending", 1, BULK_QUEUES);
    let fleet = Fleet::start(folder.path(), 3, 3, SETTINGS);
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    story.fill_each(&fleet, BATCHES, BODY_BYTES);
    let mended = |node| fleet.metric(node, "anser_mended_total");
    let installed = |node| fleet.metric(node, "anser_copies_installed_total");
    let copies_before = [1, 2, 3].map(installed);
    for (node, kind) in [(2, "segment"), (3, "wal")] {
        let logged = fleet.logged(node);
        let flipped = OnceCell::new();
        let data = fleet.data(node);
        assert!(within(THERE_WITHIN, || {
            flip(&data, kind).is_some_and(|path| flipped.set(path).is_ok())
        }));
        say(&format!("node {node}: {flipped:?}"));
        let is_mended = within(SCRUBBED_WITHIN, || mended(node) == Some(1));
        let log = fleet.logged_since(node, logged);
        assert!(is_mended, "{flipped:?}: {log}");
        assert!(log.contains("whole again"), "{log}");
        assert!(!log.contains("no replica of it is here"), "{log}");
    }
    assert_eq!([1, 2, 3].map(installed), copies_before);
    fleet.wait_until_whole(THERE_WITHIN).unwrap();
    let incomplete = story.incomplete(&fleet, BATCHES, RECEIVED_WITHIN);
    assert_eq!(incomplete, [""; 0]);
}

/// Flips a bit in the middle of the oldest file of this kind that is long enough to have a message there.
fn flip(data: &Path, kind: &str) -> Option<PathBuf> {
    let mut files = files(data, kind);
    files.sort();
    let path = files.into_iter().find(|path| {
        let length = fs::metadata(path).map_or(0, |file| file.len());
        length > 4 * BODY_BYTES as u64
    })?;
    let content = fs::read(&path).ok()?;
    let at = content.len() / 2;
    let file = fs::File::options().write(true).open(&path).ok()?;
    file.write_all_at(&[content[at] ^ 8], at as u64).ok()?;
    Some(path)
}

fn files(data: &Path, kind: &str) -> Vec<PathBuf> {
    let of = |folder: &Path| {
        let entries = fs::read_dir(folder).into_iter().flatten();
        entries.filter_map(|entry| Some(entry.ok()?.path()))
    };
    let mut folders = vec![data.join("wal")];
    folders.extend(of(&data.join("shards")));
    let all = folders.iter().flat_map(|folder| of(folder));
    all.filter(|path| path.extension().is_some_and(|it| it == kind))
        .collect()
}
