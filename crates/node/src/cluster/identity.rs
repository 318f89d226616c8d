//! Who a node is: which cluster it belongs to and its number there, in a file beside its log.
//!
//! The incarnation is drawn once for a data folder. An emptied or replaced disk has none and so becomes
//! another node: a replica that has forgotten its votes must never vote again under its old number.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anser_broker::version::ClusterVersion;
use serde::{Deserialize, Serialize};

/// Without a version of the cluster.
const FIRST_VERSION: u32 = 1;
const VERSION: u32 = 2;
const FILE: &str = "node.json";

/// The content of the file; `docs/formats/node.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    version: u32,
    /// In hexadecimal; empty until a cluster has taken the node in.
    cluster: String,
    incarnation: String,
    /// 0 until a cluster has given it a number.
    pub(crate) node: u64,
    /// Its shards were made, or it has joined others who have them: it never makes any again.
    pub(crate) has_begun: bool,
    /// How many shards the cluster has; 0 until its first node has begun.
    pub(crate) shards: u16,
    /// The other nodes it knew last, so that it finds them after a restart.
    pub(crate) peers: BTreeMap<u64, KnownPeer>,
    /// The version of the cluster, once it is above the first: then programs that know only the first
    /// form of the file cannot be used any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cluster_version: Option<ClusterVersion>,
}

/// What every form of the file has.
#[derive(Debug, Deserialize)]
struct Head {
    version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownPeer {
    pub(crate) address: String,
    incarnation: String,
}

impl KnownPeer {
    pub(crate) fn new(address: String, incarnation: [u8; 16]) -> Self {
        Self {
            address,
            incarnation: hex(&incarnation),
        }
    }

