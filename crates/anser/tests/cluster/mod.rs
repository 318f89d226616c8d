//! Clusters of real processes: `anser dev --nodes`, killed, restarted and asked to end.

pub(crate) mod dev_cluster;
mod forming;
mod life;
mod operating;
mod upgrade;
