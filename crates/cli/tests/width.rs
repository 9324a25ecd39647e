//! What a terminal of 80 columns, or the log of a forge, shows of real runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
const LONG: &str = "does-it-hold-that-nobody-waits-while-a-replica-of-stock-is-gone";
const EXPECTATION: &str = "overall: 'successRate >= 0.99 && p99 < duration(\"1us\") && amplification <= 1.0001 && p50 < duration(\"2us\") || false'";

/// A directory of the test's own with the shop in it, and its crash once more under a long name, with a long path, wanting much.
fn shop(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    let deep = path.join(format!("{LONG}/{LONG}"));
    fs::create_dir_all(&deep).expect("the target directory can be written");
    let shop = Path::new(DATA).join("shop");
    for (name, to) in [("crash.yaml", &path), ("hopeless.yaml", &path), ("mesh.yaml", &path), ("mesh.yaml", &deep)] {
        fs::copy(shop.join(name), to.join(name)).expect("the shop can be copied");
    }
    let crash = fs::read_to_string(shop.join("crash.yaml")).expect("it is there");
    let long = crash.replace("name: crash", &format!("name: {LONG}"));
    let long = long.replace("overall: 'successRate >= 0.99'", EXPECTATION);
    assert!(long.contains(LONG) && long.contains("1us"), "the shop's crash is another");
    #[expect(clippy::disallowed_methods, reason = "a file of the test's own, not a result")]
    fs::write(deep.join("crash.yaml"), long).expect("the target directory can be written");
    path
}

/// What a command prints: stdout and stderr.
#[track_caller]
fn squall(dir: &Path, args: &[&str], env: &[(&str, &str)], code: i32) -> (String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    for name in ["NO_COLOR", "RUST_LOG", "CI", "COLUMNS", "LC_ALL", "LC_CTYPE", "LANG"] {
        command.env_remove(name);
    }
    let ran = command.current_dir(dir).args(args).envs(env.iter().copied()).output().expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    let (out, err) = (text(ran.stdout), text(ran.stderr));
    assert_eq!(ran.status.code(), Some(code), "{out}\n{err}");
    (out, err)
}

#[track_caller]
fn fits(dir: &Path, args: &[&str], code: i32) -> String {
    let (out, _) = squall(dir, args, &[], code);
    assert!(out.lines().count() > 3, "{args:?} says too little to be looked at:\n{out}");
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{args:?}: {} columns: {line}", line.chars().count());
    }
    out
}

#[test]
fn no_line_of_a_test_or_a_replay_is_wider_than_eighty_columns_and_nothing_is_lost() {
    let dir = shop("width-test");
    let out = fits(&dir, &["test", ".", "--seeds", "1..3"], 1);
    let joined: String = out.split_whitespace().collect();
    assert!(joined.matches(LONG).count() >= 3, "the name is cut:\n{out}");
    assert!(joined.contains("amplification<=1.0001&&p50<duration(\"2us\")||false"), "the expectation is cut:\n{out}");
    let file = format!("{LONG}/{LONG}/crash.yaml");
    for more in [&[][..], &["--request", "7"], &["--service", "stock"]] {
        fits(&dir, &[&["replay", &file, "--seed", "1"], more].concat(), 1);
    }
}

#[test]
fn no_line_of_a_comparison_or_of_known_answers_is_wider() {
    let dir = shop("width-compare");
    fs::copy(dir.join("mesh.yaml"), dir.join(format!("{LONG}.yaml"))).expect("the target directory can be written");
    let rival = format!("{LONG}=mesh.yaml");
    let args = ["compare", "current", &rival, "-s", "crash.yaml", "--seeds", "1..3", "--model", "fast"];
    let out = fits(&dir, &args, 0);
    assert!(out.split_whitespace().collect::<String>().matches(LONG).count() >= 2, "the name is cut:\n{out}");
    fits(Path::new(DATA), &["validate", "answers", "--layer", "fast"], 1);
}

#[test]
fn what_failed_and_why_stands_above_the_table() {
    let dir = shop("width-top");
    let (out, _) = squall(&dir, &["test", "crash.yaml", "hopeless.yaml", "--seeds", "1..2"], &[], 1);
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[2..4], ["1 of 2 scenarios failed:", "  hopeless, seed 1; also seed 2"], "{out}");
    assert!(lines[4].starts_with("    overall: p99 < duration(\"1us\") was "), "{out}");
    let at = |start: &str| lines.iter().position(|line| line.starts_with(start)).unwrap_or_else(|| panic!("{out}"));
    assert!(4 < at("PASS  crash") && at("PASS  crash") < at("FAIL hopeless, seed 1"), "{out}");
}

#[test]
fn the_curve_of_a_failure_is_drawn_in_what_the_terminal_speaks() {
    let dir = shop("width-curve");
    let file = "hopeless.yaml";
    let (blocks, _) = squall(&dir, &["test", file], &[("LANG", "C.UTF-8")], 1);
    let (digits, _) = squall(&dir, &["test", file], &[("LC_ALL", "C"), ("LANG", "C.UTF-8")], 1);
    let line = |out: &str, start: &str| out.lines().find(|line| line.starts_with(start)).unwrap_or("").to_owned();
    assert!(line(&blocks, "  success  ").contains("█████"), "{blocks}");
    assert!(line(&blocks, "  faults   ").trim_start_matches("  faults").trim_start().starts_with('━'), "{blocks}");
    assert!(line(&digits, "  success  ").contains("#####"), "{digits}");
    assert!(line(&digits, "  faults   ").contains("====="), "{digits}");
}
