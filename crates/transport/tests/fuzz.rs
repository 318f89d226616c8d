//! Random bytes after a right handshake: the connection ends, and nothing else happens.

use std::{collections::BTreeMap, io::Write, net::TcpListener};

use crate::{
    raw::{Raw, frame},
    rig::{Node, config, identity, peer},
};

/// xorshift: one seed, one run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn bytes(&mut self, bound: u64) -> Vec<u8> {
        let length = self.below(bound);
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Good frames in any order, the last of them damaged, or bytes without sense.
    fn stream(&mut self) -> Vec<u8> {
        if self.below(3) == 0 {
            return self.bytes(2_000);
        }
        let mut stream = Vec::new();
        for number in 1..=self.below(6) {
            let kind = 1 + self.below(7).to_le_bytes()[0];
            let number = if matches!(kind, 1 | 5 | 6) { 0 } else { number };
            let payload = if kind <= 3 {
                self.bytes(300)
            } else {
                Vec::new()
            };
            stream.extend(frame(kind, number, &payload));
        }
        if !stream.is_empty() && self.below(2) == 0 {
            let at = usize::try_from(self.below(stream.len() as u64)).unwrap();
            stream[at] ^= 1 << self.below(8);
        }
        stream
    }
}

#[test]
fn random_bytes_of_a_dialler_do_no_harm() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for round in 0..500 {
        let mut raw = Raw::dial(two.address(), identity(3), 2);
        // It may be closed before all is written.
        _ = raw.0.write_all(&random.stream());
        _ = raw.0.shutdown(std::net::Shutdown::Write);
        raw.closed();
        if round % 50 == 0 {
            one.check(2);
        }
    }
    one.check(2);
    assert!(one.connections.try_recv().is_err());
}

#[test]
fn random_bytes_of_a_listener_do_no_harm() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let three = peer(identity(3), listener.local_addr().unwrap());
    one.transport.set_peers(BTreeMap::from([two.peer(), three]));
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    for _ in 0..50 {
        let mut raw = Raw::accept(&listener, identity(3));
        _ = raw.0.write_all(&random.stream());
        _ = raw.0.shutdown(std::net::Shutdown::Write);
        raw.closed();
    }
    one.check(2);
    drop(listener);
}
