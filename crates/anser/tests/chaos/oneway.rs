//! What one node of three says does not arrive, or what the others say to it: whoever cannot be heard, or cannot hear,
//! acknowledges nothing that the others do not have, and does not keep them from serving.

use std::{
    thread,
    time::{Duration, Instant},
};

use super::{
    beside_others,
    namespaces::Network,
    node_kill::{NODES, SHARDS, WHOLE_WITHIN, is_whole, led, note_outage, wait_until_whole},
    partition::Machines,
    probes::Probes,
    say,
    served::{Nodes, Served},
    skipped,
    story::{QUEUES, Story},
    summary::conclude,
    workload::Chance,
};
use crate::cluster::dev_cluster::within;

const CUT_FOR: Duration = Duration::from_secs(5);
/// The promise is 3 s, and the figure is said. All processes of a test may stand still together for 20 s on a machine that gives
/// them a fifth of its time; this bounds what is never served again.
const GAP_MAX: Duration = Duration::from_secs(60);
/// What a node that does not answer costs a probe.
const IMPATIENT: Duration = Duration::from_millis(300);

/// Which of a node's words are lost.
#[derive(Debug, Clone, Copy)]
enum Lost {
    /// What it says to each other node.
    Said,
    /// What each other node says to it.
    Heard,
    /// What it says to one other node.
    SaidToOne,
}

const WAYS: [Lost; 3] = [Lost::Said, Lost::Heard, Lost::SaidToOne];

impl Lost {
    /// From whom to whom nothing comes.
    fn pairs(self, victim: u16) -> Vec<(u16, u16)> {
        let others = (1..=NODES).filter(|&node| node != victim);
        match self {
            Self::Said => others.map(|other| (victim, other)).collect(),
            Self::Heard => others.map(|other| (other, victim)).collect(),
            Self::SaidToOne => vec![(victim, victim % NODES + 1)],
        }
    }
}

#[test]
fn nothing_is_lost_when_only_one_direction_is_cut() {
    let _turn = beside_others();
    let machines = match Machines::start() {
        Ok(machines) => machines,
        Err(why) => return skipped("a one-way cut of the network", &why),
    };
    let all_whole =
        || (1..=NODES).all(|node| machines.status(node).is_some_and(|one| is_whole(&one)));
    assert!(within(WHOLE_WITHIN, all_whole), "{}", machines.logs());
    let story = Story::new("oneway", 2);
    let mut chance = Chance::new(story.load.seed);
    story.create_queues(&machines);
    let probes = Probes::start(&machines, SHARDS, IMPATIENT);
    for round in 0..story.rounds() {
        wait_until_whole(&machines, &probes);
        let running = story.run(&machines);
        let victim = u16::try_from(1 + chance.below(NODES.into())).unwrap();
        probes.go(victim);
        thread::sleep(Duration::from_secs(1));
        let way = WAYS[usize::try_from(round).unwrap() % WAYS.len()];
        let led_before = led(&machines.status(victim).unwrap()).len();
        let (died, fell) = (story.load.recorder.now(), Instant::now());
        cut(&machines.network, way, victim);
        thread::sleep(CUT_FOR);
        let (silent, gaps) = (probes.silent_since(fell), probes.gaps(fell));
        mend(&machines.network, way, victim);
        assert!(silent.is_empty(), "{silent:?}; {}", machines.logs());
        let longest = gaps.into_iter().max().unwrap();
        say(&format!(
            "machine {victim}, which led {led_before} shards, {way:?} lost: longest gap of any shard {longest:.0?}"
        ));
        running.join();
        wait_until_whole(&machines, &probes);
        note_outage(&story.load, died, &QUEUES);
        assert!(longest < GAP_MAX, "{longest:?}; {}", machines.logs());
    }
    conclude(story, Some(probes), &machines);
}

fn cut(network: &Network, way: Lost, victim: u16) {
    for (from, to) in way.pairs(victim) {
        assert!(network.connects(from, to), "{from} does not reach {to}");
        network.cut_one_way(from, to);
        assert!(!network.connects(from, to), "{from} still reaches {to}");
    }
}

fn mend(network: &Network, way: Lost, victim: u16) {
    for (from, to) in way.pairs(victim) {
        network.mend_one_way(from, to);
    }
}
