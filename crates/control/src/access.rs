//! Compiles AuthorizationPolicies to the rules of one port of a pod.

use squall_policy::{AccessRule, Authorization};

use crate::resources::{AccessAction, AccessPolicy, Id, Resources};
use crate::{Mistake, Mistakes, Pod};

/// What holds for a port of `pod` that `services` lead to. `is_known`: its labels are.
pub(crate) fn of_port(
    resources: &Resources,
    pod: &Pod,
    is_known: bool,
    services: &[&Id],
    port: u16,
    mistakes: &Mistakes,
) -> Authorization {
    let mut access = Authorization::default();
    let mut policies: Vec<&AccessPolicy> =
        resources.access.iter().filter(|policy| is_for(policy, pod, is_known, services, mistakes)).collect();
    policies.sort_by_key(|policy| &policy.id);
    for policy in policies {
        let rules = rules_at(policy, port);
        match policy.action {
            AccessAction::Allow => access.allow.get_or_insert_default().extend(rules),
            AccessAction::Deny => access.deny.extend(rules),
            AccessAction::Audit => access.audit.extend(rules),
        }
    }
    access
}

fn is_for(policy: &AccessPolicy, pod: &Pod, is_known: bool, services: &[&Id], mistakes: &Mistakes) -> bool {
    if let Some(labels) = &policy.labels {
        let near = policy.id.0 == pod.namespace;
        if near && !is_known {
            // Taken for not selected, it would protect nobody.
            let message =
                format!("whether it is for pod `{}` is not known: EndpointSlices have no labels of pods", pod.name);
            mistakes.push(Mistake::new(&policy.place, message).help("name its Service in `targetRefs`"));
        }
        return near && labels.iter().all(|(key, value)| pod.labels.get(key) == Some(value));
    }
    if policy.targets.is_empty() {
        return policy.id.0 == pod.namespace;
    }
    policy.targets.iter().any(|target| services.contains(&&target.service))
}

/// Operations of other ports fall away, and a rule without any that is left.
fn rules_at(policy: &AccessPolicy, port: u16) -> impl Iterator<Item = AccessRule> {
    let (namespace, name) = &policy.id;
    policy.rules.iter().enumerate().filter_map(move |(index, rule)| {
        let here = rule
            .to
            .iter()
            .filter(|to| (to.ports.is_empty() || to.ports.contains(&port)) && !to.not_ports.contains(&port));
        let to: Vec<_> = here.map(|to| to.http.clone()).collect();
        let none_left = to.is_empty() && !rule.to.is_empty();
        let name = format!("{namespace}/{name} rule {index}");
        (!none_left).then(|| AccessRule { name, from: rule.from.clone(), to })
    })
}
