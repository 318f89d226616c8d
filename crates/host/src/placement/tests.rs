//! What is planned in a cluster of each kind, and what comes of it.

mod room;
mod world;

use super::*;
use crate::order::Step;
use world::{World, is_held, place};

/// Core review, findings 11 and 12.
#[test]
fn what_is_damaged_is_replaced_where_the_others_can_do_without_it() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    for (number, shard) in &mut world.view.shards {
        shard.damaged = [1 + u64::from(number % 3)].into();
    }
    let copies = world.settle();
    // The catalog's learners are not counted.
    assert_eq!(copies, 15);
    for (number, shard) in &world.view.shards {
        assert_eq!(shard.voters, [1, 2, 3].into(), "shard {number}");
        assert!(shard.damaged.is_empty(), "shard {number}");
    }
}

/// A whole disk of damaged shards would leave all of them with a voter less until the last one is copied.
#[test]
fn damaged_voters_are_let_go_of_no_faster_than_copies_are_made() {
    for seed in 0..100 {
        let mut world = World::new(3, 24, 3);
        world.settle();
        world.view.moves_max = 1 + usize::try_from(seed % 4).unwrap();
        for shard in world.view.shards.values_mut() {
            shard.damaged = [2].into();
        }
        let cost = world.settle_slowly(seed);
        assert!(cost.short <= world.view.moves_max, "{seed}: {cost:?}");
        for (number, shard) in &world.view.shards {
            assert_eq!(shard.voters, [1, 2, 3].into(), "{seed}: shard {number}");
        }
    }
}

/// It has a sound log and sound votes, and without it the shard had two voters most of the time.
#[test]
fn what_was_replaced_not_long_ago_votes_and_leads_nothing() {
    for given_up in [false, true] {
        let mut world = World::new(3, 6, 3);
        world.settle();
        for (&number, shard) in &mut world.view.shards {
            shard.damaged = [1].into();
            world.view.resting.insert((number, 1));
            if given_up {
                world.view.given_up.insert((number, 1));
            }
        }
        assert_eq!(world.settle(), 0);
        for shard in world.view.shards.values() {
            assert_eq!(shard.voters, [1, 2, 3].into());
            assert_ne!(shard.leader, 1);
        }
        let held = plan(&world.view);
        assert!(held.len() == 6 && held.iter().all(is_held), "{held:?}");
    }
}

#[test]
fn what_is_not_replaced_any_more_is_placed_elsewhere_without_a_voter_less() {
    for seed in 0..100 {
        let mut world = World::new(4, 12, 3);
        world.settle();
        for (&number, shard) in &mut world.view.shards {
            shard.damaged = [1].into();
            world.view.resting.insert((number, 1));
            world.view.given_up.insert((number, 1));
        }
        let cost = world.settle_slowly(seed);
        assert_eq!(cost.short, 0, "{seed}");
        for shard in world.view.shards.values() {
            assert_eq!(shard.voters, [2, 3, 4].into(), "{seed}");
        }
    }
}

/// What took its place is lost meanwhile.
#[test]
fn what_is_not_replaced_any_more_gets_a_copy_before_a_shard_stays_with_a_voter_less() {
    let mut world = World::new(4, 12, 3);
    world.node(1).state = NodeState::Draining;
    world.settle();
    world.node(1).state = NodeState::Active;
    for &number in world.view.shards.keys() {
        world.view.resting.insert((number, 1));
        world.view.given_up.insert((number, 1));
    }
    assert_eq!(world.settle(), 0);
    world.kill(4, true);
    world.settle();
    for (number, shard) in &world.view.shards {
        assert_eq!(shard.voters, [1, 2, 3].into(), "shard {number}");
    }
}

/// It was damaged again before it voted.
#[test]
fn a_damaged_learner_makes_room_at_once_for_one_on_another_node() {
    let mut world = World::new(4, 2, 3);
    world.settle();
    let shard = world.view.shards.get_mut(&1).unwrap();
    let mut followers = shard.voters.iter().filter(|&&node| node != shard.leader);
    let node = *followers.next().unwrap();
    shard.voters.remove(&node);
    shard.learners = [node].into();
    shard.damaged = [node].into();
    let voters = shard.voters.clone();
    world.view.resting.insert((1, node));
    let kinds = |world: &World| -> Vec<ActionKind> {
        let actions = plan(&world.view).into_iter();
        let of_one = actions.filter(|action| action.shard == 1);
        of_one.map(|action| action.kind).collect()
    };
    assert_eq!(
        kinds(&world),
        [ActionKind::Change(vec![Step::Remove(node)])]
    );
    // What it had is not set aside yet.
    world.view.shards.get_mut(&1).unwrap().learners.clear();
    let spare = (1..=4).find(|other| *other != node && !voters.contains(other));
    let begins = ActionKind::Change(vec![Step::AddLearner(spare.unwrap())]);
    assert_eq!(kinds(&world), [begins]);
}

