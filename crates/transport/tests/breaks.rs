//! Connections that end: what becomes of requests, how they come back, and who is dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    time::{Duration, Instant},
};

use anser_transport::{Config, Limits, RequestError, SendError, TlsConfig};
use bytes::Bytes;

use crate::{
    raw::{ANSWER, PING, PONG, REFUSE, REQUEST, Raw, frame, frame_of},
    rig::{Node, PATIENCE, config, identity, limits, peer, wait},
};

/// A node that dials a hand-made peer, number 2.
fn with_raw(config: Config) -> (Node, TcpListener) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = Node::start(config);
    let address = listener.local_addr().unwrap();
    one.transport
        .set_peers(BTreeMap::from([peer(identity(2), address)]));
    (one, listener)
}

#[test]
fn nothing_is_sent_without_a_connection() {
    let one = Node::start(config(1));
    assert_eq!(
        one.transport.send(2, Bytes::new()),
        Err(SendError::NotConnected)
    );
    assert_eq!(
        wait(one.transport.request(2, Bytes::new())),
        Err(RequestError::NotSent)
    );
    assert!(!one.transport.is_connected(2));
}

/// It does not wait for the time of its next dial.
#[test]
fn a_peer_that_comes_back_is_dialled_when_it_connects() {
    let far = PATIENCE * 3;
    let patient = Config {
        limits: Limits {
            redial_first: far,
            redial_most: far,
            ..limits()
        },
        ..config(1)
    };
    let one = Node::start(patient);
    let unused = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = unused.local_addr().unwrap();
    drop(unused);
    one.transport
        .set_peers(BTreeMap::from([peer(identity(2), address)]));
    let until = Instant::now() + PATIENCE;
    let failed = || {
        let peers = one.transport.statistics().peers;
        peers.get(&2).is_some_and(|two| two.failed_dials > 0)
    };
    while !failed() {
        assert!(Instant::now() < until, "nobody is dialled");
        std::thread::sleep(Duration::from_millis(1));
    }
    let two = Node::start(Config {
        listen: address,
        ..config(2)
    });
    assert!(!one.transport.is_connected(2));
    let back = peer(identity(1), one.transport.address());
    two.transport.set_peers(BTreeMap::from([back]));
    assert_eq!(one.connection(), (2, true));
}

#[test]
fn a_request_that_was_sent_is_lost_when_the_peer_dies() {
    let (one, listener) = with_raw(config(1));
    let mut two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    let answer = one.transport.request(2, Bytes::from_static(b"question"));
    assert_eq!(two.frame().payload, b"question");
    drop(two);
    assert_eq!(wait(answer), Err(RequestError::Lost));
    assert_eq!(one.connection(), (2, false));
}

#[test]
fn requests_behind_one_that_was_half_sent_were_not_sent() {
    let (one, listener) = with_raw(config(1));
    let mut two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    // More than the sockets take.
    let large = one.transport.request(2, vec![0; 32 << 20].into());
    let small = one.transport.request(2, Bytes::from_static(b"small"));
    two.read(1);
    drop(two);
    assert_eq!(wait(large), Err(RequestError::Lost));
    assert_eq!(wait(small), Err(RequestError::NotSent));
}

#[test]
fn a_refused_request_was_not_sent_and_an_answer_that_cannot_be_sent_is_lost() {
    let (one, listener) = with_raw(config(1));
    let mut two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    let mut asked = |reply: fn(u64) -> Vec<u8>| {
        let answer = one.transport.request(2, Bytes::from_static(b"?"));
        let request = two.frame();
        assert_eq!(request.kind, REQUEST);
        two.write(&reply(request.number));
        wait(answer)
    };
    let refused = asked(|number| frame(REFUSE, number, b""));
    assert_eq!(refused, Err(RequestError::NotSent));
    let lost = asked(|number| frame_of(0, REFUSE, 1, number, b""));
    assert_eq!(lost, Err(RequestError::Lost));
    let answered = asked(|number| frame(ANSWER, number, b"!"));
    assert_eq!(answered.unwrap(), "!");
}

#[test]
fn a_peer_that_restarts_on_its_port_is_found_again() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    for _ in 0..3 {
        one.check(2);
    }
    let listen = two.address();
    two.transport.shutdown();
    assert_eq!(one.connection(), (2, false));
    let two = Node::start(Config {
        listen,
        ..config(2)
    });
    assert_eq!(one.connection(), (2, true));
    one.check(2);
    one.transport.send(2, Bytes::from_static(b"again")).unwrap();
    assert_eq!(two.message(), (1, Bytes::from_static(b"again")));
    assert_eq!(one.transport.statistics().peers[&2].connects, 2);
}

fn nervous() -> Limits {
    Limits {
        ping_every: Duration::from_millis(30),
        silence: Duration::from_millis(300),
        ..limits()
    }
}

#[test]
fn a_silent_peer_is_found_dead() {
    let (one, listener) = with_raw(Config {
        limits: nervous(),
        ..config(1)
    });
    let mut two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    let answer = one.transport.request(2, Bytes::new());
    // It is asked, and does not answer.
    while two.any_frame().kind != PING {}
    assert_eq!(wait(answer), Err(RequestError::Lost));
    assert_eq!(one.connection(), (2, false));
}

