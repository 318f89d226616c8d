#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anser_push::fuzzing::endpoint(bytes));
