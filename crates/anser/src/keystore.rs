//! The access keys of a data directory: who may speak, and for which account.
//!
//! A [`Store`] is one encrypted file, replaced as a whole by one writer at a time and read by anyone
//! who has the master key. A running server follows the file through [`watch::Watched`].

mod cluster;
pub mod exchange;
mod format;
pub mod master;
pub mod watch;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail, ensure};
use aws_lc_rs::{hmac, rand};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use crate::{exit::Exit, files, paths};
use format::{Content, Unreadable};
use master::MasterKey;

const ID_BYTES_MAX: usize = 128;
const SECRET_BYTES_MAX: usize = 256;
const NOTE_BYTES_MAX: usize = 256;
const KEYS_MAX: usize = 100_000;

/// An access key. Requests name the id and are signed with the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    pub id: String,
    pub secret: String,
    pub account: u64,
    pub enabled: bool,
    /// Seconds since 1970.
    pub created: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl fmt::Debug for Key {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Key")
            .field("id", &self.id)
            .field("account", &self.account)
            .finish_non_exhaustive()
    }
}

impl Key {
    /// A key that nobody has guessed.
    pub fn generate(account: u64, note: Option<String>) -> Result<Self> {
        // The CMQ documents want ids that begin so.
        let id = format!("AKID{}", random_text(32)?);
        Self::new(id, random_text(40)?, account, note)
    }

    pub fn new(id: String, secret: String, account: u64, note: Option<String>) -> Result<Self> {
        ensure!(
            (1..=ID_BYTES_MAX).contains(&id.len())
                && id
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)),
            "the key id has to be 1 to {ID_BYTES_MAX} letters, digits, '-', '_' and '.'"
        );
        ensure!(
            (1..=SECRET_BYTES_MAX).contains(&secret.len())
                && secret.bytes().all(|byte| byte.is_ascii_graphic()),
            "the secret has to be 1 to {SECRET_BYTES_MAX} printable characters without spaces"
        );
        ensure!(
            note.as_ref()
                .is_none_or(|note| note.len() <= NOTE_BYTES_MAX),
            "the note has to be at most {NOTE_BYTES_MAX} bytes"
        );
        let created = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        Ok(Self {
            id,
            secret,
            account,
            enabled: true,
            created,
            note,
        })
    }

    /// From `ID:SECRET`.
    pub fn parse_pair(pair: &str) -> Result<(String, String)> {
        match pair.split_once(':') {
            Some((id, secret)) if !id.is_empty() && !secret.is_empty() => {
                Ok((id.to_owned(), secret.to_owned()))
            }
            _ => bail!("a key is written ID:SECRET"),
        }
    }
}

/// The key store file of one data directory.
#[derive(Debug)]
pub struct Store {
    data: PathBuf,
    master: MasterKey,
}

impl Store {
    /// Opens the store of a data directory; makes the master key at its first use.
    pub fn open(data: &Path, master_key_file: &Path) -> Result<Self> {
        master::check_place(master_key_file, data)?;
        let keys_exist = paths::keys(data).exists();
        let master = if keys_exist {
            MasterKey::read(master_key_file)?.ok_or_else(|| {
                Exit::Configuration.error(format!(
                    "the master key file {} is missing, and {} is encrypted under it: \
                     restore it, or name it with --master-key-file or master_key_file",
                    master_key_file.display(),
                    paths::keys(data).display(),
                ))
            })?
        } else {
            MasterKey::read_or_create(master_key_file)?
        };
        Ok(Self {
            data: data.to_owned(),
            master,
        })
    }

    /// The keys in the order of their creation.
    pub fn keys(&self) -> Result<Vec<Key>> {
        Ok(self.content()?.keys)
    }

    /// The key of receipt handles, made when a server first asks for it and kept for good.
    pub fn receipt_key(&self) -> Result<[u8; 32]> {
        if self.content()?.receipt_key.is_none() {
            self.change_content(|content| {
                if content.receipt_key.is_none() {
                    let mut bytes = [0; 32];
                    rand::fill(&mut bytes)
                        .ok()
                        .context("the system gives no random bytes")?;
                    content.receipt_key = Some(BASE64_STANDARD.encode(bytes));
                }
                Ok(())
            })?;
        }
        let text = self.content()?.receipt_key.unwrap_or_default();
        let bytes = BASE64_STANDARD.decode(text).ok();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .with_context(|| {
                let path = self.path();
                Exit::Damaged.reason(format!(
                    "the key of receipt handles in {} is no key: restore the file from a backup",
                    path.display()
                ))
            })
    }

