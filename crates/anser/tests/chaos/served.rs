//! Where the clients of a test ask: one server, or any node of a cluster.

use anser::cluster::view::Cluster;

/// Something that serves clients.
pub(crate) trait Served {
    fn doors(&self) -> Doors;
    /// The last lines of every log, for messages of failed tests.
    fn logs(&self) -> String;
}

/// The nodes of a cluster, which can be asked how they are.
pub(crate) trait Nodes: Served {
    /// What a node knows of the cluster; `None` if it does not answer.
    fn status(&self, node: u16) -> Option<Cluster>;
}

/// Every address there is, and the key that all of them know.
#[derive(Debug, Clone)]
pub(crate) struct Doors {
    pub(crate) endpoints: Vec<String>,
    pub(crate) key_id: &'static str,
    pub(crate) secret: &'static str,
}
