//! `Retry-After`: how a receiver that has too much to do says when it wants to be asked again.

use std::time::UNIX_EPOCH;

use anser_broker::time::{Millis, Timestamp};
use hyper::{HeaderMap, StatusCode, header};

use crate::config::milliseconds;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryAfter {
    In(Millis),
    /// By the wall clock.
    At(Timestamp),
}

impl RetryAfter {
    /// What an answer says. With other statuses the header is about something else, and a text that is
    /// neither seconds nor a date says nothing.
    pub(crate) fn of(status: StatusCode, headers: &HeaderMap) -> Option<Self> {
        if !matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
        ) {
            return None;
        }
        let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            // What is too large to be counted is as good as for ever.
            let seconds = text.parse().unwrap_or(u64::MAX);
            return Some(Self::In(Millis::from_seconds(seconds)));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        // Before 1970 is as past as 1970.
        let since = date.duration_since(UNIX_EPOCH).unwrap_or_default();
        Some(Self::At(Timestamp(milliseconds(since).0)))
    }

    /// How long that is from now on.
    pub(crate) fn wait(self, now: Timestamp) -> Millis {
        match self {
            Self::In(wait) => wait,
            Self::At(moment) => moment - now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, text: &[u8]) -> Option<RetryAfter> {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::RETRY_AFTER,
            header::HeaderValue::from_bytes(text).unwrap(),
        );
        RetryAfter::of(StatusCode::from_u16(status).unwrap(), &headers)
    }

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let seconds = |count| Some(RetryAfter::In(Millis::from_seconds(count)));
        for (text, expected) in [
            (&b"4"[..], seconds(4)),
            (b"0", seconds(0)),
            (b" 120 ", seconds(120)),
            (b"99999999999999999999", seconds(u64::MAX)),
            (
                b"Tue, 14 Nov 2023 22:13:27 GMT",
                Some(RetryAfter::At(Timestamp(1_700_000_007_000))),
            ),
            (b"", None),
            (b"-1", None),
            (b"4.5", None),
            (b"soon", None),
            (b"4, 5", None),
            (b"\xff", None),
            (b"Tue, 14 Nov 2023 22:13:27 CET", None),
        ] {
            assert_eq!(read(503, text), expected, "{}", text.escape_ascii());
        }
    }

    #[test]
    fn only_an_answer_that_is_about_the_receiver_says_when() {
        for status in [400, 404, 413, 500, 502, 301] {
            assert_eq!(read(status, b"4"), None, "{status}");
        }
        assert!(read(429, b"4").is_some());
        let nothing = RetryAfter::of(StatusCode::TOO_MANY_REQUESTS, &HeaderMap::new());
        assert_eq!(nothing, None);
    }

    #[test]
    fn a_moment_that_has_passed_is_no_wait() {
        let at = RetryAfter::At(Timestamp(5_000));
        assert_eq!(at.wait(Timestamp(2_000)), Millis(3_000));
        assert_eq!(at.wait(Timestamp(9_000)), Millis(0));
    }
}
