//! Certificates: only what a trusted root has signed, for this host, for now.

use std::{path::PathBuf, sync::Arc};

use anser_push::Config;
use rcgen::{BasicConstraints, Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::{ServerConfig, crypto::aws_lc_rs, pki_types::PrivateKeyDer};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

use crate::{
    receiver::{Answer, Receiver},
    rig::{Rig, config, failure_of, subscriber},
};

const HOST: &str = "127.0.0.1";

/// A private authority, and the file with its root.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    folder: TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let serial = key
            .public_key_raw()
            .iter()
            .map(|byte| format!("{byte:02x}"));
        let name = format!("authority {}", serial.take(8).collect::<String>());
        params.distinguished_name.push(DnType::CommonName, name);
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

    fn sign(&self, params: &CertificateParams) -> (Certificate, KeyPair) {
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

fn params(host: &str) -> CertificateParams {
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    params
        .distinguished_name
        .push(DnType::CommonName, "receiver");
    params
}

async fn receiver((certificate, key): (Certificate, KeyPair)) -> Receiver {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (receiver, listener) = Receiver::bind("127.0.0.1:0", |_| Answer::status(200)).await;
    let serving = receiver.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (serving, acceptor) = (serving.clone(), acceptor.clone());
            tokio::spawn(async move {
                if let Ok(stream) = acceptor.accept(stream).await {
                    serving.serve(stream).await;
                }
            });
        }
    });
    receiver
}

fn trusting(authority: &Authority) -> Config {
    Config {
        roots: Some(authority.roots()),
        ..config()
    }
}

fn url(receiver: &Receiver) -> String {
    format!("https://{}/", receiver.address)
}

async fn refused(receiver: Receiver, config: Config, why: &str) {
    let failure = failure_of(&url(&receiver), config).await;
    assert!(failure.reason.starts_with("TLS: "), "{}", failure.reason);
    assert!(failure.reason.contains(why), "{}", failure.reason);
    assert!(receiver.requests().is_empty());
}

#[tokio::test]
async fn row_75_a_certificate_of_the_trusted_root_is_accepted() {
    let authority = Authority::new();
    let receiver = receiver(authority.sign(&params(HOST))).await;
    let rig = Rig::new(subscriber(1, &url(&receiver)), trusting(&authority));
    rig.publish("a");
    rig.delivered(1).await;
    rig.publish("b");
    rig.delivered(2).await;
    let expected = receiver.address.to_string();
    assert_eq!(receiver.requests()[0].header("host"), Some(&expected[..]));
}

#[tokio::test]
async fn row_75_a_self_signed_certificate_is_refused() {
    let key = KeyPair::generate().unwrap();
    let own = params(HOST).self_signed(&key).unwrap();
    let receiver = receiver((own, key)).await;
    refused(receiver, trusting(&Authority::new()), "UnknownIssuer").await;
}

#[tokio::test]
async fn row_75_a_certificate_of_an_unknown_root_is_refused() {
    let receiver = receiver(Authority::new().sign(&params(HOST))).await;
    refused(receiver, trusting(&Authority::new()), "UnknownIssuer").await;
}

#[tokio::test]
async fn row_75_a_certificate_for_another_host_is_refused() {
    let authority = Authority::new();
    for host in ["127.0.0.2", "other.example"] {
        let receiver = receiver(authority.sign(&params(host))).await;
        refused(receiver, trusting(&authority), "not valid for").await;
    }
}

#[tokio::test]
async fn row_75_an_expired_certificate_is_refused() {
    let authority = Authority::new();
    let mut old = params(HOST);
    old.not_before = rcgen::date_time_ymd(2001, 1, 1);
    old.not_after = rcgen::date_time_ymd(2002, 1, 1);
    let receiver = receiver(authority.sign(&old)).await;
    refused(receiver, trusting(&authority), "expired").await;
}
