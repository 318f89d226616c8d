//! Nodes: their disks, and the processes that come and go on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use anser_broker::{command::NodeStart, version::ClusterVersion};
use anser_host::{OpenError, Order, Peer, Policy};
use anser_log::{Error, disk::simulated::SimulatedDisk};

use super::{Common, World, human::Machine};
use crate::{
    checks::DurableShard,
    clock::Clock,
    coverage::sometimes,
    event::{Event, Happening, MILLISECOND, Micros, SECOND},
    plan::Fault,
    process::{Identity, Moment, Opening, Process, Remains, Stop},
};

#[expect(
    clippy::struct_excessive_bools,
    reason = "they have nothing to do with each other"
)]
pub(super) struct Node {
    pub(super) disk: SimulatedDisk,
    pub(super) identity: Identity,
    /// The copies of each shard that its configuration asks for.
    pub(super) replicas: usize,
    pub(super) clock: Clock,
    pub(super) process: Option<Process>,
    life: u64,
    pub(super) paused_until: Micros,
    /// What happened to it while it was paused.
    missed: Vec<(u64, Happening)>,
    /// How many times slower than usual the disk is.
    pub(super) slowness: u64,
    founder: bool,
    /// Nobody starts it any more.
    pub(super) is_gone: bool,
    /// The files in which something was damaged, by the names that they had.
    pub(super) damaged: BTreeSet<String>,
    /// What its disk fails, or may have failed, since its process started.
    pub(super) struck: Option<Fault>,
    /// When everybody has noticed that it is gone.
    pub(super) unnoticed_until: Micros,
    /// It will distrust its log when it starts next.
    pub(super) is_wary: bool,
    /// Its last process closed the log, of which nothing was in doubt.
    is_closed: bool,
    /// Counts how often the machine was switched on.
    boot: u64,
    /// The disk did not keep all that it had promised.
    pub(super) lost_a_sector: bool,
    /// When its process is to end.
    pub(super) trap: Option<(Moment, Stop)>,
    /// What was being written when the last process ended.
    under_way: Vec<(u16, u64)>,
}

impl Node {
    pub(super) fn relieve(&mut self, common: &mut Common) {
        self.slowness = 1;
        if let Some(process) = &mut self.process {
            process.slowness = 1;
            // What a slow disk has begun may have taken until long after it is well.
            common.later(process.node, process.life, SECOND, Happening::Written);
        }
        self.disk().set_capacity(u64::MAX);
        // A disk that goes on failing reads, and a node that goes on leading by it, are not well.
        self.disk().clear_faults();
    }

    pub(super) fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether something of what rests on its disk is not what was written.
    pub(super) fn is_damaged(&self) -> bool {
        !self.damaged.is_empty()
    }

    /// The disk, as whoever uses it sees it.
    pub(super) fn disk(&self) -> &SimulatedDisk {
        self.process
            .as_ref()
            .map_or(&self.disk, |process| &process.disk)
    }
}

impl World {
    /// A node with an empty disk and a number that nobody had before; it starts at once.
    pub(super) fn add_node(
        &mut self,
        number: u64,
        machine: Machine,
        cluster_version: ClusterVersion,
        earlier: BTreeMap<u64, Peer>,
    ) {
        let plan = &self.common.plan;
        let mut clock = Clock::default();
        if plan.has(Fault::ClockDrift) {
            let drift = self.common.random.below(1_001);
            clock.drift = i64::try_from(drift).expect("a small number") - 500;
        }
        let identity = Identity {
            incarnation: machine.incarnation,
            // It has started to ask for its place.
            start: NodeStart {
                number: 1,
                mark: machine.incarnation,
            },
            start_is_known: false,
            cluster_version,
            zone: machine.zone,
            earlier,
        };
        let node = Node {
            disk: SimulatedDisk::default(),
            identity,
            replicas: self.human.replicas,
            clock,
            process: None,
            life: 0,
            paused_until: 0,
            missed: Vec::new(),
            slowness: 1,
            founder: number == 1,
            is_gone: false,
            damaged: BTreeSet::new(),
            struck: None,
            unnoticed_until: 0,
            is_wary: false,
            is_closed: false,
            boot: 1,
            lost_a_sector: false,
            trap: None,
            under_way: Vec::new(),
        };
        self.nodes.insert(number, node);
        let at = self.common.now + self.common.random.below(100 * MILLISECOND);
        self.common.agenda.add(at, Event::Start { node: number });
    }

