//! Three nodes that speak TLS to each other, set up as `docs/cluster.md` has it.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::Duration,
};

use anser::client::{Client, QueueSettings};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::{beside_others, fleet::Fleet, folder, served::Served};

const NAME: &str = "anser-cluster";
const SETTLED_WITHIN: Duration = Duration::from_secs(120);
/// The first byte of a TLS record that refuses what came.
const ALERT: u8 = 21;

/// Writes roots, a certificate and its key, and gives the settings that name them.
fn make_certificate(folder: &Path) -> String {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let root_key = KeyPair::generate().unwrap();
    let root = params.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let node = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let node = node.signed_by(&key, &Issuer::new(params, root_key));
    for (file, text) in [
        ("roots.pem", root.pem()),
        ("node.crt", node.unwrap().pem()),
        ("node.key", key.serialize_pem()),
    ] {
        fs::write(folder.join(file), text).unwrap();
    }
    let private = fs::Permissions::from_mode(0o600);
    fs::set_permissions(folder.join("node.key"), private).unwrap();
    format!(
        "certificate = \"node.crt\"\nkey = \"node.key\"\nroots = \"roots.pem\"\ntls_name = \"{NAME}\"\n"
    )
}

#[test]
fn nodes_that_speak_tls_are_a_cluster() {
    let _turn = beside_others();
    let folder = folder();
    let settings = make_certificate(folder.path());
    let mut fleet = Fleet::start(folder.path(), 3, 3, &settings);
    fleet.wait_until_even(&[1, 2, 3], SETTLED_WITHIN);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    assert_eq!(runtime.block_on(message_through(&fleet)), "a");

    let mut stream = TcpStream::connect(fleet.peer_address(2)).unwrap();
    stream.set_read_timeout(Some(SETTLED_WITHIN)).unwrap();
    stream.write_all(&[0; 64]).unwrap();
    let mut first = [0];
    stream.read_exact(&mut first).unwrap();
    assert_eq!(first, [ALERT], "who speaks no TLS is told so in TLS");
    for node in 1..=3 {
        fleet.stop(node);
    }
}

/// Sent to one node, received from another.
async fn message_through(fleet: &Fleet) -> String {
    let doors = fleet.doors();
    let client =
        |node: usize| Client::new(&doors.endpoints[node - 1], doors.key_id, doors.secret).unwrap();
    let settings = QueueSettings::default();
    client(1).create_queue("orders", &settings).await.unwrap();
    client(2).send("orders", "a", 0).await.unwrap();
    let received = client(3).receive("orders", Some(5)).await.unwrap();
    received.expect("there is a message").msg_body
}
