//! More than a cluster can do (C22, issue 11, point 5): it refuses in time what is too much, keeps its leaders, and is as
//! fast as before soon after.
//!
//! Capacity is what 64 connections to each node get done here and now; then three times as many requests come, whether or
//! not they are answered. `CHAOS_ROUNDS=10` makes that last for a minute.

mod offered;
mod rude;

use std::{
    thread,
    time::{Duration, Instant},
};

use anser::client::QueueSettings;

use self::offered::{Answered, Offered, Tally};
use super::{
    alone,
    nervous::{is_even, moves, terms},
    say,
    served::Served,
    story::seed_and_rounds,
    summary::Summary,
};
use crate::cluster::dev_cluster::{DevCluster, within};

const NODES: u16 = 3;
const QUEUES: usize = 12;
const EVEN_WITHIN: Duration = Duration::from_secs(60);
const BODY_BYTES: usize = 512;
/// To each node, while it is asked for what it can.
const CONNECTIONS: usize = 64;
/// To each node at most: clients have so many, and each waits for its answer.
const CONNECTIONS_MAX: usize = 3_000;
const MEASURED: Duration = Duration::from_secs(2);
/// In each round.
const OVERLOAD: Duration = Duration::from_secs(6);
const TIMES: f64 = 3.0;
/// Of what it can.
const USUAL: f64 = 0.5;
/// The promise of C22.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);
/// How long anybody waits at most, answered or refused. A machine that others use too gets more than the promise.
const WAIT_MAX: Duration = Duration::from_secs(20);
/// About as long as anybody waits who is let in.
const UNHURRIED: Duration = Duration::from_secs(2);
const OK: i64 = 0;
const BUSY: i64 = 4420;

/// A cluster of which every node leads about as much, with some queues.
fn stage(folder: &std::path::Path) -> (DevCluster, Vec<String>) {
    let mut cluster = DevCluster::new(folder, NODES);
    cluster.start();
    cluster.wait_for_copies();
    assert!(
        within(EVEN_WITHIN, || is_even(&cluster)),
        "{}",
        cluster.logs()
    );
    let queues: Vec<String> = (0..QUEUES).map(|number| format!("load-{number}")).collect();
    let runtime = runtime();
    let mut client = cluster.client(1);
    let settings = QueueSettings::default();
    for queue in &queues {
        runtime
            .block_on(client.create_queue(queue, &settings))
            .unwrap();
    }
    (cluster, queues)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

#[test]
#[ignore = "by command: scripts/chaos overload"]
fn three_times_too_much_is_refused_in_time_and_all_is_well_soon_after() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let (seed, rounds) = seed_and_rounds("overload", 1);
    let (cluster, queues) = stage(folder.path());
    let runtime = runtime();
    let offered = || Offered::new(&cluster.doors(), &queues, &"x".repeat(BODY_BYTES));
    let (moved, elected) = (moves(&cluster).len(), terms(&cluster));
    let first = runtime.block_on(offered().at_capacity(CONNECTIONS, MEASURED));
    let full = runtime.block_on(offered().at_capacity(CONNECTIONS, MEASURED));
    let capacity = per_second(full.times(OK).len(), MEASURED);
    let usual = runtime.block_on(offered().at_rate(capacity * USUAL, CONNECTIONS_MAX, MEASURED));
    say(&described("at capacity", &full, MEASURED));
    say(&described("at half of it", &usual, MEASURED));
    let length = OVERLOAD * u32::try_from(rounds).unwrap();
    let over = runtime.block_on(offered().at_rate(capacity * TIMES, CONNECTIONS_MAX, length));
    let ended = Instant::now();
    say(&described("at three times", &over, length));
    let mut acknowledged: usize = [&first, &full, &usual, &over]
        .map(|tally| tally.times(OK).len())
        .iter()
        .sum();
    let recovered = loop {
        let second = Duration::from_secs(1);
        let again = runtime.block_on(offered().at_rate(capacity * USUAL, CONNECTIONS_MAX, second));
        acknowledged += again.times(OK).len();
        let is_well =
            p99(&again.times(OK)) <= p99(&usual.times(OK)) * 2 + Duration::from_millis(50);
        if is_well && again.besides(&[OK]).is_empty() {
            break ended.elapsed().saturating_sub(second);
        }
        assert!(
            ended.elapsed() < RECOVERED_WITHIN,
            "{}",
            described("then", &again, second)
        );
    };
    let (moved, elected) = (moves(&cluster).len() - moved, terms(&cluster) - elected);
    say(&format!(
        "well again {recovered:.1?} after it; {moved} leaders moved by placement, {elected} terms"
    ));
    let longest = over.answered.iter().map(|one| one.took).max();
    let others = over.besides(&[OK, BUSY]);
    let lost = (acknowledged as u64).saturating_sub(held(&cluster, &queues));
    say_summary((seed, rounds), (acknowledged, others.len(), lost), longest);
    assert_eq!(lost, 0, "{}", cluster.logs());
    assert!(
        others.is_empty(),
        "{} {:?}; {}",
        others.len(),
        &others[..others.len().min(3)],
        cluster.logs()
    );
    assert!(
        longest.unwrap() < WAIT_MAX,
        "{longest:?}; {}",
        cluster.logs()
    );
    // A machine that is fast enough for so many connections has nothing to refuse.
    let refuses = !over.times(BUSY).is_empty() || p99(&over.times(OK)) < UNHURRIED;
    assert!(refuses, "nothing was refused");
    assert_eq!((moved, elected), (0, 0), "{}", cluster.logs());
    cluster.stop();
}