    /// A number for the next start of a node, and a mark that no other start has, if the catalog knows of the last.
    fn next_start(&mut self, number: u64) {
        let half = self.common.random.below(u64::MAX);
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let identity = &mut node.identity;
        let mark = u128::from(half).to_le_bytes();
        identity.start = identity.start.next(identity.start_is_known, mark);
        identity.start_is_known = false;
    }

    /// A machine that starts finds another wall clock than the one it had.
    fn set_clock(&mut self, number: u64) {
        let Common {
            plan,
            random,
            healed,
            ..
        } = &mut self.common;
        if plan.has(Fault::WrongClock) && healed.is_none() && random.permille(500) {
            let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
            node.clock.start_anew(random);
        }
    }

    pub(super) fn start(&mut self, number: u64) {
        let may_be_suspect = self.may_be_suspect(number);
        let knows = self.programs.knows(number);
        let node = &self.nodes[&number];
        if node.is_gone || node.is_up() {
            return;
        }
        if node.life > 0 {
            self.next_start(number);
            self.set_clock(number);
        }
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let struck = node.struck;
        let is_closed = std::mem::take(&mut node.is_closed) && !node.is_wary && !node.is_damaged();
        if !node.disk.adrift("").is_empty() {
            sometimes("a node started on what a failed sync had left in the cache");
        }
        node.life += 1;
        let opening = Opening {
            node: number,
            life: node.life,
            plan: &self.common.plan,
            disk: node.disk.clone(),
            clock: node.clock,
            now: self.common.now,
            is_founder: node.founder,
            identity: node.identity.clone(),
            policy: Policy {
                replicas: node.replicas,
                moves_max: self.common.plan.moves_max,
                grace: Duration::from_micros(self.common.plan.grace),
                // Two log files, as much as freeing space may take.
                reserve_bytes: 2 * self.common.plan.wal_file_bytes,
            },
            may_be_suspect,
            knows,
            is_wary: std::mem::take(&mut node.is_wary),
            boot: node.boot,
        };
        let opened = opening.open();
        let now = self.common.now;
        self.common.trace.numbers(&[1, number, node.life]);
        let (mut process, durable) = match opened {
            Ok(opened) => opened,
            Err(OpenError::Log(Error::NoSpace { .. })) => {
                let again = now + SECOND;
                return self.common.agenda.add(again, Event::Start { node: number });
            }
            Err(error) => {
                self.common
                    .trace
                    .say(now, || format!("node {number} does not start: {error}"));
                return self.refused(number, &error, struck);
            }
        };
        if node.is_damaged() {
            sometimes("a damaged disk opened all the same");
        }
        process.damaged.clone_from(&node.damaged);
        process.struck = struck;
        process.slowness = node.slowness;
        self.judge_doubt(&process, is_closed);
        if !self.does_not_begin(&process) {
            self.begin(process, &durable);
        }
    }

    /// What was closed is whole.
    fn judge_doubt(&mut self, process: &Process, is_closed: bool) {
        let (number, life, destroyed) = (process.node, process.life, &self.destroyed);
        self.common.trace.say(self.common.now, || {
            let suspect = if process.is_suspect() {
                ", suspect"
            } else {
                ""
            };
            format!("node {number} starts, life {life}{suspect}, with {destroyed:?} lost")
        });
        if is_closed && process.is_suspect() {
            let text = format!("node {number} distrusts a log that was closed");
            self.common.checks.fail(text);
        }
    }

    /// A process has opened its disk, and begins.
    fn begin(&mut self, mut process: Process, durable: &BTreeMap<u16, DurableShard>) {
        let number = process.node;
        let node = self.nodes.get_mut(&number).expect("it was just seen");
        let suspect = process.is_suspect();
        let under_way = std::mem::take(&mut node.under_way);
        let life = process.life;
        let closed = process.closed();
        // A read that fails is a bad sector to whoever starts.
        let may_lack = process.holes > 0 && process.struck.is_some();
        self.compare(number, durable, &under_way, (suspect, may_lack), &closed);
        self.common.lives.insert(number, life);
        process.begin(&mut self.common);
        let node = self.nodes.get_mut(&number).expect("it was just seen");
        node.process = Some(process);
        node.founder = false;
        if suspect || !closed.is_empty() {
            self.destroyed.insert(number);
        }
        self.check_cache(number);
    }

    /// A process that ends before it does anything.
    fn does_not_begin(&mut self, process: &Process) -> bool {
        if process.is_too_old() {
            self.is_too_old(process.node);
            return true;
        }
        let serves_alone = self.serves_alone(process);
        if serves_alone {
            self.throw_away(process.node);
        }
        serves_alone
    }

