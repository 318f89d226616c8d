//! The port under TLS, from the outside.

use anser_network::{Acceptor, Identity, InForce};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned,
    SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::ServerName,
    version::{TLS12, TLS13},
};

use super::*;

/// Within which a handshake and a first head have to come.
const SHORT: Duration = Duration::from_millis(300);
const HTTP: &[&[u8]] = &[b"http/1.1"];

/// A private authority, and what it signed first, which the port shows.
struct Secured {
    world: World,
    in_force: Arc<InForce>,
    issuer: Issuer<'static, KeyPair>,
    roots: RootCertStore,
}

impl Secured {
    fn new() -> Self {
        Self::adjusted(|_| {})
    }

    fn adjusted(adjust: impl FnOnce(&mut ServerConfig)) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let mut roots = RootCertStore::empty();
        let root = params.self_signed(&key).unwrap();
        roots.add(root.der().clone()).unwrap();
        let issuer = Issuer::new(params, key);
        let in_force = Arc::new(InForce::new(signed(&issuer)));
        let acceptor = Acceptor::new(Arc::clone(&in_force)).unwrap();
        let world = adjusted_world(|config| {
            config.tls = Some(acceptor);
            adjust(config);
        });
        Self {
            world,
            in_force,
            issuer,
            roots,
        }
    }

    fn connect(&self) -> SecureClient {
        self.connect_with(&[&TLS12, &TLS13], HTTP).unwrap()
    }

    /// A client that has agreed on TLS.
    fn connect_with(
        &self,
        versions: &[&'static SupportedProtocolVersion],
        protocols: &[&[u8]],
    ) -> io::Result<SecureClient> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap();
        let mut config = config
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from("mq.example").unwrap();
        let mut session = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut socket = self.world.connect().0;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(SecureClient(StreamOwned::new(session, socket)))
    }
}

/// Another certificate of the same name.
fn signed(issuer: &Issuer<'static, KeyPair>) -> Identity {
    let params = CertificateParams::new(vec!["mq.example".to_owned()]).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, issuer).unwrap();
    let (certificate, key) = (certificate.pem(), key.serialize_pem());
    Identity::parse(certificate.as_bytes(), key.as_bytes()).unwrap()
}

struct SecureClient(StreamOwned<ClientConnection, TcpStream>);

impl SecureClient {
    fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).unwrap();
    }

    /// Reads until this has come.
    fn hear(&mut self, end: &str) -> String {
        let mut text = String::new();
        let mut piece = [0; 16_384];
        let mut seen = 0;
        while !text[seen..].contains(end) {
            seen = text.len().saturating_sub(end.len());
            let count = self.0.read(&mut piece).unwrap();
            assert_ne!(count, 0, "the server closes after {text:?}");
            text.push_str(std::str::from_utf8(&piece[..count]).unwrap());
        }
        text
    }

    fn certificate(&self) -> Vec<u8> {
        self.0.conn.peer_certificates().unwrap()[0].to_vec()
    }
}