    /// The key from which the secrets come that pushes are signed with: worked out from the key of
    /// receipt handles, so that there is nothing more to keep.
    pub fn push_signing_key(&self) -> Result<[u8; 32]> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &self.receipt_key()?);
        let tag = hmac::sign(&key, b"anser push signing key v1");
        let bytes = tag.as_ref().try_into();
        Ok(bytes.expect("a tag of SHA-256 has 32 bytes"))
    }

    pub fn find(&self, id: &str) -> Result<Option<Key>> {
        Ok(self.keys()?.into_iter().find(|key| key.id == id))
    }

    /// Adds a key whose id is new.
    pub fn add(&self, key: Key) -> Result<()> {
        self.change(|keys| {
            ensure!(
                keys.iter().all(|other| other.id != key.id),
                "there is a key {} already: choose another id, or delete it first",
                key.id
            );
            ensure!(
                keys.len() < KEYS_MAX,
                "there are {KEYS_MAX} keys already, as many as can be"
            );
            keys.push(key);
            Ok(())
        })
    }

    /// Adds a key or puts it in the place of the one with its id.
    pub fn put(&self, key: Key) -> Result<()> {
        self.change(|keys| {
            keys.retain(|other| other.id != key.id);
            keys.push(key);
            Ok(())
        })
    }

    pub fn set_enabled(&self, id: &str, enabled: bool) -> Result<()> {
        self.change(|keys| {
            let key = keys.iter_mut().find(|key| key.id == id);
            key.with_context(|| unknown(id))?.enabled = enabled;
            Ok(())
        })
    }

    pub fn delete(&self, id: &str) -> Result<()> {
        self.change(|keys| {
            let before = keys.len();
            keys.retain(|key| key.id != id);
            ensure!(keys.len() < before, unknown(id));
            Ok(())
        })
    }

    /// Of two contents of one cluster the one with the higher revision is the newer one; 0: this store
    /// was never that of a cluster.
    pub fn revision(&self) -> Result<u64> {
        Ok(self.content()?.revision)
    }

    fn path(&self) -> PathBuf {
        paths::keys(&self.data)
    }

    fn content(&self) -> Result<Content> {
        let path = self.path();
        let file = match fs::read(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Content::default()),
            Err(error) => return Err(files::explained(error, "read the key store", &path)),
        };
        format::open(&file, &self.master).map_err(|reason| self.unreadable(reason))
    }

    /// Nothing else holds the keys of a server for itself, so that whoever looks after it has to choose. A node of a
    /// cluster is given them, so nobody should be led to make new ones there.
    fn unreadable(&self, reason: Unreadable) -> anyhow::Error {
        let (path, data) = (self.path(), self.data.display());
        let path = path.display();
        match reason {
            Unreadable::Damaged(what) if self.has_others() => Exit::Damaged.error(format!(
                "the key store {path} is damaged: {what}. The other nodes of the cluster have the same keys: start \
                 this node, and it sets the file aside and gets them; until then change keys on another node"
            )),
            Unreadable::Damaged(what) => Exit::Damaged.error(format!(
                "the key store {path} is damaged: {what}. Restore it from a backup. Without one \
                 all access keys have to be made anew: \
                 mv {path} {path}.damaged, then anser key create --data {data}"
            )),
            other => anyhow::Error::new(other).context(
                Exit::Configuration.reason(format!("cannot read the key store {path}")),
            ),
        }
    }

    /// Takes a damaged file out of the way, for whoever wants to look at it, where others give its content again.
    /// Whether there was one.
    pub(crate) fn set_damaged_aside(&self) -> Result<bool> {
        if !self.path().exists() {
            return Ok(false);
        }
        let _lock = files::FileLock::wait(&paths::keys_lock(&self.data))?;
        match self.content() {
            Ok(_) => Ok(false),
            Err(error) if Exit::of(&error) == Exit::Damaged => {
                let path = self.path();
                let aside = paths::keys_damaged(&self.data);
                files::rename(&path, &aside)?;
                tracing::error!(
                    error = format!("{error:#}"),
                    aside = %aside.display(),
                    "the access keys were damaged and come from the other nodes"
                );
                Ok(true)
            }
            Err(other) => Err(other),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Vec<Key>) -> Result<()>) -> Result<()> {
        self.change_content(|content| change(&mut content.keys))
    }

    fn change_content(&self, change: impl FnOnce(&mut Content) -> Result<()>) -> Result<()> {
        self.replace_content(|content| {
            change(content)?;
            content.revision = cluster::next_revision(content.revision)?;
            Ok(true)
        })
        .map(drop)
    }

    /// Writes the content that `change` makes, if it says that it has changed it. Whether it did.
    fn replace_content(&self, change: impl FnOnce(&mut Content) -> Result<bool>) -> Result<bool> {
        files::make_private_folder(&self.data)?;
        let _lock = files::FileLock::wait(&paths::keys_lock(&self.data))?;
        let mut content = self.content()?;
        let changed = change(&mut content)?;
        if changed {
            files::replace(&self.path(), &format::seal(&content, &self.master)?)?;
        }
        Ok(changed)
    }
}

fn unknown(id: &str) -> String {
    format!("there is no key {id}: see anser key list")
}

