//! Who may ask for what, as Envoy's RBAC filters say it: one that denies what `deny` names and, as shadow rules, tells what `audit` names;
//! then one that allows what `allow` names. Order matters in a mesh and not in a map of policies, so that keys begin with a number.
//!
//! A namespace is a part of an identity, for which Envoy has a regular expression: `spiffe://[^/]*/ns/shop(/.*)?`. No others are read.

use squall_policy::{AccessRule, Authorization, Caller, Operation, TextMatch};

use crate::proto::rbac::{
    Authenticated, Header, Path, Permission, Permissions, Policy, Principal, Principals, Regex, Rules, Text,
};

const ALLOW: i32 = 0;
const DENY: i32 = 1;
const LOG: i32 = 2;

const SCHEME: &str = "spiffe://";
const METHOD: &str = ":method";
/// A path, whatever it is.
const ANY_PATH: &str = ".*";
/// Before and after a namespace, and in place of what is not said of it.
const NAMESPACE: (&str, &str, &str) = ("spiffe://[^/]*/ns/", "(/.*)?", "[^/]*");
/// What means something else in a regular expression.
const META: &str = "\\.+*?()|[]{}^$";

/// A filter's rules, and its shadow rules.
pub(crate) type Filter = (Option<Rules>, Option<Rules>);

