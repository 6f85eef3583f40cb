//! Any bytes as what httpd says of its scoreboard.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| fuzz::check::<wire::scoreboard::Scoreboard>(input));