    /// A disk that cannot be opened: right if it was damaged, and for once if it failed.
    fn refused(&mut self, number: u64, error: &OpenError, struck: Option<Fault>) {
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let has_lost = node.is_damaged() || node.lost_a_sector;
        match error {
            OpenError::Log(Error::Io { .. } | Error::Failed { .. }) if struck.is_some() => {
                sometimes("an error of the disk stopped a start");
                // Whoever looks after processes starts it again.
                node.disk.clear_faults();
                node.struck = None;
                let again = self.common.now + SECOND;
                self.common.agenda.add(again, Event::Start { node: number });
            }
            // What has its checksum and cannot be used was written so.
            OpenError::Log(Error::Corrupt { .. } | Error::Io { .. }) if has_lost => {
                sometimes("a damaged disk was refused");
                self.throw_away(number);
            }
            _ => {
                let text = format!("node {number} does not start: {error}");
                self.common.checks.fail(text);
            }
        }
    }

    /// Whether a disk has everything that was durable on it before.
    fn compare(
        &mut self,
        number: u64,
        found: &BTreeMap<u16, DurableShard>,
        under_way: &[(u16, u64)],
        (suspect, may_lack): (bool, bool),
        closed: &BTreeSet<u16>,
    ) {
        if self.common.checks.is_old_copy(number) {
            return;
        }
        let node = &self.nodes[&number];
        let is_lossy = may_lack || node.is_damaged() || node.lost_a_sector;
        for shard in 0..self.common.plan.shards {
            self.common.checks.forgotten(number, shard);
            let before = self.common.checks.durable.get(&(number, shard)).cloned();
            let known = found.get(&shard).cloned().unwrap_or_default();
            if let Some(before) = before {
                let written = under_way.iter().filter(|(of, _)| *of == shard);
                let through = written.clone().map(|&(_, first)| first - 1).min();
                let lost = known.log.lacks(&before.log, through.unwrap_or(u64::MAX));
                let promised = (known.term, known.vote);
                let forgot = promised != (before.term, before.vote)
                    && written.count() == 0
                    && known.term <= before.term;
                let is_closed = closed.contains(&shard);
                let is_doubtful =
                    is_lossy || self.common.checks.was_closed.contains(&(number, shard));
                let has_no_say = is_closed || is_doubtful && known.log.last() == 0;
                if !suspect
                    && !is_closed
                    && let Some(index) = lost
                {
                    self.common.checks.fail(format!(
                        "node {number}, shard {shard}: entry {index} was durable and is lost"
                    ));
                }
                if lost.is_some() {
                    let now = self.common.now;
                    self.common.checks.lost(number, shard, before.log, now);
                }
                // A suspect may lack entries, but nothing else. Who could not open its shard promises nothing, nor does who
                // has no state of it: then the log may be damaged where the term stood.
                if forgot && !has_no_say {
                    self.common.checks.fail(format!(
                        "node {number}, shard {shard}: term {} and vote {} were durable, now {promised:?}",
                        before.term, before.vote
                    ));
                }
            }
            // What is closed is measured by what it had, should it open again.
            let checks = &mut self.common.checks;
            if closed.contains(&shard) {
                checks.was_closed.insert((number, shard));
            } else if let Some(known) = found.get(&shard) {
                if known.log.last() > 0 {
                    checks.was_closed.remove(&(number, shard));
                }
                checks.durable.insert((number, shard), known.clone());
            } else {
                // What it has lost is judged, and once.
                checks.durable.remove(&(number, shard));
            }
        }
    }

