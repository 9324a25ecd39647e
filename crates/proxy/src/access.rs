//! Who may ask the application for what: asks the policy, and tells which rule it was.

use std::sync::Arc;

use squall_policy::{Asked, Authorization};

use crate::core::Core;
use crate::record::RequestNumber;
use crate::{Record, respond::Reply};

/// What a refusal is told as that no rule made.
const DEFAULT: &str = "default";

/// Lets the request, or connection, pass or refuses it.
pub(crate) fn check(
    core: &Arc<Core>,
    access: Option<&Arc<Authorization>>,
    request: RequestNumber,
    asked: Asked<'_>,
) -> Result<(), Reply> {
    let Some(access) = access else { return Ok(()) };
    let found = access.decide(asked);
    if let Some(rule) = found.audited {
        core.record(core.host.now(), &Record::Access { request, allowed: true, rule });
    }
    if found.allowed {
        return Ok(());
    }
    let rule = found.by.unwrap_or(DEFAULT);
    core.record(core.host.now(), &Record::Access { request, allowed: false, rule });
    Err(Reply::DENIED)
}
