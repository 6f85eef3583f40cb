//! Any bytes as what `wsgictl` asks the supervisor.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::admin::ToAdmin<'_>>(input));
