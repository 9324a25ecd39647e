//! YAML with places.

use squall_control::yaml::{self, Kind, Value};
use squall_control::{Mistakes, Place};

#[track_caller]
fn refused(text: &str, want: &[&str]) {
    let mistakes = yaml::parse("in.yaml", text).expect_err("must be refused");
    let lines: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
    assert_eq!(lines, want);
}

#[test]
fn what_no_manifest_needs_is_refused_all_at_once() {
    refused(
        "a: 1\nb: &x [1]\nc: !t 2\na: 3\n[1]: 4\n",
        &[
            "in.yaml:2:7: anchors (`&name`) are not supported",
            "in.yaml:3:7: tags (`!name`) are not supported",
            "in.yaml:4:1: `a` is given twice",
            "in.yaml:5:1: a key must be text",
        ],
    );
    refused("a: [1\n", &["in.yaml:1:4: not YAML: unclosed bracket '['"]);
    let deep = format!("{}{}", "[".repeat(70), "]".repeat(70));
    refused(&deep, &["in.yaml:1:66: nested deeper than 64 levels"]);
}

#[test]
fn empty_documents_are_left_out_and_comments_are_no_data() {
    let documents = yaml::parse("in.yaml", "# nothing\n---\n---\na: 1 # one\n---\n~\n").expect("YAML");
    assert_eq!(documents.len(), 1);
    assert_eq!(yaml::parse("in.yaml", "").expect("YAML"), []);
}

#[test]
fn every_node_knows_its_line_column_and_bytes() {
    let text = "a:\n  - é: {k: [1, 2]}\n    b: two words\n";
    let documents = yaml::parse("in.yaml", text).expect("YAML");
    let mut found = Vec::new();
    let mut todo = vec![&documents[0]];
    let show = |place: &Place| {
        let meant = text.get(place.start..place.end).expect("whole characters").lines().next().unwrap_or_default();
        format!("{}:{}+{} {meant}", place.line, place.column, place.length)
    };
    while let Some(node) = todo.pop() {
        found.push(show(&node.place));
        match &node.kind {
            Kind::Scalar { .. } => {}
            Kind::List(items) => todo.extend(items),
            Kind::Map(entries) => {
                for (key, value) in entries {
                    found.push(show(&key.place));
                    todo.push(value);
                }
            }
        }
    }
    found.sort();
    assert_eq!(
        found,
        [
            "1:1+1 a",
            "1:1+2 a:",
            "2:12+6 [1, 2]",
            "2:13+1 1",
            "2:16+1 2",
            "2:3+16 - é: {k: [1, 2]}",
            "2:5+1 é",
            "2:5+14 é: {k: [1, 2]}",
            "2:8+11 {k: [1, 2]}",
            "2:9+1 k",
            "3:5+1 b",
            "3:8+9 two words",
        ]
    );
}

#[test]
fn values_read_as_their_type_or_say_what_they_are() {
    let documents = yaml::parse("in.yaml", "[80, '80', yes, true, ~, [1], {a: 1}, 1.5s]").expect("YAML");
    let mistakes = Mistakes::new();
    let items = Value::new(&documents[0], &mistakes).list().expect("a list");
    assert_eq!(items[0].integer(1, 100), Some(80));
    assert_eq!(items[1].text(), Some("80"));
    assert_eq!((items[2].text(), items[3].boolean()), (Some("yes"), Some(true)));
    assert_eq!(items[7].duration(), Some(std::time::Duration::from_millis(1500)));
    assert_eq!((items[1].integer(1, 100), items[0].integer(1, 79), items[2].boolean()), (None, None, None));
    assert_eq!((items[4].text(), items[5].text(), items[6].list().map(|items| items.len())), (None, None, None));
    let lines: Vec<String> =
        mistakes.check(()).expect_err("six mistakes").iter().map(|mistake| mistake.message.clone()).collect();
    assert_eq!(
        lines,
        [
            "expected a whole number from 1 to 79, found `80`",
            "expected a whole number from 1 to 100, found `80`",
            "expected `true` or `false`, found `yes`",
            "expected text, found nothing",
            "expected text, found a list",
            "expected a list, found a mapping",
        ]
    );
}
