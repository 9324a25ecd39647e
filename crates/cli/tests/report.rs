//! The page of `squall test --html`: its numbers are the CSV's, and nothing that a file says becomes part of the page.
//! `tests/report/run` looks at it in a browser.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

const SCENARIO: &str = "\
# Does it hold? </script><script>alert('hostile')</script><img src=x onerror=alert(1)>
apiVersion: squall.dev/v1alpha1
kind: Scenario
metadata: {name: hostile}
spec:
  mesh: [mesh.yaml]
  duration: 5s
  services:
    api: {entry: true, replicas: 2, time: 2ms}
  load:
    - {rate: 50/s}
  faults:
    - {at: 1s, for: 2s, errors: {target: api, rate: 50%}}
  expect:
    - overall: \"successRate > 0.99 || '<script>alert(2)</script>' == ''\"
";

fn directory(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("the build's directory can be written");
    path
}

/// The page and the CSV of these runs.
#[track_caller]
fn page(name: &str, scenario: &str, more: &[&str]) -> (String, String) {
    let directory = directory(name);
    let (html, csv) = (directory.join("report.html"), directory.join("runs.csv"));
    let mut squall = Command::new(env!("CARGO_BIN_EXE_squall"));
    squall.arg("test").arg(scenario).args(["--seeds", "3,4", "--quiet"]).args(more);
    let output = squall.arg("--html").arg(&html).arg("--csv").arg(&csv).output().expect("the binary starts");
    assert!(output.status.code().is_some_and(|code| code <= 1), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |path: &PathBuf| std::fs::read_to_string(path).expect("it was written");
    (read(&html), read(&csv))
}

fn data(page: &str) -> Value {
    let (_, rest) =
        page.split_once("<script type=\"application/json\" id=\"data\">").expect("the page has its numbers");
    let (json, _) = rest.split_once("</script>").expect("the element ends");
    serde_json::from_str(json).expect("they are JSON")
}

fn sum(values: &Value) -> u64 {
    values.as_array().expect("a list").iter().filter_map(Value::as_u64).sum()
}

#[track_caller]
fn check_numbers(name: &str, more: &[&str]) {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/policies/breaker-success-rate.yaml");
    let (page, csv) = page(name, scenario, more);
    let data = data(&page);
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let columns: Vec<String> = reader.headers().expect("it has a head").iter().map(str::to_owned).collect();
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("it is CSV")).collect();
    assert_eq!((rows.len(), data["runs"].as_array().map(Vec::len)), (2, Some(2)));
    for (row, run) in rows.iter().zip(data["runs"].as_array().expect("a list")) {
        for (column, cell) in columns.iter().zip(row) {
            assert_eq!(run[column], *cell, "{column}");
        }
    }
    let detail = &data["details"][0];
    let seed = detail["seed"].to_string();
    let at = |column: &str| columns.iter().position(|name| name == column).expect("there is such a column");
    let row = rows.iter().find(|row| row[at("seed")] == seed).expect("the seed that is shown was run");
    assert_eq!(sum(&detail["requests"]).to_string(), row[at("requests")]);
    assert_eq!(sum(&detail["succeeded"]).to_string(), row[at("succeeded")]);
    let amplification = sum(&detail["attempts"]) as f64 / sum(&detail["firsts"]) as f64;
    assert_eq!(format!("{amplification:.6}"), row[at("amplification_ratio")]);
    let heat: u64 = detail["heat"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|bin| bin.as_array().expect("a list").chunks(2).map(|pair| pair[1].as_u64().unwrap_or(0)).sum::<u64>())
        .sum();
    assert_eq!(heat.to_string(), row[at("requests")], "every request is in the heat map once");
    let lanes = detail["lanes"].as_array().expect("a list");
    assert!(lanes.iter().any(|lane| lane["states"].as_str().is_some_and(|states| states.contains('o'))), "{lanes:?}");
    assert!(page.contains(&format!("squall replay {scenario} --seed {seed}")), "the command is there");
}

#[test]
fn the_numbers_of_the_page_are_those_of_the_csv() {
    check_numbers("report-full", &[]);
}

#[test]
fn the_fast_model_has_a_page_too() {
    check_numbers("report-fast", &["--model", "fast"]);
}

/// In this mesh one service of three proves nothing.
#[test]
fn the_graph_says_of_each_edge_who_proved_who_they_are() {
    let scenario = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/policies/peer-authentication.yaml");
    let (page, _) = page("report-edges", scenario, &[]);
    let detail = &data(&page)["details"][0];
    let edges = detail["edges"].as_array().expect("a list");
    assert_eq!(edges.len(), 4, "{edges:?}");
    for edge in edges {
        let (proven, unproven, requests) = (sum(&edge["proven"]), sum(&edge["unproven"]), sum(&edge["requests"]));
        let wanted = if edge["to"] == "printer" { (0, requests) } else { (requests, 0) };
        assert_eq!((proven, unproven), wanted, "{} to {}", edge["from"], edge["to"]);
    }
    for service in detail["services"].as_array().expect("a list") {
        for which in ["proven", "unproven"] {
            let of_edges: u64 =
                edges.iter().filter(|edge| edge["to"] == service["name"]).map(|edge| sum(&edge[which])).sum();
            assert_eq!(of_edges, sum(&service[which]), "{which} of {}", service["name"]);
        }
    }
    assert_eq!(page.matches(">no mTLS</text>").count(), 1, "it stands at one edge of the picture");
    assert_eq!(page.matches("<td>no mTLS</td>").count(), 1, "and in one row of the table");
}

#[test]
fn the_same_runs_give_the_same_bytes_and_nothing_in_a_file_becomes_markup() {
    let file = directory("report-hostile").join("hostile.yaml");
    #[expect(clippy::disallowed_methods, reason = "what a test reads is no result")]
    std::fs::write(&file, SCENARIO).expect("the build's directory can be written");
    let mesh = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/policies/mesh/outlier-success-rate.yaml");
    std::fs::copy(mesh, file.with_file_name("mesh.yaml")).expect("the mesh is a file");
    let path = file.to_str().expect("the path is text");
    let (one, _) = page("report-hostile", path, &["--jobs", "1"]);
    let (other, _) = page("report-hostile", path, &["--jobs", "2"]);
    assert_eq!(one, other);
    assert!(one.contains("Does it hold? &lt;/script&gt;"), "the question is shown");
    assert!(!one.contains("<script>alert") && !one.contains("<img"), "it is text");
    assert!(!one.contains("src=\"") && !one.contains("@import") && !one.contains("url("), "nothing is fetched");
    assert!(one.len() < 5_000_000);
}
