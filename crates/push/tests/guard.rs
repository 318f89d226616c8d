//! Where a push may not go, row by row of the list of attacks.

use std::{
    collections::VecDeque,
    io,
    net::IpAddr,
    process::Command,
    sync::{Arc, Mutex},
};

use anser_push::{Addresses, Config, Resolver};

use crate::{
    receiver::{Answer, Receiver},
    rig::{Rig, config, failure_of, subscriber},
};

/// Gives these answers in turn, and the last one for ever.
#[derive(Debug)]
struct Answers(Mutex<VecDeque<Vec<IpAddr>>>);

impl Answers {
    fn new(answers: &[&[&str]]) -> Arc<Self> {
        let read = |answer: &&[&str]| answer.iter().map(|text| text.parse().unwrap()).collect();
        Arc::new(Self(Mutex::new(answers.iter().map(read).collect())))
    }
}

impl Resolver for Answers {
    fn resolve(&self, _: &str) -> Addresses {
        let mut answers = self.0.lock().unwrap();
        let answer = if answers.len() > 1 {
            answers.pop_front()
        } else {
            answers.front().cloned()
        };
        Box::pin(async { answer.ok_or_else(|| io::Error::other("no such host")) })
    }
}

/// All that is said of an address that is not dialled, and of a name that has none.
const NO_ADDRESS: &str = "the host has no address that may be pushed to";

async fn refused(url: &str, config: Config) {
    let failure = failure_of(url, config).await;
    assert_eq!(failure.reason, NO_ADDRESS, "{url}");
    assert_eq!(failure.status, None);
}

#[tokio::test]
async fn row_60_loopback_in_every_spelling() {
    let receiver = Receiver::start_at("0.0.0.0:0", |_| Answer::status(200)).await;
    let port = receiver.address.port();
    for host in [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "0",
        "0.0.0.0",
        "0x7f000001",
        "0x7f.1",
        "2130706433",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "①②⑦.0.0.1",
    ] {
        refused(&format!("http://{host}:{port}/"), Config::default()).await;
    }
    for host in ["localhost", "LOCALHOST.", "localtest.example"] {
        let config = Config {
            resolver: Answers::new(&[&["127.0.0.1", "::1"]]),
            ..Config::default()
        };
        refused(&format!("http://{host}:{port}/"), config).await;
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn row_61_loopback_inside_ipv6() {
    for host in [
        "[::1]",
        "[::]",
        "[0:0:0:0:0:0:0:1]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[64:ff9b:1::7f00:1]",
        "[2002:7f00:1::]",
        "[2002:a00:1::1]",
        "[2001:0:7f00:1::]",
    ] {
        refused(&format!("http://{host}/"), Config::default()).await;
    }
    let zone = failure_of("http://[fe80::1%25lo]/", Config::default()).await;
    assert_eq!(zone.reason, "the URL's host or port cannot be read");
}

#[tokio::test]
async fn row_62_every_network_that_is_not_public() {
    for host in [
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "0.1.2.3",
        "192.0.0.8",
        "192.0.2.1",
        "198.18.0.1",
        "198.51.100.1",
        "203.0.113.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "[fd00::1]",
        "[fe80::1]",
        "[fec0::1]",
        "[ff02::1]",
        "[100::1]",
        "[2001:db8::1]",
    ] {
        refused(&format!("http://{host}/"), Config::default()).await;
    }
}

#[tokio::test]
async fn row_63_a_name_with_a_private_address_is_refused() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let url = format!("http://name.example:{}/", receiver.address.port());
    for answer in [
        &["10.0.0.1"][..],
        &["127.0.0.1", "10.0.0.1"],
        &["10.0.0.1", "127.0.0.1"],
    ] {
        let config = Config {
            resolver: Answers::new(&[answer]),
            ..config()
        };
        let failure = failure_of(&url, config).await;
        assert_eq!(failure.reason, NO_ADDRESS);
    }
    assert_eq!(receiver.connections(), 0);
}

/// 127.0.0.2 stands for a public address, 127.0.0.1 for a private one.
#[tokio::test]
async fn row_64_a_name_that_changes_its_answer_gains_nothing() {
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    let public = Receiver::start_at("127.0.0.2:0", |_| Answer::Last(answer.into())).await;
    let port = public.address.port();
    let private = Receiver::start_at(&format!("127.0.0.1:{port}"), |_| Answer::status(200)).await;
    let config = Config {
        allow: vec!["127.0.0.2".parse().unwrap()],
        resolver: Answers::new(&[&["127.0.0.2"], &["127.0.0.1"]]),
        ..Config::default()
    };
    let rig = Rig::new(
        subscriber(1, &format!("http://name.example:{port}/")),
        config,
    );
    rig.publish("a");
    rig.delivered(1).await;
    rig.publish("b");
    let failure = rig.failure(1).await;
    assert_eq!(failure.reason, NO_ADDRESS);
    assert_eq!(public.requests().len(), 1);
    assert_eq!(private.connections(), 0);
    assert_eq!(rig.pusher.metrics().refused(), 1);
}

#[tokio::test]
async fn a_name_is_dialled_at_its_next_address_if_one_is_closed() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let port = receiver.address.port();
    let config = Config {
        resolver: Answers::new(&[&["127.0.0.3", "127.0.0.1"]]),
        ..config()
    };
    let rig = Rig::new(
        subscriber(1, &format!("http://Name.Example:{port}/")),
        config,
    );
    rig.publish("a");
    rig.delivered(1).await;
    let expected = format!("name.example:{port}");
    assert_eq!(receiver.requests()[0].header("host"), Some(&expected[..]));
}

