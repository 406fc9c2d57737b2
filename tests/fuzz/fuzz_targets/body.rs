//! libFuzzer makes the bytes, `subjects/body.rs` says what must hold of them.
#![no_main]

#[path = "../subjects.rs"]
mod subjects;

libfuzzer_sys::fuzz_target!(|input: &[u8]| subjects::body(input));
