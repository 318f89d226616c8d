//! From an HTTP request to a dialect and back.

use std::{sync::Arc, time::Instant};

use anser_broker::service::Service;
use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Body, Incoming},
    header::{self, HeaderValue},
    http::request::Parts,
};

use super::{
    Edge,
    body::{self, Unread},
    heads::Last,
    link::{Link, Phase},
};
use crate::{
    auth::host::Host,
    cmq::{
        dialect::{self, Answer, AnswerKind},
        errors::{Fault, Refusal},
    },
    metrics::add,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const SERVER: HeaderValue = HeaderValue::from_static("anser");
const CLOSE: HeaderValue = HeaderValue::from_static("close");
const NOT_FOUND: &[u8] = br#"{"message":"there is nothing at this path"}"#;
const BAD_HOST: &[u8] =
    br#"{"message":"one Host header is required, with a name or an address and perhaps a port"}"#;
const BAD_LENGTH: &[u8] =
    br#"{"message":"Content-Length is a number, and Transfer-Encoding does not stand beside it"}"#;
const BAD_LINE: &[u8] =
    br#"{"message":"each line of a request's head ends with a carriage return and a line feed"}"#;

const IS_PUSH: &[u8] = br#"{"message":"a push of a subscription is no request"}"#;

/// A header of every push that a server of ours makes.
const PUSH: &str = "x-cmq-message-id";

type HttpResponse = Response<Full<Bytes>>;

pub(super) async fn respond<S: Service>(
    edge: &Arc<Edge<S>>,
    link: &Link,
    request: Request<Incoming>,
) -> HttpResponse {
    let started = Instant::now();
    link.enter(Phase::Work);
    let (head, body) = request.into_parts();
    let has_body = !body.is_end_stream();
    let last = link.begin_request();
    let response = match last.map_or(Ok(()), framing).and_then(|()| route(&head)) {
        Ok(Route::Cmq(host)) => {
            let (answer, heard) = cmq(edge, link, &head, host, body).await;
            closing_unless(heard, words(edge, answer, started))
        }
        Ok(Route::Method) => {
            let method = head.method.as_str().as_bytes();
            let refusal = Refusal::about(Fault::MethodUnexpected, method);
            let response = words(edge, edge.cmq.refuse(&refusal), started);
            unexpected(&head.method, response)
        }
        Ok(Route::ApiThree) => {
            add(&edge.metrics.not_found, 1);
            closing_unless(!has_body, json(StatusCode::OK, edge.cmq.not_spoken()))
        }
        Err((status, text)) => {
            add(&edge.metrics.not_found, 1);
            closing(json(status, Bytes::from_static(text)))
        }
    };
    link.enter(Phase::Write);
    let goes_on = last.is_none() && edge.stop.borrow().is_none();
    closing_unless(goes_on, response)
}

enum Route<'a> {
    Cmq(Host<'a>),
    /// A method that no dialect knows.
    Method,
    ApiThree,
}

type Misframed = (StatusCode, &'static [u8]);

/// Whether what is the last request of its connection is one at all.
fn framing(last: Last) -> Result<(), Misframed> {
    match last {
        Last::Chunked => Ok(()),
        Last::UnclearLength => Err((StatusCode::BAD_REQUEST, BAD_LENGTH)),
        Last::BareLineFeed => Err((StatusCode::BAD_REQUEST, BAD_LINE)),
    }
}

fn route(head: &Parts) -> Result<Route<'_>, Misframed> {
    let headers = &head.headers;
    // A message that is pushed here could be a signed request, which would publish the next such message.
    if headers.contains_key(PUSH) {
        return Err((StatusCode::FORBIDDEN, IS_PUSH));
    }
    let host = only_host(headers).ok_or((StatusCode::BAD_REQUEST, BAD_HOST))?;
    let is_known = matches!(head.method, Method::GET | Method::POST);
    let path = head.uri.path();
    if !is_known && (dialect::PATHS.contains(&path) || path.is_empty() || path == "*") {
        return Ok(Route::Method);
    }
    if !dialect::PATHS.contains(&path) {
        return Err((StatusCode::NOT_FOUND, NOT_FOUND));
    }
    if path == "/" && headers.contains_key("x-tc-action") {
        return Ok(Route::ApiThree);
    }
    Ok(Route::Cmq(host))
}

/// The host that a request is for: of its header, which clients sign, and never of its target.
fn only_host(headers: &HeaderMap) -> Option<Host<'_>> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() {
        return None;
    }
    Host::read(host.as_bytes()).ok()
}

