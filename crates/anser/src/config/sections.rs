//! What can be configured: every setting with its default, its range and its explanation.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use anser_api::{Accounts, Host, Limits as Http, Rates, cmq};
use anser_broker::time::Millis;
use anser_network::Network;
use anyhow::{Context, Result};

use super::{section::section, value::ByteCount};
use crate::{certificate::CertificateFiles, exit::Exit};

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

section! {
    /// The server as a whole. These settings stand above the first section of the file.
    General {
        /// The folder that holds everything the server keeps: the log, snapshots and the encrypted
        /// access keys. One server uses it at a time.
        data: PathBuf = PathBuf::from("/var/lib/anser");
        /// The file with the key that encrypts the access keys, made at first use and readable by its
        /// owner only. It must not be inside `data`. Absent: the file that the environment variable
        /// `ANSER_MASTER_KEY_FILE` names, otherwise `anser/master.key` in `XDG_CONFIG_HOME` or
        /// `~/.config`.
        master_key_file: Option<PathBuf> = None;
        /// How long requests under way may take to end when the server stops.
        stop_seconds: u64 = 10, 0 => 300;
        /// Whether the process may leave a core dump when it crashes, and be traced by other processes of
        /// its user. A dump holds access keys and bodies of messages.
        core_dumps: bool = false;
    }
}

section! {
    /// The port that clients use.
    Api {
        /// Where clients connect. Port 0 takes any free port.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9324));
        /// The file with the port's certificate in PEM form, followed by those between it and a root. With `key` the
        /// port speaks HTTPS and nothing else; without them HTTP. See `docs/https.md`.
        certificate: Option<PathBuf> = None;
        /// The file with the certificate's private key in PEM form, readable by its owner only.
        key: Option<PathBuf> = None;
        /// Proxies in front of this port that are believed when they say in `X-Forwarded-For` where a request comes
        /// from, as addresses or networks like `10.1.0.0/16`. See `docs/https.md`.
        trusted_proxies: Vec<String> = Vec::new();
        /// How many threads serve connections; 0: one per core.
        threads: u64 = 0, 0 => 256;
        /// The region's name, as it appears in names of resources.
        region: String = "us-east-1".into();
        /// Names, with port if clients write one, under which clients know this server when a proxy
        /// in front of it changes the `Host` header. They are part of signatures.
        public_names: Vec<String> = Vec::new();
        /// How far the time in a request may be from this machine's clock.
        clock_skew_seconds: u64 = 300, 1 => 7200;
        /// Accounts, by their numbers as texts, whose requests must be signed with SHA-256; `"*"` stands for
        /// all. Those of others may be signed with SHA-1, as the vendor's clients do by default.
        sha256_accounts: Vec<String> = Vec::new();
        /// Accounts, likewise, of which a node accepts each signed request once only, so that one that was
        /// overheard cannot be repeated there. A client that sends a request again, since it got no answer, has to sign it
        /// anew.
        once_accounts: Vec<String> = Vec::new();
        /// How long the name of a deleted queue or topic cannot be used again.
        name_reuse_seconds: u64 = 0, 0 => 600;
        /// How many queues an account may have.
        queues: u64 = 10_000, 1 => 1_000_000;
        /// How many topics an account may have.
        topics: u64 = 10_000, 1 => 1_000_000;
        /// How many subscriptions a topic may have.
        subscriptions: u64 = 500, 1 => 10_000;
        /// Where clients of the TCP protocol are sent, as `HOST:PORT`; none: to where they asked.
        advertised_tcp: Vec<String> = Vec::new();
        /// How many messages of a new queue may be received and not yet deleted.
        in_flight_messages: u64 = 100_000, 1 => 100_000_000;
        /// How many messages of a new queue may be delayed.
        delayed_messages: u64 = 1_000_000, 1 => 1_000_000_000;
        /// How many messages a second may be sent to, received from and deleted from a queue, each, and
        /// published to a topic; 0: as many as possible. Clients do not slow down by themselves when they are refused.
        messages_per_second: u64 = 0, 0 => 10_000_000;
        /// How many messages a second of an account may be sent, published, received and deleted in all;
        /// 0: as many as possible. Deletes count, and are refused only by the rate of their queue.
        account_messages_per_second: u64 = 0, 0 => 10_000_000;
        /// How many requests a second that concern queues and topics themselves an account may make;
        /// 0: as many as possible.
        control_per_second: u64 = 0, 0 => 10_000_000;
    }
}

