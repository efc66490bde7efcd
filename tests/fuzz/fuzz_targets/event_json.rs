//! See `feedback_tests::fuzz::event_json`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| feedback_fuzz::fuzz::event_json(data));
