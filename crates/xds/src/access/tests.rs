use proptest::prelude::*;
use squall_policy::Asked;

use super::*;

/// As Envoy reads it (`envoy.config.rbac.v3`): whether the filters let it pass, and which policy the shadow rules tell of first.
fn envoy(filters: &[Filter], asked: &Asked<'_>) -> (bool, Option<String>) {
    let fits = |rules: &Rules| {
        let found = rules.policies.iter().find(|(_, policy)| {
            policy.principals.iter().any(|principal| is_by(principal, asked.peer))
                && policy.permissions.iter().any(|permission| is_for(permission, asked.http))
        });
        found.map(|(key, _)| name(key).to_owned())
    };
    let passes = filters.iter().filter_map(|(rules, _)| rules.as_ref()).all(|rules| match rules.action {
        ALLOW => fits(rules).is_some(),
        DENY => fits(rules).is_none(),
        _ => true,
    });
    (passes, filters.iter().filter_map(|(_, shadow)| fits(shadow.as_ref()?)).next())
}

fn is_by(principal: &Principal, peer: Option<&str>) -> bool {
    match principal {
        Principal { and_ids: Some(all), .. } => all.ids.iter().all(|id| is_by(id, peer)),
        Principal { or_ids: Some(some), .. } => some.ids.iter().any(|id| is_by(id, peer)),
        Principal { not_id: Some(id), .. } => !is_by(id, peer),
        Principal { authenticated: Some(Authenticated { principal_name }), .. } => {
            peer.is_some_and(|peer| principal_name.as_ref().is_none_or(|text| is_text(text, peer)))
        }
        other => other.any.expect("a case"),
    }
}

fn is_for(permission: &Permission, http: Option<(&str, &str)>) -> bool {
    match permission {
        Permission { and_rules: Some(all), .. } => all.rules.iter().all(|rule| is_for(rule, http)),
        Permission { or_rules: Some(some), .. } => some.rules.iter().any(|rule| is_for(rule, http)),
        Permission { not_rule: Some(rule), .. } => !is_for(rule, http),
        Permission { header: Some(header), .. } => http.is_some_and(|(method, _)| {
            header.present_match == Some(true) || header.string_match.as_ref().is_some_and(|text| is_text(text, method))
        }),
        Permission { url_path: Some(path), .. } => {
            http.is_some_and(|(_, asked)| is_text(path.path.as_ref().expect("a path"), asked))
        }
        other => other.any.expect("a case"),
    }
}

fn is_text(matcher: &Text, text: &str) -> bool {
    match matcher {
        Text { exact: Some(whole), .. } => text == whole,
        Text { prefix: Some(start), .. } => text.starts_with(start.as_str()),
        Text { suffix: Some(end), .. } => text.ends_with(end.as_str()),
        Text { safe_regex, .. } => is_regex(&safe_regex.as_ref().expect("a case").regex, text),
    }
}

/// Whether the whole of a text is of this expression, of those that are written here.
fn is_regex(regex: &str, text: &str) -> bool {
    let starts = || (0..=text.len()).filter(|at| text.is_char_boundary(*at));
    if regex.is_empty() {
        text.is_empty()
    } else if let Some(rest) = regex.strip_prefix("[^/]*") {
        starts().take_while(|at| !text[..*at].contains('/')).any(|at| is_regex(rest, &text[at..]))
    } else if let Some(rest) = regex.strip_prefix("(/.*)?") {
        is_regex(rest, text) || text.starts_with('/') && starts().any(|at| is_regex(rest, &text[at..]))
    } else if let Some(rest) = regex.strip_prefix(".*") {
        starts().any(|at| is_regex(rest, &text[at..]))
    } else {
        let regex = regex.strip_prefix('\\').unwrap_or(regex);
        let first = regex.chars().next().expect("it is not empty");
        text.strip_prefix(first).is_some_and(|text| is_regex(&regex[first.len_utf8()..], text))
    }
}

