//! What goes wrong, within the budget: never more than a minority of a shard's durable copies is lost.

use std::collections::BTreeSet;

use anser_host::Order;

use super::World;
use crate::{
    coverage::sometimes,
    event::{Event, Happening, MILLISECOND, Micros, Relief, SECOND},
    plan::Fault,
    process::{Moment, Process, Stop},
};

/// Longer than any election timeout.
const ELECTION: Micros = 1_400 * MILLISECOND;

impl World {
    /// One more fault; the next comes later.
    pub(super) fn strike(&mut self) {
        if self.common.healed.is_some() {
            return;
        }
        let common = &mut self.common;
        let next = common.now + common.random.spread(common.plan.fault_interval);
        common.agenda.add(next, Event::Fault);
        let faults = common.plan.faults.iter().copied();
        let strikes: Vec<Fault> = faults.filter(|fault| fault.strikes()).collect();
        let Some(mut fault) = common.random.pick(&strikes) else {
            return;
        };
        if common.plan.has(Fault::LostQuorum) && common.random.permille(200) {
            fault = Fault::LostQuorum;
        }
        if self.cause(fault) {
            let now = self.common.now;
            self.common.trace.say(now, || format!("fault: {fault:?}"));
            *self.common.statistics.faults.entry(fault).or_default() += 1;
        }
    }

    /// Whether it could happen.
    fn cause(&mut self, fault: Fault) -> bool {
        let up = self.up();
        let Some(node) = self.common.random.pick(&up) else {
            return false;
        };
        match fault {
            Fault::Partition => self.partition(&up),
            Fault::OneWayCut => self.cut_one_way(node, &up),
            Fault::Flapping => self.flap(node),
            Fault::Kill => self.crash_soon(node, Stop::Kill),
            Fault::PowerLoss => self.crash_soon(node, Stop::PowerLoss),
            Fault::Restart => self.restart(node),
            Fault::TotalPowerLoss => {
                if self.common.random.permille(700) {
                    return false;
                }
                sometimes("all nodes lost power at once");
                let many = self.common.random.permille(500);
                for number in up {
                    self.crash(number, Stop::PowerLoss);
                    let wary = many && self.common.random.permille(600);
                    let node = self.nodes.get_mut(&number).expect("it was up");
                    node.is_wary = wary;
                }
            }
            Fault::Pause => self.pause(node),
            Fault::SlowDisk => self.slow_disks(node, &up),
            Fault::FullDisk => self.fill_disk(node),
            Fault::WallJump => self.move_wall_clock(node),
            Fault::ReadError
            | Fault::WriteError
            | Fault::SyncError
            | Fault::RenameError
            | Fault::DirectorySyncError => self.fail_io(fault, node),
            Fault::BitFlip
            | Fault::ZeroedSector
            | Fault::StaleSector
            | Fault::MisdirectedSector
            | Fault::UnreadableSector
            | Fault::LostDisk
            | Fault::LostSector => return self.destroy(fault, node),
            Fault::LostQuorum => return self.lose_a_quorum(),
            Fault::OldCopy => return self.copy_disk(node),
            Fault::Membership => self.change_cluster(),
            Fault::Transfer => self.transfer(),
            _ => return false,
        }
        true
    }

    pub(super) fn up(&self) -> Vec<u64> {
        let up = self.nodes.iter().filter(|(_, node)| node.is_up());
        up.map(|(&number, _)| number).collect()
    }

    fn cut(&mut self, links: Vec<(u64, u64)>, length: Micros) {
        self.common.network.cut.extend(links.iter().copied());
        let at = self.common.now + length;
        self.common
            .agenda
            .add(at, Event::Relief(Relief::Links(links)));
    }

    fn some_time(&mut self) -> Micros {
        self.common.random.spread(2 * SECOND).min(20 * SECOND)
    }

    fn partition(&mut self, up: &[u64]) {
        let one: BTreeSet<u64> = up
            .iter()
            .copied()
            .filter(|_| self.common.random.permille(500))
            .collect();
        let mut links = Vec::new();
        for &from in up {
            for &to in up {
                if one.contains(&from) != one.contains(&to) {
                    links.push((from, to));
                }
            }
        }
        let length = self.some_time();
        self.cut(links, length);
    }

