//! Ports for servers whose addresses have to be known before they run.

use std::{
    net::TcpListener,
    sync::atomic::{AtomicU16, Ordering},
};

/// Below those that the system gives to connections, so that none of them takes a server's port.
const FIRST: u16 = 20_000;
const COUNT: u16 = 12_000;

/// So many ports that are free at this moment and that nobody else in this process was given.
pub(crate) fn free(count: usize) -> Vec<u16> {
    let spaced: Vec<u16> = (0..u16::try_from(count).unwrap()).collect();
    let first = free_at(&spaced);
    spaced.iter().map(|offset| first + offset).collect()
}

/// A port such that those at these distances from it are free.
pub(crate) fn free_at(offsets: &[u16]) -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let span = offsets.iter().max().expect("at least one port is wanted") + 1;
    let start = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap();
    for _ in 0..1000 {
        let taken = TAKEN.fetch_add(span, Ordering::Relaxed);
        let place = (u32::from(start) * 37 + u32::from(taken)) % u32::from(COUNT - span);
        let first = FIRST + u16::try_from(place).unwrap();
        let held: Option<Vec<TcpListener>> = offsets
            .iter()
            .map(|offset| TcpListener::bind(("127.0.0.1", first + offset)).ok())
            .collect();
        if held.is_some() {
            return first;
        }
    }
    panic!("there are no free ports");
}
