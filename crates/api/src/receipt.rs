//! Receipt handles: a receipt's number behind a keyed permutation, as decimal text below 2^63.
//!
//! Every number below 2^63 stands for exactly one receipt, and nobody without the key can tell
//! which. So a handle that is guessed or altered names a lease with the chance of running leases to
//! 2^63.

use anser_broker::id::{MessageId, Receipt};

use crate::permutation::{Permutation, TOP_BIT};

/// Digits of the largest number below 2^63.
const DIGITS_MAX: usize = 19;

#[derive(Debug, Clone)]
pub struct ReceiptCipher(Permutation);

impl ReceiptCipher {
    pub fn new(key: [u8; 32]) -> Self {
        Self(Permutation::new(key))
    }

    /// The number that clients see.
    pub fn seal(&self, receipt: Receipt) -> u64 {
        self.0.forward(receipt.number())
    }

    /// The receipt behind a number; `None` if the number is not below 2^63.
    pub fn open(&self, number: u64) -> Option<Receipt> {
        if number & TOP_BIT != 0 {
            return None;
        }
        MessageId::from_number(self.0.backward(number))
    }

    /// The receipt behind a text; `None` if it is no handle's text: 1 to 19 digits without a
    /// leading zero, below 2^63.
    pub(crate) fn open_text(&self, text: &[u8]) -> Option<Receipt> {
        let well_formed = (1..=DIGITS_MAX).contains(&text.len())
            && text.iter().all(u8::is_ascii_digit)
            && (text[0] != b'0' || text.len() == 1);
        if !well_formed {
            return None;
        }
        self.open(std::str::from_utf8(text).ok()?.parse().ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cipher() -> ReceiptCipher {
        ReceiptCipher::new([7; 32])
    }

    proptest! {
        #[test]
        fn every_handle_opens_to_the_receipt_it_was_made_of(number in 0..TOP_BIT) {
            let receipt = MessageId::from_number(number).unwrap();
            let handle = cipher().seal(receipt);
            prop_assert!(handle < TOP_BIT);
            prop_assert_eq!(cipher().open(handle), Some(receipt));
        }

        #[test]
        fn every_number_below_the_top_bit_is_the_handle_of_one_receipt(handle in 0..TOP_BIT) {
            let receipt = cipher().open(handle).unwrap();
            prop_assert_eq!(cipher().seal(receipt), handle);
        }

        #[test]
        fn another_key_opens_another_receipt(number in 0..TOP_BIT, byte in 0..32_usize) {
            let mut key = [7; 32];
            key[byte] ^= 1;
            let receipt = MessageId::from_number(number).unwrap();
            let opened = ReceiptCipher::new(key).open(cipher().seal(receipt));
            prop_assert_ne!(opened, Some(receipt));
        }
    }

    #[test]
    fn neighbours_have_handles_far_apart() {
        let handle = |number| cipher().seal(MessageId::from_number(number).unwrap());
        let changed = (0..1000).map(|number| (handle(number) ^ handle(number + 1)).count_ones());
        let mean = f64::from(changed.sum::<u32>()) / 1000.0;
        assert!((29.0..34.0).contains(&mean), "{mean} bits of 63 change");
    }

    #[test]
    fn only_canonical_digits_are_a_handle() {
        let last = (TOP_BIT - 1).to_string();
        assert!(cipher().open_text(last.as_bytes()).is_some());
        assert!(cipher().open_text(b"0").is_some());
        for bad in [
            "",
            "01",
            "-1",
            "+1",
            " 1",
            "1x",
            "9223372036854775808",
            "18446744073709551615",
            "00000000000000000001",
            "\u{663}",
        ] {
            assert_eq!(cipher().open_text(bad.as_bytes()), None, "{bad}");
        }
    }
}
