//! `squall tune` as a process: what it writes, that it repeats, and that a kill loses nothing.

#[path = "../../sim/tests/tuning/mod.rs"]
mod tuning;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tuning::{MESH, POLICY, SCENARIO, TUNING};

/// A directory of the test's own with the files of a tuning.
fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("the target directory can be written");
    for (name, text) in
        [("mesh.yaml", MESH), ("policy.yaml", POLICY), ("failing.yaml", SCENARIO), ("tuning.yaml", TUNING)]
    {
        write(&path.join(name), text);
    }
    path
}

fn write(path: &Path, text: &str) {
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).open(path).expect("it can be written");
    file.write_all(text.as_bytes()).expect("it can be written");
}

fn command(directory: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    command.current_dir(directory).env("CI", "true").env_remove("RUST_LOG").arg("tune").args(args);
    command
}

/// Exit code, stdout, stderr.
fn squall(directory: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command(directory, args).output().expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    (status.code(), text(stdout), text(stderr))
}

fn read(path: PathBuf) -> String {
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

const RESULTS: [&str; 6] =
    ["recommended.yaml", "evaluations.csv", "pareto.csv", "pareto.svg", "confirmed.csv", "sensitivity.csv"];

#[test]
fn a_search_that_was_killed_ends_as_one_that_was_not() {
    let at = directory("tune-killed");
    let whole = ["tuning.yaml", "--evaluations", "30", "--finalists", "1"];
    let (code, out, err) = squall(&at, &[&whole[..], &["-o", "whole", "--jobs", "2"]].concat());
    assert_eq!(code, Some(0), "{out}\n{err}");
    for line in out.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }

    let mut child = command(&at, &[&whole[..], &["-o", "killed", "--jobs", "1"]].concat())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("squall can be started");
    let lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let first = lines.map_while(Result::ok).find(|line| line.starts_with("round 1:"));
    assert!(first.is_some(), "it says when a round ends");
    // SIGKILL: nothing of it runs any more.
    child.kill().expect("it runs");
    let _ = child.wait().expect("it ended");
    let journal = at.join("killed/journal.jsonl");
    let runs = read(journal.clone()).lines().count();
    assert!(runs > 10, "every run is in the journal as it ends: {runs} lines");
    assert!(!at.join("killed/recommended.yaml").exists(), "nothing looks finished");
    // A line that was cut off in the middle is no line.
    let mut file = fs::OpenOptions::new().append(true).open(&journal).expect("it is there");
    file.write_all(b"{\"variant\":\"1 | 5").expect("it can be written");

    let (code, _, err) = squall(&at, &[&whole[..], &["-o", "killed"]].concat());
    assert!(code == Some(2) && err.contains("go on with --resume"), "{err}");
    let (code, again, err) = squall(&at, &[&whole[..], &["-o", "killed", "--resume"]].concat());
    assert_eq!(code, Some(0), "{again}\n{err}");
    assert!(err.contains("runs in the journal"), "{err}");
    assert_eq!(again.replace("killed/", "whole/"), out);
    for name in RESULTS {
        assert_eq!(read(at.join("killed").join(name)), read(at.join("whole").join(name)), "{name}");
    }

    let kept = read(journal.clone());
    let (before, after) = kept.split_once("\"values\":[").expect("runs have values");
    write(&journal, &format!("{before}\"values\":[{}", &after[after.find(']').expect("a list")..]));
    let (code, _, err) = squall(&at, &[&whole[..], &["-o", "killed", "--resume"]].concat());
    assert!(code == Some(2) && err.contains("journal.jsonl:2: this is no line of a journal"), "{err}");

    write(&at.join("policy.yaml"), &POLICY.replace("attempts: 4", "attempts: 3"));
    let (code, _, err) = squall(&at, &[&whole[..], &["-o", "killed", "--resume"]].concat());
    assert!(code == Some(2) && err.contains("of other inputs"), "{err}");
}

