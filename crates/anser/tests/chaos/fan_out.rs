//! Topics under fault: receivers of every temper, queues that subscribe, and kill -9 of the server.
//!
//! What was acknowledged comes to every subscription that wants it and to no other. In the end all receivers
//! become good, and the story waits until nothing waits for a subscription any more; leases of pushes that
//! a kill cut off end half a minute later, so this takes longer than the rounds.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anser::client::{QueueSettings, SubscriptionDetails, SubscriptionSettings};
use anser_check::{
    Filter, History, Labels, Operation, QueueFacts, Report, Retry, Rule, SubscriptionFacts, Target,
    judge,
};

use super::{
    alone,
    node_kill::{WHOLE_WITHIN, is_whole, note_outage},
    receivers::{Manner, Receiver, Subscription, Temper},
    recorder::Recorder,
    say,
    served::Served,
    server::{self, Place, Server},
    story::{self, RETENTION_SECONDS, Running, VISIBILITY_SECONDS, pause},
    workload::{Chance, Gone, Load, Turn, Worker},
};
use crate::cluster::dev_cluster::{DevCluster, within};

const ROUNDS: u64 = 10;
const CLUSTER_ROUNDS: u64 = 3;
/// Messages that each topic gets when the final drain begins.
const DRAINED: usize = 16;
const PUSH: &str = "allow = [\"127.0.0.0/8\"]\ndenied_ports = []\nconnect_seconds = 1\n\
                    total_seconds = 1";
const QUEUES: [&str; 3] = ["every", "reds", "orders"];
const TOPICS: [&str; 3] = ["tagged", "routed", "rare"];
/// Leases of pushes run for 31 s, waits double from 1 s on, and back-off takes 10 to 20 s a failure.
const DRAIN_WITHIN: Duration = Duration::from_secs(150);
/// What a subscription with back-off misses in a round it makes good one message at a time.
const DRAIN_WITHIN_PER_KILL: Duration = Duration::from_secs(2);

const TAGS: [&[&str]; 8] = [
    &[],
    &["red"],
    &["green"],
    &["blue"],
    &["red", "blue"],
    &["gold", "green"],
    &["Red"],
    &["yellow"],
];
const KEYS: [&str; 10] = [
    "order.eu.paid",
    "order.us.paid",
    "order.us",
    "order",
    "order.eu.paid.late",
    "orders",
    "user",
    "user.new",
    "stock.eu.low",
    "user.*",
];

const CLIENTS: &[Turn] = &[
    publish_tagged,
    publish_tagged_batches,
    publish_routed,
    publish_routed_batches,
    publish_rare,
    consume_every,
];

/// One subscription of the story.
#[derive(Clone, Copy)]
struct Row {
    topic: &'static str,
    name: &'static str,
    /// Tags, or binding keys.
    filter: &'static [&'static str],
    goes_to: To,
    retry: Retry,
}

#[derive(Clone, Copy)]
enum To {
    Json(Manner),
    Simplified(Manner),
    Queue(&'static str),
}

const fn shows(temper: Temper, once_in: u64) -> Manner {
    let times = u64::MAX;
    Manner {
        temper,
        once_in,
        times,
        ponders_ms: 30,
    }
}

const fn row(topic: &'static str, name: &'static str, filter: &'static [&str], to: To) -> Row {
    Row {
        topic,
        name,
        filter,
        goes_to: to,
        retry: Retry::ExponentialDecay,
    }
}

/// A failure holds up a subscription with back-off for long, so there are few.
const ORDERED: [Row; 2] = [
    Row {
        retry: Retry::BackOff,
        ..row(
            "tagged",
            "ordered",
            &["blue"],
            To::Simplified(Manner {
                temper: Temper::Fails,
                once_in: 10,
                times: 2,
                ponders_ms: 0,
            }),
        )
    },
    Row {
        retry: Retry::BackOff,
        ..row(
            "routed",
            "ordered",
            &["order.us.#"],
            To::Json(shows(Temper::Good, 1)),
        )
    },
];

const ROWS: [Row; 11] = [
    row(
        "tagged",
        "every",
        &[],
        To::Json(shows(Temper::Redirects, 60)),
    ),
    row(
        "tagged",
        "red",
        &["red"],
        To::Simplified(shows(Temper::Fails, 12)),
    ),
    row(
        "tagged",
        "cold",
        &["green", "blue"],
        To::Json(shows(Temper::Hangs, 60)),
    ),
    row("tagged", "queued", &[], To::Queue("every")),
    row("tagged", "reds", &["red", "gold"], To::Queue("reds")),
    row(
        "routed",
        "every",
        &["#"],
        To::Json(shows(Temper::Resets, 30)),
    ),
    row(
        "routed",
        "paid",
        &["order.*.paid"],
        To::Simplified(shows(Temper::Slow, 20)),
    ),
    row(
        "routed",
        "both",
        &["order.#", "user.*"],
        To::Simplified(shows(Temper::Endless, 40)),
    ),
    row(
        "routed",
        "users",
        &["user.#"],
        To::Json(shows(Temper::Refuses, 1)),
    ),
    row("routed", "orders", &["order.#"], To::Queue("orders")),
    row(
        "rare",
        "gold",
        &["gold"],
        To::Simplified(shows(Temper::Good, 1)),
    ),
];

#[test]
fn what_was_published_comes_to_all_who_want_it_and_to_no_other() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
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
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
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
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
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
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
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

/// A server on which topics are, with all that subscribes to them.
struct Stage {
    place: Place,
    load: Load,
    rows: Vec<Row>,
    queues: &'static [&'static str],
    receivers: Vec<Receiver>,
    kills: u64,
}

