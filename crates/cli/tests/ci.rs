//! What machines see of `squall`: logs for code scanning, annotations, and results that forges show.

#[expect(dead_code, reason = "shared with the other tests of commands, which use the rest")]
mod runner;

use std::fs;
use std::path::Path;

use runner::{change, read, shop, write};
use serde_json::Value;

fn squall(dir: &Path, args: &[&str], env: &[(&str, &str)]) -> (Option<i32>, String, String) {
    runner::squall_with(dir, args, &[&[("CI", "true")], env].concat())
}

/// What SARIF 2.1.0 requires and what GitHub's code scanning requires of it beyond that.
#[track_caller]
fn results_of(path: &Path) -> Vec<Value> {
    let log: Value = serde_json::from_str(&read(path)).expect("the log is JSON");
    let text = |value: &Value, what: &str| {
        assert!(value.as_str().is_some_and(|text| !text.is_empty()), "{what} is no text but {value}");
    };
    assert_eq!(log["version"], "2.1.0");
    text(&log["$schema"], "$schema");
    let [run] = log["runs"].as_array().expect("runs are a list").as_slice() else { panic!("not one run") };
    let driver = &run["tool"]["driver"];
    text(&driver["name"], "the tool's name");
    assert_eq!(driver["semanticVersion"], env!("CARGO_PKG_VERSION"));
    let rules = driver["rules"].as_array().expect("rules are a list");
    for (nth, rule) in rules.iter().enumerate() {
        text(&rule["id"], "a rule's id");
        assert!(rules[..nth].iter().all(|other| other["id"] != rule["id"]), "{} is there twice", rule["id"]);
        for words in ["shortDescription", "fullDescription", "help"] {
            text(&rule[words]["text"], words);
        }
        assert!(rule["shortDescription"]["text"].as_str().is_some_and(|text| text.len() <= 1024));
    }
    let results = run["results"].as_array().expect("results are a list, also without any");
    for result in results {
        let index = usize::try_from(result["ruleIndex"].as_u64().expect("a number")).expect("small");
        assert_eq!(rules[index]["id"], result["ruleId"]);
        assert_eq!(result["level"], "error");
        text(&result["message"]["text"], "a message");
        text(&result["partialFingerprints"]["primaryLocationLineHash"], "a fingerprint");
        let related = result["relatedLocations"].as_array().into_iter().flatten();
        for location in result["locations"].as_array().expect("locations are a list").iter().chain(related) {
            let at = &location["physicalLocation"];
            let uri = at["artifactLocation"]["uri"].as_str().expect("a URI");
            assert!(!uri.contains([' ', '\\']) && !uri.starts_with('/'), "{uri}");
            let region = |name: &str| at["region"][name].as_u64().expect("a number");
            assert!(region("startLine") >= 1 && region("startColumn") >= 1);
            assert_eq!(region("endLine"), region("startLine"));
            assert!(region("endColumn") > region("startColumn"));
        }
    }
    results.clone()
}

#[test]
fn sarif_has_all_mistakes_of_scenarios_and_mesh_files_with_their_places() {
    let dir = shop("sarif");
    change(&dir.join("crash.yaml"), "stock[0]", "stok[0]");
    fs::create_dir(dir.join("a mesh")).expect("the target directory can be written");
    fs::copy(dir.join("mesh.yaml"), dir.join("a mesh/mesh.yaml")).expect("the mesh can be copied");
    change(&dir.join("a mesh/mesh.yaml"), "kind: Service\n", "kind: Service\nspek: 1\n");
    let (code, _, err) = squall(&dir, &["check", "crash.yaml", "a mesh/mesh.yaml", "--sarif", "out.sarif"], &[]);
    assert_eq!(code, Some(2), "{err}");
    let results = results_of(&dir.join("out.sarif"));
    let find = |rule: &str| {
        let found = results.iter().find(|result| result["ruleId"] == rule);
        found.unwrap_or_else(|| panic!("no result of {rule}: {results:#?}"))
    };
    let scenario = find("squall/scenario");
    let at = &scenario["locations"][0]["physicalLocation"];
    assert_eq!((&at["artifactLocation"]["uri"], &at["region"]["startLine"]), (&"crash.yaml".into(), &21.into()));
    let words = scenario["message"]["text"].as_str().expect("a text");
    assert!(words.contains("`stok` is") && words.contains("did you mean `stock`?"), "{words}");
    let mesh = &find("squall/service")["locations"][0]["physicalLocation"];
    assert_eq!(mesh["artifactLocation"]["uri"], "a%20mesh/mesh.yaml");
    for result in &results {
        let line = &result["locations"][0]["physicalLocation"]["region"]["startLine"];
        assert!(err.contains(&format!(":{line}:")), "the terminal does not show line {line}:\n{err}");
    }
}

#[test]
fn sarif_of_good_files_is_an_empty_list_that_closes_old_alerts() {
    let dir = shop("sarif-good");
    let (code, out, err) = squall(&dir, &["check", ".", "--sarif", "out.sarif"], &[]);
    assert_eq!((code, out.as_str()), (Some(0), "no mistakes in 2 scenarios\n"), "{err}");
    assert_eq!(results_of(&dir.join("out.sarif")), [Value::Null; 0]);
}

