//! Every number the server shows, with its name and meaning.
//!
//! `docs/operations.md` lists the same names; a test compares them.

use anser_api::HttpMetrics;
use anser_node::{ShardStatus, Status};
use prometheus_client::metrics::MetricType;

use crate::{certificate::Shown, process::Usage};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
}

impl Kind {
    pub(super) fn metric_type(self) -> MetricType {
        match self {
            Self::Counter => MetricType::Counter,
            Self::Gauge => MetricType::Gauge,
        }
    }
}

/// A number of `Of`: its name without `anser_` and, of a counter, without `_total`.
pub(super) struct Metric<Of> {
    pub(super) kind: Kind,
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) read: fn(&Of) -> u64,
}

const fn gauge<Of>(name: &'static str, help: &'static str, read: fn(&Of) -> u64) -> Metric<Of> {
    Metric {
        kind: Kind::Gauge,
        name,
        help,
        read,
    }
}

const fn counter<Of>(name: &'static str, help: &'static str, read: fn(&Of) -> u64) -> Metric<Of> {
    Metric {
        kind: Kind::Counter,
        name,
        help,
        read,
    }
}

pub(super) const NODE: &[Metric<Status>] = &[
    gauge("ready", "1 while every shard is served", |node| {
        node.ready.into()
    }),
    gauge("failed", "1 once the node met a fatal error", |node| {
        node.failure.is_some().into()
    }),
    gauge(
        "storage_full",
        "1 while sends are refused because the disk is nearly full",
        |node| node.storage_full.into(),
    ),
    gauge("free_bytes", "free space on the disk of the data", |node| {
        node.free_bytes
    }),
    gauge("wal_bytes", "size of the write-ahead log", |node| {
        node.wal_bytes
    }),
    gauge("segment_bytes", "size of the segments", |node| {
        node.segment_bytes
    }),
    counter(
        "appended_entries",
        "entries written to the write-ahead log",
        |node| node.appended_entries,
    ),
    counter(
        "appended_bytes",
        "bytes written to the write-ahead log",
        |node| node.appended_bytes,
    ),
    counter(
        "kept_bytes",
        "bytes copied from the write-ahead log to segments",
        |node| node.kept_bytes,
    ),
    counter("cache_hits", "entries read from memory", |node| {
        node.cache_hits
    }),
    counter("cache_misses", "entries read from disk", |node| {
        node.cache_misses
    }),
    counter("snapshots", "snapshots written", |node| node.snapshots),
    counter(
        "scrubbed_bytes",
        "bytes of segments, snapshots and log files that were verified, again each time round",
        |node| node.scrubbed_bytes,
    ),
    counter(
        "scrub_errors",
        "damaged places that were met, again each time round",
        |node| node.scrub_errors,
    ),
    counter(
        "mended",
        "damaged places that were mended with what other nodes have",
        |node| node.mended,
    ),
    counter(
        "body_errors",
        "reads of message bodies that failed: data that cannot be served",
        |node| node.body_errors,
    ),
    counter(
        "copies_begun",
        "copies of shards that began to be sent to other nodes",
        |node| node.copies.begun,
    ),
    counter(
        "copies_sent",
        "copies of shards that were sent as a whole",
        |node| node.copies.sent,
    ),
    counter(
        "copies_failed",
        "copies of shards that were given up by the sender",
        |node| node.copies.failed,
    ),
    counter(
        "copies_renewed",
        "copies of shards that came anew before they were here as a whole",
        |node| node.copies.renewed,
    ),
    counter(
        "copies_installed",
        "copies of shards that came and are in use",
        |node| node.copies.installed,
    ),
    counter(
        "copy_sent_bytes",
        "bytes of copies sent to other nodes",
        |node| node.copies.sent_bytes,
    ),
    counter(
        "copy_received_bytes",
        "bytes of copies that came from other nodes",
        |node| node.copied_bytes,
    ),
    counter(
        "wal_holds_lost",
        "times that log was used again although a follower needed it",
        |node| node.holds_lost,
    ),
    counter(
        "maintenance_errors",
        "attempts of background work that failed",
        |node| node.maintenance_errors,
    ),
    gauge(
        "differing_shards",
        "shards of which replicas have made different states of one log, as far as this node has heard",
        |node| node.differing_shards,
    ),
    gauge(
        "copies_given_up",
        "copies of shards on any nodes that were replaced three times lately and are not again, as far as this node has heard",
        |node| node.copies_given_up,
    ),
];

