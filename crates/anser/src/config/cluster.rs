//! The section `[cluster]`: what goes together in it, and the same in the node's words.

use std::{fs, net::SocketAddr, time::Duration};

use anser_node::{ClusterConfig, TlsFiles};
use anyhow::{Context, Result};

use super::sections::Cluster;
use crate::{cluster::token::Token, exit::Exit, files};

/// What to do about a private key that others know.
const NEW_CERTIFICATE: &str = "have a new certificate made for another key";

impl Cluster {
    /// Fails with what does not go together and what to write instead.
    pub(super) fn check(&self) -> Result<()> {
        let Some(listen) = self.listen else {
            return match self.set_without_listen() {
                None => Ok(()),
                Some(setting) => Err(wrong(format!(
                    "cluster.{setting} is set, but cluster.listen is not: say where the other nodes \
                     connect, or remove the section [cluster]"
                ))),
            };
        };
        if self.token_file.is_none() {
            return Err(wrong(
                "cluster.listen is set, but cluster.token_file is not: make a file with \
                 anser cluster token FILE on one node, copy it to the others and name it here",
            ));
        }
        self.check_reachable(listen)?;
        for address in &self.join {
            check_address("join", address)?;
        }
        if self.replicas.is_multiple_of(2) {
            return Err(wrong(format!(
                "cluster.replicas is {}: choose 1, 3 or 5",
                self.replicas
            )));
        }
        if self.host.as_deref() == Some("") {
            return Err(wrong(
                "cluster.host is empty: remove it, or name the machine",
            ));
        }
        self.tls().map(drop)
    }

    /// The first setting that only a node of a cluster has a use for.
    fn set_without_listen(&self) -> Option<&'static str> {
        let set = [
            ("advertise", self.advertise.is_some()),
            ("token_file", self.token_file.is_some()),
            ("join", !self.join.is_empty()),
            ("host", self.host.is_some()),
            ("zone", !self.zone.is_empty()),
            ("certificate", self.certificate.is_some()),
            ("key", self.key.is_some()),
            ("roots", self.roots.is_some()),
            ("tls_name", self.tls_name.is_some()),
            ("version_at_most", self.version_at_most.is_some()),
        ];
        set.into_iter().find_map(|(name, set)| set.then_some(name))
    }

    fn check_reachable(&self, listen: SocketAddr) -> Result<()> {
        if listen.port() == 0 {
            return Err(wrong(format!(
                "cluster.listen is \"{listen}\": choose a port, for other nodes remember it"
            )));
        }
        match &self.advertise {
            Some(address) => check_address("advertise", address),
            None if listen.ip().is_unspecified() => Err(wrong(format!(
                "cluster.listen is \"{listen}\", which no other node can connect to: say in \
                 cluster.advertise how they reach this one, as HOST:PORT"
            ))),
            None => Ok(()),
        }
    }

    fn tls(&self) -> Result<Option<TlsFiles>> {
        let parts = (&self.certificate, &self.key, &self.roots, &self.tls_name);
        if let (Some(certificate), Some(key), Some(roots), Some(name)) = parts {
            return Ok(Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                roots: roots.clone(),
                name: name.clone(),
            }));
        }
        let missing = [
            ("certificate", self.certificate.is_none()),
            ("key", self.key.is_none()),
            ("roots", self.roots.is_none()),
            ("tls_name", self.tls_name.is_none()),
        ];
        let names = missing.iter().filter(|(_, missing)| *missing);
        let names: Vec<&str> = names.map(|(name, _)| *name).collect();
        if names.len() == missing.len() {
            return Ok(None);
        }
        Err(wrong(format!(
            "TLS between nodes takes cluster.certificate, key, roots and tls_name together: {} is \
             missing",
            names.join(", ")
        )))
    }

    /// The token of this node's cluster; `None` for a server that is in no cluster.
    pub(crate) fn token(&self) -> Result<Option<Token>> {
        match (&self.listen, &self.token_file) {
            (Some(_), Some(file)) => Token::read(file).map(Some),
            _ => Ok(None),
        }
    }

    /// These settings in the node's words, with the token of [`Cluster::token`].
    pub(crate) fn node(&self, token: Option<&Token>) -> Result<Option<ClusterConfig>> {
        let (Some(listen), Some(token)) = (self.listen, token) else {
            return Ok(None);
        };
        let tls = self.tls()?;
        if let Some(tls) = &tls {
            // One that is not there is told of by who reads it.
            files::open_secret(&tls.key, "private key of cluster.key", NEW_CERTIFICATE)?;
        }
        if tls.is_none() && !listen.ip().is_loopback() {
            tracing::warn!(
                %listen,
                "what nodes say to each other is not encrypted: keep the network private, or set \
                 cluster.certificate, key, roots and tls_name"
            );
        }
        Ok(Some(ClusterConfig {
            listen,
            advertise: self.advertise.clone(),
            token: token.text().into(),
            join: self.join.clone(),
            host: self.host.clone().map_or_else(machine, Ok)?,
            zone: self.zone.clone(),
            replicas: usize::try_from(self.replicas).expect("checked to be small"),
            grace: Duration::from_secs(self.grace_seconds),
            copy_bytes_per_second: self.copy_bytes_per_second.0,
            moves_max: usize::try_from(self.moves).expect("checked to be small"),
            trust_log: self.trust_log,
            version_at_most: self
                .version_at_most
                .map(|version| u32::try_from(version).expect("checked to be small")),
            tls,
        }))
    }
}

