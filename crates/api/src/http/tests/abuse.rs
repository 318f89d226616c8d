//! Clients that are too large, too many or too slow.

use super::*;

/// A bound that a test waits for. A client that does nothing wrong stays within it on a machine that others use too.
const SHORT: Duration = Duration::from_secs(1);

fn overdue(world: &World) {
    until("the connection is overdue", || {
        world.server.metrics().connections_overdue() == 1
    });
}

#[test]
fn a_head_too_large_is_refused() {
    let world = world();
    let reply = world.reply(&world.head(&format!("A: {}\r\n\r\n", "x".repeat(40_000))));
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    let many = "A: x\r\n".repeat(100);
    let reply = world.reply(&world.head(&format!("{many}\r\n")));
    assert!(reply.starts_with("HTTP/1.1 431 "), "{reply}");
    let host = world.server.address();
    let line = format!(
        "GET /?{} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        "x".repeat(1 << 20)
    );
    let mut client = world.connect();
    // The server may close before it has all of it.
    let _ = client.0.write_all(line.as_bytes());
    let reply = client.rest();
    assert!(
        reply.is_empty() || reply.starts_with("HTTP/1.1 4"),
        "{reply}"
    );
}

#[test]
fn a_body_too_large_is_answered_even_to_a_client_that_sends_it_all() {
    let world = world();
    let size = 9 << 20;
    let mut client = world.connect();
    client.say(&world.head(&format!("Content-Length: {size}\r\n\r\n")));
    client.say(&"x".repeat(size));
    let (head, body) = client.answer();
    assert!(head.contains("connection: close\r\n"), "{head}");
    assert!(
        body.contains(r#""message":"(10420)cannot parse body, or request size is more than 1MB""#)
    );
    let mut client = world.connect();
    client.say(&world.head("Transfer-Encoding: chunked\r\n\r\n"));
    let chunk = format!("100000\r\n{}\r\n", "x".repeat(1 << 20));
    for _ in 0..9 {
        client.say(&chunk);
    }
    assert!(client.answer().1.contains("(10420)cannot parse body"));
}

#[test]
fn a_claimed_length_takes_no_memory_and_no_time() {
    let world = world();
    let mut client = world.connect();
    client.say(&world.head("Content-Length: 1099511627776\r\n\r\n"));
    assert!(client.answer().1.contains("(10420)cannot parse body"));
}

#[test]
fn all_large_bodies_together_are_bounded() {
    let world = world_with(Limits {
        bodies_bytes: 1 << 20,
        ..Limits::default()
    });
    let body = "x".repeat(1 << 20);
    let large = world.post(&[SEND, &[("Pad", body.as_str())]].concat());
    let mut client = world.connect();
    client.say(&large);
    let (_, answer) = client.answer();
    assert!(answer.contains("(10250)qps throttling"), "{answer}");
    assert!(
        world.reply(&world.post(SEND)).contains(r#""code":0,"#),
        "small ones pass"
    );
}

#[test]
fn security_finding_3_a_body_that_has_to_be_decoded_counts_for_both_of_its_forms() {
    let world = world_with(Limits {
        bodies_bytes: 4 << 20,
        ..Limits::default()
    });
    let body = "x".repeat(3 << 20);
    let plain = world.post(&[SEND, &[("Pad", body.as_str())]].concat());
    assert!(world.reply(&plain).contains(r#""code":0,"#));
    let escaped = world.post(&[SEND, &[("Pad", format!("{body}+").as_str())]].concat());
    let reply = world.reply(&escaped);
    assert!(reply.contains("(10250)qps throttling"), "{reply}");
}

#[test]
fn one_address_does_not_take_the_memory_of_all_bodies() {
    let world = world_with(Limits {
        body_bytes: 1 << 20,
        bodies_bytes: 4 << 20,
        ..Limits::default()
    });
    let body = "x".repeat(500_000);
    let large = world.post(&[SEND, &[("Pad", body.as_str())]].concat());
    let stranger = || Client::connect_from("127.0.0.2:0", world.server.address());
    let mut unfinished = stranger();
    unfinished.say(&large[..large.len() - 1]);
    let mut another = stranger();
    another.say(&large[..large.len() - 1]);
    until("the stranger's quarter is full", || {
        world.server.metrics().bytes_in() == 2 * (large.len() as u64 - 1)
    });
    let mut third = stranger();
    third.say(&large);
    let (_, answer) = third.answer();
    assert!(answer.contains("(10250)qps throttling"), "{answer}");
    assert!(
        world.reply(&large).contains(r#""code":0,"#),
        "another address"
    );
    unfinished.say(&large[large.len() - 1..]);
    assert!(unfinished.answer().1.contains(r#""code":0,"#));
}

#[test]
fn a_body_that_stops_coming_ends_the_connection_early() {
    let world = world_with(Limits {
        body_bytes_per_second: 1 << 20,
        body_stretch_time: SHORT,
        ..Limits::default()
    });
    for begun in ["x", &"x".repeat(1 << 20)] {
        let mut client = world.connect();
        client.say(&world.head("Content-Length: 4000000\r\n\r\n"));
        client.say(begun);
        assert_eq!(client.rest(), "");
    }
    assert_eq!(world.server.metrics().connections_overdue(), 2);
}

#[test]
fn a_slow_head_ends_the_connection() {
    let world = world_with(Limits {
        head_time: SHORT,
        ..Limits::default()
    });
    let mut silent = world.connect();
    assert_eq!(silent.rest(), "", "a client that says nothing");
    let mut client = world.connect();
    client.say(&world.post(SEND));
    client.answer();
    thread::sleep(SHORT + SHORT / 2);
    // Between requests the longer bound holds; within a head the short one does.
    let start = Instant::now();
    for byte in world.head("A: ").chars().cycle() {
        if client.0.write_all(&[byte as u8]).is_err() || start.elapsed() > PATIENCE {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    assert!(start.elapsed() < PATIENCE, "the connection goes on");
}

#[test]
fn a_slow_body_ends_the_connection() {
    let world = world_with(Limits {
        body_time: SHORT,
        ..Limits::default()
    });
    let mut client = world.connect();
    client.say(&world.head("Content-Length: 100\r\n\r\nx"));
    assert_eq!(client.rest(), "");
    overdue(&world);
}

#[test]
fn an_idle_connection_is_closed() {
    let world = world_with(Limits {
        idle_time: SHORT,
        ..Limits::default()
    });
    let mut client = world.connect();
    client.say(&world.post(SEND));
    client.answer();
    assert_eq!(client.rest(), "");
    overdue(&world);
}

#[test]
fn a_wait_is_not_idle() {
    let world = world_with(Limits {
        idle_time: SHORT,
        head_time: SHORT,
        body_time: SHORT,
        write_time: SHORT,
        ..Limits::default()
    });
    let mut client = world.connect();
    client.say(&world.post(POLL));
    until("the wait begins", || world.fake.waiting() == 1);
    thread::sleep(SHORT * 2);
    assert_eq!(world.fake.waiting(), 1);
    assert_eq!(world.server.metrics().connections_overdue(), 0);
}

#[test]
fn a_slow_reader_ends_the_connection() {
    let world = world_with(Limits {
        write_time: SHORT,
        ..Limits::default()
    });
    let body = vec![b'x'; 1 << 20];
    let messages = (0..16).map(|number| message(number, &body));
    world.fake.found.lock().unwrap().extend(messages);
    let mut client = world.connect();
    client.say(&world.post(&[
        ("Action", "BatchReceiveMessage"),
        ("queueName", "q"),
        ("numOfMsg", "16"),
    ]));
    overdue(&world);
}

#[test]
fn what_an_account_does_not_read_is_bounded_until_it_has_left() {
    let world = world_with(Limits {
        answers_bytes: 64 << 20,
        ..Limits::default()
    });
    let body = vec![b'x'; 1 << 20];
    let messages = (0..16).map(|number| message(number, &body));
    world.fake.found.lock().unwrap().extend(messages);
    let batch = world.post(&[
        ("Action", "BatchReceiveMessage"),
        ("queueName", "q"),
        ("numOfMsg", "16"),
    ]);
    let mut slow = world.connect();
    slow.say(&batch);
    slow.0.read_exact(&mut [0; 1]).unwrap();
    let asked = world.fake.seen.lock().unwrap().len();
    for _ in 0..3 {
        let answer = world.reply(&batch);
        assert!(answer.contains("(10250)qps throttling"), "{}", answer.len());
    }
    assert_eq!(
        world.fake.seen.lock().unwrap().len(),
        asked,
        "nothing is leased"
    );
    assert!(world.reply(&world.post(SEND)).contains(r#""code":0,"#));
    slow.answer();
    until("the memory is free again", || {
        world.reply(&batch).contains(r#""code":0,"#)
    });
}

#[test]
fn connections_are_bounded_from_one_address_and_in_all() {
    for limits in [
        Limits {
            connections: 2,
            ..Limits::default()
        },
        Limits {
            connections_per_address: 2,
            ..Limits::default()
        },
    ] {
        let world = world_with(limits);
        let _first = world.connect();
        let second = world.connect();
        until("both are open", || {
            world.server.metrics().connections_open() == 2
        });
        assert_eq!(world.connect().rest(), "");
        assert_eq!(world.server.metrics().connections_refused(), 1);
        drop(second);
        until("one has left", || {
            world.server.metrics().connections_open() == 1
        });
        until("another can come", || {
            let mut client = world.connect();
            client.0.write_all(world.post(SEND).as_bytes()).is_ok()
                && client.0.read(&mut [0; 64]).is_ok_and(|count| count > 0)
        });
    }
}

#[test]
fn hundreds_of_waits_that_break_off_leave_nothing() {
    let world = world();
    let clients: Vec<_> = (0..300)
        .map(|_| {
            let mut client = world.connect();
            client.say(&world.post(POLL));
            client
        })
        .collect();
    until("all wait", || world.fake.waiting() == 300);
    drop(clients);
    until("none waits", || world.fake.waiting() == 0);
    until("none is open", || {
        world.server.metrics().connections_open() == 0
    });
}
