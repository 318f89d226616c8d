//! The life of a cluster on one machine: it is formed, a node is killed and brought back, all end.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anser::client::QueueSettings;

use super::dev_cluster::{DevCluster, ask_admin, within};

/// How long nobody may be served when a node is killed. The promise is 3 s (`docs/reliability.md` has what was measured); a
/// machine that others use too gets more.
const TAKEOVER: Duration = Duration::from_secs(10);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Sends and receives a message as soon as that works, and says how long it took.
fn time_to_serve(cluster: &DevCluster, node: u16, queue: &str) -> Duration {
    let begun = Instant::now();
    let mut client = cluster.client(node);
    runtime().block_on(async {
        loop {
            let sent = client.send(queue, "hello", 0).await;
            if sent.is_ok() {
                break;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "{sent:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        loop {
            if let Ok(Some(received)) = client.receive(queue, Some(1)).await {
                client
                    .delete(queue, &received.receipt_handle)
                    .await
                    .unwrap();
                break;
            }
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "nothing is received"
            );
        }
    });
    begun.elapsed()
}

#[test]
fn a_killed_node_stays_dead_until_it_is_started_and_the_others_serve() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = DevCluster::new(folder.path(), 3);
    cluster.start();
    cluster.wait_for_copies();
    let ids = [1, 2, 3].map(|node| cluster.process(node));
    assert!(
        !ids.contains(&cluster.parent_id()),
        "each node is a process"
    );
    let names: Vec<String> = (0..8).map(|number| format!("orders-{number}")).collect();
    runtime().block_on(async {
        for name in &names {
            let settings = QueueSettings::default();
            cluster
                .client(1)
                .create_queue(name, &settings)
                .await
                .unwrap();
        }
    });

    let number = cluster.number(2);
    cluster.kill(2);
    for node in [1, 3] {
        for name in &names {
            let took = time_to_serve(&cluster, node, name);
            assert!(
                took < TAKEOVER,
                "{name} by node {node}: {took:?}; {}",
                cluster.logs()
            );
        }
    }
    let down = || {
        let status = cluster.status(1).unwrap();
        status
            .nodes
            .iter()
            .any(|node| node.node == number && !node.up)
    };
    assert!(
        within(Duration::from_secs(60), down),
        "{:?}",
        cluster.status(1)
    );
    thread::sleep(Duration::from_secs(1));
    assert!(!Path::new(&format!("/proc/{}", ids[1])).exists());
    assert!(cluster.status(2).is_none(), "nobody starts it");

    cluster.restart(2);
    assert_ne!(cluster.process(2), ids[1]);
    for name in &names {
        time_to_serve(&cluster, 2, name);
    }
    let shown = cluster.run(&["cluster", "status"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    assert!(shown.status.success() && text.contains("\nnode "), "{text}");

    let ids = [1, 2, 3].map(|node| cluster.process(node));
    let files = [1, 2, 3].map(|node| cluster.data(node).join("anser.pid"));
    cluster.stop();
    for (id, file) in ids.iter().zip(files) {
        assert!(!Path::new(&format!("/proc/{id}")).exists(), "process {id}");
        assert!(!file.exists(), "{} stays", file.display());
    }
}

/// A figure of all shards that all nodes show together.
fn sum(cluster: &DevCluster, name: &str) -> u64 {
    let pages = (1..=3).filter_map(|node| ask_admin(&cluster.admin(node), "/metrics"));
    pages
        .map(|page| {
            let lines = page
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix("{shard="));
            lines
                .filter_map(|line| line.split_once("} ")?.1.parse::<u64>().ok())
                .sum::<u64>()
        })
        .sum()
}

#[test]
fn the_figures_of_queues_and_messages_add_up_over_nodes() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = DevCluster::new(folder.path(), 3);
    cluster.start();
    cluster.wait_for_copies();
    runtime().block_on(async {
        let mut client = cluster.client(1);
        for number in 0..6 {
            let queue = format!("sums-{number}");
            let settings = QueueSettings {
                visibility_timeout: Some(600),
                ..QueueSettings::default()
            };
            client.create_queue(&queue, &settings).await.unwrap();
            for _ in 0..5 {
                client.send(&queue, "hello", 0).await.unwrap();
            }
            assert!(client.receive(&queue, Some(1)).await.unwrap().is_some());
        }
    });
    let truth = [
        ("anser_queues", 6),
        ("anser_messages_ready", 24),
        ("anser_messages_leased", 6),
        ("anser_messages_sent_total", 30),
        ("anser_messages_received_total", 6),
    ];
    // A page may be older than the last request, and a leader may just move.
    let adds_up = || {
        truth
            .iter()
            .all(|(name, value)| sum(&cluster, name) == *value)
    };
    let shown = || truth.map(|(name, _)| (name, sum(&cluster, name)));
    assert!(within(Duration::from_secs(20), adds_up), "{:?}", shown());
    cluster.stop();
}

#[test]
fn a_parent_that_is_killed_leaves_the_nodes_running() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = DevCluster::new(folder.path(), 3);
    cluster.start();
    let parent = cluster.parent_id().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-9", &parent])
        .status();
    assert!(killed.unwrap().success());
    thread::sleep(Duration::from_millis(500));
    for node in 1..=3 {
        assert!(cluster.status(node).is_some(), "node {node} is gone");
    }
    // Dropping the cluster ends them.
}