/// A shard with all its voters lacks nothing, though one of them is to go.
#[test]
fn damaged_voters_are_replaced_while_a_node_is_emptied() {
    let mut world = World::new(4, 24, 3);
    world.settle();
    let shard = world.view.shards.values_mut().next_back().unwrap();
    let of_others = |node: &&u64| **node != 1 && **node != shard.leader;
    let damaged = *shard.voters.iter().find(of_others).unwrap();
    shard.damaged = [damaged].into();
    // Enough for every copy that moves off the node, and one more.
    world.view.moves_max = 24;
    world.node(1).state = NodeState::Draining;
    assert!(world.copies_on(1) > 4);
    let lets_go = |world: &World| {
        let kind = ActionKind::Change(vec![Step::Remove(damaged)]);
        let actions = plan(&world.view);
        actions
            .iter()
            .any(|action| action.shard == 23 && action.kind == kind)
    };
    assert!(lets_go(&world), "{:?}", plan(&world.view));
    world.view.moves_max = 1;
    let waits = |action: &Action| action.shard == 23 && is_held(action);
    assert!(
        plan(&world.view).iter().any(waits),
        "{:?}",
        plan(&world.view)
    );
}

/// Nothing would be done for them, and the others can move.
#[test]
fn undecided_shards_are_not_moved_in_the_place_of_others() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.view.nodes.insert(4, place(4));
    world.view.undecided = (1..=8).collect();
    world.settle();
    assert_eq!(world.copies_on(4), 8);
}

/// It decides nothing, so without it the shard has as many voters as before.
#[test]
fn a_damaged_voter_that_is_closed_is_let_go_of_at_once() {
    let mut world = World::new(3, 24, 3);
    world.settle();
    for shard in world.view.shards.values_mut() {
        let closed = 1 + u64::from(shard.leader == 1);
        shard.damaged = [closed].into();
        shard.peers.get_mut(&closed).unwrap().active = false;
    }
    let actions = plan(&world.view);
    let lets_go = |action: &&Action| {
        let closed = *world.view.shards[&action.shard].damaged.first().unwrap();
        action.kind == ActionKind::Change(vec![Step::Remove(closed)])
    };
    assert_eq!(actions.iter().filter(lets_go).count(), 24, "{actions:?}");
}

/// As a voter it gets nothing, and as a learner a copy at once.
#[test]
fn voters_without_state_become_learners_no_faster_than_copies_are_made() {
    let mut world = World::new(3, 24, 3);
    world.settle();
    for shard in world.view.shards.values_mut() {
        let blank = 1 + u64::from(shard.leader == 1);
        shard.peers.get_mut(&blank).unwrap().is_blank = true;
    }
    // The catalog's learners are not counted.
    assert_eq!(world.settle(), 23);
}

#[test]
fn a_damaged_copy_stays_where_the_others_cannot_do_without_it() {
    for (nodes, replicas, damaged) in [(1, 3, 1), (2, 2, 1), (3, 1, 1), (3, 3, 2)] {
        let mut world = World::new(nodes, 4, replicas);
        world.settle();
        for shard in world.view.shards.values_mut() {
            shard.damaged = shard.voters.iter().copied().take(damaged).collect();
        }
        let before = world.view.shards.clone();
        for action in plan(&world.view) {
            world.act(&action);
        }
        for (number, shard) in &world.view.shards {
            assert_eq!(
                shard.voters, before[number].voters,
                "shard {number} of {nodes} nodes"
            );
        }
    }
}

#[test]
fn nobody_leads_with_a_damaged_copy_who_can_hand_over() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    for shard in world.view.shards.values_mut() {
        shard.damaged = [shard.leader].into();
    }
    for action in plan(&world.view) {
        assert!(matches!(action.kind, ActionKind::Transfer(_)), "{action:?}");
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
    for shard in world.view.shards.values() {
        assert_eq!(shard.voters, [1, 2, 3].into());
    }
    for node in 1..=3 {
        assert!((5..=6).contains(&world.leaders_on(node)));
    }
}

