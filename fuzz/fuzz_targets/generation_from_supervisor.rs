//! Any bytes as what the supervisor says to the httpd parent.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::generation::FromSupervisor>(input));
