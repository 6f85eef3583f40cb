//! Any bytes as what the httpd parent says to the supervisor.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::generation::ToSupervisor>(input));
