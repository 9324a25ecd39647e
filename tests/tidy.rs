//! What clippy cannot check about this workspace: who may depend on whom, what the sources may say, and that every file
//! in it is used. Each rule is also fed a planted mistake, so that a rule that stopped looking is noticed.

#[path = "tidy/mutants.rs"]
mod mutants;
#[path = "tidy/packages.rs"]
mod packages;
#[path = "tidy/scenarios.rs"]
mod scenarios;
#[path = "tidy/source.rs"]
mod source;

use std::fs;
use std::path::{Path, PathBuf};

/// The workspace's root.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file under `dir` (relative to the root), sorted, build output left out. Empty if there is no such directory.
fn files_under(dir: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(dir)];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries {
            let path = entry.expect("a directory of the workspace can be read").path();
            match path.is_dir() {
                true if path.ends_with("target") || path.ends_with(".git") => {}
                true => open.push(path),
                false => found.push(path),
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file of the workspace with its text.
fn rust_files() -> Vec<(PathBuf, String)> {
    ["crates", "tests", "benches"]
        .iter()
        .flat_map(|dir| files_under(dir))
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| {
            let text = fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            (path.strip_prefix(root()).expect("found under the root").to_path_buf(), text)
        })
        .collect()
}

/// Fails with all mistakes at once.
#[track_caller]
fn expect_none(what: &str, mistakes: Vec<String>) {
    assert!(mistakes.is_empty(), "{} {what}:\n  {}", mistakes.len(), mistakes.join("\n  "));
}
