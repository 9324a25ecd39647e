//! A scenario file, whatever it says, is read or refused, without harm; what is refused says where, with the line.

use std::path::Path;

use squall_sim::scenario::{IsotopeLoad, Memory, load_file};

/// Runs the target on these bytes; panics where the claim does not hold.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let files = Memory::new([("s.yaml", text)]);
    if let Err(refusal) = load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()) {
        assert!(!refusal.mistakes.is_empty());
        assert!(!refusal.to_string().is_empty());
    }
}
