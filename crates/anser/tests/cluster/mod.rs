//! Clusters of real processes: `anser dev --nodes`, killed, restarted and asked to end.

pub(crate) mod dev_cluster;
mod forming;
mod identities;
mod life;
mod operating;
mod servers;
mod upgrade;
