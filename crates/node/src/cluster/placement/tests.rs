//! A cluster that does at once what is planned.

use super::*;

struct World(View);

impl World {
    fn new(nodes: u64, shards: u16, replicas: usize) -> Self {
        let mut view = View {
            replicas,
            moves_max: 4,
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
        Self(view)
    }

    fn node(&mut self, node: u64) -> &mut NodeView {
        self.0.nodes.get_mut(&node).unwrap()
    }

    /// Does what is planned until nothing is; the number of copies that were begun.
    fn settle(&mut self) -> usize {
        let mut copies = 0;
        for _ in 0..1_000 {
            let actions = plan(&self.0);
            let learners = self.0.shards.iter().skip(1);
            let moving: usize = learners.map(|(_, shard)| shard.learners.len()).sum();
            assert!(moving <= self.0.moves_max, "{moving} copies at once");
            if actions.is_empty() {
                return copies;
            }
            for action in actions {
                copies += self.act(&action);
            }
        }
        panic!("it never settles: {:?}", plan(&self.0));
    }

    fn act(&mut self, action: &Action) -> usize {
        let nodes = self.0.nodes.clone();
        let shard = self.0.shards.get_mut(&action.shard).unwrap();
        assert_eq!(shard.leader, action.leader);
        let mut copies = 0;
        match &action.deed {
            Deed::Transfer(to) => {
                assert!(shard.voters.contains(to));
                shard.leader = *to;
            }
            Deed::Wait(_) => {}
            Deed::Change(steps) => {
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
                        }
                    }
                }
            }
        }
        let alive = shard.voters.iter().filter(|node| nodes[node].up);
        assert!(alive.count() > shard.voters.len() / 2, "a majority lives");
        shard.peers = shard
            .voters
            .iter()
            .chain(&shard.learners)
            .map(|&node| {
                let active = nodes[&node].up;
                let matched = 10_000;
                (node, PeerView { matched, active })
            })
            .collect();
        copies
    }

    fn kill(&mut self, node: u64, dead: bool) {
        let place = self.node(node);
        (place.up, place.dead) = (false, dead);
        for shard in self.0.shards.values_mut() {
            if let Some(peer) = shard.peers.get_mut(&node) {
                peer.active = false;
            }
            if shard.leader == node {
                let heir = shard.voters.iter().find(|&&other| other != node);
                shard.leader = *heir.unwrap();
            }
        }
    }

    fn copies_on(&self, node: u64) -> usize {
        let shards = self.0.shards.iter();
        shards
            .filter(|(number, shard)| members(**number, shard).any(|member| member == node))
            .count()
    }

    fn leaders_on(&self, node: u64) -> usize {
        let shards = self.0.shards.values();
        shards.filter(|shard| shard.leader == node).count()
    }
}

fn place(node: u64) -> NodeView {
    NodeView {
        host: format!("host-{node}"),
        up: true,
        ..NodeView::default()
    }
}

#[test]
fn a_node_alone_is_left_alone() {
    let mut world = World::new(1, 16, 3);
    assert_eq!(world.settle(), 0);
}

#[test]
fn three_nodes_have_three_copies_and_lead_alike() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    for shard in world.0.shards.values() {
        assert_eq!(shard.voters, [1, 2, 3].into());
    }
    for node in 1..=3 {
        assert!((5..=6).contains(&world.leaders_on(node)));
    }
}

#[test]
fn a_new_node_gets_its_share_and_no_more_moves() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.0.nodes.insert(4, place(4));
    let copies = world.settle();
    assert!((10..=13).contains(&copies), "{copies} of 48 is a quarter");
    assert!((11..=13).contains(&world.copies_on(4)));
    assert!(
        world.0.shards[&0].learners.len() == 1,
        "all have the catalog"
    );
    world.0.nodes.insert(5, place(5));
    let copies = world.settle();
    assert!((7..=11).contains(&copies), "{copies} of 48 is a fifth");
}

#[test]
fn a_dead_node_is_replaced_after_its_grace_and_not_before() {
    let mut world = World::new(4, 16, 3);
    world.settle();
    let lost = world.copies_on(2);
    world.kill(2, false);
    assert_eq!(world.settle(), 0);
    world.kill(2, true);
    let copies = world.settle();
    assert!(copies >= lost - 1, "{copies} of {lost}");
    assert_eq!(world.copies_on(2), 0);
    for shard in world.0.shards.values() {
        assert_eq!(shard.voters.len(), 3);
    }
}

#[test]
fn without_a_place_for_another_copy_the_silent_one_stays_a_member() {
    let mut world = World::new(3, 4, 3);
    world.settle();
    world.kill(3, true);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.0.shards[&1].voters, [1, 2, 3].into());
}

#[test]
fn a_node_that_is_emptied_keeps_nothing_but_the_catalog() {
    let mut world = World::new(4, 16, 3);
    world.settle();
    world.node(1).wish = Wish::Emptied;
    world.settle();
    assert_eq!(world.copies_on(1), 0);
    assert_eq!(world.leaders_on(1), 0);
    assert!(world.0.shards[&0].learners.contains(&1));
    world.node(1).wish = Wish::Gone;
    world.settle();
    assert!(!world.0.shards[&0].learners.contains(&1));
}

#[test]
fn two_of_three_nodes_can_be_removed() {
    let mut world = World::new(3, 4, 3);
    world.settle();
    for node in [1, 3] {
        world.node(node).wish = Wish::Emptied;
        world.settle();
        world.node(node).wish = Wish::Gone;
        world.settle();
    }
    for shard in world.0.shards.values() {
        assert_eq!(shard.voters, [2].into());
    }
}

#[test]
fn copies_stand_on_different_hosts_and_in_different_zones() {
    let mut world = World::new(6, 12, 3);
    for (node, zone) in (1..=6).zip(["a", "a", "b", "b", "c", "c"]) {
        world.node(node).zone = zone.into();
    }
    world.settle();
    for shard in world.0.shards.values() {
        let zones: BTreeSet<_> = shard.voters.iter().map(|node| (node - 1) / 2).collect();
        assert_eq!(zones.len(), 3, "{:?}", shard.voters);
    }
}

#[test]
fn a_slow_disk_does_not_lead() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.node(2).slow = true;
    world.settle();
    assert_eq!(world.leaders_on(2), 0);
}
