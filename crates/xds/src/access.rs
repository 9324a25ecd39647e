//! Who may ask for what, on the wire. What is as by default takes no byte.

use squall_policy::{AccessRule, Authorization, Caller, Operation, TextMatch};

use crate::proto::squall;

pub(crate) fn encode(access: &Authorization) -> Option<squall::Access> {
    let rules = |rules: &[AccessRule]| rules.iter().map(rule).collect();
    (*access != Authorization::default()).then(|| squall::Access {
        deny: rules(&access.deny),
        allows: access.allow.is_some(),
        allow: access.allow.as_deref().map_or(Vec::new(), rules),
        audit: rules(&access.audit),
    })
}

fn rule(rule: &AccessRule) -> squall::AccessRule {
    let texts = |list: &[TextMatch]| {
        let text = |one: &TextMatch| match one {
            TextMatch::Any => "*".to_owned(),
            TextMatch::Exact(text) => format!("={text}"),
            TextMatch::Prefix(text) => format!("^{text}"),
            TextMatch::Suffix(text) => format!("${text}"),
        };
        list.iter().map(text).collect()
    };
    let caller = |caller: &Caller| squall::AccessCaller {
        principals: texts(&caller.principals),
        not_principals: texts(&caller.not_principals),
        namespaces: texts(&caller.namespaces),
        not_namespaces: texts(&caller.not_namespaces),
    };
    let operation = |operation: &Operation| squall::AccessOperation {
        methods: texts(&operation.methods),
        not_methods: texts(&operation.not_methods),
        paths: texts(&operation.paths),
        not_paths: texts(&operation.not_paths),
    };
    squall::AccessRule {
        name: rule.name.clone(),
        from: rule.from.iter().map(caller).collect(),
        to: rule.to.iter().map(operation).collect(),
    }
}

pub(crate) fn decode(access: Option<&squall::Access>) -> Result<Authorization, String> {
    let Some(access) = access else { return Ok(Authorization::default()) };
    let rules = |rules: &[squall::AccessRule]| rules.iter().map(read_rule).collect::<Result<Vec<_>, _>>();
    if !access.allows && !access.allow.is_empty() {
        return Err("access.allow has rules, and access.allows is not set".to_owned());
    }
    Ok(Authorization {
        deny: rules(&access.deny)?,
        allow: access.allows.then(|| rules(&access.allow)).transpose()?,
        audit: rules(&access.audit)?,
    })
}

fn read_rule(rule: &squall::AccessRule) -> Result<AccessRule, String> {
    let caller = |caller: &squall::AccessCaller| -> Result<Caller, String> {
        Ok(Caller {
            principals: texts(&caller.principals)?,
            not_principals: texts(&caller.not_principals)?,
            namespaces: texts(&caller.namespaces)?,
            not_namespaces: texts(&caller.not_namespaces)?,
        })
    };
    let operation = |operation: &squall::AccessOperation| -> Result<Operation, String> {
        Ok(Operation {
            methods: texts(&operation.methods)?,
            not_methods: texts(&operation.not_methods)?,
            paths: texts(&operation.paths)?,
            not_paths: texts(&operation.not_paths)?,
        })
    };
    Ok(AccessRule {
        name: rule.name.clone(),
        from: rule.from.iter().map(caller).collect::<Result<_, _>>()?,
        to: rule.to.iter().map(operation).collect::<Result<_, _>>()?,
    })
}

fn texts(list: &[String]) -> Result<Vec<TextMatch>, String> {
    let read = |text: &String| {
        let kinds = [TextMatch::Exact, TextMatch::Prefix, TextMatch::Suffix];
        let found =
            ["=", "^", "$"].iter().zip(kinds).find_map(|(mark, kind)| Some(kind(text.strip_prefix(mark)?.to_owned())));
        if text == "*" {
            Ok(TextMatch::Any)
        } else {
            found.ok_or_else(|| format!("access: `{text}` is no kind of text"))
        }
    };
    list.iter().map(read).collect()
}
