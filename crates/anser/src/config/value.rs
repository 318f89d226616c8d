//! The kinds of values in the configuration, and how each is read, checked and shown.

use std::{fmt, net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Deserializer, de};

/// One setting of the configuration, as the reference shows it.
#[derive(Debug)]
pub struct Field {
    pub name: &'static str,
    /// The doc comment, a line each.
    pub about: &'static [&'static str],
    pub kind: &'static str,
    /// As written in the file; `None` if absent by default.
    pub default: Option<String>,
    /// Smallest and largest, as written in the file.
    pub range: Option<(String, String)>,
}

/// A value that can stand in the configuration.
pub(super) trait Value {
    const KIND: &'static str;

    /// As written in the file; `None` for an absent value.
    fn literal(&self) -> Option<String>;

    /// What a range is compared with.
    fn number(&self) -> Option<u64> {
        None
    }

    /// How a number of this kind is written.
    fn show(number: u64) -> String {
        number.to_string()
    }
}

impl Value for u64 {
    const KIND: &'static str = "number";

    fn literal(&self) -> Option<String> {
        Some(self.to_string())
    }

    fn number(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Value for bool {
    const KIND: &'static str = "true or false";

    fn literal(&self) -> Option<String> {
        Some(self.to_string())
    }
}

impl Value for String {
    const KIND: &'static str = "text";

    fn literal(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for Vec<String> {
    const KIND: &'static str = "list of texts";

    fn literal(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for Vec<u16> {
    const KIND: &'static str = "list of numbers";

    fn literal(&self) -> Option<String> {
        Some(format!("{self:?}"))
    }
}

impl Value for SocketAddr {
    const KIND: &'static str = "address and port";

    fn literal(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

impl Value for PathBuf {
    const KIND: &'static str = "path";

    fn literal(&self) -> Option<String> {
        Some(format!("\"{}\"", self.display()))
    }
}

impl<V: Value> Value for Option<V> {
    const KIND: &'static str = V::KIND;

    fn literal(&self) -> Option<String> {
        self.as_ref().and_then(V::literal)
    }

    fn number(&self) -> Option<u64> {
        self.as_ref().and_then(V::number)
    }

    fn show(number: u64) -> String {
        V::show(number)
    }
}

/// A number of bytes, written `4096` or `"64 MiB"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteCount(pub u64);

const UNITS: [(&str, u64); 4] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
];

impl Value for ByteCount {
    const KIND: &'static str = "bytes";

    fn literal(&self) -> Option<String> {
        Some(Self::show(self.0))
    }

    fn number(&self) -> Option<u64> {
        Some(self.0)
    }

    fn show(number: u64) -> String {
        let unit = UNITS
            .iter()
            .find(|(_, size)| number > 0 && number.is_multiple_of(*size));
        match unit {
            Some((name, size)) => format!("\"{} {name}\"", number / size),
            None => number.to_string(),
        }
    }
}

impl<'de> Deserialize<'de> for ByteCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByteCountVisitor)
    }
}

struct ByteCountVisitor;

impl de::Visitor<'_> for ByteCountVisitor {
    type Value = ByteCount;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a number of bytes like 4096 or \"64 MiB\"")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<ByteCount, E> {
        let number = u64::try_from(number);
        number
            .map(ByteCount)
            .map_err(|_| E::custom("a number of bytes cannot be negative"))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<ByteCount, E> {
        Ok(ByteCount(number))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<ByteCount, E> {
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let unit = text[digits.len()..].trim_start();
        let size = match unit {
            "" | "B" => Some(1),
            _ => UNITS
                .iter()
                .find(|(name, _)| *name == unit)
                .map(|&(_, size)| size),
        };
        let number: Option<u64> = digits.trim().parse().ok();
        number
            .zip(size)
            .and_then(|(number, size)| number.checked_mul(size))
            .map(ByteCount)
            .ok_or_else(|| {
                E::custom(format!(
                    "\"{text}\" is no number of bytes: write 4096 or \"64 MiB\""
                ))
            })
    }
}
