//! The references of what is no TrafficPolicy say what the readers of these kinds do.

#[expect(dead_code, reason = "shared with the tests of policies, which use the rest")]
mod shop;

use std::collections::BTreeSet;

use squall_control::reference::{
    AUTHORIZATION_POLICY, Default, FAULT_INJECTION, Field, GATEWAY, GRPC_ROUTE, HTTP_ROUTE, Kind, PEER_AUTHENTICATION,
    Reference, SERVICE,
};
use squall_control::{Mistake, Resources};

const KINDS: [&Reference; 7] =
    [&HTTP_ROUTE, &GRPC_ROUTE, &AUTHORIZATION_POLICY, &PEER_AUTHENTICATION, &FAULT_INJECTION, &GATEWAY, &SERVICE];

fn document(kind: &str, name: &str, namespace: &str, spec: &str) -> String {
    let version = match kind {
        "Service" => "v1",
        "HTTPRoute" | "GRPCRoute" | "Gateway" => "gateway.networking.k8s.io/v1",
        _ => "squall.dev/v1alpha1",
    };
    format!(
        "---\napiVersion: {version}\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec: {spec}\n"
    )
}

/// A resource with this spec in a mesh that has what it may refer to.
fn manifests(of: &Reference, spec: &str) -> String {
    let fault = |name: &str| document("FaultInjection", name, "shop", "{abort: {status: 503, percentage: 5%}}");
    let service = |name: &str| {
        let ports =
            "[{name: web, port: 80, targetPort: 8080, appProtocol: grpc}, {name: more, port: 8080, targetPort: 9090}]";
        document("Service", name, "shop", &format!("{{selector: {{app: {name}}}, ports: {ports}}}"))
    };
    let gateway = |name: &str, namespace: &str| {
        let open = "allowedRoutes: {namespaces: {from: All}}";
        let listeners = format!(
            "[{{name: web, port: 80, protocol: HTTP, {open}}}, {{name: other, port: 8080, protocol: HTTP, {open}}}]"
        );
        document("Gateway", name, namespace, &format!("{{gatewayClassName: squall, listeners: {listeners}}}"))
    };
    let own = |name: &str| document(of.kind, name, "shop", spec);
    match of.kind {
        "Service" => own("cart"),
        "Gateway" => service("cart") + &own("edge"),
        "FaultInjection" => {
            let filter =
                "{type: ExtensionRef, extensionRef: {group: squall.dev, kind: FaultInjection, name: sluggish}}";
            let rule = format!("{{filters: [{filter}], backendRefs: [{{name: cart, port: 80}}]}}");
            let route = format!("{{parentRefs: [{{group: \"\", kind: Service, name: cart}}], rules: [{rule}]}}");
            service("cart") + &document("HTTPRoute", "cart", "shop", &route) + &own("sluggish")
        }
        "HTTPRoute" | "GRPCRoute" => {
            let faults = if spec.contains("sluggish") { fault("sluggish") } else { String::new() };
            let gateways = [gateway("cart", "shop"), gateway("cart", "infra"), gateway("edge", "shop")].concat();
            service("cart") + &gateways + &faults + &own("cart")
        }
        _ => service("cart") + &own("cart"),
    }
}

/// What was read, and what the sidecars of a client and of the target are told.
fn understood(of: &Reference, spec: &str) -> Result<[String; 2], Vec<Mistake>> {
    let resources = Resources::read(&[("shop.yaml", &manifests(of, spec))])?;
    Ok([without_places(&format!("{resources:?}")), shop::told(&resources)?])
}

fn without_places(text: &str) -> String {
    let mut parts = text.split("Place {");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('}').map_or("", |(_, rest)| rest))
}

fn spec(of: &Reference, field: &Field, value: &str) -> String {
    of.example(field.path, value, &[]).expect("the field is in the table")
}

fn all() -> impl Iterator<Item = (&'static Reference, &'static Field)> {
    KINDS.into_iter().flat_map(|of| of.fields().map(move |field| (of, field)))
}

