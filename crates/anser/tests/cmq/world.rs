//! A whole server of a test's own, or one that the tests which leave no traces share. With
//! `ANSER_TEST_NODES=3` in the environment it is a cluster.
//!
//! Its clock stands still at the time of the signature vectors until a test moves it.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use anser::{
    config::Config,
    keystore::{Key, Store},
    server::Server,
};
use anser_api::{AccessKey, KeyStore, Rates, ServerConfig, cmq};
use anser_broker::{
    id::AccountId,
    time::{Millis, Timestamp},
};
use anser_node::Clock;
use tempfile::TempDir;

use super::{
    caller::{Caller, ID, SECRET},
    receiver::Receiver,
    servers::{self, Servers},
};

pub(crate) const ACCOUNT: u64 = 100_000_001;
pub(crate) const START: u64 = 1_700_000_000;
/// A key that is switched off.
pub(crate) const DISABLED_ID: &str = "EXAMPLE-ID-0000000000000000000000002";

/// A key of another account.
const WATCHER_ID: &str = "EXAMPLE-ID-0000000000000000000000003";

#[derive(Debug)]
pub(crate) struct World {
    clock: Clock,
    servers: Servers,
    _folder: TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::configured(|_| {})
    }

    pub(crate) fn configured(configure: impl Fn(&mut Config)) -> Self {
        Self::adjusted(configure, |_| {})
    }

    /// With settings that no configuration offers.
    pub(crate) fn adjusted(
        configure: impl Fn(&mut Config),
        adjust: impl Fn(&mut cmq::Config) + Sync,
    ) -> Self {
        Self::of(servers::nodes(), configure, adjust)
    }

    /// One server, in a run against a cluster too. `docs/dialects/cmq.md` names the tests that need it, in
    /// the section "Against a cluster".
    pub(crate) fn alone() -> Self {
        Self::of(1, |_| {}, |_| {})
    }

    fn of(
        nodes: usize,
        configure: impl Fn(&mut Config),
        adjust: impl Fn(&mut cmq::Config) + Sync,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut configs = servers::configs(folder.path(), nodes);
        for config in &mut configs {
            usual(config);
            configure(config);
        }
        add_keys(&configs[0]);
        let clock = Clock::manual(Timestamp(START * 1000));
        let adjust = |server: &mut ServerConfig| adjust(&mut server.cmq);
        let servers = Servers::start(configs, &clock, adjust);
        let world = Self {
            clock,
            servers,
            _folder: folder,
        };
        world.watch("CreateQueue");
        world
    }

    /// Stops the servers and starts them again on what they left.
    pub(crate) fn restarted(self) -> Self {
        let servers = self.servers.restarted(&self.clock, Server::shutdown);
        Self { servers, ..self }
    }

    /// As [`World::restarted`], but the servers do not get to stop: the plug is pulled.
    pub(crate) fn unplugged(self) -> Self {
        let servers = self.servers.restarted(&self.clock, servers::unplug);
        Self { servers, ..self }
    }

    /// A server for tests that look only at queues of their own and do not move the clock.
    pub(crate) fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let world = Arc::new(Self::new());
            *shared = Arc::downgrade(&world);
            world
        })
    }

    /// Of any server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.servers.any().address()
    }

    /// A client with connections of its own.
    pub(crate) fn caller(&self) -> Caller {
        Caller::of_any(self.servers.addresses(), self.clock.clone())
    }

    /// A web server for pushes.
    pub(crate) fn receiver(&self) -> Receiver {
        Receiver::start(self.clock.clone())
    }

    /// Moves the clock, and waits until what has fallen due is settled.
    pub(crate) fn advance(&self, seconds: u64) {
        self.advance_milliseconds(seconds * 1000);
    }

    /// As [`World::advance`].
    pub(crate) fn advance_milliseconds(&self, milliseconds: u64) {
        self.clock.advance(Millis(milliseconds));
        self.watch("ClearQueue");
    }

    /// Writes to a queue of another account. All queues are in one shard, and a write to a shard is
    /// carried out after what was due there.
    fn watch(&self, action: &str) {
        let mut watcher = self.caller();
        let mut request = watcher.request(action, &[("queueName", "watch")]);
        request.set("SecretId", WATCHER_ID);
        watcher.ask(&request).done();
    }

    /// Seconds since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.clock.wall().seconds()
    }

    /// A second port to a node, with its own keys and rates.
    pub(crate) fn second_port(
        &self,
        keys: Vec<AccessKey>,
        rates: Option<Rates>,
    ) -> anser_api::Server {
        let config = ServerConfig {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            threads: 1,
            tls: None,
            trusted_proxies: Vec::new(),
            limits: anser_api::Limits::default(),
            rates,
            cmq: cmq::Config::new([7; 32]),
        };
        let clock = self.clock.clone();
        let wall = Arc::new(move || clock.wall());
        let keys = Arc::new(Keys(keys.into_iter().map(Arc::new).collect()));
        anser_api::start(config, self.servers.any().node().clone(), keys, wall).unwrap()
    }

    pub(crate) fn caller_at(&self, port: &anser_api::Server) -> Caller {
        Caller::new(port.address(), self.clock.clone())
    }
}

pub(crate) fn usual_key() -> AccessKey {
    AccessKey::new(ID, SECRET.as_bytes(), AccountId(ACCOUNT), true)
}

struct Keys(Vec<Arc<AccessKey>>);

impl KeyStore for Keys {
    fn find(&self, id: &str) -> Option<Arc<AccessKey>> {
        self.0.iter().find(|key| key.id() == id).cloned()
    }
}

/// What all tests want, unless they say otherwise.
fn usual(config: &mut Config) {
    let local = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    config.api.listen = local;
    // With one thread requests are taken in the order in which they were sent.
    config.api.threads = 1;
    config.admin.listen = local;
    config.storage.shards = 1;
    config.storage.wal_file_bytes.0 = 4 << 20;
    config.storage.wal_budget_bytes.0 = 64 << 20;
    config.storage.reserve_bytes.0 = 0;
    // Receivers of pushes are on this machine, at any port.
    config.push.allow = vec!["127.0.0.0/8".into()];
    config.push.denied_ports = Vec::new();
}

fn add_keys(config: &Config) {
    let master = config.master_key_file().unwrap();
    let store = Store::open(&config.general.data, &master).unwrap();
    for (id, account) in [
        (ID, ACCOUNT),
        (DISABLED_ID, ACCOUNT),
        (WATCHER_ID, ACCOUNT + 1),
    ] {
        let key = Key::new(id.into(), SECRET.into(), account, None).unwrap();
        store.add(key).unwrap();
    }
    store.set_enabled(DISABLED_ID, false).unwrap();
}
