//! Configurations: see the module of this name.
#![no_main]

#[path = "../../benches/counting/mod.rs"]
#[allow(unsafe_code, reason = "an allocator is")]
mod counting;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    slotyard_fuzz::configuration::check(data, |call| counting::during(call).bytes);
});
