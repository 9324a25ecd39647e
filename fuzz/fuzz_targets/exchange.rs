//! Requests on one backend, in any order of events: the harness of the property tests, led by coverage.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_policy::harness::run(bytes));
