//! Which dialect a request is in: by its head and, on the path that several share, by its parameters; never by
//! what it asks for. The first rule that fits decides.

use hyper::{
    HeaderMap, Method, Uri,
    header::{AUTHORIZATION, HeaderName},
};

use crate::codec::form::Form;

/// All that there are. Those that nobody translates yet are recognised, so that their clients are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// API 2.0 of CMQ.
    Cmq,
    /// API 3.0 of CMQ.
    CmqThree,
    /// Amazon SQS in JSON.
    SqsJson,
    /// Amazon SQS in forms and XML.
    SqsQuery,
    /// Amazon SNS, which has forms and XML only.
    Sns,
}

impl Dialect {
    /// As metrics and the log name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Cmq => "cmq",
            Self::CmqThree => "cmq3",
            Self::SqsJson => "sqs-json",
            Self::SqsQuery => "sqs-query",
            Self::Sns => "sns",
        }
    }
}

/// What a head says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    In(Dialect),
    /// The path is one that several dialects share.
    ByParameters,
    /// The path is known, and the method is one that no dialect has.
    OtherMethod,
    /// An action, named as those of SQS in JSON are, of another service.
    OtherService,
    Nothing,
}

/// The paths that clients of CMQ's API 2.0 ask for, endpoints with a trailing slash included. A path is signed between
/// the host and the parameters without marks: each begins with `/` and none holds `?`.
pub(crate) const CMQ_PATHS: [&str; 4] = [
    "/v2/index.php",
    "//v2/index.php",
    "/v2/index.php/v2/index.php",
    SHARED,
];
/// The one of them that is not CMQ's alone.
const SHARED: &str = "/";

const TC_ACTION: HeaderName = HeaderName::from_static("x-tc-action");
const AMZ_TARGET: HeaderName = HeaderName::from_static("x-amz-target");
const SQS_TARGET: &[u8] = b"AmazonSQS.";
const AMZ_CREDENTIAL: &str = "X-Amz-Credential";
const SIGNATURE_V4: &[u8] = b"AWS4-HMAC-SHA256";

/// The values of `Version` by which SNS and SQS are told apart.
const SNS_VERSION: &[u8] = b"2010-03-31";
const SQS_VERSIONS: [&[u8]; 4] = [b"2012-11-05", b"2011-10-01", b"2009-02-01", b"2008-01-01"];

pub(crate) fn of_head(method: &Method, uri: &Uri, headers: &HeaderMap) -> Spoken {
    let path = uri.path();
    if !matches!(*method, Method::GET | Method::POST) {
        return if CMQ_PATHS.contains(&path) || path.is_empty() || path == "*" {
            Spoken::OtherMethod
        } else {
            Spoken::Nothing
        };
    }
    if path != SHARED && CMQ_PATHS.contains(&path) {
        return Spoken::In(Dialect::Cmq);
    }
    if let Some(target) = headers.get(AMZ_TARGET) {
        return if target.as_bytes().starts_with(SQS_TARGET) {
            Spoken::In(Dialect::SqsJson)
        } else {
            Spoken::OtherService
        };
    }
    if path == SHARED && headers.contains_key(TC_ACTION) {
        return Spoken::In(Dialect::CmqThree);
    }
    let query = uri.query().unwrap_or_default();
    let known = of_authorization(headers).or_else(|| of_query(query));
    match known {
        Some(dialect) => Spoken::In(dialect),
        None if path == SHARED => Spoken::ByParameters,
        None => Spoken::Nothing,
    }
}

/// Of a request on the path that dialects share, whose head does not tell.
pub(crate) fn of_parameters(form: &Form) -> Option<Dialect> {
    let value = |name: &[u8]| form.pairs().find(|(given, _)| *given == name);
    if let Some((_, version)) = value(b"Version") {
        return of_version(version).or(Some(Dialect::CmqThree));
    }
    if let Some((_, scope)) = value(AMZ_CREDENTIAL.as_bytes())
        && let Some(dialect) = of_scope(scope)
    {
        return Some(dialect);
    }
    value(b"Action").map(|_| Dialect::Cmq)
}

/// By the scope of a signature of version 4 in the header.
fn of_authorization(headers: &HeaderMap) -> Option<Dialect> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let text = std::str::from_utf8(value.strip_prefix(SIGNATURE_V4)?).ok()?;
    let (_, rest) = text.split_once("Credential=")?;
    let scope = rest.split([',', ' ']).next()?;
    of_scope(scope.as_bytes())
}

/// By the parameters of a link that is signed, or of one that is not signed at all.
fn of_query(query: &str) -> Option<Dialect> {
    let value = |name| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.find(|(given, _)| *given == name)?;
        Some(value)
    };
    let version = value("Version").and_then(|version| of_version(version.as_bytes()));
    version.or_else(|| of_scope(value(AMZ_CREDENTIAL)?.as_bytes()))
}

fn of_version(version: &[u8]) -> Option<Dialect> {
    if version == SNS_VERSION {
        Some(Dialect::Sns)
    } else if SQS_VERSIONS.contains(&version) {
        Some(Dialect::SqsQuery)
    } else {
        None
    }
}

/// By the service of a scope, `key/date/region/service/aws4_request`, whose slashes may be escaped.
fn of_scope(scope: &[u8]) -> Option<Dialect> {
    let text = std::str::from_utf8(scope).ok()?;
    let parts = text.rsplit('/').flat_map(|part| part.rsplit("%2F"));
    let mut parts = parts.flat_map(|part| part.rsplit("%2f"));
    if parts.next() != Some("aws4_request") {
        return None;
    }
    match parts.next() {
        Some("sqs") => Some(Dialect::SqsQuery),
        Some("sns") => Some(Dialect::Sns),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
