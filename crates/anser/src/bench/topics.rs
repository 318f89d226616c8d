//! The topics run: what publishing costs, what it writes to the disk, how fast it is pushed, and
//! whether an endpoint that hangs holds up the others.
//!
//! Endpoints are in this process (`receiver`), so that they share the machine with the server too.

mod disk;
mod endpoints;
mod hanging;
mod marks;
mod publish;
mod publisher;
mod push;
mod receiver;
mod setup;
mod written;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;

use super::subject::Subject;

/// A measurement that can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Publishing alone, by the number of subscriptions; nothing listens at the endpoints.
    Publish,
    /// Bytes that the server writes for each published byte.
    Disk,
    /// Pushes a second, and the time from publish to push.
    Push,
    /// That time with many subscriptions, without and with one whose endpoint hangs.
    Hanging,
}

/// What is measured.
#[derive(Debug, Clone)]
pub struct Topics {
    pub parts: Vec<Part>,
    /// Of publishers that are as fast as they can be.
    pub connections: usize,
    pub body_bytes: usize,
    pub seconds: u64,
    /// Of the part about the disk; whole batches of sixteen.
    pub messages: u64,
    /// Publishes a second at which the time to the push is measured.
    pub rate: u64,
    /// Of the part with an endpoint that hangs.
    pub subscriptions: usize,
    pub hanging_rate: u64,
    pub hanging_seconds: u64,
    /// Over how many ports the endpoints are spread.
    pub ports: usize,
}

/// What came out; parts that were not chosen are empty.
#[derive(Debug, Default, Serialize)]
pub struct Findings {
    publish: Vec<publish::Row>,
    disk: Vec<disk::Row>,
    push: Vec<push::Row>,
    hanging: Vec<hanging::Row>,
}

/// What every part works with.
struct Scene<'run> {
    subject: &'run Subject,
    options: &'run Topics,
    progress: &'run dyn Fn(&str),
}

impl Topics {
    /// Measures part after part; `progress` hears of each step.
    pub async fn run(&self, subject: &Subject, progress: &dyn Fn(&str)) -> Result<Findings> {
        let scene = Scene {
            subject,
            options: self,
            progress,
        };
        let mut found = Findings::default();
        for part in &self.parts {
            match part {
                Part::Publish => found.publish = publish::run(&scene).await?,
                Part::Disk => found.disk = disk::run(&scene).await?,
                Part::Push => found.push = push::run(&scene).await?,
                Part::Hanging => found.hanging = hanging::run(&scene).await?,
            }
        }
        Ok(found)
    }
}

impl Findings {
    /// A table for each part.
    pub(super) fn markdown(&self) -> String {
        let tables = [
            table(publish::HEADER, &self.publish, publish::Row::cells),
            table(disk::HEADER, &self.disk, disk::Row::cells),
            table(push::HEADER, &self.push, push::Row::cells),
            table(hanging::HEADER, &self.hanging, hanging::Row::cells),
        ];
        tables.concat()
    }
}

fn table<T>(header: &str, rows: &[T], cells: impl Fn(&T) -> String) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let rows: Vec<String> = rows.iter().map(|row| cells(row) + "\n").collect();
    format!("\n{header}\n{}", rows.concat())
}
