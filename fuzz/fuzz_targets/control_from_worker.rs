//! Any bytes as what a worker says to the supervisor.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::control::FromWorker>(input));