/// What is refused, by its full name, and why.
pub(crate) type Refused = (&'static str, String);

/// The filters that say it. `requests`: they have methods and paths. What is said of these to who has none is decided here as the policy
/// decides it: rules about them deny, and allow nothing.
pub(crate) fn encode(access: &Authorization, requests: bool) -> Vec<Filter> {
    let deny = (!access.deny.is_empty()).then(|| rules(DENY, &access.deny, requests));
    let audit = (!access.audit.is_empty()).then(|| rules(DENY, &access.audit, requests));
    let allow = access.allow.as_deref().map(|allow| rules(ALLOW, allow, requests));
    let first = (deny.is_some() || audit.is_some()).then_some((deny, audit));
    first.into_iter().chain(allow.map(|allow| (Some(allow), None))).collect()
}

fn rules(action: i32, rules: &[AccessRule], requests: bool) -> Rules {
    let policies = rules.iter().enumerate().filter_map(|(nth, rule)| {
        let permissions = match rule.to.as_slice() {
            to if requests => list(to, permission),
            [] => vec![any_permission()],
            to if action == DENY || to.contains(&Operation::default()) => vec![any_permission()],
            _ => return None,
        };
        let policy = Policy { permissions, principals: list_of_callers(&rule.from) };
        Some((format!("{nth:05} {}", rule.name), policy))
    });
    Rules { action, policies: policies.collect() }
}

fn list(operations: &[Operation], each: impl Fn(&Operation) -> Permission) -> Vec<Permission> {
    if operations.is_empty() { vec![any_permission()] } else { operations.iter().map(each).collect() }
}

fn list_of_callers(callers: &[Caller]) -> Vec<Principal> {
    if callers.is_empty() { vec![any_principal()] } else { callers.iter().map(principal).collect() }
}

fn any_permission() -> Permission {
    Permission { any: Some(true), ..Permission::default() }
}

fn any_principal() -> Principal {
    Principal { any: Some(true), ..Principal::default() }
}

fn permission(operation: &Operation) -> Permission {
    let method = |text: &TextMatch| {
        let (present_match, string_match) = match text {
            TextMatch::Any => (Some(true), None),
            TextMatch::Exact(_) | TextMatch::Prefix(_) | TextMatch::Suffix(_) => (None, Some(plain(text))),
        };
        let header = Header { name: METHOD.to_owned(), present_match, string_match };
        Permission { header: Some(header), ..Permission::default() }
    };
    let path =
        |text: &TextMatch| Permission { url_path: Some(Path { path: Some(plain(text)) }), ..Permission::default() };
    let one_of = |mut rules: Vec<Permission>| match rules.len() {
        0 => None,
        1 => rules.pop(),
        _ => Some(Permission { or_rules: Some(Permissions { rules }), ..Permission::default() }),
    };
    let none_of =
        |rules| one_of(rules).map(|rule| Permission { not_rule: Some(Box::new(rule)), ..Permission::default() });
    let mut parts: Vec<Permission> = [
        one_of(operation.methods.iter().map(method).collect()),
        none_of(operation.not_methods.iter().map(method).collect()),
        one_of(operation.paths.iter().map(path).collect()),
        none_of(operation.not_paths.iter().map(path).collect()),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.len() {
        0 => any_permission(),
        1 => parts.remove(0),
        _ => Permission { and_rules: Some(Permissions { rules: parts }), ..Permission::default() },
    }
}

fn principal(caller: &Caller) -> Principal {
    let proven =
        |principal_name| Principal { authenticated: Some(Authenticated { principal_name }), ..Principal::default() };
    let identity = |text: &TextMatch| {
        proven(match text {
            TextMatch::Any => None,
            TextMatch::Exact(whole) => Some(plain(&TextMatch::Exact(format!("{SCHEME}{whole}")))),
            TextMatch::Prefix(start) => Some(plain(&TextMatch::Prefix(format!("{SCHEME}{start}")))),
            TextMatch::Suffix(_) => Some(plain(text)),
        })
    };
    let namespace = |text: &TextMatch| {
        let (before, after, any) = NAMESPACE;
        let middle = match text {
            TextMatch::Any => any.to_owned(),
            TextMatch::Exact(whole) => escaped(whole),
            TextMatch::Prefix(start) => format!("{}{any}", escaped(start)),
            TextMatch::Suffix(end) => format!("{any}{}", escaped(end)),
        };
        let safe_regex = Some(Regex { regex: format!("{before}{middle}{after}") });
        proven(Some(Text { safe_regex, ..Text::default() }))
    };
    let one_of = |mut ids: Vec<Principal>| match ids.len() {
        0 => None,
        1 => ids.pop(),
        _ => Some(Principal { or_ids: Some(Principals { ids }), ..Principal::default() }),
    };
    let none_of = |ids| one_of(ids).map(|id| Principal { not_id: Some(Box::new(id)), ..Principal::default() });
    let mut parts: Vec<Principal> = [
        one_of(caller.principals.iter().map(identity).collect()),
        none_of(caller.not_principals.iter().map(identity).collect()),
        one_of(caller.namespaces.iter().map(namespace).collect()),
        none_of(caller.not_namespaces.iter().map(namespace).collect()),
    ]
    .into_iter()
    .flatten()
    .collect();
    match parts.len() {
        0 => any_principal(),
        1 => parts.remove(0),
        _ => Principal { and_ids: Some(Principals { ids: parts }), ..Principal::default() },
    }
}

fn plain(text: &TextMatch) -> Text {
    match text {
        TextMatch::Any => Text { safe_regex: Some(Regex { regex: ANY_PATH.to_owned() }), ..Text::default() },
        TextMatch::Exact(text) => Text { exact: Some(text.clone()), ..Text::default() },
        TextMatch::Prefix(text) => Text { prefix: Some(text.clone()), ..Text::default() },
        TextMatch::Suffix(text) => Text { suffix: Some(text.clone()), ..Text::default() },
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if META.contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// What was before [`escaped`]; `None`: it is a regular expression that says more.
fn literal(regex: &str) -> Option<String> {
    let (mut text, mut characters) = (String::with_capacity(regex.len()), regex.chars());
    while let Some(character) = characters.next() {
        match character {
            '\\' => text.push(characters.next().filter(|next| META.contains(*next))?),
            meta if META.contains(meta) => return None,
            other => text.push(other),
        }
    }
    Some(text)
}

/// What the filters say together. `requests` as in [`encode`].
pub(crate) fn decode(filters: &[Filter], requests: bool) -> Result<Authorization, Refused> {
    let mut access = Authorization::default();
    for (rules, shadow) in filters {
        if let Some(rules) = rules {
            let found = read_rules(rules, requests)?;
            match rules.action {
                DENY => access.deny.extend(found),
                LOG => access.audit.extend(found),
                ALLOW if access.allow.is_none() => access.allow = Some(found),
                ALLOW => {
                    let why = "two filters that allow are not supported: both would have to".to_owned();
                    return Err(("envoy.config.rbac.v3.RBAC.action", why));
                }
                other => return Err(("envoy.config.rbac.v3.RBAC.action", format!("{other} is unknown"))),
            }
        }
        if let Some(shadow) = shadow {
            if !matches!(shadow.action, DENY | LOG) {
                let why = "shadow rules that allow are not supported: use DENY, and what they name is told".to_owned();
                return Err(("envoy.config.rbac.v3.RBAC.action", why));
            }
            access.audit.extend(read_rules(shadow, requests)?);
        }
    }
    Ok(access)
}

fn read_rules(rules: &Rules, requests: bool) -> Result<Vec<AccessRule>, Refused> {
    let read = |(key, policy): (&String, &Policy)| {
        let in_policy = |(field, why): Refused| (field, format!("policy `{key}`: {why}"));
        let rule = AccessRule {
            name: name(key).to_owned(),
            from: callers(&policy.principals).map_err(in_policy)?,
            to: operations(&policy.permissions).map_err(in_policy)?,
        };
        if rule.name.is_empty() {
            return Err(("envoy.config.rbac.v3.RBAC.policies", "a policy needs a name".to_owned()));
        }
        if !requests && !rule.to.is_empty() {
            let why = "a connection of bytes has no method and no path".to_owned();
            return Err(in_policy(("envoy.config.rbac.v3.Policy.permissions", why)));
        }
        Ok(rule)
    };
    rules.policies.iter().map(read).collect()
}

/// Without the number that keeps the order.
fn name(key: &str) -> &str {
    match key.split_at_checked(6) {
        Some((number, name)) if number.ends_with(' ') && number[..5].bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => key,
    }
}

fn callers(principals: &[Principal]) -> Result<Vec<Caller>, Refused> {
    match principals {
        [] => Err(("envoy.config.rbac.v3.Policy.principals", "is empty".to_owned())),
        [only] if *only == any_principal() => Ok(Vec::new()),
        all => all.iter().map(caller).collect(),
    }
}

fn operations(permissions: &[Permission]) -> Result<Vec<Operation>, Refused> {
    match permissions {
        [] => Err(("envoy.config.rbac.v3.Policy.permissions", "is empty".to_owned())),
        [only] if *only == any_permission() => Ok(Vec::new()),
        all => all.iter().map(operation).collect(),
    }
}

/// Texts, and which list they belong in.
type Part = (usize, Vec<TextMatch>);

/// Puts parts that all must hold into their lists: what is one of these, none of those, one of these, none of those.
fn together(parts: Vec<Part>, field: &'static str) -> Result<[Vec<TextMatch>; 4], Refused> {
    let mut lists: [Vec<TextMatch>; 4] = Default::default();
    for (place, texts) in parts {
        // Not this and not that is neither; this and that is more than Squall says.
        if place % 2 == 0 && !lists[place].is_empty() {
            return Err((field, "two conditions on the same, of which both must hold, are not supported".to_owned()));
        }
        lists[place].extend(texts);
    }
    Ok(lists)
}

/// One part of those that one must hold of.
fn either(parts: Vec<Part>, field: &'static str) -> Result<Part, Refused> {
    let mut parts = parts.into_iter();
    let Some((place, mut texts)) = parts.next() else { return Err((field, "is empty".to_owned())) };
    for (other, more) in parts {
        if other != place || place % 2 == 1 {
            return Err((
                field,
                "conditions on different things, of which one must hold, are not supported".to_owned(),
            ));
        }
        texts.extend(more);
    }
    Ok((place, texts))
}

/// The opposite of a part.
fn neither((place, texts): Part, field: &'static str) -> Result<Part, Refused> {
    if place % 2 == 1 { Err((field, "a double negation is not supported".to_owned())) } else { Ok((place + 1, texts)) }
}

fn operation(permission: &Permission) -> Result<Operation, Refused> {
    let mut parts = Vec::new();
    gather_permission(permission, &mut parts)?;
    let [methods, not_methods, paths, not_paths] = together(parts, "envoy.config.rbac.v3.Permission.and_rules")?;
    Ok(Operation { methods, not_methods, paths, not_paths })
}

/// What must hold, all of it.
fn gather_permission(permission: &Permission, parts: &mut Vec<Part>) -> Result<(), Refused> {
    match permission {
        Permission {
            any: Some(true),
            and_rules: None,
            or_rules: None,
            header: None,
            not_rule: None,
            url_path: None,
        } => {}
        Permission {
            and_rules: Some(all),
            or_rules: None,
            any: None,
            header: None,
            not_rule: None,
            url_path: None,
        } => {
            if all.rules.is_empty() {
                return Err(("envoy.config.rbac.v3.Permission.and_rules", "is empty".to_owned()));
            }
            all.rules.iter().try_for_each(|rule| gather_permission(rule, parts))?;
        }
        one => parts.push(permission_part(one)?),
    }
    Ok(())
}

fn permission_part(permission: &Permission) -> Result<Part, Refused> {
    match permission {
        Permission {
            header: Some(header),
            and_rules: None,
            or_rules: None,
            any: None,
            not_rule: None,
            url_path: None,
        } => {
            if header.name != METHOD {
                let why = format!("`{}` is not supported: only {METHOD} is", header.name);
                return Err(("envoy.config.route.v3.HeaderMatcher.name", why));
            }
            let text = match (header.present_match, &header.string_match) {
                (Some(true), None) => TextMatch::Any,
                (None, Some(text)) => read_plain(text)?,
                (_, _) => {
                    let why = "needs string_match, or present_match true".to_owned();
                    return Err(("envoy.config.route.v3.HeaderMatcher", why));
                }
            };
            Ok((0, vec![text]))
        }
        Permission {
            url_path: Some(path),
            and_rules: None,
            or_rules: None,
            any: None,
            header: None,
            not_rule: None,
        } => {
            let Some(text) = &path.path else {
                return Err(("envoy.type.matcher.v3.PathMatcher.path", "is missing".to_owned()));
            };
            Ok((2, vec![read_plain(text)?]))
        }
        Permission {
            or_rules: Some(some),
            and_rules: None,
            any: None,
            header: None,
            not_rule: None,
            url_path: None,
        } => {
            let parts = some.rules.iter().map(permission_part).collect::<Result<Vec<_>, _>>()?;
            either(parts, "envoy.config.rbac.v3.Permission.or_rules")
        }
        Permission {
            not_rule: Some(rule),
            and_rules: None,
            or_rules: None,
            any: None,
            header: None,
            url_path: None,
        } => neither(permission_part(rule)?, "envoy.config.rbac.v3.Permission.not_rule"),
        _ => Err(("envoy.config.rbac.v3.Permission.rule", "is missing, or not supported here".to_owned())),
    }
}

fn caller(principal: &Principal) -> Result<Caller, Refused> {
    let mut parts = Vec::new();
    gather_principal(principal, &mut parts)?;
    let lists = together(parts, "envoy.config.rbac.v3.Principal.and_ids")?;
    let [principals, not_principals, namespaces, not_namespaces] = lists;
    Ok(Caller { principals, not_principals, namespaces, not_namespaces })
}

fn gather_principal(principal: &Principal, parts: &mut Vec<Part>) -> Result<(), Refused> {
    match principal {
        Principal { any: Some(true), and_ids: None, or_ids: None, authenticated: None, not_id: None } => {}
        Principal { and_ids: Some(all), or_ids: None, any: None, authenticated: None, not_id: None } => {
            if all.ids.is_empty() {
                return Err(("envoy.config.rbac.v3.Principal.and_ids", "is empty".to_owned()));
            }
            all.ids.iter().try_for_each(|id| gather_principal(id, parts))?;
        }
        one => parts.push(principal_part(one)?),
    }
    Ok(())
}

fn principal_part(principal: &Principal) -> Result<Part, Refused> {
    match principal {
        Principal { authenticated: Some(proven), and_ids: None, or_ids: None, any: None, not_id: None } => {
            match &proven.principal_name {
                None => Ok((0, vec![TextMatch::Any])),
                Some(name) => read_principal(name).map(|(place, text)| (place, vec![text])),
            }
        }
        Principal { or_ids: Some(some), and_ids: None, any: None, authenticated: None, not_id: None } => {
            let parts = some.ids.iter().map(principal_part).collect::<Result<Vec<_>, _>>()?;
            either(parts, "envoy.config.rbac.v3.Principal.or_ids")
        }
        Principal { not_id: Some(id), and_ids: None, or_ids: None, any: None, authenticated: None } => {
            neither(principal_part(id)?, "envoy.config.rbac.v3.Principal.not_id")
        }
        _ => Err(("envoy.config.rbac.v3.Principal.identifier", "is missing, or not supported here".to_owned())),
    }
}

/// The case that is there.
fn read_plain(text: &Text) -> Result<TextMatch, Refused> {
    match text {
        Text { exact: Some(text), prefix: None, suffix: None, safe_regex: None } => Ok(TextMatch::Exact(text.clone())),
        Text { prefix: Some(text), exact: None, suffix: None, safe_regex: None } => Ok(TextMatch::Prefix(text.clone())),
        Text { suffix: Some(text), exact: None, prefix: None, safe_regex: None } => Ok(TextMatch::Suffix(text.clone())),
        Text { safe_regex: Some(regex), exact: None, prefix: None, suffix: None } => match regex.regex.as_str() {
            ANY_PATH | ".+" => Ok(TextMatch::Any),
            other => {
                let why = format!("`{other}` is not supported: use exact, prefix or suffix");
                Err(("envoy.type.matcher.v3.StringMatcher.safe_regex", why))
            }
        },
        _ => Err(("envoy.type.matcher.v3.StringMatcher.match_pattern", "needs just one".to_owned())),
    }
}

/// An identity, or the namespace in it.
fn read_principal(text: &Text) -> Result<(usize, TextMatch), Refused> {
    if let Text { safe_regex: Some(Regex { regex }), exact: None, prefix: None, suffix: None } = text {
        return match namespace(regex) {
            Some(namespace) => Ok((2, namespace)),
            None => read_plain(text).map(|any| (0, any)),
        };
    }
    let bare = |text: &str| match text.strip_prefix(SCHEME) {
        Some(bare) => Ok(bare.to_owned()),
        None => {
            let why = format!("`{text}` cannot be: identities begin with {SCHEME}");
            Err(("envoy.config.rbac.v3.Principal.Authenticated.principal_name", why))
        }
    };
    let text = match read_plain(text)? {
        TextMatch::Exact(text) => TextMatch::Exact(bare(&text)?),
        TextMatch::Prefix(text) => TextMatch::Prefix(bare(&text)?),
        TextMatch::Suffix(text) if text.contains("://") => TextMatch::Exact(bare(&text)?),
        any @ (TextMatch::Any | TextMatch::Suffix(_)) => any,
    };
    Ok((0, text))
}

fn namespace(regex: &str) -> Option<TextMatch> {
    let (before, after, any) = NAMESPACE;
    let middle = regex.strip_prefix(before)?.strip_suffix(after)?;
    if middle == any {
        Some(TextMatch::Any)
    } else if let Some(end) = middle.strip_prefix(any) {
        literal(end).map(TextMatch::Suffix)
    } else if let Some(start) = middle.strip_suffix(any) {
        literal(start).map(TextMatch::Prefix)
    } else {
        literal(middle).map(TextMatch::Exact)
    }
}

#[cfg(test)]
mod tests;
