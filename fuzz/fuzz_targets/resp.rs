//! Fuzzes `fairlead::fuzz::resp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::resp(data));
