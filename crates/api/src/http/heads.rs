//! What the HTTP library does not tell of a request's head: whether its length was given twice, and
//! whether its lines end as they must.
//!
//! A proxy in front may read such a head otherwise than we do, and take for a part of one request what
//! we take for another. So the raw bytes are followed beside the library, from each head over its body
//! to the next one, until a head that is the last of its connection: one with a flaw, which is refused,
//! or one whose body comes in chunks, whose end is not looked for here.

use memchr::memchr;

/// What is kept of a line: the names that matter, and any length that makes sense.
const LINE_BYTES: usize = 64;

/// Why no request may follow this one on its connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Last {
    /// The length of its body is given by `Content-Length` and by `Transfer-Encoding`, or is no number.
    UnclearLength,
    /// A line ends with a line feed alone.
    BareLineFeed,
    /// Its body comes in chunks.
    Chunked,
}

/// Follows a connection's bytes.
#[derive(Debug)]
pub(super) struct Heads {
    /// Whole heads so far.
    count: u64,
    head: Head,
    line: Line,
    /// Bytes of a body that are still to come before the next head.
    body: u64,
    is_over: bool,
}

#[derive(Debug, Default)]
struct Head {
    has_begun: bool,
    has_encoding: bool,
    has_bare_line_feed: bool,
    length: Length,
}

/// Of a body, by `Content-Length`.
#[derive(Debug, Default, Clone, Copy)]
enum Length {
    #[default]
    Absent,
    Bytes(u64),
    Unclear,
}

/// The line that is being read, as far as it is kept.
#[derive(Debug)]
struct Line {
    kept: [u8; LINE_BYTES],
    length: usize,
    last: u8,
}

impl Heads {
    pub(super) fn new() -> Self {
        Self {
            count: 0,
            head: Head::default(),
            line: Line::new(),
            body: 0,
            is_over: false,
        }
    }

    /// Takes the next bytes; once tells of the last head, by its number from 0, when it is whole.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) -> Option<(u64, Last)> {
        while !bytes.is_empty() && !self.is_over {
            if self.body > 0 {
                let passed =
                    usize::try_from(self.body).map_or(bytes.len(), |left| left.min(bytes.len()));
                self.body -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            let Some(end) = memchr(b'\n', bytes) else {
                self.line.extend(bytes);
                break;
            };
            self.line.extend(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::replace(&mut self.line, Line::new());
            if !self.head.take(&line) {
                continue;
            }
            let head = std::mem::take(&mut self.head);
            if let Some(last) = head.last() {
                self.is_over = true;
                return Some((self.count, last));
            }
            self.count += 1;
            if let Length::Bytes(bytes) = head.length {
                self.body = bytes;
            }
        }
        None
    }
}

impl Head {
    /// Takes a line; whether it ends the head.
    fn take(&mut self, line: &Line) -> bool {
        self.has_bare_line_feed |= line.last != b'\r';
        if line.is_empty() {
            // Empty lines before a request mean nothing.
            return self.has_begun;
        }
        if self.has_begun {
            self.read(line);
        }
        self.has_begun = true;
        false
    }

    fn read(&mut self, line: &Line) {
        let Some((name, value)) = line.field() else {
            return;
        };
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.has_encoding = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.length = line.length_in(value);
        }
    }

    fn last(&self) -> Option<Last> {
        let is_clear = match self.length {
            Length::Absent => true,
            Length::Bytes(_) => !self.has_encoding,
            Length::Unclear => false,
        };
        if !is_clear {
            Some(Last::UnclearLength)
        } else if self.has_bare_line_feed {
            Some(Last::BareLineFeed)
        } else {
            self.has_encoding.then_some(Last::Chunked)
        }
    }
}

impl Line {
    fn new() -> Self {
        Self {
            kept: [0; LINE_BYTES],
            length: 0,
            last: 0,
        }
    }

    fn extend(&mut self, bytes: &[u8]) {
        let Some(&last) = bytes.last() else { return };
        let kept = self.length.min(LINE_BYTES);
        let more = bytes.len().min(LINE_BYTES - kept);
        self.kept[kept..kept + more].copy_from_slice(&bytes[..more]);
        self.length += bytes.len();
        self.last = last;
    }

    fn is_empty(&self) -> bool {
        self.length == usize::from(self.last == b'\r')
    }

    /// What its value means as a length. Another one in a second line is refused by the library.
    fn length_in(&self, value: &[u8]) -> Length {
        let text = std::str::from_utf8(value).unwrap_or_default();
        match text.trim().parse() {
            Ok(bytes) if self.length <= LINE_BYTES => Length::Bytes(bytes),
            _ => Length::Unclear,
        }
    }

    /// Name and value; of a long value the beginning.
    fn field(&self) -> Option<(&[u8], &[u8])> {
        let kept = &self.kept[..self.length.min(LINE_BYTES)];
        let colon = memchr(b':', kept)?;
        Some((&kept[..colon], &kept[colon + 1..]))
    }
}

#[cfg(test)]
mod tests;
