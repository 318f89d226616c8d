//! `anser bench`: how fast is it here.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::queue::target::{Access, set_roots};
use crate::{
    bench::{
        Grid,
        backlog::Backlog,
        load::Workload,
        machine::Machine,
        report::{Report, Row},
        subject::{Ending, Subject},
        topics::{Part, Topics},
    },
    client,
    exit::Exit,
    keystore::Key,
    output, process,
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    kind: Option<Kind>,
    #[command(flatten)]
    common: Common,
    /// What to measure [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    workloads: Vec<Workload>,
    /// How many connections, a table row each.
    #[arg(
        long,
        value_name = "NUMBERS",
        value_delimiter = ',',
        default_value = "1,16,64,256"
    )]
    connections: Vec<usize>,
    /// Over how many queues the connections are spread.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    queues: usize,
}

#[derive(Debug, Args)]
struct Common {
    /// Measure a running server instead of starting one.
    #[arg(long, value_name = "URL", global = true)]
    endpoint: Option<String>,
    /// Root certificates in PEM form to believe an https server by [default: `ANSER_ROOTS`, then the system's].
    #[arg(long, value_name = "FILE", global = true, requires = "endpoint")]
    roots: Option<PathBuf>,
    /// The access key for it [default: `ANSER_KEY`].
    #[arg(long, value_name = "ID:SECRET", global = true, requires = "endpoint")]
    key: Option<String>,
    /// The process of the running server, to show its CPU and memory [default: from --data].
    #[arg(long, value_name = "ID", global = true)]
    server_pid: Option<u32>,
    /// Where the server that is started keeps its data [default: a temporary folder]; of a running
    /// server, its data directory.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// How long each row is measured.
    #[arg(long, value_name = "NUMBER", global = true, default_value_t = 10)]
    seconds: u64,
    /// The size of a message.
    #[arg(long, value_name = "BYTES", global = true, default_value_t = 1024)]
    body: usize,
    /// Print JSON on standard output, and the table on standard error.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Fill a queue, and show what a waiting message costs in memory, time and restarts.
    Backlog {
        /// How many messages wait.
        #[arg(long, value_name = "NUMBER", default_value_t = 1_000_000)]
        messages: u64,
        /// How many connections fill the queue and measure sends.
        #[arg(long, value_name = "NUMBER", default_value_t = 16)]
        fill_connections: usize,
        /// End the server by kill -9 before the restart.
        #[arg(long)]
        kill: bool,
    },
    /// Publish to topics, and show what that costs, what it writes and how fast it is pushed.
    Topic(TopicArguments),
}

#[derive(Debug, Args)]
struct TopicArguments {
    /// What to measure [default: all].
    #[arg(long, value_enum, value_delimiter = ',')]
    parts: Vec<Part>,
    /// How many connections publish as fast as they can.
    #[arg(long, value_name = "NUMBER", default_value_t = 16)]
    publish_connections: usize,
    /// How many messages are published to see what the server writes.
    #[arg(long, value_name = "NUMBER", default_value_t = 20_000)]
    messages: u64,
    /// Publishes a second while the time from publish to push is measured.
    #[arg(long, value_name = "NUMBER", default_value_t = 200)]
    rate: u64,
    /// How many subscriptions there are while one of them hangs.
    #[arg(long, value_name = "NUMBER", default_value_t = 10_000)]
    subscriptions: usize,
    /// Publishes a second while one subscription hangs, each to 500 subscriptions.
    #[arg(long, value_name = "NUMBER", default_value_t = 5)]
    hanging_rate: u64,
    /// How long each row with and without a hanging subscription is measured.
    #[arg(long, value_name = "NUMBER", default_value_t = 40)]
    hanging_seconds: u64,
    /// Over how many ports the endpoints are spread: the server limits the pushes to one port.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    ports: usize,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    arguments.check()?;
    let common = &arguments.common;
    let mut subject = common.subject()?;
    let folder = subject
        .folder()
        .map(PathBuf::from)
        .or_else(|| common.data.clone());
    let machine = Machine::here(folder.as_deref());
    output::note(format_args!("measuring on {}", machine.text()));
    let mut report = Report {
        machine,
        command: command_line(),
        body_bytes: common.body,
        rows: Vec::new(),
        backlog: None,
        topics: None,
    };
    match &arguments.kind {
        None => report.rows = arguments.grid().run(&subject, say_row).await?,
        Some(Kind::Backlog {
            messages,
            fill_connections,
            kill,
        }) => {
            let backlog = Backlog {
                messages: messages.next_multiple_of(16),
                connections: *fill_connections,
                body_bytes: common.body,
                seconds: common.seconds,
                ending: if *kill { Ending::Kill } else { Ending::Orderly },
            };
            let found = backlog.run(&mut subject, |text| output::note(text)).await?;
            report.rows = vec![found.empty.clone(), found.full.clone()];
            report.backlog = Some(found);
        }
        Some(Kind::Topic(topic)) => {
            let say = |text: &str| output::note(text);
            report.topics = Some(topic.topics(common).run(&subject, &say).await?);
        }
    }
    subject.finish()?;
    print(&report, common.json)
}

