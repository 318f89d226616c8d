//! The bytes of the key store, in its file and between the nodes of a cluster, drawn in
//! `docs/formats/keys.md`.
//!
//! Either is one AES-256-GCM box whose header is authenticated with it: a changed bit anywhere makes
//! it unreadable rather than wrong.

use anyhow::{Context, Result, ensure};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use serde::{Deserialize, Serialize};

use super::{Key, master::MasterKey};

const MAGIC: [u8; 8] = *b"anserkey";
const VERSION: u32 = 2;
/// Had no revision.
const VERSION_OLDEST: u32 = 1;

const SHARED_MAGIC: [u8; 8] = *b"ansershr";
const SHARED_VERSION: u32 = 1;

const MARK_START: usize = 12;
const NONCE_START: usize = 20;
const HEADER_BYTES: usize = NONCE_START + NONCE_LEN;

/// What is kept: no `Debug`, since it is all secrets.
#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    /// Of two contents of one cluster the one with the higher revision is the newer one; 0: it was
    /// never that of a cluster.
    #[serde(default)]
    pub(super) revision: u64,
    pub(super) keys: Vec<Key>,
    /// Base64; absent until a server needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt_key: Option<String>,
}

/// Why a file does not give its keys.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("{0}")]
    Damaged(String),
    #[error(
        "it was encrypted under another master key, unless its bytes 12 to 19 are damaged: \
         give the right one with --master-key-file or master_key_file"
    )]
    AnotherMaster,
    #[error(
        "it has version {0}, this program knows versions up to {VERSION}: use a newer anser, \
         unless its bytes 8 to 11 are damaged"
    )]
    Version(u32),
}

/// The file's bytes.
pub(super) fn seal(content: &Content, master: &MasterKey) -> Result<Vec<u8>> {
    seal_box(
        (MAGIC, VERSION, master.fingerprint()),
        master.bytes(),
        content,
    )
}

pub(super) fn open(file: &[u8], master: &MasterKey) -> Result<Content, Unreadable> {
    let damaged = |what: String| Unreadable::Damaged(what);
    if file.len() <= HEADER_BYTES {
        return Err(damaged(format!(
            "it ends at byte {}, within its header",
            file.len()
        )));
    }
    let (header, sealed) = parts(file, MAGIC)
        .ok_or_else(|| damaged("bytes 0 to 7 are not those of a key store".into()))?;
    let version = version(header);
    if !(VERSION_OLDEST..=VERSION).contains(&version) {
        return Err(Unreadable::Version(version));
    }
    if header[MARK_START..NONCE_START] != master.fingerprint() {
        return Err(Unreadable::AnotherMaster);
    }
    let content = open_box(header, sealed, master.bytes()).ok_or_else(|| {
        let last = file.len() - 1;
        damaged(format!(
            "bytes {NONCE_START} to {last} are not what was encrypted"
        ))
    })?;
    content.ok_or_else(|| damaged("what it holds is no list of keys".into()))
}

/// What a node gives the others of its cluster, under a key that all of them have.
pub(super) fn seal_shared(content: &Content, key: &[u8; 32]) -> Result<Vec<u8>> {
    let mark = content.revision.to_le_bytes();
    seal_box((SHARED_MAGIC, SHARED_VERSION, mark), key, content)
}

/// What another node gave as this revision.
pub(super) fn open_shared(bytes: &[u8], revision: u64, key: &[u8; 32]) -> Result<Content> {
    let (header, sealed) = parts(bytes, SHARED_MAGIC).context("it is no shared key store")?;
    let version = version(header);
    ensure!(
        version == SHARED_VERSION,
        "it has version {version}, this program knows version {SHARED_VERSION}: use the same anser \
         on all nodes"
    );
    let content = open_box(header, sealed, key)
        .context("it was sealed with another cluster token, or is damaged")?
        .context("the decrypted content is no list of keys")?;
    ensure!(
        content.revision == revision,
        "it has revision {}, but was given as {revision}",
        content.revision
    );
    Ok(content)
}

type Head = ([u8; 8], u32, [u8; 8]);

fn seal_box((magic, version, mark): Head, key: &[u8; 32], content: &Content) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce)
        .ok()
        .context("the system gives no random bytes")?;
    let mut sealed = Vec::with_capacity(HEADER_BYTES + 256 * content.keys.len());
    sealed.extend_from_slice(&magic);
    sealed.extend_from_slice(&version.to_le_bytes());
    sealed.extend_from_slice(&mark);
    sealed.extend_from_slice(&nonce);

    let mut content = serde_json::to_vec(content)?;
    cipher(key)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&sealed),
            &mut content,
        )
        .ok()
        .context("the keys cannot be encrypted")?;
    sealed.append(&mut content);
    Ok(sealed)
}

