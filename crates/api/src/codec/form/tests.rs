//! Forms, taken apart and put together.

use proptest::prelude::*;

use super::*;

fn parsed(text: &'static [u8]) -> Vec<(String, Vec<u8>)> {
    let form = Form::parse(Bytes::from_static(text)).unwrap();
    form.pairs()
        .map(|(name, value)| (String::from_utf8(name.to_vec()).unwrap(), value.to_vec()))
        .collect()
}

fn pair(name: &str, value: &str) -> (String, Vec<u8>) {
    (name.to_owned(), value.as_bytes().to_vec())
}

#[test]
fn pairs_come_in_the_byte_order_of_their_names() {
    let pairs = parsed(b"b.2=x&B=y&b.10=z&a=");
    let expected = [
        pair("B", "y"),
        pair("a", ""),
        pair("b.10", "z"),
        pair("b.2", "x"),
    ];
    assert_eq!(pairs, expected);
}

#[test]
fn plus_and_escapes_are_decoded_in_names_and_values() {
    assert_eq!(
        parsed(b"a%2Eb=1+2%203%2b%e4%B8%96"),
        [pair("a.b", "1 2 3+世")]
    );
}

#[test]
fn empty_segments_and_missing_equals_signs_are_tolerated() {
    assert_eq!(parsed(b"&&a&b=c=d&"), [pair("a", ""), pair("b", "c=d")]);
    assert_eq!(parsed(b""), []);
}

#[test]
fn bytes_that_are_no_text_stay_as_they_are() {
    assert_eq!(
        parsed(b"a=\xff%fe%00"),
        [("a".to_owned(), vec![0xff, 0xfe, 0])]
    );
}

#[test]
fn a_value_without_escapes_is_not_copied() {
    let raw = Bytes::from_static(b"a%20=1&msgBody=hello");
    let form = Form::parse(raw.clone()).unwrap();
    assert_eq!(form.share(1).as_ptr(), raw[15..].as_ptr());
}

#[test]
fn broken_escapes_are_named() {
    let malformed = |text: &'static [u8]| Form::parse(Bytes::from_static(text)).unwrap_err();
    for text in [b"a=%".as_slice(), b"a=%1", b"a=%zz", b"a=x%1g", b"a=%%41"] {
        assert_eq!(malformed(text), Malformed::Value(b"a".to_vec()));
    }
    assert_eq!(malformed(b"a%4=b"), Malformed::Name(b"a%4".to_vec()));
}

#[test]
fn names_that_are_too_long_are_refused() {
    let form = |bytes: usize| Form::parse(format!("a=1&{}=2", "n".repeat(bytes)).into());
    assert!(form(NAME_BYTES_MAX).is_ok());
    let beginning = vec![b'n'; NAME_BYTES_MAX];
    for bytes in [NAME_BYTES_MAX + 1, 100_000] {
        assert_eq!(form(bytes).unwrap_err(), Malformed::Name(beginning.clone()));
    }
    let no_value = Form::parse("n".repeat(100_000).into());
    assert_eq!(no_value.unwrap_err(), Malformed::Name(beginning));
}

#[test]
fn escapes_far_apart_and_close_together_are_decoded_alike() {
    for run in [0, 1, 15, 16, 17, 100, 5_000] {
        let plain = "x".repeat(run);
        let text = format!("{plain}&{plain}&&{plain}+{plain}");
        let form = Form::parse(encode([("a", text.as_str())]).into()).unwrap();
        assert_eq!(form.value(0), text.as_bytes(), "{run}");
    }
}

#[test]
fn too_many_pairs_are_refused() {
    let form = |pairs: usize| Form::parse("a=1&".repeat(pairs).into());
    assert!(form(PAIRS_MAX).is_ok());
    assert_eq!(form(PAIRS_MAX + 1).unwrap_err(), Malformed::TooManyPairs);
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(form) = Form::parse(raw.into()) {
            prop_assert!(form.pairs().is_sorted_by_key(|(name, _)| name.to_vec()));
        }
    }

    #[test]
    fn bytes_full_of_marks_never_panic(raw in "[a%+&=0-9F]{0,200}") {
        let _ = Form::parse(raw.into_bytes().into());
    }

    #[test]
    fn what_was_encoded_is_decoded(
        mut pairs in proptest::collection::vec(("\\PC{1,8}", "\\PC{0,40}"), 0..20),
    ) {
        let encoded = encode(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let form = Form::parse(encoded.into()).unwrap();
        let decoded: Vec<_> = form
            .pairs()
            .map(|(name, value)| (name.to_vec(), value.to_vec()))
            .collect();
        pairs.sort_by(|(one, _), (other, _)| one.cmp(other));
        let expected: Vec<_> = pairs
            .into_iter()
            .map(|(name, value)| (name.into_bytes(), value.into_bytes()))
            .collect();
        prop_assert_eq!(decoded, expected);
    }
}