/// Each row of the fast model in pareto.csv is a point of pareto.svg, once in each panel, with every digit.
#[track_caller]
fn the_picture_says_what_the_table_says(out: &Path) {
    let (table, picture) = (read(out.join("pareto.csv")), read(out.join("pareto.svg")));
    let mut rows = table.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let head = rows.next().expect("a head");
    let panels = picture.matches("rotate(-90)").count();
    assert!(panels >= 1, "{picture}");
    let mut points = 0;
    for row in rows.filter(|row| row[2] == "fast") {
        let cells = row.iter().map(|cell| if cell.is_empty() { "(default)" } else { cell });
        let said: String = head.iter().zip(cells).skip(5).map(|(name, cell)| format!("\n{name}: {cell}")).collect();
        let title = format!("<title>candidate {}{said}</title>", row[1]);
        assert_eq!(picture.matches(&title).count(), panels, "{title}\n{picture}");
        points += 1;
    }
    assert!(points >= 2, "{table}");
    // One in the legend, and one in each panel.
    assert_eq!(picture.matches("class=\"recommended\"").count(), 1 + panels, "{picture}");
}

#[test]
fn what_is_recommended_can_be_deployed_and_what_is_not_fails_as_it_is_said() {
    let at = directory("tune-deployed");
    let (code, out, err) = squall(&at, &["tuning.yaml", "--evaluations", "20", "--finalists", "1", "-o", "out"]);
    assert_eq!(code, Some(0), "{out}\n{err}");
    let recommended = read(at.join("out/recommended.yaml"));
    assert!(recommended.contains("attempts: 1 # as many as anybody dares"), "{recommended}");
    assert!(
        recommended.starts_with("# Found by: squall tune tuning.yaml --evaluations 20 --finalists 1\n"),
        "{recommended}"
    );
    the_picture_says_what_the_table_says(&at.join("out"));
    let replay = out.lines().find_map(|line| line.trim().strip_prefix("squall replay ")).expect("a counter-example");
    let output = Command::new(env!("CARGO_BIN_EXE_squall"))
        .current_dir(&at)
        .arg("replay")
        .args(replay.split(' '))
        .output()
        .expect("squall can be started");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    // The manifests as they are to be deployed, in place of those that were tuned.
    write(&at.join("policy.yaml"), &recommended);
    let check = Command::new(env!("CARGO_BIN_EXE_squall"))
        .current_dir(&at)
        .args(["check", "failing.yaml", "tuning.yaml"])
        .output();
    let check = check.expect("squall can be started");
    assert_eq!(String::from_utf8_lossy(&check.stdout), "no mistakes in 1 scenario and 1 tuning\n");
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let at = directory("tune-refused");
    write(&at.join("broken.yaml"), "kind: [Tuning");
    for (args, want) in [
        (&["failing.yaml"][..], "with --auto"),
        (&["tuning.yaml", "failing.yaml"], "name nothing beside it"),
        (&["tuning.yaml", "--auto"], "--auto and --seeds are for scenarios"),
        (&["tuning.yaml", "--evaluations", "0"], "1..=100000"),
        (&["tuning.yaml", "--minutes", "0"], "minutes are a number"),
        (&["tuning.yaml", "--minutes", "1", "--evaluations", "5"], "cannot be used with"),
        (&["nowhere.yaml", "--auto"], "cannot read it"),
        (&["nowhere.yaml"], "cannot read it"),
        (&["broken.yaml"], "broken.yaml:"),
    ] {
        let (code, _, err) = squall(&at, &[args, &["-o", "out"]].concat());
        assert!(code == Some(2) && err.contains(want), "{args:?}: {err}");
    }
    write(&at.join("tuning.yaml"), &TUNING.replace("retries.attempts", "retries.attempst"));
    let (code, _, err) = squall(&at, &["tuning.yaml", "-o", "out"]);
    assert!(code == Some(2) && err.contains("did you mean `attempts`?"), "{err}");
}

