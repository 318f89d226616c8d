//! What a published message carries beside its body, and what subscriptions choose by.
//!
//! A published body is stored with its labels before it, as one text of bytes: whoever delivers it
//! long after needs them. `docs/formats/batch.md` draws it.

use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::limits;

/// A word on a message. 1 to [`limits::TAG_CHARACTERS_MAX`] characters and at most 255 bytes, none of
/// them a control character. Compared byte by byte.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct Tag(Box<str>);

/// Words divided by dots, at most [`limits::KEY_BYTES_MAX`] bytes and [`limits::KEY_DOTS_MAX`] dots,
/// no control characters. Not empty, though a word of it may be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct RoutingKey(Box<str>);

/// A routing key in which a word `*` stands for exactly one word that is not empty, and `#` for any
/// number of words, none included.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "Box<str>", into = "Box<str>")]
pub struct BindingKey(Box<str>);

/// Why a text is no tag or key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotALabel {
    #[error("it is empty")]
    Empty,
    #[error("it is too long")]
    TooLong,
    #[error("it has too many dots")]
    TooManyDots,
    #[error("it holds a control character")]
    ControlCharacter,
}

impl Tag {
    pub fn new(text: &str) -> Result<Self, NotALabel> {
        check_characters(text)?;
        if text.chars().count() > limits::TAG_CHARACTERS_MAX || text.len() > usize::from(u8::MAX) {
            return Err(NotALabel::TooLong);
        }
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl RoutingKey {
    pub fn new(text: &str) -> Result<Self, NotALabel> {
        check_key(text)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl BindingKey {
    pub fn new(text: &str) -> Result<Self, NotALabel> {
        check_key(text)?;
        Ok(Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// From and to text, for words between nodes.
macro_rules! texts {
    ($($label:ident),*) => {
        $(
            impl TryFrom<Box<str>> for $label {
                type Error = NotALabel;

                fn try_from(text: Box<str>) -> Result<Self, NotALabel> {
                    Self::new(&text)
                }
            }

            impl From<$label> for Box<str> {
                fn from(label: $label) -> Self {
                    label.0
                }
            }
        )*
    };
}

texts!(Tag, RoutingKey, BindingKey);

fn check_characters(text: &str) -> Result<(), NotALabel> {
    if text.is_empty() {
        return Err(NotALabel::Empty);
    }
    if text.chars().any(char::is_control) {
        return Err(NotALabel::ControlCharacter);
    }
    Ok(())
}

fn check_key(text: &str) -> Result<(), NotALabel> {
    check_characters(text)?;
    if text.len() > limits::KEY_BYTES_MAX {
        return Err(NotALabel::TooLong);
    }
    if text.bytes().filter(|byte| *byte == b'.').count() > limits::KEY_DOTS_MAX {
        return Err(NotALabel::TooManyDots);
    }
    Ok(())
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A message's tags and routing key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Labels {
    /// At most [`limits::TAGS_MAX`].
    pub tags: Vec<Tag>,
    pub routing_key: Option<RoutingKey>,
}

/// A published message as it is stored: labels, then the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub labels: Labels,
    pub body: Bytes,
}

impl Published {
    /// The stored form.
    ///
    /// # Panics
    /// If there are more tags than [`limits::TAGS_MAX`].
    pub fn seal(labels: &Labels, body: &[u8]) -> Bytes {
        assert!(
            labels.tags.len() <= limits::TAGS_MAX,
            "the tags were counted before"
        );
        let mut bytes = BytesMut::with_capacity(sealed_bytes(labels) + body.len());
        put_count(&mut bytes, labels.tags.len());
        for tag in &labels.tags {
            put_text(&mut bytes, tag.as_str());
        }
        let key = labels.routing_key.as_ref();
        put_text(&mut bytes, key.map_or("", RoutingKey::as_str));
        bytes.put_slice(body);
        bytes.freeze()
    }

    /// The message of a stored form; its body is a slice of it. `None` if these bytes are no such
    /// form.
    pub fn open(sealed: &Bytes) -> Option<Self> {
        let (labels, body) = split(sealed)?;
        Some(Self {
            labels,
            body: sealed.slice_ref(body),
        })
    }
}

/// A stored form as its labels and its body.
pub(crate) fn split(sealed: &[u8]) -> Option<(Labels, &[u8])> {
    let (&count, mut rest) = sealed.split_first()?;
    if usize::from(count) > limits::TAGS_MAX {
        return None;
    }
    let mut tags = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let text;
        (text, rest) = take_text(rest)?;
        tags.push(Tag::new(text).ok()?);
    }
    let (key, body) = take_text(rest)?;
    let routing_key = match key {
        "" => None,
        key => Some(RoutingKey::new(key).ok()?),
    };
    Some((Labels { tags, routing_key }, body))
}

fn take_text(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let (&length, rest) = bytes.split_first()?;
    let (text, rest) = rest.split_at_checked(usize::from(length))?;
    Some((std::str::from_utf8(text).ok()?, rest))
}

fn sealed_bytes(labels: &Labels) -> usize {
    let tags = labels.tags.iter().map(|tag| 1 + tag.as_str().len());
    let key = labels.routing_key.as_ref();
    1 + tags.sum::<usize>() + 1 + key.map_or(0, |key| key.as_str().len())
}

fn put_text(bytes: &mut BytesMut, text: &str) {
    put_count(bytes, text.len());
    bytes.put_slice(text.as_bytes());
}

fn put_count(bytes: &mut BytesMut, count: usize) {
    bytes.put_u8(u8::try_from(count).expect("tags and keys are at most 255 bytes long"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sealed_is_opened() {
        let labels = Labels {
            tags: vec![Tag::new("红").unwrap(), Tag::new("a, b").unwrap()],
            routing_key: Some(RoutingKey::new("usa.ca.").unwrap()),
        };
        for labels in [labels, Labels::default()] {
            let sealed = Published::seal(&labels, b"body");
            let opened = Published::open(&sealed).unwrap();
            assert_eq!(opened.labels, labels);
            assert_eq!(&opened.body[..], b"body");
            for length in 0..sealed.len() - b"body".len() {
                assert_eq!(Published::open(&sealed.slice(..length)), None);
            }
        }
    }

    #[test]
    fn labels_have_bounds() {
        assert_eq!(Tag::new(""), Err(NotALabel::Empty));
        assert_eq!(Tag::new("a\r\nb"), Err(NotALabel::ControlCharacter));
        assert_eq!(Tag::new(&"é".repeat(65)), Err(NotALabel::TooLong));
        assert!(Tag::new(&"é".repeat(64)).is_ok());
        assert_eq!(Tag::new(&"😀".repeat(64)), Err(NotALabel::TooLong));
        assert_eq!(RoutingKey::new(&"a".repeat(65)), Err(NotALabel::TooLong));
        assert_eq!(
            RoutingKey::new(&".".repeat(16)),
            Err(NotALabel::TooManyDots)
        );
        assert!(BindingKey::new(&".".repeat(15)).is_ok());
        assert_eq!(BindingKey::new(""), Err(NotALabel::Empty));
    }
}
