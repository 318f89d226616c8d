//! The servers of a world: one, or a cluster in this process.

use std::{
    env,
    hash::{BuildHasher, RandomState},
    mem,
    net::SocketAddr,
    path::Path,
    thread,
    time::Duration,
};

use anser::{
    cluster::{self, token::Token},
    config::Config,
    exit::Exit,
    server::Server,
};
use anser_api::ServerConfig;
use anser_node::Clock;

use super::stage::until;
use crate::ports;

/// Says how many servers the tests are to run against.
const NODES: &str = "ANSER_TEST_NODES";
/// Between two looks at what all nodes know.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(crate) struct Servers {
    servers: Vec<Server>,
    configs: Vec<Config>,
}

/// How many servers a world has.
pub(crate) fn nodes() -> usize {
    let nodes = env::var(NODES).map_or(1, |nodes| nodes.parse().unwrap());
    assert!(nodes % 2 == 1, "{NODES} is 1, 3 or 5: each has a copy");
    nodes
}

/// Any place in a list of that length.
pub(crate) fn any(length: usize) -> usize {
    let random = RandomState::new().hash_one(());
    usize::try_from(random % length as u64).unwrap()
}

/// Configurations of so many nodes with their data in a folder.
pub(crate) fn configs(folder: &Path, nodes: usize) -> Vec<Config> {
    let token = folder.join("cluster.token");
    let ports = if nodes == 1 {
        Vec::new()
    } else {
        Token::create(&token).unwrap();
        ports::free(nodes)
    };
    let config = |node: usize| {
        let mut config = Config::default();
        config.general.data = folder.join(format!("data-{node}"));
        config.general.master_key_file = Some(folder.join("master.key"));
        if let Some(port) = ports.get(node) {
            config.cluster.listen = Some(SocketAddr::from(([127, 0, 0, 1], *port)));
            config.cluster.token_file = Some(token.clone());
            config.cluster.host = Some(format!("host-{node}"));
            config.cluster.replicas = nodes as u64;
            let first = format!("127.0.0.1:{}", ports[0]);
            config.cluster.join = (node > 0).then_some(first).into_iter().collect();
        }
        config
    };
    (0..nodes).map(config).collect()
}

impl Servers {
    /// Returns when every node has a copy of every shard.
    pub(crate) fn start(
        configs: Vec<Config>,
        clock: &Clock,
        adjust: impl Fn(&mut ServerConfig) + Sync,
    ) -> Self {
        let start =
            |config: &Config| Server::start_adjusted(config, clock.clone(), &adjust).unwrap();
        if configs.len() > 1 {
            cluster::form(&configs[0]).unwrap();
        }
        // The others ask the first one for a place, in any order.
        let mut servers = vec![start(&configs[0])];
        servers.extend(at_once(&configs[1..], start));
        let servers = Self { servers, configs };
        servers.wait_for_copies();
        servers
    }

    /// Ends all of them and starts them again.
    pub(crate) fn restarted(mut self, clock: &Clock, end: impl Fn(Server) + Sync) -> Self {
        let servers = mem::take(&mut self.servers);
        let configs = mem::take(&mut self.configs);
        thread::scope(|scope| {
            for server in servers {
                scope.spawn(|| end(server));
            }
        });
        let servers = at_once(&configs, |config| start_again(config, clock));
        Self { servers, configs }
    }

    pub(crate) fn any(&self) -> &Server {
        &self.servers[any(self.servers.len())]
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.servers.iter().map(Server::address).collect()
    }

    fn wait_for_copies(&self) {
        let nodes = self.servers.len();
        if nodes == 1 {
            return;
        }
        until(|| {
            thread::sleep(PAUSE);
            self.servers
                .iter()
                .all(|server| has_copies(server, nodes))
                .then_some(())
        });
    }
}

/// Starts a server on a data directory that another one has just let go of. A process that some other test
/// is starting at this moment holds copies of all files that are open here, the lock among them, until it
/// has begun.
fn start_again(config: &Config, clock: &Clock) -> Server {
    until(|| match Server::start(config, clock.clone()) {
        Err(error) if Exit::of(&error) == Exit::InUse => None,
        started => Some(started.unwrap()),
    })
}

/// What a server is when the plug is pulled: its node does nothing more, and nothing else is ended in order. A
/// node that is only dropped would live on in its threads: when the clock moves, it would write into the log
/// that belongs to the next server, and in a cluster take part.
pub(crate) fn unplug(server: Server) {
    server.node().shutdown();
    drop(server);
}

impl Drop for Servers {
    fn drop(&mut self) {
        if self.servers.len() > 1 {
            thread::scope(|scope| {
                for server in &self.servers {
                    scope.spawn(|| server.node().shutdown());
                }
            });
        }
    }
}

fn has_copies(server: &Server, nodes: usize) -> bool {
    let status = server.node().cluster_status();
    status
        .shards
        .iter()
        .all(|shard| shard.leader.is_some() && shard.voters.len() == nodes && !shard.joint)
}

fn at_once(configs: &[Config], start: impl Fn(&Config) -> Server + Sync) -> Vec<Server> {
    thread::scope(|scope| {
        let start = &start;
        let starting = configs
            .iter()
            .map(|config| scope.spawn(move || start(config)));
        let starting: Vec<_> = starting.collect();
        starting
            .into_iter()
            .map(|server| server.join().unwrap())
            .collect()
    })
}
