//! Integers as CMQ's clients write them: decimal digits, perhaps a minus, nothing else.

/// An integer; what is beyond 64 bits is the largest there is, and so out of every range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Number {
    Negative,
    Positive(u64),
}

/// `None` if the text is no integer: a plus, a blank, a fraction and an exponent are not part of one.
pub(crate) fn number(text: &[u8]) -> Option<Number> {
    let (negative, digits) = match text.split_first() {
        Some((b'-', digits)) => (true, digits),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    if negative {
        return Some(Number::Negative);
    }
    let value = digits.iter().try_fold(0_u64, |value, &digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some(Number::Positive(value.unwrap_or(u64::MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_digits_and_a_minus_are_an_integer() {
        assert_eq!(number(b"0"), Some(Number::Positive(0)));
        assert_eq!(number(b"007"), Some(Number::Positive(7)));
        assert_eq!(number(b"-1"), Some(Number::Negative));
        let beyond = Some(Number::Positive(u64::MAX));
        assert_eq!(number(b"18446744073709551616"), beyond);
        for text in [
            "", "-", "+1", " 1", "1 ", "1e3", "1.0", "0x1", "--1", "\u{661}",
        ] {
            assert_eq!(number(text.as_bytes()), None, "{text:?}");
        }
    }
}
