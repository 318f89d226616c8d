//! The configuration file of `anser serve`.
//!
//! Each section is declared once in `config/sections.rs`; reading, defaults, range checks and the
//! page `docs/configuration.md` all come from that declaration.

mod cluster;
pub mod reference;
mod section;
mod sections;
pub mod value;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anser_network::Acceptor;
use anyhow::{Context, Result};
use serde::Deserialize;

pub use sections::{Admin, Api, Cluster, General, Limits, Log, Push, Storage};
pub use value::ByteCount;

use crate::{exit::Exit, keystore::master, paths};

/// Everything that can be configured. The default is what an empty file gives.
#[derive(Debug, Clone, Default)]
pub struct Config {
    pub general: General,
    pub api: Api,
    pub limits: Limits,
    pub push: Push,
    pub admin: Admin,
    pub cluster: Cluster,
    pub storage: Storage,
    pub log: Log,
}

/// The file's shape: the general settings stand above the first section.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Document {
    data: PathBuf,
    master_key_file: Option<PathBuf>,
    stop_seconds: u64,
    core_dumps: bool,
    api: Api,
    limits: Limits,
    push: Push,
    admin: Admin,
    cluster: Cluster,
    storage: Storage,
    log: Log,
}

impl Default for Document {
    fn default() -> Self {
        let Config {
            general,
            api,
            limits,
            push,
            admin,
            cluster,
            storage,
            log,
        } = Config::default();
        let General {
            data,
            master_key_file,
            stop_seconds,
            core_dumps,
        } = general;
        Self {
            data,
            master_key_file,
            stop_seconds,
            core_dumps,
            api,
            limits,
            push,
            admin,
            cluster,
            storage,
            log,
        }
    }
}