section! {
    /// What clients may take of the server before anybody knows who they are.
    Limits {
        /// The size of a request line and its headers together.
        head_bytes: ByteCount = ByteCount(http_default().head_bytes as u64),
            Http::HEAD_BYTES_LEAST as u64 => MIB;
        /// How many headers a request may have.
        headers: u64 = http_default().headers as u64, 8 => 1000;
        /// The size of a request's body as it comes over the wire.
        body_bytes: ByteCount = ByteCount(http_default().body_bytes as u64), 64 * KIB => 64 * MIB;
        /// Memory for all bodies that are being received, as they come and, if they hold escapes, decoded; at
        /// least two of `body_bytes`. Those from one address (IPv6: one /64) may take a quarter of it, or be one.
        bodies_bytes: ByteCount = ByteCount(http_default().bodies_bytes as u64), MIB => TIB;
        /// Memory for all answers that clients have not read yet. Those to one account may take a quarter
        /// of it, or be one; beyond it receives are refused.
        answers_bytes: ByteCount = ByteCount(http_default().answers_bytes as u64), 128 * MIB => TIB;
        /// How many connections may be open.
        connections: u64 = http_default().connections as u64, 1 => 1_000_000;
        /// How many of them may come from one address.
        connections_per_address: u64 = http_default().connections_per_address as u64,
            1 => 1_000_000;
        /// How long a client may take to send the head of a request.
        head_seconds: u64 = http_default().head_time.as_secs(), 1 => 3600;
        /// How long a client may take to send the body.
        body_seconds: u64 = http_default().body_time.as_secs(), 1 => 3600;
        /// How many bytes a second of the body have to come, in every five seconds until its end.
        body_bytes_per_second: ByteCount = ByteCount(http_default().body_bytes_per_second),
            1 => GIB;
        /// How long a client may take to read the answer.
        write_seconds: u64 = http_default().write_time.as_secs(), 1 => 3600;
        /// How long a connection may be idle between two requests.
        idle_seconds: u64 = http_default().idle_time.as_secs(), 1 => 86_400;
    }
}

section! {
    /// Pushing messages of topics to web servers.
    Push {
        /// Networks that may be pushed to though they are private or of this machine, like
        /// `10.1.0.0/16` or `127.0.0.0/8`. Without them only addresses of the public internet are.
        allow: Vec<String> = Vec::new();
        /// Ports that are never pushed to.
        denied_ports: Vec<u16> = push_default().denied_ports;
        /// Whether pushes carry a signature: see `docs/push.md`.
        sign: bool = false;
        /// How long it may take to find a web server, connect and agree on TLS.
        connect_seconds: u64 = push_default().connect_time.as_secs(), 1 => 60;
        /// How long a push may take from its beginning to the end of the answer.
        total_seconds: u64 = push_default().total_time.as_secs(), 1 => 600;
        /// How many messages of one subscription are pushed at once.
        subscription_pushes: u64 = push_default().subscription_pushes as u64, 1 => 64;
        /// How many pushes may be under way to one host and port.
        host_pushes: u64 = push_default().host_pushes as u64, 1 => 10_000;
        /// How many pushes may be under way in all.
        pushes: u64 = push_default().pushes as u64, 1 => 100_000;
        /// Memory for the bodies of all pushes under way.
        bodies_bytes: ByteCount = ByteCount(push_default().bodies_bytes as u64), MIB => TIB;
        /// A file of root certificates in PEM form to trust instead of the system's.
        roots: Option<PathBuf> = None;
    }
}

section! {
    /// The port for metrics and health checks. It asks for no key: keep it from strangers. Only changes
    /// of a cluster's nodes need a proof that one has the cluster's token.
    Admin {
        /// Where `/metrics`, `/healthz`, `/readyz` and `/cluster` are served. Port 0 takes any free port.
        listen: SocketAddr = SocketAddr::from((Ipv4Addr::LOCALHOST, 9325));
        /// The file with the port's certificate in PEM form, followed by those between it and a root. With `key` the
        /// port speaks HTTPS and nothing else; without them HTTP. See `docs/https.md`.
        certificate: Option<PathBuf> = None;
        /// The file with the certificate's private key in PEM form, readable by its owner only.
        key: Option<PathBuf> = None;
    }
}

