//! What the port asks of whoever answers requests.

use std::{future::Future, net::IpAddr, time::Instant};

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    HeaderMap, Method, StatusCode, Uri,
    header::{self, HeaderValue},
};

use super::body::Unread;
use crate::{auth::host::Host, presence::Presence};

const SERVER: HeaderValue = HeaderValue::from_static("anser");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

pub(crate) type Response = hyper::Response<Full<Bytes>>;

/// A request before its body, which is framed well and for one host.
#[derive(Debug)]
pub(crate) struct Head<'a> {
    pub(crate) started: Instant,
    /// The network that the request is from.
    pub(crate) source: IpAddr,
    /// Of its header, which clients sign, and never of its target.
    pub(crate) host: Host<'a>,
    pub(crate) method: &'a Method,
    pub(crate) uri: &'a Uri,
    pub(crate) headers: &'a HeaderMap,
}

#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) head: &'a Head<'a>,
    /// Empty if the handler wants none.
    pub(crate) body: Result<Bytes, Unread>,
    /// Of who asks.
    pub(crate) presence: &'a Presence,
}

/// How much of a body is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BodyLimit {
    /// What comes nevertheless is not heard, and ends the connection.
    NotRead,
    Bytes(usize),
}

/// Answers the requests of a port.
pub(crate) trait Handler: Send + Sync + 'static {
    /// What it makes of a head.
    type Known: Copy + Send;

    /// Looks at a head: what it makes of it, or the answer whatever the body is.
    fn accepts(&self, head: &Head<'_>) -> Result<(Self::Known, BodyLimit), Box<Response>>;

    fn handle(
        &self,
        known: Self::Known,
        request: Request<'_>,
    ) -> impl Future<Output = Response> + Send;
}

pub(crate) fn response(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::SERVER, SERVER);
    response
}

/// No other request follows on the connection.
pub(crate) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, CLOSE);
    response
}
