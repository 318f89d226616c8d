//! The text `queue-` and eight characters that CMQ shows for a queue's number.
//!
//! One to one: the number is multiplied by a constant that shares no factor with 36^8. It is for
//! people only; every call names queues by name.

use std::fmt;

use anser_broker::id::QueueId;
use serde::{Serialize, Serializer};

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 8;
const SPAN: u64 = 36_u64.pow(8);
/// Odd and no multiple of three.
const FACTOR: u128 = 1_743_564_910_621;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueText(pub(crate) QueueId);

impl fmt::Display for QueueText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (beyond, number) = (self.0.0 / SPAN, self.0.0 % SPAN);
        let product = u128::from(number) * FACTOR % u128::from(SPAN);
        let mut rest = u64::try_from(product).expect("a remainder of 36^8 fits");
        let mut text = [0; LENGTH];
        for place in text.iter_mut().rev() {
            *place = DIGITS[usize::try_from(rest % 36).expect("a digit fits")];
            rest /= 36;
        }
        let text = std::str::from_utf8(&text).expect("the digits are ASCII");
        write!(formatter, "queue-{text}")?;
        // No cluster comes this far; if one does, its ids are longer and still its own.
        if beyond > 0 {
            write!(formatter, "{beyond}")?;
        }
        Ok(())
    }
}

impl Serialize for QueueText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_factor_shares_no_factor_with_the_span() {
        assert!(
            !FACTOR.is_multiple_of(2) && !FACTOR.is_multiple_of(3) && FACTOR < u128::from(SPAN)
        );
    }

    #[test]
    fn texts_are_eight_characters_and_differ() {
        let text = |number| QueueText(QueueId(number)).to_string();
        let texts: std::collections::BTreeSet<_> = (0..10_000).map(text).collect();
        assert_eq!(texts.len(), 10_000);
        assert!(texts.iter().all(|text| text.len() == "queue-".len() + 8));
        assert_ne!(text(5), text(5 + SPAN));
    }
}
