//! Which server a client command speaks to, and with which key.
//!
//! Flags win over the environment, and the environment over what `anser dev` left behind.

use std::{
    env,
    path::{Path, PathBuf},
};

use anser_network::Connector;
use anyhow::{Context, Result};
use clap::Args;

use crate::{
    client::{self, Client},
    commands::dev::Notes,
    exit::Exit,
    keystore::{Key, Store},
    paths,
};

#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The server, as `http://HOST:PORT` or `https://HOST:PORT` [default: `ANSER_ENDPOINT`, then that of anser dev].
    #[arg(long, value_name = "URL", global = true)]
    endpoint: Option<String>,
    /// Root certificates in PEM form to believe an https server by [default: `ANSER_ROOTS`, then the system's].
    #[arg(long, value_name = "FILE", global = true)]
    roots: Option<PathBuf>,
    /// The access key, which other users of the machine see here and not in `ANSER_KEY` [default:
    /// `ANSER_KEY`, then that of anser dev].
    #[arg(long, value_name = "ID:SECRET", global = true)]
    key: Option<String>,
    /// The data directory of the anser dev whose address and key to use.
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
}

/// An address and a key.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) endpoint: String,
    /// For an endpoint of `https`.
    pub(crate) tls: Option<Connector>,
    pub(crate) key_id: String,
    pub(crate) secret: String,
    /// Where the key is from, in words for whoever gave it.
    pub(crate) key_source: String,
}

impl Access {
    pub(crate) fn client(&self) -> Result<Client> {
        let tls = self.tls.as_ref();
        Client::with_tls(&self.endpoint, tls, &self.key_id, &self.secret)
            .context(Exit::Configuration.reason("the endpoint is not usable"))
    }
}

impl Target {
    pub(crate) fn access(&self) -> Result<Access> {
        let notes = match &self.data {
            Some(data) => Some(self::notes(data)?),
            None => paths::dev_data().ok().and_then(|data| {
                let notes = Notes::read(&data)?;
                Some((data, notes))
            }),
        };
        // A named data directory is a flag, so it wins over the environment.
        let variable = |name| {
            let wanted = self.data.is_none().then(|| env::var(name).ok()).flatten();
            wanted.filter(|value| !value.is_empty())
        };
        let endpoint = self.endpoint.clone().or_else(|| variable("ANSER_ENDPOINT"));
        let pair = self.key.clone().or_else(|| variable("ANSER_KEY"));

        let endpoint = match (endpoint, &notes) {
            (Some(endpoint), _) => endpoint,
            (None, Some((data, notes))) => notes.endpoint_now(data),
            (None, None) => "http://127.0.0.1:9324".into(),
        };
        let of_flag = self.key.is_some();
        let (key_id, secret, key_source) = match (pair, &notes) {
            (Some(pair), _) => {
                let (id, secret) = Key::parse_pair(&pair).context(
                    Exit::Configuration.reason("the key from --key or ANSER_KEY is not usable"),
                )?;
                let source = if of_flag { "--key" } else { "ANSER_KEY" };
                (id, secret, format!("from {source}"))
            }
            (None, Some((data, notes))) => kept_key(data, notes)?,
            (None, None) => {
                return Err(Exit::Configuration.error(
                    "no access key: give --key ID:SECRET, set ANSER_KEY, or name the data directory of an anser dev \
                     with --data DIR; the key of an anser dev without --data is found by itself",
                ));
            }
        };
        let roots = self.roots.clone().or_else(set_roots);
        Ok(Access {
            tls: client::tls_of(&endpoint, roots.as_deref())?,
            endpoint,
            key_id,
            secret,
            key_source,
        })
    }
}

/// The file of root certificates that the environment names.
pub(crate) fn set_roots() -> Option<PathBuf> {
    let file = env::var_os("ANSER_ROOTS").filter(|file| !file.is_empty());
    file.map(PathBuf::from)
}

fn notes(data: &Path) -> Result<(PathBuf, Notes)> {
    let notes = Notes::read(data).with_context(|| {
        let data = data.display();
        Exit::Configuration.reason(format!("no anser dev has used the data directory {data}"))
    })?;
    Ok((data.to_owned(), notes))
}

/// The key of an anser dev, and where it was found.
fn kept_key(data: &Path, notes: &Notes) -> Result<(String, String, String)> {
    let folder = notes.keys_folder(data);
    let key = Store::open(&folder, &notes.master_key_file)?.find(&notes.key_id)?;
    let file = paths::keys(&folder);
    let key = key.with_context(|| {
        let (id, file) = (&notes.key_id, file.display());
        Exit::Configuration.reason(format!(
            "the key {id} of anser dev is gone from {file}: restart anser dev, or give --key ID:SECRET"
        ))
    })?;
    Ok((key.id, key.secret, format!("found in {}", file.display())))
}
