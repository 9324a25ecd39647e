//! The templates for forges (`deploy/ci`) say nothing that `squall` does not know.

use std::collections::BTreeSet;
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
        template(name).iter().for_each(|document| texts(document, &["run", "script"], &mut scripts));
        let calls: Vec<&str> = scripts
            .iter()
            .flat_map(|script| script.lines())
            .filter_map(|line| line.split_once("bin/squall ").map(|(_, arguments)| arguments))
            .filter(|arguments| !arguments.starts_with('&'))
            .collect();
        assert!(calls.iter().any(|call| call.starts_with("test ")), "{name} runs no scenario: {calls:?}");
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
