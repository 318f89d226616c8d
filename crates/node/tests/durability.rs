//! What is acknowledged stays, through restarts and recycled log files; a full disk refuses sends.

use std::fs;

use anser_broker::error::Error;

use crate::house::{House, bodies};

#[tokio::test]
async fn queues_messages_and_leases_survive_a_restart() {
    let mut house = House::new();
    house.create("orders").await;
    house.create("payments").await;
    for body in ["a", "b", "c"] {
        house.send("orders", body).await.unwrap();
    }
    let leased = house.receive("orders", 1).await;
    let deleted = house.receive("orders", 1).await;
    assert_eq!(house.delete("orders", &deleted).await, [Ok(())]);
    house.restart();
    assert_eq!(bodies(&house.receive("orders", 10).await), ["c"]);
    assert_eq!(
        house.delete("orders", &deleted).await,
        [Err(Error::ReceiptInvalid)]
    );
    assert_eq!(house.delete("orders", &leased).await, [Ok(())]);
    assert_eq!(house.counts("payments").await.ready, 0);
    assert_eq!(house.send("nowhere", "x").await, Err(Error::NoSuchQueue));
}

/// What the hook of a panic writes down: three times the same entry of a shard has ended the process.
const CRASHES: &str = r#"{"version": 1, "program": "VERSION", "shards": {"1": {"index": 1000, "times": 3, "panic": "a bug"}}}"#;

#[tokio::test]
async fn a_server_for_itself_serves_the_other_shards_when_one_is_given_up() {
    let mut house = House::with(|config| config.shards = 2);
    let crashes = house.config.data.join("crashes.json");
    let names: Vec<String> = (0..4).map(|number| format!("queue-{number}")).collect();
    for name in &names {
        house.create(name).await;
        house.send(name, "kept").await.unwrap();
    }
    fs::write(
        &crashes,
        CRASHES.replace("VERSION", env!("CARGO_PKG_VERSION")),
    )
    .unwrap();
    house.restart();
    let mut served = 0;
    for name in &names {
        served += usize::from(house.send(name, "more").await.is_ok());
    }
    assert_eq!(served, 2, "new queues go to the shards in turns");
    fs::remove_file(&crashes).unwrap();
    house.restart();
    for name in &names {
        assert_eq!(bodies(&house.receive(name, 1).await), ["kept"]);
    }
}

#[tokio::test]
async fn a_backlog_outlives_the_log_files_it_was_written_to() {
    let mut house = House::new();
    house.create("old").await;
    house.create("busy").await;
    for number in 0..200 {
        house.send("old", &format!("old {number}")).await.unwrap();
    }
    // Many times the log's budget passes through, consumed at once.
    let body = "x".repeat(16 << 10);
    while house.node.status().snapshots < 12 {
        house.send("busy", &body).await.unwrap();
        let received = house.receive("busy", 1).await;
        assert_eq!(house.delete("busy", &received).await, [Ok(())]);
    }
    let budget = house.config.wal_budget_bytes + house.config.wal_file_bytes;
    house
        .until_status(|status| status.wal_bytes <= budget)
        .await;
    let status = house.node.status();
    assert!(
        status.kept_bytes < 64 << 10,
        "only the backlog is copied: {status:?}"
    );
    house.restart();
    for number in 0..200 {
        let received = house.receive("old", 1).await;
        assert_eq!(bodies(&received), [format!("old {number}")]);
        assert_eq!(house.delete("old", &received).await, [Ok(())]);
    }
    assert_eq!(house.counts("old").await.ready, 0);
}

#[tokio::test]
async fn a_segment_goes_when_nothing_in_it_is_alive() {
    let house = House::new();
    house.create("backlog").await;
    let body = "x".repeat(16 << 10);
    while house.node.status().segment_bytes < 1 << 20 {
        house.send("backlog", &body).await.unwrap();
    }
    loop {
        let received = house.receive("backlog", 16).await;
        if received.is_empty() {
            break;
        }
        house.delete("backlog", &received).await;
    }
    house.until_status(|status| status.segment_bytes == 0).await;
}

#[tokio::test]
async fn damage_at_rest_is_found_before_anybody_asks_for_it() {
    let house = House::new();
    house.create("backlog").await;
    let body = "x".repeat(16 << 10);
    while house.node.status().segment_bytes < 1 << 20 {
        house.send("backlog", &body).await.unwrap();
    }
    house
        .until_status(|status| status.scrubbed_bytes >= 1 << 20)
        .await;
    assert_eq!(house.node.status().scrub_errors, 0);
    let segment = largest_file(&house.config.data.join("shards"));
    let mut bytes = std::fs::read(&segment).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    house.until_status(|status| status.scrub_errors > 0).await;
    assert!(house.node.status().ready, "the rest is served");
}

fn largest_file(folder: &std::path::Path) -> std::path::PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let entry = entry.expect("an entry");
            let kind = entry.metadata().expect("a file");
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                files.push((kind.len(), entry.path()));
            }
        }
    }
    files.sort();
    files.pop().expect("there are files").1
}

#[tokio::test]
async fn a_full_disk_refuses_sends_and_nothing_else() {
    let mut house = House::new();
    house.create("orders").await;
    house.send("orders", "a").await.unwrap();
    house.config.reserve_bytes = u64::MAX;
    house.restart();
    house.until_status(|status| status.storage_full).await;
    assert_eq!(house.send("orders", "b").await, Err(Error::StorageFull));
    let received = house.receive("orders", 10).await;
    assert_eq!(bodies(&received), ["a"]);
    assert_eq!(house.delete("orders", &received).await, [Ok(())]);
    house.config.reserve_bytes = 0;
    house.restart();
    house.send("orders", "c").await.unwrap();
    assert_eq!(bodies(&house.receive("orders", 10).await), ["c"]);
}

#[tokio::test]
async fn a_stopped_node_refuses() {
    let house = House::new();
    house.create("orders").await;
    house.node.shutdown();
    let error = house.send("orders", "a").await.unwrap_err();
    assert!(
        matches!(error, Error::Unavailable | Error::Unknown),
        "{error}"
    );
}
