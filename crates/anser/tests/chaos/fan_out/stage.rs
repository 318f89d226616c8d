//! A server on which topics are, with all that subscribes to them, until nothing waits any more.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anser::client::{QueueSettings, SubscriptionDetails};
use anser_check::{History, Operation, QueueFacts, Report, Retry, Rule, judge};

use super::{
    PUSH, TOPICS,
    publishing::wanted_by_all,
    rows::{Row, To},
};
use crate::chaos::{
    receivers::{Receiver, Temper},
    recorder::Recorder,
    say,
    served::Served,
    server::{self, Place, Server},
    story::{self, RETENTION_SECONDS, Running, VISIBILITY_SECONDS},
    summary::Summary,
    workload::{Chance, Load, Worker},
};

/// Messages that each topic gets when the final drain begins.
pub(super) const DRAINED: usize = 16;
/// Leases of pushes run for 31 s, waits double from 1 s on, and back-off takes 10 to 20 s a failure.
const DRAIN_WITHIN: Duration = Duration::from_secs(150);
/// What a subscription with back-off misses in a round it makes good one message at a time.
const DRAIN_WITHIN_PER_KILL: Duration = Duration::from_secs(2);

/// A server on which topics are, with all that subscribes to them.
pub(super) struct Stage {
    pub(super) place: Place,
    pub(super) load: Load,
    pub(super) rows: Vec<Row>,
    pub(super) queues: &'static [&'static str],
    pub(super) receivers: Vec<Receiver>,
    pub(super) kills: u64,
}

pub(super) struct Played {
    pub(super) report: Report,
    pub(super) history: History,
    /// What the server says that it gave up.
    given_up: u64,
    pub(super) kills: u64,
}

impl Stage {
    pub(super) fn new(
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
            ..QueueFacts::default()
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
    pub(super) fn set_up(&mut self, server: &impl Served) {
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
    pub(super) fn kill(&mut self, server: Server, running: Running) -> Server {
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
    pub(super) fn assert_that_tempers_were_shown(&self) {
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
    pub(super) fn finish(self, server: &impl Served, name: &str) -> Played {
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
        Summary::new(name, (self.load.seed, self.kills), &report).say();
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
    pub(super) fn assert_passed(&self) {
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

/// The test of the test: in the history of this very run, a message that one receiver never got and one that
/// came to the wrong receiver are found.
pub(super) fn is_found_out(history: &History) {
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
