//! The text that CMQ shows for the number of a queue, a topic or a subscription: a word and eight
//! characters.
//!
//! One to one: the number is multiplied by a constant that shares no factor with 36^8. It is for
//! people only; every call names things by name.

use std::fmt;

use anser_broker::id::{QueueId, SubscriptionId, TopicId};
use serde::{Serialize, Serializer};

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const LENGTH: usize = 8;
const SPAN: u64 = 36_u64.pow(8);
/// Odd and no multiple of three.
const FACTOR: u128 = 1_743_564_910_621;
/// Times [`FACTOR`] it is one, counting in 36^8.
const INVERSE: u128 = 1_182_638_150_197;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResourceText {
    kind: &'static str,
    number: u64,
}

impl From<QueueId> for ResourceText {
    fn from(queue: QueueId) -> Self {
        let (kind, number) = ("queue", queue.0);
        Self { kind, number }
    }
}

impl From<TopicId> for ResourceText {
    fn from(topic: TopicId) -> Self {
        let (kind, number) = ("topic", topic.0);
        Self { kind, number }
    }
}

impl From<SubscriptionId> for ResourceText {
    fn from(subscription: SubscriptionId) -> Self {
        let (kind, number) = ("subsc", subscription.0);
        Self { kind, number }
    }
}

impl fmt::Display for ResourceText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (beyond, number) = (self.number / SPAN, self.number % SPAN);
        let product = u128::from(number) * FACTOR % u128::from(SPAN);
        let mut rest = u64::try_from(product).expect("a remainder of 36^8 fits");
        let mut text = [0; LENGTH];
        for place in text.iter_mut().rev() {
            *place = DIGITS[usize::try_from(rest % 36).expect("a digit fits")];
            rest /= 36;
        }
        let text = std::str::from_utf8(&text).expect("the digits are ASCII");
        write!(formatter, "{}-{text}", self.kind)?;
        // No cluster comes this far; if one does, its ids are longer and still its own.
        if beyond > 0 {
            write!(formatter, "{beyond}")?;
        }
        Ok(())
    }
}

impl Serialize for ResourceText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The subscription that is shown to clients by this text; `None` if there can be none.
pub fn subscription_of(text: &str) -> Option<SubscriptionId> {
    let digits = text.strip_prefix("subsc-")?;
    let (digits, beyond) = digits.split_at_checked(LENGTH)?;
    let mut shown = 0;
    for digit in digits.bytes() {
        let value = DIGITS.iter().position(|known| *known == digit)?;
        shown = shown * 36 + u64::try_from(value).ok()?;
    }
    let number = u128::from(shown) * INVERSE % u128::from(SPAN);
    let beyond: u64 = match beyond {
        "" => 0,
        beyond => beyond.parse().ok()?,
    };
    let number = u64::try_from(number).ok()?;
    Some(SubscriptionId(
        beyond.checked_mul(SPAN)?.checked_add(number)?,
    ))
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
    fn a_subscription_is_found_by_its_text() {
        assert_eq!(FACTOR * INVERSE % u128::from(SPAN), 1);
        for number in [0, 1, 77, SPAN - 1, SPAN, 5 * SPAN + 3] {
            let subscription = SubscriptionId(number);
            let text = ResourceText::from(subscription).to_string();
            assert_eq!(subscription_of(&text), Some(subscription), "{text}");
        }
        for bad in [
            "",
            "subsc-",
            "queue-00000000",
            "subsc-0000000A",
            "subsc-00000000x",
        ] {
            assert_eq!(subscription_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn texts_are_eight_characters_and_differ() {
        let text = |number| ResourceText::from(QueueId(number)).to_string();
        let texts: std::collections::BTreeSet<_> = (0..10_000).map(text).collect();
        assert_eq!(texts.len(), 10_000);
        assert!(texts.iter().all(|text| text.len() == "queue-".len() + 8));
        assert_ne!(text(5), text(5 + SPAN));
    }

    #[test]
    fn each_kind_of_thing_has_its_word() {
        assert_eq!(ResourceText::from(QueueId(0)).to_string(), "queue-00000000");
        assert_eq!(ResourceText::from(TopicId(0)).to_string(), "topic-00000000");
        let subscription = ResourceText::from(SubscriptionId(0));
        assert_eq!(subscription.to_string(), "subsc-00000000");
    }
}
