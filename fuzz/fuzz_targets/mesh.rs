//! Kubernetes YAML, whatever it is, becomes resources or mistakes, without harm; each mistake says where, and prints. A mesh that is
//! made of resources can be sent, and means the same where it arrives.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| squall_fuzz::mesh::run(bytes));
