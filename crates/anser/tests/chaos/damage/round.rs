//! One round: one file of one node of three is damaged under load, the node becomes whole or is made again, and then
//! another node is killed: what the damaged one lacks would be missed now.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use super::{
    BATCHES, GAP_MAX,
    cell::{Cell, Target, When},
    harm::Harm,
    outcome::Outcome,
};
use crate::{
    chaos::{
        fleet::{Ended, Fleet},
        node_kill::{note_outage, wait_until_served},
        probes::Probes,
        served::Served,
        story::Story,
        workload::Chance,
    },
    cluster::dev_cluster::within,
};

/// How long to wait for a file of this kind to be there.
const THERE_WITHIN: Duration = Duration::from_secs(60);
/// While its node runs, what is damaged is met by whoever reads it, and by the scrub in time.
const MET_WITHIN: Duration = Duration::from_secs(10);
/// After a start everything at rest is read within a round of the scrub, which takes a second for each segment and snapshot.
const SCRUBBED_WITHIN: Duration = Duration::from_secs(180);
/// A file that is gone is missed at the start or by the next reader of it, or is needed no more.
const MISSED_WITHIN: Duration = Duration::from_secs(30);
/// All other files are read at the start or not at all.
const READ_WITHIN: Duration = Duration::from_secs(3);
/// How soon what is damaged is replaced once it is known.
const HEALED_WITHIN: Duration = Duration::from_secs(60);
/// A copy that is damaged soon after its node was given it is replaced only five minutes later.
const WHOLE_WITHIN: Duration = Duration::from_secs(400);
const RECEIVED_WITHIN: Duration = Duration::from_secs(60);
const NODES: u16 = 3;

pub(super) struct Stage {
    pub(super) fleet: Fleet,
    pub(super) story: Story,
    pub(super) probes: Probes,
    pub(super) chance: Chance,
}

/// What became of one cell.
#[derive(Debug)]
pub(super) struct Round {
    pub(super) cell: Cell,
    node: u16,
    harm: Harm,
    /// When the damage was first told of, of what was looked at.
    told: Option<&'static str>,
    pub(super) outcome: Outcome,
    pub(super) code: Option<i32>,
    /// Until three copies of everything were there again, counted from the start with the damage.
    pub(super) whole_after: Duration,
    longest_gap: Duration,
    pub(super) lost: Vec<String>,
}

impl Stage {
    pub(super) fn play(&mut self, cell: Cell) -> Round {
        let node = u16::try_from(1 + self.chance.below(NODES.into())).unwrap();
        let began = self.story.load.recorder.now();
        self.probes.go(node);
        let from = Instant::now();
        let logged = self.fleet.logged(node);
        if cell.when == When::Down {
            self.fleet.kill(node);
        }
        let harm = self.damage(node, cell);
        let mut told = None;
        if cell.when == When::Running {
            let met = within(MET_WITHIN, || self.is_named(&harm, node, logged));
            told = met.then_some("while running");
            self.fleet.kill(node);
        }
        let started = Instant::now();
        let logged_before = self.fleet.logged(node);
        let number = self.fleet.number(node);
        let (outcome, code) = match self.fleet.try_begin(node) {
            Ok(()) if self.fleet.number(node) != number => (Outcome::Stranger, None),
            Ok(()) => {
                let at_start = self.is_named(&harm, node, logged);
                let mut outcome = self.watch(node, &harm, cell.target, logged);
                // The start read all of the log: what cannot be read of it is needed no more, though it stays until the file
                // is used again.
                let is_known = self.is_named(&harm, node, logged_before);
                if outcome == Outcome::Told && cell.target == Target::Wal && is_known {
                    outcome = Outcome::Healed;
                }
                let named = self.is_named(&harm, node, logged);
                told = told.or(at_start.then_some("at the start"));
                told = told.or(named.then_some("after the start"));
                (outcome, None)
            }
            Err(ended) => {
                let outcome = refusal(&ended, &harm);
                told = told.or((outcome == Outcome::Refused).then_some("at the start"));
                (outcome, ended.status.and_then(|status| status.code()))
            }
        };
        if outcome.leaves_damage() {
            self.make_again(node);
        }
        let whole_after = started.elapsed();
        let longest_gap = self.probes.gaps(from).into_iter().max().unwrap();
        let lost = self.kill_another(node);
        note_outage(&self.story.load, began, &self.story.queues());
        Round {
            cell,
            node,
            harm,
            told,
            outcome,
            code,
            whole_after,
            longest_gap,
            lost,
        }
    }

