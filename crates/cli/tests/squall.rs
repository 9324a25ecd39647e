//! What people see of `squall`: the binary is run as they run it.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, str};

use runner::{DATA, change, directory, read, shop, text, write};

/// What a run printed, and how it ended.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn squall(args: &[&str]) -> Ran {
    squall_with(args, &[("CI", "true")])
}

fn squall_with(args: &[&str], env: &[(&str, &str)]) -> Ran {
    let (code, out, err) = runner::squall_with(Path::new(DATA), args, env);
    Ran { code, out, err }
}

impl Ran {
    #[track_caller]
    fn ends_with_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    #[track_caller]
    fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.out.contains(word), "no `{word}` in stdout:\n{}\nstderr:\n{}", self.out, self.err);
        }
        self
    }

    #[track_caller]
    fn complains(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.err.contains(word), "no `{word}` in stderr:\n{}", self.err);
        }
        self
    }
}

/// A copy of a scenario beside its mesh, with one thing replaced.
fn changed(test: &str, scenario: &str, from: &str, to: &str) -> PathBuf {
    let path = shop(test).join(scenario);
    change(&path, from, to);
    path
}

#[test]
fn help_teaches_with_examples() {
    for command in
        [&["--help"][..], &["test", "--help"], &["replay", "--help"], &["check", "--help"], &["validate", "--help"]]
    {
        squall(command).ends_with_code(0).says(&["Usage: squall", "Examples:\n  squall "]);
    }
    squall(&["--help"]).says(&["Exit codes:", "3  the same seed gave two different histories"]);
    squall(&["version"]).ends_with_code(0).says(&["squall 0."]);
}

#[test]
fn wrong_arguments_are_refused_by_name() {
    let cases: [(&[&str], &str); 9] = [
        (&["tset"], "a similar subcommand exists: 'test'"),
        (&["test"], "<PATH>"),
        (&["test", "shop", "--seeds", "3..1"], "holds no seed"),
        (&["test", "shop", "--engine", "turbo"], "possible values: event, turmoil"),
        (&["test", "shop", "--jobs", "0"], "0 is not in 1..=1024"),
        (&["test", "shop", "--real", "--verify"], "'--real' cannot be used with '--verify'"),
        (&["test", "shop", "--real", "--jobs", "2"], "use --jobs 1"),
        (&["test", "shop", "--rate", "10/s"], "--rate and --duration are for isotope files"),
        (&["test", "shop", "--filter", "nosuch"], "no scenario has `nosuch` in its name; there are crash, hopeless"),
    ];
    for (args, why) in cases {
        let ran = squall(args).ends_with_code(2).complains(&[why]);
        assert_eq!(ran.out, "", "{args:?} ran something");
    }
}

#[test]
fn a_file_that_is_not_there_is_named() {
    squall(&["test", "nowhere.yaml"]).ends_with_code(2).complains(&["nowhere.yaml"]);
    squall(&["check", "nowhere.yaml"]).ends_with_code(2).complains(&["nowhere.yaml"]);
}

#[test]
fn a_mistake_is_shown_with_its_line_and_a_suggestion() {
    let path = changed("mistake", "crash.yaml", "stock[0]", "stok[0]");
    for command in ["test", "check"] {
        squall(&[command, text(&path)]).ends_with_code(2).complains(&[
            "`stok` is",
            "crash.yaml:21:",
            "crash: {target: \"stok[0]\"}",
            "did you mean `stock`?",
        ]);
    }
}

#[test]
fn check_reads_scenarios_and_mesh_files() {
    squall(&["check", "shop"]).ends_with_code(0).says(&["no mistakes in 2 scenarios"]);
    squall(&["check", "shop/mesh.yaml"]).ends_with_code(0).says(&["no mistakes in", "1 mesh file"]);
}

#[test]
fn a_result_that_cannot_be_written_is_refused_before_the_run() {
    let dir = directory("unwritable");
    let csv = dir.join("out.csv");
    let ran = squall(&["test", "shop/crash.yaml", "--csv", text(&csv), "--junit", "no/such/directory/out.xml"]);
    let ran = ran.ends_with_code(2).complains(&["cannot write no/such/directory/out.xml"]);
    assert_eq!(ran.out, "");
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0, "the other result was left behind");
    squall(&["test", "shop", "--csv", text(&dir)]).ends_with_code(2).complains(&["it is a directory"]);
    squall(&["test", "shop", "--csv", text(&csv), "--history", text(&csv)])
        .ends_with_code(2)
        .complains(&["written twice"]);
}

