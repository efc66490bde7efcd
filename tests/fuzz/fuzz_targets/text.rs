//! See `feedback_tests::fuzz::text`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::text(data));
