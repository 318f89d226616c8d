//! The life of a server and of well-behaved connections.

use super::*;

#[test]
fn one_connection_carries_many_requests() {
    let world = world();
    let mut client = world.connect();
    for _ in 0..50 {
        client.say(&world.post(SEND));
        let (head, body) = client.answer();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert!(
            head.contains("content-type: application/json\r\n"),
            "{head}"
        );
        assert!(head.contains("server: anser\r\n"), "{head}");
        assert!(body.contains(r#""code":0,"#), "{body}");
    }
    let metrics = world.server.metrics();
    let sent = metrics.requests().next().unwrap();
    assert_eq!(
        (sent.action, sent.code, sent.count),
        ("SendMessage", "0", 50)
    );
    assert_eq!(metrics.connections_open(), 1);
    assert!(metrics.bytes_in() > 10_000 && metrics.bytes_out() > 5_000);
    let timed: u64 = metrics.latency().map(|bucket| bucket.count).sum();
    assert_eq!(timed, 50);
}

#[test]
fn pipelined_requests_are_answered_in_order_one_at_a_time() {
    let world = world();
    let mut client = world.connect();
    let requests: String = (0..500)
        .map(|number| {
            let number = number.to_string();
            world.post(&[SEND, &[("clientRequestId", number.as_str())]].concat())
        })
        .collect();
    let mut writer = client.0.try_clone().unwrap();
    let sender = thread::spawn(move || writer.write_all(requests.as_bytes()));
    for number in 0..500 {
        let (_, body) = client.answer();
        assert!(body.contains(&format!(r#""clientRequestId":{number},"#)));
    }
    sender.join().unwrap().unwrap();
}

#[test]
fn a_get_means_the_same_and_the_query_of_a_post_means_nothing() {
    let world = world();
    let host = world.server.address().to_string();
    let query = signed_for("GET", &host, PATH, SEND);
    let get = format!("GET {PATH}?{query} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert!(world.reply(&get).contains(r#""code":0,"#));
    let swapped = get.replace("GET", "POST");
    assert!(
        world
            .reply(&swapped)
            .contains("(10280)action is not existed")
    );
    let form = signed_for("POST", &host, PATH, SEND);
    let replayed = format!("GET {PATH}?{form} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert!(
        world
            .reply(&replayed)
            .contains("(10030)authentication failed")
    );
}

#[test]
fn the_paths_of_all_clients_work_and_no_other() {
    let world = world();
    let host = world.server.address().to_string();
    let post = |path: &str, signed: &str| {
        let form = signed_for("POST", &host, signed, SEND);
        let length = form.len();
        world.reply(&format!(
            "POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{form}"
        ))
    };
    for (path, signed) in [
        (PATH, PATH),
        ("//v2/index.php", "//v2/index.php"),
        ("/v2/index.php/v2/index.php", PATH),
        ("/", "/"),
    ] {
        assert!(post(path, signed).contains(r#""code":0,"#), "{path}");
    }
    for path in ["/v2", "/v2/index.php/", "/metrics", "/../v2/index.php"] {
        assert!(post(path, path).starts_with("HTTP/1.1 404 "), "{path}");
    }
}

#[test]
fn api_three_is_told_that_it_is_not_spoken() {
    let world = world();
    let host = world.server.address();
    let reply = world.reply(&format!(
        "POST / HTTP/1.1\r\nHost: {host}\r\nX-TC-Action: DescribeCmqQueues\r\nContent-Length: 2\r\n\r\n{{}}"
    ));
    assert!(
        reply.contains(r#"{"Response":{"Error":{"Code":"UnsupportedOperation""#),
        "{reply}"
    );
    let reply = world.reply(&format!(
        "GET /?Action=X&Version=2019-03-04 HTTP/1.1\r\nHost: {host}\r\n\r\n"
    ));
    assert!(reply.contains("UnsupportedOperation"), "{reply}");
}

#[test]
fn clients_of_amazon_are_told_in_their_own_form_that_they_are_not_served_yet() {
    let world = world();
    let host = world.server.address();
    let scope = |service: &str| {
        format!(
            "AWS4-HMAC-SHA256 Credential=ID/20231114/x/{service}/aws4_request, SignedHeaders=host, Signature=00"
        )
    };
    let (sqs, sns) = (scope("sqs"), scope("sns"));
    for (head, form, shown) in [
        (
            "POST / HTTP/1.1\r\nX-Amz-Target: AmazonSQS.SendMessage\r\n".to_owned(),
            "{}",
            r#""__type":"com.amazonaws.sqs#UnsupportedOperation""#,
        ),
        (
            format!("POST /000000000000/q HTTP/1.1\r\nAuthorization: {sqs}\r\n"),
            "Action=SendMessage",
            "<Code>AWS.SimpleQueueService.UnsupportedOperation</Code>",
        ),
        (
            format!("POST / HTTP/1.1\r\nAuthorization: {sns}\r\n"),
            "Action=Publish&Version=2010-03-31",
            "<Code>InvalidAction</Code>",
        ),
        (
            "POST / HTTP/1.1\r\n".to_owned(),
            "Action=ListQueues&Version=2012-11-05",
            "<Code>AWS.SimpleQueueService.UnsupportedOperation</Code>",
        ),
        (
            "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\n".to_owned(),
            "{}",
            "#UnknownOperationException",
        ),
    ] {
        let length = form.len();
        let request = format!("{head}Host: {host}\r\nContent-Length: {length}\r\n\r\n{form}");
        let reply = world.reply(&request);
        assert!(reply.starts_with("HTTP/1.1 400 "), "{reply}");
        assert!(reply.contains(shown), "{reply}");
    }
    assert_eq!(world.server.metrics().not_found(), 5);
    assert_eq!(world.server.metrics().requests().count(), 0);
    assert!(world.fake.last().is_none());
}

#[test]
fn the_path_that_dialects_share_belongs_to_whom_the_request_names() {
    let world = world();
    let host = world.server.address().to_string();
    let post = |form: &str| {
        let length = form.len();
        let head = format!("POST / HTTP/1.1\r\nHost: {host}\r\n");
        world.reply(&format!("{head}Content-Length: {length}\r\n\r\n{form}"))
    };
    assert!(post("x=1").starts_with("HTTP/1.1 404 "));
    let three = post("Action=CreateQueue&Version=2019-03-04");
    assert!(three.contains("API 3.0 is not supported yet"), "{three}");
    assert_eq!(world.server.metrics().not_found(), 2);
    let signed = signed_for("POST", &host, "/", SEND);
    assert!(post(&signed).contains(r#""code":0,"#));
    assert_eq!(world.server.metrics().not_found(), 2);
    let malformed = post("Action=%");
    assert!(malformed.contains("(10420)"), "{malformed}");
}

#[test]
fn a_client_that_leaves_ends_its_wait() {
    let world = world();
    let mut client = world.connect();
    client.say(&world.post(POLL));
    until("the wait begins", || world.fake.waiting() == 1);
    drop(client);
    until("the wait ends", || world.fake.waiting() == 0);
    until("the connection ends", || {
        world.server.metrics().connections_open() == 0
    });
}

/// Requests that wait, with something behind them that nobody has read.
fn with_more_behind(world: &World) -> Vec<String> {
    let poll = world.post(POLL);
    let (head, form) = poll.split_once("\r\n\r\n").unwrap();
    let length = form.len();
    let chunks = format!("Transfer-Encoding: chunked\r\n\r\n{length:x}\r\n{form}\r\n0\r\n\r\n");
    let host = world.server.address().to_string();
    let query = signed_for("GET", &host, PATH, POLL);
    vec![
        format!("{poll}\r\n"),
        format!("{poll}GET"),
        format!("{poll}{}", world.post(SEND)),
        format!("{}\r\n", world.head(&chunks)),
        // A body that nobody wants.
        format!("GET {PATH}?{query} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 9\r\n\r\nx"),
        format!("{head}\r\nExpect: 100-continue\r\n\r\n{form}\r\n"),
    ]
}

#[test]
fn a_client_that_leaves_ends_its_wait_whatever_it_has_sent_behind_its_request() {
    let world = world();
    for request in with_more_behind(&world) {
        for linger in [None, Some(Duration::ZERO)] {
            let mut client = world.connect();
            // With no time to linger the end is a reset.
            let socket = socket2::SockRef::from(&client.0);
            socket.set_linger(linger).unwrap();
            client.say(&request);
            until("the wait begins", || world.fake.waiting() == 1);
            drop(client);
            until("the wait ends", || world.fake.waiting() == 0);
            until("the connection ends", || {
                world.server.metrics().connections_open() == 0
            });
        }
    }
}

#[test]
fn who_closes_its_side_only_behind_several_requests_hears_that_its_wait_is_over() {
    let world = world();
    let mut client = world.connect();
    client.say(&format!("{}{}", world.post(POLL), world.post(SEND)));
    until("the wait begins", || world.fake.waiting() == 1);
    client.0.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(client.answer().1.contains("(10200)no message"));
    until("the connection ends", || {
        world.server.metrics().connections_open() == 0
    });
}

#[test]
fn what_comes_behind_a_request_that_waits_is_answered_after_it() {
    let world = world();
    let (poll, send) = (world.post(POLL), world.post(SEND));
    let (first, second) = send.split_at(30);
    let mut client = world.connect();
    client.say(&poll);
    until("the wait begins", || world.fake.waiting() == 1);
    client.say(first);
    client.say(second);
    client.say(&poll);
    // More than is read: nobody could tell whether the client is there.
    client.say(&send.repeat((64 << 10) / send.len()));
    for _ in 0..2 {
        assert!(client.answer().1.contains("(10200)no message"));
        assert!(client.answer().1.contains(r#""code":0,"#));
    }
}

#[test]
fn who_sends_a_little_behind_a_request_waits_on() {
    let world = world();
    let mut client = world.connect();
    client.say(&format!("{}\r\n", world.post(POLL)));
    until("the wait begins", || world.fake.waiting() == 1);
    client.say("GET ");
    assert!(world.reply(&world.post(SEND)).contains(r#""code":0,"#));
    assert_eq!(world.fake.waiting(), 1);
}

#[test]
fn stopping_ends_waits_with_an_answer_and_closes_idle_connections() {
    let world = world();
    let mut waiting = world.connect();
    waiting.say(&world.post(POLL));
    let mut idle = world.connect();
    idle.say(&world.post(SEND));
    idle.answer();
    until("the wait begins", || world.fake.waiting() == 1);
    let address = world.server.address();
    let start = Instant::now();
    world.server.shutdown(Duration::ZERO, PATIENCE);
    assert!(start.elapsed() < PATIENCE / 2);
    assert!(waiting.rest().contains("(10200)no message"));
    assert_eq!(idle.rest(), "");
    assert!(TcpStream::connect(address).is_err());
}

/// It would meet a connection that is closed under its request, and not know whether that was done.
#[test]
fn who_asks_while_the_server_stops_has_an_answer_and_is_told_to_go() {
    let world = world();
    let mut client = world.connect();
    client.say(&world.post(SEND));
    let (head, _) = client.answer();
    assert!(!head.to_lowercase().contains("connection: close"), "{head}");
    let address = world.server.address();
    let request = world.post(SEND);
    let stopping = thread::spawn(move || world.server.shutdown(PATIENCE / 2, PATIENCE));
    until("nobody new is let in", || {
        TcpStream::connect(address).is_err()
    });
    client.say(&request);
    let (head, answer) = client.answer();
    assert!(head.to_lowercase().contains("connection: close"), "{head}");
    assert!(answer.contains(r#""code":0,"#), "{answer}");
    assert_eq!(client.rest(), "");
    // It waits for nobody else.
    stopping.join().unwrap();
}

#[test]
fn a_request_that_does_not_end_is_cut_off_after_the_grace() {
    let world = world();
    let mut client = world.connect();
    client.say(&world.head("Content-Length: 10\r\n\r\nx"));
    until("the connection is there", || {
        world.server.metrics().connections_open() == 1
    });
    let start = Instant::now();
    world
        .server
        .shutdown(Duration::ZERO, Duration::from_millis(100));
    assert!(start.elapsed() < PATIENCE / 2);
    assert_eq!(client.rest(), "");
}

#[test]
fn two_servers_do_not_share_a_port_by_accident() {
    let world = world();
    let config = ServerConfig {
        listen: world.server.address(),
        threads: 1,
        tls: None,
        trusted_proxies: Vec::new(),
        limits: Limits::default(),
        rates: None,
        cmq: cmq::Config::new([1; 32]),
    };
    let second = start(config, Fake::default(), Keys::of([key()]), clock());
    assert_eq!(second.unwrap_err().kind(), io::ErrorKind::AddrInUse);
}
