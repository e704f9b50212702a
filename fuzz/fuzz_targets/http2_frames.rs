//! Fuzzes `fairlead::fuzz::http2_frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::http2_frames(data));
