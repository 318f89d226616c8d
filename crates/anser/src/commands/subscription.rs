//! `anser subscription`: who gets what is published to a topic.

use anyhow::Result;
use clap::{Args, Subcommand, ValueEnum};

use super::{
    explain::explain,
    queue::{shown, target::Target},
};
use crate::{
    client::{Client, DeliveryFailure, SubscriptionDetails, SubscriptionSettings},
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
    /// Deliver what is published from now on to a URL or a queue.
    Create {
        topic: String,
        name: String,
        #[command(flatten)]
        endpoint: Endpoint,
        #[command(flatten)]
        settings: Settings,
    },
    /// Show a topic's subscriptions whose name contains a text; all without one.
    List {
        topic: String,
        #[arg(default_value = "")]
        search: String,
    },
    /// Show a subscription's attributes, what it delivered and the last failures.
    Show { topic: String, name: String },
    /// Change attributes of a subscription; what is not named stays.
    Set {
        topic: String,
        name: String,
        #[command(flatten)]
        settings: Settings,
        /// Deliver every message, whatever its tags.
        #[arg(long, conflicts_with = "tags")]
        no_tags: bool,
        /// Count what is given up instead of keeping it.
        #[arg(long, conflicts_with = "dead_letter")]
        no_dead_letter: bool,
    },
    /// End a subscription and what it has not delivered.
    Delete { topic: String, name: String },
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Endpoint {
    /// The web server that gets each message as a POST.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// The queue that gets each message.
    #[arg(long, value_name = "QUEUE")]
    queue: Option<String>,
}

#[derive(Debug, Args)]
struct Settings {
    /// Deliver only messages with this tag; up to five, one suffices.
    #[arg(long = "tag", value_name = "TAG", id = "tags")]
    tags: Vec<String>,
    /// Deliver only messages whose routing key matches: `*` is one word, `#` any number; up to five.
    #[arg(long = "binding-key", value_name = "KEY")]
    binding_keys: Vec<String>,
    /// What happens after a failure [default: decay].
    #[arg(long, value_enum)]
    retry: Option<Retry>,
    /// What is sent to a URL [default: json].
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The queue for what is given up.
    #[arg(long, value_name = "QUEUE")]
    dead_letter: Option<String>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Retry {
    /// In order: three retries after 10 to 20 seconds each, then the next message.
    Backoff,
    /// In parallel: after 1, 2, 4 … 512 seconds and on for a day.
    Decay,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// A JSON object with the message and where it comes from.
    Json,
    /// The message and nothing else.
    Simplified,
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
            topic,
            name,
            endpoint,
            settings,
        } => {
            let endpoint = endpoint.protocol_and_address();
            let settings = settings.changes();
            client.subscribe(&topic, &name, endpoint, &settings).await?;
            output::answer(format_args!("created {name}"))
        }
        Action::List { topic, search } => list(client, &topic, &search).await,
        Action::Show { topic, name } => show(&client.subscription(&topic, &name).await?),
        Action::Set {
            topic,
            name,
            settings,
            no_tags,
            no_dead_letter,
        } => {
            let mut changes = settings.changes();
            if no_dead_letter {
                changes.dead_letter_queue = Some(String::new());
            }
            client.set_subscription(&topic, &name, &changes).await?;
            if no_tags {
                client.clear_filter_tags(&topic, &name).await?;
            }
            output::answer(format_args!("changed {name}"))
        }
        Action::Delete { topic, name } => {
            client.unsubscribe(&topic, &name).await?;
            output::answer(format_args!("deleted {name}"))
        }
    }
}

async fn list(client: &mut Client, topic: &str, search: &str) -> Result<()> {
    shown::pages(async |offset| {
        let page = client.list_subscriptions(topic, search, offset).await?;
        let lines = page.subscription_list.iter().map(|subscription| {
            format!(
                "{:<30}{:<8}{}",
                subscription.subscription_name, subscription.protocol, subscription.endpoint
            )
        });
        Ok((lines.collect(), page.total_count))
    })
    .await
}

fn show(subscription: &SubscriptionDetails) -> Result<()> {
    let filter = [&subscription.filter_tags[..], &subscription.binding_key[..]].concat();
    let filter = match filter.as_slice() {
        [] => "every message".into(),
        words => words.join(", "),
    };
    let dead_letter = subscription.dead_letter_queue_name.as_deref();
    let rows = [
        ("name", subscription.subscription_name.clone()),
        ("id", subscription.subscription_id.clone()),
        ("created", utc::text(subscription.create_time)),
        ("changed", utc::text(subscription.last_modify_time)),
        ("protocol", subscription.protocol.clone()),
        ("endpoint", subscription.endpoint.clone()),
        ("filter", filter),
        ("retry", subscription.notify_strategy.clone()),
        ("format", subscription.notify_content_format.clone()),
        ("dead letters", dead_letter.unwrap_or("none").into()),
        ("undelivered", subscription.msg_count.to_string()),
        ("delivered", subscription.delivered_num.to_string()),
        ("expired", subscription.expired_num.to_string()),
        ("given up", subscription.given_up_num.to_string()),
        ("dead-lettered", subscription.dead_lettered_num.to_string()),
    ];
    shown::details(&rows)?;
    for failure in &subscription.last_failures {
        show_failure(failure)?;
    }
    Ok(())
}

fn show_failure(failure: &DeliveryFailure) -> Result<()> {
    output::answer(format_args!(
        "{:<20}{} message {} attempt {}: {} ({} ms) {}",
        "failure",
        utc::text(failure.time),
        failure.msg_id,
        failure.attempt,
        failure.reason,
        failure.milliseconds,
        failure.answer.escape_debug(),
    ))
}

impl Endpoint {
    fn protocol_and_address(&self) -> (&str, &str) {
        match (&self.url, &self.queue) {
            (Some(url), _) => ("http", url),
            (None, Some(queue)) => ("queue", queue),
            (None, None) => unreachable!("the command line has one of them"),
        }
    }
}

impl Settings {
    fn changes(self) -> SubscriptionSettings {
        let retry = self.retry.map(|retry| match retry {
            Retry::Backoff => "BACKOFF_RETRY",
            Retry::Decay => "EXPONENTIAL_DECAY_RETRY",
        });
        let format = self.format.map(|format| match format {
            Format::Json => "JSON",
            Format::Simplified => "SIMPLIFIED",
        });
        SubscriptionSettings {
            notify_strategy: retry.map(Into::into),
            notify_content_format: format.map(Into::into),
            filter_tags: self.tags,
            binding_keys: self.binding_keys,
            dead_letter_queue: self.dead_letter,
        }
    }
}