impl Arguments {
    fn check(&self) -> Result<()> {
        let wrong = |text: &str| Err(Exit::Configuration.error(text));
        if self.connections.contains(&0) || self.queues == 0 {
            return wrong("there has to be at least one connection and one queue");
        }
        if self.common.seconds == 0 {
            return wrong("--seconds has to be at least 1");
        }
        if let Some(Kind::Topic(topic)) = &self.kind
            && topic.has_nothing()
        {
            return wrong("every number of a topic run has to be at least 1");
        }
        if !(32..=65_536).contains(&self.common.body) {
            return wrong("--body has to be 32 to 65536 bytes, the default limit of a queue");
        }
        Ok(())
    }

    fn grid(&self) -> Grid {
        let all = [
            Workload::Send,
            Workload::Cycle,
            Workload::BatchSend,
            Workload::BatchCycle,
        ];
        let workloads = if self.workloads.is_empty() {
            all.to_vec()
        } else {
            self.workloads.clone()
        };
        Grid {
            workloads,
            connections: self.connections.clone(),
            body_bytes: self.common.body,
            seconds: self.common.seconds,
            warmup_seconds: 1,
            queues: self.queues,
        }
    }
}

impl TopicArguments {
    fn has_nothing(&self) -> bool {
        let numbers = [
            self.messages,
            self.rate,
            self.hanging_rate,
            self.hanging_seconds,
        ];
        let sizes = [self.publish_connections, self.subscriptions, self.ports];
        numbers.contains(&0) || sizes.contains(&0)
    }

    fn topics(&self, common: &Common) -> Topics {
        let parts = if self.parts.is_empty() {
            vec![Part::Publish, Part::Disk, Part::Push, Part::Hanging]
        } else {
            self.parts.clone()
        };
        Topics {
            parts,
            connections: self.publish_connections,
            body_bytes: common.body,
            seconds: common.seconds,
            messages: self.messages.next_multiple_of(16),
            rate: self.rate,
            subscriptions: self.subscriptions,
            hanging_rate: self.hanging_rate,
            hanging_seconds: self.hanging_seconds,
            ports: self.ports,
        }
    }
}

impl Common {
    fn subject(&self) -> Result<Subject> {
        let Some(endpoint) = &self.endpoint else {
            return Subject::start(self.data.clone());
        };
        let pair = self.key.clone().or_else(set_key);
        let pair = pair.context(Exit::Configuration.reason(
            "a running server needs an access key: give --key ID:SECRET or set ANSER_KEY",
        ))?;
        let (key_id, secret) = Key::parse_pair(&pair)?;
        let roots = self.roots.clone().or_else(set_roots);
        let access = Access {
            tls: client::tls_of(endpoint, roots.as_deref())?,
            endpoint: endpoint.clone(),
            key_id,
            secret,
            key_source: "from --key or ANSER_KEY".into(),
        };
        let from_data = || self.data.as_deref().and_then(process::process_of);
        Ok(Subject::running(access, self.server_pid.or_else(from_data)))
    }
}

fn say_row(row: &Row) {
    output::note(format_args!(
        "{} × {}: {:.0} messages/s",
        row.workload, row.connections, row.messages_per_second
    ));
}

fn print(report: &Report, json: bool) -> Result<()> {
    if json {
        output::answer(serde_json::to_string_pretty(report)?)?;
        output::note(report.markdown().trim_end());
        return Ok(());
    }
    output::answer(report.markdown().trim_end())
}

/// The key in the environment; an empty variable is as good as none.
fn set_key() -> Option<String> {
    let key = std::env::var("ANSER_KEY").ok();
    key.filter(|key| !key.is_empty())
}

/// As typed, but without the key.
fn command_line() -> String {
    let mut hide = false;
    let words = std::env::args().map(|word| {
        let hidden = std::mem::replace(&mut hide, word == "--key");
        match word {
            _ if hidden => "…".into(),
            word if word.starts_with("--key=") => "--key=…".into(),
            word => word,
        }
    });
    words.collect::<Vec<_>>().join(" ")
}