impl Config {
    /// Reads and checks a file. Relative paths in it count from the file's folder.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = || {
            Exit::Configuration.reason(format!(
                "the configuration {} is not usable",
                path.display()
            ))
        };
        let text = fs::read_to_string(path).with_context(wrong)?;
        let mut config = Self::parse(&text).with_context(wrong)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        config.general.data = folder.join(&config.general.data);
        let cluster = &mut config.cluster;
        let files = [
            &mut config.general.master_key_file,
            &mut config.push.roots,
            &mut config.api.certificate,
            &mut config.api.key,
            &mut config.admin.certificate,
            &mut config.admin.key,
            &mut cluster.token_file,
            &mut cluster.certificate,
            &mut cluster.key,
            &mut cluster.roots,
        ];
        for file in files.into_iter().flatten() {
            *file = folder.join(&file);
        }
        if let Ok(file) = config.master_key_file() {
            master::check_place(&file, &config.general.data)?;
        }
        Ok(config)
    }

    /// Parses and checks the text of a file.
    pub fn parse(text: &str) -> Result<Self> {
        let Document {
            data,
            master_key_file,
            stop_seconds,
            core_dumps,
            api,
            limits,
            push,
            admin,
            cluster,
            storage,
            log,
        } = toml::from_str(text)?;
        let general = General {
            data,
            master_key_file,
            stop_seconds,
            core_dumps,
        };
        let config = Self {
            general,
            api,
            limits,
            push,
            admin,
            cluster,
            storage,
            log,
        };
        config.check()?;
        Ok(config)
    }

    /// The master key file: configured, or the user's own.
    pub fn master_key_file(&self) -> Result<PathBuf> {
        self.general
            .master_key_file
            .clone()
            .map_or_else(paths::master_key_file, Ok)
    }

    /// The settings of the port for clients, in its words, with what it speaks TLS by.
    pub(crate) fn server(
        &self,
        receipt_key: [u8; 32],
        tls: Option<Acceptor>,
    ) -> Result<anser_api::ServerConfig> {
        Ok(anser_api::ServerConfig {
            listen: self.api.listen,
            threads: self.api.threads(),
            tls,
            trusted_proxies: self.api.trusted_proxies()?,
            limits: self.limits.http(),
            rates: self.api.rates(),
            cmq: self.api.cmq(receipt_key)?,
        })
    }

    /// The settings of the pusher, in its words, without where this server listens.
    pub(crate) fn pusher(&self, signing_key: [u8; 32]) -> Result<anser_push::Config> {
        self.push.pusher(signing_key)
    }

    /// Fails with the first setting that is not usable and what to write instead.
    pub(crate) fn check(&self) -> Result<()> {
        self.general.check_ranges("")?;
        self.api.check_ranges("api")?;
        self.limits.check_ranges("limits")?;
        self.push.check_ranges("push")?;
        self.admin.check_ranges("admin")?;
        self.cluster.check_ranges("cluster")?;
        self.storage.check_ranges("storage")?;
        self.log.check_ranges("log")?;
        self.api.check()?;
        self.limits.check()?;
        self.push.check()?;
        self.admin.check()?;
        self.cluster.check()?;
        self.storage.check()?;
        self.log.check()?;
        self.check_addresses()?;
        Ok(())
    }

    /// The same address twice would only be noticed when the second port is opened.
    fn check_addresses(&self) -> Result<()> {
        let clients = ("clients (--listen, api.listen)", self.api.listen);
        let metrics = ("metrics (--admin, admin.listen)", self.admin.listen);
        let nodes = self
            .cluster
            .listen
            .map(|listen| ("other nodes (cluster.listen)", listen));
        let pairs = [
            Some((clients, metrics)),
            nodes.map(|nodes| (clients, nodes)),
            nodes.map(|nodes| (metrics, nodes)),
        ];
        for ((one, address), (other, same)) in pairs.into_iter().flatten() {
            if address == same && address.port() != 0 {
                return Err(Exit::Configuration.error(format!(
                    "{one} and {other} have the same address {address}: give each an address of its own"
                )));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(text: &str) -> String {
        format!("{:#}", Config::parse(text).unwrap_err())
    }

    #[test]
    fn an_empty_file_is_a_configuration() {
        let config = Config::parse("").unwrap();
        assert_eq!(config.api.listen.port(), 9324);
        assert_eq!(config.storage.shards, 16);
    }

    #[test]
    fn unknown_settings_are_named() {
        assert!(refusal("dta = \"x\"").contains("unknown field `dta`"));
        assert!(refusal("[api]\nlissten = \"x\"").contains("lissten"));
        assert!(refusal("[apis]").contains("apis"));
    }

    #[test]
    fn a_value_out_of_range_says_what_to_choose() {
        assert_eq!(
            refusal("[storage]\nshards = 0"),
            "storage.shards is 0: choose 1 to 1024"
        );
        let text = refusal("[storage]\nwal_file_bytes = \"1 KiB\"");
        assert!(
            text.starts_with("storage.wal_file_bytes is \"1 KiB\": choose "),
            "{text}"
        );
    }

    #[test]
    fn bytes_are_written_with_or_without_a_unit() {
        let parse = |value: &str| {
            Config::parse(&format!("[storage]\ncache_bytes = {value}"))
                .map(|config| config.storage.cache_bytes.0)
        };
        assert_eq!(parse("\"64 MiB\"").unwrap(), 64 << 20);
        assert_eq!(parse("\"64MiB\"").unwrap(), 64 << 20);
        assert_eq!(parse("67108864").unwrap(), 64 << 20);
        for bad in [
            "\"64 MB\"",
            "\"\"",
            "-1",
            "\"MiB\"",
            "\"99999999999 TiB\"",
            "1.5",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_log_would_start_with_all_that_is_accepted() {
        let storage = |text: &str| Config::parse(&format!("[storage]\n{text}"));
        assert!(storage("wal_file_bytes = \"8 MiB\"").is_ok());
        assert!(storage("wal_file_bytes = \"64 MiB\"").is_ok());
        for (text, what) in [
            ("wal_file_bytes = 8392705", "a multiple of 4096"),
            ("wal_file_bytes = \"4 MiB\"", "\"8 MiB\" to \"64 MiB\""),
            ("wal_file_bytes = \"128 MiB\"", "\"8 MiB\" to \"64 MiB\""),
            ("segment_bytes = \"2 GiB\"", "\"1 MiB\" to \"1 GiB\""),
            ("in_flight_bytes = \"4 MiB\"", "\"8 MiB\""),
        ] {
            let error = format!("{:#}", storage(text).unwrap_err());
            assert!(error.contains(what), "{text}: {error}");
        }
    }

    #[test]
    fn sizes_that_belong_together_are_compared() {
        // 64 MiB of files, 128 MiB of the budget and 64 MiB of a segment.
        assert!(refusal("[storage]\nreserve_bytes = \"255 MiB\"").contains("at least 268435456"));
        assert!(Config::parse("[storage]\nreserve_bytes = \"256 MiB\"").is_ok());
        let bodies = "[limits]\nbodies_bytes = \"4 MiB\"";
        assert!(refusal(bodies).contains("at least 16777216"));
        assert!(refusal("[api]\nname_reuse_seconds = 601").contains("choose 0 to 600"));
    }

    /// Security, finding 1: a name that carries part of a signed text serves another request.
    #[test]
    fn a_public_name_is_a_host_and_nothing_more() {
        let names = |names: &str| format!("[api]\npublic_names = [{names}]");
        let good = names("\"mq.example.com\", \"mq.example.com:9443\", \"[::1]:1\"");
        assert!(Config::parse(&good).is_ok());
        for bad in [
            "\"\"",
            "\"h/v2\"",
            "\"h\", \"http://h\"",
            "\"h?x\"",
            "\"a b\"",
        ] {
            let error = Config::parse(&names(bad)).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Configuration, "{bad}");
            assert!(
                error.to_string().starts_with("api.public_names: "),
                "{error}"
            );
        }
    }

    #[test]
    fn https_takes_both_files_and_proxies_are_networks() {
        for section in ["api", "admin"] {
            let both = format!("[{section}]\ncertificate = \"c\"\nkey = \"k\"");
            assert!(Config::parse(&both).is_ok());
            for given in ["certificate", "key"] {
                let text = refusal(&format!("[{section}]\n{given} = \"f\""));
                assert!(
                    text.starts_with(&format!("{section}.{given} is set")),
                    "{text}"
                );
            }
        }
        let proxies = "[api]\ntrusted_proxies = [\"10.0.0.1\", \"fd00::/8\"]";
        assert!(Config::parse(proxies).is_ok());
        let text = refusal("[api]\ntrusted_proxies = [\"proxy.example\"]");
        assert!(
            text.starts_with("api.trusted_proxies is not usable"),
            "{text}"
        );
    }

    #[test]
    fn stricter_rules_are_for_accounts() {
        let rule = |accounts: &str| {
            let text = format!("[api]\nonce_accounts = [{accounts}]\nsha256_accounts = [\"*\"]");
            Config::parse(&text)
        };
        assert!(rule("\"100000001\", \"2\"").is_ok());
        let error = rule("\"billing\"").unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Configuration);
        assert!(
            error.to_string().starts_with("api.once_accounts "),
            "{error}"
        );
    }

    #[test]
    fn a_master_key_among_the_data_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anser.toml");
        fs::write(&path, "data = \"here\"\nmaster_key_file = \"here/key\"").unwrap();
        let error = Config::read(&path).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Configuration);
        assert!(error.to_string().contains("is inside the data directory"));
    }

    #[test]
    fn one_address_for_both_ports_is_refused() {
        let same = "[api]\nlisten = \"127.0.0.1:1\"\n[admin]\nlisten = \"127.0.0.1:1\"";
        assert!(refusal(same).contains("an address of its own"));
    }

    #[test]
    fn relative_paths_count_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("anser.toml");
        fs::write(&path, "data = \"here\"\nmaster_key_file = \"/etc/key\"").unwrap();
        let config = Config::read(&path).unwrap();
        assert_eq!(config.general.data, folder.path().join("here"));
        assert_eq!(
            config.general.master_key_file,
            Some(PathBuf::from("/etc/key"))
        );
    }
}
