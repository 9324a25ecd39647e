//! Mistakes as SARIF 2.1.0 (OASIS), with what GitHub's code scanning asks of it: a rule with words and help for every result,
//! and a fingerprint that stays the same while lines move.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use squall_control::{Mistake, Place, yaml};
use squall_sim::scenario::Refusal;

use crate::input;
use crate::mistakes::Sources;

/// What a mistake is about: an id that stays, the kind of document it stands in, and what such a document is.
struct Rule {
    id: &'static str,
    kind: &'static str,
    about: &'static str,
}

const RULES: [Rule; 15] = [
    rule("file", "", "a file that cannot be read"),
    rule("yaml", "", "YAML that cannot be parsed"),
    rule("mesh", "", "a document of the mesh"),
    rule("scenario", "Scenario", "a scenario"),
    rule("isotope", "MockServiceGraph", "an isotope graph"),
    rule("tuning", "Tuning", "a tuning"),
    rule("traffic-policy", "TrafficPolicy", "a TrafficPolicy"),
    rule("authorization-policy", "AuthorizationPolicy", "an AuthorizationPolicy"),
    rule("peer-authentication", "PeerAuthentication", "a PeerAuthentication"),
    rule("http-route", "HTTPRoute", "an HTTPRoute"),
    rule("grpc-route", "GRPCRoute", "a GRPCRoute"),
    rule("gateway", "Gateway", "a Gateway"),
    rule("service", "Service", "a Service"),
    rule("endpoint-slice", "EndpointSlice", "an EndpointSlice"),
    rule("secret", "Secret", "a Secret"),
];

const FILE: usize = 0;
const YAML: usize = 1;
const MESH: usize = 2;

const fn rule(id: &'static str, kind: &'static str, about: &'static str) -> Rule {
    Rule { id, kind, about }
}

/// The log of one check. A mistake that several readers found is there once. Without times, paths of the machine or text of the
/// files: the same files give the same log.
pub(crate) fn log(refusals: &[Refusal]) -> Value {
    let mut seen: Vec<&Mistake> = Vec::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let mut results = Vec::new();
    for refusal in refusals {
        for mistake in &refusal.mistakes {
            if seen.contains(&mistake) {
                continue;
            }
            seen.push(mistake);
            let rule = rule_of(&mistake.place, &refusal.sources);
            let what = format!("{}\n{}\n{}", RULES[rule].id, mistake.place.file, mistake.message);
            let nth = times.entry(what.clone()).and_modify(|n| *n += 1).or_insert(1);
            results.push(result(mistake, rule, &format!("{:016x}:{nth}", fnv(&what))));
        }
    }
    let rules: Vec<Value> = RULES.iter().map(describe).collect();
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": {"driver": {"name": "Squall", "semanticVersion": env!("CARGO_PKG_VERSION"), "rules": rules}},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    })
}

fn describe(rule: &Rule) -> Value {
    let Rule { id, about, .. } = rule;
    json!({
        "id": format!("squall/{id}"),
        "name": id,
        "shortDescription": {"text": format!("A mistake in {about}")},
        "fullDescription": {"text": format!("There is a mistake in {about}. Squall refuses the file: nothing of it is ignored.")},
        "help": {"text": "Run `squall check` on the file: it shows the line, what is meant by it and a suggestion."},
        "defaultConfiguration": {"level": "error"},
        "properties": {"tags": ["configuration", "service-mesh"]},
    })
}

fn result(mistake: &Mistake, rule: usize, fingerprint: &str) -> Value {
    let mut text = mistake.message.clone();
    for more in [Some(&mistake.note), mistake.help.as_ref()].into_iter().flatten().filter(|more| !more.is_empty()) {
        text.push_str("; ");
        text.push_str(more);
    }
    let mut result = json!({
        "ruleId": format!("squall/{}", RULES[rule].id),
        "ruleIndex": rule,
        "level": "error",
        "message": {"text": text},
        "locations": [{"physicalLocation": location(&mistake.place)}],
        "partialFingerprints": {"primaryLocationLineHash": fingerprint},
    });
    if !mistake.labels.is_empty() {
        let related = mistake.labels.iter().zip(1..).map(
            |((place, words), id)| json!({"id": id, "message": {"text": words}, "physicalLocation": location(place)}),
        );
        result["relatedLocations"] = related.collect();
    }
    result
}

