//! Who is refused, and with which reason.

use std::{collections::BTreeMap, net::TcpListener};

use anser_transport::{AskError, Config, DialError, JoinConfig, Refusal, Secret, ask};
use bytes::Bytes;

use crate::{
    raw::{Hello, Raw},
    rig::{Node, PATIENCE, config, eventually, identity, join_config, peer, wait_tokio},
};

/// The status that node 2 gives, after which it closes.
fn status(two: &Node, change: impl FnOnce(&mut Hello)) -> u8 {
    let mut hello = Hello::new(identity(1), 2);
    change(&mut hello);
    let mut raw = Raw::connect(two.address());
    let status = raw.shake(&hello);
    if status != 0 {
        raw.closed();
    }
    status
}

#[test]
fn each_reason_has_its_status() {
    let two = Node::start(config(2));
    assert_eq!(status(&two, |_| ()), 0);
    assert_eq!(status(&two, |hello| hello.version = 0), 1);
    assert_eq!(status(&two, |hello| hello.version = 3), 1);
    assert_eq!(status(&two, |hello| hello.cluster = [9; 16]), 2);
    assert_eq!(status(&two, |hello| hello.cluster = [0; 16]), 2);
    assert_eq!(status(&two, |hello| hello.from = 0), 2);
    assert_eq!(status(&two, |hello| hello.to = 3), 3);
    assert_eq!(status(&two, |hello| hello.to = 0), 3);
    assert_eq!(
        status(&two, |hello| hello.secret = b"another secret!!".to_vec()),
        4
    );
    assert_eq!(status(&two, |hello| hello.from = 77), 5);
    // Nobody else is this node itself.
    assert_eq!(status(&two, |hello| hello.from = 2), 5);
    assert_eq!(status(&two, |hello| hello.incarnation = [0x11; 16]), 6);
    let refused = two.transport.statistics().refused;
    assert_eq!(refused[&Refusal::WrongVersion], 2);
    assert_eq!(refused[&Refusal::WrongSecret], 1);
}

#[test]
fn who_joins_may_mean_a_node_or_none() {
    let two = Node::start(config(2));
    let join = |hello: &mut Hello| {
        hello.from = 0;
        hello.cluster = [0; 16];
    };
    assert_eq!(status(&two, join), 0);
    let join_whoever = |hello: &mut Hello| {
        join(hello);
        hello.to = 0;
    };
    assert_eq!(status(&two, join_whoever), 0);
}

/// Node 1 dials node 2 and learns why not.
fn refusal(change: impl FnOnce(&mut Config)) -> Refusal {
    let two = Node::start(config(2));
    let mut changed = config(1);
    change(&mut changed);
    let one = Node::start(changed);
    one.transport.set_peers(BTreeMap::from([two.peer()]));
    let mut reason = None;
    eventually(|| {
        let peers = one.transport.statistics().peers;
        reason = peers.get(&2).and_then(|peer| peer.refusal);
        reason.is_some()
    });
    assert!(!one.transport.is_connected(2));
    assert!(one.connections.try_recv().is_err());
    assert!(
        one.refused.recv_timeout(PATIENCE).is_ok(),
        "the node is told"
    );
    reason.unwrap()
}

#[test]
fn a_node_learns_why_it_is_refused() {
    let foreign = refusal(|config| config.identity.cluster = [9; 16]);
    assert_eq!(foreign, Refusal::ForeignCluster);
    let other = || Secret::new(b"another secret of a cluster").unwrap();
    let wrong = refusal(|config| config.secret = other());
    assert_eq!(wrong, Refusal::WrongSecret);
    let unknown = refusal(|config| config.identity.node = 77);
    assert_eq!(unknown, Refusal::UnknownNode);
    let former = refusal(|config| config.identity.incarnation = [0x11; 16]);
    assert_eq!(former, Refusal::FormerIncarnation);
}

#[test]
fn who_joins_learns_why_it_is_refused() {
    let two = Node::start(config(2));
    let config = JoinConfig {
        secret: Secret::new(b"another secret of a cluster").unwrap(),
        ..join_config()
    };
    let address = two.address().to_string();
    let refused = wait_tokio(ask(&address, &config, Bytes::new())).unwrap_err();
    assert!(matches!(
        refused,
        AskError::Dial(DialError::Refused(Refusal::WrongSecret))
    ));
}

/// What `ask` makes of a listener that does this.
fn asked(serve: impl FnOnce(TcpListener) + Send + 'static) -> AskError {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let thread = std::thread::spawn(move || serve(listener));
    let error = wait_tokio(ask(&address, &join_config(), Bytes::new())).unwrap_err();
    thread.join().unwrap();
    error
}

#[test]
fn an_impostor_is_not_believed() {
    let error = asked(|listener| {
        Raw::accept_with(&listener, identity(2), b"made up by somebody").closed();
    });
    assert!(
        matches!(error, AskError::Dial(DialError::Impostor)),
        "{error}"
    );
}

#[test]
fn another_service_is_recognised() {
    use std::io::Write;
    let error = asked(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(&[b'x'; 40]).unwrap();
    });
    assert!(
        matches!(error, AskError::Dial(DialError::NotANode)),
        "{error}"
    );
    let error = asked(|listener| {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"ATGR\x03\0\x09\0").unwrap();
        stream.write_all(&[0; 32]).unwrap();
    });
    assert!(matches!(
        error,
        AskError::Dial(DialError::Refused(Refusal::WrongVersion))
    ));
}

#[test]
fn a_node_is_not_taken_for_another() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    let mut config = config(3);
    config.identity.incarnation = [0x33; 16];
    let three = Node::start(config);
    // By its number.
    one.transport
        .set_peers(BTreeMap::from([peer(identity(3), two.address())]));
    eventually(|| {
        let peers = one.transport.statistics().peers;
        peers.get(&3).and_then(|peer| peer.refusal) == Some(Refusal::AnotherNode)
    });
    // By its incarnation.
    let failed = one.transport.statistics().peers[&3].failed_dials;
    one.transport
        .set_peers(BTreeMap::from([peer(identity(3), three.address())]));
    eventually(|| one.transport.statistics().peers[&3].failed_dials > failed + 3);
    assert!(!one.transport.is_connected(3));
}
