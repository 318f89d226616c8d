//! Who a node is: which cluster it belongs to and its number there, in a file beside its log.
//!
//! The incarnation is drawn once for a data folder. An emptied or replaced disk has none and so becomes
//! another node: a replica that has forgotten its votes must never vote again under its old number.
//!
//! A restored or copied folder has forgotten too, and has the incarnation. So each start takes a number above
//! the last that the catalog heard of, and draws a mark with it: the catalog lets one folder take the next
//! number, and every other is left behind for ever. A start that the catalog has not heard of keeps its number
//! at the next one, so that an old copy does not climb by being started again and again.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use anser_broker::{command::NodeStart, version::ClusterVersion};
use serde::{Deserialize, Serialize};

const VERSION: u32 = 4;
/// The file of the program before this one has no checksum, and is read.
const FORMER: u32 = VERSION - 1;
pub(crate) const FILE: &str = "node.json";

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
    /// The number of the last start with this folder; 0 before the first.
    start: u64,
    /// In hexadecimal; drawn with the number.
    start_mark: String,
    /// The catalog has heard of that start, so that the next one takes another number.
    start_is_known: bool,
    /// Its shards were made, or it has joined others who have them: it never makes any again.
    pub(crate) has_begun: bool,
    /// How many shards the cluster has; 0 until its first node has begun.
    pub(crate) shards: u16,
    /// The other nodes it knew last, so that it finds them after a restart.
    pub(crate) peers: BTreeMap<u64, KnownPeer>,
    /// The version of the cluster when it was heard last.
    cluster_version: ClusterVersion,
    /// Only in the file: see [`checksum`].
    #[serde(default)]
    checksum: String,
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
            version: VERSION,
            cluster: String::new(),
            incarnation: hex(&random()?),
            node: 0,
            start: 0,
            start_mark: hex(&[0; 16]),
            start_is_known: true,
            has_begun: false,
            shards: 0,
            peers: BTreeMap::new(),
            cluster_version: ClusterVersion::FIRST,
            checksum: String::new(),
        })
    }

    pub(crate) fn cluster_version(&self) -> ClusterVersion {
        self.cluster_version
    }

    pub(crate) fn set_cluster_version(&mut self, version: ClusterVersion) {
        self.cluster_version = self.cluster_version.max(version);
    }

    /// Another process begins with this folder. To be written before it says anything to anybody.
    pub(crate) fn begin_start(&mut self) -> io::Result<()> {
        let next = self.start().next(self.start_is_known, random()?);
        (self.start, self.start_mark) = (next.number, hex(&next.mark));
        self.start_is_known = false;
        Ok(())
    }

    pub(crate) fn start(&self) -> NodeStart {
        NodeStart {
            number: self.start,
            mark: from_hex(&self.start_mark).expect("checked when it was read, or drawn here"),
        }
    }

    /// The catalog remembers this start of the node.
    pub(crate) fn hear_of_start(&mut self, start: NodeStart) {
        self.start_is_known |= start == self.start();
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
        let damaged = |error: serde_json::Error| io::Error::new(io::ErrorKind::InvalidData, error);
        let Head { version } = serde_json::from_slice(&text).map_err(damaged)?;
        if !matches!(version, VERSION | FORMER) {
            let what = format!("{FILE} has version {version}, this program reads {VERSION}");
            return Err(io::Error::new(io::ErrorKind::Unsupported, what));
        }
        let mut identity: Self = serde_json::from_slice(&text).map_err(damaged)?;
        let said = std::mem::take(&mut identity.checksum);
        let is_former = version == FORMER && said.is_empty();
        let is_whole = is_former || said == identity.checksum()?;
        identity.version = VERSION;
        let fields = [&identity.cluster];
        let drawn = [&identity.incarnation, &identity.start_mark];
        let peers = identity.peers.values().map(|peer| &peer.incarnation);
        let sound = fields
            .into_iter()
            .chain(peers)
            .all(|field| field.is_empty() || from_hex(field).is_some())
            && drawn.into_iter().all(|field| from_hex(field).is_some());
        if !is_whole || !sound {
            let what = format!("{FILE} is damaged");
            return Err(io::Error::new(io::ErrorKind::InvalidData, what));
        }
        Ok(Some(identity))
    }

    /// CRC-32C, in hexadecimal, of all fields in their order as JSON without white space, the checksum being empty. A bit of
    /// a number or an address that has turned would make another node of this one, which nobody lets in.
    fn checksum(&self) -> io::Result<String> {
        let fields = serde_json::to_vec(self)?;
        Ok(format!("{:08x}", crc32c::crc32c(&fields)))
    }

    /// Written aside, synced, renamed, folder synced.
    pub(crate) fn write(&self, data: &Path) -> io::Result<()> {
        let aside = data.join(format!("{FILE}.new"));
        let whole = Self {
            checksum: self.checksum()?,
            ..self.clone()
        };
        let text = serde_json::to_vec_pretty(&whole)?;
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
        let frozen = include_str!("golden/node.json");
        let read = |from: &str, to: &str| {
            assert!(frozen.contains(from));
            fs::write(path(data.path()), frozen.replace(from, to)).unwrap();
            Identity::read(data.path()).map_err(|error| error.kind())
        };
        let (damaged, other) = (io::ErrorKind::InvalidData, io::ErrorKind::Unsupported);
        assert!(read(r#""shards": 16"#, r#""shards":16"#).is_ok());
        assert_eq!(read(r#""shards": 16"#, r#""shards": 17"#), Err(damaged));
        assert_eq!(read(r#""version": 4"#, r#""version": 3"#), Err(damaged));
        assert_eq!(read(r#""version": 4"#, r#""version": 2"#), Err(other));
        assert_eq!(read(r#""version": 4"#, r#""version": 5"#), Err(other));
        assert_eq!(read("\"start\": 5,", ""), Err(damaged));
        assert_eq!(read("61206469736b2773206f776e2069642e", ""), Err(damaged));
        assert_eq!(read("647261776e2061742061207374617274", "7"), Err(damaged));
    }

    /// Found by the damage matrix (flip node.json): a bit of the incarnation had turned, and the others did not know the node.
    #[test]
    fn no_bit_of_the_file_can_turn_unnoticed() {
        let data = tempfile::tempdir().unwrap();
        let frozen = include_bytes!("golden/node.json");
        fs::write(path(data.path()), frozen).unwrap();
        let whole = Identity::read(data.path()).unwrap();
        for at in 0..frozen.len() * 8 {
            let mut bytes = frozen.to_vec();
            bytes[at / 8] ^= 1 << (at % 8);
            fs::write(path(data.path()), &bytes).unwrap();
            // White space may be another.
            if let Ok(read) = Identity::read(data.path()) {
                assert_eq!(read, whole, "bit {at}");
            }
        }
    }

    #[test]
    fn the_file_of_the_former_program_is_read() {
        let data = tempfile::tempdir().unwrap();
        let frozen = include_str!("golden/node.json");
        let (before, _) = frozen.split_once(",\n  \"checksum\"").unwrap();
        let former = format!(
            "{}\n}}",
            before.replace(r#""version": 4"#, r#""version": 3"#)
        );
        fs::write(path(data.path()), former).unwrap();
        let read = Identity::read(data.path()).unwrap();
        fs::write(path(data.path()), frozen).unwrap();
        assert_eq!(read, Identity::read(data.path()).unwrap());
    }

    #[test]
    fn a_start_takes_another_number_once_the_catalog_has_heard_of_the_last() {
        let mut folder = Identity::new().unwrap();
        folder.begin_start().unwrap();
        let first = folder.start();
        assert_eq!(first.number, 1);
        folder.begin_start().unwrap();
        assert_eq!(folder.start(), first, "an old copy does not climb");
        folder.hear_of_start(first);
        let mut copy = folder.clone();
        folder.begin_start().unwrap();
        copy.begin_start().unwrap();
        assert_eq!((folder.start().number, copy.start().number), (2, 2));
        assert_ne!(
            folder.start(),
            copy.start(),
            "one of the two is left behind"
        );
        assert!(first.is_behind(folder.start()) && copy.start().is_behind(folder.start()));
        folder.hear_of_start(copy.start());
        folder.begin_start().unwrap();
        assert_eq!(folder.start().number, 2);
    }

    #[test]
    fn the_form_of_the_file_is_frozen() {
        let data = tempfile::tempdir().unwrap();
        let mut identity = Identity::new().unwrap();
        identity.joined(*b"the cluster's id", 2, 16);
        identity.incarnation = hex(b"a disk's own id.");
        identity.start = 5;
        identity.start_mark = hex(b"drawn at a start");
        identity.has_begun = true;
        identity.set_cluster_version(ClusterVersion(2));
        let peer = KnownPeer::new("a:1".into(), *b"another disk id.");
        identity.peers.insert(1, peer);
        identity.write(data.path()).unwrap();
        let text = fs::read_to_string(path(data.path())).unwrap();
        let frozen = include_str!("golden/node.json");
        assert_eq!(text, frozen.trim_end(), "{text}");
        assert_eq!(Identity::read(data.path()).unwrap(), Some(identity));
    }
}
