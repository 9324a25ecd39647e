//! What people see of `squall validate`.

use std::path::Path;
use std::process::{Command, Output};

const DATA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answers");

/// Runs `squall validate` beside the files; gives its exit code, stdout and stderr.
fn validate(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(DATA).arg("validate").args(args).env("CI", "true").env_remove("RUST_LOG");
    let Output { status, stdout, stderr } = command.output().expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[track_caller]
fn check(args: &[&str], code: i32, out: &[&str], err: &[&str]) -> String {
    let (ended, stdout, stderr) = validate(args);
    assert_eq!(ended, Some(code), "stdout:\n{stdout}\nstderr:\n{stderr}");
    for word in out {
        assert!(stdout.contains(word), "no `{word}` in stdout:\n{stdout}");
    }
    for word in err {
        assert!(stderr.contains(word), "no `{word}` in stderr:\n{stderr}");
    }
    stdout
}

#[test]
fn what_is_as_known_passes_in_both_layers() {
    let out = check(&["right.yaml"], 0, &["7 as known, 1 exempt from a layer", "nobody fails"], &[]);
    assert!(out.contains("fast  10 known, 10 measured") && out.contains("full  10 known, 10 measured"), "{out}");
    assert_eq!(out.matches("requests, to the nanosecond").count(), 2, "{out}");
}

#[test]
fn what_is_off_fails_and_says_by_how_much() {
    check(
        &["wrong.yaml", "--layer", "fast"],
        1,
        &["FAIL", "off by 1.000000, 0.165000 is allowed", "0 as known, 1 off"],
        &[],
    );
}

#[test]
fn too_few_replications_fail_and_say_how_many_it_takes() {
    check(&["vague.yaml", "--layer", "fast"], 1, &["WIDE", "replications are\n", "needed\n", "1 imprecise"], &[]);
}

#[test]
fn a_quick_validation_says_what_it_leaves_out() {
    check(&["right.yaml", "--quick"], 0, &["4 as known, 1 slow one left out"], &[]);
}

#[test]
fn the_files_hold_a_row_for_each_answer_and_layer() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (csv, table) = (directory.join("answers.csv"), directory.join("answers.md"));
    let name = |path: &Path| path.to_str().expect("the target directory's name is UTF-8").to_owned();
    check(&["right.yaml", "--csv", &name(&csv), "--table", &name(&table)], 0, &[], &[]);
    let text = std::fs::read_to_string(&csv).expect("it was written");
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 4 * 2, "{text}");
    assert!(lines[0].starts_with("case,layer,source,expected,measured,half_width_99,sigmas_off,verdict"), "{text}");
    assert_eq!(lines[1], "right: requests,fast,ten a second,10,10,0,0.00,pass,,3");
    assert!(lines[8].contains("full") && lines[8].contains(",exempt,nobody fails,"), "{text}");
    let table = std::fs::read_to_string(&table).expect("it was written");
    assert!(table.contains("| right: law | fast | Little (1961) |"), "{table}");
}

#[test]
fn wrong_input_is_exit_code_2() {
    check(&["nowhere.yaml"], 2, &[], &["nowhere.yaml"]);
    check(&["right.yaml", "--filter", "nosuch"], 2, &[], &["no scenario has `nosuch` in its name; there are right"]);
    check(&["../shop/crash.yaml"], 2, &[], &["no scenario there is of `suite: validate`"]);
    check(&["right.yaml", "--csv", "no/where.csv"], 2, &[], &["no such directory"]);
    check(&["right.yaml", "--layer", "half"], 2, &[], &["possible values: fast, full"]);
    check(&[], 2, &[], &["scenarios/known-answers"]);
}

#[test]
fn help_teaches_how_answers_are_graded() {
    check(
        &["--help"],
        0,
        &["its tolerance plus the error", "Examples:\n  squall validate ", "Exit codes:", "--quick"],
        &[],
    );
}
