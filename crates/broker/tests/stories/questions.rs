//! What a story asks.

use anser_broker::{
    command::{Answer, Query},
    id::SubscriptionId,
};

use super::{World, line::Line, shown::since_start};

impl World {
    pub(super) fn ask_of_topics(&mut self, line: &Line<'_>) -> String {
        let query = match line.verb {
            "topic-counts" => Query::TopicCounts {
                topic: self.topic(line),
            },
            _ => Query::SubscriptionCounts {
                subscription: SubscriptionId(self.queue(line).0),
            },
        };
        match self.shard.query(&query) {
            Answer::TopicCounts(counts) => {
                format!("waiting={} published={}", counts.waiting, counts.published)
            }
            Answer::SubscriptionCounts(counts) => {
                let totals = counts.totals;
                format!(
                    "waiting={} matched={} delivered={} expired={} given-up={} dead-lettered={}",
                    counts.waiting,
                    totals.matched,
                    totals.delivered,
                    totals.expired,
                    totals.given_up,
                    totals.dead_lettered,
                )
            }
            Answer::Refused(error) => error.to_string(),
            other => panic!("{other:?} is about no topic"),
        }
    }

    pub(super) fn ask(&mut self, line: &Line<'_>) -> String {
        let account = line.account();
        let search = line.named.get("search").copied().unwrap_or("").to_owned();
        let offset = line.number("offset").unwrap_or(0);
        let limit = line.number("limit").unwrap_or(20);
        let query = match line.verb {
            "describe" => Query::Queue {
                account,
                name: line.name(),
            },
            "list" => Query::Queues {
                account,
                search,
                offset,
                limit,
            },
            "sources" => Query::DeadLetterSources {
                account,
                name: line.name(),
                search,
                offset,
                limit,
            },
            _ => Query::Counts {
                queue: self.queue(line),
            },
        };
        match self.shard.query(&query) {
            Answer::Refused(error) => error.to_string(),
            Answer::Queues { total, queues } => {
                let names: Vec<_> = queues.iter().map(|queue| queue.name.as_str()).collect();
                format!("{total} in all: [{}]", names.join(" "))
            }
            Answer::Queue(found) => {
                let policy = found
                    .dead_letter
                    .map(|(name, policy)| format!("{name} {:?}", policy.after));
                let (created, modified) = (found.created, found.modified);
                format!(
                    "{} created {} modified {} dead letters to {}",
                    found.name,
                    since_start(created),
                    since_start(modified),
                    policy.as_deref().unwrap_or("nowhere"),
                )
            }
            Answer::Counts(counts) if line.verb == "totals" => {
                let totals = counts.totals;
                format!(
                    "sent={} received={} deleted={} expired={} dead-lettered={} cleared={} rewound={}",
                    totals.sent,
                    totals.received,
                    totals.deleted,
                    totals.expired,
                    totals.dead_lettered,
                    totals.cleared,
                    totals.rewound,
                )
            }
            Answer::Counts(counts) => format!(
                "ready={} leased={} delayed={} retired={} moving={} oldest={}",
                counts.ready,
                counts.leased,
                counts.delayed,
                counts.retired,
                counts.moving,
                counts.oldest.map_or("none".into(), since_start),
            ),
            other => unreachable!("{other:?} is about no queue"),
        }
    }
}
