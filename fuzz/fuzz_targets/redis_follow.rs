//! Fuzzes `fairlead::fuzz::redis_follow`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::redis_follow(data));
