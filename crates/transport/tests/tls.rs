//! Mutual TLS: both sides need a certificate of the right authority and name.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anser_network::FileError;
use anser_transport::{AskError, Config, DialError, JoinConfig, TlsConfig, TlsError, ask};
use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    breaks::outcomes_are_true,
    rig::{Node, config, eventually, join_config, wait_tokio},
};

/// A private authority, and a folder with what it signed.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("roots.pem"), root.pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            folder,
        }
    }

    fn roots(&self) -> PathBuf {
        self.folder.path().join("roots.pem")
    }

    /// The paths of a certificate for this name, and of its key.
    fn sign(&self, name: &str, is_old: bool) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        if is_old {
            params.not_before = rcgen::date_time_ymd(2001, 1, 1);
            params.not_after = rcgen::date_time_ymd(2002, 1, 1);
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |suffix| self.folder.path().join(format!("{name}.{suffix}"));
        std::fs::write(path("pem"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        (path("pem"), path("key"))
    }

    fn tls(&self, name: &str) -> TlsConfig {
        let (certificate, key) = self.sign(name, false);
        let expected = TlsConfig::DEFAULT_NAME;
        TlsConfig::read(&certificate, &key, &self.roots(), expected).unwrap()
    }
}

fn secured(node: u8, tls: TlsConfig) -> Config {
    Config {
        tls: Some(tls),
        ..config(node)
    }
}

/// What who joins with this makes of node 2.
fn asked(two: &Node, tls: Option<TlsConfig>) -> Result<Bytes, AskError> {
    let config = JoinConfig {
        tls,
        ..join_config()
    };
    let address = two.address().to_string();
    wait_tokio(ask(&address, &config, Bytes::from_static(b"hello")))
}

/// Whether certificates ended it, on whichever side that was noticed.
fn is_tls(result: &Result<Bytes, AskError>) -> bool {
    matches!(
        result,
        Err(AskError::Dial(DialError::Tls(_) | DialError::Broken(_)))
    )
}

#[test]
fn nodes_of_one_authority_meet() {
    let authority = Authority::new("ours");
    let one = Node::start(secured(1, authority.tls("anser")));
    let two = Node::start(secured(2, authority.tls("anser")));
    one.meet(&[&two]);
    two.meet(&[&one]);
    one.check(2);
    two.check(1);
    let large = vec![5; 5 << 20];
    one.transport.send(2, large.clone().into()).unwrap();
    assert!(two.message() == (1, large.into()));
    assert_eq!(asked(&two, Some(authority.tls("anser"))).unwrap(), "hello");
}

#[test]
fn outcomes_are_true_under_tls() {
    let authority = Authority::new("ours");
    outcomes_are_true(Some(&authority.tls("anser")));
}

#[test]
fn bad_certificates_are_not_believed() {
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let two = Node::start(secured(2, ours.tls("anser")));
    // Neither side believes the other.
    assert!(is_tls(&asked(&two, Some(theirs.tls("anser")))));
    // Only the listener does not: right roots, a certificate of another authority.
    let (certificate, key) = theirs.sign("anser", false);
    let mixed = TlsConfig::read(&certificate, &key, &ours.roots(), "anser").unwrap();
    assert!(is_tls(&asked(&two, Some(mixed))));
    // One that has ended.
    let (certificate, key) = ours.sign("anser", true);
    let old = TlsConfig::read(&certificate, &key, &ours.roots(), "anser").unwrap();
    assert!(is_tls(&asked(&two, Some(old))));
    // A listener with another name.
    let misnamed = Node::start(secured(3, ours.tls("other")));
    assert!(is_tls(&asked(&misnamed, Some(ours.tls("anser")))));
    assert_eq!(asked(&two, Some(ours.tls("anser"))).unwrap(), "hello");
}

#[test]
fn security_finding_9_a_dialler_with_another_name_of_the_same_authority_is_not_believed() {
    let authority = Authority::new("ours");
    let two = Node::start(secured(2, authority.tls("anser")));
    // It knows the token, too, so that nothing but the name stops it.
    assert!(is_tls(&asked(&two, Some(authority.tls("printer")))));
    assert_eq!(asked(&two, Some(authority.tls("anser"))).unwrap(), "hello");
}

#[test]
fn plain_and_secured_nodes_do_not_meet() {
    let authority = Authority::new("ours");
    let mut plain = config(1);
    plain.limits.handshake_time = std::time::Duration::from_millis(200);
    let mut other = secured(2, authority.tls("anser"));
    other.limits.handshake_time = std::time::Duration::from_millis(200);
    let (one, two) = (Node::start(plain), Node::start(other));
    one.transport.set_peers(BTreeMap::from([two.peer()]));
    two.transport.set_peers(BTreeMap::from([one.peer()]));
    let failed = |node: &Node, peer| {
        let peers = node.transport.statistics().peers;
        peers.get(&peer).is_some_and(|peer| peer.failed_dials > 1)
    };
    eventually(|| failed(&one, 2) && failed(&two, 1));
    assert!(one.connections.try_recv().is_err());
    assert!(two.connections.try_recv().is_err());
}

#[test]
fn wrong_files_are_named() {
    let authority = Authority::new("ours");
    let (certificate, key) = authority.sign("anser", false);
    let roots = authority.roots();
    let read = |certificate: &Path, key: &Path, roots: &Path, name: &str| {
        let error = TlsConfig::read(certificate, key, roots, name).unwrap_err();
        (error.to_string(), error)
    };
    let absent = Path::new("/nonexistent/file.pem");
    let (text, error) = read(absent, &key, &roots, "anser");
    assert!(matches!(error, TlsError::File(FileError::Read { .. })));
    assert!(
        text.starts_with("certificates in /nonexistent/file.pem: "),
        "{text}"
    );
    let (text, _) = read(&certificate, absent, &roots, "anser");
    assert!(text.starts_with("private key in /nonexistent"), "{text}");
    let (text, _) = read(&certificate, &key, absent, "anser");
    assert!(
        text.starts_with("root certificates in /nonexistent"),
        "{text}"
    );
    let (_, error) = read(&key, &key, &roots, "anser");
    assert!(matches!(error, TlsError::File(FileError::Empty { .. })));
    let (_, other_key) = authority.sign("other", false);
    let (_, error) = read(&certificate, &other_key, &roots, "anser");
    assert!(matches!(error, TlsError::Identity { .. }), "{error}");
    let (_, error) = read(&certificate, &key, &roots, "no name");
    assert!(matches!(error, TlsError::Name(_)));
}
