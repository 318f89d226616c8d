//! Tags and keys: CMQ's bounds, which are narrower than the core's.

use anser_broker::labels::{RoutingKey, Tag};

use super::limits;
use crate::cmq::errors::Fault;

pub(super) fn is_tag(value: &[u8]) -> bool {
    let text = std::str::from_utf8(value);
    text.is_ok_and(|text| text.chars().count() <= limits::TAG_CHARACTERS && Tag::new(text).is_ok())
}

/// A binding key is written like a routing key.
pub(super) fn check_key(value: &[u8]) -> Result<(), Fault> {
    if value.len() > limits::KEY_BYTES {
        return Err(Fault::OutOfRange);
    }
    if memchr::memchr_iter(b'.', value).count() > limits::KEY_DOTS {
        return Err(Fault::TooManyDots);
    }
    let key = std::str::from_utf8(value).map(RoutingKey::new);
    match key {
        Ok(Ok(_)) => Ok(()),
        _ => Err(Fault::OutOfRange),
    }
}
