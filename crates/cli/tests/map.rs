//! `squall map` as a process.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::path::Path;

use runner::{directory, read};

fn squall(args: &[&str]) -> (Option<i32>, String, String) {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    runner::squall(&repository, &[&["map"], args].concat())
}

const SMALL: [&str; 9] = [
    "scenarios/metastable/outage.yaml",
    "--x",
    "load=0.5..2",
    "--y",
    "fault.for=5s..10s",
    "--cells",
    "3x2",
    "--duration",
    "40s",
];

#[test]
fn a_map_is_the_same_on_any_number_of_threads_and_its_page_says_what_its_tables_say() {
    let dir = directory("map");
    let [one, two] = ["1", "2"].map(|jobs| {
        let out = dir.join(jobs);
        let (code, said, wrong) =
            squall(&[&SMALL[..], &["--jobs", jobs, "--out", out.to_str().expect("UTF-8")]].concat());
        assert_eq!(code, Some(0), "{said}\n{wrong}");
        assert!(said.lines().all(|line| line.chars().count() <= 80), "{said}");
        (out, said)
    });
    let files = ["cells.csv", "boundary.csv", "map.svg", "index.html"];
    for file in files {
        assert_eq!(read(&one.0.join(file)), read(&two.0.join(file)), "{file}");
    }
    let [cells, boundary, svg, page] = files.map(|file| read(&one.0.join(file)));
    assert_eq!(cells.lines().count(), 1 + 3 * 2);
    assert!(page.contains(&svg) && !page.contains("<script") && !page.contains("src="));
    for row in boundary.lines().skip(1) {
        let fields: Vec<&str> = row.split(',').collect();
        let in_page = format!("<tr><td>{}</td><td>{}</td><td>{}</td>", fields[0], fields[1], fields[2]);
        assert!(page.contains(&in_page) && fields[3] == "metastable", "{row}");
    }
    for row in cells.lines().skip(1) {
        let state = row.split(',').nth(2).expect("a state");
        assert_eq!(cells.matches(&format!(",{state},")).count(), svg.matches(&format!("class=\"{state}\"")).count());
    }
    assert!(one.1.contains(" 10.00 |.##\n") && one.1.contains(": metastable beyond\n"), "{}", one.1);

    // The place that it names runs as the map ran it.
    let place = one.1.split("--at ").nth(1).and_then(|rest| rest.split_whitespace().next()).expect("a place");
    let (code, story, _) = squall(&[&SMALL[..], &["--at", place]].concat());
    assert!(code == Some(0) && story.contains("outage of db: 10.000 s to "), "{story}");
}

#[test]
fn what_cannot_be_mapped_is_refused_before_anything_runs() {
    let with = |from: usize, to: &'static str| {
        let mut args = SMALL;
        args[from] = to;
        args
    };
    for (args, want) in [
        (with(2, "laod=1..2"), "there is no `laod` to vary"),
        (with(2, "fault.for=1s..2s"), "the same quantity"),
        (with(4, "fault=2..20"), "no strength that could vary"),
        (with(6, "1x1"), "such as 20x20"),
        (with(0, "scenarios/metastable/nowhere.yaml"), "cannot read it"),
        (with(0, "scenarios/boutique/healthy.yaml"), "has no fault that could be over"),
        (with(8, "21s"), "there must be time between them"),
        (with(2, "load=0.5..1e18"), "is more than 1000000/s"),
        (with(4, "policy/impatient/retries.attempts=1..1"), "does not go up"),
    ] {
        let (code, said, wrong) = squall(&args);
        assert!(code == Some(2) && wrong.contains(want) && !said.contains("picture"), "{args:?}: {wrong}");
    }
}

#[test]
fn a_place_that_no_map_has_is_refused_with_what_it_may_be() {
    for (at, want) in [
        ("1,-5", "fault (s) cannot be -5"),
        ("NaN,5", "cannot be NaN"),
        ("1,1e300", "a day"),
        ("1,35", "there must be time between them"),
        ("1e18,5", "is more than 1000000/s"),
    ] {
        let (code, said, wrong) = squall(&[&SMALL[..], &["--at", at]].concat());
        assert!(code == Some(2) && wrong.contains(want) && said.is_empty(), "{at}: {wrong}");
    }
    let (code, _, wrong) = squall(&[&SMALL[..], &["--out", "/dev/full/x"]].concat());
    assert!(code == Some(4) && wrong.contains("cannot make /dev/full/x"), "{wrong}");
}
