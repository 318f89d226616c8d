//! A node of three that the other two cannot reach: they go on, and it acknowledges nothing.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anser::{
    client::{Client, QueueSettings},
    cluster::{self, view::Cluster},
    config::Config,
};

use super::{
    Folder, alone, folder,
    namespaces::{Network, Processes},
    node_kill::{
        NODES, SHARDS, WHOLE_WITHIN, is_whole, led, note_outage, spread, wait_until_whole,
    },
    probes::Probes,
    say,
    served::{Doors, Nodes, Served},
    server::{KEY_ID, SECRET, place_in},
    skipped,
    story::{QUEUES, Story},
    summary::conclude,
};
use crate::cluster::dev_cluster::{ask_admin, within};

const ISOLATION: Duration = Duration::from_secs(10);
/// The promise is 3 s; a machine that others use too gets more.
const GAP_MAX: Duration = Duration::from_secs(15);
/// What a node that does not answer costs a probe.
const IMPATIENT: Duration = Duration::from_millis(300);
const READY_WITHIN: Duration = Duration::from_secs(60);
/// Queues that the isolated node is asked to send to.
const ASKED: usize = 8;

/// Three machines with a node each.
pub(crate) struct Machines {
    folder: Folder,
    // Ended before the machines are taken away.
    _nodes: Processes,
    pub(crate) network: Network,
}

impl Machines {
    pub(crate) fn start() -> Result<Self, String> {
        let network = Network::new(NODES)?;
        let folder = folder();
        let mut place = place_in(folder.path());
        place.data = folder.path().join("data-1");
        fs::create_dir_all(&place.home).unwrap();
        place.make_key();
        let token = folder.path().join("token");
        let mut made = std::process::Command::new(env!("CARGO_BIN_EXE_anser"));
        let made = made
            .args(["cluster", "token"])
            .arg(&token)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        let mut nodes = Processes::default();
        for node in 1..=NODES {
            let (inner, outer) = (Network::inner(node), Network::outer(node));
            let first = Network::inner(1);
            let text = format!(
                "data = \"data-{node}\"\n[api]\nlisten = \"{outer}:9324\"\n[admin]\n\
                 listen = \"{outer}:9325\"\n[cluster]\nlisten = \"{inner}:9326\"\n\
                 token_file = \"token\"\nhost = \"machine-{node}\"\njoin = [\"{first}:9326\"]\n"
            );
            let file = folder.path().join(format!("node-{node}.toml"));
            fs::write(&file, text).unwrap();
            if node == 1 {
                cluster::form(&Config::read(&file).unwrap()).unwrap();
            }
            let errors = fs::File::create(folder.path().join(format!("node-{node}.log"))).unwrap();
            let mut command = network.command(node, &place.home, errors);
            let child = command.arg("serve").arg("--config").arg(file).spawn();
            nodes.0.push(child.unwrap());
            let machines = || ask_admin(&admin(node), "/cluster").is_some();
            assert!(within(READY_WITHIN, machines), "node {node} does not start");
        }
        Ok(Self {
            folder,
            _nodes: nodes,
            network,
        })
    }
}

impl Served for Machines {
    fn doors(&self) -> Doors {
        Doors {
            endpoints: (1..=NODES).map(endpoint).collect(),
            key_id: KEY_ID,
            secret: SECRET,
        }
    }

    fn logs(&self) -> String {
        let log = |node| {
            let path = self.folder.path().join(format!("node-{node}.log"));
            let text = fs::read_to_string(path).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(20)..].join("\n");
            format!("\n== node {node}\n{tail}")
        };
        (1..=NODES).map(log).collect()
    }
}

impl Nodes for Machines {
    fn status(&self, node: u16) -> Option<Cluster> {
        let body = ask_admin(&admin(node), "/cluster")?;
        Some(serde_json::from_str(&body).unwrap())
    }
}

fn endpoint(node: u16) -> String {
    format!("http://{}:9324", Network::outer(node))
}

fn admin(node: u16) -> String {
    format!("{}:9325", Network::outer(node))
}

