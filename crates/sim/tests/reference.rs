//! The reference of scenarios says what their reader does.

#[expect(dead_code, reason = "shared with the tests of tunings, which use the rest")]
mod tuning;

use std::collections::BTreeSet;
use std::path::Path;

use squall_control::Mistake;
use squall_control::reference::{Default, Field, Kind, Reference};
use squall_sim::reference::{DISTRIBUTION, SCENARIO, TUNING};
use squall_sim::scenario::{IsotopeLoad, Memory, load_file};
use squall_sim::tune::Tuning;

/// What this scenario is, without the places in its files. Its Services speak `protocol`.
fn read(spec: &str, protocol: &str, port: &str) -> Result<String, Vec<Mistake>> {
    let service = |name: &str, port: &str| {
        format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{selector: {{app: {name}}}, ports: [{{port: 80, \
             targetPort: {port}, appProtocol: {protocol}}}]}}\n---\n"
        )
    };
    let policy = "apiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: all, namespace: shop}\nspec: {targetRefs: [{group: \"\", kind: \
                  Service, name: front}], loadBalancing: {algorithm: LeastRequest}}\n";
    let mesh = format!("{}{}{policy}", service("front", port), service("stock", "80"));
    let head = "apiVersion: squall.dev/v1alpha1\nmetadata: {name: x}\n";
    let application = format!(
        "{head}kind: Application\nspec: {{mesh: [mesh.yaml], services: {{stock: {{protocol: {}}}}}}}\n",
        ours(protocol)
    );
    let text = format!("{head}kind: Scenario\nspec: {spec}\n");
    let files = Memory::new([("s.yaml", text.as_str()), ("mesh.yaml", &mesh), ("app.yaml", &application)]);
    match load_file(Path::new("s.yaml"), &files, &IsotopeLoad::default()) {
        Ok(scenario) => Ok(without_places(&format!("{scenario:?}"))),
        Err(refusal) => Err(refusal.mistakes),
    }
}

fn ours(protocol: &str) -> &str {
    if protocol == "http" { "http1" } else { protocol }
}

