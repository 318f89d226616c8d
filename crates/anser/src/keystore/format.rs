//! The bytes of the key store file, drawn in `docs/formats/keys.md`.
//!
//! The whole list of keys is one AES-256-GCM box whose header is authenticated with it: a changed
//! bit anywhere makes the file unreadable rather than wrong.

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use serde::{Deserialize, Serialize};

use super::{Key, master::MasterKey};

const MAGIC: &[u8; 8] = b"anserkey";
const VERSION: u32 = 1;
const NONCE_START: usize = 20;
const HEADER_BYTES: usize = NONCE_START + NONCE_LEN;

/// What is kept: no `Debug`, since it is all secrets.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Content {
    pub(super) keys: Vec<Key>,
    /// Base64; absent until a server needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) receipt_key: Option<String>,
}

pub(super) fn seal(content: &Content, master: &MasterKey) -> Result<Vec<u8>> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce)
        .ok()
        .context("the system gives no random bytes")?;
    let mut file = Vec::with_capacity(HEADER_BYTES + 256 * content.keys.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&VERSION.to_le_bytes());
    file.extend_from_slice(&master.fingerprint());
    file.extend_from_slice(&nonce);

    let mut content = serde_json::to_vec(content)?;
    cipher(master)
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(&file),
            &mut content,
        )
        .ok()
        .context("the keys cannot be encrypted")?;
    file.append(&mut content);
    Ok(file)
}

pub(super) fn open(file: &[u8], master: &MasterKey) -> Result<Content> {
    ensure!(
        file.len() > HEADER_BYTES && file.starts_with(MAGIC),
        "this is no key store file"
    );
    let (header, sealed) = file.split_at(HEADER_BYTES);
    let version = u32::from_le_bytes(header[8..12].try_into()?);
    ensure!(
        version == VERSION,
        "the file has version {version}, this program knows version {VERSION}: use a newer anser"
    );
    if header[12..NONCE_START] != master.fingerprint() {
        bail!(
            "the file was encrypted under another master key: \
             give the right one with --master-key-file or master_key_file"
        );
    }
    let nonce: [u8; NONCE_LEN] = header[NONCE_START..].try_into()?;
    let mut content = sealed.to_vec();
    let content = cipher(master)
        .open_in_place(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(header),
            &mut content,
        )
        .ok()
        .context("the file is damaged: restore it from a backup")?;
    // A parse error could quote what was decrypted, so its text goes no further.
    serde_json::from_slice(content)
        .ok()
        .context("the decrypted content is no list of keys")
}

fn cipher(master: &MasterKey) -> LessSafeKey {
    let key = UnboundKey::new(&AES_256_GCM, master.bytes()).expect("a master key has 32 bytes");
    LessSafeKey::new(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(key: Key) -> Content {
        Content {
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
}
