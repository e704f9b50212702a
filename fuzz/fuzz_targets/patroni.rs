//! Fuzzes `fairlead::fuzz::patroni`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::patroni(data));
