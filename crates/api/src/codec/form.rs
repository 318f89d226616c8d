//! The form `a=1&b=2`, of bodies and of queries.
//!
//! A part that holds neither `%` nor `+` stays where it came in; the others are decoded into one
//! buffer beside it. So a message body that needs no decoding is never copied. Pairs are kept in the
//! byte order of their decoded names, which is the order in which they are signed.

use std::fmt::Write;

use bytes::Bytes;
use memchr::{memchr, memchr_iter, memchr2};

/// Pairs in one form.
pub(crate) const PAIRS_MAX: usize = 256;
/// Bytes of a name as it came in, escapes and all. Names are looked at before it is known who sends them, some of it
/// byte by byte.
pub(crate) const NAME_BYTES_MAX: usize = 256;
/// Bytes between escapes that are not worth a search.
const SHORT_RUN: u32 = 16;
const NO_DIGIT: u8 = u8::MAX;
const DIGITS: [u8; 256] = digits();

#[derive(Debug)]
pub(crate) struct Form {
    raw: Bytes,
    decoded: Bytes,
    pairs: Vec<Pair>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Pair {
    name: Span,
    value: Span,
}

/// A part of the raw or of the decoded bytes.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: u32,
    end: u32,
    decoded: bool,
}

/// Why bytes are no form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Malformed {
    TooManyPairs,
    /// A name that is too long, of which this is the beginning, or with a broken escape, as it came in.
    Name(Vec<u8>),
    /// An escape in the value of this name.
    Value(Vec<u8>),
}

struct BadEscape;

impl Form {
    /// # Panics
    /// If there are 4 GiB or more.
    pub(crate) fn parse(raw: Bytes) -> Result<Self, Malformed> {
        assert!(u32::try_from(raw.len()).is_ok(), "a form of 4 GiB came in");
        let mut pairs = Vec::with_capacity(16);
        let mut decoded = Vec::new();
        let ends = memchr_iter(b'&', &raw).chain([raw.len()]);
        let mut start = 0;
        for end in ends {
            let segment = start..end;
            start = end + 1;
            if segment.is_empty() {
                continue;
            }
            if pairs.len() == PAIRS_MAX {
                return Err(Malformed::TooManyPairs);
            }
            pairs.push(pair(&raw, segment, &mut decoded)?);
        }
        let mut form = Self {
            raw,
            decoded: decoded.into(),
            pairs,
        };
        form.sort();
        Ok(form)
    }

    fn sort(&mut self) {
        let mut pairs = std::mem::take(&mut self.pairs);
        pairs.sort_by(|one, other| self.bytes(one.name).cmp(self.bytes(other.name)));
        self.pairs = pairs;
    }

    /// In the byte order of the names.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.pairs
            .iter()
            .map(|pair| (self.bytes(pair.name), self.bytes(pair.value)))
    }

    /// Of all names and values together.
    pub(crate) fn bytes_decoded(&self) -> usize {
        self.pairs()
            .map(|(name, value)| name.len() + value.len())
            .sum()
    }

    /// The pair at a place in the order of [`Form::pairs`].
    pub(crate) fn value(&self, place: usize) -> &[u8] {
        self.bytes(self.pairs[place].value)
    }

    /// A value, shared instead of copied.
    pub(crate) fn share(&self, place: usize) -> Bytes {
        let span = self.pairs[place].value;
        let range = span.start as usize..span.end as usize;
        if span.decoded {
            self.decoded.slice(range)
        } else {
            self.raw.slice(range)
        }
    }

    fn bytes(&self, span: Span) -> &[u8] {
        let range = span.start as usize..span.end as usize;
        if span.decoded {
            &self.decoded[range]
        } else {
            &self.raw[range]
        }
    }
}

fn pair(
    raw: &[u8],
    segment: std::ops::Range<usize>,
    decoded: &mut Vec<u8>,
) -> Result<Pair, Malformed> {
    let text = &raw[segment.clone()];
    let name_length = memchr(b'=', text).unwrap_or(text.len());
    if name_length > NAME_BYTES_MAX {
        return Err(Malformed::Name(text[..NAME_BYTES_MAX].to_vec()));
    }
    let name_end = segment.start + name_length;
    let value_start = (name_end + 1).min(segment.end);
    let name = span(raw, segment.start..name_end, decoded)
        .map_err(|BadEscape| Malformed::Name(text[..name_length].to_vec()))?;
    let value = span(raw, value_start..segment.end, decoded)
        .map_err(|BadEscape| Malformed::Value(text[..name_length].to_vec()))?;
    Ok(Pair { name, value })
}

fn span(
    raw: &[u8],
    range: std::ops::Range<usize>,
    decoded: &mut Vec<u8>,
) -> Result<Span, BadEscape> {
    let text = &raw[range.clone()];
    let Some(first) = memchr2(b'%', b'+', text) else {
        return Ok(place(range, false));
    };
    if decoded.capacity() == 0 {
        // Decoding never lengthens, so this one piece of memory is enough for all.
        decoded.reserve_exact(raw.len() - range.start);
    }
    let start = decoded.len();
    decode(text, first, decoded)?;
    Ok(place(start..decoded.len(), true))
}

fn place(range: std::ops::Range<usize>, decoded: bool) -> Span {
    let fit = |position: usize| u32::try_from(position).expect("a form is below 4 GiB");
    Span {
        start: fit(range.start),
        end: fit(range.end),
        decoded,
    }
}

/// Escapes stand thickly or hardly at all: short runs between them are copied byte by byte, and a
/// run that lasts is left to the search.
fn decode(text: &[u8], first: usize, decoded: &mut Vec<u8>) -> Result<(), BadEscape> {
    let mut read = first;
    let mut run = 0;
    decoded.extend_from_slice(&text[..first]);
    while let Some(&byte) = text.get(read) {
        match byte {
            b'+' => decoded.push(b' '),
            b'%' => {
                let &[_, high, low, ..] = &text[read..] else {
                    return Err(BadEscape);
                };
                decoded.push(digit(high)? << 4 | digit(low)?);
                read += 2;
            }
            _ if run < SHORT_RUN => {
                decoded.push(byte);
                read += 1;
                run += 1;
                continue;
            }
            _ => {
                let rest = &text[read..];
                let length = memchr2(b'%', b'+', rest).unwrap_or(rest.len());
                decoded.extend_from_slice(&rest[..length]);
                read += length;
                continue;
            }
        }
        run = 0;
        read += 1;
    }
    Ok(())
}

fn digit(byte: u8) -> Result<u8, BadEscape> {
    match DIGITS[usize::from(byte)] {
        NO_DIGIT => Err(BadEscape),
        digit => Ok(digit),
    }
}

const fn digits() -> [u8; 256] {
    let mut digits = [NO_DIGIT; 256];
    let mut value = 0;
    while value < 16 {
        let [lower, upper] = [b"0123456789abcdef", b"0123456789ABCDEF"];
        digits[lower[value as usize] as usize] = value;
        digits[upper[value as usize] as usize] = value;
        value += 1;
    }
    digits
}

/// Writes pairs as a form, as our own clients send it.
pub fn encode<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut form = String::new();
    for (name, value) in pairs {
        if !form.is_empty() {
            form.push('&');
        }
        escape(name, &mut form);
        form.push('=');
        escape(value, &mut form);
    }
    form
}

fn escape(text: &str, form: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            form.push(char::from(byte));
        } else {
            write!(form, "%{byte:02X}").expect("a string takes all text");
        }
    }
}

#[cfg(test)]
mod tests;
