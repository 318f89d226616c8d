#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| anser_broker::fuzzing::routing(bytes));
