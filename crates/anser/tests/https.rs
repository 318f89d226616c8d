//! HTTPS on both ports of a server: what it takes to ask, certificates that are replaced, and commands.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    path::Path,
    time::{Duration, Instant},
};

use anser::{
    client::Client,
    cluster::ask,
    config::Config,
    exit::Exit,
    keystore::{Key, Store},
    server::Server,
};
use anser_network::{Connector, roots_of_file};
use anser_node::Clock;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use crate::program::Home;

/// As long as anything here may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder with a configuration and with what a private authority signed.
struct World {
    home: Home,
    issuer: Issuer<'static, KeyPair>,
    key: Key,
}

impl World {
    fn new() -> Self {
        let home = Home::new();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let secret = KeyPair::generate().unwrap();
        let root = params.self_signed(&secret).unwrap();
        let folder = home.folder.path();
        fs::write(folder.join("roots.pem"), root.pem()).unwrap();
        let text = "data = \"data\"\nmaster_key_file = \"master.key\"\n[storage]\nshards = 1\n\
            [api]\nlisten = \"127.0.0.1:0\"\ncertificate = \"port.pem\"\nkey = \"port.key\"\n\
            [admin]\nlisten = \"127.0.0.1:0\"\ncertificate = \"port.pem\"\nkey = \"port.key\"\n";
        fs::write(folder.join("anser.toml"), text).unwrap();
        let store = Store::open(&folder.join("data"), &folder.join("master.key")).unwrap();
        let key = Key::generate(1, None).unwrap();
        store.add(key.clone()).unwrap();
        let issuer = Issuer::new(params, secret);
        let world = Self { home, issuer, key };
        world.renew(rcgen::date_time_ymd(2050, 1, 1).unix_timestamp());
        world
    }

    fn folder(&self) -> &Path {
        self.home.folder.path()
    }

    /// Puts another certificate, which ends then, and its key in place of those that are there.
    fn renew(&self, end: i64) {
        let names = ["127.0.0.1", "localhost"].map(str::to_owned);
        let mut params = CertificateParams::new(names).unwrap();
        let moment = Duration::from_secs(end.unsigned_abs());
        params.not_after = rcgen::date_time_ymd(1970, 1, 1) + moment;
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.put("port.key", &key.serialize_pem());
        self.put("port.pem", &certificate.pem());
    }

    fn put(&self, name: &str, text: &str) {
        let new = self.folder().join("new");
        fs::write(&new, text).unwrap();
        fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(new, self.folder().join(name)).unwrap();
    }

    fn start(&self) -> anyhow::Result<Server> {
        let config = Config::read(&self.folder().join("anser.toml"))?;
        Server::start(&config, Clock::system())
    }

    fn client(&self, server: &Server) -> Client {
        let (endpoint, tls) = (server.endpoint(), self.tls());
        Client::with_tls(&endpoint, Some(&tls), &self.key.id, &self.key.secret).unwrap()
    }

    fn tls(&self) -> Connector {
        Connector::new(roots_of_file(&self.folder().join("roots.pem")).unwrap()).unwrap()
    }
}

/// A number of the metrics page.
async fn metric(world: &World, server: &Server, name: &str) -> f64 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpStream::connect(server.admin_address());
    let stream = world
        .tls()
        .connect("localhost", socket.await.unwrap())
        .await;
    let mut stream = stream.unwrap();
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name));
    value
        .unwrap_or_else(|| panic!("no {name} in {page}"))
        .trim()
        .parse()
        .unwrap()
}

async fn until(world: &World, server: &Server, name: &str, wanted: f64) {
    let start = Instant::now();
    while (metric(world, server, name).await - wanted).abs() > 0.5 {
        assert!(start.elapsed() < PATIENCE, "{name}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn certificates_are_replaced_while_clients_go_on() {
    const EXPIRES: &str = "anser_certificate_expires_timestamp_seconds{port=\"api\"}";
    const LOADS: &str = "anser_certificate_loads_total{port=\"api\"}";
    const REFUSED: &str = "anser_certificate_refused{port=\"api\"}";
    let world = World::new();
    let server = world.start().unwrap();
    assert!(server.endpoint().starts_with("https://127.0.0.1:"));
    let mut before = world.client(&server);
    before
        .create_queue("q", &anser::client::QueueSettings::default())
        .await
        .unwrap();
    before.send("q", "one", 0).await.unwrap();
    until(&world, &server, EXPIRES, 2_524_608_000.0).await;

    world.renew(rcgen::date_time_ymd(2049, 1, 1).unix_timestamp());
    until(&world, &server, LOADS, 2.0).await;
    until(&world, &server, EXPIRES, 2_493_072_000.0).await;
    before.send("q", "two", 0).await.unwrap();
    let mut after = world.client(&server);
    after.send("q", "three", 0).await.unwrap();

    world.put("port.pem", "broken");
    until(&world, &server, REFUSED, 1.0).await;
    let mut still = world.client(&server);
    still.send("q", "four", 0).await.unwrap();
    assert!((metric(&world, &server, EXPIRES).await - 2_493_072_000.0).abs() < 0.5);
    tokio::task::spawn_blocking(move || server.shutdown())
        .await
        .unwrap();
    let error = world.start().unwrap_err();
    assert_eq!(Exit::of(&error), Exit::Configuration, "{error:#}");
    assert!(format!("{error:#}").contains("port.pem"), "{error:#}");
}

#[tokio::test]
async fn commands_ask_over_https_whom_they_believe() {
    let world = World::new();
    let server = world.start().unwrap();
    let (admin, endpoint) = (server.admin_endpoint(), server.endpoint());
    let roots = world.folder().join("roots.pem").display().to_string();
    let (key, secret) = (&world.key.id, &world.key.secret);
    let status = format!("cluster status --json --admin {admin}");
    let queues = format!("queue list --endpoint {endpoint} --key {key}:{secret}");
    for words in [&status, &queues] {
        world.home.succeeds(&format!("{words} --roots {roots}"));
        let mut by_environment = world.home.command(words);
        let output = by_environment.env("ANSER_ROOTS", &roots).output().unwrap();
        assert!(output.status.success(), "{words}");
        // Nobody else's roots have signed it.
        let (code, _, errors) = world.home.run(words);
        assert_eq!(code, 69, "{errors}");
        assert!(errors.contains("invalid peer certificate"), "{errors}");
        let plain = words.replace("https://", "http://");
        let (code, _, errors) = world.home.run(&plain);
        assert_ne!(code, 0);
        assert!(errors.contains("this port speaks https"), "{errors}");
    }
    let port = ask::admin_port(&admin, Some(Path::new(&roots))).unwrap();
    assert!(ask::status_text(&port).await.unwrap().starts_with('{'));
    tokio::task::spawn_blocking(move || server.shutdown())
        .await
        .unwrap();
}

#[test]
fn a_silent_handshake_takes_no_place_from_who_asks_the_admin_port() {
    let world = World::new();
    let server = world.start().unwrap();
    let address = server.admin_address();
    let mut silent: Vec<TcpStream> = (0..65)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    // The first one's place went to the last, before its time was up.
    silent[0]
        .set_read_timeout(Some(Duration::from_secs(4)))
        .unwrap();
    assert_eq!(silent[0].read(&mut [0]).unwrap(), 0);
    // The others have their time and no more.
    silent[64].set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent[64].read(&mut [0]).unwrap(), 0);
    let mut plain = TcpStream::connect(address).unwrap();
    plain
        .write_all(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    plain.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.ends_with("this port speaks https, and no http"),
        "{answer}"
    );
    server.shutdown();
}
