//! Two processes that say they are one node: one of them has the place, and nobody is cut off for the other.

use std::{collections::BTreeMap, sync::atomic::Ordering, time::Duration};

use anser_transport::{Config, Limits, Refusal, identify};

use crate::{
    raw::{Hello, Raw},
    rig::{Node, PATIENCE, config, identity, join_config, limits, wait_tokio},
};

/// Users' cases, F3: the two took the place from each other.
#[test]
fn another_process_of_a_connected_node_is_refused_and_told_who_holds_the_place() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    assert_eq!(two.arrived.recv_timeout(PATIENCE).unwrap().node, 1);
    let copy = Node::start(config(1));
    copy.transport.set_peers(BTreeMap::from([two.peer()]));
    for _ in 0..2 {
        let reason = copy.refused.recv_timeout(PATIENCE).unwrap();
        assert!(reason.contains(&one.address().to_string()), "{reason}");
    }
    assert!(copy.connections.try_recv().is_err());
    assert!(one.connections.try_recv().is_err(), "it was not cut off");
    assert!(two.arrived.try_recv().is_err());
    one.check(2);
    assert!(two.transport.statistics().refused[&Refusal::PlaceTaken] >= 2);
}

#[test]
fn a_process_that_does_not_answer_has_lost_its_place() {
    let two = Node::start(Config {
        limits: Limits {
            probe_time: Duration::from_millis(50),
            ..limits()
        },
        ..config(2)
    });
    // Its connection looks open: its machine is gone.
    let dead = Raw::dial(two.address(), identity(1), 2);
    let one = Node::start(config(1));
    one.meet(&[&two]);
    one.check(2);
    dead.closed();
}

/// Nobody waits for a process whose connection has ended.
#[test]
fn a_process_that_has_ended_leaves_its_place_at_once() {
    let two = Node::start(config(2));
    for _ in 0..3 {
        let one = Node::start(config(1));
        one.meet(&[&two]);
        one.transport.shutdown();
    }
}

/// Core review, finding 5: an old copy of a node was let in, and what it voted counted.
#[test]
fn a_former_start_is_refused_without_asking_the_present_one() {
    let two = Node::start(config(2));
    two.agreed.store(5, Ordering::Relaxed);
    let start = |start, run| Hello {
        run,
        start,
        ..Hello::new(identity(1), 2)
    };
    let mut present = Raw::connect(two.address());
    assert_eq!(present.shake(&start(5, 1)), 0);
    let mut former = Raw::connect(two.address());
    assert_eq!(former.shake(&start(4, 2)), 8);
    // The same process may come again.
    let mut again = Raw::connect(two.address());
    assert_eq!(again.shake(&start(5, 1)), 0);
    present.closed();
}

#[test]
fn the_start_that_was_agreed_on_takes_its_place_back_from_a_copy_that_came_first() {
    let two = Node::start(config(2));
    two.agreed.store(4, Ordering::Relaxed);
    let start = |start, run| Hello {
        run,
        start,
        ..Hello::new(identity(1), 2)
    };
    let mut copy = Raw::connect(two.address());
    assert_eq!(copy.shake(&start(5, 1)), 0);
    let mut original = Raw::connect(two.address());
    assert_eq!(original.shake(&start(4, 2)), 0);
    copy.closed();
}

/// Users' cases, F2: only the catalog knew addresses, and it knew the former one.
#[test]
fn a_node_says_where_it_is_reached() {
    let two = Node::start(config(2));
    let one = Node::start(Config {
        advertise: Some("elsewhere:1".into()),
        ..config(1)
    });
    one.meet(&[&two]);
    let visitor = two.arrived.recv_timeout(PATIENCE).unwrap();
    assert_eq!(visitor.address, "elsewhere:1");
    assert_eq!((visitor.start.number, visitor.start.mark), (1, [1; 16]));
    let other = Node::start(config(3));
    other.meet(&[&two]);
    let visitor = two.arrived.recv_timeout(PATIENCE).unwrap();
    assert_eq!(visitor.address, other.address().to_string());
}

#[test]
fn whoever_has_the_secret_learns_which_node_is_at_an_address() {
    let two = Node::start(config(2));
    let address = two.address().to_string();
    let found = wait_tokio(identify(&address, &join_config())).unwrap();
    assert_eq!((found.node, found.incarnation), (2, [2; 16]));
}
