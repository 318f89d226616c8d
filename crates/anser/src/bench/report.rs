//! The tables: Markdown for people, JSON for programs.

use std::fmt::Write;

use serde::Serialize;

use super::{
    backlog::Findings,
    load::{Measured, Plan},
    machine::Machine,
    topics,
};

/// One measured cell.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    pub workload: &'static str,
    pub connections: usize,
    pub body_bytes: usize,
    pub seconds: f64,
    pub messages_per_second: f64,
    pub p50_micros: u64,
    pub p99_micros: u64,
    pub p999_micros: u64,
    pub max_micros: u64,
    pub server_cpu_micros_per_message: Option<f64>,
    pub server_resident_bytes: Option<u64>,
    pub failures: u64,
    pub first_failure: Option<String>,
}

impl Row {
    #[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits")]
    pub(super) fn new(plan: &Plan, measured: &Measured) -> Self {
        let seconds = measured.elapsed.as_secs_f64();
        let messages = measured.messages as f64;
        Self {
            workload: plan.workload.title(),
            connections: plan.connections,
            body_bytes: plan.body_bytes,
            seconds,
            messages_per_second: messages / seconds,
            p50_micros: measured.latency.value_at_quantile(0.5),
            p99_micros: measured.latency.value_at_quantile(0.99),
            p999_micros: measured.latency.value_at_quantile(0.999),
            max_micros: measured.latency.max(),
            server_cpu_micros_per_message: measured
                .server_cpu_micros
                .map(|micros| micros as f64 / messages),
            server_resident_bytes: measured.server_resident_bytes,
            failures: measured.failures,
            first_failure: measured.first_failure.clone(),
        }
    }

    fn cells(&self) -> String {
        format!(
            "| {} | {} | {:.0} | {} | {} | {} | {} | {} | {} |",
            self.workload,
            self.connections,
            self.messages_per_second,
            milliseconds(self.p50_micros),
            milliseconds(self.p99_micros),
            milliseconds(self.p999_micros),
            one_digit(self.server_cpu_micros_per_message),
            mebibytes(self.server_resident_bytes),
            self.failures,
        )
    }
}

/// A whole run.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub command: String,
    pub body_bytes: usize,
    pub rows: Vec<Row>,
    pub backlog: Option<Findings>,
    pub topics: Option<topics::Findings>,
}

const HEADER: &str = "\
| workload | connections | messages/s | p50 ms | p99 ms | p99.9 ms | server CPU µs/message | server RSS MiB | failures |
|---|---|---|---|---|---|---|---|---|
";

impl Report {
    pub fn markdown(&self) -> String {
        let mut text = format!("Machine: {}. fsync on.  \n", self.machine.text());
        if self.machine.is_in_memory() {
            text.push_str("**The data is in memory, so fsync costs nothing here.**  \n");
        }
        writeln!(
            text,
            "Command: `{}`. Bodies of {} bytes; client and server share the machine.  ",
            self.command, self.body_bytes
        )
        .expect("a string takes all");
        if !self.rows.is_empty() {
            text.push_str("Latency is that of the whole row: all requests of one operation.\n\n");
            text.push_str(HEADER);
        }
        for row in &self.rows {
            text.push_str(&row.cells());
            text.push('\n');
        }
        if let Some(topics) = &self.topics {
            text.push_str(&topics.markdown());
        }
        if let Some(backlog) = &self.backlog {
            text.push('\n');
            text.push_str(&backlog.markdown());
        }
        for row in self.rows.iter().filter(|row| row.failures > 0) {
            let reason = row.first_failure.as_deref().unwrap_or_default();
            writeln!(
                text,
                "\nFirst failure of {} × {}: {reason}",
                row.workload, row.connections
            )
            .expect("a string takes all");
        }
        text
    }
}

/// A number that may not be known.
pub(super) fn one_digit(value: Option<f64>) -> String {
    value.map_or("–".into(), |value| format!("{value:.1}"))
}

impl Findings {
    fn markdown(&self) -> String {
        let mut rows = vec![
            ("messages waiting", self.messages.to_string()),
            (
                "filled, messages/s",
                format!("{:.0}", self.fill_messages_per_second),
            ),
            ("RSS before, MiB", mebibytes(self.resident_bytes_before)),
            ("RSS full, MiB", mebibytes(self.resident_bytes_full)),
            (
                "RSS, bytes/message",
                one_digit(self.resident_bytes_per_message),
            ),
            ("send p99 empty, ms", milliseconds(self.empty.p99_micros)),
            ("send p99 full, ms", milliseconds(self.full.p99_micros)),
        ];
        if let Some(restart) = &self.restart {
            rows.push((
                "restart until ready, s",
                format!("{:.2}", restart.ready_seconds),
            ));
            let first = format!("{:.2}", restart.first_receive_seconds);
            rows.push(("restart until the first receive, s", first));
            rows.push((
                "RSS after the restart, MiB",
                mebibytes(restart.resident_bytes),
            ));
        }
        let rows: Vec<String> = rows
            .into_iter()
            .map(|(name, value)| format!("| {name} | {value} |\n"))
            .collect();
        format!("| backlog | |\n|---|---|\n{}", rows.concat())
    }
}

#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits")]
pub(super) fn milliseconds(micros: u64) -> String {
    format!("{:.2}", micros as f64 / 1e3)
}

#[expect(clippy::cast_precision_loss, reason = "a measurement has fewer digits")]
pub(super) fn mebibytes(bytes: Option<u64>) -> String {
    bytes.map_or("–".into(), |bytes| {
        format!("{:.1}", bytes as f64 / f64::from(1 << 20))
    })
}