section! {
    /// Being one node of a cluster: see `docs/cluster.md`. With `listen` the server is one; without it
    /// the section must be absent.
    Cluster {
        /// Where the other nodes connect. Absent: no cluster.
        listen: Option<SocketAddr> = None;
        /// How the other nodes reach this one, as `HOST:PORT`, if not by the address of `listen`.
        advertise: Option<String> = None;
        /// The file with the token that all nodes of the cluster have, readable by its owner only. `anser
        /// cluster token FILE` makes one.
        token_file: Option<PathBuf> = None;
        /// Nodes to ask for a place in their cluster, as `HOST:PORT` of their `listen`; all nodes may have
        /// the same list. One that has a place looks there only for nodes that it does not reach. The first
        /// node gets its place by `anser cluster form`.
        join: Vec<String> = Vec::new();
        /// The machine, for copies of a shard go to different ones. Absent: the name of this machine.
        host: Option<String> = None;
        /// Where the machine stands: copies go to different zones if there are enough.
        zone: String = String::new();
        /// How many copies there are of each shard: 1, 3 or 5.
        replicas: u64 = 3, 1 => 5;
        /// How long a node may be silent before its copies are made again on others.
        grace_seconds: u64 = 300, 1 => 604_800;
        /// How many bytes a second this node sends when it copies shards to others.
        copy_bytes_per_second: ByteCount = ByteCount(64 * MIB), MIB => TIB;
        /// How many copies may be on their way at once in the whole cluster.
        moves: u64 = 4, 1 => 64;
        /// Whether this node votes although it cannot tell whether the end of its log was lost in a power
        /// failure or never acknowledged. Otherwise it waits for a leader that others elect. Set it
        /// on every node, for one start, when most nodes lost power at once and no shard finds a leader.
        trust_log: bool = false;
        /// The highest version of the cluster that this node says it can read, so that the cluster does not
        /// rise above it and an older program can be taken back. Absent: all that this program can.
        version_at_most: Option<u64> = None, 1 => 1_000_000;
        /// This node's certificate in PEM form. With `key`, `roots` and `tls_name` nodes speak TLS and
        /// check each other's certificates; without them nothing between nodes is encrypted.
        certificate: Option<PathBuf> = None;
        /// The certificate's private key in PEM form, readable by its owner only.
        key: Option<PathBuf> = None;
        /// The root certificates, in PEM form, of the certificates of all nodes.
        roots: Option<PathBuf> = None;
        /// The name that every node's certificate has.
        tls_name: Option<String> = None;
    }
}

section! {
    /// The log on disk, and the memory in front of it.
    Storage {
        /// How many shards a new data directory gets. Fixed when it is made.
        shards: u64 = node_default().shards.into(), 1 => 1024;
        /// How many threads run the shards; 0: chosen from the number of cores.
        runners: u64 = 0, 0 => 256;
        /// The size of one file of the write-ahead log, a multiple of 4096 bytes. Files are used again
        /// and again.
        wal_file_bytes: ByteCount = ByteCount(node_default().wal_file_bytes), 8 * MIB => 64 * MIB;
        /// How much the write-ahead log may take. When it is full, messages that still wait in its
        /// oldest file are copied to segments. More means less copying and a longer restart. In a cluster
        /// it may take four times as much while another node needs what is in it.
        wal_budget_bytes: ByteCount = ByteCount(node_default().wal_budget_bytes), 4 * MIB => TIB;
        /// The size of one segment file, where messages wait that are not consumed soon.
        segment_bytes: ByteCount = ByteCount(node_default().segment_bytes), MIB => GIB;
        /// Memory for the bodies of recent messages.
        cache_bytes: ByteCount = ByteCount(node_default().cache_bytes as u64), 0 => TIB;
        /// When less than this is free on the disk, sends are refused; everything else works, and
        /// takes the space it needs from here. At least two `wal_file_bytes`, a quarter of
        /// `wal_budget_bytes` and one `segment_bytes` together.
        reserve_bytes: ByteCount = ByteCount(512 * MIB), 0 => TIB;
        /// The requests under way in one shard may hold this much memory; beyond it clients hear "too
        /// busy".
        in_flight_bytes: ByteCount = ByteCount(node_default().in_flight_bytes), 8 * MIB => 64 * GIB;
        /// How many requests of clients are under way at once, those that receive apart: at least so many, or as many as
        /// were answered in the last second. Beyond it clients hear "too busy" at once. Each account can have
        /// its share of them.
        in_flight_requests: u64 = node_default().in_flight_requests as u64, 1 => 1_000_000;
        /// How much of the time that a node was off counts at most, as its wall clock tells it at the start. Delays,
        /// visibility timeouts and retentions that ended meanwhile end at the start; what is beyond this makes
        /// them later. 0: none counts. A machine may boot with a wrong clock, which must not end what
        /// is kept for days. Shards with copies on other nodes never count it.
        time_off_seconds: u64 = node_default().time_off_max.0 / 1_000, 0 => 31_536_000;
    }
}

