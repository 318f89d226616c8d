//! Where things are when nobody says: the folders of the user who runs the command.
//!
//! Nothing here makes a folder; whoever writes into one does.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

use crate::exit::Exit;

/// The data directory of `anser dev` without `--data`.
pub fn dev_data() -> Result<PathBuf> {
    user_folder("XDG_DATA_HOME", ".local/share")
        .context(Exit::Configuration.reason("no place for the data: set HOME or give --data DIR"))
}

/// The master key file unless configured: beside the user's settings, never in a data directory.
pub fn master_key_file() -> Result<PathBuf> {
    if let Some(path) = set("ANSER_MASTER_KEY_FILE") {
        return Ok(PathBuf::from(path));
    }
    user_folder("XDG_CONFIG_HOME", ".config")
        .map(|folder| folder.join("master.key"))
        .context(Exit::Configuration.reason(
            "no place for the master key: set HOME, or name one with --master-key-file, \
             ANSER_MASTER_KEY_FILE or master_key_file",
        ))
}

/// The server's process id, while it runs.
pub fn process_id(data: &Path) -> PathBuf {
    data.join("anser.pid")
}

/// Locked by the server for as long as it uses the data directory.
pub fn server_lock(data: &Path) -> PathBuf {
    data.join("anser.lock")
}

/// The encrypted access keys.
pub fn keys(data: &Path) -> PathBuf {
    data.join("keys.anser")
}

/// Where damaged access keys are set aside.
pub fn keys_damaged(data: &Path) -> PathBuf {
    data.join("keys.anser.damaged")
}

/// Where access keys are kept that gave way to those of the cluster.
pub fn keys_replaced(data: &Path) -> PathBuf {
    data.join("keys.anser.replaced")
}

/// Who the node is, and which others it knows; `anser-node` writes it.
pub fn node(data: &Path) -> PathBuf {
    data.join("node.json")
}

/// Locked by whoever changes the access keys.
pub fn keys_lock(data: &Path) -> PathBuf {
    data.join("keys.lock")
}

/// What the command line needs to find a development server: no secrets.
pub fn dev_notes(data: &Path) -> PathBuf {
    data.join("dev.json")
}

/// The value of an environment variable; an empty one is as good as none.
fn set(variable: &str) -> Option<OsString> {
    env::var_os(variable).filter(|value| !value.is_empty())
}

fn user_folder(variable: &str, below_home: &str) -> Option<PathBuf> {
    let base = env::var_os(variable)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .or_else(|| {
            let home = set("HOME")?;
            Some(Path::new(&home).join(below_home))
        })?;
    Some(base.join("anser"))
}
