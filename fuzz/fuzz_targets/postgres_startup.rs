//! Fuzzes `fairlead::fuzz::postgres_startup`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::postgres_startup(data));