struct Played {
    report: Report,
    history: History,
    /// What the server says that it gave up.
    given_up: u64,
    kills: u64,
}

impl Stage {
    fn new(
        seed: u64,
        folder: &std::path::Path,
        rows: Vec<Row>,
        queues: &'static [&'static str],
    ) -> Self {
        let mut place = server::place_in(folder);
        place.storage = Some("shards = 4".to_owned());
        place.push = Some(PUSH.to_owned());
        let facts = queues.iter().map(|&queue| QueueFacts {
            name: queue.to_owned(),
            visibility_ms: VISIBILITY_SECONDS * 1_000,
            retention_ms: RETENTION_SECONDS * 1_000,
            dead_letter: None,
        });
        let subscriptions = rows.iter().map(Row::facts).collect();
        let recorder = Arc::new(Recorder::with_topics(facts.collect(), subscriptions));
        Self {
            place,
            load: Load::new(recorder, seed),
            rows,
            queues,
            receivers: Vec::new(),
            kills: 0,
        }
    }

    /// Makes queues, topics, receivers and subscriptions.
    fn set_up(&mut self, server: &impl Served) {
        let mut worker = Worker::new(server, &self.load, 90);
        for queue in self.queues {
            let settings = QueueSettings {
                visibility_timeout: Some(VISIBILITY_SECONDS),
                msg_retention_seconds: Some(RETENTION_SECONDS),
                ..QueueSettings::default()
            };
            worker.with(async |client| client.create_queue(queue, &settings).await);
        }
        for topic in self.topics() {
            let filter = if topic == "routed" { 2 } else { 1 };
            worker.with(async |client| client.create_topic(topic, filter, None).await);
        }
        for (row, number) in self.rows.iter().zip(1..) {
            let chance = Chance::new(self.load.seed ^ (number << 48));
            let receiver = row.receiver(&self.load.recorder, chance);
            let target = match (&receiver, row.goes_to) {
                (Some(receiver), _) => ("http", receiver.url.as_str()),
                (None, To::Queue(queue)) => ("queue", queue),
                (None, _) => unreachable!("only queues have no receiver"),
            };
            let settings = row.settings();
            worker.with(async |client| {
                client
                    .subscribe(row.topic, row.name, target, &settings)
                    .await
            });
            self.receivers.extend(receiver);
        }
    }

    fn topics(&self) -> Vec<&'static str> {
        let used = |topic: &&str| self.rows.iter().any(|row| row.topic == *topic);
        TOPICS.into_iter().filter(used).collect()
    }

    /// kill -9, and a new server in the same place.
    fn kill(&mut self, server: Server, running: Running) -> Server {
        let died = self.load.recorder.now();
        server.kill();
        running.join();
        self.kills += 1;
        let server = self.place.start();
        self.load.recorder.add(0, "", died, Operation::Outage);
        server
    }

    /// Faults that never happened would prove nothing. A subscription with back-off pushes so seldom that
    /// its receiver may have had no occasion.
    fn assert_that_tempers_were_shown(&self) {
        let rows = self.rows.iter().filter(|row| row.manner().is_some());
        for (row, receiver) in rows.zip(&self.receivers) {
            let is_good = row
                .manner()
                .is_some_and(|manner| manner.temper == Temper::Good);
            assert!(
                is_good || row.retry == Retry::BackOff || receiver.shown() > 0,
                "{} never did",
                receiver.called()
            );
        }
    }

    /// Waits until everything was pushed and carried, drains the queues, and asks the judge.
    fn finish(self, server: &impl Served, name: &str) -> Played {
        let mut worker = Worker::new(server, &self.load, 91);
        let begun = self.load.recorder.now();
        for receiver in &self.receivers {
            receiver.become_good();
            say(&format!(
                "{} did so {} times",
                receiver.called(),
                receiver.shown()
            ));
        }
        // A drain that finds nothing proves nothing, so there is always something to find.
        for topic in self.topics() {
            worker
                .publish(topic, DRAINED, 300, wanted_by_all(topic))
                .unwrap();
        }
        let given_up = self.wait_until_nothing_waits(&mut worker);
        for topic in self.topics() {
            let recorder = &self.load.recorder;
            recorder.add(91, topic, begun, Operation::Drain);
        }
        let drains = self.queues.iter().zip(100..).map(|(queue, number)| {
            let mut worker = Worker::new(server, &self.load, number);
            thread::spawn(move || story::drain(&mut worker, queue).expect("the server answers"))
        });
        let drains: Vec<_> = drains.collect();
        for drain in drains {
            drain.join().unwrap();
        }
        drop((worker, self.receivers));
        let recorder = Arc::into_inner(self.load.recorder).expect("all clients have ended");
        let (report, history) = recorder.judged_and_kept(name);
        say(&format!("{name}: {} kills; {report}", self.kills));
        Played {
            report,
            history,
            given_up,
            kills: self.kills,
        }
    }

    /// How many messages were given up. Whatever still waits in the end is for the judge to miss.
    fn wait_until_nothing_waits(&self, worker: &mut Worker) -> u64 {
        let begun = Instant::now();
        let kills = u32::try_from(self.kills).expect("not so many rounds");
        let within = DRAIN_WITHIN + DRAIN_WITHIN_PER_KILL * kills;
        loop {
            let details: Vec<SubscriptionDetails> = self
                .rows
                .iter()
                .map(|row| {
                    worker.with(async |client| client.subscription(row.topic, row.name).await)
                })
                .collect();
            let waiting = details.iter().filter(|one| one.msg_count > 0);
            if waiting.clone().count() == 0 {
                say(&format!("nothing waits after {:?}", begun.elapsed()));
                return details.iter().map(|one| one.given_up_num).sum();
            }
            if begun.elapsed() > within {
                let waiting: Vec<_> = waiting.collect();
                say(&format!("still waiting: {waiting:#?}"));
                return details.iter().map(|one| one.given_up_num).sum();
            }
            thread::sleep(Duration::from_millis(500));
        }
    }
}

