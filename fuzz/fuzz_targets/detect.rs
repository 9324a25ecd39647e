//! The first bytes of a connection, whatever they are: an answer comes, without harm, and one that was given of a beginning holds for
//! all that begins so. A ClientHello means the same in records of any size.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_fuzz::detect::run(bytes));
