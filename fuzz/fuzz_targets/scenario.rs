//! A scenario file, whatever it says, is read or refused, without harm; what is refused says where, with the line.
#![no_main]

use std::path::Path;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let files = Memory::new([("s.yaml", text)]);
    if let Err(refusal) = load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()) {
        assert!(!refusal.mistakes.is_empty());
        assert!(!refusal.to_string().is_empty());
    }
});
