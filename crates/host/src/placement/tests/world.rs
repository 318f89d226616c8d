//! A cluster that does at once what is planned.

use crate::placement::*;

pub(super) struct World {
    pub(super) view: View,
    /// Copies take their time.
    pub(super) slow: bool,
}

/// A sequence of numbers that one seed decides.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

/// What it took until nothing was planned any more.
#[derive(Debug, Default)]
pub(super) struct Cost {
    pub(super) copies: usize,
    /// Leaders that moved.
    pub(super) transfers: usize,
    /// The most shards at one moment that had fewer voters than they should have, the catalog's left out.
    pub(super) short: usize,
}

impl World {
    pub(super) fn new(nodes: u64, shards: u16, replicas: usize) -> Self {
        let mut view = View {
            replicas,
            moves_max: 4,
            is_complete: true,
            ..View::default()
        };
        for node in 1..=nodes {
            view.nodes.insert(node, place(node));
        }
        for shard in 0..shards {
            let state = ShardView {
                leader: 1,
                last: 10_000,
                voters: [1].into(),
                ..ShardView::default()
            };
            view.shards.insert(shard, state);
        }
        Self { view, slow: false }
    }

    pub(super) fn node(&mut self, node: u64) -> &mut NodeView {
        self.view.nodes.get_mut(&node).unwrap()
    }

    /// Does what is planned until nothing is; the number of copies that were begun.
    pub(super) fn settle(&mut self) -> usize {
        let mut copies = 0;
        for _ in 0..1_000 {
            let actions = plan(&self.view);
            let learners = self.view.shards.iter().skip(1);
            let moving: usize = learners.map(|(_, shard)| shard.learners.len()).sum();
            assert!(moving <= self.view.moves_max, "{moving} copies at once");
            if actions.iter().all(is_held) {
                return copies;
            }
            for action in actions {
                copies += self.act(&action);
            }
        }
        panic!("it never settles: {:?}", plan(&self.view));
    }

    /// The same where copies arrive one after the other, some orders are lost, and the planner does not
    /// hear at once of what has happened.
    pub(super) fn settle_slowly(&mut self, seed: u64) -> Cost {
        let mut chance = Chance(seed);
        self.slow = true;
        let mut cost = Cost::default();
        let mut quiet = 0;
        for _ in 0..10_000 {
            let actions = plan(&self.view);
            quiet = if actions.iter().all(is_held) {
                quiet + 1
            } else {
                0
            };
            if quiet > 3 {
                return cost;
            }
            for action in actions {
                if chance.below(4) > 0 {
                    cost.copies += self.act(&action);
                    cost.transfers += usize::from(matches!(action.kind, ActionKind::Transfer(_)));
                }
            }
            let shards = self.view.shards.values().skip(1);
            let short = shards.filter(|shard| shard.voters.len() < self.view.replicas);
            cost.short = cost.short.max(short.count());
            for shard in self.view.shards.values_mut() {
                let members = &shard.voters | &shard.learners;
                let is_set_aside = |chance: &mut Chance| chance.below(3) == 0;
                shard
                    .damaged
                    .retain(|node| members.contains(node) || !is_set_aside(&mut chance));
                let learners = shard.learners.iter();
                for node in learners {
                    let arrived = chance.below(6) == 0;
                    let peer = shard.peers.entry(*node).or_default();
                    let matched = if arrived { 10_000 } else { peer.matched };
                    *peer = PeerView {
                        matched,
                        active: true,
                        ..PeerView::default()
                    };
                }
            }
        }
        panic!("it never settles: {:?}", plan(&self.view));
    }

    /// How many copies the nodes have, and how many of them lead.
    pub(super) fn spread(&self, nodes: &[u64]) -> (Vec<usize>, Vec<usize>) {
        let copies = nodes.iter().map(|&node| self.copies_on(node)).collect();
        let leaders = nodes.iter().map(|&node| self.leaders_on(node)).collect();
        (copies, leaders)
    }

    pub(super) fn act(&mut self, action: &Action) -> usize {
        if is_held(action) {
            return 0;
        }
        let nodes = self.view.nodes.clone();
        let shard = self.view.shards.get_mut(&action.shard).unwrap();
        assert_eq!(shard.leader, action.leader);
        let mut copies = 0;
        match &action.kind {
            ActionKind::Transfer(to) => {
                assert!(shard.voters.contains(to));
                shard.leader = *to;
            }
            ActionKind::Hold | ActionKind::Wait(_) => {}
            ActionKind::Change(steps) => {
                for &step in steps {
                    match step {
                        Step::AddLearner(node) => {
                            copies += usize::from(action.shard != 0);
                            shard.voters.remove(&node);
                            shard.learners.insert(node);
                        }
                        Step::AddVoter(node) => {
                            assert!(shard.learners.remove(&node), "learners first");
                            shard.voters.insert(node);
                        }
                        Step::Remove(node) => {
                            assert_ne!(node, shard.leader);
                            shard.voters.remove(&node);
                            shard.learners.remove(&node);
                            // It is told to let go, and sets aside what it has.
                            if !self.slow {
                                shard.damaged.remove(&node);
                            }
                        }
                    }
                }
            }
        }
        let alive = shard.voters.iter().filter(|node| nodes[node].up);
        assert!(alive.count() > shard.voters.len() / 2, "a majority lives");
        let arrived = shard.peers.clone();
        shard.peers = shard
            .voters
            .iter()
            .chain(&shard.learners)
            .map(|&node| {
                let active = nodes[&node].up;
                let matched = match arrived.get(&node) {
                    Some(peer) if self.slow => peer.matched,
                    _ if self.slow && shard.learners.contains(&node) => 0,
                    _ => 10_000,
                };
                let peer = PeerView {
                    matched,
                    active,
                    ..PeerView::default()
                };
                (node, peer)
            })
            .collect();
        copies
    }

    pub(super) fn kill(&mut self, node: u64, dead: bool) {
        let place = self.node(node);
        (place.up, place.dead) = (false, dead);
        for shard in self.view.shards.values_mut() {
            if let Some(peer) = shard.peers.get_mut(&node) {
                peer.active = false;
            }
            if shard.leader == node {
                let heir = shard.voters.iter().find(|&&other| other != node);
                shard.leader = *heir.unwrap();
            }
        }
    }

    pub(super) fn revive(&mut self, node: u64) {
        let place = self.node(node);
        (place.up, place.dead) = (true, false);
        for shard in self.view.shards.values_mut() {
            if let Some(peer) = shard.peers.get_mut(&node) {
                peer.active = true;
            }
        }
    }

    pub(super) fn copies_on(&self, node: u64) -> usize {
        let shards = self.view.shards.iter();
        shards
            .filter(|(number, shard)| members(**number, shard).any(|member| member == node))
            .count()
    }

    pub(super) fn leaders_on(&self, node: u64) -> usize {
        let shards = self.view.shards.values();
        shards.filter(|shard| shard.leader == node).count()
    }
}

pub(super) fn is_held(action: &Action) -> bool {
    action.kind == ActionKind::Hold
}

pub(super) fn place(node: u64) -> NodeView {
    NodeView {
        host: format!("host-{node}"),
        up: true,
        free_bytes: u64::MAX,
        ..NodeView::default()
    }
}
