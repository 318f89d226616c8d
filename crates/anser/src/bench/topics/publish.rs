//! What publishing costs by the number of subscriptions. Nothing listens at their endpoints, so that
//! pushes soon are held back and publishing is alone.

use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    Scene,
    endpoints::Refusing,
    setup::{self, Filter, Wanted},
};
use crate::{
    bench::{
        load::{self, Plan, Workload},
        report::{self, milliseconds, one_digit},
    },
    client::Labels,
};

const COUNTS: [usize; 4] = [1, 10, 100, 500];
const ROUTING_KEY: &str = "orders.europe.paid";
const MATCHING_KEY: &str = "orders.*.paid";
/// After the first failure the server waits 1 s, then 2 s, then 4 s: then there is little but
/// publishing.
const UNTIL_HELD_BACK: Duration = Duration::from_secs(4);

pub(super) const HEADER: &str = "\
| subscriptions | matching | binding keys each | operation | messages/s | p50 ms | p99 ms | server CPU µs/message | server RSS MiB | failures |
|---|---|---|---|---|---|---|---|---|---|";

#[derive(Debug, Serialize)]
pub(super) struct Row {
    #[serde(flatten)]
    case: Case,
    #[serde(flatten)]
    measured: report::Row,
}

/// A topic to publish to.
#[derive(Debug, Clone, Copy, Serialize)]
struct Case {
    subscriptions: usize,
    matching: usize,
    binding_keys: usize,
}

pub(super) async fn run(scene: &Scene<'_>) -> Result<Vec<Row>> {
    let tags = COUNTS.map(|count| Case {
        subscriptions: count,
        matching: count,
        binding_keys: 0,
    });
    let keys = Case {
        subscriptions: 500,
        matching: 1,
        binding_keys: 5,
    };
    let mut rows = Vec::new();
    for case in tags.into_iter().chain([keys]) {
        for workload in [Workload::Publish, Workload::BatchPublish] {
            let row = case.measure(scene, workload).await?;
            (scene.progress)(&format!(
                "{} to {} subscriptions, {} of them matching: {:.0} messages/s",
                row.measured.workload,
                case.subscriptions,
                case.matching,
                row.measured.messages_per_second
            ));
            rows.push(row);
        }
    }
    Ok(rows)
}

impl Case {
    /// On a topic of its own, so that no row has the backlog of another.
    async fn measure(self, scene: &Scene<'_>, workload: Workload) -> Result<Row> {
        let refusing = Refusing::new()?;
        let (filter, routing_key) = match self.binding_keys {
            0 => (Filter::Tags, None),
            _ => (Filter::RoutingKeys, Some(ROUTING_KEY)),
        };
        let topic = setup::create_topic(scene.subject, filter).await?;
        let wanted = (0..self.subscriptions).map(|number| Wanted {
            binding_keys: self.keys_of(number),
            ..Wanted::of_all(&topic, number, refusing.url())
        });
        setup::subscribe_all(scene, wanted.collect()).await?;

        let labels = Labels {
            tags: &[],
            routing_key,
        };
        let mut client = scene.subject.access.client()?;
        client
            .publish(&topic, "the first one finds that nobody listens", labels)
            .await
            .context("cannot publish")?;
        tokio::time::sleep(UNTIL_HELD_BACK).await;

        let plan = Plan {
            workload,
            connections: scene.options.connections,
            body_bytes: scene.options.body_bytes,
            duration: Duration::from_secs(scene.options.seconds),
            warmup: Duration::from_secs(1),
            routing_key,
        };
        let topics = [topic];
        let measured = load::measure(&plan, scene.subject, &topics).await?;
        setup::delete_topics(scene, &topics).await?;
        Ok(Row {
            case: self,
            measured: report::Row::new(&plan, &measured),
        })
    }

    /// The binding keys of a subscription: with wildcards, and different from those of all others.
    fn keys_of(self, number: usize) -> Vec<String> {
        let mut keys = vec![
            format!("goods.*.n{number}"),
            format!("*.n{number}.paid"),
            format!("orders.n{number}.#"),
            format!("#.n{number}"),
            format!("orders.europe.n{number}"),
        ];
        keys.truncate(self.binding_keys);
        if number < self.matching
            && let Some(last) = keys.last_mut()
        {
            MATCHING_KEY.clone_into(last);
        }
        keys
    }
}

impl Row {
    pub(super) fn cells(&self) -> String {
        let (case, measured) = (&self.case, &self.measured);
        format!(
            "| {} | {} | {} | {} | {:.0} | {} | {} | {} | {} | {} |",
            case.subscriptions,
            case.matching,
            case.binding_keys,
            measured.workload,
            measured.messages_per_second,
            milliseconds(measured.p50_micros),
            milliseconds(measured.p99_micros),
            one_digit(measured.server_cpu_micros_per_message),
            report::mebibytes(measured.server_resident_bytes),
            measured.failures,
        )
    }
}