    pub(crate) fn incarnation(&self) -> [u8; 16] {
        from_hex(&self.incarnation).unwrap_or_default()
    }
}

impl Identity {
    /// A data folder that belongs to no cluster yet.
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            version: FIRST_VERSION,
            cluster: String::new(),
            incarnation: hex(&random()?),
            node: 0,
            has_begun: false,
            shards: 0,
            peers: BTreeMap::new(),
            cluster_version: None,
        })
    }

    /// The version of the cluster when it was heard last.
    pub(crate) fn cluster_version(&self) -> ClusterVersion {
        self.cluster_version.unwrap_or_default()
    }

    pub(crate) fn set_cluster_version(&mut self, version: ClusterVersion) {
        if version > self.cluster_version() {
            self.version = VERSION;
            self.cluster_version = Some(version);
        }
    }

    /// Makes it the first node of a new cluster, whose shards are made when it begins.
    pub(crate) fn form(&mut self) -> io::Result<()> {
        self.joined(random()?, 1, 0);
        Ok(())
    }

    pub(crate) fn joined(&mut self, cluster: [u8; 16], node: u64, shards: u16) {
        self.cluster = hex(&cluster);
        self.node = node;
        self.shards = shards;
    }

    pub(crate) fn is_member(&self) -> bool {
        self.node != 0
    }

    pub(crate) fn cluster(&self) -> [u8; 16] {
        from_hex(&self.cluster).unwrap_or_default()
    }

    pub(crate) fn incarnation(&self) -> [u8; 16] {
        from_hex(&self.incarnation).expect("checked when it was read, or drawn here")
    }

    pub(crate) fn read(data: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(data.join(FILE)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let Head { version } = serde_json::from_slice(&text)?;
        if !(FIRST_VERSION..=VERSION).contains(&version) {
            let what = format!("{FILE} has version {version}, this program reads up to {VERSION}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let identity: Self = serde_json::from_slice(&text)?;
        let fields = [&identity.cluster, &identity.incarnation];
        let peers = identity.peers.values().map(|peer| &peer.incarnation);
        let sound = fields
            .into_iter()
            .chain(peers)
            .all(|field| field.is_empty() || from_hex(field).is_some());
        let is_first = identity.cluster_version.is_none();
        let sound = sound && is_first == (identity.version == FIRST_VERSION);
        if !sound || identity.incarnation.is_empty() {
            let what = format!("{FILE} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(identity))
    }

    /// Written aside, synced, renamed, folder synced.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let aside = data.join(format!("{FILE}.new"));
        let text = serde_json::to_vec_pretty(self)?;
        let mut file = File::create(&aside)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&aside, path(data))?;
        File::open(data)?.sync_all()
    }
}

/// Names one run of a process: no other run of this or another node draws the same.
pub(crate) fn draw_run() -> io::Result<u64> {
    let drawn = random()?;
    let half = drawn.first_chunk().expect("half of sixteen bytes");
    Ok(u64::from_le_bytes(*half))
}

fn path(data: &Path) -> PathBuf {
    data.join(FILE)
}

/// Bytes that nobody else has.
fn random() -> io::Result<[u8; 16]> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

pub(crate) fn hex(bytes: &[u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(*bytes))
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let number = u128::from_str_radix(text, 16).ok()?;
    (text.len() == 32).then(|| number.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_stays_who_it_is() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(Identity::read(data.path()).unwrap(), None);
        let mut identity = Identity::new().unwrap();
        identity.form().unwrap();
        let peer = KnownPeer::new("b:1".into(), [7; 16]);
        identity.peers.insert(2, peer);
        identity.write(data.path()).unwrap();
        let read = Identity::read(data.path()).unwrap().unwrap();
        assert_eq!(read, identity);
        assert_eq!(read.peers[&2].incarnation(), [7; 16]);
        assert!(read.is_member());
    }

    #[test]
    fn a_damaged_file_is_not_an_empty_folder() {
        let data = tempfile::tempdir().unwrap();
        fs::write(path(data.path()), "{}").unwrap();
        assert!(Identity::read(data.path()).is_err());
        let form = |version: u32, more: &str| {
            let rest =
                r#""cluster":"","incarnation":"","node":0,"has_begun":false,"shards":0,"peers":{}"#;
            let incarnation = hex(&[7; 16]);
            let rest = rest.replace(
                r#""incarnation":"""#,
                &format!(r#""incarnation":"{incarnation}""#),
            );
            let text = format!(r#"{{"version":{version},{rest}{more}}}"#);
            fs::write(path(data.path()), text).unwrap();
            Identity::read(data.path()).map_err(|error| error.kind())
        };
        let (damaged, newer) = (io::ErrorKind::InvalidData, io::ErrorKind::Unsupported);
        assert!(form(1, "").is_ok());
        assert!(form(2, r#","cluster_version":2"#).is_ok());
        assert_eq!(form(1, r#","cluster_version":2"#), Err(damaged));
        assert_eq!(form(2, ""), Err(damaged));
        assert_eq!(form(0, ""), Err(newer));
        assert_eq!(form(3, r#","weather":"fine""#), Err(newer));
    }

    fn sample() -> Identity {
        let mut identity = Identity::new().unwrap();
        identity.joined(*b"the cluster's id", 2, 16);
        identity.incarnation = hex(b"a disk's own id.");
        identity.has_begun = true;
        identity
            .peers
            .insert(1, KnownPeer::new("a:1".into(), *b"another disk id."));
        identity
    }

    /// Programs read and write the form of the time of their cluster.
    #[test]
    fn the_forms_of_the_file_are_frozen() {
        let data = tempfile::tempdir().unwrap();
        let mut identity = sample();
        for (version, frozen) in [
            (1, include_str!("golden/node-1.json")),
            (2, include_str!("golden/node-2.json")),
        ] {
            identity.set_cluster_version(ClusterVersion(version));
            identity.write(data.path()).unwrap();
            let text = fs::read_to_string(path(data.path())).unwrap();
            assert_eq!(text, frozen.trim_end(), "{text}");
            fs::write(path(data.path()), frozen).unwrap();
            assert_eq!(Identity::read(data.path()).unwrap(), Some(identity.clone()));
        }
    }
}
