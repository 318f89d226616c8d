//! Certificates that come, go and are broken.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

/// A certificate that ends so many days after `NOW` began, and its key.
fn pair(days: u64) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["mq.example".to_owned()]).unwrap();
    let second = i64::try_from(NOW.seconds() + days * DAY_SECONDS).unwrap();
    params.not_after =
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(second.unsigned_abs());
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem())
}

struct World {
    folder: TempDir,
    followed: Followed,
}

impl World {
    fn new(days: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let files = files(folder.path());
        let (certificate, key) = pair(days);
        put(&files.certificate, &certificate);
        put(&files.key, &key);
        let shown = Arc::new(Shown::new("api", files.load().unwrap()));
        let followed = Followed::new(files.clone(), files.stamps(), shown);
        Self { folder, followed }
    }

    fn put(&self, (certificate, key): &(String, String)) {
        let files = files(self.folder.path());
        put(&files.certificate, certificate);
        put(&files.key, key);
    }

    /// Looks, and says how many were taken, whether one is refused, and how many days the one in force has.
    fn look(&mut self) -> (u64, bool, u64) {
        self.followed.look(NOW);
        let shown = &self.followed.shown;
        let days = (shown.expires() - NOW.seconds()) / DAY_SECONDS;
        (shown.loads(), shown.is_refused(), days)
    }

    /// Looks so many days later, and says when a near end was told of last.
    fn warned(&mut self, days: u64) -> Option<u64> {
        let day = DAY_SECONDS * 1000;
        self.followed.look(Timestamp(NOW.0 + days * day));
        self.followed.warned.map(|warned| (warned.0 - NOW.0) / day)
    }
}

fn files(folder: &Path) -> CertificateFiles {
    CertificateFiles {
        certificate: folder.join("port.pem"),
        key: folder.join("port.key"),
    }
}

/// Replaces a file as tools do that renew certificates.
fn put(path: &Path, text: &str) {
    files::replace(path, text.as_bytes()).unwrap();
}

#[test]
fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let mut world = World::new(90);
    assert_eq!(world.look(), (1, false, 90));
    world.put(&pair(180));
    assert_eq!(world.look(), (2, false, 180));
    // The key first, then nothing for a while.
    let (certificate, key) = pair(270);
    let files = files(world.folder.path());
    put(&files.key, &key);
    assert_eq!(world.look(), (2, false, 180), "the other file may come yet");
    assert_eq!(world.look(), (2, true, 180));
    put(&files.certificate, &certificate);
    assert_eq!(world.look(), (3, false, 270));
    for broken in ["", "no certificate", &certificate[..certificate.len() / 2]] {
        put(&files.certificate, broken);
        world.look();
        assert_eq!(world.look(), (3, true, 270), "{broken}");
    }
    fs::remove_file(&files.certificate).unwrap();
    world.look();
    assert_eq!(world.look(), (3, true, 270));
    put(&files.certificate, &certificate);
    assert_eq!(world.look(), (4, false, 270));
}

#[test]
fn what_is_broken_is_reported_once() {
    let mut world = World::new(90);
    let files = files(world.folder.path());
    put(&files.certificate, "broken");
    world.look();
    assert_eq!(world.followed.reported, None);
    world.look();
    assert_eq!(world.followed.reported, Some(files.stamps()));
    put(&files.certificate, "broken otherwise");
    world.look();
    world.look();
    assert_eq!(world.followed.reported, Some(files.stamps()));
}

#[test]
fn a_key_that_others_can_read_is_not_taken_until_that_has_ended() {
    let mut world = World::new(90);
    let files = files(world.folder.path());
    world.put(&pair(180));
    let set = |mode| fs::set_permissions(&files.key, fs::Permissions::from_mode(mode)).unwrap();
    set(0o640);
    world.look();
    assert_eq!(world.look(), (1, true, 90));
    let error = files.load().unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Permission, "{error:#}");
    set(0o600);
    assert_eq!(world.look(), (2, false, 180));
}

#[test]
fn an_end_that_is_near_is_told_of_once_a_day() {
    let mut world = World::new(15);
    assert_eq!(world.warned(0), None);
    assert_eq!(world.warned(2), Some(2));
    assert_eq!(world.warned(2), Some(2));
    assert_eq!(world.warned(3), Some(3));
    assert_eq!(world.warned(20), Some(20), "after its end, too");
    world.put(&pair(90));
    assert_eq!(world.warned(21), None);
}

#[test]
fn a_file_without_the_other_is_refused_with_what_to_do() {
    let path = PathBuf::from("file");
    let of = |certificate, key| CertificateFiles::of("api", certificate, key);
    assert_eq!(of(None, None).unwrap(), None);
    assert!(of(Some(&path), Some(&path)).unwrap().is_some());
    let error = of(Some(&path), None).unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Configuration);
    assert!(error.to_string().contains("api.key is not"), "{error}");
    let error = of(None, Some(&path)).unwrap_err();
    assert!(
        error.to_string().contains("api.certificate is not"),
        "{error}"
    );
}