/// Letters and digits, each as likely as any other.
fn random_text(length: usize) -> Result<String> {
    const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(length);
    let mut block = [0; 64];
    while text.len() < length {
        rand::fill(&mut block)
            .ok()
            .context("the system gives no random bytes")?;
        // 248 is the largest multiple of 62 in a byte; the bytes above it would favour some letters.
        let fair = block.iter().filter(|&&byte| byte < 248);
        let missing = length - text.len();
        text.extend(
            fair.take(missing)
                .map(|&byte| char::from(ALPHABET[usize::from(byte % 62)])),
        );
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store(folder: &Path) -> Store {
        Store::open(&folder.join("data"), &folder.join("settings/master.key")).unwrap()
    }

    #[test]
    fn keys_are_added_disabled_and_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let key = Key::generate(1, Some("billing".into())).unwrap();
        store.add(key.clone()).unwrap();
        assert!(store.add(key.clone()).is_err());
        assert_eq!(store.keys().unwrap(), std::slice::from_ref(&key));
        store.set_enabled(&key.id, false).unwrap();
        assert!(!store.find(&key.id).unwrap().unwrap().enabled);
        store.delete(&key.id).unwrap();
        assert!(store.keys().unwrap().is_empty());
        assert!(store.delete(&key.id).is_err());
        assert!(store.set_enabled(&key.id, true).is_err());
    }

    #[test]
    fn the_key_of_receipt_handles_stays() {
        let folder = tempfile::tempdir().unwrap();
        let made = store(folder.path()).receipt_key().unwrap();
        store(folder.path())
            .add(Key::generate(1, None).unwrap())
            .unwrap();
        assert_eq!(store(folder.path()).receipt_key().unwrap(), made);
        assert_ne!(made, [0; 32]);
    }

    #[test]
    fn a_lost_master_key_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        store(folder.path())
            .add(Key::generate(1, None).unwrap())
            .unwrap();
        let error = Store::open(
            &folder.path().join("data"),
            &folder.path().join("other.key"),
        );
        assert!(error.unwrap_err().to_string().contains("is missing"));
        assert!(!folder.path().join("other.key").exists());
    }

    /// With code 1 a service manager would start it again and again.
    #[test]
    fn a_damaged_store_is_damage_and_says_what_helps() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.add(Key::generate(1, None).unwrap()).unwrap();
        let whole = fs::read(store.path()).unwrap();
        let [mut flipped, mut foreign, mut newer, mut other] = [0; 4].map(|_| whole.clone());
        flipped[40] ^= 1;
        foreign[3] ^= 1;
        newer[8] ^= 8;
        other[13] ^= 1;
        for (content, exit, text) in [
            (&flipped[..], Exit::Damaged, "bytes 20 to"),
            (&foreign[..], Exit::Damaged, "bytes 0 to 7"),
            (&whole[..20], Exit::Damaged, "it ends at byte 20"),
            (&[], Exit::Damaged, "it ends at byte 0"),
            (&newer[..], Exit::Configuration, "use a newer anser"),
            (&other[..], Exit::Configuration, "another master key"),
        ] {
            fs::write(store.path(), content).unwrap();
            let error = store.keys().unwrap_err();
            let said = format!("{error:#}");
            assert_eq!(Exit::of(&error), exit, "{said}");
            assert!(said.contains(text) && said.contains("keys.anser"), "{said}");
            let helps = said.contains("anser key create --data");
            assert_eq!(helps, exit == Exit::Damaged, "{said}");
        }
    }

    #[test]
    fn a_damaged_store_is_set_aside_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        store.add(Key::generate(1, None).unwrap()).unwrap();
        assert!(!store.set_damaged_aside().unwrap());
        fs::write(store.path(), b"damaged").unwrap();
        assert!(store.set_damaged_aside().unwrap());
        assert!(store.keys().unwrap().is_empty());
        let aside = paths::keys_damaged(&folder.path().join("data"));
        assert_eq!(fs::read(aside).unwrap(), b"damaged");
    }

    #[test]
    fn writers_at_the_same_time_lose_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        store(folder.path())
                            .add(Key::generate(1, None).unwrap())
                            .unwrap();
                    }
                });
            }
        });
        assert_eq!(store(folder.path()).keys().unwrap().len(), 20);
    }

    #[test]
    fn bad_ids_and_secrets_are_refused() {
        for (id, secret) in [
            ("", "s"),
            ("a b", "s"),
            ("a\n", "s"),
            ("a", ""),
            ("a", "s p"),
        ] {
            assert!(
                Key::new(id.into(), secret.into(), 1, None).is_err(),
                "{id:?} {secret:?}"
            );
        }
        assert!(Key::parse_pair("id:se:cret").is_ok_and(|(_, secret)| secret == "se:cret"));
        assert!(Key::parse_pair("id").is_err());
    }
}
