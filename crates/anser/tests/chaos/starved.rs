//! A node that gets a tenth of a processor: the others go on, nothing is lost, and it comes back when it may run again.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{
    alone, folder,
    node_faults::Stage,
    node_kill::{NODES, led, note_outage},
    say, skipped,
    story::QUEUES,
};

const STARVED_FOR: Duration = Duration::from_secs(10);
/// The promise is 3 s, and the figure is said. All processes of a test may stand still together for 20 s on a machine that gives
/// them a fifth of its time; this bounds what is never served again.
const GAP_MAX: Duration = Duration::from_secs(60);
/// What a node that does not answer costs a probe.
const IMPATIENT: Duration = Duration::from_millis(300);
const PERIOD_MICROS: u32 = 100_000;
const QUOTA_MICROS: u32 = PERIOD_MICROS / 10;

#[test]
#[ignore = "by command: scripts/chaos starved"]
fn a_node_without_processor_time_holds_nobody_up() {
    let _turn = alone();
    let folder = folder();
    let scarcity = match Scarcity::new() {
        Ok(scarcity) => scarcity,
        Err(why) => return skipped("a node without processor time", &why),
    };
    let stage = Stage::new(folder.path(), "starved", 1, IMPATIENT);
    let running = stage.story.run(&stage.cluster);
    for _ in 0..stage.story.rounds() {
        let led_by = |node: u16| stage.cluster.status(node).map(|status| led(&status).len());
        let victim = (1..=NODES).max_by_key(|&node| led_by(node));
        let victim = victim.expect("there are nodes");
        stage.probes.go(victim);
        thread::sleep(Duration::from_secs(1));
        let before = led_by(victim).unwrap();
        let (began, fell) = (stage.story.load.recorder.now(), Instant::now());
        scarcity.take_in(stage.cluster.process(victim));
        thread::sleep(STARVED_FOR);
        let silent = stage.probes.silent_since(fell);
        let longest = stage.probes.gaps(fell).into_iter().max().unwrap();
        // It may be too slow to say so itself.
        let view = stage.cluster.status(victim % NODES + 1).unwrap();
        let number = stage.cluster.number(victim);
        let kept = view
            .shards
            .iter()
            .filter(|shard| shard.leader == Some(number));
        let kept = kept.count();
        scarcity.let_go(stage.cluster.process(victim));
        say(&format!(
            "node {victim} with a tenth of a processor: it led {before} shards, {kept} after {STARVED_FOR:?}; longest \
             gap of any shard {longest:.0?}"
        ));
        assert!(silent.is_empty(), "{silent:?}; {}", stage.cluster.logs());
        assert!(longest < GAP_MAX, "{longest:?}; {}", stage.cluster.logs());
        note_outage(&stage.story.load, began, &QUEUES);
        thread::sleep(Duration::from_secs(5));
    }
    running.join();
    stage.finish();
}

/// A control group whose processes get a tenth of a processor together.
struct Scarcity {
    group: PathBuf,
    /// Where processes of this test belong.
    own: PathBuf,
}

impl Scarcity {
    /// Either form of control groups will do.
    fn new() -> Result<Self, String> {
        let (first, second) = (Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup"));
        let is_first = first.join("cpu.shares").exists();
        let root = if is_first { first } else { second };
        let own = root.join(own_group(if is_first { ":cpu:/" } else { "0::/" })?);
        let group = root.join(format!("anser-starved-{}", std::process::id()));
        let fails = |error| format!("no control group for processors: {error}");
        fs::create_dir(&group).map_err(fails)?;
        let scarcity = Self { group, own };
        let limited = if is_first {
            fs::write(
                scarcity.group.join("cpu.cfs_period_us"),
                PERIOD_MICROS.to_string(),
            )
            .and_then(|()| {
                fs::write(
                    scarcity.group.join("cpu.cfs_quota_us"),
                    QUOTA_MICROS.to_string(),
                )
            })
        } else {
            fs::write(
                scarcity.group.join("cpu.max"),
                format!("{QUOTA_MICROS} {PERIOD_MICROS}"),
            )
        };
        limited.map_err(fails)?;
        Ok(scarcity)
    }

    fn take_in(&self, process: u32) {
        fs::write(self.group.join("cgroup.procs"), process.to_string()).unwrap();
    }

    fn let_go(&self, process: u32) {
        fs::write(self.own.join("cgroup.procs"), process.to_string()).unwrap();
    }
}

/// The group of this process, by what its line says before it.
fn own_group(mark: &str) -> Result<String, String> {
    let groups = fs::read_to_string("/proc/self/cgroup").map_err(|error| error.to_string())?;
    let mut lines = groups.lines();
    let group = lines.find_map(|line| line.split_once(mark));
    let group = group.ok_or_else(|| format!("no control group for processors: {groups}"))?;
    Ok(group.1.to_owned())
}

impl Drop for Scarcity {
    /// Who is still in it after a failed test ends just after; a group can be removed when it is empty.
    fn drop(&mut self) {
        let inside = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for process in inside.lines() {
            fs::write(self.own.join("cgroup.procs"), process).ok();
        }
        fs::remove_dir(&self.group).ok();
    }
}
