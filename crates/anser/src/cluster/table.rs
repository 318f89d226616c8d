//! The cluster as a table for people.

use std::fmt::Write;

use super::view::{Cluster, Node, Shard};

/// What `anser cluster status` prints.
pub fn page(cluster: &Cluster) -> String {
    let Some(id) = &cluster.cluster else {
        return "this node is in no cluster".into();
    };
    let mut page = format!("cluster {id}, as node {} knows it\n", cluster.node);
    page.push_str(&version(cluster));
    let nodes = cluster.nodes.iter().map(node_row).collect();
    add_table(&mut page, NODE_HEAD, nodes);
    let shards = cluster.shards.iter().map(shard_row).collect();
    add_table(&mut page, SHARD_HEAD, shards);
    let damaged = cluster.nodes.iter().flat_map(|node| {
        let damaged = node.damaged.iter();
        damaged.map(|one| {
            vec![
                node.node.to_string(),
                one.shard.to_string(),
                one.what.clone(),
            ]
        })
    });
    let damaged: Vec<Vec<String>> = damaged.collect();
    if !damaged.is_empty() {
        add_table(&mut page, &["damaged on node", "shard", "what"], damaged);
    }
    let differences = cluster.differences.iter();
    let differences: Vec<Vec<String>> = differences
        .map(|one| vec![one.shard.to_string(), one.what.clone()])
        .collect();
    if !differences.is_empty() {
        add_table(&mut page, &["differs in shard", "how"], differences);
    }
    if cluster.moves.is_empty() {
        page.push_str("\nnothing is moving");
    } else {
        let moves = cluster.moves.iter();
        let rows = moves.map(|one| vec![one.shard.to_string(), one.what.clone(), one.why.clone()]);
        add_table(&mut page, &["moving shard", "what", "why"], rows.collect());
        page.truncate(page.trim_end().len());
    }
    page
}

/// The version at which the cluster works, and who keeps it there.
fn version(cluster: &Cluster) -> String {
    let active = cluster.version;
    if cluster.held_back_by.is_empty() {
        return format!("version {active}\n");
    }
    let known = cluster.nodes.iter().filter_map(|node| node.version);
    let highest = known.max().unwrap_or(active);
    let holders = list(&cluster.held_back_by);
    let nodes = match cluster.held_back_by.len() {
        1 => "node",
        _ => "nodes",
    };
    format!("version {active}; {highest} when {nodes} {holders} can read it too\n")
}

const NODE_HEAD: &[&str] = &[
    "node", "address", "host", "zone", "state", "up", "heard", "reads", "replicas", "leaders",
    "data", "free", "sync",
];

fn node_row(node: &Node) -> Vec<String> {
    let heard = node.heard_millis_ago.map_or("-".into(), duration);
    vec![
        node.node.to_string(),
        node.address.clone(),
        or_dash(&node.host),
        or_dash(&node.zone),
        node.state.clone(),
        if node.up { "yes" } else { "no" }.into(),
        heard,
        node.version.map_or("-".into(), |known| known.to_string()),
        node.replicas.to_string(),
        node.leaders.to_string(),
        bytes(node.data_bytes),
        bytes(node.free_bytes),
        format!(
            "{}.{} ms",
            node.sync_micros / 1000,
            node.sync_micros % 1000 / 100
        ),
    ]
}

const SHARD_HEAD: &[&str] = &[
    "shard", "leader", "term", "voters", "learners", "data", "lag",
];

fn shard_row(shard: &Shard) -> Vec<String> {
    let mut voters = list(&shard.voters);
    if shard.joint {
        voters.push_str(" (changing)");
    }
    let data = shard.replicas.iter().map(|replica| replica.bytes).max();
    vec![
        shard.shard.to_string(),
        shard.leader.map_or("none".into(), |node| node.to_string()),
        shard.term.to_string(),
        voters,
        list(&shard.learners),
        bytes(data.unwrap_or(0)),
        lag(shard),
    ]
}

/// Who is behind the leader and by how many entries.
fn lag(shard: &Shard) -> String {
    let behind = shard.replicas.iter().filter_map(|replica| {
        let silent = if replica.active { "" } else { " (silent)" };
        let worth_saying = replica.lag > 0 || !replica.active;
        worth_saying.then(|| format!("node {}: {}{silent}", replica.node, replica.lag))
    });
    let behind: Vec<String> = behind.collect();
    or_dash(&behind.join(", "))
}

/// Columns as wide as their widest cell; the last one ends where its text does.
fn add_table(page: &mut String, head: &[&str], rows: Vec<Vec<String>>) {
    let head = head.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    page.push('\n');
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            write!(line, "{cell:<width$}  ").expect("a string takes all");
        }
        page.push_str(line.trim_end());
        page.push('\n');
    }
}

fn list(nodes: &[u64]) -> String {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    or_dash(&nodes.join(" "))
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.into()
}

fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..120_000 => format!("{} s", millis / 1_000),
        _ => format!("{} min", millis / 60_000),
    }
}

/// With one digit after the point, rounded down.
fn bytes(number: u64) -> String {
    const UNITS: [(&str, u32); 4] = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let unit = UNITS.iter().find(|(_, bits)| number >> bits > 0);
    let Some((name, bits)) = unit else {
        return format!("{number} B");
    };
    let tenths = (u128::from(number) * 10) >> bits;
    format!("{}.{} {name}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::view::tests::cluster;

    #[test]
    fn nodes_shards_and_moves_are_shown() {
        let expected = "\
cluster 5eed, as node 1 knows it
version 1; 2 when node 3 can read it too

node  address         host    zone  state   up   heard   reads  replicas  leaders  data     free     sync
1     127.0.0.1:9326  node-1  -     active  yes  -       2      2         1        3.0 GiB  1.4 KiB  0.8 ms
2     127.0.0.1:9336  node-2  -     active  yes  200 ms  2      2         1        3.0 GiB  1.4 KiB  0.8 ms
3     127.0.0.1:9346  node-3  -     active  no   300 ms  -      2         0        3.0 GiB  1.4 KiB  0.8 ms

shard  leader  term  voters          learners  data     lag
0      1       7     1 2             3         1.0 MiB  node 2: 12, node 3: 9 (silent)
1      none    7     1 2 (changing)  -         1.0 MiB  node 2: 12, node 3: 9 (silent)

damaged on node  shard  what
2                1      shards/00001/0000000000000007.segment is damaged at byte 64: index

differs in shard  how
0                 the state after entry 9 is 5 on 1, 3, and 6 on 2

moving shard  what              why
1             a copy to node 2  it has 1 of 3 copies";
        assert_eq!(page(&cluster()), expected);
    }

    #[test]
    fn what_is_not_there_is_said() {
        assert_eq!(page(&Cluster::default()), "this node is in no cluster");
        let mut still = cluster();
        still.moves.clear();
        still.held_back_by.clear();
        assert!(page(&still).contains("\nversion 1\n\n"));
        assert!(page(&still).ends_with("\n\nnothing is moving"));
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(u64::MAX), "16777215.9 TiB");
        assert_eq!(duration(999), "999 ms");
        assert_eq!(duration(119_999), "119 s");
        assert_eq!(duration(600_000), "10 min");
    }
}
