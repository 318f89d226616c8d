//! Heads with flaws, however their bytes come, and beside the library that serves them.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Request, Response, body::Incoming, header::TRANSFER_ENCODING, server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use proptest::{collection::vec, prelude::*, sample::select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
/// Its body looks like a head with two flaws.
const POST: &str = "\r\nPOST / HTTP/1.1\r\nHost: h\r\ncontent-LENGTH:\t62 \r\n\r\n\
    P / HTTP/1.1\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\n\n";

/// What is told of bytes that come in pieces of this size.
fn followed(text: &str, size: usize) -> Option<(u64, Last)> {
    let mut heads = Heads::new();
    let told: Vec<_> = text
        .as_bytes()
        .chunks(size)
        .filter_map(|piece| heads.follow(piece))
        .collect();
    assert!(told.len() <= 1, "{told:?}");
    told.first().copied()
}

#[test]
fn the_first_head_with_a_flaw_is_told_of_however_its_bytes_come() {
    for (head, last) in [
        ("Content-Length: 0\r\n\r\n", None),
        ("Transfer-Encoding: chunked\r\n\r\n", Some(Last::Chunked)),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
            Some(Last::UnclearLength),
        ),
        (
            "transfer-encoding: chunked\r\nX: y\r\ncontent-length: x\r\n\r\n",
            Some(Last::UnclearLength),
        ),
        ("Content-Length: x\r\n\r\n", Some(Last::UnclearLength)),
        ("X: y\nX: y\r\n\r\n", Some(Last::BareLineFeed)),
        ("X: y\r\n\n", Some(Last::BareLineFeed)),
        ("X: y\r\r\nContent-Length: 0\r\n\r\n", None),
        ("X-Content-Length: x\r\nTransfer-Encodings: x\r\n\r\n", None),
    ] {
        let text = format!("{PLAIN}{POST}{PLAIN}PUT / HTTP/1.1\r\n{head}{PLAIN}");
        for size in [1, 2, 3, 7, 64, 1_000] {
            let told = followed(&text, size);
            assert_eq!(told, last.map(|last| (3, last)), "{head:?} by {size}");
        }
    }
}

#[test]
fn a_length_too_long_to_be_kept_is_unclear() {
    let zeros = "0".repeat(100);
    let text = format!("GET / HTTP/1.1\r\nContent-Length: {zeros}5\r\n\r\n");
    assert_eq!(followed(&text, 9), Some((0, Last::UnclearLength)));
    let long = format!("GET / HTTP/1.1\r\nX: {zeros}\r\n\r\n");
    assert_eq!(followed(&long, 9), None);
}

/// Lines of a head, most of them right.
const LINES: &[&str] = &[
    "X: y\r\n",
    "X: y\n",
    "X: Content-Length: 3\r\n",
    "Content-Length: 5\r\n",
    "content-length:\t 5 \r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 11\r\n",
    "Content-Length: 0005\r\n",
    "Content-Length: +5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "TRANSFER-ENCODING: gzip, chunked\r\n",
    "Connection: keep-alive\r\n",
    "Expect: 100-continue\r\n",
    " folded\r\n",
];
/// What can stand where a request ends: bodies, some of which look like heads.
const BODIES: &[&str] = &[
    "",
    "hello",
    "\r\n",
    "\n\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "0\r\n\r\n",
    "A\r\n\r\n",
    "A\r\nB: c\r\n\r\n",
];

fn request() -> impl Strategy<Value = String> {
    let head = (
        select(&["GET", "POST"][..]),
        vec(select(LINES), 0..4),
        select(&["\r\n", "\r\n", "\n"][..]),
        select(BODIES),
    );
    head.prop_map(|(method, lines, end, body)| {
        format!(
            "{method} / HTTP/1.1\r\nHost: h\r\n{}{end}{body}",
            lines.concat()
        )
    })
}

/// Of each request that the library gives to be served, whether its body comes in chunks.
async fn served(text: &str) -> Vec<bool> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    client.write_all(text.as_bytes()).await.unwrap();
    client.shutdown().await.unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let service = service_fn(|request: Request<Incoming>| {
        let is_chunked = request.headers().contains_key(TRANSFER_ENCODING);
        seen.lock().unwrap().push(is_chunked);
        async move {
            request.collect().await.ok();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        }
    });
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(server), service);
    let answers = async { client.read_to_end(&mut Vec::new()).await };
    let (ended, answers) = tokio::join!(connection, answers);
    // A broken request ends it with an error.
    drop((ended, answers));
    let seen = seen.lock().unwrap();
    seen.clone()
}

proptest! {
    #[test]
    fn no_request_in_chunks_is_served_whose_head_was_not_seen_here(
        requests in vec(request(), 1..5),
        size in 1_usize..80,
    ) {
        let text = requests.concat();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let served = runtime.block_on(served(&text));
        let followed = followed(&text, size);
        for (number, is_chunked) in served.into_iter().enumerate() {
            let number = number as u64;
            match followed {
                Some((last, _)) if last == number => break,
                _ => prop_assert!(!is_chunked, "{number} of {text:?}: {followed:?}"),
            }
        }
    }
}