/// A copy that was to take the place of the only one went again and again for being one too many.
#[test]
fn shards_with_one_copy_move_where_there_is_room_and_stay() {
    let mut world = World::new(1, 16, 1);
    world.view.nodes.insert(2, place(2));
    world.settle();
    assert_eq!(world.spread(&[1, 2]).0, [8, 8]);
    world.view.nodes.insert(3, place(3));
    let copies = world.settle();
    assert!((4..=6).contains(&copies), "{copies} of 16 is a third");
}

#[test]
fn a_new_node_gets_its_share_and_no_more_moves() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.view.nodes.insert(4, place(4));
    let copies = world.settle();
    assert!((10..=13).contains(&copies), "{copies} of 48 is a quarter");
    assert!((11..=13).contains(&world.copies_on(4)));
    assert!(
        world.view.shards[&0].learners.len() == 1,
        "all have the catalog"
    );
    world.view.nodes.insert(5, place(5));
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
    for shard in world.view.shards.values() {
        assert_eq!(shard.voters.len(), 3);
    }
}

#[test]
fn without_a_place_for_another_copy_the_silent_one_stays_a_member() {
    let mut world = World::new(3, 4, 3);
    world.settle();
    world.kill(3, true);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.view.shards[&1].voters, [1, 2, 3].into());
}

#[test]
fn a_node_that_is_emptied_keeps_nothing_but_the_catalog() {
    let mut world = World::new(4, 16, 3);
    world.settle();
    world.node(1).state = NodeState::Draining;
    world.settle();
    assert_eq!(world.copies_on(1), 0);
    assert_eq!(world.leaders_on(1), 0);
    assert!(world.view.shards[&0].learners.contains(&1));
    world.node(1).state = NodeState::Removed;
    world.settle();
    assert!(!world.view.shards[&0].learners.contains(&1));
}

/// The only other place may be silent for a moment.
#[test]
fn a_node_that_is_emptied_keeps_each_copy_until_another_is_there() {
    let mut world = World::new(4, 4, 3);
    world.settle();
    world.kill(4, false);
    world.node(1).state = NodeState::Draining;
    world.settle();
    let voters = |world: &World| -> Vec<usize> {
        let shards = world.view.shards.values();
        shards.map(|shard| shard.voters.len()).collect()
    };
    assert_eq!(voters(&world), [3; 4]);
    world.revive(4);
    world.settle();
    assert_eq!(voters(&world), [3; 4]);
    assert_eq!(world.copies_on(1), 0);
}

#[test]
fn two_of_three_nodes_can_be_removed() {
    let mut world = World::new(3, 4, 3);
    world.settle();
    for node in [1, 3] {
        world.node(node).state = NodeState::Draining;
        world.settle();
        world.node(node).state = NodeState::Removed;
        world.settle();
    }
    for shard in world.view.shards.values() {
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
    for shard in world.view.shards.values() {
        let zones: BTreeSet<_> = shard.voters.iter().map(|node| (node - 1) / 2).collect();
        assert_eq!(zones.len(), 3, "{:?}", shard.voters);
    }
}

#[test]
fn a_slow_disk_does_not_lead() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.node(2).unfit = Some(Unfit::Slow);
    world.settle();
    assert_eq!(world.leaders_on(2), 0);
}

/// However slowly and in whatever order copies arrive: the share of one node moves, the others keep what they
/// have, and a leader moves only for its copy or to lead elsewhere for good.
#[test]
fn a_join_costs_one_share_and_few_transfers() {
    for seed in 0..200 {
        let mut world = World::new(3, 16, 3);
        world.settle();
        world.view.nodes.insert(4, place(4));
        let cost = world.settle_slowly(seed);
        let spread = world.spread(&[1, 2, 3, 4]);
        assert!(spread.0 == [12; 4], "{seed}: {spread:?}");
        assert!(
            spread.1.iter().all(|led| (3..=5).contains(led)),
            "{seed}: {spread:?}"
        );
        assert!(cost.copies <= 13 && cost.transfers <= 8, "{seed}: {cost:?}");
        world.view.nodes.insert(5, place(5));
        let cost = world.settle_slowly(seed + 1);
        let spread = world.spread(&[1, 2, 3, 4, 5]);
        assert!(
            spread.0.iter().all(|copies| (9..=10).contains(copies)),
            "{seed}: {spread:?}"
        );
        assert!(cost.copies <= 12 && cost.transfers <= 8, "{seed}: {cost:?}");
    }
}

