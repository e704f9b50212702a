//! Fuzzes `fairlead::fuzz::sentinel`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::sentinel(data));
