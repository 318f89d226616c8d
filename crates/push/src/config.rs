//! What can be set on a pusher.

use std::{fmt, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anser_broker::{limits, time::Millis};
use anser_network::Network;

use crate::resolver::{Resolver, SystemResolver};

/// Ports that speak other protocols, which a push could be made to misuse.
const DENIED_PORTS: &[u16] = &[
    22, 23, 25, 53, 110, 143, 465, 587, 2375, 2376, 2379, 3306, 3389, 5432, 6379, 11211, 27017,
];

/// Says where the other nodes of this server's cluster are reached by each other, as it is now.
pub type OtherNodes = Arc<dyn Fn() -> Vec<SocketAddr> + Send + Sync>;

/// The settings of a pusher.
#[derive(Clone)]
pub struct Config {
    /// How many messages of one subscription are pushed at once, 1 to
    /// [`limits::BATCH_MESSAGES_MAX`]. A subscription with back-off always has one.
    pub subscription_pushes: usize,
    /// How many pushes may be under way to one host and port, and to one address and port, at least
    /// 1.
    pub host_pushes: usize,
    /// How many pushes may be under way in all, at least 1. One account gets a quarter of them.
    pub pushes: usize,
    /// Bytes of the bodies of all pushes under way, as they were published; at least 1 MiB. A JSON
    /// body takes more than what was published, at worst six times as much. One account gets a
    /// quarter of them, at least 1 MiB.
    pub bodies_bytes: usize,
    /// How long it may take to resolve the host's name, connect and agree on TLS.
    pub connect_time: Duration,
    /// How long a push may take from its beginning to the end of the answer, connecting included.
    /// With `lease_margin` at most [`limits::VISIBILITY_MAX`].
    pub total_time: Duration,
    /// How much longer than `total_time` a message stays leased, so that there is time to settle it.
    pub lease_margin: Duration,
    /// How long an unused connection is kept for the next push.
    pub idle_time: Duration,
    /// How long after it was opened a connection is kept for another push, so that a name that
    /// changes its addresses is followed.
    pub connection_time: Duration,
    /// How many unused connections are kept in all.
    pub idle_connections: usize,
    /// Networks that may be dialled though they are not of the public internet.
    pub allow: Vec<Network>,
    /// Where this server itself listens. Never dialled, whatever `allow` says.
    pub own_addresses: Vec<SocketAddr>,
    /// Never dialled there either, nor on the ports of `own_addresses`.
    pub other_nodes: OtherNodes,
    /// Ports that are never dialled, whatever `allow` says.
    pub denied_ports: Vec<u16>,
    /// A PEM file of root certificates that are trusted instead of the system's.
    pub roots: Option<PathBuf>,
    /// The key from which the secrets of subscriptions are derived ([`crate::secret_of`]). Without
    /// it pushes are not signed.
    pub signing_key: Option<[u8; 32]>,
    /// Who turns names into addresses.
    pub resolver: Arc<dyn Resolver>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            subscription_pushes: 16,
            host_pushes: 64,
            pushes: 4096,
            bodies_bytes: 256 << 20,
            connect_time: Duration::from_secs(5),
            total_time: Duration::from_secs(15),
            lease_margin: Duration::from_secs(30),
            idle_time: Duration::from_secs(30),
            connection_time: Duration::from_secs(300),
            idle_connections: 1024,
            allow: Vec::new(),
            own_addresses: Vec::new(),
            other_nodes: Arc::new(Vec::new),
            denied_ports: DENIED_PORTS.to_vec(),
            roots: None,
            signing_key: None,
            resolver: Arc::new(SystemResolver),
        }
    }
}

impl Config {
    pub(crate) fn check(&self) -> io::Result<()> {
        let batch = 1..=limits::BATCH_MESSAGES_MAX;
        if !batch.contains(&self.subscription_pushes) {
            return Err(out_of_range("the pushes of one subscription"));
        }
        if self.host_pushes == 0 || self.pushes == 0 {
            return Err(out_of_range("the number of pushes"));
        }
        if self.bodies_bytes < limits::BODY_BYTES_MAX as usize {
            return Err(out_of_range("the bytes of bodies"));
        }
        if self.total_time.is_zero() || self.visibility() > limits::VISIBILITY_MAX {
            return Err(out_of_range("the total time of a push"));
        }
        Ok(())
    }

    /// How long a message is leased.
    pub(crate) fn visibility(&self) -> Millis {
        milliseconds(self.total_time.saturating_add(self.lease_margin))
    }
}

pub(crate) fn milliseconds(length: Duration) -> Millis {
    Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}

fn out_of_range(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{what}: the setting is out of its range"),
    )
}

/// Shows no key.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("pushes", &self.pushes)
            .field("connect_time", &self.connect_time)
            .field("total_time", &self.total_time)
            .field("allow", &self.allow)
            .field("own_addresses", &self.own_addresses)
            .field("denied_ports", &self.denied_ports)
            .field("signed", &self.signing_key.is_some())
            .finish_non_exhaustive()
    }
}