impl Played {
    fn assert_passed(&self) {
        let Self {
            report,
            given_up,
            kills,
            ..
        } = self;
        assert!(report.passed(), "{report}");
        assert_eq!(report.statistics.outages, *kills);
        // What the judge excuses as given up is what the server says that it gave up.
        assert_eq!(report.statistics.topics.given_up, *given_up, "{report}");
    }
}

impl Row {
    fn facts(&self) -> SubscriptionFacts {
        let words = self.words();
        SubscriptionFacts {
            topic: self.topic.to_owned(),
            name: self.name.to_owned(),
            filter: if self.topic == "routed" {
                Filter::BindingKeys(words)
            } else {
                Filter::Tags(words)
            },
            target: match self.goes_to {
                To::Queue(queue) => Target::Queue(queue.to_owned()),
                To::Json(_) | To::Simplified(_) => Target::Http,
            },
            retry: self.retry,
        }
    }

    fn settings(&self) -> SubscriptionSettings {
        let (words, none) = (self.words(), Vec::new());
        let (binding_keys, filter_tags) = if self.topic == "routed" {
            (words, none)
        } else {
            (none, words)
        };
        let format = match self.goes_to {
            To::Json(_) => "JSON",
            To::Simplified(_) | To::Queue(_) => "SIMPLIFIED",
        };
        let strategy = match self.retry {
            Retry::BackOff => "BACKOFF_RETRY",
            Retry::ExponentialDecay => "EXPONENTIAL_DECAY_RETRY",
        };
        SubscriptionSettings {
            notify_strategy: Some(strategy.to_owned()),
            notify_content_format: Some(format.to_owned()),
            filter_tags,
            binding_keys,
            dead_letter_queue: None,
        }
    }

