//! `squall` as people run it, and the files of a test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// Where the scenarios of these tests are.
pub(crate) const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");

/// An empty directory of the test's own.
pub(crate) fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

/// A directory of the test's own with the shop in it.
pub(crate) fn shop(test: &str) -> PathBuf {
    let path = directory(test);
    for name in ["crash.yaml", "hopeless.yaml", "mesh.yaml"] {
        fs::copy(Path::new(DATA).join("shop").join(name), path.join(name)).expect("the shop can be copied");
    }
    path
}

#[expect(clippy::disallowed_methods, reason = "a file of the test's own, not a result")]
pub(crate) fn write(path: &Path, bytes: impl AsRef<[u8]>) {
    fs::write(path, bytes).expect("the target directory can be written");
}

#[track_caller]
pub(crate) fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Replaces `from` in a file.
#[track_caller]
pub(crate) fn change(file: &Path, from: &str, to: &str) {
    let before = read(file);
    assert!(before.contains(from), "no `{from}` in {}", file.display());
    write(file, before.replace(from, to));
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("the target directory's name is UTF-8")
}

/// Runs a command in a directory, as CI does; gives its exit code, stdout and stderr.
pub(crate) fn squall(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    squall_with(dir, args, &[("CI", "true")])
}

/// The same with nothing but these variables that mean something to it.
pub(crate) fn squall_with(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    for name in ["CI", "NO_COLOR", "RUST_LOG", "GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE"] {
        command.env_remove(name);
    }
    command.current_dir(dir).args(args).envs(env.iter().copied()).stdin(Stdio::null());
    let Output { status, stdout, stderr } = command.output().expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}
