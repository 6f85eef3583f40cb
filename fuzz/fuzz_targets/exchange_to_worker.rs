//! Any bytes as what an httpd child says to a worker.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::exchange::ToWorker<'_>>(input));