    fn words(&self) -> Vec<String> {
        self.filter.iter().map(|&word| word.to_owned()).collect()
    }

    /// How its receiver behaves, if it has one.
    fn manner(&self) -> Option<Manner> {
        match self.goes_to {
            To::Json(manner) | To::Simplified(manner) => Some(manner),
            To::Queue(_) => None,
        }
    }

    fn receiver(&self, recorder: &Arc<Recorder>, chance: Chance) -> Option<Receiver> {
        let manner = self.manner()?;
        let subscription = Subscription {
            topic: self.topic,
            name: self.name,
            is_json: matches!(self.goes_to, To::Json(_)),
        };
        Some(Receiver::start(recorder, subscription, manner, chance))
    }
}

fn tags(tags: &[&str]) -> Labels {
    Labels {
        tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
        routing_key: None,
    }
}

fn key(key: &str) -> Labels {
    Labels {
        tags: Vec::new(),
        routing_key: Some(key.to_owned()),
    }
}

fn wanted_by_all(topic: &str) -> Labels {
    match topic {
        "routed" => key("order.us.paid"),
        "rare" => tags(&["gold"]),
        _ => tags(&["red", "blue"]),
    }
}

fn any<T: Copy>(worker: &mut Worker, values: &[T]) -> T {
    let at = worker.chance.below(values.len() as u64);
    values[usize::try_from(at).expect("a short list")]
}

fn several(worker: &mut Worker) -> usize {
    usize::try_from(2 + worker.chance.below(15)).expect("a small number")
}

fn publish_tagged(worker: &mut Worker) -> Result<(), Gone> {
    let labels = tags(any(worker, &TAGS));
    worker.publish("tagged", 1, 500, labels)?;
    pause(worker, 8);
    Ok(())
}

fn publish_tagged_batches(worker: &mut Worker) -> Result<(), Gone> {
    let (count, labels) = (several(worker), tags(any(worker, &TAGS)));
    worker.publish("tagged", count, 1_500, labels)?;
    pause(worker, 60);
    Ok(())
}

fn publish_routed(worker: &mut Worker) -> Result<(), Gone> {
    let labels = key(any(worker, &KEYS));
    worker.publish("routed", 1, 500, labels)?;
    pause(worker, 8);
    Ok(())
}

fn publish_routed_batches(worker: &mut Worker) -> Result<(), Gone> {
    let (count, labels) = (several(worker), key(any(worker, &KEYS)));
    worker.publish("routed", count, 1_500, labels)?;
    pause(worker, 60);
    Ok(())
}

/// Half of these nobody wants, and the publisher is told.
fn publish_rare(worker: &mut Worker) -> Result<(), Gone> {
    let labels = tags(any(worker, &[&["gold"][..], &["silver"]]));
    worker.publish("rare", 1, 100, labels)?;
    pause(worker, 60);
    Ok(())
}

fn consume_every(worker: &mut Worker) -> Result<(), Gone> {
    let received = worker.receive("every", 16, 1)?;
    let receipts: Vec<String> = received
        .into_iter()
        .map(|message| message.receipt_handle)
        .collect();
    if receipts.is_empty() {
        return Ok(());
    }
    worker.delete("every", receipts)
}

/// The test of the test: in the history of this very run, a message that one receiver never got and one that
/// came to the wrong receiver are found.
fn is_found_out(history: &History) {
    let arrival = history
        .events
        .iter()
        .find_map(|event| match &event.operation {
            Operation::Push(push) if push.subscription == "red" && push.status == Some(200) => {
                push.body
            }
            _ => None,
        });
    let arrival = arrival.expect("something red was received");
    let mut lost = history.clone();
    lost.events.retain(|event| {
        !matches!(&event.operation, Operation::Push(push)
            if push.subscription == "red" && push.body == Some(arrival))
    });
    let report = judge(&lost).unwrap();
    assert_eq!(report.count(Rule::FanOut), 1, "{report}");
    let mut astray = history.clone();
    for event in &mut astray.events {
        if let Operation::Push(push) = &mut event.operation
            && push.body == Some(arrival)
            && push.subscription == "red"
        {
            "every".clone_into(&mut push.subscription);
            "routed".clone_into(&mut event.queue);
        }
    }
    let report = judge(&astray).unwrap();
    assert!(report.count(Rule::FanOut) >= 2, "{report}");
}