    fn damage(&mut self, node: u16, cell: Cell) -> Harm {
        let until = Instant::now() + THERE_WITHIN;
        let data = self.fleet.data(node);
        loop {
            let harm = Harm::inflict(&data, cell.target, cell.kind, &mut self.chance);
            if let Some(harm) = harm {
                return harm;
            }
            assert!(Instant::now() < until, "there is nothing for {cell}");
            if cell.when == When::Down {
                // There will be when it has run a while longer.
                self.fleet.begin(node);
                thread::sleep(Duration::from_secs(2));
                self.fleet.kill(node);
            } else {
                thread::sleep(Duration::from_millis(100));
            }
        }
    }

    fn is_named(&self, harm: &Harm, node: u16, logged: usize) -> bool {
        harm.is_named_in(&self.fleet.logged_since(node, logged))
    }

    /// What a node that serves does about it.
    fn watch(&self, node: u16, harm: &Harm, target: Target, logged: usize) -> Outcome {
        let named = || self.is_named(harm, node, logged);
        let is_at_rest = matches!(target, Target::Wal | Target::Segment | Target::Snapshot);
        let patience = match (is_at_rest, harm.is_removal()) {
            (true, true) => MISSED_WITHIN,
            (true, false) => SCRUBBED_WITHIN,
            (false, _) => READ_WITHIN,
        };
        within(patience, || named() || !harm.is_in_place());
        if let Err(why) = self.fleet.wait_until_whole(WHOLE_WITHIN) {
            super::say(&why);
            return Outcome::Stuck;
        }
        // What is known to be damaged is replaced at the next looks of placement; a log file goes when it is used again.
        // Until then, and while the copy that goes is not replaced, another node must not be killed.
        if target != Target::Wal && named() {
            within(HEALED_WITHIN, || !harm.is_in_place());
            if let Err(why) = self.fleet.wait_until_whole(WHOLE_WITHIN) {
                super::say(&why);
                return Outcome::Stuck;
            }
        }
        match (named(), harm.is_in_place()) {
            (true, true) if harm.is_seen_in_place() => Outcome::Told,
            (true, _) => Outcome::Healed,
            // It started without a file that is gone or short, so it had another one.
            (false, true) if harm.is_seen_in_place() => Outcome::Unnoticed,
            (false, _) => Outcome::Overwritten,
        }
    }

    /// With an empty disk, as the documentation has it.
    fn make_again(&mut self, node: u16) {
        if self.fleet.running().contains(&node) {
            self.fleet.kill(node);
        }
        self.fleet.renew(node);
        let numbers = self.fleet.running_numbers();
        self.fleet.wait_until_even(&numbers, WHOLE_WITHIN);
        self.fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
    }

    /// What is not there while a node that was not damaged is gone.
    fn kill_another(&mut self, node: u16) -> Vec<String> {
        let step = 1 + u16::try_from(self.chance.below(2)).unwrap();
        let other = (node - 1 + step) % NODES + 1;
        self.probes.go(other);
        let fell = Instant::now();
        self.fleet.kill(other);
        wait_until_served(&self.fleet, &self.probes, fell);
        self.probes.rest_until_idle();
        let mut lost: Vec<String> = Vec::new();
        for wrong in self.probes.compare(&self.fleet) {
            lost.push(wrong.to_string());
        }
        lost.extend(self.story.incomplete(&self.fleet, BATCHES, RECEIVED_WITHIN));
        self.fleet.begin(other);
        self.fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
        lost
    }
}

fn refusal(ended: &Ended, harm: &Harm) -> Outcome {
    if ended.status.is_none() {
        Outcome::Stuck
    } else if harm.is_named_in(&ended.words) {
        Outcome::Refused
    } else {
        Outcome::Mute
    }
}

impl Round {
    /// What no outcome excuses, told at once, so that nothing else happens to the data.
    pub(super) fn assert_kept(&self, fleet: &Fleet) {
        let logs = || fleet.logs();
        assert!(self.lost.is_empty(), "{self}: {:?}; {}", self.lost, logs());
        assert!(self.longest_gap < GAP_MAX, "{self}; {}", logs());
    }
}

impl fmt::Display for Round {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            cell,
            node,
            harm,
            told,
            outcome,
            code,
            whole_after,
            longest_gap,
            lost,
        } = self;
        let code = code.map_or(String::new(), |code| format!(" with code {code}"));
        write!(
            formatter,
            "DAMAGE {cell}: node {node}, {} {}; told {}; {outcome:?}{code}; three copies of everything after \
             {whole_after:.1?}; longest gap of a shard {longest_gap:.0?}; not there afterwards: {}",
            harm.name,
            harm.what,
            told.unwrap_or("never"),
            lost.len(),
        )
    }
}
