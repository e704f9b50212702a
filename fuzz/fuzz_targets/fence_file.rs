//! Fuzzes `fairlead::fuzz::fence_file`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::fence_file(data));
