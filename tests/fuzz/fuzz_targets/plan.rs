//! See `feedback_tests::fuzz::plan`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::plan(data));
