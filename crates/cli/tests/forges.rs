//! The templates for forges (`deploy/ci`) say nothing that `squall` does not know.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use squall_control::yaml::{self, Kind, Node};

const TEMPLATES: [&str; 2] = ["github/action.yml", "gitlab.yml"];

fn template(name: &str) -> Vec<Node> {
    let path = format!("{}/../../deploy/ci/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    yaml::parse(name, &text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

/// The texts under these keys, wherever they stand.
fn texts(node: &Node, keys: &[&str], found: &mut Vec<String>) {
    fn all(node: &Node, found: &mut Vec<String>) {
        match &node.kind {
            Kind::Scalar { text, .. } => found.push(text.clone()),
            Kind::List(nodes) => nodes.iter().for_each(|node| all(node, found)),
            Kind::Map(entries) => entries.iter().for_each(|(_, node)| all(node, found)),
        }
    }
    match &node.kind {
        Kind::Scalar { .. } => {}
        Kind::List(nodes) => nodes.iter().for_each(|node| texts(node, keys, found)),
        Kind::Map(entries) => {
            for (key, node) in entries {
                if keys.contains(&key.name.as_str()) { all(node, found) } else { texts(node, keys, found) }
            }
        }
    }
}

#[test]
fn the_templates_name_only_commands_and_flags_that_there_are() {
    for name in TEMPLATES {
        let mut scripts = Vec::new();
        template(name).iter().for_each(|document| texts(document, &["run", "script", "before_script"], &mut scripts));
        let calls: Vec<&str> = scripts
            .iter()
            .flat_map(|script| script.lines())
            .filter_map(|line| line.split_once("bin/squall ").map(|(_, arguments)| arguments))
            .filter(|arguments| !arguments.starts_with('&'))
            .collect();
        assert!(calls.iter().any(|call| call.starts_with("test ")), "{name} runs no scenario: {calls:?}");
        assert!(calls.iter().any(|call| call.starts_with("merge ")), "{name} merges no shards: {calls:?}");
        for call in calls {
            let mut words = call.split_whitespace();
            let command = words.next().expect("split at a space before a word");
            let help =
                Command::new(env!("CARGO_BIN_EXE_squall")).args([command, "--help"]).output().expect("it starts");
            assert!(help.status.success(), "{name}: there is no `squall {command}`");
            let help = String::from_utf8(help.stdout).expect("squall prints UTF-8");
            let known: BTreeSet<&str> = help.split_whitespace().map(|word| word.trim_end_matches([',', '`'])).collect();
            let unknown: Vec<&str> = words.filter(|word| word.starts_with("--") && !known.contains(word)).collect();
            assert!(unknown.is_empty(), "{name}: `squall {command}` has no {unknown:?}");
        }
    }
}

#[test]
fn every_input_of_the_action_is_used_and_every_use_is_an_input() {
    let [document] = template("github/action.yml").try_into().expect("one document");
    let Kind::Map(entries) = &document.kind else { panic!("no mapping") };
    let inputs = entries.iter().find(|(key, _)| key.name == "inputs").expect("it has inputs");
    let Kind::Map(inputs) = &inputs.1.kind else { panic!("inputs are a mapping") };
    let declared: BTreeSet<String> = inputs.iter().map(|(key, _)| key.name.clone()).collect();
    let mut steps = Vec::new();
    texts(&document, &["runs"], &mut steps);
    let used: BTreeSet<String> = steps
        .iter()
        .flat_map(|text| text.split("inputs.").skip(1))
        .map(|rest| rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '-').collect())
        .collect();
    assert_eq!(declared, used);
}

/// The scripts of a template that call this command of squall with this flag.
fn scripts(name: &str, call: &str) -> Vec<String> {
    let mut found = Vec::new();
    template(name).iter().for_each(|document| texts(document, &["run", "script"], &mut found));
    found.retain(|script| script.contains("bin/squall ") && script.contains(call));
    found
}

/// A directory with the shop, and squall where the templates keep it.
fn workspace(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(path.join(".squall/bin")).expect("the target directory can be written");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_squall"), path.join(".squall/bin/squall"))
        .expect("it can be linked");
    let shop = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/shop");
    for name in ["crash.yaml", "hopeless.yaml", "mesh.yaml"] {
        fs::copy(shop.join(name), path.join(name)).expect("the shop can be copied");
    }
    path
}

#[track_caller]
fn sh(dir: &Path, script: &str, env: &[(&str, &str)]) -> Option<i32> {
    let mut bash = Command::new("bash");
    bash.args(["-e", "-o", "pipefail", "-c", script]).current_dir(dir).env("HOME", dir).env("CI", "true");
    let outputs = ["GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"].map(|name| (name, dir.join(name)));
    let ran = bash.envs(outputs).envs(env.iter().copied()).output().expect("there is bash");
    assert_eq!(String::from_utf8_lossy(&ran.stderr).matches("command not found").count(), 0, "{ran:?}");
    ran.status.code()
}

/// What the templates do with shards gives what they do without.
#[track_caller]
fn shards_give_one_result(name: &str, whole: &[(&str, &str)], part: impl Fn(usize) -> Vec<(&'static str, String)>) {
    let dir = workspace(&format!("forge-{}", name.replace('/', "-")));
    let result = dir.join("squall-junit.xml");
    let take = || {
        let text = fs::read_to_string(&result).expect("it was written");
        fs::remove_file(&result).expect("it is there");
        text
    };
    let all = scripts(name, "--junit").into_iter().find(|script| script.contains("squall test")).expect("there is one");
    assert_eq!(sh(&dir, &all, whole), Some(1), "the shop has a failure");
    let wanted = take();
    let [sharded] = scripts(name, "--shard").try_into().expect("one script runs a shard");
    for nth in 1..=2 {
        let mut env = whole.to_vec();
        let more = part(nth);
        env.extend(more.iter().map(|(name, value)| (*name, value.as_str())));
        assert!(sh(&dir, &sharded, &env).is_some_and(|code| code <= 1), "shard {nth}");
    }
    let [merge] = scripts(name, "squall merge").try_into().expect("one script merges");
    assert_eq!(sh(&dir, &merge, whole), Some(1));
    assert_eq!(take(), wanted);
}

#[test]
fn shards_of_a_workflow_of_github_give_one_result() {
    let whole = [("SCENARIOS", "."), ("SEEDS", "1..3"), ("MODEL", "fast"), ("JUNIT", "squall-junit.xml")];
    shards_give_one_result("github/action.yml", &whole, |nth| vec![("SHARD", format!("{nth}/2"))]);
}

#[test]
fn shards_of_a_pipeline_of_gitlab_give_one_result() {
    let whole = [("SQUALL_SCENARIOS", "."), ("SQUALL_SEEDS", "1..3"), ("SQUALL_MODEL", "fast")];
    let part = |nth: usize| {
        let node = [("CI_NODE_INDEX", nth), ("CI_NODE_TOTAL", 2)];
        let yes = [("SQUALL_SHARDED", "yes".to_owned())].into_iter();
        yes.chain(node.map(|(name, value)| (name, value.to_string()))).collect()
    };
    shards_give_one_result("gitlab.yml", &whole, part);
}
