//! The certificate of a port: read at the start, and again whenever its files change.
//!
//! What cannot be used leaves the certificate before it in force. It is reported once it has stayed as it is for one
//! look: certificate and key are two files, of which one is replaced before the other.

use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use anser_broker::time::Timestamp;
use anser_network::{Acceptor, Identity, InForce};
use anser_node::Clock;
use anyhow::{Context, Result, ensure};

use crate::{
    exit::Exit,
    files,
    follow::{Follower, Stamp},
    utc,
};

/// A certificate that is replaced is shown after at most twice this long.
const LOOK: Duration = Duration::from_secs(1);
/// So long before the end of a certificate the log tells of it, and then once a day.
const WARNED_BEFORE_SECONDS: u64 = 14 * DAY_SECONDS;
const DAY_SECONDS: u64 = 86_400;
/// Far above any chain of certificates or key; a wrong path may name anything.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// What to do about a private key that others know.
const NEW_CERTIFICATE: &str = "have a new certificate made for another key";

/// Where the certificate of a port and its key are, in PEM form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CertificateFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

/// A certificate that is followed until dropped.
#[derive(Debug)]
pub(crate) struct Certificate {
    acceptor: Acceptor,
    shown: Arc<Shown>,
    _follower: Follower,
}

/// What a port shows, and what can be told of it.
#[derive(Debug)]
pub(crate) struct Shown {
    /// The section of the configuration: `api` or `admin`.
    port: &'static str,
    in_force: Arc<InForce>,
    expires: AtomicU64,
    loads: AtomicU64,
    is_refused: AtomicBool,
}

impl CertificateFiles {
    /// The files of a section; `None` if it names none.
    pub(crate) fn of(
        section: &str,
        certificate: Option<&PathBuf>,
        key: Option<&PathBuf>,
    ) -> Result<Option<Self>> {
        match (certificate, key) {
            (None, None) => Ok(None),
            (Some(certificate), Some(key)) => Ok(Some(Self {
                certificate: certificate.clone(),
                key: key.clone(),
            })),
            (Some(_), None) => Err(alone(section, "certificate", "key")),
            (None, Some(_)) => Err(alone(section, "key", "certificate")),
        }
    }

    fn stamps(&self) -> Stamps {
        [Stamp::of(&self.certificate), Stamp::of(&self.key)]
    }

    fn load(&self) -> Result<Identity> {
        let text = format!(
            "the certificate {} with the key {} is not usable",
            self.certificate.display(),
            self.key.display()
        );
        let wrong = || Exit::Configuration.reason(text.clone());
        let certificate = std::fs::File::open(&self.certificate)
            .map_err(anyhow::Error::new)
            .and_then(|file| read(file, &self.certificate))
            .with_context(wrong)?;
        let key = files::open_secret(&self.key, "private key", NEW_CERTIFICATE)?;
        let key = key
            .with_context(|| format!("there is no file {}", self.key.display()))
            .and_then(|file| read(file, &self.key))
            .with_context(wrong)?;
        Identity::parse(&certificate, &key).with_context(wrong)
    }
}

fn alone(section: &str, given: &str, missing: &str) -> anyhow::Error {
    Exit::Configuration.error(format!(
        "{section}.{given} is set, but {section}.{missing} is not: name both files, or none for plain HTTP"
    ))
}

fn read(file: std::fs::File, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    ensure!(
        bytes.len() as u64 <= FILE_BYTES_MAX,
        "{} has more than {FILE_BYTES_MAX} bytes",
        path.display()
    );
    Ok(bytes)
}

impl Certificate {
    /// Reads the files of a port; fails if they are not usable.
    pub(crate) fn start(port: &'static str, files: CertificateFiles, clock: Clock) -> Result<Self> {
        // Taken before the reading: a change in between is read again, never missed.
        let seen = files.stamps();
        let shown = Arc::new(Shown::new(port, files.load()?));
        let acceptor =
            Acceptor::new(Arc::clone(&shown.in_force)).context("TLS of a port cannot be set up")?;
        let mut followed = Followed::new(files, seen, Arc::clone(&shown));
        followed.warn_of_end(clock.wall());
        let follower = Follower::start(&format!("tls-{port}"), LOOK, move || {
            followed.look(clock.wall());
        })?;
        Ok(Self {
            acceptor,
            shown,
            _follower: follower,
        })
    }

