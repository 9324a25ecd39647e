//! Tells the binary the digest of the sources that it is built from, so that `squall merge` knows results of another one.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

fn main() -> io::Result<()> {
    // Not `env!`: the script may have been compiled for another checkout that shares the target directory.
    let this = std::env::var_os("CARGO_MANIFEST_DIR").ok_or(io::ErrorKind::NotFound)?;
    let top = Path::new(&this).join("../..");
    let mut files = vec![top.join("Cargo.lock")];
    let mut out = io::stdout();
    for entry in fs::read_dir(top.join("crates"))? {
        let sources = entry?.path().join("src");
        if sources.is_dir() {
            writeln!(out, "cargo::rerun-if-changed={}", sources.display())?;
            gather(&sources, &mut files)?;
        }
    }
    writeln!(out, "cargo::rerun-if-changed={}", files[0].display())?;
    files.sort();
    // FNV-1a over the name and the text of each.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for file in &files {
        let name = file.strip_prefix(&top).unwrap_or(file).to_string_lossy().into_owned();
        for byte in name.into_bytes().into_iter().chain([0]).chain(fs::read(file)?) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    writeln!(out, "cargo::rustc-env=SQUALL_CODE={hash:016x}")
}

fn gather(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        match path.is_dir() {
            true => gather(&path, files)?,
            false if path.extension().is_some_and(|end| end == "rs") => files.push(path),
            false => {}
        }
    }
    Ok(())
}
