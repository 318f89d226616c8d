//! From an HTTP request to the handler and back.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use hyper::{
    HeaderMap, Request, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderValue},
};

use super::{
    Edge, body,
    handler::{self, BodyLimit, Handler, Head, Response, closing, response},
    heads::Last,
    link::{Link, Phase},
};
use crate::{auth::host::Host, metrics::add};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const BAD_HOST: &[u8] =
    br#"{"message":"one Host header is required, with a name or an address and perhaps a port"}"#;
const BAD_LENGTH: &[u8] =
    br#"{"message":"Content-Length is a number, and Transfer-Encoding does not stand beside it"}"#;
const BAD_LINE: &[u8] =
    br#"{"message":"each line of a request's head ends with a carriage return and a line feed"}"#;

pub(super) async fn respond<H: Handler>(
    edge: &Arc<Edge<H>>,
    link: &Link,
    request: Request<Incoming>,
) -> Response {
    let started = Instant::now();
    link.enter(Phase::Work);
    let (head, body) = request.into_parts();
    let last = link.begin_request();
    let host = last
        .map_or(Ok(()), framing)
        .and_then(|()| only_host(&head.headers));
    let response = match host {
        Ok(host) => {
            let head = Head {
                started,
                source: edge.proxies.client(link.source, &head.headers),
                host,
                method: &head.method,
                uri: &head.uri,
                headers: &head.headers,
            };
            answer(edge, link, &head, body).await
        }
        Err(text) => {
            add(&edge.metrics.not_found, 1);
            let text = Bytes::from_static(text);
            closing(response(StatusCode::BAD_REQUEST, JSON, text))
        }
    };
    link.enter(Phase::Write);
    let goes_on = last.is_none() && edge.stop.borrow().is_none();
    closing_unless(goes_on, response)
}

/// Reads of the body what the handler wants; what was not heard to its end cannot be followed by another request.
async fn answer<H: Handler>(
    edge: &Edge<H>,
    link: &Link,
    head: &Head<'_>,
    body: Incoming,
) -> Response {
    let (known, limit) = match edge.handler.accepts(head) {
        Ok(accepted) => accepted,
        Err(response) => return closing_unless(body.is_end_stream(), *response),
    };
    let mut taken = edge.bodies.nothing(head.source);
    let (heard, body) = match limit {
        BodyLimit::NotRead => (body.is_end_stream(), Ok(Bytes::new())),
        BodyLimit::Bytes(most) => {
            link.enter(Phase::Body);
            let body = body::read(body, most, &mut taken).await;
            link.enter(Phase::Work);
            (body.is_ok(), body)
        }
    };
    let request = handler::Request {
        head,
        body,
        presence: &link.presence,
    };
    closing_unless(heard, edge.handler.handle(known, request).await)
}

/// Whether what is the last request of its connection is one at all.
fn framing(last: Last) -> Result<(), &'static [u8]> {
    match last {
        Last::Chunked => Ok(()),
        Last::UnclearLength => Err(BAD_LENGTH),
        Last::BareLineFeed => Err(BAD_LINE),
    }
}

/// The host that a request is for: of its header, which clients sign, and never of its target.
fn only_host(headers: &HeaderMap) -> Result<Host<'_>, &'static [u8]> {
    let mut hosts = headers.get_all(header::HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Host::read(host.as_bytes()).map_err(|_| BAD_HOST),
        _ => Err(BAD_HOST),
    }
}

fn closing_unless(goes_on: bool, response: Response) -> Response {
    if goes_on { response } else { closing(response) }
}