/// Of each copy of a shard.
pub(super) const SHARD: &[Metric<ShardStatus>] = &[
    gauge(
        "shard_serves",
        "1 while the shard is served here",
        |shard| shard.serves.into(),
    ),
    gauge(
        "shard_damaged",
        "1 while something of the shard on this disk is damaged and not replaced",
        |shard| shard.damaged.into(),
    ),
    gauge(
        "shard_applied_index",
        "the last log entry that was applied",
        |shard| shard.applied,
    ),
];

/// Of a shard, wherever its copies are: shown by the node that serves it, so that they add up.
pub(super) const SERVED: &[Metric<ShardStatus>] = &[
    gauge("queues", "queues of the shard", |shard| shard.totals.queues),
    gauge("messages_ready", "messages that can be received", |shard| {
        shard.totals.ready
    }),
    gauge("messages_leased", "messages held by a consumer", |shard| {
        shard.totals.leased
    }),
    gauge(
        "messages_delayed",
        "messages whose delay has not ended",
        |shard| shard.totals.delayed,
    ),
    gauge(
        "messages_retired",
        "deleted messages kept for rewinding",
        |shard| shard.totals.retired,
    ),
    gauge(
        "messages_moving",
        "messages on their way to a dead-letter queue",
        |shard| shard.totals.moving,
    ),
    gauge("topics", "topics of the shard", |shard| shard.totals.topics),
    gauge("subscriptions", "subscriptions to its topics", |shard| {
        shard.totals.subscriptions
    }),
    gauge(
        "messages_undelivered",
        "published messages that wait for a subscriber, counted once for each",
        |shard| shard.totals.undelivered,
    ),
    counter("messages_sent", "messages sent", |shard| {
        shard.totals.totals.sent
    }),
    counter("messages_received", "deliveries", |shard| {
        shard.totals.totals.received
    }),
    counter(
        "messages_deleted",
        "messages deleted by consumers",
        |shard| shard.totals.totals.deleted,
    ),
    counter("messages_expired", "messages ended by retention", |shard| {
        shard.totals.totals.expired
    }),
    counter(
        "messages_dead_lettered",
        "messages moved to a dead-letter queue",
        |shard| shard.totals.totals.dead_lettered,
    ),
    counter(
        "messages_cleared",
        "messages ended by clearing a queue",
        |shard| shard.totals.totals.cleared,
    ),
    counter(
        "messages_rewound",
        "messages made ready again by rewinding",
        |shard| shard.totals.totals.rewound,
    ),
];

pub(super) const LAG: (&str, &str) = (
    "shard_lag_entries",
    "entries that a replica on another node does not have, of shards that are led here",
);

pub(super) const HTTP: &[Metric<HttpMetrics>] = &[
    gauge(
        "http_connections_open",
        "connections of clients",
        HttpMetrics::connections_open,
    ),
    counter(
        "http_connections_accepted",
        "connections accepted",
        HttpMetrics::connections_accepted,
    ),
    counter(
        "http_connections_refused",
        "connections closed because there were too many",
        HttpMetrics::connections_refused,
    ),
    counter(
        "http_connections_overdue",
        "connections ended because the client was too slow",
        HttpMetrics::connections_overdue,
    ),
    counter(
        "http_handshakes_failed",
        "connections that agreed on no TLS, where the port speaks it",
        HttpMetrics::handshakes_failed,
    ),
    counter(
        "http_received_bytes",
        "bytes received from clients",
        HttpMetrics::bytes_in,
    ),
    counter(
        "http_sent_bytes",
        "bytes sent to clients",
        HttpMetrics::bytes_out,
    ),
    counter(
        "http_auth_failures",
        "requests refused for their key or signature",
        HttpMetrics::auth_failures,
    ),
    counter(
        "http_not_found",
        "requests that no dialect knows",
        HttpMetrics::not_found,
    ),
];

