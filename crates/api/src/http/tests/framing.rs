//! How requests are framed, rightly and wrongly.

use super::*;

fn status(reply: &str) -> &str {
    reply.split(' ').nth(1).unwrap_or("none")
}

#[test]
fn expect_is_answered_and_for_a_body_too_large_it_is_not() {
    let world = world();
    let request = world.post(SEND);
    let (head, body) = request.split_once("\r\n\r\n").unwrap();
    let mut client = world.connect();
    client.say(&format!("{head}\r\nExpect: 100-continue\r\n\r\n"));
    let mut interim = [0; 25];
    client.0.read_exact(&mut interim).unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.say(body);
    assert!(client.answer().1.contains(r#""code":0,"#));
    let mut client = world.connect();
    client.say(&world.head("Content-Length: 99999999\r\nExpect: 100-continue\r\n\r\n"));
    let (head, body) = client.answer();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(body.contains("(10420)cannot parse body"), "{body}");
}

#[test]
fn chunked_bodies_work() {
    let world = world();
    let request = world.post(SEND);
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let (first, second) = body.split_at(20);
    let rest = second.len();
    let chunked = format!(
        "Transfer-Encoding: chunked\r\n\r\n14\r\n{first}\r\n{rest:x};note=1\r\n{second}\r\n0\r\nTrailer: x\r\n\r\n"
    );
    assert!(world.reply(&world.head(&chunked)).contains(r#""code":0,"#));
}

/// A signed request whose body comes in one chunk, with another line in its head.
fn chunked(world: &World, lines: &str) -> String {
    let request = world.post(SEND);
    let (_, body) = request.split_once("\r\n\r\n").unwrap();
    let length = body.len();
    world.head(&format!("{lines}\r\n{length:x}\r\n{body}\r\n0\r\n\r\n"))
}

#[test]
fn security_finding_6_a_length_beside_an_encoding_is_refused_in_either_order() {
    let world = world();
    let good = world.post(SEND);
    for lines in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        "Transfer-Encoding: chunked\r\nX: y\r\nCONTENT-LENGTH: abc\r\n",
        "content-length: 0\r\ntransfer-encoding: gzip, chunked\r\n",
    ] {
        let bad = chunked(&world, lines);
        let reply = world.reply(&bad);
        assert_eq!(status(&reply), "400", "{lines:?}: {reply}");
        assert!(reply.contains("connection: close\r\n"), "{reply}");
        assert!(world.fake.last().is_none());
        // Behind a request that is good, in the same write.
        let mut client = world.connect();
        client.say(&format!("{good}{bad}{good}"));
        let reply = client.rest();
        assert_eq!(reply.matches("HTTP/1.1 200 ").count(), 1, "{reply}");
        assert_eq!(reply.matches("HTTP/1.1 400 ").count(), 1, "{reply}");
        assert!(world.fake.last().is_some() && world.fake.last().is_none());
    }
}

#[test]
fn security_finding_16_a_line_of_a_head_that_ends_with_a_bare_line_feed_is_refused() {
    let world = world();
    let good = world.post(SEND);
    for bad in [
        good.replacen("\r\n", "\n", 1),
        good.replacen("\r\nContent-Length", "\nContent-Length", 1),
        good.replacen("\r\n\r\n", "\r\n\n", 1),
        good.replacen("\r\n\r\n", "\n\n", 1),
    ] {
        let reply = world.reply(&bad);
        assert_eq!(status(&reply), "400", "{bad:?}: {reply}");
        assert!(world.fake.last().is_none());
    }
}

#[test]
fn a_chunked_request_is_the_last_of_its_connection() {
    let world = world();
    let mut client = world.connect();
    client.say(&chunked(&world, "Transfer-Encoding: chunked\r\n"));
    let reply = client.rest();
    assert!(reply.contains("connection: close\r\n"), "{reply}");
    assert!(reply.contains(r#""code":0,"#), "{reply}");
}

#[test]
fn ambiguous_lengths_are_refused_and_nothing_follows_them() {
    let world = world();
    let smuggled = world.post(SEND);
    for framing in [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        "Content-Length: 5, 6\r\n\r\nabcdef",
        "Content-Length: -5\r\n\r\n",
        "Content-Length: +5\r\n\r\nabcde",
        "Content-Length: 99999999999999999999\r\n\r\n",
        "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n",
        "Transfer-Encoding: chunked\r\n\r\n1 x\r\na\r\n0\r\n\r\n",
    ] {
        let reply = world.reply(&(world.head(framing) + &smuggled));
        assert!(!reply.contains(r#""code":0,"#), "{framing:?}: {reply}");
        // At most the one answer that refuses.
        assert!(
            reply.matches("HTTP/1.1").count() <= 1,
            "{framing:?}: {reply}"
        );
    }
    assert!(world.fake.last().is_none());
}

#[test]
fn malformed_heads_are_refused() {
    let world = world();
    for request in [
        "POST /v2/index.php\r\n\r\n",
        "POST /v2/index.php HTTP/1.1\r\nHost: h\r\nA b: c\r\n\r\n",
        "POST /v2/index.php HTTP/1.1\r\nHost: h\r\nA: b\0c\r\n\r\n",
        "POST /v2/index.php HTTP/1.1\r\nHost: h\r\nA: b\r\n folded\r\n\r\n",
        "POST /v2/index.php HTTP/1.1\r\nHost : h\r\n\r\n",
        "P\0ST / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let reply = world.reply(request);
        assert!(
            ["400", "none"].contains(&status(&reply)),
            "{request:?}: {reply}"
        );
    }
}

#[test]
fn exactly_one_host_is_required() {
    let world = world();
    let none = "POST /v2/index.php HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&world.reply(none)), "400");
    let two = "POST /v2/index.php HTTP/1.1\r\nHost: a\r\nHost: b\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(status(&world.reply(two)), "400");
}

#[test]
fn what_is_no_host_is_refused() {
    let world = world();
    let padding = "n".repeat(254);
    for host in [
        "",
        " ",
        "a b",
        "h/../",
        "h?x",
        "h&y=1",
        "h@i",
        "h/v2/index.php?Action=x",
        "\u{e9}",
        "h:",
        "h:123456",
        "::1",
        "[::1",
        "h,i",
        &padding,
    ] {
        let reply = world.reply(&format!(
            "POST {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(status(&reply), "400", "{host:?}: {reply}");
        assert!(reply.contains("connection: close\r\n"), "{reply}");
    }
    let old = format!("POST {PATH} HTTP/1.0\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(status(&world.reply(&old)), "400");
}

#[test]
fn a_signature_does_not_serve_another_request_whose_beginning_is_moved_into_the_host() {
    let world = world();
    let host = world.server.address().to_string();
    // What the attacker wants is in the body that the victim sends; by the order of names it ends it.
    let rest =
        format!("Action=DeleteQueue&Nonce=1&SecretId={ID}&Timestamp={NOW}&queueName=payments");
    let body = format!("hello{PATH}?{rest}");
    let publish = [
        ("Action", "PublishMessage"),
        ("msgBody", body.as_str()),
        ("topicName", "news"),
    ];
    let victim = signed_for("POST", &host, PATH, &publish);
    let (_, signature) = victim.rsplit_once("&Signature=").unwrap();
    let moved = format!(
        "{host}{PATH}?Action=PublishMessage&Nonce=1&SecretId={ID}&Timestamp={NOW}&msgBody=hello"
    );
    let form = format!("{rest}&topicName=news&Signature={signature}");
    let length = form.len();
    let forged =
        format!("POST {PATH} HTTP/1.1\r\nHost: {moved}\r\nContent-Length: {length}\r\n\r\n{form}");
    let reply = world.reply(&forged);
    assert_eq!(status(&reply), "400", "{reply}");
    assert!(
        world.fake.last().is_none(),
        "nothing was asked of the service"
    );
}

#[test]
fn security_finding_8_a_push_whose_message_is_a_signed_request_is_not_carried_out() {
    let world = world();
    let push = world
        .post(SEND)
        .replace("Content-Length", "X-CMQ-Message-Id: 7\r\nContent-Length");
    let reply = world.reply(&push);
    assert_eq!(status(&reply), "403", "{reply}");
    assert!(world.fake.last().is_none());
}

#[test]
fn a_target_with_a_host_in_it_is_signed_over_the_header() {
    let world = world();
    let host = world.server.address();
    let request = world.post(SEND);
    let absolute = request.replace(PATH, &format!("http://evil.example{PATH}"));
    assert!(absolute.contains(&format!("Host: {host}")));
    assert!(world.reply(&absolute).contains(r#""code":0,"#));
}

#[test]
fn other_methods_are_named_in_the_answer() {
    let world = world();
    let host = world.server.address();
    for method in ["PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "BREW"] {
        let reply = world.reply(&format!("{method} {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let text = format!("(10410)unexpected http {method} only GET or POST is supported");
        assert!(
            reply.starts_with("HTTP/1.1 200 ") && reply.contains(&text),
            "{reply}"
        );
    }
    let head = world.reply(&format!("HEAD {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let options = world.reply(&format!("OPTIONS * HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(options.contains("(10410)"), "{options}");
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert_eq!(status(&world.reply(&connect)), "405");
}

#[test]
fn an_upgrade_is_not_taken() {
    let world = world();
    let request = world.post(SEND).replace(
        "Content-Length",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQ\r\nContent-Length",
    );
    let reply = world.reply(&request);
    assert!(reply.starts_with("HTTP/1.1 200 "), "{reply}");
}

/// Nobody reads such a body, so nothing can follow it, and a client that is not told would send its next request in vain.
#[test]
fn what_has_a_body_that_is_not_read_is_the_last_of_its_connection() {
    let world = world();
    let host = world.server.address().to_string();
    let query = signed_for("GET", &host, PATH, SEND);
    let get = format!("GET {PATH}?{query} HTTP/1.1\r\nHost: {host}");
    let api_three = format!("POST / HTTP/1.1\r\nHost: {host}\r\nX-TC-Action: SendMsg");
    for head in [get, api_three] {
        for (length, closes) in [(20_000, true), (0, false)] {
            let mut client = world.connect();
            client.say(&format!("{head}\r\nContent-Length: {length}\r\n\r\n"));
            let (answer, _) = client.answer();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            let says_so = answer.contains("connection: close\r\n");
            assert_eq!(says_so, closes, "{answer}");
        }
    }
}

#[test]
fn a_compressed_body_is_refused_with_a_reason() {
    let world = world();
    let reply = world
        .reply(&world.head("Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x0b\x08\x00"));
    assert!(
        reply.contains("(10420)cannot parse content encoding gzip,"),
        "{reply}"
    );
    let plain = world.post(SEND).replace(
        "Content-Length",
        "Content-Encoding: identity\r\nAccept-Encoding: UTF-8, gzip\r\nContent-Length",
    );
    let reply = world.reply(&plain);
    assert!(reply.contains(r#""code":0,"#), "{reply}");
    assert!(!reply.to_lowercase().contains("content-encoding"));
}

#[test]
fn a_get_without_a_query_is_read_from_its_body() {
    let world = world();
    let host = world.server.address().to_string();
    let form = signed_for("GET", &host, PATH, SEND);
    let length = form.len();
    let request =
        format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{form}");
    assert!(world.reply(&request).contains("\"code\":0"));
    let bare = format!("GET {PATH} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    assert!(world.reply(&bare).contains("(10280)"));
}

#[test]
fn requests_in_another_tongue_are_counted() {
    let world = world();
    let host = world.server.address();
    let request = format!("POST / HTTP/1.1\r\nHost: {host}\r\nX-TC-Action: X\r\n\r\n");
    world.reply(&request);
    assert_eq!(world.server.metrics().not_found(), 1);
}