    /// What agrees on TLS with clients of the port.
    pub(crate) fn acceptor(&self) -> Acceptor {
        self.acceptor.clone()
    }

    pub(crate) fn shown(&self) -> Arc<Shown> {
        Arc::clone(&self.shown)
    }
}

impl Shown {
    fn new(port: &'static str, identity: Identity) -> Self {
        Self {
            port,
            expires: AtomicU64::new(identity.expires()),
            in_force: Arc::new(InForce::new(identity)),
            loads: AtomicU64::new(1),
            is_refused: AtomicBool::new(false),
        }
    }

    fn replace(&self, identity: Identity) {
        self.expires.store(identity.expires(), Ordering::Relaxed);
        self.in_force.replace(identity);
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn port(&self) -> &'static str {
        self.port
    }

    /// The end of the certificate in force, in seconds since 1970.
    pub(crate) fn expires(&self) -> u64 {
        self.expires.load(Ordering::Relaxed)
    }

    /// How many certificates were taken in force since the start, the first one too.
    pub(crate) fn loads(&self) -> u64 {
        self.loads.load(Ordering::Relaxed)
    }

    /// Whether the files hold something that cannot be used, so that the certificate before it is in force.
    pub(crate) fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Relaxed)
    }
}

/// Of the certificate and of the key.
type Stamps = [Stamp; 2];

/// What was seen last, and what was said of it.
struct Followed {
    files: CertificateFiles,
    shown: Arc<Shown>,
    /// Of what is in force.
    in_force: Stamps,
    /// Of the last look.
    seen: Stamps,
    reported: Option<Stamps>,
    warned: Option<Timestamp>,
}

impl Followed {
    fn new(files: CertificateFiles, seen: Stamps, shown: Arc<Shown>) -> Self {
        Self {
            files,
            shown,
            in_force: seen,
            seen,
            reported: None,
            warned: None,
        }
    }

    /// Takes what has changed; what does not work is tried again the next time.
    fn look(&mut self, now: Timestamp) {
        let stamps = self.files.stamps();
        let is_settled = stamps == self.seen;
        self.seen = stamps;
        if stamps == self.in_force {
            self.reported = None;
            self.shown.is_refused.store(false, Ordering::Relaxed);
        } else {
            match self.files.load() {
                Ok(identity) => self.take(identity, stamps),
                Err(error) if is_settled => self.refuse(&error, stamps),
                // The other file may be replaced at this moment.
                Err(_) => {}
            }
        }
        self.warn_of_end(now);
    }

    fn take(&mut self, identity: Identity, stamps: Stamps) {
        self.shown.replace(identity);
        self.shown.is_refused.store(false, Ordering::Relaxed);
        // If it was another file already when it was read, that one is read the next time.
        self.in_force = stamps;
        (self.reported, self.warned) = (None, None);
        tracing::info!(
            port = self.shown.port,
            ends = utc::text(self.shown.expires()),
            "new connections are shown another certificate"
        );
    }

    fn refuse(&mut self, error: &anyhow::Error, stamps: Stamps) {
        self.shown.is_refused.store(true, Ordering::Relaxed);
        if self.reported != Some(stamps) {
            self.reported = Some(stamps);
            tracing::error!(
                port = self.shown.port,
                error = format!("{error:#}"),
                "the old certificate stays in force"
            );
        }
    }

    fn warn_of_end(&mut self, now: Timestamp) {
        let expires = self.shown.expires();
        let is_near = expires < now.seconds() + WARNED_BEFORE_SECONDS;
        let is_said = |warned: Timestamp| now.seconds() < warned.seconds() + DAY_SECONDS;
        if !is_near || self.warned.is_some_and(is_said) {
            return;
        }
        self.warned = Some(now);
        let (port, ends) = (self.shown.port, utc::text(expires));
        if expires <= now.seconds() {
            tracing::error!(port, ends, "the certificate has ended: clients refuse it");
        } else {
            tracing::warn!(port, ends, "the certificate ends soon: replace its files");
        }
    }
}

#[cfg(test)]
mod tests;
