//! Demands and capabilities: see the module of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotyard_fuzz::demands::check(data));
