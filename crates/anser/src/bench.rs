//! Measuring a server from outside: real requests, each signed, over real connections.
//!
//! The load is closed-loop: every connection sends its next request when it has the last answer. The
//! client shares the machine with the server unless told otherwise, so the tables say where they ran.

pub mod backlog;
pub mod load;
pub mod machine;
pub mod report;
pub mod subject;
pub mod topics;

use std::time::Duration;

use anyhow::Result;

use load::{Plan, Workload};
use report::Row;
use subject::Subject;

/// A table of workloads by numbers of connections.
#[derive(Debug, Clone)]
pub struct Grid {
    pub workloads: Vec<Workload>,
    pub connections: Vec<usize>,
    pub body_bytes: usize,
    pub seconds: u64,
    pub warmup_seconds: u64,
    pub queues: usize,
}

impl Grid {
    /// Measures cell after cell; `progress` hears of each.
    pub async fn run(&self, subject: &Subject, progress: impl Fn(&Row)) -> Result<Vec<Row>> {
        let mut rows = Vec::new();
        for &workload in &self.workloads {
            for &connections in &self.connections {
                let plan = Plan {
                    workload,
                    connections,
                    body_bytes: self.body_bytes,
                    duration: Duration::from_secs(self.seconds),
                    warmup: Duration::from_secs(self.warmup_seconds),
                    routing_key: None,
                };
                let queues = load::create_queues(subject, self.queues).await?;
                let measured = load::measure(&plan, subject, &queues).await?;
                load::delete_queues(subject, &queues).await?;
                let row = Row::new(&plan, &measured);
                progress(&row);
                rows.push(row);
            }
        }
        Ok(rows)
    }
}