section! {
    /// The log for people, on standard error. It never holds bodies or secrets.
    Log {
        /// `text` or `json`. The flag `--log-format` wins.
        format: String = "text".into();
        /// What to report: `error`, `warn`, `info`, `debug`, `trace`, also per module like
        /// `info,anser_node=debug`. The environment variable `ANSER_LOG` wins.
        filter: String = "info".into();
    }
}

fn node_default() -> anser_node::Config {
    anser_node::Config::default()
}

fn push_default() -> anser_push::Config {
    anser_push::Config::default()
}

fn http_default() -> Http {
    Http::default()
}

/// A number that a range keeps small.
fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

impl Api {
    pub(super) fn threads(&self) -> usize {
        match self.threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => size(threads),
        }
    }

    pub(super) fn cmq(&self, receipt_key: [u8; 32]) -> Result<cmq::Config> {
        Ok(cmq::Config {
            region: self.region.clone(),
            clock_skew: Duration::from_secs(self.clock_skew_seconds),
            sha256_only: accounts("sha256_accounts", &self.sha256_accounts)?,
            once_only: accounts("once_accounts", &self.once_accounts)?,
            name_reuse: Duration::from_secs(self.name_reuse_seconds),
            queues_max: self.queues,
            topics_max: self.topics,
            subscriptions_max: self.subscriptions,
            advertised_tcp: self.advertised_tcp.clone(),
            in_flight_max: self.in_flight_messages,
            delayed_max: self.delayed_messages,
            public_names: self.hosts()?,
            ..cmq::Config::new(receipt_key)
        })
    }

    /// None if all are off.
    pub(super) fn rates(&self) -> Option<Rates> {
        let rate = |number: u64| match number {
            0 => u32::MAX,
            number => u32::try_from(number).unwrap_or(u32::MAX),
        };
        let messages = self
            .messages_per_second
            .max(self.account_messages_per_second);
        (messages.max(self.control_per_second) > 0).then(|| Rates {
            messages_per_second: rate(self.messages_per_second),
            account_messages_per_second: rate(self.account_messages_per_second),
            control_per_second: rate(self.control_per_second),
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        accounts("sha256_accounts", &self.sha256_accounts)?;
        accounts("once_accounts", &self.once_accounts)?;
        self.certificate_files()?;
        self.trusted_proxies()?;
        self.hosts().map(drop)
    }

    /// `None` if the port speaks plain HTTP.
    pub(crate) fn certificate_files(&self) -> Result<Option<CertificateFiles>> {
        CertificateFiles::of("api", self.certificate.as_ref(), self.key.as_ref())
    }

    pub(super) fn trusted_proxies(&self) -> Result<Vec<Network>> {
        networks("api.trusted_proxies", &self.trusted_proxies)
    }

    fn hosts(&self) -> Result<Vec<Host<'static>>> {
        let hosts = self.public_names.iter().map(|text| {
            text.parse::<Host<'static>>().with_context(|| {
                Exit::Configuration.reason(format!("api.public_names: \"{text}\" is not usable"))
            })
        });
        hosts.collect()
    }
}

fn accounts(setting: &str, texts: &[String]) -> Result<Accounts> {
    let accounts = Accounts::read(texts);
    accounts.context(Exit::Configuration.reason(format!("api.{setting} is not usable")))
}

fn networks(setting: &str, texts: &[String]) -> Result<Vec<Network>> {
    let networks = texts.iter().map(|text| {
        let network = text.parse::<Network>();
        network.context(Exit::Configuration.reason(format!("{setting} is not usable")))
    });
    networks.collect()
}