fn say_summary(
    (seed, rounds): (u64, u64),
    (acknowledged, unknown, lost): (usize, usize, u64),
    longest: Option<Duration>,
) {
    let summary = Summary {
        name: "overload".to_owned(),
        seed,
        rounds,
        acknowledged: acknowledged as u64,
        unknown: unknown as u64,
        lost,
        violations: lost,
        longest_gap: longest,
    };
    summary.say();
}

/// How many messages wait in these queues.
fn held(cluster: &DevCluster, queues: &[String]) -> u64 {
    let mut client = cluster.client(1);
    let runtime = runtime();
    let counts = queues.iter().map(|queue| {
        let queue = runtime.block_on(client.queue(queue)).unwrap();
        queue.active_msg_num
    });
    counts.sum()
}

fn per_second(count: usize, length: Duration) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / length.as_secs_f64()
}

fn described(what: &str, tally: &Tally, length: Duration) -> String {
    let (done, refused) = (tally.times(OK), tally.times(BUSY));
    let others: Vec<Answered> = tally.besides(&[OK, BUSY]);
    let per_second = |count: usize| per_second(count, length);
    format!(
        "{what}: {:.0} a second done, p50 {:.0?}, p99 {:.0?}, longest {:.0?}; {:.0} a second refused, p50 {:.0?}, p99 {:.0?}, \
         longest {:.0?}; {} others; {} held back",
        per_second(done.len()),
        at(&done, 50),
        p99(&done),
        at(&done, 100),
        per_second(refused.len()),
        at(&refused, 50),
        p99(&refused),
        at(&refused, 100),
        others.len(),
        tally.held_back,
    )
}

fn p99(times: &[Duration]) -> Duration {
    at(times, 99)
}

/// So many of a hundred took no longer, of times in order.
fn at(times: &[Duration], percent: usize) -> Duration {
    let place = times.len().saturating_sub(1) * percent / 100;
    times.get(place).copied().unwrap_or_default()
}

/// How long a small send takes while something else happens, in order.
fn probed(cluster: &DevCluster, queue: &str, length: Duration) -> Vec<Duration> {
    const PAUSE: Duration = Duration::from_millis(10);
    let runtime = runtime();
    let mut clients: Vec<_> = (1..=NODES).map(|node| cluster.client(node)).collect();
    let until = Instant::now() + length;
    let mut times = Vec::new();
    for number in 0.. {
        if Instant::now() >= until {
            break;
        }
        let client = &mut clients[number % usize::from(NODES)];
        let asked = Instant::now();
        runtime.block_on(client.send(queue, "probe", 0)).unwrap();
        times.push(asked.elapsed());
        thread::sleep(PAUSE);
    }
    times.sort_unstable();
    times
}