#[test]
fn both_versions_of_tls_are_spoken() {
    let secured = Secured::new();
    let request = secured.world.post(SEND);
    for (version, name) in [
        (&TLS12, ProtocolVersion::TLSv1_2),
        (&TLS13, ProtocolVersion::TLSv1_3),
    ] {
        // HTTP/2 is offered by many clients, and not taken.
        let mut client = secured
            .connect_with(&[version], &[b"h2", b"http/1.1"])
            .unwrap();
        assert_eq!(client.0.conn.protocol_version(), Some(name));
        assert_eq!(client.0.conn.alpn_protocol(), Some(HTTP[0]));
        for _ in 0..3 {
            client.say(&request);
            assert!(client.hear("}").contains(r#""code":0,"#));
        }
    }
    let mut silent_about_it = secured.connect_with(&[&TLS13], &[]).unwrap();
    silent_about_it.say(&request);
    assert!(silent_about_it.hear("}").contains(r#""code":0,"#));
    assert_eq!(secured.world.server.metrics().handshakes_failed(), 0);
}

#[test]
fn a_client_that_speaks_nothing_of_ours_is_told_so() {
    let secured = Secured::new();
    let only_two = secured.connect_with(&[&TLS13], &[b"h2"]).err().unwrap();
    assert!(
        only_two.to_string().contains("NoApplicationProtocol"),
        "{only_two}"
    );
    let metrics = secured.world.server.metrics();
    until("it is counted", || metrics.handshakes_failed() == 1);
    // Plain HTTP is told in plain HTTP, and reads all of it though it says much.
    let mut plain = secured.world.connect();
    plain.say(&secured.world.head("Content-Length: 1000000\r\n\r\n"));
    plain.say(&"x".repeat(1_000_000));
    let answer = plain.rest();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("this port speaks https"), "{answer}");
    until("it is counted", || metrics.handshakes_failed() == 2);
    // Neither.
    let mut odd = secured.world.connect();
    odd.say("\u{1}\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}");
    odd.rest();
    until("it is counted", || metrics.handshakes_failed() == 3);
    until("none is open", || metrics.connections_open() == 0);
}

#[test]
fn another_certificate_is_shown_while_connections_go_on() {
    let secured = Secured::new();
    let request = secured.world.post(SEND);
    let mut before = secured.connect();
    before.say(&request);
    before.hear("}");
    secured.in_force.replace(signed(&secured.issuer));
    let mut after = secured.connect();
    assert_ne!(before.certificate(), after.certificate());
    for client in [&mut before, &mut after] {
        client.say(&request);
        assert!(client.hear("}").contains(r#""code":0,"#));
    }
    assert_eq!(secured.connect().certificate(), after.certificate());
}

#[test]
fn a_handshake_and_a_first_head_have_one_deadline() {
    let secured = Secured::adjusted(|config| config.limits.head_time = SHORT);
    let mut silent = secured.world.connect();
    assert_eq!(silent.rest(), "");
    let metrics = secured.world.server.metrics();
    assert_eq!(metrics.connections_overdue(), 1);
    // The beginning of a handshake, again and again a byte of it.
    let start = Instant::now();
    let mut slow = secured.world.connect();
    let hello = [[22, 3, 1, 1, 0, 1, 0, 0, 252, 3, 3].as_slice(), &[0; 240]].concat();
    for byte in hello {
        if slow.0.write_all(&[byte]).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    slow.rest();
    assert!(start.elapsed() < PATIENCE, "the handshake goes on");
    until("it is counted", || metrics.connections_overdue() == 2);
    // A request that does not come after the handshake.
    let start = Instant::now();
    let mut agreed = secured.connect();
    assert!(agreed.0.read(&mut [0]).map_or(true, |count| count == 0));
    assert!(start.elapsed() < PATIENCE);
    until("it is counted", || metrics.connections_overdue() == 3);
    until("none is open", || metrics.connections_open() == 0);
    assert_eq!(metrics.handshakes_failed(), 0);
}

#[test]
fn a_handshake_that_is_under_way_counts_among_the_connections_of_its_address() {
    let secured = Secured::adjusted(|config| config.limits.connections_per_address = 1);
    let _silent = secured.world.connect();
    let metrics = secured.world.server.metrics();
    until("it is open", || metrics.connections_open() == 1);
    assert_eq!(secured.world.connect().rest(), "");
    assert_eq!(metrics.connections_refused(), 1);
}

#[test]
fn a_server_that_stops_waits_for_no_handshake() {
    let secured = Secured::new();
    let mut silent = secured.world.connect();
    let metrics = secured.world.server.metrics();
    until("it is open", || metrics.connections_open() == 1);
    let start = Instant::now();
    secured.world.server.shutdown(Duration::ZERO, PATIENCE);
    assert!(start.elapsed() < PATIENCE / 2);
    silent.rest();
}

#[test]
fn large_answers_leave_whole_and_who_does_not_read_them_is_cut_off() {
    let secured = Secured::adjusted(|config| config.limits.write_time = Duration::from_secs(2));
    let body = vec![b'x'; 1 << 20];
    let messages = (0..16).map(|number| message(number, &body));
    secured.world.fake.found.lock().unwrap().extend(messages);
    let batch = secured.world.post(&[
        ("Action", "BatchReceiveMessage"),
        ("queueName", "q"),
        ("numOfMsg", "16"),
    ]);
    let mut client = secured.connect();
    // The second one waits in the connection meanwhile.
    client.say(&format!("{batch}{batch}"));
    for _ in 0..2 {
        assert!(client.hear("}]}").len() > 15 << 20);
    }
    client.say(&batch);
    let metrics = secured.world.server.metrics();
    until("it is overdue", || metrics.connections_overdue() == 1);
}

#[test]
fn the_last_answer_is_heard_before_the_end() {
    let secured = Secured::new();
    let mut client = secured.connect();
    let size = 9 << 20;
    client.say(
        &secured
            .world
            .head(&format!("Content-Length: {size}\r\n\r\n")),
    );
    // The server may close before it has all of it.
    let _ = client.0.write_all(&vec![b'x'; size]);
    assert!(client.hear("}").contains("(10420)cannot parse body"));
    assert_eq!(client.0.read(&mut [0]).unwrap(), 0, "with a close_notify");
}
