//! `anser queue`: the everyday actions on queues and messages, from a terminal or a script.

mod settings;
pub(super) mod shown;
pub(crate) mod target;

use std::io::Write;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use super::{explain::explain, topic::read_body};
use crate::{
    client::{Client, QueueDetails, Received},
    exit::Exit,
    output, utc,
};
use settings::Settings;
use target::Target;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a queue.
    Create {
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show the queues whose name contains a text; all without one.
    List {
        #[arg(default_value = "")]
        search: String,
    },
    /// Show a queue's attributes and how many messages it has.
    Show { name: String },
    /// Change attributes of a queue; what is not named stays.
    Set {
        name: String,
        #[command(flatten)]
        settings: Settings,
        /// Stop sending dead letters to another queue.
        #[arg(long, conflicts_with = "dead_letter")]
        no_dead_letter: bool,
    },
    /// Delete a queue and all its messages.
    Delete { name: String },
    /// Drop all messages of a queue, delayed and received ones too.
    Clear { name: String },
    /// Make deleted messages available again, from a moment on.
    Rewind(Rewind),
    /// Send a message.
    Send {
        queue: String,
        /// The message; without it, standard input up to its end.
        body: Option<String>,
        /// How long until it can be received.
        #[arg(long, value_name = "SECONDS", default_value_t = 0)]
        delay: u64,
    },
    /// Receive messages and print their bodies; ends with code 1 if none came.
    Receive(Receive),
}

#[derive(Debug, Args)]
struct Rewind {
    name: String,
    /// The moment in seconds since 1970.
    #[arg(
        long,
        value_name = "SECONDS",
        required_unless_present = "ago",
        conflicts_with = "ago"
    )]
    to: Option<u64>,
    /// The moment as a time before now.
    #[arg(long, value_name = "SECONDS")]
    ago: Option<u64>,
}

#[derive(Debug, Args)]
struct Receive {
    queue: String,
    /// At most so many messages.
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=16))]
    max: u64,
    /// How long to wait for the first [default: the queue's own].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=30))]
    wait: Option<u64>,
    /// Delete what was received, once it is printed.
    #[arg(long)]
    delete: bool,
    /// Print a JSON object per message: body, ids, times, receipt handle.
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let access = arguments.target.access()?;
    let mut client = access.client()?;
    let done = act(&mut client, arguments.action).await;
    done.map_err(|error| explain(error, &access))
}

async fn act(client: &mut Client, action: Action) -> Result<()> {
    match action {
        Action::Create { name, settings } => {
            client.create_queue(&name, &settings.changes()?).await?;
            output::answer(format_args!("created {name}"))?;
        }
        Action::List { search } => list(client, &search).await?,
        Action::Show { name } => show(&client.queue(&name).await?)?,
        Action::Set {
            name,
            settings,
            no_dead_letter,
        } => {
            if no_dead_letter {
                client.unbind_dead_letter_queue(&name).await?;
            }
            client.set_queue(&name, &settings.changes()?).await?;
            output::answer(format_args!("changed {name}"))?;
        }
        Action::Delete { name } => {
            client.delete_queue(&name).await?;
            output::answer(format_args!("deleted {name}"))?;
        }
        Action::Clear { name } => {
            client.clear_queue(&name).await?;
            output::answer(format_args!("cleared {name}"))?;
        }
        Action::Rewind(rewind) => {
            let to = rewind.moment()?;
            client.rewind_queue(&rewind.name, to).await?;
            output::answer(format_args!("rewound {} to {}", rewind.name, utc::text(to)))?;
        }
        Action::Send { queue, body, delay } => {
            let body = body.map_or_else(read_body, Ok)?;
            output::answer(client.send(&queue, &body, delay).await?.msg_id)?;
        }
        Action::Receive(receive) => receive.run(client).await?,
    }
    Ok(())
}

async fn list(client: &mut Client, search: &str) -> Result<()> {
    shown::pages(async |offset| {
        let page = client.list_queues(search, offset).await?;
        let names = page.queue_list.into_iter().map(|queue| queue.queue_name);
        Ok((names.collect(), page.total_count))
    })
    .await
}

fn show(queue: &QueueDetails) -> Result<()> {
    let policy = queue
        .dead_letter_policy
        .as_ref()
        .map_or("none".into(), ToString::to_string);
    let rows = [
        ("name", queue.queue_name.clone()),
        ("id", queue.queue_id.clone()),
        ("created", utc::text(queue.create_time)),
        ("changed", utc::text(queue.last_modify_time)),
        ("ready", queue.active_msg_num.to_string()),
        ("leased", queue.inactive_msg_num.to_string()),
        ("delayed", queue.delay_msg_num.to_string()),
        ("rewindable", queue.rewind_msg_num.to_string()),
        (
            "visibility timeout",
            format!("{} s", queue.visibility_timeout),
        ),
        ("wait", format!("{} s", queue.polling_wait_seconds)),
        (
            "acknowledge",
            queue.acknowledge.clone().unwrap_or("majority".into()),
        ),
        ("retention", format!("{} s", queue.msg_retention_seconds)),
        ("rewind", format!("{} s", queue.rewind_seconds)),
        ("largest body", format!("{} bytes", queue.max_msg_size)),
        (
            "largest backlog",
            format!("{} messages", queue.max_msg_heap_num),
        ),
        ("dead letters", policy),
    ];
    shown::details(&rows)
}

impl Rewind {
    fn moment(&self) -> Result<u64> {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs();
        Ok(self
            .to
            .unwrap_or_else(|| now.saturating_sub(self.ago.unwrap_or_default())))
    }
}

impl Receive {
    async fn run(&self, client: &mut Client) -> Result<()> {
        let messages = client
            .batch_receive(&self.queue, self.max, self.wait)
            .await?;
        if messages.is_empty() {
            return Err(Exit::Failed.error("no message came"));
        }
        self.print(&messages)
            .context("cannot write the messages, so none was deleted")?;
        if self.delete {
            let handles: Vec<&str> = messages
                .iter()
                .map(|message| message.receipt_handle.as_str())
                .collect();
            let deleted = client.batch_delete(&self.queue, &handles).await?;
            if let Some(failure) = deleted.error_list.first() {
                anyhow::bail!(
                    "{} of {} messages could not be deleted: {}",
                    deleted.error_list.len(),
                    handles.len(),
                    failure.message
                );
            }
        }
        Ok(())
    }

    fn print(&self, messages: &[Received]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        for message in messages {
            let json = self
                .json
                .then(|| serde_json::to_string(message))
                .transpose()?;
            let text = json.as_ref().unwrap_or(&message.msg_body);
            stdout.write_all(output::received(text).as_bytes())?;
            stdout.write_all(b"\n")?;
        }
        Ok(stdout.flush()?)
    }
}