/// The name of this machine, from its own files: a name server may be wrong or slow.
fn machine() -> Result<String> {
    ["/proc/sys/kernel/hostname", "/etc/hostname"]
        .iter()
        .filter_map(|file| fs::read_to_string(file).ok())
        .map(|name| name.trim().to_owned())
        .find(|name| !name.is_empty())
        .context(Exit::Configuration.reason("this machine has no name: set cluster.host"))
}

fn check_address(setting: &str, address: &str) -> Result<()> {
    let usable = address.rsplit_once(':').is_some_and(|(host, port)| {
        let name = |letter: char| letter.is_ascii_alphanumeric() || "-._[]:".contains(letter);
        !host.is_empty() && host.chars().all(name) && port.parse().is_ok_and(|port: u16| port > 0)
    });
    if usable {
        return Ok(());
    }
    Err(wrong(format!(
        "cluster.{setting} has \"{address}\": write HOST:PORT, for example \"10.0.0.1:9326\""
    )))
}

fn wrong(text: impl Into<String>) -> anyhow::Error {
    Exit::Configuration.error(text)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::{cluster::token::token_of, config::Config};

    const NODE: &str = "[cluster]\nlisten = \"10.0.0.1:9326\"\ntoken_file = \"token\"\n";

    fn refusal(text: &str) -> String {
        let error = Config::parse(text).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Configuration, "{text}");
        format!("{error:#}")
    }

    #[test]
    fn a_server_is_in_no_cluster_unless_it_listens_for_nodes() {
        let config = Config::parse("").unwrap();
        assert!(config.cluster.token().unwrap().is_none());
        assert!(config.cluster.node(None).unwrap().is_none());
    }

    #[test]
    fn the_defaults_reach_the_node() {
        let config = Config::parse(NODE).unwrap();
        let token = token_of("0123456789abcdef");
        let node = config.cluster.node(Some(&token)).unwrap().unwrap();
        assert_eq!(node.listen.to_string(), "10.0.0.1:9326");
        assert_eq!(node.token, b"0123456789abcdef");
        assert_eq!((node.replicas, node.moves_max), (3, 4));
        assert_eq!(node.grace, Duration::from_secs(300));
        assert_eq!(node.copy_bytes_per_second, 64 << 20);
        assert_eq!(node.version_at_most, None);
        assert!(!node.host.is_empty() && !node.host.contains('\n'));
        assert!(node.join.is_empty() && node.tls.is_none() && node.advertise.is_none());
    }

    #[test]
    fn security_finding_10_a_private_key_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("node.key");
        let path = key.display();
        let text = format!(
            "{NODE}certificate = \"c\"\nkey = \"{path}\"\nroots = \"r\"\ntls_name = \"anser\""
        );
        let config = Config::parse(&text).unwrap();
        let token = token_of("0123456789abcdef");
        fs::write(&key, "secret").unwrap();
        let set = |mode| fs::set_permissions(&key, fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o644, 0o640, 0o602] {
            set(mode);
            let error = config.cluster.node(Some(&token)).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Permission, "{error:#}");
            assert!(error.to_string().contains("chmod 600"), "{error:#}");
        }
        set(0o400);
        config.cluster.node(Some(&token)).unwrap();
    }

    #[test]
    fn each_misuse_says_what_to_write() {
        for (text, what) in [
            (
                "[cluster]\njoin = [\"a:1\"]",
                "cluster.join is set, but cluster.listen is not",
            ),
            ("[cluster]\nzone = \"a\"", "cluster.zone is set"),
            ("[cluster]\nlisten = \"10.0.0.1:1\"", "anser cluster token"),
            (
                "[cluster]\nlisten = \"10.0.0.1:0\"\ntoken_file = \"t\"",
                "choose a port",
            ),
            (
                "[cluster]\nlisten = \"0.0.0.0:1\"\ntoken_file = \"t\"",
                "cluster.advertise",
            ),
        ] {
            let error = refusal(text);
            assert!(error.contains(what), "{text}: {error}");
        }
        for (text, what) in [
            ("replicas = 2", "choose 1, 3 or 5"),
            ("replicas = 7", "choose 1 to 5"),
            ("moves = 0", "choose 1 to 64"),
            ("copy_bytes_per_second = 5", "\"1 MiB\""),
            ("version_at_most = 0", "choose 1 to 1000000"),
            ("grace_seconds = 0", "choose 1 to 604800"),
            ("join = [\"a\"]", "cluster.join has \"a\""),
            ("join = [\"a:1\", \"b:0\"]", "cluster.join has \"b:0\""),
            ("advertise = \"http://a:1/\"", "cluster.advertise has"),
            ("host = \"\"", "cluster.host is empty"),
            ("certificate = \"c\"", "key, roots, tls_name is missing"),
            ("joint = true", "unknown field"),
        ] {
            let error = format!("{:#}", Config::parse(&format!("{NODE}{text}")).unwrap_err());
            assert!(error.contains(what), "{text}: {error}");
        }
        let clash = format!("[api]\nlisten = \"10.0.0.1:9326\"\n{NODE}");
        assert!(refusal(&clash).contains("an address of its own"));
    }

    #[test]
    fn what_goes_together_is_accepted() {
        for text in [
            "join = [\"node-1.example:9326\", \"[::1]:9326\"]",
            "advertise = \"node-2:1\"\nreplicas = 5\nhost = \"rack 7\"",
            "certificate = \"c\"\nkey = \"k\"\nroots = \"r\"\ntls_name = \"anser\"",
        ] {
            let config = Config::parse(&format!("{NODE}{text}"));
            config.unwrap_or_else(|error| panic!("{text}: {error:#}"));
        }
    }

    #[test]
    fn files_of_the_section_count_from_the_configuration() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anser.toml");
        fs::write(&path, NODE).unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.cluster.token_file, Some(folder.path().join("token")));
    }
}
