//! Operations beside the reference: see the module of this name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| slotyard_fuzz::operations::check(data));
