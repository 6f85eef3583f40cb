//! Any bytes as what the supervisor answers to `wsgictl`.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::admin::FromAdmin>(input));
