//! Any bytes as what the supervisor says to a worker.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::control::ToWorker>(input));