/// `None` if it does not open; `Some(None)` if what it holds is not understood. A parse error could
/// quote what was decrypted, so its text goes no further.
#[expect(clippy::option_option, reason = "two questions with two words each")]
fn open_box(header: &[u8], sealed: &[u8], key: &[u8; 32]) -> Option<Option<Content>> {
    let nonce: [u8; NONCE_LEN] = header[NONCE_START..].try_into().ok()?;
    let mut content = sealed.to_vec();
    let content = cipher(key)
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut content,
        )
        .ok()?;
    Some(serde_json::from_slice(content).ok())
}

/// Header and box, if it begins as it must.
fn parts(bytes: &[u8], magic: [u8; 8]) -> Option<(&[u8], &[u8])> {
    (bytes.len() > HEADER_BYTES && bytes.starts_with(&magic)).then(|| bytes.split_at(HEADER_BYTES))
}

fn version(header: &[u8]) -> u32 {
    let bytes = header[8..MARK_START].try_into();
    u32::from_le_bytes(bytes.expect("a header has a version"))
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, key).expect("a key has 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: Key) -> Content {
        Content {
            revision: 3,
            keys: vec![key],
            receipt_key: None,
        }
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let master = MasterKey::generate().unwrap();
        let sealed = seal(&of(Key::generate(7, None).unwrap()), &master).unwrap();
        assert_eq!(open(&sealed, &master).unwrap().keys[0].account, 7);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open(&changed, &master).is_err(), "byte {place}");
        }
        assert!(open(&sealed[..sealed.len() - 1], &master).is_err());
        assert!(open(&[], &master).is_err());
    }

    #[test]
    fn another_master_key_is_named_as_the_reason() {
        let sealed = seal(&Content::default(), &MasterKey::generate().unwrap()).unwrap();
        let opened = open(&sealed, &MasterKey::generate().unwrap());
        let error = opened.err().unwrap();
        assert!(error.to_string().contains("another master key"), "{error}");
    }

    #[test]
    fn a_file_of_version_1_has_no_revision() {
        #[derive(Serialize)]
        struct Old {
            keys: Vec<Key>,
        }
        let master = MasterKey::generate().unwrap();
        let keys = vec![Key::generate(7, None).unwrap()];
        let mut file = Vec::new();
        file.extend_from_slice(&MAGIC);
        file.extend_from_slice(&1_u32.to_le_bytes());
        file.extend_from_slice(&master.fingerprint());
        file.extend_from_slice(&[5; NONCE_LEN]);
        let mut old = serde_json::to_vec(&Old { keys: keys.clone() }).unwrap();
        let nonce = Nonce::assume_unique_for_key([5; NONCE_LEN]);
        let sealed =
            cipher(master.bytes()).seal_in_place_append_tag(nonce, Aad::from(&file), &mut old);
        sealed.unwrap();
        file.append(&mut old);
        let content = open(&file, &master).unwrap();
        assert_eq!((content.revision, content.keys), (0, keys));
    }

    /// Files of both versions, and what nodes share, as another program made them from `keys.md`.
    #[test]
    fn boxes_of_every_version_are_opened_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        let text = "anser-master-key-1 MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=\n";
        crate::files::replace(&path, text.as_bytes()).unwrap();
        let master = MasterKey::read_or_create(&path).unwrap();
        let unhex = |line: &str| -> Vec<u8> {
            let pairs = line.as_bytes().chunks(2);
            let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
            pairs
                .map(|pair| u8::from_str_radix(pair, 16).unwrap())
                .collect()
        };
        let lines = include_str!("golden/keys.hex").lines();
        let [first, second, shared] = lines.map(unhex).collect::<Vec<_>>().try_into().unwrap();
        let revision = 1_795_362_580_123_456;
        let token = crate::cluster::token::token_of("0123456789abcdef");
        let key = token.key("anser shared key store v1");
        for (content, revision) in [
            (open(&first, &master).unwrap(), 0),
            (open(&second, &master).unwrap(), revision),
            (open_shared(&shared, revision, &key).unwrap(), revision),
        ] {
            assert_eq!(content.revision, revision);
            let [key] = &content.keys[..] else {
                panic!("one key")
            };
            assert_eq!((&key.id[..], key.account), ("AKID-golden", 123_456_789_012));
            assert!(content.receipt_key.is_some());
        }
        let mut newer = second;
        newer[8] = 3;
        let error = open(&newer, &master).err().unwrap();
        assert!(error.to_string().contains("version 3"), "{error}");
    }

    #[test]
    fn what_nodes_share_opens_under_their_token_only() {
        let content = of(Key::generate(7, None).unwrap());
        let sealed = seal_shared(&content, &[1; 32]).unwrap();
        let opened = open_shared(&sealed, 3, &[1; 32]).unwrap();
        assert_eq!((opened.revision, opened.keys), (3, content.keys));
        let error = open_shared(&sealed, 3, &[2; 32]).err().unwrap();
        assert!(error.to_string().contains("another cluster token"));
        let error = open_shared(&sealed, 4, &[1; 32]).err().unwrap();
        assert!(error.to_string().contains("revision 3"), "{error}");
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(open_shared(&changed, 3, &[1; 32]).is_err(), "byte {place}");
        }
        assert!(open_shared(&[], 0, &[1; 32]).is_err());
    }
}
