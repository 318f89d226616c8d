//! What fuzz targets call. Each function takes any bytes and panics if a promise is broken.

use std::fmt::Write;

use anser_broker::op::EndpointName;
use bytes::Bytes;

use crate::{
    cmq::{
        action::Action,
        ambiguity::{self, Cut, may_precede},
        endpoint,
        message::{BatchSendMessage, SendMessage},
        parameters::{Arguments, Field},
        publish::{BatchPublishMessage, PublishMessage},
        subscription::{SetSubscriptionAttributes, Subscribe},
    },
    codec::form::{Form, NAME_BYTES_MAX},
};

/// The actions in which a value may hold `&`.
const FREE: &[&[Field]] = &[
    SendMessage::FIELDS,
    BatchSendMessage::FIELDS,
    PublishMessage::FIELDS,
    BatchPublishMessage::FIELDS,
    Subscribe::FIELDS,
    SetSubscriptionAttributes::FIELDS,
];

/// A form that is taken apart and put together again holds the same parameters.
pub fn form(bytes: &[u8]) {
    let Ok(form) = Form::parse(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    let pairs: Vec<_> = form.pairs().collect();
    // Each byte takes three when it is escaped.
    if pairs
        .iter()
        .any(|(name, _)| name.len() * 3 > NAME_BYTES_MAX)
    {
        return;
    }
    let encoded: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)))
        .collect();
    let again = Form::parse(encoded.join("&").into()).expect("what was encoded is a form");
    assert_eq!(again.pairs().collect::<Vec<_>>(), pairs);
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "%{byte:02x}").expect("a string takes all text");
        text
    })
}

/// A set of parameters that an action accepts is the one into which its signed text alone is cut, so
/// no other set with this text is accepted.
pub fn canonical(bytes: &[u8]) {
    let Ok(form) = Form::parse(Bytes::copy_from_slice(bytes)) else {
        return;
    };
    for fields in FREE {
        let is_read = Arguments::read(&form, fields).is_ok();
        if is_read && ambiguity::check(&form, fields).is_ok() {
            let parameters: Vec<_> = form.pairs().map(signed).collect();
            assert_eq!(cut(&parameters.join(&b'&'), fields), parameters);
        }
    }
}

/// A parameter as it is signed.
fn signed((name, value): (&[u8], &[u8])) -> Vec<u8> {
    let dotted = |byte: &u8| if *byte == b'_' { b'.' } else { *byte };
    let name: Vec<_> = name.iter().map(dotted).collect();
    [&name, &b"="[..], value].concat()
}

/// Cuts a signed text into parameters, knowing nothing but the action's fields.
fn cut(text: &[u8], fields: &[Field]) -> Vec<Vec<u8>> {
    let pieces = beginnings(text);
    let cut = Cut::of(fields).expect("the action has a free field");
    let Some(first) = pieces.iter().position(|piece| cut.begins_free(piece)) else {
        return pieces;
    };
    let end = end_of_free(&pieces, first, cut);
    let mut parameters = pieces[..=first].to_vec();
    for piece in &pieces[first + 1..end] {
        match parameters.last_mut() {
            Some(last) if !(cut.has_list() && cut.begins_free(piece)) => {
                last.push(b'&');
                last.extend_from_slice(piece);
            }
            _ => parameters.push(piece.clone()),
        }
    }
    parameters.extend_from_slice(&pieces[end..]);
    parameters
}

/// A signed text, parted at each `&` that an `=` follows before the next: no parameter is signed without
/// one.
fn beginnings(text: &[u8]) -> Vec<Vec<u8>> {
    let mut parts: Vec<Vec<u8>> = Vec::new();
    for piece in text.split(|byte| *byte == b'&') {
        match parts.last_mut() {
            Some(last) if !piece.contains(&b'=') => {
                last.push(b'&');
                last.extend_from_slice(piece);
            }
            _ => parts.push(piece.to_vec()),
        }
    }
    parts
}

/// Where, seen from the right, the pieces begin that read like following parameters in their order.
fn end_of_free(pieces: &[Vec<u8>], first: usize, cut: Cut<'_>) -> usize {
    let (mut end, mut next) = (pieces.len(), None);
    while end > first + 1 {
        match cut.begun_follower(&pieces[end - 1]) {
            Some(field) if may_precede(field, next) => next = Some(field),
            _ => break,
        }
        end -= 1;
    }
    end
}

/// A URL that is accepted is kept as it is, and the HTTP library sees no other host in it.
pub fn endpoint(bytes: &[u8]) {
    endpoint::read(b"queue", bytes).ok();
    let Ok(EndpointName::Http { url }) = endpoint::read(b"http", bytes) else {
        return;
    };
    assert_eq!(url.as_bytes(), bytes);
    assert!(url.bytes().all(|byte| byte.is_ascii_graphic()));
    let seen: hyper::Uri = url.parse().expect("a checked URL is one");
    let authority = seen.authority().expect("a checked URL has a host");
    let (_, rest) = url.split_once("://").expect("a checked URL has a scheme");
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    assert_eq!(authority.as_str(), &rest[..end]);
    assert!(!authority.as_str().contains('@') && !authority.host().is_empty());
    assert_ne!(authority.port_u16(), Some(0));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_keep_the_promises(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            super::form(&bytes);
            super::canonical(&bytes);
            super::endpoint(&bytes);
        }

        #[test]
        fn forms_full_of_marks_keep_the_promises(text in "[a=&%_.+0-9 ]{0,60}") {
            super::form(text.as_bytes());
        }

        #[test]
        fn urls_full_of_marks_keep_the_promises(rest in "[a0:/?#@%.\\[\\]\\\\&=;-]{0,30}") {
            super::endpoint(format!("http://{rest}").as_bytes());
            super::endpoint(format!("https://h{rest}").as_bytes());
        }
    }
}