#[test]
fn sarif_names_files_that_are_not_yaml_or_not_there() {
    let dir = shop("sarif-yaml");
    change(&dir.join("mesh.yaml"), "kind: Service\n", "kind: [Service\n");
    let (code, _, err) = squall(&dir, &["check", "mesh.yaml", "--sarif", "out.sarif"], &[]);
    assert_eq!(code, Some(2), "{err}");
    assert_eq!(results_of(&dir.join("out.sarif"))[0]["ruleId"], "squall/yaml");
    for (name, nothing) in [("empty.yaml", ""), ("remarks.yaml", "# nothing yet\n")] {
        write(&dir.join(name), nothing);
        let (code, _, err) = squall(&dir, &["check", name], &[]);
        assert_eq!(code, Some(2), "{err}");
        assert!(err.contains("there is nothing in it"), "{err}");
    }
    let (code, _, err) = squall(&dir, &["check", "gone.yaml", "--sarif", "out.sarif"], &[]);
    assert_eq!(code, Some(2), "{err}");
    assert_eq!(results_of(&dir.join("out.sarif"))[0]["ruleId"], "squall/file");
}

#[test]
fn a_log_that_cannot_be_written_is_refused_before_anything_is_read() {
    let dir = shop("sarif-unwritable");
    let (code, out, err) = squall(&dir, &["check", ".", "--sarif", "no/such/out.sarif"], &[]);
    assert_eq!((code, out.as_str()), (Some(2), ""), "{err}");
    assert!(err.contains("cannot write no/such/out.sarif: there is no such directory"), "{err}");
}

#[test]
fn github_gets_an_annotation_at_the_expectation_and_a_summary() {
    let dir = shop("github");
    let summary = dir.join("summary.md");
    write(&summary, "what was there\n");
    let path = summary.to_str().expect("the target directory's name is UTF-8");
    let above = dir.parent().expect("it is in the target directory").to_str().expect("its name is UTF-8");
    let env = [("GITHUB_STEP_SUMMARY", path), ("GITHUB_WORKSPACE", above)];
    let (code, out, err) = squall(&dir, &["test", ".", "--github", "--seeds", "1,2", "--junit", "out.xml"], &env);
    assert_eq!(code, Some(1), "{out}{err}");
    let line =
        read(&dir.join("hopeless.yaml")).lines().position(|line| line.contains("- {overall:")).expect("it is there");
    let start = format!(
        "::error file=github/hopeless.yaml,line={},title=hopeless failed on 2 of 2 seeds::overall: p99 < duration(\"1us\") was ",
        line + 1
    );
    let commands: Vec<&str> = out.lines().filter(|line| line.starts_with("::")).collect();
    let [command] = commands.as_slice() else { panic!("not one annotation:\n{out}") };
    assert!(command.starts_with(&start), "{command}\nis not {start}");
    assert!(command.ends_with("%0Areplay: squall replay ./hopeless.yaml --seed 1"), "{command}");
    assert_eq!(out.lines().last(), Some("replay: squall replay ./hopeless.yaml --seed 1"), "it is not last any more");
    let text = read(&summary);
    for want in [
        "what was there\n### ❌ Squall: 1 of 2 scenarios failed\n",
        "| ✅ | crash | 2/2 | ",
        "| ❌ | hopeless | 0/2 | ",
        "\n#### hopeless\n\noverall: p99 < duration",
        "\nreplay: squall replay ./hopeless.yaml --seed 1\n```\n",
    ] {
        let want = want.replace("p99 < ", "p99 &lt; ");
        assert!(text.contains(&want), "no {want} in\n{text}");
    }
    let junit = read(&dir.join("out.xml"));
    assert_eq!(junit.matches(&format!("file=\"hopeless.yaml\" line=\"{}\"", line + 1)).count(), 2, "{junit}");
    assert!(junit.contains("<system-out>replay: squall replay ./hopeless.yaml --seed 2</system-out>"), "{junit}");
    assert!(junit.contains("<failure message=\"overall: p99 &lt; duration(&quot;1us&quot;) was "), "{junit}");
}

#[test]
fn github_gets_mistakes_in_files_at_their_lines() {
    let dir = shop("github-mistake");
    change(&dir.join("crash.yaml"), "stock[0]", "stok[0]");
    let (code, out, err) = squall(&dir, &["test", "crash.yaml", "--github"], &[]);
    assert_eq!(code, Some(2), "{out}{err}");
    assert!(out.starts_with("::error file=crash.yaml,line=21,col="), "{out}");
    assert!(out.contains("did you mean `stock`?"), "{out}");
}

#[test]
fn without_a_job_there_are_annotations_and_no_summary() {
    let dir = shop("github-without");
    let (code, out, err) = squall(&dir, &["test", "hopeless.yaml", "--github", "--quiet"], &[]);
    assert_eq!(code, Some(1), "{out}{err}");
    assert_eq!(out.matches("::error file=hopeless.yaml,line=").count(), 1, "{out}");
    assert_eq!(fs::read_dir(&dir).expect("it is there").count(), 3, "a file was written");
    let (code, _, err) =
        squall(&dir, &["test", "crash.yaml", "--github"], &[("GITHUB_STEP_SUMMARY", "no/such/summary.md")]);
    assert_eq!(code, Some(4), "{err}");
    assert!(err.contains("cannot write no/such/summary.md"), "{err}");
}
