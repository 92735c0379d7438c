//! Bytes from a stranger, against the properties of `outrigger_proxy::fuzzing::svid`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outrigger_proxy::fuzzing::svid(bytes));