#[test]
fn the_majority_goes_on_and_the_isolated_node_acknowledges_nothing() {
    let _turn = alone();
    let machines = match Machines::start() {
        Ok(machines) => machines,
        Err(why) => return skipped("a partition of the network", &why),
    };
    let numbers =
        || (1..=NODES).all(|node| machines.status(node).is_some_and(|one| is_whole(&one)));
    assert!(
        within(WHOLE_WITHIN, numbers),
        "{:?}; {}",
        machines.status(1),
        machines.logs()
    );
    let story = Story::new("partition", 1);
    story.create_queues(&machines);
    let asked: Vec<String> = (0..ASKED).map(|number| format!("asked-{number}")).collect();
    make_queues(&asked);
    let probes = Probes::start(&machines, SHARDS, IMPATIENT);
    let (mut led_gaps, mut other_gaps) = (Vec::new(), Vec::new());
    for _ in 0..story.rounds() {
        wait_until_whole(&machines, &probes);
        let running = story.run(&machines);
        let leads = |node: &u16| led(&machines.status(*node).unwrap()).len();
        let most = (1..=NODES).max_by_key(leads);
        let victim = most.expect("there are nodes");
        probes.go(victim);
        thread::sleep(Duration::from_secs(2));
        let before = machines.status(victim).unwrap();
        let led = led(&before);
        let (died, fell) = (story.load.recorder.now(), Instant::now());
        machines.network.cut(victim);
        let acknowledged = ask_alone(victim, &asked, fell + ISOLATION);
        let (silent, gaps) = (probes.silent_since(fell), probes.gaps(fell));
        let during = machines.status(victim % NODES + 1).unwrap();
        machines.network.mend(victim);
        assert!(silent.is_empty(), "{silent:?}; {}", machines.logs());
        assert_eq!(acknowledged, 0, "the isolated node says that it has sent");
        for (shard, gap) in (0..).zip(gaps) {
            let gaps = if led.contains(&shard) {
                &mut led_gaps
            } else {
                &mut other_gaps
            };
            gaps.push(gap);
        }
        running.join();
        wait_until_whole(&machines, &probes);
        note_outage(&story.load, died, &QUEUES);
        let after = machines.status(victim).unwrap();
        say_terms(victim, [&before, &during, &after]);
    }
    say(&format!(
        "not served, shards that it led: {}",
        spread(&led_gaps)
    ));
    say(&format!(
        "not served, other shards: {}",
        spread(&other_gaps)
    ));
    conclude(story, Some(probes), &machines);
    let longest = led_gaps.iter().chain(&other_gaps).max().unwrap();
    assert!(*longest < GAP_MAX, "a shard was not served for {longest:?}");
}

/// A node that hears nobody must not drive the terms up.
fn say_terms(victim: u16, seen: [&Cluster; 3]) {
    let terms = |cluster: &Cluster| cluster.shards.iter().map(|shard| shard.term).sum::<u64>();
    let [before, during, after] = seen.map(terms);
    say(&format!(
        "machine {victim} isolated; terms of all shards together: {before} before, {during} meanwhile, \
         {after} after"
    ));
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn make_queues(names: &[String]) {
    let mut client = Client::new(&endpoint(1), KEY_ID, SECRET).unwrap();
    runtime().block_on(async {
        for name in names {
            let settings = QueueSettings::default();
            client.create_queue(name, &settings).await.unwrap();
        }
    });
}

/// Sends through one node only, until then; how often it said that it was done.
fn ask_alone(node: u16, queues: &[String], until: Instant) -> usize {
    runtime().block_on(async {
        let mut tasks = tokio::task::JoinSet::new();
        for queue in queues {
            let queue = queue.clone();
            tasks.spawn(async move {
                let client = Client::new(&endpoint(node), KEY_ID, SECRET).unwrap();
                let mut client = client.with_patience(Duration::from_secs(1));
                let mut acknowledged = 0;
                while Instant::now() < until {
                    acknowledged += usize::from(client.send(&queue, "alone", 0).await.is_ok());
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                acknowledged
            });
        }
        tasks.join_all().await.into_iter().sum()
    })
}
