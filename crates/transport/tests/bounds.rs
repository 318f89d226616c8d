//! Everything that waits has a bound.

use std::{collections::BTreeMap, net::TcpListener};

use anser_transport::{
    AskError, Caller, Config, DialError, Limits, Refusal, RequestError, SendError, Transport,
    Visitor, ask,
};
use bytes::Bytes;

use crate::{
    raw::{ANSWER, CANCEL, REFUSE, REQUEST, Raw, frame},
    rig::{Node, PATIENCE, config, identity, join_config, limits, peer, wait, wait_tokio},
};

#[test]
fn what_does_not_fit_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = Node::start(config(1));
    one.transport.set_peers(BTreeMap::from([peer(
        identity(2),
        listener.local_addr().unwrap(),
    )]));
    let two = Raw::accept(&listener, identity(2));
    assert_eq!(one.connection(), (2, true));
    // The peer reads nothing: the queue and the sockets take this much and no more.
    let message = Bytes::from(vec![0; 1 << 20]);
    let taken = (0..1_000).take_while(|_| one.transport.send(2, message.clone()).is_ok());
    let taken = taken.count();
    assert!((60..=300).contains(&taken), "{taken}");
    // There may be room again for a moment, until the sockets are full.
    while one.transport.send(2, message.clone()) != Err(SendError::Full) {}
    let statistics = one.transport.statistics();
    assert!(statistics.peers[&2].waiting_bytes <= 64 << 20);
    assert!(statistics.peers[&2].refused >= 1);
    let mut requests = (0..).map(|_| one.transport.request(2, message.clone()));
    let mut requests: Vec<_> = (&mut requests).take(40).collect();
    assert_eq!(wait(requests.pop().unwrap()), Err(RequestError::NotSent));
    drop(two);
}

fn pair(limits: Limits) -> (Node, Node) {
    let (one, two) = (
        Node::start(config(1)),
        Node::start(Config {
            limits,
            ..config(2)
        }),
    );
    one.meet(&[&two]);
    (one, two)
}

#[test]
fn requests_under_way_are_bounded_in_number() {
    let (one, two) = pair(Limits {
        requests: 2,
        ..limits()
    });
    let first = one.transport.request(2, Bytes::from_static(b"hold"));
    let _second = one.transport.request(2, Bytes::from_static(b"hold"));
    let third = one.transport.request(2, Bytes::from_static(b"hold"));
    assert_eq!(wait(third), Err(RequestError::NotSent));
    drop(first);
    two.dropped.recv_timeout(PATIENCE).unwrap();
    one.check(2);
}

#[test]
fn requests_under_way_are_bounded_in_bytes() {
    let two = Node::start(Config {
        limits: Limits {
            frame_bytes: 1_000,
            queue_bytes: 2_000,
            ..limits()
        },
        ..config(2)
    });
    let mut one = Raw::dial(two.address(), identity(1), 2);
    let mut hold = vec![b' '; 900];
    hold[..4].copy_from_slice(b"hold");
    one.write(&frame(REQUEST, 1, &hold));
    one.write(&frame(REQUEST, 2, &hold));
    one.write(&frame(REQUEST, 3, &hold));
    let refused = one.frame();
    assert_eq!((refused.kind, refused.number), (REFUSE, 3));
    one.write(&frame(CANCEL, 1, b""));
    one.write(&frame(REQUEST, 4, &[0; 900]));
    let answered = one.frame();
    assert_eq!((answered.kind, answered.number), (ANSWER, 4));
}

/// More answers than the sockets and the queue take, for a dialler that reads them late.
#[test]
fn answers_wait_for_a_slow_reader() {
    const COUNT: u64 = 200;
    let two = Node::start(Config {
        limits: Limits {
            frame_bytes: 1 << 20,
            queue_bytes: 2 << 20,
            ..limits()
        },
        ..config(2)
    });
    let mut one = Raw::dial(two.address(), identity(1), 2);
    for number in 1..=COUNT {
        one.write(&frame(REQUEST, number, b"large 1000000"));
    }
    // Others are served meanwhile.
    let three = Node::start(config(3));
    three.meet(&[&two]);
    for _ in 0..100 {
        three.check(2);
    }
    // Most requests have not begun to work: the queue holds two answers, the sockets some more.
    let begun = two.counted.try_iter().count();
    assert!((1..100).contains(&begun), "{begun}");
    let mut numbers = Vec::new();
    for _ in 0..COUNT {
        let frame = one.frame();
        assert_eq!((frame.kind, frame.payload.len()), (ANSWER, 1_000_000));
        numbers.push(frame.number);
    }
    numbers.sort_unstable();
    assert!(numbers.into_iter().eq(1..=COUNT));
}

#[test]
fn nodes_that_join_are_bounded() {
    let two = Node::start(Config {
        limits: Limits {
            joining: 1,
            ..limits()
        },
        ..config(2)
    });
    let address = two.address().to_string();
    wait_tokio(async {
        let config = join_config();
        let asking = ask(&address, &config, Bytes::from_static(b"hold"));
        let held = tokio::task::spawn_blocking(move || {
            assert_eq!(two.held.recv_timeout(PATIENCE).unwrap(), Caller::Joining);
            two
        });
        let both = async {
            let two = held.await.unwrap();
            (
                two,
                ask(&address, &config, Bytes::from_static(b"me too")).await,
            )
        };
        let (_two, refused) = tokio::select! {
            both = both => both,
            answer = asking => panic!("{answer:?}"),
        };
        assert!(matches!(
            refused,
            Err(AskError::Dial(DialError::Refused(Refusal::Busy)))
        ));
    });
}

#[test]
fn a_setting_out_of_its_range_is_an_error() {
    struct Deaf;
    impl anser_transport::Handler for Deaf {
        fn message(&self, _: u64, _: Bytes) {}
        fn request(&self, _: Caller, bytes: Bytes) -> anser_transport::BoxFuture<'static, Bytes> {
            Box::pin(std::future::ready(bytes))
        }
        fn judge(&self, _: &Visitor) -> Result<(), Refusal> {
            Err(Refusal::UnknownNode)
        }
        fn is_agreed(&self, _: &Visitor) -> bool {
            false
        }
        fn arrived(&self, _: &Visitor) {}
        fn refused(&self, _: u64, _: &DialError) {}
        fn connection(&self, _: u64, _: bool) {}
    }
    let start = |change: fn(&mut Config)| {
        let mut config = config(1);
        change(&mut config);
        Transport::start(config, std::sync::Arc::new(Deaf))
            .unwrap_err()
            .to_string()
    };
    assert!(start(|config| config.identity.node = 0).contains("number"));
    assert!(start(|config| config.identity.cluster = [0; 16]).contains("cluster"));
    assert!(start(|config| config.advertise = Some("a".repeat(256))).contains("address"));
    assert!(start(|config| config.limits.queue_bytes = 1).contains("queue_bytes"));
    assert!(start(|config| config.limits.requests = 0).contains("requests"));
    assert!(start(|config| config.limits.silence = config.limits.ping_every).contains("silence"));
    assert!(start(|config| config.limits.frame_bytes = 1 << 33).contains("frame_bytes"));
}