#[test]
fn a_result_goes_through_a_pipe_that_stays_one() {
    use std::os::unix::fs::FileTypeExt as _;
    let pipe = directory("pipe").join("results.csv");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("coreutils are there").success());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| fs::read_to_string(&pipe).expect("squall opens its end"));
        squall(&["test", "shop/crash.yaml", "--csv", text(&pipe)]).ends_with_code(0);
        assert!(reader.join().expect("it reads to the end").starts_with("scenario,seed,"));
    });
    assert!(fs::metadata(&pipe).expect("it is still there").file_type().is_fifo());
}

#[test]
fn a_scenario_whose_expectations_hold_passes() {
    let ran = squall(&["test", "shop/crash.yaml", "--seeds", "1..2"]).ends_with_code(0);
    ran.says(&[
        "1 scenario × 2 seeds, full model, event engine",
        "seeds   success",
        "ampl.",
        "PASS  crash       2/2",
        "1 passed",
    ]);
}

#[test]
fn a_failure_ends_with_the_command_that_replays_it() {
    let ran = squall(&["test", "shop", "--seeds", "3,5"]).ends_with_code(1).says(&[
        "PASS  crash ",
        "FAIL  hopeless",
        "0/2",
        "1 of 2 scenarios failed:\n  hopeless, seed 3; also seed 5\n    overall: p99 < duration(\"1us\") was ",
        "FAIL hopeless, seed 3; also seed 5",
        "Is every request answered within a microsecond?",
        "overall: p99 < duration(\"1us\")",
        "was ",
        "touched ",
        "1 passed, 1 failed",
    ]);
    let last = ran.out.lines().last().unwrap_or_default();
    let command = last.strip_prefix("replay: squall ").unwrap_or_else(|| panic!("the last line is `{last}`"));
    assert_eq!(command, "replay shop/hopeless.yaml --seed 3");
    let words: Vec<&str> = command.split(' ').collect();
    squall(&words).ends_with_code(1).says(&["hopeless, seed 3, full model, event engine", "FAILED", "digest", "FAIL"]);
}

#[test]
fn results_do_not_depend_on_the_number_of_threads() {
    let dir = directory("threads");
    let mut runs = Vec::new();
    for jobs in ["1", "2", "3"] {
        let files = ["csv", "xml", "jsonl"].map(|end| dir.join(format!("{jobs}.{end}")));
        let [csv, junit, history] = files.each_ref().map(|path| text(path));
        let args =
            ["test", "shop", "--seeds", "1..3", "--jobs", jobs, "--csv", csv, "--junit", junit, "--history", history];
        let out = squall(&args).ends_with_code(1).out;
        runs.push((out, files.map(|path| read(&path))));
    }
    assert!(runs[0] == runs[1] && runs[0] == runs[2], "1, 2 and 3 threads gave different results");
    let [csv, junit, history] = &runs[0].1;
    assert_eq!(csv.lines().count(), 1 + 6, "{csv}");
    assert!(csv.starts_with("scenario,seed,engine,model,verdict,digest,"), "{csv}");
    assert!(csv.contains("\ncrash,1,event,full,pass,") && csv.contains("\nhopeless,3,event,full,fail,"), "{csv}");
    assert_eq!(junit.matches("<testcase ").count(), 6);
    assert_eq!(junit.matches("<failure ").count(), 3);
    assert_eq!(history.lines().filter(|line| line.starts_with("{\"run\":")).count(), 6);
    for line in history.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert!(value["run"].is_string() || value["at_ns"].is_i64(), "{line}");
    }
    let left = fs::read_dir(&dir).expect("it is there").count();
    assert_eq!(left, 9, "partial files are left");
}

#[test]
fn verify_finds_the_same_history_twice() {
    squall(&["test", "shop/crash.yaml", "--verify", "--seeds", "1..2"])
        .ends_with_code(0)
        .says(&["each run twice", "1 passed"]);
}

#[test]
fn quiet_says_only_what_failed() {
    let ran = squall(&["test", "shop", "--quiet"]).ends_with_code(1).says(&["FAIL  hopeless", "1 passed, 1 failed"]);
    assert!(!ran.out.contains("PASS"), "{}", ran.out);
    assert_eq!(ran.err, "");
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let plain = squall_with(&["test", "shop/crash.yaml"], &[]).ends_with_code(0);
    assert!(!plain.out.contains('\x1b') && !plain.err.contains('\x1b'), "{}{}", plain.out, plain.err);
    squall(&["test", "shop/crash.yaml", "--color", "always"]).says(&["\x1b[1;32mPASS"]);
}

