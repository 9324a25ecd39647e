//! What comes over ADS, whatever it is, is taken or refused, without harm; a mesh that was taken says the same when it is sent on.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_fuzz::xds::run(bytes));
