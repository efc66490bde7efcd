//! See `feedback_tests::fuzz::url`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::url(data));
