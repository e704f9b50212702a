//! Fuzzes `fairlead::fuzz::postgres_follow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::postgres_follow(data));