    pub(super) fn node_event(&mut self, number: u64, life: u64, what: Happening) {
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let Some(process) = node.process.as_mut().filter(|process| process.life == life) else {
            return;
        };
        if node.paused_until > self.common.now {
            return node.missed.push((life, what));
        }
        process.take(what, &mut self.common);
        // While its disk is full its manifest still says what would make the next start suspect.
        let is_suspect = process.is_suspect() || process.is_noted_suspect;
        let is_whole = !is_suspect && !process.lacks_anything() && process.closed().is_empty();
        let is_well = is_whole && node.damaged.is_empty();
        let is_old_copy = self.common.checks.is_old_copy(number);
        if is_well && !is_old_copy && !self.human.wants_gone(number) {
            self.destroyed.remove(&number);
            node.lost_a_sector = false;
        }
        let trapped = node.trap.take_if(|(moment, _)| process.is_at(*moment));
        let Some(failed) = process.failed.clone() else {
            if let Some((_, stop)) = trapped {
                self.crash(number, stop);
            }
            return;
        };
        let is_let_go = process.is_let_go();
        let is_too_old = process.is_too_old();
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {number} fails: {}", failed.reason));
        if is_let_go && is_old_copy {
            return self.old_copy_ends(number);
        }
        if is_let_go {
            // It is told so at every start, and the others do not take it for one of theirs.
            self.throw_away(number);
            let node = self.nodes.get_mut(&number).expect("it was just seen");
            node.unnoticed_until = 0;
            return;
        }
        if is_too_old {
            self.stop(number, Stop::Kill);
            return self.is_too_old(number);
        }
        if failed.of_disk {
            sometimes(match node.struck {
                Some(Fault::ReadError) | None => "a failed read stopped a node",
                Some(Fault::WriteError) => "a failed write stopped a node",
                Some(Fault::RenameError) => "a failed rename stopped a node",
                Some(Fault::DirectorySyncError) => "a failed sync of a folder stopped a node",
                Some(_) => "a failed sync stopped a node",
            });
        }
        // Whoever looks after processes starts it again, on the disk that failed it.
        self.stop(number, Stop::Kill);
        let at = now + self.common.random.between(100, 2_000) * MILLISECOND;
        self.common.agenda.add(at, Event::Start { node: number });
    }

    /// Lets a node go on that was paused, unless it was paused again.
    pub(super) fn resume(&mut self, number: u64) {
        let now = self.common.now;
        let Some(node) = self
            .nodes
            .get_mut(&number)
            .filter(|node| node.paused_until <= now)
        else {
            return;
        };
        for (life, what) in node.missed.drain(..) {
            self.common.agenda.add(
                now,
                Event::Node {
                    node: number,
                    life,
                    what,
                },
            );
        }
    }

    /// Ends a node's process.
    pub(super) fn stop(&mut self, number: u64, stop: Stop) {
        self.common.lives.remove(&number);
        self.common.led.retain(|_, leader| *leader != number);
        self.common.network.unlink(number, |_| false);
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        let Some(process) = node.process.take() else {
            return;
        };
        if process.is_joint() {
            sometimes("a joint change crossed a crash");
        }
        match stop {
            Stop::Kill => self.common.statistics.kills += 1,
            Stop::PowerLoss => self.common.statistics.power_losses += 1,
            Stop::Exit | Stop::Shutdown => self.common.statistics.exits += 1,
        }
        let now = self.common.now;
        self.common
            .trace
            .say(now, || format!("node {number} stops: {stop:?}"));
        node.identity.cluster_version = process.version();
        node.identity.earlier = process.others();
        node.identity.start_is_known |= process.start_of(number) == Some(node.identity.start);
        let Remains {
            disk,
            under_way,
            is_closed,
        } = process.end(stop, &mut self.common);
        node.is_closed = is_closed;
        node.disk = disk;
        node.struck = None;
        node.boot += u64::from(stop.is_of_the_machine());
        node.paused_until = 0;
        node.missed.clear();
        node.trap = None;
        node.under_way = under_way;
        // The cut maintenance may have complained to a world that was no more its own.
    }

    /// A node's disk is gone for ever.
    pub(super) fn lose(&mut self, number: u64) {
        self.stop(number, Stop::PowerLoss);
        self.destroyed.insert(number);
        let node = self.nodes.get_mut(&number).expect("nodes stay in the list");
        if crate::planted::is_planted("empty disk under the old number") {
            node.disk = SimulatedDisk::default();
            node.founder = false;
            for shard in 0..self.common.plan.shards {
                self.common.checks.durable.remove(&(number, shard));
            }
            let at = self.common.now + SECOND;
            return self.common.agenda.add(at, Event::Start { node: number });
        }
        self.throw_away(number);
    }

    /// Sends an order to a node.
    pub(super) fn order(&mut self, node: u64, order: Order) {
        let Some(&life) = self.common.lives.get(&node) else {
            return;
        };
        let length = self.common.random.spread(1_000);
        self.common
            .later(node, life, length, Happening::Order { order });
    }

    /// The node that serves a shard now, in the newest term.
    pub(super) fn leader(&self, shard: u16) -> Option<u64> {
        let serving = self.nodes.iter().filter_map(|(&number, node)| {
            let process = node.process.as_ref()?;
            let replica = process.replica(shard)?;
            let serves = replica.serves() && node.paused_until <= self.common.now;
            serves.then(|| (replica.leader().0, number))
        });
        serving.max().map(|(_, number)| number)
    }
}