fn location(place: &Place) -> Value {
    json!({
        "artifactLocation": {"uri": uri(&place.file)},
        "region": {
            "startLine": place.line,
            "startColumn": place.column,
            "endLine": place.line,
            "endColumn": place.column + place.length.max(1),
        },
    })
}

/// A path as a reference of RFC 3986: relative ones stay so, to where the command runs.
fn uri(path: &str) -> String {
    let scheme = if path.starts_with('/') { "file://" } else { "" };
    let mut uri = scheme.to_owned();
    for byte in path.strip_prefix("./").unwrap_or(path).bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => uri.push(byte.into()),
            other => uri.push_str(&format!("%{other:02X}")),
        }
    }
    uri
}

/// The rule of the document that a place is in.
fn rule_of(place: &Place, sources: &Sources) -> usize {
    let Some(text) = sources.get(&place.file) else { return FILE };
    let Ok(documents) = yaml::parse(&place.file, text) else { return YAML };
    let around =
        documents.iter().find(|document| document.place.start <= place.start && place.end <= document.place.end);
    let document = around.or(match documents.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    let kinds = document.map(|document| input::kinds(std::slice::from_ref(document))).unwrap_or_default();
    let kind = kinds.first().copied().unwrap_or_default();
    RULES.iter().position(|rule| !kind.is_empty() && rule.kind == kind).unwrap_or(MESH)
}

/// FNV-1a, 64 bits: a name for a mistake, not a secret.
fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_uris() {
        assert_eq!(uri("./mesh/a b.yaml"), "mesh/a%20b.yaml");
        assert_eq!(uri("/tmp/ö#.yaml"), "file:///tmp/%C3%B6%23.yaml");
        assert_eq!(uri("100%.yaml"), "100%25.yaml");
    }

    #[test]
    fn a_mistake_has_the_rule_of_its_document_and_stands_there_once() {
        let text = "kind: Service\nname: a\n---\nkind: TrafficPolicy\nretry: 3\n";
        let start = text.find("retry").expect("the text has it");
        let place = Place { file: "m.yaml".into(), line: 5, column: 1, length: 5, start, end: start + 5 };
        let mistake =
            Mistake::new(&place, "`retry` is not known").label(&Place::whole("b.yaml"), "the other").help("x?");
        let sources = Sources::from([("m.yaml".into(), text.into())]);
        let refusal = Refusal { mistakes: vec![mistake.clone(), mistake], sources };
        let log = log(&[refusal]);
        let results = log["runs"][0]["results"].as_array().expect("results are a list");
        assert_eq!(results.len(), 1);
        assert_eq!(results[0]["ruleId"], "squall/traffic-policy");
        assert_eq!(results[0]["message"]["text"], "`retry` is not known; x?");
        assert_eq!(results[0]["relatedLocations"][0]["physicalLocation"]["artifactLocation"]["uri"], "b.yaml");
    }

    #[test]
    fn the_same_words_twice_in_a_file_are_told_apart_by_their_order_and_not_by_their_lines() {
        let at = |line, start| Place { line, start, end: start + 1, ..Place::whole("m.yaml") };
        let prints = |lines: [usize; 2]| {
            let mistakes = lines.map(|line| Mistake::new(&at(line, line), "is not known")).to_vec();
            let log = log(&[Refusal { mistakes, sources: Sources::default() }]);
            let of = |nth: usize| log["runs"][0]["results"][nth]["partialFingerprints"].to_string();
            (of(0), of(1))
        };
        let (first, second) = prints([1, 2]);
        assert_ne!(first, second);
        assert_eq!(prints([7, 9]), (first, second));
    }
}
