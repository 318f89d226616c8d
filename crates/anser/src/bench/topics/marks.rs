//! Bodies that carry the moment of publishing, so that who receives one knows how long it took.

use std::{sync::LazyLock, time::Instant};

/// Digits at the beginning of a body.
pub(super) const MARK_BYTES: usize = 16;

/// Microseconds on a clock that the publishers and the receiver share.
pub(super) fn now_micros() -> u64 {
    static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);
    u64::try_from(EPOCH.elapsed().as_micros()).unwrap_or(u64::MAX)
}

/// A body of so many bytes, published now.
pub(super) fn marked_body(bytes: usize) -> String {
    let mut body = format!("{:0MARK_BYTES$}", now_micros());
    let letters = ('a'..='z').cycle().take(bytes.saturating_sub(MARK_BYTES));
    body.extend(letters);
    body
}

/// The moment at the beginning of a body; `None` if it is not one of ours.
pub(super) fn moment_of(beginning: &[u8]) -> Option<u64> {
    let digits = beginning.get(..MARK_BYTES)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_of_a_body_is_found_again() {
        let before = now_micros();
        let body = marked_body(64);
        assert_eq!(body.len(), 64);
        let moment = moment_of(body.as_bytes()).unwrap();
        assert!((before..=now_micros()).contains(&moment));
    }

    #[test]
    fn other_bodies_have_no_moment() {
        assert_eq!(moment_of(b"123"), None);
        assert_eq!(moment_of(&[b'x'; 32]), None);
    }
}
