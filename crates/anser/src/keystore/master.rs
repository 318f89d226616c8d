//! The master key file: the one secret that is not in the data directory.
//!
//! One line of text, `anser-master-key-1 ` and 32 bytes in Base64, readable by its owner only. A
//! copy of the data directory without it reveals no access key.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aws_lc_rs::{digest, rand};
use base64::{Engine, prelude::BASE64_STANDARD};

use crate::{exit::Exit, files};

const PREFIX: &str = "anser-master-key-1 ";

/// Encrypts the access keys.
pub struct MasterKey([u8; 32]);

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("MasterKey(..)")
    }
}

impl MasterKey {
    pub fn generate() -> Result<Self> {
        let mut bytes = [0; 32];
        rand::fill(&mut bytes)
            .ok()
            .context("the system gives no random bytes")?;
        Ok(Self(bytes))
    }

    /// `None` if there is no such file.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = files::read_secret(path, "master key file", "make new access keys")?;
        let Some(text) = text else { return Ok(None) };
        let key = parse(&text).with_context(|| {
            Exit::Damaged.reason(format!(
                "{} is no master key file: restore it from a backup",
                path.display()
            ))
        })?;
        Ok(Some(key))
    }

    /// Reads the file, or makes it if there is none.
    pub fn read_or_create(path: &Path) -> Result<Self> {
        if let Some(key) = Self::read(path)? {
            return Ok(key);
        }
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            files::make_private_folder(folder)?;
        }
        let key = Self::generate()?;
        let line = format!("{PREFIX}{}\n", BASE64_STANDARD.encode(key.0));
        if files::create_new(path, line.as_bytes())? {
            tracing::info!(path = %path.display(), "made a master key file");
            return Ok(key);
        }
        // Another process was faster; its key is the key.
        Self::read(path)?.context("the master key file vanished while it was made")
    }

    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells one master key from another without telling the key.
    pub(super) fn fingerprint(&self) -> [u8; 8] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"anser master key fingerprint");
        context.update(&self.0);
        let digest = context.finish();
        digest.as_ref()[..8]
            .try_into()
            .expect("a digest has 32 bytes")
    }
}

/// Refuses a master key inside the data directory, where one copy would hold lock and key.
pub(crate) fn check_place(master_key_file: &Path, data: &Path) -> Result<()> {
    let (Some(file), Some(data_folder)) = (resolved(master_key_file), resolved(data)) else {
        return Ok(());
    };
    if file.starts_with(&data_folder) {
        return Err(Exit::Configuration.error(format!(
            "the master key file {} is inside the data directory {}: \
             keep it elsewhere, so that a copy of the data reveals no keys",
            master_key_file.display(),
            data.display(),
        )));
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> Option<PathBuf> {
    let absolute = std::path::absolute(path).ok()?;
    let existing = absolute.ancestors().find(|ancestor| ancestor.exists())?;
    let rest = absolute.strip_prefix(existing).ok()?;
    Some(fs::canonicalize(existing).ok()?.join(rest))
}

fn parse(text: &str) -> Result<MasterKey> {
    let Some(encoded) = text.strip_prefix(PREFIX) else {
        bail!("it does not begin with \"{}\"", PREFIX.trim_end());
    };
    let bytes = BASE64_STANDARD
        .decode(encoded.trim_end())
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .context("it does not hold 32 bytes in Base64")?;
    Ok(MasterKey(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/master.key");
        let made = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let read = MasterKey::read_or_create(&path).unwrap();
        assert_eq!(made.bytes(), read.bytes());

        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = MasterKey::read(&path).unwrap_err();
        assert_eq!(Exit::of(&error), Exit::Permission);
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_damaged_file_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("master.key");
        for content in [&b"anser-master-key-1 AAAA\n"[..], b"", b"\xff\xfe"] {
            files::replace(&path, content).unwrap();
            let error = MasterKey::read(&path).unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Damaged, "{error:#}");
            assert!(format!("{error:#}").contains("restore it"), "{error:#}");
        }
    }

    #[test]
    fn a_place_inside_the_data_directory_is_refused() {
        let data = tempfile::tempdir().unwrap();
        assert!(check_place(&data.path().join("master.key"), data.path()).is_err());
        assert!(check_place(&data.path().join("a/b/master.key"), data.path()).is_err());
        assert!(check_place(&data.path().with_file_name("x"), data.path()).is_ok());
    }
}
