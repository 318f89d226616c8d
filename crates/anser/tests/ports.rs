//! Ports for servers whose addresses have to be known before they run.
//!
//! They come in blocks. A test process takes a block by listening on its first port, so that no other process
//! gives out ports of it, and gives out each port once.

use std::{
    net::TcpListener,
    ops::Range,
    sync::{Mutex, PoisonError},
};

/// Below those that the system gives to connections, so that none of them takes a server's port.
const FIRST: u16 = 20_000;
const BLOCK: u16 = 240;
const BLOCKS: u16 = 50;

/// The block that this process gives out now.
static TAKEN: Mutex<Option<Block>> = Mutex::new(None);

struct Block {
    number: u16,
    left: Range<u16>,
}

/// So many ports that are free at this moment and that nobody else is given.
pub(crate) fn free(count: usize) -> Vec<u16> {
    let spaced: Vec<u16> = (0..u16::try_from(count).unwrap()).collect();
    let first = free_at(&spaced);
    spaced.iter().map(|offset| first + offset).collect()
}

/// A port such that those at these distances from it are free.
pub(crate) fn free_at(offsets: &[u16]) -> u16 {
    let span = offsets.iter().max().expect("at least one port is wanted") + 1;
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let Some(first) = taken.as_mut().and_then(|block| block.next(span)) else {
            let after = taken.as_ref().map(|block| block.number);
            *taken = Some(Block::take(after));
            continue;
        };
        let mut ports = offsets.iter().map(|offset| first + offset);
        if ports.all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()) {
            return first;
        }
    }
}

impl Block {
    /// Takes the next block that nobody has, as long as this process lives.
    fn take(after: Option<u16>) -> Self {
        let start = after.map_or_else(
            || u16::try_from(std::process::id() % u32::from(BLOCKS)).unwrap(),
            |after| after + 1,
        );
        for number in (start..start + BLOCKS).map(|number| number % BLOCKS) {
            let first = FIRST + number * BLOCK;
            if let Ok(listener) = TcpListener::bind(("127.0.0.1", first)) {
                std::mem::forget(listener);
                let left = first + 1..first + BLOCK;
                return Self { number, left };
            }
        }
        panic!("there are no free ports");
    }

    fn next(&mut self, span: u16) -> Option<u16> {
        let first = self.left.start;
        let next = first
            .checked_add(span)
            .filter(|&next| next <= self.left.end)?;
        self.left.start = next;
        Some(first)
    }
}

#[test]
fn no_port_is_given_twice() {
    let mut given = std::collections::BTreeSet::new();
    for span in [1, 3, 9, 23, 1, 3, 9, 23] {
        for port in free(span) {
            assert!(given.insert(port), "{port}");
        }
    }
}
