//! Any bytes as what an httpd child asks the supervisor.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::broker::ToBroker<'_>>(input));
