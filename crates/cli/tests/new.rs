//! `squall new` as newcomers use it: what it writes passes at once.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::fs;

use runner::{directory, squall};

#[track_caller]
fn passes(test: &str, args: &[&str]) {
    let dir = directory(test);
    let mut all = vec!["new", "--out", "made"];
    all.extend(args);
    let (code, out, err) = squall(&dir, &all);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("wrote made/scenario.yaml") && out.contains("squall test made/scenario.yaml"), "{out}");
    let (code, out, err) = squall(&dir, &["check", "made"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let (code, out, err) = squall(&dir, &["test", "made", "--seeds", "1..3", "--model", "fast"]);
    assert_eq!(code, Some(0), "{out}{err}");
}

#[test]
fn what_is_written_passes_at_once() {
    passes("new-one", &["--service", "alone"]);
    passes("new-one-pod", &["--service", "front", "--service", "stock", "--call", "front=stock", "--replicas", "1"]);
    passes(
        "new-at-once",
        &["--call", "front=ads+catalog,cart", "--call", "cart=db", "--call", "catalog=db", "--rate", "200/s"],
    );
    passes(
        "new-deep",
        &["-c", "a=b", "-c", "b=c", "-c", "c=d", "-c", "d=e", "-c", "e=f", "--replicas", "3", "--name", "deep"],
    );
    passes("new-two-doors", &["-c", "web=cart", "-c", "app=cart,user", "--rate", "50/s"]);
}

#[test]
fn what_is_written_passes_in_the_full_world_too_and_is_commented() {
    let dir = directory("new-full");
    let (code, _, err) = squall(&dir, &["new", "--service", "front", "--service", "stock", "--call", "front=stock"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = squall(&dir, &["test", "shop", "--seeds", "1..2"]);
    assert_eq!(code, Some(0), "{out}{err}");
    let scenario = fs::read_to_string(dir.join("shop/scenario.yaml")).expect("it was written");
    assert!(scenario.starts_with("# Do users notice that one of 2 pods of stock crashes?\n"), "{scenario}");
    assert!(scenario.contains("`squall explain faults`"), "{scenario}");
    let mesh = fs::read_to_string(dir.join("shop/mesh.yaml")).expect("it was written");
    for kind in ["kind: Service\n", "kind: HTTPRoute\n", "kind: TrafficPolicy\n"] {
        assert_eq!(mesh.matches(kind).count(), 2, "{mesh}");
    }
}

#[test]
fn files_that_are_there_are_left_alone_unless_forced() {
    let dir = directory("new-twice");
    let args = ["new", "--service", "front", "--out", "."];
    assert_eq!(squall(&dir, &args).0, Some(0));
    let before = fs::read_to_string(dir.join("scenario.yaml")).expect("it was written");
    let (code, _, err) = squall(&dir, &["new", "--service", "other", "--out", "."]);
    assert_eq!(code, Some(2));
    assert!(err.contains("scenario.yaml is there already") && err.contains("--force"), "{err}");
    assert_eq!(fs::read_to_string(dir.join("scenario.yaml")).expect("it is there"), before);
    assert_eq!(squall(&dir, &["new", "--service", "other", "--out", ".", "--force"]).0, Some(0));
    assert_ne!(fs::read_to_string(dir.join("scenario.yaml")).expect("it is there"), before);
}

#[test]
fn a_mesh_drawn_at_random_passes_and_is_the_same_again() {
    passes("new-random", &["--random", "12", "--depth", "3", "--seed", "5"]);
    let dir = directory("new-random-twice");
    let drawn = |out: &str, seed: &str| {
        let (code, _, err) = squall(&dir, &["new", "--random", "9", "--seed", seed, "--out", out, "--name", "drawn"]);
        assert_eq!(code, Some(0), "{err}");
        ["scenario.yaml", "mesh.yaml"].map(|file| fs::read_to_string(dir.join(out).join(file)).expect("it was written"))
    };
    let first = drawn("a", "7");
    assert!(first[0].contains("# Drawn: squall new --random 9 --depth 4 --seed 7\n"), "{}", first[0]);
    assert_eq!(first, drawn("b", "7"));
    assert_ne!(first, drawn("c", "8"));
    let (code, _, err) = squall(&dir, &["new", "--random", "4", "--rate", "20/s", "--out", "small"]);
    assert_eq!(code, Some(0), "{err}");
    let (code, out, err) = squall(&dir, &["test", "small"]);
    assert_eq!(code, Some(0), "in the full world: {out}{err}");
}

#[test]
fn calls_that_meet_again_and_again_take_no_longer_to_write() {
    let dir = directory("new-lattice");
    // Each calls the next twice: 2^40 ways through.
    let calls: Vec<String> = (0..40).map(|nth| format!("s{nth}=t{nth}+u{nth}")).collect();
    let back: Vec<String> = (0..40).flat_map(|nth| ["t", "u"].map(|of| format!("{of}{nth}=s{}", nth + 1))).collect();
    let args: Vec<&str> = calls.iter().chain(&back).flat_map(|call| ["-c", call.as_str()]).collect();
    let (code, _, err) = squall(&dir, &[&["new"], &args[..]].concat());
    assert_eq!(code, Some(0), "{err}");
}

#[test]
fn what_cannot_be_written_is_the_machines_fault_and_one_service_is_one() {
    let dir = directory("new-full-disk");
    let (code, out, err) = squall(&dir, &["new", "--service", "front", "--out", "/dev/full/x"]);
    assert_eq!((code, out.as_str()), (Some(4), ""));
    assert!(err.contains("error: cannot make /dev/full/x: "), "{err}");
    let (code, out, _) = squall(&dir, &["new", "--service", "front"]);
    assert!(code == Some(0) && out.contains("\n1 service. Next:\n"), "{out}");
}

#[test]
fn mistakes_write_nothing() {
    let dir = directory("new-wrong");
    for (args, words) in [
        (&["new"][..], "no service is named"),
        (&["new", "-s", "a", "-c", "a=b"], "`b` is called, but no --service"),
        (&["new", "-c", "a=b", "-c", "b=a"], "calls go in a circle"),
        (&["new", "-s", "a", "--rate", "fast"], "a rate is a number per second"),
        (&["new", "--random", "1"], "1 is not in 2..=1000"),
        (&["new", "--random", "5", "-s", "a"], "cannot be used with"),
        (&["new", "--seed", "5"], "--random <N>"),
        (&["new", "--random", "5", "--name", "A b"], "such as `a-b`"),
    ] {
        let (code, out, err) = squall(&dir, args);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{args:?}");
        assert!(err.contains(words), "{err}");
    }
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 0);
}
