//! A scenario file, whatever it says, is read or refused, without harm; what is refused says where, with the line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_fuzz::scenario::run(bytes));
