//! See `feedback_tests::fuzz::policy_output`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::policy_output(data));