#[test]
fn policies_are_compared_pair_by_pair() {
    let at = directory("compare");
    write(&at.join("one.yaml"), &POLICY.replace("attempts: 4 # as many as anybody dares", "attempts: 1"));
    // Another name, but for the same Service: it stands in place of the other all the same.
    write(
        &at.join("same.yaml"),
        &POLICY.replace("name: shop, namespace: test}\nspec", "name: other, namespace: test}\nspec"),
    );
    write(&at.join("bad.yaml"), &POLICY.replace("attempts: 4", "attempts: 0"));
    let compare = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_squall"))
            .current_dir(&at)
            .env("CI", "true")
            .arg("compare")
            .args(args)
            .output();
        let Output { status, stdout, stderr } = output.expect("squall can be started");
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
        (status.code(), text(stdout), text(stderr))
    };
    let over = ["-s", "failing.yaml", "--seeds", "1..4", "--model", "fast"];
    let (code, out, err) = compare(
        &[&["current", "one.yaml", "twin=same.yaml"], &over[..], &["--csv", "out.csv", "--table", "out.md"]].concat(),
    );
    assert_eq!(code, Some(0), "{out}\n{err}");
    let page = read(at.join("out.md"));
    let again =
        "squall compare current one.yaml twin=same.yaml -s failing.yaml --seeds 1..4 --model fast --table out.md";
    assert!(page.contains(again) && page.contains("| current against twin | 0 | 0 | 1 |  |"), "{page}");
    // Four retries succeed more often, one retry costs less: neither dominates. The twin is the current one in all.
    assert!(out.contains("current against one (99 %, paired)\n  better on 0, worse on 0, neither on 1"), "{out}");
    assert!(out.contains("      better successRate; worse p99, amplification"), "{out}");
    assert!(out.ends_with("one against twin (99 %, paired)\n  better on 0, worse on 0, neither on 1\n  · failing\n      better p99, amplification; worse successRate\n"), "{out}");
    assert!(out.lines().all(|line| line.chars().count() <= 80), "{out}");
    let csv = read(at.join("out.csv"));
    assert!(csv.lines().any(|line| line.starts_with("failing,current,twin,p99,s,0,0,0,,4,")), "{csv}");
    assert_eq!(csv.lines().count(), 1 + 4 * (3 + 3));

    // What costs more may, up to a point: then success alone counts.
    let margins = ["--margin", "p99=1h", "--margin", "amplification=100", "--table", "margin.md"];
    let (code, out, err) = compare(&[&["current", "one.yaml"], &over[..], &margins].concat());
    assert_eq!(code, Some(0), "{out}\n{err}");
    assert!(out.ends_with("  better on 1, worse on 0, neither on 0\n  + failing\n      better successRate\n"), "{out}");
    assert!(read(at.join("margin.md")).contains(" --model fast --margin p99=1h --margin amplification=100 --table"));

    let (code, out, err) = compare(&[&["current", "bad.yaml"], &over[..]].concat());
    assert!(code == Some(2) && out.contains("  bad                  refused\n"), "{out}");
    assert!(err.contains("bad on failing: bad.yaml:7:15: expected a whole number from 1 to 1000"), "{err}");
    for (args, want) in [
        (&["current", "nowhere.yaml"][..], "cannot read it"),
        (&["current", "current"], "two policies are called `current`"),
        (&["current", "tuning.yaml", "--seeds", "1"], "one seed says nothing"),
        (&["current", "one.yaml", "--margin", "p98=1"], "no measure `p98`"),
        (&["current", "one.yaml", "--margin", "p99=1"], "`1` has no unit"),
        (&["current", "one.yaml", "--margin", "amplification=-1"], "such as amplification=0.05"),
        (&["current"], "POLICY"),
    ] {
        let (code, _, err) = compare(&[args, if args.contains(&"--seeds") { &over[..2] } else { &over[..] }].concat());
        assert!(code == Some(2) && err.contains(want), "{args:?}: {err}");
    }
}