#[test]
fn a_silent_dialler_is_found_dead() {
    let two = Node::start(Config {
        limits: nervous(),
        ..config(2)
    });
    let mut one = Raw::dial(two.address(), identity(1), 2);
    one.write(&frame(REQUEST, 1, b"hold"));
    one.closed();
    two.dropped.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_quiet_peer_that_answers_pings_stays() {
    let silence = Duration::from_secs(2);
    let (one, listener) = with_raw(Config {
        limits: Limits {
            silence,
            ..nervous()
        },
        ..config(1)
    });
    let mut two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    let start = Instant::now();
    while start.elapsed() < silence * 3 / 2 {
        assert_eq!(two.any_frame().kind, PING);
        two.write(&frame(PONG, 0, b""));
    }
    assert!(one.transport.is_connected(2));
    assert!(one.connections.try_recv().is_err());
}

#[test]
fn a_ping_is_answered() {
    let two = Node::start(config(2));
    let mut one = Raw::dial(two.address(), identity(1), 2);
    one.write(&frame(PING, 0, b""));
    assert_eq!(one.frame().kind, PONG);
}

#[test]
fn connections_to_and_from_who_is_no_longer_listed_end() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    two.meet(&[&one]);
    let held = one.transport.request(2, Bytes::from_static(b"hold"));
    two.held.recv_timeout(PATIENCE).unwrap();
    two.transport.set_peers(BTreeMap::new());
    assert_eq!(two.connection(), (1, false));
    assert_eq!(wait(held), Err(RequestError::Lost));
    assert_eq!(one.connection(), (2, false));
    two.dropped.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn connections_from_who_is_no_longer_known_end() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    two.known.lock().unwrap().clear();
    two.transport.set_peers(BTreeMap::new());
    assert_eq!(one.connection(), (2, false));
}

#[test]
fn a_new_address_is_dialled_at_once() {
    let (one, two) = (
        Node::start(Config {
            limits: Limits {
                redial_first: Duration::from_secs(3_600),
                redial_most: Duration::from_secs(3_600),
                ..limits()
            },
            ..config(1)
        }),
        Node::start(config(2)),
    );
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    one.transport
        .set_peers(BTreeMap::from([peer(identity(2), gone)]));
    one.meet(&[&two]);
    one.check(2);
}

#[test]
fn a_new_incarnation_is_another_peer() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    let mut newer = config(2);
    newer.identity.incarnation = [0x22; 16];
    let newer = Node::start(newer);
    let incarnation = newer.identity.incarnation;
    one.known.lock().unwrap().insert(2, incarnation);
    one.transport.set_peers(BTreeMap::from([newer.peer()]));
    assert_eq!(one.connection(), (2, false));
    assert_eq!(one.connection(), (2, true));
    one.check(2);
    newer.transport.set_peers(BTreeMap::from([one.peer()]));
    assert_eq!(newer.connection(), (1, true));
}

#[test]
fn a_newer_connection_of_a_node_replaces_the_older() {
    let two = Node::start(config(2));
    let mut older = Raw::dial(two.address(), identity(1), 2);
    older.write(&frame(REQUEST, 1, b"hold"));
    two.held.recv_timeout(PATIENCE).unwrap();
    let mut newer = Raw::dial(two.address(), identity(1), 2);
    two.dropped.recv_timeout(PATIENCE).unwrap();
    older.closed();
    newer.write(&frame(REQUEST, 1, b"here"));
    assert_eq!(newer.frame().payload, b"here");
}

#[test]
fn who_waits_hears_of_a_shutdown() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    let held = one.transport.request(2, Bytes::from_static(b"hold"));
    two.held.recv_timeout(PATIENCE).unwrap();
    one.transport.shutdown();
    assert_eq!(wait(held), Err(RequestError::Lost));
    assert_eq!(one.connections.recv_timeout(PATIENCE).unwrap(), (2, false));
}

/// What did not happen did not happen, and what was answered did, wherever the connection breaks.
#[test]
fn outcomes_are_true_when_a_peer_dies_at_any_moment() {
    outcomes_are_true(None);
}

pub(crate) fn outcomes_are_true(tls: Option<&TlsConfig>) {
    let config = |node| Config {
        tls: tls.cloned(),
        ..config(node)
    };
    let one = Node::start(config(1));
    for round in 0..20_usize {
        let two = Node::start(config(2));
        one.meet(&[&two]);
        let requests: Vec<_> = (0..2_000)
            .map(|number| Bytes::from(format!("count {number} {}", "x".repeat(500))))
            .map(|bytes| (one.transport.request(2, bytes.clone()), bytes))
            .collect();
        let mut handled: BTreeSet<Bytes> = two.counted.iter().take(1 + round * 50).collect();
        two.transport.shutdown();
        handled.extend(two.counted.try_iter());
        for (answer, bytes) in requests {
            match wait(answer) {
                Ok(answer) => assert!(answer == bytes && handled.contains(&bytes)),
                Err(RequestError::NotSent) => assert!(!handled.contains(&bytes)),
                Err(RequestError::Lost) => {}
            }
        }
        assert_eq!(one.connection(), (2, false));
        one.transport.set_peers(BTreeMap::new());
    }
}