#[test]
fn every_field_that_a_reader_takes_is_in_its_table_and_the_other_way_round() {
    for of in KINDS {
        let inherited = if of.kind.ends_with("Route") { &["rules.filters.responseHeaderModifier"][..] } else { &[] };
        let own = of.fields().map(|field| field.path.rsplit_once('.').map_or("", |(above, _)| above));
        for group in own.chain(inherited.iter().copied()).collect::<BTreeSet<&str>>() {
            let unknown = if group.is_empty() { "zzzz".to_owned() } else { format!("{group}.zzzz") };
            let field = if group.is_empty() { of.children("")[0] } else { of.find(group).expect("it is a field") };
            let path = if group.is_empty() { field.path } else { group };
            let value = if group.is_empty() { field.such_as } else { "" };
            let spec = of.example(path, value, &[(unknown.as_str(), "1")]).expect("the group is in the table");
            let mistakes = understood(of, &spec).expect_err("`zzzz` is no field");
            let found = mistakes.iter().find(|mistake| mistake.message.starts_with("`zzzz` is not a field"));
            let found = found.unwrap_or_else(|| panic!("{} {group}: {spec}: {mistakes:?}", of.kind));
            let known: BTreeSet<&str> = found.known.iter().map(String::as_str).collect();
            let listed: BTreeSet<&str> = of.children(group).iter().map(|field| field.name()).collect();
            assert_eq!(known, listed, "{}, the fields of `{group}`: left the reader's, right the table's", of.kind);
        }
    }
}

#[test]
fn ranges_end_where_the_reader_begins_to_refuse() {
    for (of, field) in all() {
        for (taken, refused) in field.kind.ends() {
            let given = spec(of, field, &taken);
            let found = understood(of, &given);
            // A port of something else must be one that this has.
            let is_reference =
                |mistake: &Mistake| mistake.message.contains("no listener of") || mistake.message.contains("no port");
            let is_taken = found.as_ref().map_or_else(|mistakes| mistakes.iter().all(is_reference), |_| true);
            assert!(is_taken, "{} {}: {taken} is within the range: {given}: {found:?}", of.kind, field.path);
            if let Some(refused) = refused {
                let given = spec(of, field, &refused);
                assert!(understood(of, &given).is_err(), "{} {}: {refused} is beyond the range", of.kind, field.path);
            }
        }
        if let Kind::Choice(words) = field.kind {
            let mistakes = understood(of, &spec(of, field, "zzzz")).expect_err("`zzzz` is no choice");
            let known: BTreeSet<&str> = mistakes[0].known.iter().map(String::as_str).collect();
            assert_eq!(known, words.iter().copied().collect(), "{} {}: {mistakes:?}", of.kind, field.path);
        }
    }
}

#[test]
fn a_default_is_what_leaving_the_field_out_means_and_another_value_is_not() {
    for (of, field) in all().filter(|(_, field)| !field.such_as.is_empty()) {
        let (kind, path) = (of.kind, field.path);
        let example = spec(of, field, field.such_as);
        let given = understood(of, &example).unwrap_or_else(|mistakes| panic!("{kind} {example}: {mistakes:?}"));
        let left_out = spec(of, field, "~");
        match (field.default, understood(of, &left_out)) {
            (Default::Required, without) => assert!(without.is_err(), "{kind} {path} is required: {left_out}"),
            (Default::Is(value), without) => {
                let without = without.unwrap_or_else(|mistakes| panic!("{kind} {left_out}: {mistakes:?}"));
                let said = spec(of, field, value);
                let said = understood(of, &said).unwrap_or_else(|mistakes| panic!("{kind} {said}: {mistakes:?}"));
                assert_eq!(without[1], said[1], "{kind} {path}: {value} is the default");
                assert_ne!(without, given, "{kind} {path}: {} is not the default", field.such_as);
            }
            // Where one of several is needed, nothing can be left out.
            (Default::Absent(_), Ok(without)) => {
                assert_ne!(without, given, "{kind} {path}: {} makes a difference", field.such_as);
            }
            (Default::Absent(_), Err(_)) => {}
        }
    }
}
