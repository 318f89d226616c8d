//! Whom requests are from that come through a proxy.

use super::*;

/// With room for two bodies of half a megabyte from one client, and for more in all.
fn proxied_world(trusted: &[&str]) -> World {
    adjusted_world(|config| {
        config.limits.body_bytes = 1 << 20;
        config.limits.bodies_bytes = 4 << 20;
        config.limits.connections_per_address = 3;
        let networks = trusted.iter().map(|text| text.parse().unwrap());
        config.trusted_proxies = networks.collect();
    })
}

/// A large request that a proxy had from this address.
fn large(world: &World, from: &str) -> String {
    let body = "x".repeat(500_000);
    let request = world.post(&[SEND, &[("Pad", body.as_str())]].concat());
    let line = format!("\r\nX-Forwarded-For: {from}\r\nHost:");
    request.replacen("\r\nHost:", &line, 1)
}

/// Fills what one client may have of the memory for bodies.
fn filled(world: &World, from: &str) -> [Client; 2] {
    let large = large(world, from);
    let before = world.server.metrics().bytes_in();
    let clients = [(); 2].map(|()| {
        let mut client = world.connect();
        client.say(&large[..large.len() - 1]);
        client
    });
    until("the client's quarter is full", || {
        world.server.metrics().bytes_in() == before + 2 * (large.len() as u64 - 1)
    });
    clients
}

fn answer(world: &World, from: &str) -> String {
    let mut client = world.connect();
    client.say(&large(world, from));
    client.answer().1
}

#[test]
fn clients_behind_a_trusted_proxy_have_their_bounds_each() {
    let world = proxied_world(&["127.0.0.1"]);
    let _unfinished = filled(&world, "198.51.100.1");
    let same = answer(&world, "203.0.113.9, 198.51.100.1");
    assert!(same.contains("(10250)qps throttling"), "{same}");
    assert!(answer(&world, "198.51.100.2").contains(r#""code":0,"#));
    // More connections than one client may have.
    let _more = [(); 5].map(|()| world.connect());
    until("all are open", || {
        world.server.metrics().connections_open() >= 7
    });
    assert_eq!(world.server.metrics().connections_refused(), 0);
}

#[test]
fn what_others_say_of_whom_a_request_is_from_is_not_believed() {
    let world = proxied_world(&["10.0.0.0/8"]);
    let _unfinished = filled(&world, "198.51.100.1");
    let other = answer(&world, "198.51.100.2");
    assert!(other.contains("(10250)qps throttling"), "{other}");
}
