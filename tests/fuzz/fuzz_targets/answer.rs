#![no_main]

#[path = "../targets.rs"]
#[expect(dead_code, reason = "each target is a binary of its own")]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::answer(data));
