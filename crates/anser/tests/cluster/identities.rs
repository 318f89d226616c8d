//! Which server is which node: one that comes back with another address, a copy of one, and one that was removed.

use std::collections::BTreeSet;

use anser::client::QueueSettings;

use super::servers::{Ports, Servers};
use crate::ports;

const NODES: [&str; 3] = ["one", "two", "three"];

/// Ports for each of the nodes, and those of all for other nodes.
fn places() -> ([Ports; 3], Vec<u16>) {
    let free = ports::free(9);
    let places = [0, 3, 6].map(|at| Ports {
        api: free[at],
        admin: free[at + 1],
        peers: free[at + 2],
    });
    (places, places.iter().map(|ports| ports.peers).collect())
}

/// Three nodes, with three copies of everything and a message in a queue.
fn cluster(folder: &std::path::Path) -> (Servers, [Ports; 3], Vec<u16>) {
    let mut servers = Servers::new(folder);
    let (places, join) = places();
    for (name, ports) in NODES.into_iter().zip(places) {
        servers.settle(name, ports, &join);
    }
    servers.form("one");
    for name in NODES {
        servers.start(name);
    }
    servers.wait_for_copies("one", 3);
    // Leaders may still move: then nobody knows whether it was made.
    servers.wait_until("the queue is made", || {
        let mut client = servers.client("one");
        let settings = QueueSettings::default();
        let made = runtime().block_on(client.create_queue("orders", &settings));
        made.map_or_else(|error| error.to_string().contains("exist"), |_| true)
    });
    send(&servers, "one", "before");
    (servers, places, join)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

/// Sends a message as soon as that works.
fn send(servers: &Servers, name: &str, body: &str) {
    servers.wait_until("a message is sent", || {
        let mut client = servers.client(name);
        runtime().block_on(async { client.send("orders", body, 0).await.is_ok() })
    });
}

fn receive(servers: &Servers, name: &str) -> Option<String> {
    let mut client = servers.client(name);
    runtime().block_on(async {
        let received = client.receive("orders", Some(2)).await.ok()??;
        let handle = &received.receipt_handle;
        client.delete("orders", handle).await.ok();
        Some(received.msg_body)
    })
}

/// The address that the catalog knows of a node, as a server sees it.
fn address(servers: &Servers, by: &str, node: u64) -> Option<String> {
    let status = servers.status(by)?;
    let node = status.nodes.into_iter().find(|known| known.node == node);
    node.map(|node| node.address)
}

/// Users' cases, F2: a node with another address never came back, and three served nobody.
#[test]
fn nodes_whose_addresses_have_changed_find_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, places, join) = cluster(folder.path());

    // One of them, and nobody is told.
    servers.stop("three");
    let moved = Ports {
        peers: ports::free(1)[0],
        ..places[2]
    };
    servers.settle("three", moved, &join);
    servers.start("three");
    let expected = format!("127.0.0.1:{}", moved.peers);
    servers.wait_until("the catalog knows the address", || {
        address(&servers, "one", 3).as_ref() == Some(&expected)
    });
    send(&servers, "three", "one has moved");

    // All of them at once, as on a new network.
    for name in NODES {
        servers.stop(name);
    }
    let peers = ports::free(3);
    for ((name, ports), &port) in NODES.into_iter().zip(places).zip(&peers) {
        let ports = Ports {
            peers: port,
            ..ports
        };
        servers.settle(name, ports, &peers);
    }
    for name in NODES {
        servers.begin(name);
    }
    for name in NODES {
        servers.wait_until_ready(name);
    }
    send(&servers, "two", "all have moved");
    for (node, port) in (1..).zip(&peers) {
        let expected = format!("127.0.0.1:{port}");
        servers.wait_until("the catalog knows all addresses", || {
            address(&servers, "three", node).as_ref() == Some(&expected)
        });
    }
    // A send that nobody knew the fate of was repeated, so a message may be there twice.
    let expected = ["all have moved", "before", "one has moved"].map(String::from);
    let mut bodies = BTreeSet::new();
    for name in NODES.into_iter().cycle().take(30) {
        bodies.extend(receive(&servers, name));
        if bodies.len() >= expected.len() {
            break;
        }
    }
    assert_eq!(bodies, BTreeSet::from(expected));
}

