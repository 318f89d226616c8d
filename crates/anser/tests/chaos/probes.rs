//! A small send to a queue on every shard, again and again, through nodes that are there: how long each
//! shard was not served.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anser::client::{Client, Error, QueueSettings};
use tokio::{task::JoinSet, time::MissedTickBehavior};

use super::{
    failures::Failures,
    served::{Doors, Served},
};

/// Between two probes of one shard, if the first was answered by then.
const INTERVAL: Duration = Duration::from_millis(20);
/// The shard is the upper part of a message's id.
const SHARD_FROM_BIT: u32 = 53;
/// By chance a name may be anywhere, so that some shards take long to hit.
const NAMES_MAX: usize = 500;

/// What was heard of one shard.
#[derive(Debug, Default)]
struct Pulse {
    /// When acknowledged probes were answered, in order, and when each was asked.
    answered: Vec<(Instant, Instant)>,
    unknown: u64,
    /// Since when nothing was answered, and the longest that it was so; rests do not count.
    silent_since: Option<Instant>,
    longest: Duration,
}

impl Pulse {
    /// Answered now, or about to rest.
    fn end_silence(&mut self, goes_on: bool) {
        let now = Instant::now();
        if let Some(since) = self.silent_since {
            self.longest = self.longest.max(now - since);
        }
        self.silent_since = goes_on.then_some(now);
    }
}

/// A queue that does not hold what was acknowledged, or more than was sent.
#[derive(Debug)]
pub(crate) struct Wrong {
    queue: String,
    held: u64,
    least: u64,
    most: u64,
}

impl Wrong {
    pub(crate) fn lost(&self) -> u64 {
        self.least.saturating_sub(self.held)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            queue,
            held,
            least,
            most,
        } = self;
        write!(formatter, "{queue} holds {held}, not {least} to {most}")
    }
}

#[derive(Debug)]
struct Shared {
    /// The node that is not to be asked, counted from 1; 0: none.
    avoided: AtomicUsize,
    rests: AtomicBool,
    stop: AtomicBool,
    interval: Duration,
    pulses: Vec<Mutex<Pulse>>,
    failures: Failures,
}

#[derive(Debug)]
pub(crate) struct Probes {
    shared: Arc<Shared>,
    /// By shard.
    queues: Vec<String>,
    thread: Option<JoinHandle<()>>,
}

impl Probes {
    /// Makes a queue on every shard and begins to rest. `patience` bounds the wait for an answer.
    pub(crate) fn start(served: &impl Served, shards: u16, patience: Duration) -> Self {
        Self::start_every(INTERVAL, served, shards, patience)
    }