fn without_places(text: &str) -> String {
    let mut parts = text.split("Place {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

/// A spec with this field, over an application that has `stock`.
fn spec(field: &Field, value: &str) -> String {
    let base: &[(&str, &str)] =
        if field.path == "base" || field.path == "isotope" { &[] } else { &[("base", "app.yaml")] };
    SCENARIO.example(field.path, value, base).expect("the field is in the table")
}

fn protocol(field: &Field, value: &str) -> String {
    match (field.path, value) {
        ("services.protocol", "http2" | "grpc" | "tcp") => value.to_owned(),
        _ => "http".to_owned(),
    }
}

fn scenario(field: &Field, value: &str) -> Result<String, Vec<Mistake>> {
    // A Service leads to its pods.
    let port = if field.path == "services.port" && value != "~" { value } else { "80" };
    read(&spec(field, value), &protocol(field, value), port)
}

fn distribution(field: &Field, value: &str) -> Result<String, Vec<Mistake>> {
    let mut drawn = DISTRIBUTION.example(field.path, value, &[]).expect("the field is in the table");
    if field.path.starts_with("bimodal.") {
        // Two parts or more.
        drawn = drawn.replace("}]", "}, {weight: 1, time: 1s}]");
    }
    let time = SCENARIO.find("services.time").expect("services have a time");
    read(&spec(time, &drawn), "http", "80")
}

/// A tuning whose files are those of `tuning`, and a route beside them.
fn tuned(spec: &str) -> Result<String, Vec<Mistake>> {
    let route = "---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: shop, namespace: test}\nspec: {parentRefs: [{group: \
                 \"\", kind: Service, name: shop}], rules: [{timeouts: {request: 1s}, backendRefs: [{name: shop, port: 80}]}]}\n";
    let mesh = format!("{}{route}", tuning::MESH);
    let text = format!("apiVersion: squall.dev/v1alpha1\nkind: Tuning\nmetadata: {{name: x}}\nspec: {spec}\n");
    let files = Memory::new([
        ("mesh.yaml", mesh.as_str()),
        ("policy.yaml", tuning::POLICY),
        ("failing.yaml", tuning::SCENARIO),
        ("other.yaml", &tuning::SCENARIO.replace("failing", "other")),
        ("rival.yaml", &tuning::POLICY.replace("attempts: 4", "attempts: 2")),
        ("tuning.yaml", &text),
    ]);
    match Tuning::load(Path::new("tuning.yaml"), &files) {
        Ok(tuning) => Ok(without_places(&format!("{tuning:?}"))),
        Err(refusal) => Err(refusal.mistakes),
    }
}

fn tuning_with(field: &Field, value: &str) -> Result<String, Vec<Mistake>> {
    tuned(&TUNING.example(field.path, value, &[]).expect("the field is in the table"))
}

fn groups(of: &Reference) -> BTreeSet<&'static str> {
    of.fields().map(|field| field.path.rsplit_once('.').map_or("", |(above, _)| above)).collect()
}

#[track_caller]
fn knows(of: &Reference, group: &str, mistakes: &[Mistake]) {
    let found = mistakes.iter().find(|mistake| mistake.message.starts_with("`zzzz` is not a field"));
    let found = found.unwrap_or_else(|| panic!("{group}: {mistakes:?}"));
    let known: BTreeSet<&str> = found.known.iter().map(String::as_str).collect();
    let listed: BTreeSet<&str> = of.children(group).iter().map(|field| field.name()).collect();
    assert_eq!(known, listed, "the fields of `{group}`: left the reader's, right the table's");
}

#[test]
fn every_field_that_the_reader_takes_is_in_the_table_and_the_other_way_round() {
    let inherited = ["services.routes", "services.versions", "layers.full", "faults.latency", "load.mix.headers"];
    for group in groups(&SCENARIO).into_iter().chain(inherited) {
        let spec = if group.is_empty() {
            SCENARIO.example("base", "app.yaml", &[("zzzz", "1")])
        } else {
            let with = SCENARIO.find(group).map_or(&[][..], |group| group.with);
            let unknown = format!("{group}.zzzz");
            let mut also = vec![("base", "app.yaml"), (unknown.as_str(), "1")];
            also.extend(with);
            SCENARIO.example(group, "", &also)
        };
        let mistakes = read(&spec.expect("the group is in the table"), "http", "80").expect_err("`zzzz` is no field");
        knows(&SCENARIO, group, &mistakes);
    }
    let time = SCENARIO.find("services.time").expect("services have a time");
    for group in groups(&DISTRIBUTION) {
        let drawn = match group {
            "" => "{zzzz: 1}".to_owned(),
            group => {
                DISTRIBUTION.example(group, "", &[(&format!("{group}.zzzz"), "1")]).expect("the group is in the table")
            }
        };
        knows(&DISTRIBUTION, group, &scenario(time, &drawn).expect_err("`zzzz` is no field"));
    }
}

#[test]
fn every_field_of_a_tuning_is_in_the_table_and_the_other_way_round() {
    for group in groups(&TUNING) {
        let unknown = if group.is_empty() { "zzzz".to_owned() } else { format!("{group}.zzzz") };
        let (path, value) = if group.is_empty() { ("scenarios", "[failing.yaml]") } else { (group, "") };
        let spec = TUNING.example(path, value, &[(unknown.as_str(), "1")]).expect("the group is in the table");
        knows(&TUNING, group, &tuned(&spec).expect_err("`zzzz` is no field"));
    }
}

type Reader = fn(&Field, &str) -> Result<String, Vec<Mistake>>;

fn all() -> impl Iterator<Item = (&'static Field, Reader)> {
    let scenarios = SCENARIO.fields().map(|field| (field, scenario as Reader));
    let distributions = DISTRIBUTION.fields().map(|field| (field, distribution as Reader));
    scenarios.chain(distributions).chain(TUNING.fields().map(|field| (field, tuning_with as Reader)))
}

#[test]
fn ranges_end_where_the_reader_begins_to_refuse() {
    for (field, read) in all() {
        for (taken, refused) in field.kind.ends() {
            let found = read(field, &taken);
            assert!(found.is_ok(), "{}: {taken} is within the range: {found:?}", field.path);
            if let Some(refused) = refused {
                assert!(read(field, &refused).is_err(), "{}: {refused} is beyond the range", field.path);
            }
        }
        if let Kind::Choice(words) = field.kind {
            let mistakes = read(field, "zzzz").expect_err("`zzzz` is no choice");
            let known: BTreeSet<&str> = mistakes[0].known.iter().map(String::as_str).collect();
            assert_eq!(known, words.iter().copied().collect(), "{}", field.path);
        }
    }
}

#[test]
fn a_default_is_what_leaving_the_field_out_means_and_another_value_is_not() {
    // Their examples say what holds anyway in a mesh of one namespace and an entry, and of a load of 60s; files are read in other tests.
    let same = ["services.namespace", "load.namespace", "load.to", "load.rate.steps.for", "base", "isotope"];
    for (field, read) in all().filter(|(field, _)| !field.such_as.is_empty() && !same.contains(&field.path)) {
        let given = read(field, field.such_as);
        let given = given.unwrap_or_else(|mistakes| panic!("{} {}: {mistakes:?}", field.path, field.such_as));
        match (field.default, read(field, "~")) {
            (Default::Required, without) => assert!(
                without.is_err() || field.path == "mesh" || field.path == "services",
                "{} is required",
                field.path
            ),
            (Default::Is(value), without) => {
                let without = without.unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", field.path));
                let said = read(field, value).unwrap_or_else(|mistakes| panic!("{} {value}: {mistakes:?}", field.path));
                assert_eq!(without, said, "{}: {value} is the default", field.path);
                assert_ne!(without, given, "{}: {} is not the default", field.path, field.such_as);
            }
            // Where one of several is needed, nothing can be left out.
            (Default::Absent(_), Ok(without)) => {
                assert_ne!(without, given, "{}: {} makes a difference", field.path, field.such_as)
            }
            (Default::Absent(_), Err(_)) => {}
        }
    }
}