/// Core review, finding 5, and users' cases, F3: a node that was restored from a backup voted again, and a copied folder
/// beside its original crippled both.
#[test]
fn a_copy_of_a_node_harms_itself_only() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, places, join) = cluster(folder.path());
    let (copies, _) = self::places();

    // The original is connected: its place is taken.
    servers.copy("three", "copy");
    servers.settle("copy", copies[0], &join);
    servers.begin("copy");
    assert_eq!(servers.end("copy").code(), Some(75), "{}", servers.logs());
    let holder = format!("127.0.0.1:{}", places[2].peers);
    let log = servers.log("copy");
    assert!(log.contains("another process of node 3"), "{log}");
    assert!(log.contains(&holder), "{log}");
    let logs = servers.log("one") + &servers.log("two");
    let told = |line: &&str| line.contains("one more process of a node was refused");
    let line = logs.lines().find(told).expect("who refused it says so");
    assert!(line.contains(&holder), "{line}");
    send(&servers, "three", "with a copy");

    // The original is killed, and gets in again.
    servers.kill("three");
    servers.start("three");
    servers.wait_until_registered("three");

    // It has been started since the copy was made: that is none of the cluster's any more, running or not.
    servers.kill("three");
    for _ in 0..2 {
        servers.begin("copy");
        assert_eq!(servers.end("copy").code(), Some(76), "{}", servers.logs());
    }
    let log = servers.log("copy");
    assert!(log.contains("old copy of that of node 3"), "{log}");
    servers.start("three");
    send(&servers, "three", "without the copy");
}

/// Users' cases, D6: it ran on and was never ready.
#[test]
fn a_removed_node_says_so_and_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, _, _) = cluster(folder.path());
    servers.kill("three");
    // Refused while a shard looks for a leader, and while the copies of the node are made anew elsewhere.
    servers.wait_until("the node is removed", || {
        let removed = servers.run(&["cluster", "remove", "3"], "one");
        removed.status.success()
    });
    servers.begin("three");
    assert_eq!(servers.end("three").code(), Some(78), "{}", servers.logs());
    let log = servers.log("three");
    assert!(log.contains("node 3 was removed from the cluster"), "{log}");
}

/// A new cluster with data of an old one would go its own way; and a repair could lose what the others count on.
#[test]
fn a_node_that_lost_its_identity_or_its_keys_is_told_what_helps_or_helped_by_others() {
    let folder = tempfile::tempdir().unwrap();
    let (mut servers, ..) = cluster(folder.path());
    let refusal = |servers: &Servers, words: &[&str], code: i32| {
        let output = servers.run(words, "two");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{words:?}: {errors}");
        errors
    };
    servers.stop("two");
    let said = refusal(&servers, &["repair", "--yes"], 78);
    assert!(said.contains("start the node"), "{said}");
    std::fs::remove_file(folder.path().join("two/node.json")).unwrap();
    servers.begin("two");
    assert_eq!(servers.end("two").code(), Some(65));
    for said in [
        servers.log("two"),
        refusal(&servers, &["cluster", "form"], 65),
    ] {
        for text in ["1, 2 and 3", "anser cluster remove N", "Do not form"] {
            assert!(said.contains(text), "{text}: {said}");
        }
    }
    let said = refusal(&servers, &["repair", "--yes"], 78);
    assert!(said.contains("is that of a node of a cluster"), "{said}");

    // The first node's are those of the cluster only if no other has any.
    let keys = folder.path().join("one/keys.anser");
    servers.stop("one");
    std::fs::write(&keys, "damaged").unwrap();
    servers.start("one");
    assert_eq!(
        std::fs::read_to_string(keys.with_extension("anser.damaged")).unwrap(),
        "damaged"
    );
    send(&servers, "one", "with the key that the others have");
    send(&servers, "three", "and they have it still");
}