/// The answer of CMQ, and whether the request was heard to its end.
async fn cmq<S: Service>(
    edge: &Edge<S>,
    link: &Link,
    head: &Parts,
    host: Host<'_>,
    body: Incoming,
) -> (Answer, bool) {
    let post = head.method == Method::POST;
    let network = edge.proxies.client(link.source, &head.headers);
    let mut taken = edge.bodies.nothing(network);
    let query = head.uri.query().unwrap_or_default();
    let mut heard = true;
    // The Python client, once its connection broke, sends the form of a GET as a body.
    let form = if post || query.is_empty() {
        if let Some(encoding) = content_encoding(&head.headers) {
            let what = [b"content encoding ", encoding].concat();
            let refusal = Refusal::about(Fault::Unparsable, &what);
            return (edge.cmq.refuse(&refusal), false);
        }
        link.enter(Phase::Body);
        let form = body::read(body, edge.limits.body_bytes, &mut taken).await;
        link.enter(Phase::Work);
        match form {
            Ok(form) => form,
            Err(unread) => return (edge.cmq.refuse(&unread.into()), false),
        }
    } else {
        heard = body.is_end_stream();
        Bytes::copy_from_slice(query.as_bytes())
    };
    let request = dialect::Request {
        post,
        host,
        path: head.uri.path(),
        form,
        presence: &link.presence,
    };
    (edge.cmq.answer(request).await, heard)
}

/// An encoding that a body would have to be decoded from.
fn content_encoding(headers: &HeaderMap) -> Option<&[u8]> {
    headers
        .get_all(header::CONTENT_ENCODING)
        .iter()
        .map(HeaderValue::as_bytes)
        .find(|encoding| !encoding.is_empty() && !encoding.eq_ignore_ascii_case(b"identity"))
}

impl From<Unread> for Refusal {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::TooLarge | Unread::Broken => Self::about(Fault::Unparsable, b"body"),
            Unread::Busy => Fault::Throttled.into(),
        }
    }
}

fn words<S: Service>(edge: &Edge<S>, answer: Answer, started: Instant) -> HttpResponse {
    match answer.kind {
        AnswerKind::Action { action, fault } => {
            edge.metrics.answered(action, fault, started.elapsed());
            json(StatusCode::OK, answer.json)
        }
        AnswerKind::NotSpoken => {
            add(&edge.metrics.not_found, 1);
            json(StatusCode::OK, answer.json)
        }
        AnswerKind::NotOurs => {
            add(&edge.metrics.not_found, 1);
            json(StatusCode::NOT_FOUND, Bytes::from_static(NOT_FOUND))
        }
    }
}

/// To other methods CMQ answers as to all mistakes, with one exception: a success would make
/// `CONNECT` a tunnel.
fn unexpected(method: &Method, mut response: HttpResponse) -> HttpResponse {
    if *method == Method::CONNECT {
        *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    }
    closing(response)
}

fn json(status: StatusCode, body: Bytes) -> HttpResponse {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, JSON);
    headers.insert(header::SERVER, SERVER);
    response
}

fn closing_unless(goes_on: bool, response: HttpResponse) -> HttpResponse {
    if goes_on { response } else { closing(response) }
}

/// What was not heard to its end cannot be followed by another request.
fn closing(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(header::CONNECTION, CLOSE);
    response
}
