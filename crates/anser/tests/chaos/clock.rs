//! The wall clock of one node of three jumps by an hour, forwards or backwards, and back again, while its process runs:
//! nothing comes early, no lease ends early, nothing is lost.
//!
//! The judge knows the recorder's clock alone, so a delay or a lease that followed the jump is a violation.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::{
    beside_others,
    disk::run,
    fleet::Fleet,
    folder,
    node_kill::{SHARDS, note_outage},
    probes::Probes,
    say, skipped,
    story::{QUEUES, Story},
    summary::conclude,
    workload::Chance,
};

const NODES: u16 = 3;
const JUMP_SECONDS: i64 = 3_600;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);
/// The promise is that nobody notices, and the figure is said. All processes of a test may stand still together for 20 s on a machine that gives
/// them a fifth of its time; this bounds what is never served again.
const GAP_MAX: Duration = Duration::from_secs(60);
const LIBRARY: &str = "libfaketime.so.1";

#[test]
fn nothing_is_early_and_nothing_is_lost_when_a_wall_clock_jumps() {
    let _turn = beside_others();
    let folder = folder();
    let clocks = match Clocks::new(folder.path()) {
        Ok(clocks) => clocks,
        Err(why) => return skipped("jumps of the wall clock", &why),
    };
    let story = Story::new("clock", 2);
    let mut chance = Chance::new(story.load.seed);
    let mut fleet = Fleet::new(folder.path(), NODES, "");
    for node in 1..=NODES {
        fleet.set_environment(node, clocks.environment(node));
        fleet.join(node);
        let maps = fs::read_to_string(format!("/proc/{}/maps", fleet.process(node))).unwrap();
        assert!(maps.contains(LIBRARY), "node {node} has the real clock");
    }
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    let running = story.run(&fleet);
    for round in 0..story.rounds() {
        let victim = u16::try_from(1 + chance.below(NODES.into())).unwrap();
        // Requests are refused by a clock that is too far off, which is what the node must do.
        probes.go(victim);
        thread::sleep(Duration::from_secs(1));
        let (began, jumped) = (story.load.recorder.now(), Instant::now());
        let by = if round % 2 == 0 {
            JUMP_SECONDS
        } else {
            -JUMP_SECONDS
        };
        clocks.set(victim, by);
        // Longer than leases and delays are.
        thread::sleep(Duration::from_millis(4_000 + chance.below(2_000)));
        clocks.set(victim, 0);
        thread::sleep(Duration::from_secs(2));
        let longest = probes.gaps(jumped).into_iter().max().unwrap();
        say(&format!(
            "the clock of node {victim} jumped by {by} s and back: longest gap of any shard {longest:.0?}"
        ));
        note_outage(&story.load, began, &QUEUES);
        assert!(longest < GAP_MAX, "{longest:?}");
    }
    running.join();
    probes.rest();
    say(&format!("failed requests: {}", story.load.failures));
    fleet.wait_until_whole(EVEN_WITHIN).unwrap();
    conclude(story, Some(probes), &fleet);
}

/// A wall clock of its own for each node, by libfaketime. Clocks that only count stay as they are.
struct Clocks {
    folder: PathBuf,
    library: PathBuf,
}

impl Clocks {
    fn new(folder: &Path) -> Result<Self, String> {
        let clocks = Self {
            folder: folder.to_owned(),
            library: library()?,
        };
        for node in 1..=NODES {
            clocks.set(node, 0);
        }
        clocks.set(1, JUMP_SECONDS);
        let now = |command: &mut Command| {
            let output = command
                .arg("+%s")
                .output()
                .map_err(|error| error.to_string())?;
            let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            text.parse::<i64>().map_err(|_| format!("date says {text}"))
        };
        let ahead = now(Command::new("date").envs(clocks.environment(1)))?
            - now(&mut Command::new("date"))?;
        clocks.set(1, 0);
        if (ahead - JUMP_SECONDS).abs() > 60 {
            return Err(format!("libfaketime has no effect: {ahead} s"));
        }
        Ok(clocks)
    }

    fn environment(&self, node: u16) -> Vec<(&'static str, String)> {
        let text = |path: PathBuf| path.to_str().expect("plain names").to_owned();
        vec![
            ("LD_PRELOAD", text(self.library.clone())),
            ("FAKETIME_TIMESTAMP_FILE", text(self.file(node))),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("FAKETIME_DONT_RESET", "1".to_owned()),
        ]
    }

    /// From now on the node's clock is off by so much. The file is replaced as a whole, since it is read at any moment.
    fn set(&self, node: u16, seconds: i64) {
        let file = self.file(node);
        let aside = file.with_extension("new");
        fs::write(&aside, format!("{seconds:+}")).unwrap();
        fs::rename(aside, file).unwrap();
    }

    fn file(&self, node: u16) -> PathBuf {
        self.folder.join(format!("clock-{node}"))
    }
}

/// Where libfaketime is, installed if need be.
fn library() -> Result<PathBuf, String> {
    let find = || {
        let folders = [
            "/usr/lib/x86_64-linux-gnu",
            "/usr/lib/aarch64-linux-gnu",
            "/usr/lib",
        ];
        let mut paths = folders
            .iter()
            .map(|folder| Path::new(folder).join("faketime").join(LIBRARY));
        paths.find(|path| path.exists())
    };
    if let Some(library) = find() {
        return Ok(library);
    }
    if !rustix::process::geteuid().is_root() {
        return Err("there is no libfaketime".to_owned());
    }
    run(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "libfaketime"]))
        .map_err(|why| format!("there is no libfaketime, and it cannot be installed: {why}"))?;
    find().ok_or_else(|| "libfaketime is nowhere".to_owned())
}
