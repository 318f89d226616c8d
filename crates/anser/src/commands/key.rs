//! `anser key`: who may use the server. A running server notices changes within a second.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{
    commands::dev::Notes,
    config::Config,
    exit::Exit,
    keystore::{Key, Store},
    output, paths,
};

/// The account of an installation that has only one.
pub(super) const ACCOUNT_DEFAULT: u64 = 123_456_789_012;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    action: Action,
}

/// Which server's keys.
#[derive(Debug, Args)]
struct Place {
    /// The server's data directory [default: that of anser dev].
    #[arg(long, value_name = "DIR", global = true, conflicts_with = "config")]
    data: Option<PathBuf>,
    /// The server's configuration file.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The file with the key that encrypts access keys [default: in this user's settings].
    #[arg(long, value_name = "FILE", global = true)]
    master_key_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key and show its secret, once.
    Create {
        /// The account whose queues it may use.
        #[arg(long, value_name = "NUMBER", default_value_t = ACCOUNT_DEFAULT)]
        account: u64,
        /// What it is for.
        #[arg(long, value_name = "TEXT")]
        note: Option<String>,
    },
    /// Show all keys, without their secrets.
    List,
    /// Refuse requests of a key until it is enabled again.
    Disable { id: String },
    /// Accept requests of a disabled key again.
    Enable { id: String },
    /// Remove a key for good.
    Delete { id: String },
    /// Show the secret with which pushes of a subscription are signed, for its receiver to check.
    PushSecret {
        /// The subscription's id, as `anser subscription show` gives it.
        subscription: String,
    },
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let store = arguments.place.store()?;
    match &arguments.action {
        Action::Create { account, note } => create(&store, *account, note.clone()),
        Action::List => list(&store),
        Action::Disable { id } => store.set_enabled(id, false),
        Action::Enable { id } => store.set_enabled(id, true),
        Action::Delete { id } => store.delete(id),
        Action::PushSecret { subscription } => push_secret(&store, subscription),
    }
}

fn push_secret(store: &Store, subscription: &str) -> Result<()> {
    let id = anser_api::subscription_of(subscription).with_context(|| {
        Exit::Configuration.reason(format!(
            "\"{subscription}\" is no subscription's id: anser subscription show gives one"
        ))
    })?;
    output::answer(anser_push::secret_of(&store.push_signing_key()?, id))
}

impl Place {
    fn store(&self) -> Result<Store> {
        let config = self.config.as_deref().map(Config::read).transpose()?;
        let data = match (&self.data, &config) {
            (Some(data), _) => data.clone(),
            (None, Some(config)) => config.general.data.clone(),
            (None, None) => paths::dev_data()?,
        };
        let master_key_file = match (&self.master_key_file, &config) {
            (Some(file), _) => file.clone(),
            (None, Some(config)) => config.master_key_file()?,
            (None, None) => paths::master_key_file()?,
        };
        // In a cluster of anser dev each node has them.
        let folder = Notes::read(&data).map(|notes| notes.keys_folder(&data));
        Store::open(&folder.unwrap_or(data), &master_key_file)
    }
}

fn create(store: &Store, account: u64, note: Option<String>) -> Result<()> {
    let key = Key::generate(account, note)?;
    store.add(key.clone())?;
    if store.awaits_others()? {
        output::note(
            "this node awaits the access keys of its cluster, which will replace this one: \
             make keys on a node that has them",
        );
    }
    output::answer(format_args!(
        "id      {}\nsecret  {}\naccount {}",
        key.id, key.secret, key.account
    ))?;
    output::note("keep the secret now: it is not shown again");
    Ok(())
}

fn list(store: &Store) -> Result<()> {
    output::answer(format_args!(
        "{:<36}  {:>14}  {:<8}  {:<20}  note",
        "id", "account", "state", "created"
    ))?;
    for key in store.keys()? {
        let state = if key.enabled { "enabled" } else { "disabled" };
        let created = crate::utc::text(key.created);
        let note = key.note.as_deref().unwrap_or_default();
        output::answer(format_args!(
            "{:<36}  {:>14}  {state:<8}  {created:<20}  {note}",
            key.id, key.account
        ))?;
    }
    Ok(())
}