    fn cut_one_way(&mut self, node: u64, up: &[u64]) {
        let outward = self.common.random.permille(500);
        let others = up.iter().copied().filter(|&other| other != node);
        let links = others.map(|other| {
            if outward {
                (node, other)
            } else {
                (other, node)
            }
        });
        let links = links.collect();
        let length = self.some_time();
        self.cut(links, length);
    }

    fn flap(&mut self, node: u64) {
        let length = self.common.random.between(20, 400) * MILLISECOND;
        self.cut_off(node, length);
    }

    fn cut_off(&mut self, node: u64, length: Micros) {
        let others = self.up().into_iter().filter(|&other| other != node);
        let links = others.flat_map(|other| [(node, other), (other, node)]);
        self.cut(links.collect(), length);
    }

    /// Now, or in the middle of some work of the disk.
    fn crash_soon(&mut self, number: u64, stop: Stop) {
        let moment = match self.common.random.below(4) {
            0 => return self.crash(number, stop),
            1 => Moment::Recycling,
            _ => Moment::Writing,
        };
        self.nodes.get_mut(&number).expect("it is up").trap = Some((moment, stop));
    }

    /// Ends a node in order, alone or with its machine.
    pub(super) fn restart(&mut self, number: u64) {
        let stops = [Stop::Exit, Stop::Shutdown];
        let stop = self.common.random.pick(&stops).expect("there are two");
        let Some(&life) = self.common.lives.get(&number) else {
            return;
        };
        if self.common.random.permille(500) {
            return self.crash(number, stop);
        }
        // It gives its leaderships away first.
        self.common.later(number, life, 1, Happening::Leave);
        let at = self.common.now + self.common.random.between(50, 3_000) * MILLISECOND;
        let node = number;
        self.common.agenda.add(at, Event::End { node, life, stop });
    }

    /// The end of a node that has left.
    pub(super) fn end(&mut self, number: u64, life: u64, stop: Stop) {
        if self.common.lives.get(&number) == Some(&life) && self.common.healed.is_none() {
            self.crash(number, stop);
        }
    }

    /// Ends a node's process, which starts again some time later.
    pub(super) fn crash(&mut self, node: u64, stop: Stop) {
        self.stop(node, stop);
        let length = self
            .common
            .random
            .spread(800 * MILLISECOND)
            .min(15 * SECOND);
        let at = self.common.now + length;
        self.common.agenda.add(at, Event::Start { node });
    }

    fn pause(&mut self, number: u64) {
        let shard = self.some_shard();
        let leader = self
            .leader(shard)
            .filter(|_| self.common.random.permille(600));
        let number = leader.unwrap_or(number);
        let millis = match self.common.random.below(10) {
            0..5 => self.common.random.between(10, 1_000),
            5..9 => self.common.random.between(1_000, 9_000),
            _ => self.common.random.between(9_000, 60_000),
        };
        let length = millis * MILLISECOND;
        let visibility = self.common.plan.visibility * MILLISECOND;
        if self.common.plan.has(Fault::Partition) && self.common.random.permille(500) {
            self.cut_off(number, length + SECOND);
        }
        let node = self.nodes.get_mut(&number).expect("it is up");
        node.paused_until = node.paused_until.max(self.common.now + length);
        let relief = Event::Relief(Relief::Pause { node: number });
        let until = node.paused_until;
        self.common.agenda.add(until, relief);
        self.sleeps(until);
        let node = &self.nodes[&number];
        let process = node.process.as_ref().expect("it is up");
        let serving = process.replicas().filter(|(_, replica)| replica.serves());
        let mut serving = serving.map(|(_, replica)| replica).peekable();
        if length > ELECTION && serving.peek().is_some() {
            sometimes("a leader was paused longer than an election");
        }
        if length > visibility && serving.any(|replica| replica.shard().totals().leased > 0) {
            sometimes("a lease expired while its leader was paused");
        }
    }