const WORDS: &[&str] = &["a", "a.b", "c/ns/a/sa/b", "c/ns/a.b/sa/b", "c/ns", "GET", "/a", "/", "b", "x+"];
const PEERS: &[Option<&str>] = &[
    None,
    Some("spiffe://c/ns/a/sa/b"),
    Some("spiffe://c/ns/a.b/sa/b"),
    Some("spiffe://c/ns/axb/sa/b"),
    Some("spiffe://c/ns/a"),
    Some("spiffe://c/a/ns/a"),
    Some("spiffe://c/sa/a"),
];

fn texts() -> impl Strategy<Value = Vec<TextMatch>> {
    let text = (0..4_u8, prop::sample::select(WORDS)).prop_map(|(kind, word)| match kind {
        0 => TextMatch::Any,
        1 => TextMatch::Exact(word.to_owned()),
        2 => TextMatch::Prefix(word.to_owned()),
        _ => TextMatch::Suffix(word.to_owned()),
    });
    prop::collection::vec(text, 0..3)
}

fn rules_of_any_kind() -> impl Strategy<Value = Vec<AccessRule>> {
    let four = || [texts(), texts(), texts(), texts()];
    let caller = four().prop_map(|[principals, not_principals, namespaces, not_namespaces]| Caller {
        principals,
        not_principals,
        namespaces,
        not_namespaces,
    });
    let operation = four().prop_map(|[methods, not_methods, paths, not_paths]| Operation {
        methods,
        not_methods,
        paths,
        not_paths,
    });
    let lists = (prop::collection::vec(caller, 0..3), prop::collection::vec(operation, 0..3));
    // A list of many rules shows that their order stays.
    prop::collection::vec(lists, 0..4).prop_map(|rules| {
        let named = |(nth, (from, to))| AccessRule { name: format!("rule {}", 9 - nth), from, to };
        rules.into_iter().enumerate().map(named).collect()
    })
}

fn access() -> impl Strategy<Value = Authorization> {
    (rules_of_any_kind(), prop::option::of(rules_of_any_kind()), rules_of_any_kind())
        .prop_map(|(deny, allow, audit)| Authorization { deny, allow, audit })
}

proptest! {
    #[test]
    fn envoy_lets_through_whom_squall_does(
        access in access(),
        peer in prop::sample::select(PEERS),
        method in prop::sample::select(&["GET", "a", "x+"][..]),
        path in prop::sample::select(&["/a", "/", "/a.b", "/b"][..]),
    ) {
        let asked = Asked { peer, http: Some((method, path)) };
        let found = access.decide(asked);
        let filters = encode(&access, true);
        let audited = found.audited.map(str::to_owned);
        prop_assert_eq!(envoy(&filters, &asked), (found.allowed, audited), "{:?}", filters);
        let back = decode(&filters, true).expect("it is our own");
        prop_assert_eq!(back.decide(asked), found);
    }

    #[test]
    fn bytes_pass_as_they_did_before_their_rules_were_told(access in access(), peer in prop::sample::select(PEERS)) {
        let asked = Asked { peer, http: None };
        let found = access.decide(asked);
        let filters = encode(&access, false);
        prop_assert_eq!(envoy(&filters, &asked), (found.allowed, found.audited.map(str::to_owned)), "{:?}", filters);
        let back = decode(&filters, false).expect("it is our own");
        prop_assert_eq!(back.decide(asked), found);
    }
}

fn principal_named(text: Text) -> Principal {
    Principal { authenticated: Some(Authenticated { principal_name: Some(text) }), ..Principal::default() }
}

fn exactly(text: &str) -> Text {
    Text { exact: Some(text.to_owned()), ..Text::default() }
}

#[track_caller]
fn refused(action: i32, permission: Permission, principal: Principal, want: (&str, &str)) {
    let policy = Policy { permissions: vec![permission], principals: vec![principal] };
    let rules = Rules { action, policies: [("p".to_owned(), policy)].into() };
    let (field, why) = decode(&[(Some(rules), None)], true).expect_err("must be refused");
    assert_eq!((field, why.as_str()), want);
}

