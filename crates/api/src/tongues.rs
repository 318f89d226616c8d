//! Who answers whom: one `match` from the dialect of a request to the tongue that has words for it.

use anser_broker::service::Service;
use bytes::Bytes;
use hyper::{
    HeaderMap, Method, StatusCode,
    header::{self, HeaderName, HeaderValue},
};

use crate::{
    cmq::{
        dialect::{self as cmq, Cmq},
        errors::{Fault, Refusal},
    },
    codec::form::Form,
    dialect::{self, Dialect, Spoken},
    front::Front,
    http::{BodyLimit, Handler, Head, Request, Response, Unread, closing, response},
    not_yet::{self, NotYet},
    record::Arrival,
};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NOT_FOUND: &[u8] = br#"{"message":"there is nothing at this path"}"#;
const IS_PUSH: &[u8] = br#"{"message":"a push of a subscription is no request"}"#;
/// A header of every push that a server of ours makes.
const PUSH: HeaderName = HeaderName::from_static("x-cmq-message-id");

const AMZ_REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
const AMZ_QUERY_ERROR: HeaderName = HeaderName::from_static("x-amzn-query-error");

#[derive(Debug)]
pub(crate) struct Tongues<S> {
    pub(crate) front: Front<S>,
    pub(crate) cmq: Cmq,
    /// Bytes of one body as it comes over the wire.
    pub(crate) body_bytes: usize,
}

/// Whom a head belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Cmq,
    /// The parameters decide.
    ByParameters,
}

impl<S: Service> Handler for Tongues<S> {
    type Known = Known;

    fn accepts(&self, head: &Head<'_>) -> Result<(Known, BodyLimit), Box<Response>> {
        let known = self.known(head)?;
        if is_in_query(head) {
            return Ok((known, BodyLimit::NotRead));
        }
        match content_encoding(head.headers) {
            Some(encoding) => {
                let what = [b"content encoding ", encoding].concat();
                let refusal = Refusal::about(Fault::Unparsable, &what);
                Err(Box::new(self.refuse(head, &refusal)))
            }
            None => Ok((known, BodyLimit::Bytes(self.body_bytes))),
        }
    }

    async fn handle(&self, known: Known, request: Request<'_>) -> Response {
        let head = request.head;
        let form = match request.body {
            Err(unread) => return self.refuse(head, &unread.into()),
            Ok(_) if is_in_query(head) => {
                let query = head.uri.query().unwrap_or_default();
                Bytes::copy_from_slice(query.as_bytes())
            }
            Ok(body) => body,
        };
        let form = Form::parse(form);
        if known == Known::ByParameters
            && let Ok(form) = &form
        {
            match dialect::of_parameters(form) {
                Some(Dialect::Cmq) => {}
                Some(other) => return self.not_yet(head, other),
                None => {
                    self.front.not_spoken();
                    let text = Bytes::from_static(NOT_FOUND);
                    return response(StatusCode::NOT_FOUND, JSON, text);
                }
            }
        }
        let asked = cmq::Request {
            post: head.method == Method::POST,
            host: &head.host,
            path: head.uri.path(),
            presence: request.presence,
            arrival: arrival(head),
        };
        let answer = self.cmq.answer(&self.front, &asked, form).await;
        response(StatusCode::OK, JSON, answer)
    }
}

impl<S: Service> Tongues<S> {
    /// Whom a head belongs to, or the answer if that needs no body.
    fn known(&self, head: &Head<'_>) -> Result<Known, Box<Response>> {
        // A message that is pushed here could be a signed request, which would publish the next such message.
        if head.headers.contains_key(PUSH) {
            return Err(Box::new(self.nothing(StatusCode::FORBIDDEN, IS_PUSH)));
        }
        let answer = match dialect::of_head(head.method, head.uri, head.headers) {
            Spoken::In(Dialect::Cmq) => return Ok(Known::Cmq),
            Spoken::ByParameters => return Ok(Known::ByParameters),
            Spoken::In(other) => self.not_yet(head, other),
            Spoken::OtherMethod => self.unexpected(head),
            Spoken::OtherService => self.other_service(),
            Spoken::Nothing => self.nothing(StatusCode::NOT_FOUND, NOT_FOUND),
        };
        Err(Box::new(answer))
    }

    /// What is no request in any dialect.
    fn nothing(&self, status: StatusCode, text: &'static [u8]) -> Response {
        self.front.not_spoken();
        closing(response(status, JSON, Bytes::from_static(text)))
    }

    /// In CMQ's words.
    fn refuse(&self, head: &Head<'_>, refusal: &Refusal) -> Response {
        let answer = cmq::refuse_unread(&self.front, arrival(head), refusal);
        response(StatusCode::OK, JSON, answer)
    }

    /// To other methods CMQ answers as to all mistakes, with one exception: a success would make
    /// `CONNECT` a tunnel.
    fn unexpected(&self, head: &Head<'_>) -> Response {
        let method = head.method.as_str().as_bytes();
        let refusal = Refusal::about(Fault::MethodUnexpected, method);
        let mut response = self.refuse(head, &refusal);
        if *head.method == Method::CONNECT {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        response
    }

    fn not_yet(&self, head: &Head<'_>, dialect: Dialect) -> Response {
        let record = self.front.arrived(dialect, arrival(head));
        let answer = not_yet::answer(dialect, record.request);
        let answer = answer.expect("what is spoken is answered by its tongue");
        self.front.answered(&record, 0);
        let mut response = written(answer);
        if dialect != Dialect::CmqThree {
            let number = record.request.to_string();
            let number = HeaderValue::from_str(&number).expect("digits are a header's value");
            response.headers_mut().insert(AMZ_REQUEST_ID, number);
        }
        response
    }

    fn other_service(&self) -> Response {
        self.front.not_spoken();
        written(not_yet::other_service())
    }
}

fn written(answer: NotYet) -> Response {
    let status = StatusCode::from_u16(answer.status).expect("a status of HTTP");
    let content_type = HeaderValue::from_static(answer.content_type);
    let mut response = response(status, content_type, answer.body);
    if let Some(error) = answer.query_error {
        let error = HeaderValue::from_static(error);
        response.headers_mut().insert(AMZ_QUERY_ERROR, error);
    }
    response
}

fn arrival(head: &Head<'_>) -> Arrival {
    Arrival {
        started: head.started,
        source: head.source,
    }
}

/// Whether the parameters are in the target. The Python client, once its connection broke, sends the form of a GET
/// as a body.
fn is_in_query(head: &Head<'_>) -> bool {
    let query = head.uri.query().unwrap_or_default();
    head.method != Method::POST && !query.is_empty()
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