    /// Now and then all at once, as disks of one machine are.
    fn slow_disks(&mut self, number: u64, up: &[u64]) {
        let times = self.common.random.between(10, 500);
        let at = self.common.now + self.some_time();
        let mut slow = vec![number];
        if self.common.random.permille(300) {
            sometimes("all disks were slow at once");
            slow = up.to_vec();
        }
        for number in slow {
            let node = self.nodes.get_mut(&number).expect("it is up");
            node.slowness = times;
            node.process.as_mut().expect("it is up").slowness = times;
            self.common
                .agenda
                .add(at, Event::Relief(Relief::Disk { node: number }));
        }
    }

    fn fill_disk(&mut self, number: u64) {
        // Now and then not even for a manifest.
        let most = self.common.random.pick(&[20_000, 20_000, 300]);
        let room = self.common.random.below(most.expect("there are some"));
        let node = &self.nodes[&number];
        let process = node.process.as_ref().expect("it is up");
        process.disk.set_capacity(process.disk.used_bytes() + room);
        let at = self.common.now + self.some_time();
        self.common
            .agenda
            .add(at, Event::Relief(Relief::Disk { node: number }));
    }

    fn move_wall_clock(&mut self, number: u64) {
        const HOUR: i64 = 3_600_000_000;
        let step = self
            .common
            .random
            .pick(&[HOUR, -HOUR, 20_000_000, -20_000_000]);
        let node = self.nodes.get_mut(&number).expect("it is up");
        node.clock.jumped += step.expect("there are steps");
        node.process.as_mut().expect("it is up").clock = node.clock;
    }

    fn transfer(&mut self) {
        let shard = self.some_shard();
        let Some(leader) = self.leader(shard) else {
            return;
        };
        let memberships = self.common.checks.memberships(shard);
        let Some(membership) = memberships.first() else {
            return;
        };
        let Some(to) = self.common.random.pick(&membership.voters) else {
            return;
        };
        sometimes("leadership was handed over");
        self.order(leader, Order::Transfer { shard, to });
    }

    pub(super) fn some_shard(&mut self) -> u16 {
        let shard = self.common.random.below(self.common.plan.shards.into());
        u16::try_from(shard).expect("few shards")
    }

    /// Ends the chaos: a majority of every shard is well again, some of the rest stays broken.
    pub(super) fn heal(&mut self) {
        self.common.healed = Some(self.common.now);
        self.common.network.heal();
        self.common.lost_answers = 0;
        self.clients.end_chaos(self.common.now);
        let damaged = self.nodes.iter().filter(|(_, node)| node.is_damaged());
        for number in damaged.map(|(&number, _)| number).collect::<Vec<_>>() {
            // The others have to become whole again by themselves. Reads that fail are repeated for longer than a drain may
            // take.
            let node = &self.nodes[&number];
            let mut damaged = node.damaged.iter();
            let cannot_be_read = damaged.any(|file| node.disk.cannot_read(file));
            if cannot_be_read || self.common.random.permille(500) {
                self.throw_away(number);
            }
        }
        let numbers: Vec<u64> = self.nodes.keys().copied().collect();
        let stays = self
            .common
            .random
            .pick(&numbers)
            .filter(|_| !self.common.plan.is_calm());
        let stays = stays.filter(|&node| !self.destroyed.contains(&node) && self.may_destroy(node));
        for number in numbers {
            let now = self.common.now;
            if stays == Some(number) {
                self.common
                    .trace
                    .say(now, || format!("node {number} stays away"));
                // Suspects must do without it from here on.
                self.throw_away(number);
                continue;
            }
            let node = self.nodes.get_mut(&number).expect("it is listed");
            node.relieve(&mut self.common);
            node.paused_until = 0;
            node.trap = None;
            // Who has begun to leave ends.
            let leaves = node.process.as_ref().is_some_and(Process::leaves);
            if leaves {
                self.stop(number, Stop::Exit);
            }
            let node = self.nodes.get_mut(&number).expect("it is listed");
            if !node.is_up() && !node.is_gone {
                self.common
                    .agenda
                    .add(now + 1, Event::Start { node: number });
            }
            self.resume(number);
        }
    }
}
