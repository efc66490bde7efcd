//! See `feedback_tests::fuzz::user_agent`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::user_agent(data));