    /// With so long between two probes of one shard: for scenarios of many rounds, whose load probes would be otherwise.
    pub(crate) fn start_every(
        interval: Duration,
        served: &impl Served,
        shards: u16,
        patience: Duration,
    ) -> Self {
        let doors = served.doors();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let queues = runtime.block_on(queues_on_all_shards(&doors, shards));
        let shared = Arc::new(Shared {
            avoided: AtomicUsize::new(0),
            rests: AtomicBool::new(true),
            stop: AtomicBool::new(false),
            interval,
            pulses: queues.iter().map(|_| Mutex::default()).collect(),
            failures: Failures::default(),
        });
        let (all, names) = (Arc::clone(&shared), queues.clone());
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let mut tasks = JoinSet::new();
                for (shard, queue) in names.into_iter().enumerate() {
                    let clients = clients(&doors, patience);
                    tasks.spawn(probe(Arc::clone(&all), shard, queue, clients));
                }
                while tasks.join_next().await.is_some() {}
            });
        });
        Self {
            shared,
            queues,
            thread: Some(thread),
        }
    }

    /// Goes on through all nodes but this one; 0: through all.
    pub(crate) fn go(&self, avoided: u16) {
        self.shared.avoided.store(avoided.into(), Ordering::Relaxed);
        self.shared.rests.store(false, Ordering::Relaxed);
    }

    pub(crate) fn rest(&self) {
        self.shared.rests.store(true, Ordering::Relaxed);
    }

    /// Rests, and waits until the last answer is there or is given up.
    pub(crate) fn rest_until_idle(&self) {
        self.rest();
        let asks = |pulse: &Mutex<Pulse>| lock(pulse).silent_since.is_some();
        while self.shared.pulses.iter().any(asks) {
            thread::sleep(INTERVAL);
        }
    }

    /// The shards on which no probe that was asked after `moment` was acknowledged.
    pub(crate) fn silent_since(&self, moment: Instant) -> Vec<usize> {
        let answers = |pulse: &Mutex<Pulse>| {
            let pulse = lock(pulse);
            pulse
                .answered
                .iter()
                .rev()
                .any(|&(_, asked)| asked > moment)
        };
        let silent = self.shared.pulses.iter().enumerate();
        let silent = silent.filter(|(_, pulse)| !answers(pulse));
        silent.map(|(shard, _)| shard).collect()
    }

    /// By shard the longest time between two answers, of those that touch the time from `from` to now.
    pub(crate) fn gaps(&self, from: Instant) -> Vec<Duration> {
        let now = Instant::now();
        let gap = |pulse: &Mutex<Pulse>| {
            let pulse = lock(pulse);
            let mut last = now;
            let mut longest = Duration::ZERO;
            for &(answered, _) in pulse.answered.iter().rev() {
                longest = longest.max(last - answered);
                last = answered;
                if answered < from {
                    break;
                }
            }
            longest
        };
        self.shared.pulses.iter().map(gap).collect()
    }

    /// How long every probe took that was asked since then and acknowledged.
    pub(crate) fn times(&self, from: Instant) -> Vec<Duration> {
        let times = |pulse: &Mutex<Pulse>| {
            let pulse = lock(pulse);
            let newest = pulse.answered.iter().rev();
            let newest = newest.take_while(|&&(_, asked)| asked >= from);
            newest
                .map(|&(answered, asked)| answered - asked)
                .collect::<Vec<_>>()
        };
        self.shared.pulses.iter().flat_map(times).collect()
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.shared.failures
    }

    /// The longest that any shard was not served while the probes did not rest.
    pub(crate) fn longest_gap(&self) -> Duration {
        let longest = self.shared.pulses.iter().map(|pulse| lock(pulse).longest);
        longest.max().unwrap_or_default()
    }

    /// Ends, and compares.
    pub(crate) fn finish(mut self, served: &impl Served) -> Vec<Wrong> {
        self.end();
        self.compare(served)
    }

    /// Compares what each queue holds with what was acknowledged: those that hold too little or too much. Only while the
    /// probes rest.
    pub(crate) fn compare(&self, served: &impl Served) -> Vec<Wrong> {
        let doors = served.doors();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        // Some of the nodes may have left.
        let mut clients = clients(&doors, Duration::from_secs(10)).into_iter();
        let there = clients.find_map(|mut client| {
            let connected = runtime.block_on(client.connect());
            connected.is_ok().then_some(client)
        });
        let mut client = there.expect("a node serves");
        let mut wrong = Vec::new();
        for (queue, pulse) in self.queues.iter().zip(&self.shared.pulses) {
            let held = runtime
                .block_on(client.queue(queue))
                .unwrap()
                .active_msg_num;
            let pulse = lock(pulse);
            // The first message is that which told the queue's shard.
            let least = 1 + pulse.answered.len() as u64;
            let most = least + pulse.unknown;
            if !(least..=most).contains(&held) {
                wrong.push(Wrong {
                    queue: queue.clone(),
                    held,
                    least,
                    most,
                });
            }
        }
        wrong
    }

    /// Acknowledged and unknown probes so far.
    pub(crate) fn counts(&self) -> (usize, u64) {
        let pulses = self.shared.pulses.iter().map(lock);
        pulses.fold((0, 0), |(acknowledged, unknown), pulse| {
            (acknowledged + pulse.answered.len(), unknown + pulse.unknown)
        })
    }

    fn end(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.end();
    }
}

async fn probe(shared: Arc<Shared>, shard: usize, queue: String, mut clients: Vec<Client>) {
    let mut ticks = tokio::time::interval(shared.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = shard;
    while !shared.stop.load(Ordering::Relaxed) {
        ticks.tick().await;
        if shared.rests.load(Ordering::Relaxed) {
            lock(&shared.pulses[shard]).end_silence(false);
            continue;
        }
        lock(&shared.pulses[shard])
            .silent_since
            .get_or_insert_with(Instant::now);
        turn += 1;
        if turn % clients.len() + 1 == shared.avoided.load(Ordering::Relaxed) {
            turn += 1;
        }
        let node = turn % clients.len();
        let asked = Instant::now();
        let sent = clients[node].send(&queue, "probe", 0).await;
        if let Err(error) = &sent {
            shared.failures.note(error);
        }
        let mut pulse = lock(&shared.pulses[shard]);
        match sent {
            Ok(_) => {
                pulse.answered.push((Instant::now(), asked));
                pulse.end_silence(true);
            }
            Err(Error::Unknown(_)) => pulse.unknown += 1,
            Err(_) => {}
        }
    }
}

async fn queues_on_all_shards(doors: &Doors, shards: u16) -> Vec<String> {
    let mut client = clients(doors, Duration::from_secs(10)).swap_remove(0);
    let mut found = BTreeMap::new();
    for number in 0..NAMES_MAX {
        let name = format!("probe-{number}");
        let settings = QueueSettings::default();
        client.create_queue(&name, &settings).await.unwrap();
        let sent = client.send(&name, "first", 0).await.unwrap();
        let id: u64 = sent.msg_id.parse().unwrap();
        found.entry(id >> SHARD_FROM_BIT).or_insert(name);
        if found.len() == usize::from(shards) {
            return found.into_values().collect();
        }
    }
    panic!("only these shards have queues: {:?}", found.keys());
}

fn clients(doors: &Doors, patience: Duration) -> Vec<Client> {
    let client = |endpoint: &String| {
        let client = Client::new(endpoint, doors.key_id, doors.secret).unwrap();
        client.with_patience(patience)
    };
    doors.endpoints.iter().map(client).collect()
}

fn lock(pulse: &Mutex<Pulse>) -> std::sync::MutexGuard<'_, Pulse> {
    pulse.lock().unwrap_or_else(PoisonError::into_inner)
}