#[test]
fn a_departure_costs_what_the_node_had() {
    for seed in 0..200 {
        let mut world = World::new(5, 16, 3);
        world.settle();
        let (had, led) = (world.copies_on(2), world.leaders_on(2));
        world.node(2).state = NodeState::Draining;
        let cost = world.settle_slowly(seed);
        let spread = world.spread(&[1, 3, 4, 5]);
        assert!(spread.0 == [12; 4], "{seed}: {spread:?}");
        assert_eq!((world.copies_on(2), world.leaders_on(2)), (0, 0));
        assert!(
            cost.copies <= had + 2 && cost.transfers <= led + 3,
            "{seed}: {cost:?} for {had} copies and {led} leaders"
        );
        world.node(2).state = NodeState::Removed;
        let lost = world.copies_on(4);
        world.kill(4, true);
        let cost = world.settle_slowly(seed);
        assert!(cost.copies <= lost, "{seed}: {cost:?} for {lost} copies");
        assert_eq!(world.spread(&[1, 3, 5]).0, [16; 3], "{seed}");
    }
}

#[test]
fn nothing_is_evened_out_while_a_shard_has_no_leader() {
    let mut world = World::new(3, 16, 3);
    world.settle();
    world.view.nodes.insert(4, place(4));
    world.view.is_complete = false;
    let before = world.spread(&[1, 2, 3]);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.spread(&[1, 2, 3]), before);
}

/// A copy that was begun for a node that has come back would only have to be moved away again.
#[test]
fn a_copy_that_is_no_longer_needed_is_given_up() {
    let mut world = World::new(4, 16, 3);
    world.settle();
    let shards = world.view.shards.iter_mut().skip(1);
    let (_, shard) = shards
        .into_iter()
        .find(|(_, shard)| !shard.voters.contains(&4))
        .unwrap();
    shard.learners.insert(4);
    assert_eq!(world.settle(), 0);
    assert_eq!(world.spread(&[1, 2, 3, 4]).0, [12; 4]);
}

/// Core review, finding 6: nobody noticed.
/// It would be a voter for ever that counts for nothing.
#[test]
fn a_voter_that_lost_its_state_is_let_go_and_added_again() {
    let mut world = World::new(3, 4, 3);
    world.settle();
    let state = world.view.shards.get_mut(&2).unwrap();
    let leader = state.leader;
    let lost = *state.voters.iter().find(|&&node| node != leader).unwrap();
    state.peers.get_mut(&lost).unwrap().is_blank = true;
    let actions = plan(&world.view);
    let demoted = ActionKind::Change(vec![Step::AddLearner(lost)]);
    assert!(
        actions
            .iter()
            .any(|action| action.shard == 2 && action.kind == demoted),
        "{actions:?}"
    );
    for action in &actions {
        world.act(action);
    }
    assert!(world.view.shards[&2].learners.contains(&lost));
    world.settle();
    assert!(world.view.shards[&2].voters.contains(&lost));
}

#[test]
fn a_voter_without_state_stays_while_the_others_cannot_decide() {
    let peer = |active, is_blank| PeerView {
        active,
        is_blank,
        ..PeerView::default()
    };
    let state = ShardView {
        leader: 1,
        voters: [1, 2, 3].into(),
        peers: [(2, peer(true, true)), (3, peer(false, false))].into(),
        ..ShardView::default()
    };
    assert_eq!(replacing::blank_voter(&state), None);
    let mut reached = state;
    reached.peers.insert(3, peer(true, false));
    assert_eq!(replacing::blank_voter(&reached), Some(2));
}

#[test]
fn of_two_that_go_the_one_that_does_not_answer_goes_first() {
    let mut world = World::new(4, 1, 2);
    for node in [2, 3] {
        world.node(node).state = NodeState::Draining;
    }
    let peer = |active| PeerView {
        matched: 10_000,
        active,
        ..PeerView::default()
    };
    let late = PeerView {
        matched: 0,
        ..peer(true)
    };
    let shard = world.view.shards.get_mut(&0).unwrap();
    shard.voters = [1, 2, 3].into();
    shard.learners = [4].into();
    shard.peers = [(2, peer(true)), (3, peer(false)), (4, late)].into();
    let change = |view: &View| plan(view).into_iter().next().map(|action| action.kind);
    let lets_go = |node| Some(ActionKind::Change(vec![Step::AddLearner(node)]));
    assert_eq!(change(&world.view), lets_go(3));
    // Without either of those that go, nobody could decide.
    let shard = world.view.shards.get_mut(&0).unwrap();
    shard.peers.insert(2, peer(false));
    assert!(!matches!(change(&world.view), Some(ActionKind::Change(_))));
}
