//! The first bytes of a connection as a header of the PROXY protocol, whatever they are: an answer comes, without harm, one that was given of a
//! beginning holds for all that begins so, and no byte behind the header is part of it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_fuzz::proxy_protocol::run(bytes));
