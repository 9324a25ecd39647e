//! Parts of a campaign, put together, are the campaign: every byte that a person, a forge or a program reads.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::fs;
use std::path::Path;

use runner::{read, shop, squall_with, write};

const RESULTS: [&str; 3] = ["out.csv", "out.xml", "summary.md"];

fn squall(dir: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    squall_with(dir, args, &[("CI", "true"), ("GITHUB_STEP_SUMMARY", "summary.md")])
}

/// Exit code, stdout and the result files, which are taken away.
#[track_caller]
fn results(dir: &Path, args: &[&str]) -> (Option<i32>, String, Vec<String>) {
    let outputs = ["--csv", "out.csv", "--junit", "out.xml", "--github"];
    let (code, out, err) = squall(dir, &[args, &outputs].concat());
    let files = RESULTS.map(|name| {
        let path = dir.join(name);
        assert!(path.exists(), "no {name} of {args:?}: {out}{err}");
        let text = read(&path);
        fs::remove_file(path).expect("it is there");
        text
    });
    (code, out, files.into())
}

/// Runs every part; gives the names of their files.
#[track_caller]
fn parts(dir: &Path, args: &[&str], of: usize) -> Vec<String> {
    let part = |nth: usize| {
        let (shard, file) = (format!("{nth}/{of}"), format!("squall-shard-{nth}-of-{of}.jsonl"));
        let (code, out, err) = squall(dir, &[args, &["--shard", &shard]].concat());
        assert!(code.is_some_and(|code| code <= 2), "{out}{err}");
        assert!(out.contains(&format!("; shard {nth} of {of}: ")), "{out}");
        assert!(dir.join(&file).exists(), "{out}{err}");
        file
    };
    (1..=of).map(part).collect()
}

/// The same campaign whole and in 1, 2, 3 and more parts than runs.
#[track_caller]
fn the_same(test: &str, args: &[&str], code: i32, says: &str) {
    let dir = shop(test);
    let whole = results(&dir, args);
    assert_eq!(whole.0, Some(code), "{}", whole.1);
    assert!(whole.1.contains(says), "{}", whole.1);
    for of in [1, 2, 3, 7] {
        let mut files = parts(&dir, args, of);
        // Their order says nothing.
        files.reverse();
        let names: Vec<&str> = ["merge"].into_iter().chain(files.iter().map(String::as_str)).collect();
        let merged = results(&dir, &names);
        assert_eq!(merged.0, whole.0, "{of} parts end otherwise");
        assert_eq!(merged.1, whole.1, "{of} parts say something else");
        for ((name, one), other) in RESULTS.iter().zip(&whole.2).zip(&merged.2) {
            assert_eq!(one, other, "{name} of {of} parts");
        }
    }
}

#[test]
fn parts_together_are_the_whole_to_the_byte() {
    the_same("shards-full", &["test", ".", "--seeds", "3..5"], 1, "1 passed, 1 failed");
}

#[test]
fn the_same_goes_for_what_was_refused_and_for_what_ran_twice() {
    let loss = "{at: 2s, for: 2s, loss: {between: [front, stock], rate: 10%}}";
    let dir = shop("shards-refused");
    let crash = read(&dir.join("crash.yaml")).replace("{at: 2s, for: 2s, crash: {target: \"stock[0]\"}}", loss);
    assert!(crash.contains("loss"), "the shop's crash is another");
    write(&dir.join("crash.yaml"), &crash);
    let args = ["test", ".", "--seeds", "1,2", "--model", "fast", "--verify"];
    let whole = results(&dir, &args);
    assert_eq!(whole.0, Some(2), "{}", whole.1);
    assert!(whole.1.contains("1 failed, 1 refused"), "{}", whole.1);
    let files = parts(&dir, &args, 2);
    let merged = results(&dir, &["merge", &files[0], &files[1]]);
    assert!(merged == whole, "{}\nis not\n{}", merged.1, whole.1);
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let dir = shop("shards-wrong");
    let args = ["test", ".", "--model", "fast", "--seeds"];
    let files = parts(&dir, &[&args[..], &["1..2"]].concat(), 2);
    let [one, two] = files.as_slice() else { panic!("two parts were made") };
    let kept = read(&dir.join(two));
    let check = |names: &[&str], why: &str| {
        let (code, out, err) = squall(&dir, &[&["merge"], names].concat());
        assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
        assert!(err.contains(why), "no `{why}` in {err}");
    };
    check(&[one], "of 2 shards there is no shard 2");
    check(&[one, two, one], &format!("shard 1 is there twice: {one} and {one}"));
    check(&[one, "mesh.yaml"], "mesh.yaml was not written by `squall test --shard`");
    check(&[one, "gone.jsonl"], "cannot read gone.jsonl");
    check(&[one, two, "--html", "out.html"], "--html needs the timelines and stories of runs");
    for (from, to, why) in [
        ("\"squall_shard\":1", "\"squall_shard\":2", "is of format 2, and this squall reads 1"),
        ("\"code\":\"", "\"code\":\"f", "differ in the sources squall was built from: "),
        ("\"of\":2", "\"of\":3", "has not the runs of shard 2 of 3"),
        ("\"shard\":2", "\"shard\":0", "changed.jsonl:1: there is no shard 0 of 2"),
        ("\"of\":2", "\"of\":0", "changed.jsonl:1: there is no shard 2 of 0"),
        ("\"of\":2", "\"of\":18446744073709551615", "there is no shard 2 of 18446744073709551615"),
        ("\"seeds\":2", "\"seeds\":18446744073709551615", "has not the runs of shard 2 of 2"),
        ("\"question\":\"Do ", "\"question\":\"Does ", "differ in the scenario crash, its files"),
    ] {
        let changed = kept.replacen(from, to, 1);
        assert!(changed != kept, "{from} is not in {kept}");
        write(&dir.join("changed.jsonl"), &changed);
        check(&[one, "changed.jsonl"], why);
    }
    let lines: Vec<&str> = kept.lines().collect();
    write(&dir.join("cut.jsonl"), format!("{}\n", lines[..lines.len() - 1].join("\n")));
    check(&[one, "cut.jsonl"], "cut.jsonl was cut off");
    write(&dir.join("cut.jsonl"), &kept[..kept.len() - 40]);
    check(&[one, "cut.jsonl"], "cut.jsonl was cut off");
    let without = [&lines[..1], &lines[2..]].concat();
    write(&dir.join("less.jsonl"), format!("{}\n", without.join("\n")));
    check(&[one, "less.jsonl"], "less.jsonl has not the runs of shard 2 of 2");
    squall(&dir, &[&args[..], &["1,3", "--shard", "2/2", "--shard-file", "other.jsonl"]].concat());
    check(&[one, "other.jsonl"], "differ in the list of seeds");
    let (code, _, err) = squall(&dir, &["test", ".", "--shard", "3/2"]);
    assert_eq!(code, Some(2));
    assert!(err.contains("from 1/N to N/N"), "{err}");
}
