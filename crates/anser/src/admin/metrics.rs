//! The metrics page: a snapshot of all numbers in the text format of Prometheus.

mod table;

use std::{collections::BTreeMap, fmt::Error, sync::Arc};

use anser_api::{HttpMetrics, RequestCount};
use anser_node::{SYNC_BUCKETS_MICROS, ShardStatus, Status};
use anser_push::Pusher;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use super::Sources;
use crate::{
    certificate::Shown,
    process::{self, Usage},
};
use table::{
    CERTIFICATE, FSYNC, HTTP, Kind, LAG, Metric, NODE, PROCESS, PUSH, PUSH_FAILURES,
    REQUEST_SECONDS, REQUESTS, SERVED, SHARD,
};

/// The content type of the page.
pub(super) const KIND: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The page at this moment.
pub(super) fn page(sources: &Sources) -> String {
    let mut registry = Registry::with_prefix("anser");
    registry.register_collector(Box::new(Snapshot {
        node: sources.node.status(),
        api: Arc::clone(&sources.api),
        pusher: Arc::clone(&sources.pusher),
        certificates: sources.certificates.clone(),
        process: process::usage(None).ok(),
    }));
    let mut page = String::new();
    text::encode(&mut page, &registry).expect("a string takes all");
    page
}

#[derive(Debug)]
struct Snapshot {
    node: Status,
    api: Arc<anser_api::Server>,
    pusher: Arc<Pusher>,
    certificates: Vec<Arc<Shown>>,
    /// Absent where `/proc` is.
    process: Option<Usage>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        for metric in NODE {
            write_one(&mut encoder, metric, &self.node)?;
        }
        write_fsync(&mut encoder, &self.node)?;
        for metric in SHARD {
            write_per_shard(&mut encoder, metric, self.node.shards.iter())?;
        }
        for metric in SERVED {
            let served = self.node.shards.iter().filter(|shard| shard.serves);
            write_per_shard(&mut encoder, metric, served)?;
        }
        write_lags(&mut encoder, &self.node.shards)?;
        let http = self.api.metrics();
        for metric in HTTP {
            write_one(&mut encoder, metric, http)?;
        }
        write_requests(&mut encoder, http)?;
        write_request_seconds(&mut encoder, http)?;
        let pusher: &anser_push::Metrics = self.pusher.metrics();
        for metric in PUSH {
            write_one(&mut encoder, metric, pusher)?;
        }
        write_push_failures(&mut encoder, pusher)?;
        for metric in CERTIFICATE {
            write_per_port(&mut encoder, metric, &self.certificates)?;
        }
        if let Some(process) = &self.process {
            for metric in PROCESS {
                write_one(&mut encoder, metric, process)?;
            }
        }
        Ok(())
    }
}

fn write_one<Of>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric<Of>,
    of: &Of,
) -> Result<(), Error> {
    let kind = metric.kind.metric_type();
    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    let value = (metric.read)(of);
    match metric.kind {
        Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None),
        Kind::Gauge => encoder.encode_gauge(&signed(value)),
    }
}

fn write_per_shard<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric<ShardStatus>,
    shards: impl Iterator<Item = &'a ShardStatus>,
) -> Result<(), Error> {
    let kind = metric.kind.metric_type();
    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for shard in shards {
        let labels = ShardLabel {
            shard: shard.shard.into(),
        };
        let mut encoder = encoder.encode_family(&labels)?;
        let value = (metric.read)(shard);
        match metric.kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
            Kind::Gauge => encoder.encode_gauge(&signed(value))?,
        }
    }
    Ok(())
}

fn write_per_port(
    encoder: &mut DescriptorEncoder<'_>,
    metric: &Metric<Shown>,
    certificates: &[Arc<Shown>],
) -> Result<(), Error> {
    let kind = metric.kind.metric_type();
    let mut encoder = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
    for certificate in certificates {
        let labels = PortLabel {
            port: certificate.port(),
        };
        let mut encoder = encoder.encode_family(&labels)?;
        let value = (metric.read)(certificate);
        match metric.kind {
            Kind::Counter => encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)?,
            Kind::Gauge => encoder.encode_gauge(&signed(value))?,
        }
    }
    Ok(())
}

/// One line for each other replica of a shard that is led here.
fn write_lags(encoder: &mut DescriptorEncoder<'_>, shards: &[ShardStatus]) -> Result<(), Error> {
    let (name, help) = LAG;
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for shard in shards {
        for lag in &shard.lags {
            let labels = LagLabels {
                shard: shard.shard.into(),
                node: lag.node,
            };
            let entries = signed(lag.entries);
            encoder.encode_family(&labels)?.encode_gauge(&entries)?;
        }
    }
    Ok(())
}

fn write_fsync(encoder: &mut DescriptorEncoder<'_>, node: &Status) -> Result<(), Error> {
    let (name, help) = FSYNC;
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    let bounds = SYNC_BUCKETS_MICROS
        .iter()
        .map(|&micros| seconds(micros))
        .chain([f64::MAX]);
    let buckets: Vec<(f64, u64)> = bounds.zip(node.sync_micros.iter().copied()).collect();
    encoder.encode_histogram::<NoLabelSet>(
        seconds(node.sync_micros_sum),
        node.syncs,
        &buckets,
        None,
    )
}

fn write_requests(encoder: &mut DescriptorEncoder<'_>, http: &HttpMetrics) -> Result<(), Error> {
    let (name, help) = REQUESTS;
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for RequestCount {
        dialect,
        action,
        code,
        module,
        count,
    } in http.requests()
    {
        let labels = RequestLabels {
            dialect,
            action,
            code,
            module,
        };
        encoder
            .encode_family(&labels)?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

fn write_push_failures(
    encoder: &mut DescriptorEncoder<'_>,
    pusher: &anser_push::Metrics,
) -> Result<(), Error> {
    let (name, help) = PUSH_FAILURES;
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (kind, count) in pusher.failures() {
        encoder
            .encode_family(&KindLabel { kind })?
            .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    Ok(())
}

/// Actions that nobody asked for are left out: the page would be long for nothing.
fn write_request_seconds(
    encoder: &mut DescriptorEncoder<'_>,
    http: &HttpMetrics,
) -> Result<(), Error> {
    let (name, help) = REQUEST_SECONDS;
    let mut encoder = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
    let mut actions: BTreeMap<(&'static str, &'static str), Vec<(f64, u64)>> = BTreeMap::new();
    for bucket in http.latency() {
        let bound = bucket.below.map_or(f64::MAX, |below| below.as_secs_f64());
        let buckets = actions.entry((bucket.dialect, bucket.action)).or_default();
        buckets.push((bound, bucket.count));
    }
    for ((dialect, action), buckets) in actions {
        let count = buckets.iter().map(|(_, count)| count).sum();
        if count == 0 {
            continue;
        }
        let sum = http.total_time(dialect, action).as_secs_f64();
        let labels = ActionLabels { dialect, action };
        let mut encoder = encoder.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
    }
    Ok(())
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    dialect: &'static str,
    action: &'static str,
    code: &'static str,
    module: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ActionLabels {
    dialect: &'static str,
    action: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PortLabel {
    port: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShardLabel {
    shard: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LagLabels {
    shard: u32,
    node: u64,
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of centuries fit")]
fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

/// The text format knows signed gauges only.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
