//! `anser topic`: topics from a terminal or a script.

use std::io::Read;

use anyhow::{Context, Result};
use clap::{Args, Subcommand, ValueEnum};

use super::{
    explain::explain,
    queue::{shown, target::Target},
};
use crate::{
    client::{Client, Labels, TopicDetails, TopicSettings},
    output, utc,
};

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a topic.
    Create {
        name: String,
        /// By what subscriptions choose among messages.
        #[arg(long, value_enum, default_value_t = FilterBy::Tags)]
        filter_by: FilterBy,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show the topics whose name contains a text; all without one.
    List {
        #[arg(default_value = "")]
        search: String,
    },
    /// Show a topic's attributes and how many messages have not arrived everywhere.
    Show { name: String },
    /// Change attributes of a topic; what is not named stays.
    Set {
        name: String,
        #[command(flatten)]
        settings: Settings,
    },
    /// Delete a topic that has no subscriptions any more.
    Delete { name: String },
    /// Publish a message to all subscriptions that want it.
    Publish {
        topic: String,
        /// The message; without it, standard input up to its end.
        body: Option<String>,
        /// A tag of the message; up to five.
        #[arg(long = "tag", value_name = "TAG")]
        tags: Vec<String>,
        /// The message's routing key, for a topic with routing keys.
        #[arg(long, value_name = "KEY")]
        routing_key: Option<String>,
    },
}

#[derive(Debug, Args)]
struct Settings {
    /// The largest body: 1024 to 1048576, at first 65536.
    #[arg(long, value_name = "BYTES")]
    max_body: Option<u64>,
    /// Which copies must have a message before its publishing is answered: most of them, or all.
    #[arg(long, value_name = "majority|all", value_parser = ["majority", "all"])]
    acknowledge: Option<String>,
}

impl From<Settings> for TopicSettings {
    fn from(settings: Settings) -> Self {
        Self {
            max_msg_size: settings.max_body,
            acknowledge: settings.acknowledge,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FilterBy {
    Tags,
    RoutingKey,
}

pub(super) async fn run(arguments: Arguments) -> Result<()> {
    let access = arguments.target.access()?;
    let mut client = access.client()?;
    let done = act(&mut client, arguments.action).await;
    done.map_err(|error| explain(error, &access))
}

async fn act(client: &mut Client, action: Action) -> Result<()> {
    match action {
        Action::Create {
            name,
            filter_by,
            settings,
        } => {
            let filter_type = filter_by.number();
            let settings = settings.into();
            client
                .create_topic_with(&name, filter_type, &settings)
                .await?;
            output::answer(format_args!("created {name}"))
        }
        Action::List { search } => list(client, &search).await,
        Action::Show { name } => show(&client.topic(&name).await?),
        Action::Set { name, settings } => {
            client.set_topic(&name, &settings.into()).await?;
            output::answer(format_args!("changed {name}"))
        }
        Action::Delete { name } => {
            client.delete_topic(&name).await?;
            output::answer(format_args!("deleted {name}"))
        }
        Action::Publish {
            topic,
            body,
            tags,
            routing_key,
        } => {
            let body = body.map_or_else(read_body, Ok)?;
            let labels = Labels {
                tags: &tags,
                routing_key: routing_key.as_deref(),
            };
            output::answer(client.publish(&topic, &body, labels).await?.msg_id)
        }
    }
}

async fn list(client: &mut Client, search: &str) -> Result<()> {
    shown::pages(async |offset| {
        let page = client.list_topics(search, offset).await?;
        let names = page.topic_list.into_iter().map(|topic| topic.topic_name);
        Ok((names.collect(), page.total_count))
    })
    .await
}

fn show(topic: &TopicDetails) -> Result<()> {
    let filter_by = match topic.filter_type {
        2 => "routing keys",
        _ => "tags",
    };
    let rows = [
        ("name", topic.topic_name.clone()),
        ("id", topic.topic_id.clone()),
        ("created", utc::text(topic.create_time)),
        ("changed", utc::text(topic.last_modify_time)),
        ("filtered by", filter_by.into()),
        ("undelivered", topic.msg_count.to_string()),
        ("retention", format!("{} s", topic.msg_retention_seconds)),
        ("largest body", format!("{} bytes", topic.max_msg_size)),
        (
            "acknowledge",
            topic.acknowledge.clone().unwrap_or("majority".into()),
        ),
    ];
    shown::details(&rows)
}

impl FilterBy {
    /// As CMQ's `filterType` has it.
    fn number(self) -> u64 {
        match self {
            Self::Tags => 1,
            Self::RoutingKey => 2,
        }
    }
}

pub(super) fn read_body() -> Result<String> {
    let mut body = String::new();
    std::io::stdin()
        .read_to_string(&mut body)
        .context("the message on standard input is no UTF-8 text")?;
    Ok(body)
}
