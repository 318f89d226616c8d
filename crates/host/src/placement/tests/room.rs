//! What is planned where disks are nearly full, or copies make no progress.

use super::*;

const RESERVE: u64 = 10;
const BYTES: u64 = 50;

/// Shards whose copies take their room; the catalog is small.
fn world(nodes: u64, shards: u16) -> World {
    let mut world = World::new(nodes, shards, 3);
    world.settle();
    world.view.reserve_bytes = RESERVE;
    for shard in world.view.shards.values_mut().skip(1) {
        shard.bytes = BYTES;
    }
    world
}

fn add(world: &mut World, node: u64, free_bytes: u64) {
    let place = NodeView {
        free_bytes,
        full: free_bytes < RESERVE,
        ..place(node)
    };
    world.view.nodes.insert(node, place);
}

fn copies_begun(actions: &[Action], node: u64) -> usize {
    let begins = ActionKind::Change(vec![Step::AddLearner(node)]);
    let begun = actions.iter().filter(|action| action.shard != 0);
    begun.filter(|action| action.kind == begins).count()
}

/// Every shard would have refused sends, for the disk of one that only learns.
#[test]
fn a_node_without_room_is_given_no_copies_but_the_catalog() {
    for free_bytes in [RESERVE - 1, BYTES] {
        let mut world = world(3, 8);
        add(&mut world, 4, free_bytes);
        assert_eq!(world.settle(), 0, "nothing is evened out");
        let catalog = &world.view.shards[&0];
        assert!((&catalog.voters | &catalog.learners).contains(&4));
        world.kill(3, true);
        assert_eq!(world.settle(), 0);
        let shards = world.view.shards.iter().skip(1);
        for (number, shard) in shards {
            assert_eq!(shard.voters, [1, 2, 3].into(), "shard {number}");
        }
        let held = plan(&world.view);
        let why = "node 3 has been silent for too long, and no other node has room for a copy";
        let says = held.iter().filter(|action| action.why == why);
        assert!(says.count() >= 7, "{held:?}");
        add(&mut world, 4, BYTES + RESERVE);
        world.settle();
        for shard in world.view.shards.values() {
            assert_eq!(shard.voters, [1, 2, 4].into());
        }
    }
}

#[test]
fn copies_on_their_way_share_the_room_of_a_node() {
    let mut world = world(3, 8);
    world.slow = true;
    add(&mut world, 4, RESERVE + 2 * BYTES + 1);
    world.kill(3, true);
    let actions = plan(&world.view);
    assert_eq!(copies_begun(&actions, 4), 2, "{actions:?}");
    for action in &actions {
        world.act(action);
    }
    assert_eq!(copies_begun(&plan(&world.view), 4), 0);
    // What has come of them is not free any more.
    for shard in world.view.shards.values_mut() {
        let learner = shard.peers.get_mut(&4).filter(|peer| peer.matched == 0);
        if let Some(peer) = learner {
            peer.bytes = BYTES;
        }
    }
    world.node(4).free_bytes = RESERVE + BYTES;
    assert_eq!(copies_begun(&plan(&world.view), 4), 1);
}

#[test]
fn what_only_evens_out_leaves_more_than_the_reserve() {
    let mut world = world(3, 8);
    world.slow = true;
    add(&mut world, 4, RESERVE + BYTES);
    assert_eq!(copies_begun(&plan(&world.view), 4), 0);
    add(&mut world, 4, 2 * RESERVE + BYTES);
    assert_eq!(copies_begun(&plan(&world.view), 4), 1);
}

#[test]
fn who_only_learns_a_shard_is_let_go_of_when_its_disk_is_full() {
    let mut world = world(4, 8);
    world.slow = true;
    world.kill(3, true);
    let begun: Vec<u16> = (1..8)
        .filter(|shard| world.view.shards[shard].voters.contains(&3))
        .collect();
    for action in plan(&world.view) {
        world.act(&action);
    }
    let (&shard, state) = world
        .view
        .shards
        .iter()
        .find(|(number, shard)| **number != 0 && !shard.learners.is_empty())
        .unwrap();
    assert!(begun.contains(&shard));
    let learner = *state.learners.first().unwrap();
    world.node(learner).full = true;
    let lets_go = ActionKind::Change(vec![Step::Remove(learner)]);
    let actions = plan(&world.view);
    let mut of_shard = actions.iter().filter(|action| action.shard == shard);
    assert!(of_shard.any(|action| action.kind == lets_go), "{actions:?}");
}

