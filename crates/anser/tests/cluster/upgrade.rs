//! A cluster that works at a version until every node can read the next, and what cannot be used before.

use std::{
    process::Output,
    time::{Duration, Instant},
};

use super::dev_cluster::{DevCluster, within};

/// A node that is held counts as one whose program can read no more.
const HOLD: &str = "[cluster]\nversion_at_most = 1\n";
/// The exit code of what was told something impossible.
const MISCONFIGURED: i32 = 78;
/// Some seconds for all to agree, and an election for a node that was killed.
const PATIENCE: Duration = Duration::from_secs(40);

/// Lets a node say all that its program can read, from its next start on.
fn let_go(cluster: &DevCluster, node: u16) {
    cluster.resettle(node, |text| {
        let line = "version_at_most = 1\n";
        assert!(text.contains(line), "{text}");
        text.replace(line, "")
    });
}

/// Kills a node and starts it without the hold.
fn upgrade(cluster: &mut DevCluster, node: u16) {
    cluster.kill(node);
    let_go(cluster, node);
    cluster.restart(node);
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

fn create(cluster: &DevCluster, node: u16, name: &str) -> Output {
    let endpoint = cluster.endpoint(node);
    let words = ["topic", "create", name, "--acknowledge", "all"];
    cluster.run(&[&words[..], &["--endpoint", &endpoint]].concat())
}

fn assert_refused(cluster: &DevCluster) {
    for node in 1..=3 {
        let refused = create(cluster, node, "safe");
        assert!(!refused.status.success());
        let text = text(&refused);
        let reason = "not until every node of the cluster runs version 2";
        assert!(text.contains(reason), "{text}; {}", cluster.logs());
    }
    let endpoint = cluster.endpoint(1);
    let shown = cluster.run(&["topic", "show", "safe", "--endpoint", &endpoint]);
    assert!(!shown.status.success(), "nothing of it was made");
}

/// Whether every node works at this version and says that these hold it back.
fn works_at(cluster: &DevCluster, version: u32, held_back_by: &[u64]) -> bool {
    (1..=3).all(|node| {
        cluster.status(node).is_some_and(|status| {
            let all_heard = status.nodes.len() == 3 && status.nodes.iter().all(|node| node.up);
            all_heard && status.version == version && status.held_back_by == held_back_by
        })
    })
}

#[test]
fn a_cluster_rises_to_a_version_when_its_last_node_can_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = DevCluster::new(folder.path(), 3);
    cluster.settle(HOLD);
    cluster.start();
    cluster.wait_for_copies();
    assert!(within(PATIENCE, || works_at(&cluster, 1, &[])));
    assert_refused(&cluster);

    upgrade(&mut cluster, 1);
    upgrade(&mut cluster, 3);
    let last = [cluster.number(2)];
    assert!(
        within(PATIENCE, || works_at(&cluster, 1, &last)),
        "{:?}; {}",
        cluster.status(1),
        cluster.logs()
    );
    // Longer than all would have to agree, if the last one did.
    std::thread::sleep(Duration::from_secs(8));
    assert!(works_at(&cluster, 1, &last), "{:?}", cluster.status(1));
    assert_refused(&cluster);
    let shown = text(&cluster.run(&["cluster", "status"]));
    let line = format!("version 1; 2 when node {} can read it too", last[0]);
    assert!(shown.contains(&line), "{shown}");

    upgrade(&mut cluster, 2);
    assert!(
        within(PATIENCE, || works_at(&cluster, 2, &[])),
        "{:?}; {}",
        cluster.status(1),
        cluster.logs()
    );
    for node in 1..=3 {
        let name = format!("safe-{node}");
        let created = create(&cluster, node, &name);
        assert!(created.status.success(), "{}", text(&created));
        let endpoint = cluster.endpoint(4 - node);
        let shown = text(&cluster.run(&["topic", "show", &name, "--endpoint", &endpoint]));
        assert!(shown.contains("acknowledge         all"), "{shown}");
    }
    let shown = text(&cluster.run(&["cluster", "status"]));
    assert!(shown.contains("\nversion 2\n"), "{shown}");

    all_copies_answer(&mut cluster);

    // There is no way back.
    cluster.kill(2);
    cluster.resettle(2, |text| text.replacen("[cluster]\n", HOLD, 1));
    let refused = cluster.run(&["dev", "--nodes", "3", "--only", "2"]);
    assert!(!refused.status.success());
    assert_too_old(&cluster.log(2));
    // Nor does a node join whose program can read less.
    let refused = cluster.serve_as(2, "joiner");
    assert_eq!(refused.status.code(), Some(MISCONFIGURED));
    assert_too_old(&text(&refused));
    assert_eq!(cluster.status(1).unwrap().nodes.len(), 3);

    let_go(&cluster, 2);
    cluster.restart(2);
    assert!(within(PATIENCE, || works_at(&cluster, 2, &[])));
    cluster.stop();
}

/// A publish to a topic of that policy is answered only when every copy has it.
fn all_copies_answer(cluster: &mut DevCluster) {
    let by_first = |cluster: &DevCluster, words: &[&str]| {
        let endpoint = cluster.endpoint(1);
        cluster.run(&[words, &["--endpoint", &endpoint]].concat())
    };
    let done = |cluster: &DevCluster, words: &[&str]| {
        let output = by_first(cluster, words);
        assert!(output.status.success(), "{words:?}: {}", text(&output));
    };
    done(cluster, &["queue", "create", "inbox"]);
    done(cluster, &["topic", "create", "usual"]);
    for topic in ["usual", "safe-1"] {
        let words = ["subscription", "create", topic, "s", "--queue", "inbox"];
        done(cluster, &words);
        done(cluster, &["topic", "publish", topic, "hello"]);
    }
    cluster.kill(2);
    let publish = |topic| by_first(cluster, &["topic", "publish", topic, "hello"]);
    // Who led a shard may have been the node that is gone.
    assert!(within(PATIENCE, || publish("usual").status.success()));
    let begun = Instant::now();
    let unclear = publish("safe-1");
    assert!(!unclear.status.success());
    assert!(begun.elapsed() >= Duration::from_secs(8), "it waits");
    assert!(
        text(&unclear).contains("no clear answer"),
        "{}",
        text(&unclear)
    );
    cluster.restart(2);
    assert!(within(PATIENCE, || by_first(
        cluster,
        &["topic", "publish", "safe-1", "hello"]
    )
    .status
    .success()));
}

fn assert_too_old(said: &str) {
    let reason = "this cluster works at version 2, this program knows 2 and is held at 1";
    assert!(said.contains(reason), "{said}");
}
