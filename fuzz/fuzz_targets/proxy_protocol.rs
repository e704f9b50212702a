//! Fuzzes `fairlead::fuzz::proxy_protocol`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::proxy_protocol(data));