#[test]
fn voters_stay_on_disks_that_are_full() {
    let mut world = world(4, 16);
    for node in 1..=4 {
        world.node(node).full = true;
    }
    let before = world.spread(&[1, 2, 3, 4]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.spread(&[1, 2, 3, 4]).0, before.0);
    assert!(plan(&world.view).is_empty());
}

/// Without it the shard would have a voter less until somebody makes room.
#[test]
fn a_damaged_voter_stays_while_nobody_has_room_for_a_new_copy() {
    let mut world = world(3, 4);
    for shard in world.view.shards.values_mut() {
        let of_others = |node: &&u64| **node != shard.leader;
        shard.damaged = shard
            .voters
            .iter()
            .find(of_others)
            .copied()
            .into_iter()
            .collect();
    }
    for node in 1..=3 {
        world.node(node).full = true;
    }
    assert_eq!(world.settle(), 0);
    let held = plan(&world.view);
    let says = |action: &Action| action.why.ends_with("no node has room for a new copy");
    assert!(held.len() == 4 && held.iter().all(says), "{held:?}");
    for node in 1..=3 {
        world.node(node).full = false;
    }
    assert_eq!(world.settle(), 3);
}

/// Four copies on one disk that hung kept all others from being begun.
#[test]
fn copies_that_make_no_progress_hold_up_no_others() {
    let mut world = world(5, 16);
    world.slow = true;
    world.kill(5, true);
    let of_lost = |shard: &u16| world.view.shards[shard].voters.contains(&5);
    let lost: Vec<u16> = (1..16).filter(of_lost).take(4).collect();
    let mut coming = BTreeSet::new();
    for shard in lost {
        let state = world.view.shards.get_mut(&shard).unwrap();
        let node = (1..5).find(|node| !state.voters.contains(node)).unwrap();
        state.learners = [node].into();
        state.peers.remove(&node);
        coming.insert((shard, node));
    }
    assert_eq!(coming.len(), 4);
    let begun = |world: &World| {
        let actions = plan(&world.view);
        (1..=4)
            .map(|node| copies_begun(&actions, node))
            .sum::<usize>()
    };
    assert_eq!(begun(&world), 0);
    world.view.stalled.clone_from(&coming);
    assert_eq!(begun(&world), 4);
    world.settle_slowly(1);
    for (&number, shard) in &world.view.shards {
        assert_eq!(shard.voters.len(), 3, "shard {number}");
        let is_good = |&node: &u64| node != 5 && !coming.contains(&(number, node));
        assert!(shard.voters.iter().all(is_good), "shard {number}");
    }
}

#[test]
fn a_copy_that_makes_no_progress_is_waited_for_where_there_is_nothing_better() {
    let mut world = world(4, 2);
    world.slow = true;
    let shard = world.view.shards.get_mut(&1).unwrap();
    shard.voters = [1, 2, 3].into();
    shard.leader = 1;
    shard.learners = [4].into();
    shard.peers.remove(&4);
    world.kill(3, true);
    world.view.stalled = [(1, 4)].into();
    let actions = plan(&world.view);
    let of_shard = actions.iter().find(|action| action.shard == 1);
    assert_eq!(of_shard.map(|it| &it.kind), Some(&ActionKind::Wait(4)));
}

/// Each order began the transfer anew, during which the shard takes no commands.
#[test]
fn a_leader_that_was_just_told_to_go_is_not_told_again() {
    let mut world = world(4, 8);
    let leader = world.view.shards[&1].leader;
    let transfers = |world: &World| {
        let actions = plan(&world.view).into_iter();
        let told = actions.filter(|action| action.shard == 1);
        told.filter(|action| matches!(action.kind, ActionKind::Transfer(_)))
            .count()
    };
    world.view.shards.get_mut(&1).unwrap().damaged = [leader].into();
    assert_eq!(transfers(&world), 1);
    world.view.told = [1].into();
    assert_eq!(transfers(&world), 0);
    world.view.shards.get_mut(&1).unwrap().damaged.clear();
    world.view.told.clear();
    world.view.differing = [1].into();
    world.node(leader).state = NodeState::Draining;
    assert_eq!(transfers(&world), 1);
    world.view.told = [1].into();
    assert_eq!(transfers(&world), 0);
}
