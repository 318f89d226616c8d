//! Who never proves anything does not disturb who did.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use anser_transport::{Config, Limits};

use crate::{
    raw::{ANSWER, CANCEL, MESSAGE, PONG, REQUEST, Raw, frame, frame_of},
    rig::{Node, config, eventually, identity, limits},
};

#[test]
fn idle_connections_do_not_disturb() {
    let (one, two, three) = (
        Node::start(config(1)),
        Node::start(config(2)),
        Node::start(config(3)),
    );
    one.meet(&[&two]);
    let mut idle = Vec::new();
    for number in 0..1_000 {
        idle.push(TcpStream::connect(two.address()).unwrap());
        if number % 100 == 0 {
            one.check(2);
        }
    }
    // Others still get in.
    three.meet(&[&two]);
    three.check(2);
    one.check(2);
    eventually(|| two.transport.statistics().accepted == 1_002);
    let crowded_out = two.transport.statistics().crowded_out;
    assert!(
        (1_000 - 64..=1_002 - 64).contains(&crowded_out),
        "{crowded_out}"
    );
    assert!(one.connections.try_recv().is_err());
    // The first ones were closed.
    let mut bytes = Vec::new();
    _ = idle[0].read_to_end(&mut bytes);
    assert!(bytes.len() <= 40);
}

#[test]
fn half_a_handshake_ends_at_its_deadline() {
    let two = Node::start(Config {
        limits: Limits {
            handshake_time: Duration::from_millis(100),
            ..limits()
        },
        ..config(2)
    });
    let silent = Raw::connect(two.address());
    let mut slow = Raw::connect(two.address());
    // A byte now and then does not prolong it.
    let mut reader = slow.0.try_clone().unwrap();
    let writer = std::thread::spawn(move || {
        while slow.0.write_all(b"A").is_ok() {
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    let mut bytes = Vec::new();
    _ = reader.read_to_end(&mut bytes);
    assert_eq!(bytes.len(), 40);
    drop(reader);
    writer.join().unwrap();
    silent.closed();
    eventually(|| two.transport.statistics().strangers == 2);
}

#[test]
fn garbage_is_closed_without_an_answer() {
    let two = Node::start(config(2));
    for byte in [0, b'G', 0xff] {
        let mut raw = Raw::connect(two.address());
        raw.read(40);
        raw.write(&[byte; 120]);
        let mut bytes = Vec::new();
        _ = raw.0.read_to_end(&mut bytes);
        assert!(bytes.is_empty());
    }
    assert_eq!(two.transport.statistics().strangers, 3);
}

#[test]
fn a_broken_frame_ends_the_connection() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    let mut wrong_payload = frame(MESSAGE, 0, b"abc");
    *wrong_payload.last_mut().unwrap() ^= 1;
    let mut wrong_header = frame(MESSAGE, 0, b"abc");
    wrong_header[18] ^= 1;
    let cases = [
        ("payload", wrong_payload),
        ("header", wrong_header),
        // Nothing but the header: its length is judged before anything more arrives.
        ("length", frame_of(33 << 20, MESSAGE, 0, 0, b"")),
        (
            "all the length there is",
            frame_of(u32::MAX, REQUEST, 0, 1, b""),
        ),
        ("kind", frame(8, 0, b"")),
        ("no kind", frame(0, 0, b"")),
        ("flags", frame_of(0, MESSAGE, 1, 0, b"")),
        ("number of a message", frame(MESSAGE, 1, b"")),
        ("no number of a request", frame(REQUEST, 0, b"")),
        ("direction", frame(ANSWER, 1, b"")),
        ("full pong", frame(PONG, 0, b"x")),
        ("cancel of nothing", frame(CANCEL, 1, b"")),
        (
            "number twice",
            [frame(REQUEST, 5, b"hold"), frame(REQUEST, 5, b"hold")].concat(),
        ),
    ];
    for (what, bytes) in cases {
        let mut raw = Raw::dial(two.address(), identity(3), 2);
        raw.write(&bytes);
        assert!(raw.closes(), "{what}");
    }
    one.check(2);
    assert!(two.messages.try_recv().is_err());
}

#[test]
fn who_joins_sends_no_messages() {
    use crate::raw::Hello;
    let two = Node::start(config(2));
    let mut raw = Raw::connect(two.address());
    let mut hello = Hello::new(identity(1), 2);
    hello.from = 0;
    hello.cluster = [0; 16];
    assert_eq!(raw.shake(&hello), 0);
    raw.write(&frame(MESSAGE, 0, b"abc"));
    raw.closed();
    assert!(two.messages.try_recv().is_err());
}
