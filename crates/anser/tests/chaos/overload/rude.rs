//! Clients that take without giving: connections that do not read, long polls without end, a byte a second. Others do not
//! notice.

use std::{
    io::Write,
    net::{SocketAddr, TcpStream},
    time::Duration,
};

use tokio::io::AsyncWriteExt;

use super::{
    NODES, at,
    offered::{connect, request},
    p99, probed, runtime, stage,
};
use crate::{
    chaos::{alone, say, served::Served},
    cluster::dev_cluster::DevCluster,
};

/// Over all nodes.
const POLLS: u32 = 9_000;
/// A node takes 2,000 connections from one address.
const POLLS_PER_ADDRESS: u32 = 1_500;
const NON_READERS: usize = 100;
/// Requests that each of them sends, whose answers are 60 KB together.
const UNREAD: usize = 400;
const WATCHED: Duration = Duration::from_secs(3);
/// What a probe may take more, on a machine that others use too.
const MARGIN: Duration = Duration::from_millis(250);

fn host(cluster: &DevCluster, node: u32) -> String {
    let endpoint = cluster.endpoint(u16::try_from(node).unwrap());
    endpoint.strip_prefix("http://").unwrap().to_owned()
}

#[test]
fn rude_clients_harm_nobody_else() {
    let _turn = alone();
    let folder = tempfile::tempdir().unwrap();
    let (cluster, queues) = stage(folder.path());
    probed(&cluster, &queues[0], WATCHED);
    let before = probed(&cluster, &queues[0], WATCHED);
    let check = |what: &str| {
        let times = probed(&cluster, &queues[0], WATCHED);
        say(&format!(
            "{what}: {} sends, p50 {:.1?}, p99 {:.1?}, longest {:.1?}",
            times.len(),
            at(&times, 50),
            p99(&times),
            at(&times, 100)
        ));
        let is_unharmed = p99(&times) <= p99(&before) * 3 + MARGIN;
        assert!(is_unharmed, "{what}; {}", cluster.logs());
    };
    check("alone");

    let runtime = runtime();
    let polls = runtime.block_on(idle_polls(&cluster, &queues[1]));
    check("9,000 idle long polls");
    drop(polls);

    let mut silent = Vec::new();
    for number in (0..u32::from(NODES)).cycle().take(NON_READERS) {
        let host = host(&cluster, number + 1);
        let mut stream = TcpStream::connect(&host).unwrap();
        stream
            .set_write_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let asked = request(&cluster.doors(), &host, &[("Action", "ListQueue")]);
        // The server does not read on when nobody reads its answers.
        stream.write_all(&asked.repeat(UNREAD)).ok();
        silent.push(stream);
    }
    check("100 connections that do not read");
    drop(silent);

    let host = host(&cluster, 1);
    let mut slow = TcpStream::connect(&host).unwrap();
    slow.set_nodelay(true).unwrap();
    let head = format!("POST /v2/index.php HTTP/1.1\r\nHost: {host}\r\n");
    let feeding = std::thread::spawn(move || {
        for byte in head.into_bytes().chunks(1).take(4) {
            slow.write_all(byte).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
    });
    check("a byte a second");
    feeding.join().unwrap();
    cluster.stop();
}

/// Long polls at a queue that stays empty.
async fn idle_polls(cluster: &DevCluster, queue: &str) -> Vec<tokio::net::TcpStream> {
    let mut polls = Vec::new();
    for node in 1..=u32::from(NODES) {
        let host = host(cluster, node);
        let parameters = [
            ("Action", "ReceiveMessage"),
            ("queueName", queue),
            ("pollingWaitSeconds", "30"),
        ];
        let asked = request(&cluster.doors(), &host, &parameters);
        let address: SocketAddr = host.parse().unwrap();
        for number in 0..POLLS / u32::from(NODES) {
            let from = usize::try_from(number / POLLS_PER_ADDRESS).unwrap();
            let mut stream = connect(from, address).await.unwrap();
            stream.write_all(&asked).await.unwrap();
            polls.push(stream);
        }
    }
    polls
}
