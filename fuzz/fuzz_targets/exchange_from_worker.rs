//! Any bytes as what a worker says to an httpd child.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::exchange::FromWorker<'_>>(input));