pub(super) const PUSH: &[Metric<anser_push::Metrics>] = &[
    counter(
        "push_attempts",
        "pushes begun",
        anser_push::Metrics::attempts,
    ),
    counter(
        "push_successes",
        "pushes answered with a success",
        anser_push::Metrics::successes,
    ),
    counter(
        "push_given_up",
        "messages given up after the last retry",
        anser_push::Metrics::given_up,
    ),
    counter(
        "push_connections",
        "connections opened to web servers",
        anser_push::Metrics::connections,
    ),
    gauge(
        "push_in_flight",
        "pushes under way",
        anser_push::Metrics::in_flight,
    ),
];

pub(super) const CERTIFICATE: &[Metric<Shown>] = &[
    gauge(
        "certificate_expires_timestamp_seconds",
        "when the certificate of a port that speaks HTTPS ends, in seconds since 1970",
        Shown::expires,
    ),
    gauge(
        "certificate_refused",
        "1 while the files of a port's certificate are not usable and the one before is shown",
        |shown| shown.is_refused().into(),
    ),
    counter(
        "certificate_loads",
        "certificates of a port that were taken, the first one too",
        Shown::loads,
    ),
];

pub(super) const PUSH_FAILURES: (&str, &str) = (
    "push_failures",
    "pushes that failed, by kind: endpoint, refused (address or port), resolve, connect, tls, time_limit, broken, crowded, status",
);
pub(super) const REQUESTS: (&str, &str) = (
    "http_requests",
    "requests by dialect, action, code and module code of the answer",
);
pub(super) const REQUEST_SECONDS: (&str, &str) = (
    "http_request_seconds",
    "how long requests took by action, waits for messages included",
);

pub(super) const PROCESS: &[Metric<Usage>] = &[
    gauge("process_resident_bytes", "memory of the process", |usage| {
        usage.resident_bytes
    }),
    gauge("process_threads", "threads of the process", |usage| {
        usage.threads
    }),
    counter(
        "process_cpu_microseconds",
        "CPU time of the process",
        |usage| usage.cpu_micros,
    ),
];

pub(super) const FSYNC: (&str, &str) = (
    "fsync_seconds",
    "how long fsyncs of the write-ahead log took",
);

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The label of those metrics that add up over nodes.
    const SERVED_LABEL: &str = "shard, led here";

    fn row<Of>(metric: &Metric<Of>, label: &str) -> String {
        named(metric.kind, metric.name, label)
    }

    fn named(kind: Kind, name: &str, label: &str) -> String {
        match kind {
            Kind::Counter => format!("| `anser_{name}_total` | {label} |"),
            Kind::Gauge => format!("| `anser_{name}` | {label} |"),
        }
        .replace("|  |", "| |")
    }

    /// How the row of each metric begins.
    fn rows() -> BTreeSet<String> {
        let node = NODE.iter().map(|metric| row(metric, ""));
        let shard = SHARD.iter().map(|metric| row(metric, "shard"));
        let served = SERVED.iter().map(|metric| row(metric, SERVED_LABEL));
        let process = PROCESS.iter().map(|metric| row(metric, ""));
        let http = HTTP.iter().map(|metric| row(metric, ""));
        let certificate = CERTIFICATE.iter().map(|metric| row(metric, "port"));
        let push = PUSH.iter().map(|metric| row(metric, ""));
        let others = [
            named(Kind::Gauge, FSYNC.0, ""),
            named(Kind::Gauge, LAG.0, "shard, node"),
            named(Kind::Counter, REQUESTS.0, "dialect, action, code, module"),
            named(Kind::Counter, PUSH_FAILURES.0, "kind"),
            named(Kind::Gauge, REQUEST_SECONDS.0, "dialect, action"),
        ];
        let rows = node.chain(shard).chain(served).chain(process);
        rows.chain(http)
            .chain(certificate)
            .chain(push)
            .chain(others)
            .collect()
    }

    #[test]
    fn the_operations_page_lists_every_metric_with_its_labels_and_no_other() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (_, section) = page.split_once("\n## Metrics\n").unwrap();
        let listed = section
            .lines()
            .filter(|line| line.starts_with("| `anser_"))
            .map(|line| {
                let cells: Vec<&str> = line.split('|').collect();
                format!("|{}|{}|", cells[1], cells[2])
            });
        assert_eq!(listed.collect::<BTreeSet<_>>(), rows());
    }
}
