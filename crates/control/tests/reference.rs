//! The reference of the TrafficPolicy says what its reader does.

#[expect(dead_code, reason = "shared with the tests of policies, which use the rest")]
mod shop;

use std::collections::BTreeSet;

use squall_control::reference::{Default, Field, Kind, TRAFFIC_POLICY};
use squall_control::{Mistake, Resources};

const SERVICE: &str = "\
apiVersion: v1
kind: Service
metadata: {name: cart, namespace: shop}
spec: {selector: {app: cart}, ports: [{name: grpc, port: 80, targetPort: 8080, appProtocol: grpc}]}
";

fn manifests(spec: &str) -> String {
    format!(
        "{SERVICE}---\napiVersion: squall.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {{name: cart, namespace: shop}}\nspec: {spec}\n"
    )
}

fn compiled(spec: &str) -> Result<String, Vec<Mistake>> {
    shop::told(&Resources::read(&[("shop.yaml", &manifests(spec))])?)
}

fn example(field: &Field, value: &str) -> String {
    // `perCaller` and `overrides` are of the other side.
    TRAFFIC_POLICY.example(field.path, value, &[]).expect("the field is in the table")
}

/// Those of a client have no meaning in `limits`.
fn is_inbound(field: &Field) -> bool {
    field.path.starts_with("limits.rateLimit.perCaller") || field.path.starts_with("limits.rateLimit.overrides")
}

/// The fields, those of `inbound` only at their place there.
fn at_its_place(field: &Field) -> String {
    if is_inbound(field) { field.path.replacen("limits", "inbound", 1) } else { field.path.to_owned() }
}

fn spec(field: &Field, value: &str) -> String {
    if is_inbound(field) {
        TRAFFIC_POLICY.example(&at_its_place(field), value, &[]).expect("`inbound` is as `limits`")
    } else {
        example(field, value)
    }
}

fn parent(path: &str) -> &str {
    path.rsplit_once('.').map_or("", |(above, _)| above)
}

#[test]
fn every_field_that_the_reader_takes_is_in_the_table_and_the_other_way_round() {
    let inherited = ["serviceCircuitBreaker", "inbound", "inbound.rateLimit.perCaller", "inbound.rateLimit.overrides"];
    let groups: BTreeSet<String> = TRAFFIC_POLICY
        .fields()
        .map(|field| parent(&at_its_place(field)).to_owned())
        .chain(inherited.map(str::to_owned))
        .collect();
    for group in &groups {
        let unknown = if group.is_empty() { "zzzz".to_owned() } else { format!("{group}.zzzz") };
        let also = [(unknown.as_str(), "1")];
        let field = if group.is_empty() { "targetRefs" } else { group };
        let value = if group.is_empty() { "[{group: \"\", kind: Service, name: cart}]" } else { "" };
        let spec = TRAFFIC_POLICY.example(field, value, &also).expect("the group is in the table");
        let mistakes = compiled(&spec).expect_err("`zzzz` is no field");
        let found = mistakes.iter().find(|mistake| mistake.message.starts_with("`zzzz` is not a field"));
        let found = found.unwrap_or_else(|| panic!("{spec}: {mistakes:?}"));
        let known: BTreeSet<&str> = found.known.iter().map(String::as_str).collect();
        let listed: BTreeSet<&str> = TRAFFIC_POLICY.children(group).iter().map(|field| field.name()).collect();
        assert_eq!(known, listed, "the fields of `{group}`: left the reader's, right the table's");
    }
}

#[test]
fn ranges_end_where_the_reader_begins_to_refuse() {
    for field in TRAFFIC_POLICY.fields() {
        for (taken, refused) in field.kind.ends() {
            if taken != u32::MAX.to_string() {
                let spec = spec(field, &taken);
                assert!(
                    compiled(&spec).is_ok(),
                    "{}: {taken} is within the range: {spec}: {:?}",
                    field.path,
                    compiled(&spec)
                );
            }
            if let Some(refused) = refused {
                let spec = spec(field, &refused);
                assert!(compiled(&spec).is_err(), "{}: {refused} is beyond the range: {spec}", field.path);
            }
        }
        if let Kind::Choice(words) = field.kind {
            let mistakes = compiled(&spec(field, "zzzz")).expect_err("`zzzz` is no choice");
            let known: BTreeSet<&str> = mistakes[0].known.iter().map(String::as_str).collect();
            assert_eq!(known, words.iter().copied().collect(), "{}", field.path);
        }
    }
}

#[test]
fn a_default_is_what_leaving_the_field_out_means_and_another_value_is_not() {
    for field in TRAFFIC_POLICY.fields().filter(|field| !field.such_as.is_empty()) {
        let given = compiled(&spec(field, field.such_as));
        let given = given.unwrap_or_else(|mistakes| panic!("{}: {mistakes:?}", spec(field, field.such_as)));
        let without = spec(field, "~");
        match field.default {
            Default::Required => {
                assert!(compiled(&without).is_err(), "{} is required: {without}", field.path);
            }
            Default::Is(value) => {
                let baseline = compiled(&without).unwrap_or_else(|mistakes| panic!("{without}: {mistakes:?}"));
                let said = compiled(&spec(field, value)).unwrap_or_else(|mistakes| panic!("{value}: {mistakes:?}"));
                assert_eq!(baseline, said, "{}: {value} is the default", field.path);
                assert_ne!(baseline, given, "{}: {} is not the default", field.path, field.such_as);
            }
            Default::Absent(_) => {
                // Where one of several is needed, nothing can be left out.
                if let Ok(baseline) = compiled(&without) {
                    assert_ne!(baseline, given, "{}: {} makes a difference", field.path, field.such_as);
                }
            }
        }
    }
}

#[test]
fn examples_are_readable_and_what_a_person_means_is_found() {
    let found = TRAFFIC_POLICY.example("retries.budget.percent", "10", &[]).expect("it is a field");
    let head = "{targetRefs: [{group: \"\", kind: Service, name: cart}], retries: ";
    assert_eq!(found, format!("{head}{{attempts: 2, budget: {{percent: 10}}}}}}"));
    assert_eq!(TRAFFIC_POLICY.meant("budget.percent"), ["retries.budget.percent"]);
    assert_eq!(TRAFFIC_POLICY.meant("consecutive5xx").len(), 2);
    assert_eq!(TRAFFIC_POLICY.nearest("retries.atempts"), Some("retries.attempts"));
    assert_eq!(TRAFFIC_POLICY.nearest("circuitBraker"), Some("circuitBreaker"));
    assert_eq!(TRAFFIC_POLICY.nearest("quantum"), None);
    assert_eq!(
        TRAFFIC_POLICY.find("serviceCircuitBreaker.open.min").map(|field| field.path),
        Some("circuitBreaker.open.min")
    );
    assert!(TRAFFIC_POLICY.find("serviceCircuitBreaker.floor").is_none());
}
