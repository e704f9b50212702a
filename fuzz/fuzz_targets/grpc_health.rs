//! Fuzzes `fairlead::fuzz::grpc_health`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fairlead::fuzz::grpc_health(data));