impl Push {
    /// These settings in the pusher's words.
    pub(super) fn pusher(&self, signing_key: [u8; 32]) -> Result<anser_push::Config> {
        Ok(anser_push::Config {
            subscription_pushes: size(self.subscription_pushes),
            host_pushes: size(self.host_pushes),
            pushes: size(self.pushes),
            bodies_bytes: size(self.bodies_bytes.0),
            connect_time: Duration::from_secs(self.connect_seconds),
            total_time: Duration::from_secs(self.total_seconds),
            allow: self.networks()?,
            denied_ports: self.denied_ports.clone(),
            roots: self.roots.clone(),
            signing_key: self.sign.then_some(signing_key),
            ..push_default()
        })
    }

    pub(super) fn check(&self) -> Result<()> {
        self.networks().map(drop)
    }

    fn networks(&self) -> Result<Vec<Network>> {
        networks("push.allow", &self.allow)
    }
}

impl Admin {
    pub(super) fn check(&self) -> Result<()> {
        self.certificate_files().map(drop)
    }

    /// `None` if the port speaks plain HTTP.
    pub(crate) fn certificate_files(&self) -> Result<Option<CertificateFiles>> {
        CertificateFiles::of("admin", self.certificate.as_ref(), self.key.as_ref())
    }
}

impl Limits {
    pub(super) fn http(&self) -> Http {
        Http {
            head_bytes: size(self.head_bytes.0),
            headers: size(self.headers),
            body_bytes: size(self.body_bytes.0),
            bodies_bytes: size(self.bodies_bytes.0),
            answers_bytes: size(self.answers_bytes.0),
            connections: size(self.connections),
            connections_per_address: size(self.connections_per_address),
            head_time: Duration::from_secs(self.head_seconds),
            body_time: Duration::from_secs(self.body_seconds),
            body_bytes_per_second: self.body_bytes_per_second.0,
            write_time: Duration::from_secs(self.write_seconds),
            idle_time: Duration::from_secs(self.idle_seconds),
            ..Http::default()
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (one, all) = (2 * self.body_bytes.0, self.bodies_bytes.0);
        if all < one {
            return Err(Exit::Configuration.error(format!(
                "limits.bodies_bytes is less than two of limits.body_bytes: choose at least {one}, \
                 or no body of that size can come in and be decoded"
            )));
        }
        Ok(())
    }
}

impl Storage {
    /// These settings in the node's words.
    pub(crate) fn node(&self, data: PathBuf) -> anser_node::Config {
        let runners = match self.runners {
            0 => node_default().runners,
            runners => usize::try_from(runners).expect("checked to be small"),
        };
        anser_node::Config {
            data,
            shards: u16::try_from(self.shards).expect("checked to be small"),
            runners,
            wal_file_bytes: self.wal_file_bytes.0,
            wal_budget_bytes: self.wal_budget_bytes.0,
            segment_bytes: self.segment_bytes.0,
            cache_bytes: usize::try_from(self.cache_bytes.0).unwrap_or(usize::MAX),
            reserve_bytes: self.reserve_bytes.0,
            in_flight_bytes: self.in_flight_bytes.0,
            in_flight_requests: usize::try_from(self.in_flight_requests)
                .expect("checked to be small"),
            time_off_max: Millis::from_seconds(self.time_off_seconds),
            cluster: None,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (file, budget) = (self.wal_file_bytes.0, self.wal_budget_bytes.0);
        if !file.is_multiple_of(4096) {
            return Err(Exit::Configuration.error(format!(
                "storage.wal_file_bytes is {file}: choose a multiple of 4096"
            )));
        }
        if budget < file.saturating_mul(4) {
            return Err(Exit::Configuration.error(format!(
                "storage.wal_budget_bytes is less than four files of storage.wal_file_bytes: \
                 raise the budget to at least {}",
                file.saturating_mul(4)
            )));
        }
        let needed = 2 * file + budget / 4 + self.segment_bytes.0;
        if self.reserve_bytes.0 < needed {
            return Err(Exit::Configuration.error(format!(
                "storage.reserve_bytes is {}: freeing space on a full disk takes two files of \
                 storage.wal_file_bytes, a quarter of storage.wal_budget_bytes and one file of \
                 storage.segment_bytes, so choose at least {needed}",
                self.reserve_bytes.0
            )));
        }
        Ok(())
    }
}

impl Log {
    pub(super) fn check(&self) -> Result<()> {
        if !matches!(self.format.as_str(), "text" | "json") {
            return Err(Exit::Configuration.error(format!(
                "log.format is \"{}\": choose \"text\" or \"json\"",
                self.format
            )));
        }
        crate::logs::check_filter(&self.filter)
    }
}
