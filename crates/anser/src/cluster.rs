//! What a node needs of its cluster beside the node itself: the token, and the cluster as it is told
//! to people.
//!
//! Nodes speak to each other in `anser-node`; here are the files and the words around that.

pub mod ask;
pub(crate) mod proof;
pub mod table;
pub mod token;
pub mod view;

use anyhow::Result;

use crate::{config::Config, exit::Exit, process::Claim, server, system};

/// Makes a server that does not run the first node of a new cluster: with its next start, and with all that it has.
///
/// Fails if the configuration has no cluster, or the data directory is a node's already or in use.
pub fn form(config: &Config) -> Result<()> {
    if config.cluster.listen.is_none() {
        return Err(Exit::Configuration.error(
            "the configuration has no cluster.listen: say in its section [cluster] where other nodes connect",
        ));
    }
    system::keep_files_private();
    let data = &config.general.data;
    let _claim = Claim::take(data)?;
    anser_node::form(data).map_err(|error| {
        let text = format!("cannot form a cluster in {}", data.display());
        server::start_error(error, text)
    })
}
