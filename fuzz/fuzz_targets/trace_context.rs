//! Bytes from a stranger, against the properties of `outrigger_proxy::fuzzing::trace_context`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| outrigger_proxy::fuzzing::trace_context(bytes));
