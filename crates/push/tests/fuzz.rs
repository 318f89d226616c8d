//! The doors of the fuzz targets, with random bytes and with bytes that look right.

use proptest::prelude::*;

proptest! {
    #[test]
    fn any_text_is_an_endpoint_or_is_not(text in any::<String>()) {
        anser_push::fuzzing::endpoint(text.as_bytes());
        anser_push::fuzzing::endpoint(format!("http://{text}").as_bytes());
        anser_push::fuzzing::endpoint(format!("https://a.example/{text}").as_bytes());
    }

    #[test]
    fn texts_like_urls_are_endpoints_or_are_not(text in "https?://[a-z0-9.:%@\\[\\]/?#\\\\]{0,40}") {
        anser_push::fuzzing::endpoint(text.as_bytes());
    }

    #[test]
    fn two_judges_agree_about_addresses(bytes in any::<[u8; 16]>()) {
        anser_push::fuzzing::address(&bytes);
    }

    #[test]
    fn two_judges_agree_about_carried_addresses(
        carrier in prop::sample::select(vec![
            "::ffff:0:0", "64:ff9b::", "64:ff9b:1::", "2002::", "2001::", "::", "fe80::", "3fff::",
        ]),
        carried in any::<[u8; 4]>(),
        at in prop::sample::select(vec![2_usize, 12]),
    ) {
        let mut bytes = carrier.parse::<std::net::Ipv6Addr>().unwrap().octets();
        bytes[at..at + 4].copy_from_slice(&carried);
        anser_push::fuzzing::address(&bytes);
    }
}
