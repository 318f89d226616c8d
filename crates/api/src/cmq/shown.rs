//! Values as answers hold them.

use bytes::Bytes;
use serde::{Serialize, Serializer};

/// A number that clients read as text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Digits(pub(crate) u64);

impl Serialize for Digits {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(itoa::Buffer::new().format(self.0))
    }
}

/// Bytes that clients read as text. What is not UTF-8, such as a body that came in by another door,
/// is shown with replacements.
#[derive(Debug)]
pub(crate) struct Text(pub(crate) Bytes);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(&self.0))
    }
}
