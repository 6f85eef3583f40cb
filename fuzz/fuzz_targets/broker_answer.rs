//! Any bytes as what the supervisor answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::broker::FromBroker>(input));
