//! Fuzzes `fairlead::fuzz::claims`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::claims(data));
