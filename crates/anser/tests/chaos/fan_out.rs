//! Topics under fault: receivers of every temper, queues that subscribe, and kill -9 of the server.
//!
//! What was acknowledged comes to every subscription that wants it and to no other. In the end all receivers
//! become good, and the story waits until nothing waits for a subscription any more; leases of pushes that
//! a kill cut off end half a minute later, so this takes longer than the rounds.

mod publishing;
mod rows;
mod stage;

use std::{
    thread,
    time::{Duration, Instant},
};

use anser::client::SubscriptionSettings;
use anser_check::{Labels, Operation, Rule};

use super::{
    beside_others, folder,
    node_kill::{WHOLE_WITHIN, is_whole, note_outage},
    receivers::Temper,
    story::{self, Running},
    workload::{Chance, Worker},
};
use crate::cluster::dev_cluster::{DevCluster, within};
use publishing::{CLIENTS, tags};
use rows::{ORDERED, ROWS, Row, To, row, shows};
use stage::{DRAINED, Stage, is_found_out};

const ROUNDS: u64 = 5;
const CLUSTER_ROUNDS: u64 = 3;
const PUSH: &str = "allow = [\"127.0.0.0/8\"]\ndenied_ports = []\nconnect_seconds = 1\n\
                    total_seconds = 1";
const QUEUES: [&str; 3] = ["every", "reds", "orders"];
const TOPICS: [&str; 3] = ["tagged", "routed", "rare"];

#[test]
fn what_was_published_comes_to_all_who_want_it_and_to_no_other() {
    let _turn = beside_others();
    let folder = folder();
    let rows: Vec<Row> = ROWS.into_iter().chain(ORDERED).collect();
    let (seed, rounds) = story::seed_and_rounds("fan_out", ROUNDS);
    let mut stage = Stage::new(seed, folder.path(), rows, &QUEUES);
    let mut chance = Chance::new(seed);
    let mut server = stage.place.start();
    stage.set_up(&server);
    for _ in 0..rounds {
        let running = Running::start(&stage.load, &server, CLIENTS);
        thread::sleep(Duration::from_millis(400 + chance.below(3_600)));
        server = stage.kill(server, running);
    }
    stage.assert_that_tempers_were_shown();
    let outcome = stage.finish(&server, "fan_out");
    server.stop();
    outcome.assert_passed();
    is_found_out(&outcome.history);
}

/// The same from a cluster, of which one node after the other is killed and comes back.
#[test]
fn what_was_published_comes_to_all_though_nodes_are_killed() {
    const NODES: u16 = 3;
    let _turn = beside_others();
    let folder = folder();
    let rows: Vec<Row> = ROWS.into_iter().chain(ORDERED).collect();
    let (seed, rounds) = story::seed_and_rounds("fan_out-nodes", CLUSTER_ROUNDS);
    let mut stage = Stage::new(seed, folder.path(), rows, &QUEUES);
    let mut chance = Chance::new(seed);
    let mut cluster = DevCluster::new(folder.path(), NODES);
    cluster.settle(&format!("[push]\n{PUSH}"));
    cluster.start();
    cluster.wait_for_copies();
    stage.set_up(&cluster);
    for _ in 0..rounds {
        let running = Running::start(&stage.load, &cluster, CLIENTS);
        thread::sleep(Duration::from_millis(1_000 + chance.below(3_000)));
        let victim = u16::try_from(1 + chance.below(NODES.into())).unwrap();
        let died = stage.load.recorder.now();
        cluster.kill(victim);
        thread::sleep(Duration::from_millis(2_000 + chance.below(2_000)));
        cluster.restart(victim);
        let again = |node| cluster.status(node).is_some_and(|one| is_whole(&one));
        let whole = within(WHOLE_WITHIN, || (1..=NODES).all(again));
        assert!(whole, "{:?}; {}", cluster.status(1), cluster.logs());
        running.join();
        note_outage(&stage.load, died, &QUEUES);
        stage.kills += 1;
    }
    let outcome = stage.finish(&cluster, "fan_out-nodes");
    outcome.assert_passed();
    cluster.stop();
}

/// Pushes that are under way when the server is killed are made again when their leases have ended.
#[test]
fn pushes_that_a_kill_cut_off_are_made_again() {
    const UNDER_WAY: usize = 8;
    let _turn = beside_others();
    let folder = folder();
    let ponders = To::Simplified(shows(Temper::Ponders, 1));
    let rows = vec![row("tagged", "every", &[], ponders)];
    let (seed, _) = story::seed_and_rounds("fan_out-cut_off", 1);
    let mut stage = Stage::new(seed, folder.path(), rows, &[]);
    let server = stage.place.start();
    stage.set_up(&server);
    let mut worker = Worker::new(&server, &stage.load, 1);
    for _ in 0..6 {
        worker
            .publish("tagged", 16, 300, Labels::default())
            .unwrap();
    }
    let begun = Instant::now();
    while stage.receivers[0].open() < UNDER_WAY {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "nothing is pushed"
        );
        thread::sleep(Duration::from_millis(1));
    }
    drop(worker);
    let nobody = Running::start(&stage.load, &server, &[]);
    let server = stage.kill(server, nobody);
    let outcome = stage.finish(&server, "fan_out-cut_off");
    server.stop();
    outcome.assert_passed();
    let cut_off =
        outcome.history.events.iter().filter(
            |event| matches!(&event.operation, Operation::Push(push) if push.status.is_none()),
        );
    let cut_off = cut_off.count();
    assert!(cut_off >= UNDER_WAY, "only {cut_off} pushes were cut off");
    let counts = outcome.report.statistics.topics;
    assert_eq!(counts.received, counts.acknowledged);
}

/// The test of the test: a server that matches by another filter than the one that was asked for loses
/// messages and leads others astray, and the judge says so.
#[test]
fn a_wrong_filter_is_found_out() {
    let _turn = beside_others();
    let folder = folder();
    let good = || To::Json(shows(Temper::Good, 1));
    let rows = vec![
        row("tagged", "every", &[], good()),
        row("tagged", "red", &["red"], good()),
    ];
    let (seed, _) = story::seed_and_rounds("fan_out-lies", 1);
    let mut stage = Stage::new(seed, folder.path(), rows, &[]);
    let server = stage.place.start();
    stage.set_up(&server);
    let mut worker = Worker::new(&server, &stage.load, 1);
    let settings = SubscriptionSettings {
        filter_tags: vec!["gold".to_owned()],
        ..SubscriptionSettings::default()
    };
    worker.with(async |client| client.set_subscription("tagged", "red", &settings).await);
    worker.publish("tagged", 1, 100, tags(&["gold"])).unwrap();
    worker.publish("tagged", 2, 100, tags(&["red"])).unwrap();
    drop(worker);
    let report = stage.finish(&server, "fan_out-lies").report;
    server.stop();
    let said = |words: &str| {
        let violations = report.violations.iter();
        let matching = violations.filter(|violation| violation.detail.contains(words));
        matching.count()
    };
    assert_eq!(said("does not want it"), 1, "{report}");
    assert_eq!(said("never received"), 2 + DRAINED, "{report}");
    assert_eq!(report.count(Rule::FanOut), 3 + DRAINED, "{report}");
}
