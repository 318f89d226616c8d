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

use serde::{Deserialize, Serialize};

const VERSION: u32 = 1;
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
            version: VERSION,
            cluster: String::new(),
            incarnation: hex(&random()?),
            node: 0,
            has_begun: false,
            shards: 0,
            peers: BTreeMap::new(),
        })
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
        let identity: Self = serde_json::from_slice(&text)?;
        let fields = [&identity.cluster, &identity.incarnation];
        let peers = identity.peers.values().map(|peer| &peer.incarnation);
        let sound = fields
            .into_iter()
            .chain(peers)
            .all(|field| field.is_empty() || from_hex(field).is_some());
        if identity.version != VERSION || !sound || identity.incarnation.is_empty() {
            let what = format!("{FILE} has an unknown version or is damaged");
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
        let unknown = r#"{"version":2,"cluster":"","incarnation":"","node":0,"has_begun":false,"shards":0,"peers":{}}"#;
        fs::write(path(data.path()), unknown).unwrap();
        assert!(Identity::read(data.path()).is_err());
    }
}
