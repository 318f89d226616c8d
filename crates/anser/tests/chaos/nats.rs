//! Six findings of others, each by its number in the issues of NATS, whose faults are brought upon this product.
//!
//! They were found by Jepsen in NATS 2.12.1 and before it. Where a scenario of ours has the same fault in it already, the test
//! is that scenario with other figures.

use std::{
    thread,
    time::{Duration, Instant},
};

use anser::client::QueueSettings;

use super::{
    alone, copying, damage,
    fleet::Fleet,
    folder,
    node_kill::{SHARDS, note_outage, wait_until_served},
    powerless::{self, Stage, WHOLE_WITHIN},
    probes::Probes,
    skipped,
    story::{QUEUES, Story},
    summary::conclude,
    workload::{Chance, Worker},
};

const NODES: u16 = 3;
const EVEN_WITHIN: Duration = Duration::from_secs(120);
const PATIENT: Duration = Duration::from_secs(10);

/// Acknowledged before it was synced: with the power of all nodes went what had been acknowledged.
#[test]
#[ignore = "by command: scripts/chaos nats-7564"]
fn finding_7564_what_is_acknowledged_survives_the_power_loss_of_all() {
    powerless::lose_power_together("nats-7564", 3, 3);
}

/// One node loses power and comes back while the two others stand still in turns: there were two leaders for good, each
/// with a history of its own.
#[test]
#[ignore = "by command: scripts/chaos nats-7567"]
fn finding_7567_one_power_loss_and_pauses_of_the_others_do_not_split_the_cluster() {
    let _turn = alone();
    let folder = folder();
    let mut stage = match Stage::new(folder.path(), "nats-7567", 3) {
        Ok(stage) => stage,
        Err(why) => return skipped("nats-7567", &why),
    };
    for round in 0..stage.story.rounds() {
        let running = stage.story.run(&stage.fleet);
        stage.probes.go(0);
        let [falls, one, other] = stage.drawn();
        thread::sleep(Duration::from_millis(500 + stage.chance.below(1_500)));
        let died = stage.story.load.recorder.now();
        stage.fleet.signal(one, "STOP");
        thread::sleep(Duration::from_millis(stage.chance.below(3_000)));
        if let Err(why) = stage.lose_power(&[falls]) {
            assert_eq!(round, 0, "the power could be taken before: {why}");
            return skipped("nats-7567", &why);
        }
        stage.restore_power(&[falls]);
        thread::sleep(Duration::from_millis(stage.chance.below(3_000)));
        // The one that fell, and one that has not heard of it yet.
        stage.fleet.signal(other, "STOP");
        stage.fleet.signal(one, "CONT");
        thread::sleep(Duration::from_millis(2_000 + stage.chance.below(3_000)));
        stage.fleet.signal(other, "CONT");
        let back = Instant::now();
        wait_until_served(&stage.fleet, &stage.probes, back);
        running.join();
        stage.probes.rest();
        stage.fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
        note_outage(&stage.story.load, died, &QUEUES);
    }
    stage.conclude();
}

/// Two rounds of each of these cells, and again from the first if there are to be more.
fn play_cells(name: &'static str, cells: &[&str]) {
    damage::play(name, 6, |count, chance| {
        let drawn = cells
            .iter()
            .flat_map(|words| damage::drawn(words, 2, chance));
        let drawn: Vec<_> = drawn.collect();
        drawn.into_iter().cycle().take(count).collect()
    });
}

/// One bit, or an end that is missing, in a file of messages on a minority of the nodes: acknowledged messages were lost.
#[test]
#[ignore = "by command: scripts/chaos nats-7549"]
fn finding_7549_damaged_messages_of_one_node_are_not_lost() {
    play_cells("nats-7549", &["flip wal", "flip segment", "cut segment"]);
}

/// State that cannot be read was taken for none, and the data of users deleted.
#[test]
#[ignore = "by command: scripts/chaos nats-7556"]
fn finding_7556_unreadable_state_of_one_node_deletes_nothing() {
    play_cells(
        "nats-7556",
        &["flip snapshot", "cut snapshot", "flip manifest"],
    );
}

/// Messages were lost while nodes came and went, others were killed, and the network was cut. This has the first two.
#[test]
#[ignore = "by command: scripts/chaos nats-7545"]
fn finding_7545_a_change_of_members_under_kills_loses_nothing() {
    copying::kill_while_copying("nats-7545", 1);
}

/// After kill -9 of the nodes a stream was gone as if it had never been made.
#[test]
#[ignore = "by command: scripts/chaos nats-6888"]
fn finding_6888_a_queue_that_was_just_made_survives_the_death_of_all() {
    const MADE: u64 = 20;
    let _turn = alone();
    let folder = folder();
    let story = Story::new("nats-6888", 5);
    let mut chance = Chance::new(story.load.seed);
    let mut fleet = Fleet::start(folder.path(), NODES, NODES, "");
    fleet.wait_until_even(&[1, 2, 3], EVEN_WITHIN);
    story.create_queues(&fleet);
    let probes = Probes::start(&fleet, SHARDS, PATIENT);
    for round in 0..story.rounds() {
        let running = story.run(&fleet);
        probes.go(0);
        thread::sleep(Duration::from_millis(chance.below(1_000)));
        let names: Vec<String> = (0..MADE)
            .map(|number| format!("made-{round}-{number}"))
            .collect();
        let mut worker = Worker::new(&fleet, &story.load, 95);
        for name in &names {
            let settings = QueueSettings::default();
            worker.with(async |client| client.create_queue(name, &settings).await);
            worker.with(async |client| client.send(name, "kept", 0).await);
        }
        let died = story.load.recorder.now();
        fleet.kill_all(&[1, 2, 3]);
        fleet.begin_all(&[1, 2, 3]);
        let back = Instant::now();
        wait_until_served(&fleet, &probes, back);
        for name in &names {
            let queue = worker.with(async |client| client.queue(name).await);
            assert_eq!(queue.active_msg_num, 1, "{name}");
        }
        drop(worker);
        running.join();
        probes.rest();
        fleet.wait_until_whole(WHOLE_WITHIN).unwrap();
        note_outage(&story.load, died, &QUEUES);
    }
    conclude(story, Some(probes), &fleet);
}