#[test]
fn replay_tells_the_story_of_a_request_and_of_a_service() {
    let file = "shop/crash.yaml";
    squall(&["replay", file, "--seed", "1"]).ends_with_code(0).says(&[
        "What happened",
        "Expectations",
        "→ stock",
        "PASS",
    ]);
    squall(&["replay", file, "--seed", "1", "--request", "1"]).ends_with_code(0).says(&["\n1  "]);
    let stock = squall(&["replay", file, "--seed", "1", "--service", "stock"]).ends_with_code(0).says(&["stock-1"]);
    assert!(!stock.out.contains(" front-0 "), "{}", stock.out);
    let none = squall(&["replay", file, "--seed", "1", "--request", "999999"]);
    none.ends_with_code(2).complains(&["there was no request 999999"]);
    let wrong = squall(&["replay", file, "--seed", "1", "--service", "stok"]);
    wrong.ends_with_code(2).complains(&["did you mean `stock`?"]);
    squall(&["replay", "shop", "--seed", "1"]).ends_with_code(2).complains(&["holds 2 scenarios"]);
}

#[test]
fn a_scenario_beyond_an_engine_is_refused_by_the_name_of_the_setting() {
    let fault = "{at: 2s, for: 2s, crash: {target: \"stock[0]\"}}";
    let path = changed("beyond", "crash.yaml", fault, "{at: 2s, for: 2s, loss: {between: [front, stock], rate: 10%}}");
    let ran = squall(&["test", text(&path), "--engine", "turmoil"]).ends_with_code(2);
    ran.says(&["ERROR crash", "turmoil engine cannot do", "loss", "0 passed, 1 refused", "--engine turmoil"]);
}

#[test]
fn an_isotope_file_runs_when_it_is_named() {
    let args = ["test", "isotope/chain.yaml", "--rate", "20/s", "--duration", "2s"];
    squall(&args).ends_with_code(0).says(&["PASS  ", "1 passed"]);
}

#[test]
fn a_run_that_is_killed_leaves_no_file_that_looks_whole() {
    let long = changed("killed", "crash.yaml", "duration: 6s", "duration: 10h");
    let csv = long.with_file_name("out.csv");
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.args(["test", text(&long), "--csv", text(&csv)]).env("CI", "true").stdout(std::process::Stdio::piped());
    let mut child = command.spawn().expect("squall can be started");
    // The head of the table comes after the files are begun and before the first run.
    let mut head = String::new();
    let mut out = BufReader::new(child.stdout.take().expect("it is piped"));
    out.read_line(&mut head).expect("squall prints UTF-8");
    child.kill().expect("it runs for minutes");
    child.wait().expect("it was killed");
    assert!(head.contains("1 scenario × 1 seed"), "{head}");
    assert!(!csv.exists(), "half a result looks whole");
    assert!(csv.with_file_name("out.csv.partial").exists(), "the result was not begun before the run");
}

/// A reader that has seen enough is no reason to fail, or to stop the run half-way.
#[test]
fn a_closed_pipe_does_not_change_the_verdict() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(DATA).args(["test", "shop/crash.yaml"]).env("CI", "true");
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().expect("squall can be started");
    drop(child.stdout.take());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}

/// What a newcomer copies from the front page works.
#[test]
fn the_first_scenario_of_the_readme_passes() {
    let dir = directory("readme");
    let readme = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")));
    for block in readme.split("```yaml\n# ").skip(1) {
        let (name, rest) = block.split_once('\n').expect("its first line is its name");
        let text = rest.split("```").next().unwrap_or_default();
        write(&dir.join(name), text);
    }
    squall(&["check", text(&dir)]).ends_with_code(0).says(&["1 scenario"]);
    squall(&["test", text(&dir.join("crash.yaml")), "--seeds", "1..3"])
        .ends_with_code(0)
        .says(&["PASS  crash       3/3"]);
}

/// Planted bugs are compiled only under `--cfg squall_mutants`; their names are where they are looked up.
#[test]
fn the_binary_has_none_of_the_planted_bugs() {
    let binary = fs::read(env!("CARGO_BIN_EXE_squall")).expect("the binary can be read");
    let has = |name: &str| memchr::memmem::find(&binary, name.as_bytes()).is_some();
    assert!(has("none-available"), "text of the decision core is found in the binary");
    let list = read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/mutants/mutants.csv")));
    for name in list.lines().skip(1).filter_map(|line| line.split(',').next()).chain(["SQUALL_MUTANT"]) {
        assert!(!has(name), "{name} is in the binary");
    }
}