#[test]
fn rules_that_cannot_be_kept_are_refused_by_name() {
    let regex = |regex: &str| Text { safe_regex: Some(Regex { regex: regex.to_owned() }), ..Text::default() };
    let header = |name: &str| Permission {
        header: Some(Header { name: name.to_owned(), present_match: None, string_match: Some(exactly("a")) }),
        ..Permission::default()
    };
    let path = |text| Permission { url_path: Some(Path { path: Some(text) }), ..Permission::default() };
    refused(
        DENY,
        header("x-user"),
        any_principal(),
        ("envoy.config.route.v3.HeaderMatcher.name", "policy `p`: `x-user` is not supported: only :method is"),
    );
    refused(
        DENY,
        path(regex("/a[0-9]+")),
        any_principal(),
        (
            "envoy.type.matcher.v3.StringMatcher.safe_regex",
            "policy `p`: `/a[0-9]+` is not supported: use exact, prefix or suffix",
        ),
    );
    refused(
        ALLOW,
        any_permission(),
        principal_named(regex("spiffe://.*/ns/(a|b)/.*")),
        (
            "envoy.type.matcher.v3.StringMatcher.safe_regex",
            "policy `p`: `spiffe://.*/ns/(a|b)/.*` is not supported: use exact, prefix or suffix",
        ),
    );
    refused(
        ALLOW,
        any_permission(),
        principal_named(exactly("web.example.com")),
        (
            "envoy.config.rbac.v3.Principal.Authenticated.principal_name",
            "policy `p`: `web.example.com` cannot be: identities begin with spiffe://",
        ),
    );
    let either = Permissions { rules: vec![header(METHOD), path(exactly("/a"))] };
    refused(
        DENY,
        Permission { or_rules: Some(either), ..Permission::default() },
        any_principal(),
        (
            "envoy.config.rbac.v3.Permission.or_rules",
            "policy `p`: conditions on different things, of which one must hold, are not supported",
        ),
    );
    let twice = Permissions { rules: vec![path(exactly("/a")), path(exactly("/b"))] };
    refused(
        DENY,
        Permission { and_rules: Some(twice), ..Permission::default() },
        any_principal(),
        (
            "envoy.config.rbac.v3.Permission.and_rules",
            "policy `p`: two conditions on the same, of which both must hold, are not supported",
        ),
    );
    refused(
        DENY,
        Permission::default(),
        any_principal(),
        ("envoy.config.rbac.v3.Permission.rule", "policy `p`: is missing, or not supported here"),
    );
    refused(7, any_permission(), any_principal(), ("envoy.config.rbac.v3.RBAC.action", "7 is unknown"));
}

#[test]
fn what_filters_say_together_is_one_decision() {
    let rules = |action, name: &str| {
        let policy = Policy { permissions: vec![any_permission()], principals: vec![any_principal()] };
        Some(Rules { action, policies: [(name.to_owned(), policy)].into() })
    };
    // As Istio sends it: a filter for each action.
    let found = decode(
        &[(rules(LOG, "told"), None), (rules(DENY, "no"), rules(LOG, "also")), (rules(ALLOW, "yes"), None)],
        true,
    );
    let named = |name: &str| AccessRule { name: name.to_owned(), ..AccessRule::default() };
    let want = Authorization {
        deny: vec![named("no")],
        allow: Some(vec![named("yes")]),
        audit: vec![named("told"), named("also")],
    };
    assert_eq!(found, Ok(want));
    let (_, why) = decode(&[(rules(ALLOW, "a"), None), (rules(ALLOW, "b"), None)], true).expect_err("two that allow");
    assert!(why.starts_with("two filters that allow"), "{why}");
    let (_, why) = decode(&[(None, rules(ALLOW, "a"))], true).expect_err("a shadow that allows");
    assert!(why.starts_with("shadow rules that allow"), "{why}");
    let get = Header { name: METHOD.to_owned(), present_match: Some(true), string_match: None };
    let policy = Policy {
        permissions: vec![Permission { header: Some(get), ..Permission::default() }],
        principals: vec![any_principal()],
    };
    let rules = Rules { action: DENY, policies: [("p".to_owned(), policy)].into() };
    let (_, why) = decode(&[(Some(rules), None)], false).expect_err("a method of bytes");
    assert_eq!(why, "policy `p`: a connection of bytes has no method and no path");
}
