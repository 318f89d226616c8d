//! A measurement, run by hand:
//! `cargo test --release -p anser-transport -- --ignored --nocapture throughput`.

use std::{
    thread,
    time::{Duration, Instant},
};

use anser_transport::SendError;
use bytes::Bytes;

use crate::rig::{Node, config, wait};

const LENGTH: Duration = Duration::from_secs(3);

#[test]
#[ignore = "a measurement, not a check"]
#[expect(
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "figures for whoever runs it"
)]
fn throughput() {
    let (one, two) = (Node::start(config(1)), Node::start(config(2)));
    one.meet(&[&two]);
    for size in [1 << 10, 256 << 10] {
        let start = Instant::now();
        let arrived = measure(&one, &two, size, start) as f64;
        let rate = arrived / start.elapsed().as_secs_f64();
        let megabytes = rate * f64::from(size) / 1e6;
        println!("messages of {size} bytes: {rate:.0} a second, {megabytes:.0} MB/s");
    }
    let start = Instant::now();
    let mut count = 0_u32;
    while start.elapsed() < LENGTH {
        assert!(wait(one.transport.request(2, Bytes::from_static(b"round"))).is_ok());
        count += 1;
    }
    let micros = start.elapsed().as_secs_f64() * 1e6 / f64::from(count);
    println!("one request after another: {micros:.1} us each");
}

/// Sends for a while, as fast as the queue takes it, and counts what arrives.
fn measure(one: &Node, two: &Node, size: u32, start: Instant) -> u64 {
    let transport = &one.transport;
    let message = Bytes::from(vec![7; size as usize]);
    let send = || {
        let mut sent = 0;
        while start.elapsed() < LENGTH {
            match transport.send(2, message.clone()) {
                Ok(()) => sent += 1,
                Err(SendError::Full) => thread::sleep(Duration::from_micros(200)),
                Err(error) => panic!("{error}"),
            }
        }
        while transport.send(2, Bytes::from_static(b"end")) == Err(SendError::Full) {
            thread::sleep(Duration::from_micros(200));
        }
        sent
    };
    thread::scope(|scope| {
        let sender = scope.spawn(send);
        let mut arrived = 0;
        while two.message().1 != "end" {
            arrived += 1;
        }
        assert_eq!(sender.join().unwrap(), arrived);
        arrived
    })
}
