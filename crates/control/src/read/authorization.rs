//! `squall.dev/v1alpha1` AuthorizationPolicy. Its reference is [`crate::authorization_policy`].

use squall_policy::{Caller, TextMatch};

use super::policy::target;
use super::{Metadata, each, optional, port, texts};
use crate::resources::{AccessAction, AccessPolicy, AccessPolicyRule, PortOperation};
use crate::yaml::Value;

pub(super) fn read(metadata: Metadata, spec: Value<'_>) -> Option<AccessPolicy> {
    let fields = spec.fields("AuthorizationPolicy spec", &["targetRefs", "selector", "action", "rules"])?;
    let targets = optional(&fields, "targetRefs", |list| filled(list, |value| target(value, &metadata.id.0)));
    let labels = optional(&fields, "selector", |value| {
        let labels = texts(value.fields("selector", &["matchLabels"])?.required("matchLabels")?)?;
        if labels.is_empty() {
            value.refuse("a selector without labels: leave it out to mean all")
        } else {
            Some(labels)
        }
    });
    let actions = [("ALLOW", AccessAction::Allow), ("DENY", AccessAction::Deny), ("AUDIT", AccessAction::Audit)];
    let action = optional(&fields, "action", |value| value.choice(&actions));
    let rules = optional(&fields, "rules", |list| filled(list, rule));
    let (targets, labels) = (targets?.unwrap_or_default(), labels?);
    if !targets.is_empty() && labels.is_some() {
        return spec.refuse("`targetRefs` or `selector` says whom the policy is for, not both");
    }
    let (action, rules) = (action?.unwrap_or(AccessAction::Allow), rules?.unwrap_or_default());
    if rules.is_empty() && action != AccessAction::Allow {
        return spec.refuse("a policy that names nothing has no effect, unless it is an ALLOW");
    }
    Some(AccessPolicy { id: metadata.id, place: metadata.place, targets, labels, action, rules })
}

/// A list that says something.
fn filled<'a, T>(list: Value<'a>, read: impl Fn(Value<'a>) -> Option<T>) -> Option<Vec<T>> {
    let found = each(list, read)?;
    if found.is_empty() { list.refuse("an empty list names nothing: leave it out to mean all") } else { Some(found) }
}

fn rule(value: Value<'_>) -> Option<AccessPolicyRule> {
    let fields = value.fields("rule", &["from", "to"])?;
    let from = optional(&fields, "from", |list| filled(list, caller));
    let to = optional(&fields, "to", |list| filled(list, operation));
    Some(AccessPolicyRule { from: from?.unwrap_or_default(), to: to?.unwrap_or_default() })
}

fn caller(value: Value<'_>) -> Option<Caller> {
    let known = &["principals", "notPrincipals", "namespaces", "notNamespaces"];
    let fields = value.fields("from", &["source"])?.required("source")?.fields("source", known)?;
    let list = |name, read: fn(Value<'_>) -> Option<TextMatch>| optional(&fields, name, |list| filled(list, read));
    let (principals, not_principals) = (list("principals", principal), list("notPrincipals", principal));
    let (namespaces, not_namespaces) = (list("namespaces", text), list("notNamespaces", text));
    Some(Caller {
        principals: principals?.unwrap_or_default(),
        not_principals: not_principals?.unwrap_or_default(),
        namespaces: namespaces?.unwrap_or_default(),
        not_namespaces: not_namespaces?.unwrap_or_default(),
    })
}

fn operation(value: Value<'_>) -> Option<PortOperation> {
    let known = &["methods", "notMethods", "paths", "notPaths", "ports", "notPorts"];
    let fields = value.fields("to", &["operation"])?.required("operation")?.fields("operation", known)?;
    let list = |name, read: fn(Value<'_>) -> Option<TextMatch>| optional(&fields, name, |list| filled(list, read));
    let (methods, not_methods) = (list("methods", text), list("notMethods", text));
    let (paths, not_paths) = (list("paths", path), list("notPaths", path));
    let ports = |name| optional(&fields, name, |list| filled(list, port));
    let (ports, not_ports) = (ports("ports"), ports("notPorts"));
    Some(PortOperation {
        http: squall_policy::Operation {
            methods: methods?.unwrap_or_default(),
            not_methods: not_methods?.unwrap_or_default(),
            paths: paths?.unwrap_or_default(),
            not_paths: not_paths?.unwrap_or_default(),
        },
        ports: ports?.unwrap_or_default(),
        not_ports: not_ports?.unwrap_or_default(),
    })
}

/// `abc`, `abc*`, `*abc` or `*`.
fn text(value: Value<'_>) -> Option<TextMatch> {
    let text = value.text()?;
    let found = match (text.strip_prefix('*'), text.strip_suffix('*')) {
        (Some(""), _) => TextMatch::Any,
        (Some(end), _) => TextMatch::Suffix(end.to_owned()),
        (None, Some(start)) => TextMatch::Prefix(start.to_owned()),
        (None, None) => TextMatch::Exact(text.to_owned()),
    };
    let inner = match &found {
        TextMatch::Any => "any",
        TextMatch::Exact(inner) | TextMatch::Prefix(inner) | TextMatch::Suffix(inner) => inner,
    };
    if inner.is_empty() || inner.contains('*') {
        return value.refuse(format!("`{text}` may have one `*`, at its beginning or end"));
    }
    Some(found)
}

fn principal(value: Value<'_>) -> Option<TextMatch> {
    if value.text()?.starts_with("spiffe://") {
        return value.refuse("an identity is written without `spiffe://`, as in Istio");
    }
    text(value)
}

fn path(value: Value<'_>) -> Option<TextMatch> {
    if !value.text()?.starts_with(['/', '*']) {
        return value.refuse("a path begins with `/` or `*`");
    }
    text(value)
}
