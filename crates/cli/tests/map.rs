//! `squall map` as a process.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn directory(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).expect("the target directory can be written");
    path
}

fn squall(args: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_squall"));
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let output = command.current_dir(at).env("CI", "true").arg("map").args(args).output();
    let Output { status, stdout, stderr } = output.expect("squall can be started");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("squall prints UTF-8");
    (status.code(), text(stdout), text(stderr))
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

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

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
    ] {
        let (code, said, wrong) = squall(&args);
        assert!(code == Some(2) && wrong.contains(want) && !said.contains("picture"), "{args:?}: {wrong}");
    }
}