#[tokio::test]
async fn row_66_other_schemes_are_no_endpoints() {
    for url in [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "ftp://127.0.0.1/",
        "ws://127.0.0.1/",
        "data:text/plain,a",
        "unix:/run/docker.sock",
    ] {
        let failure = failure_of(url, config()).await;
        assert_eq!(
            failure.reason,
            "the URL begins neither with http:// nor with https://"
        );
    }
}

#[tokio::test]
async fn row_67_tricks_with_urls_are_no_endpoints() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let evil = receiver.address;
    for url in [
        format!("http://good.example@{evil}/"),
        format!("http://good.example:80@{evil}/"),
        format!("http://{evil}\\@good.example/"),
        format!("http://{evil}#@good.example/"),
        format!("http://{evil}/\t"),
        format!("ht\ntp://{evil}/"),
        format!("http://{evil}/ HTTP/1.1\r\nX-Evil: 1"),
    ] {
        let failure = failure_of(&url, config()).await;
        assert!(
            failure.reason.starts_with("the URL"),
            "{url:?}: {}",
            failure.reason
        );
    }
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn row_68_own_and_denied_ports_are_not_dialled() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let own = Config {
        own_addresses: vec![receiver.address],
        ..config()
    };
    refused(&receiver.url(), own).await;
    let denied = Config {
        denied_ports: vec![receiver.address.port()],
        ..config()
    };
    let failure = failure_of(&receiver.url(), denied).await;
    let port = receiver.address.port();
    assert_eq!(failure.reason, format!("port {port} is not allowed"));
    assert_eq!(receiver.connections(), 0);
    let failure = failure_of("http://127.0.0.1:25/", config()).await;
    assert_eq!(failure.reason, "port 25 is not allowed");
}

#[tokio::test]
async fn security_finding_11_a_failure_does_not_tell_what_a_name_means_inside() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    let url = format!("http://vm.internal:{}/", receiver.address.port());
    let unknown = Arc::new(Answers(Mutex::default()));
    for (resolver, own) in [
        (Answers::new(&[&["127.0.0.1"]]), vec![receiver.address]),
        (Answers::new(&[&["10.0.0.1"]]), Vec::new()),
        (Answers::new(&[&["169.254.169.254", "8.8.8.8"]]), Vec::new()),
        (Answers::new(&[&[]]), Vec::new()),
        (unknown, Vec::new()),
    ] {
        let config = Config {
            resolver,
            own_addresses: own,
            ..config()
        };
        refused(&url, config).await;
    }
    assert_eq!(receiver.connections(), 0);
}

/// A port that is refused whatever the name would tell by its own words that the name is known.
#[tokio::test]
async fn security_finding_11_a_denied_port_is_refused_before_its_name_is_looked_up() {
    for resolver in [
        Answers::new(&[&["10.0.0.1"]]),
        Answers::new(&[&[]]),
        Arc::new(Answers(Mutex::default())),
    ] {
        let config = Config {
            resolver,
            ..config()
        };
        let failure = failure_of("http://build.internal:22/", config).await;
        assert_eq!(failure.reason, "port 22 is not allowed");
    }
}

/// The test of usual pushes in a process that is told to use proxies.
#[tokio::test]
async fn row_71_proxies_of_the_environment_are_ignored() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "pushes::a_bare_push_has_exactly_these_headers"]);
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "ALL_PROXY",
        "all_proxy",
    ] {
        child.env(name, "http://127.0.0.1:9/");
    }
    let output = child
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[tokio::test]
async fn the_allow_list_is_what_opens_loopback() {
    let receiver = Receiver::start(|_| Answer::status(200)).await;
    refused(&receiver.url(), Config::default()).await;
    let elsewhere = Config {
        allow: vec![
            "127.0.0.2/32".parse().unwrap(),
            "10.0.0.0/8".parse().unwrap(),
        ],
        ..Config::default()
    };
    refused(&receiver.url(), elsewhere).await;
    assert_eq!(receiver.connections(), 0);
    let here = Config {
        allow: vec!["127.0.0.1/32".parse().unwrap()],
        ..Config::default()
    };
    let rig = Rig::new(subscriber(1, &receiver.url()), here);
    rig.publish("a");
    rig.delivered(1).await;
}
