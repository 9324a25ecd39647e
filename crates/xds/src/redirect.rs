//! Redirects, as Envoy has them.

use squall_policy::{Redirect, RedirectPath};

use crate::proto;

/// Envoy's numbers of the statuses (`RedirectResponseCode`), in their order.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

pub(crate) fn encode(redirect: &Redirect) -> proto::RedirectAction {
    let code = STATUSES.iter().position(|status| *status == redirect.status).unwrap_or_default();
    let (mut path_redirect, mut prefix_rewrite) = (None, None);
    match &redirect.path {
        None => {}
        Some(RedirectPath::Full(path)) => path_redirect = Some(path.clone()),
        Some(RedirectPath::Prefix(prefix)) => prefix_rewrite = Some(prefix.clone()),
    }
    proto::RedirectAction {
        host_redirect: redirect.hostname.clone().unwrap_or_default(),
        path_redirect,
        response_code: code as u32,
        prefix_rewrite,
        scheme_redirect: redirect.https.map(|https| if https { "https" } else { "http" }.to_owned()),
        port_redirect: redirect.port.map_or(0, u32::from),
    }
}

pub(crate) fn decode(found: &proto::RedirectAction) -> Result<Redirect, String> {
    let status = STATUSES.get(found.response_code as usize);
    let status = *status.ok_or_else(|| format!("response_code {} is unknown", found.response_code))?;
    let https = match found.scheme_redirect.as_deref() {
        None | Some("") => None,
        Some("https") => Some(true),
        Some("http") => Some(false),
        Some(other) => return Err(format!("scheme_redirect `{other}` is neither http nor https")),
    };
    let hostname = Some(found.host_redirect.clone()).filter(|host| !host.is_empty());
    let is_host = |host: &String| host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@".contains(&byte));
    if let Some(host) = hostname.as_ref().filter(|host| !is_host(host)) {
        return Err(format!("host_redirect `{host}` is not a host"));
    }
    let port = u16::try_from(found.port_redirect).map_err(|_| format!("{} is not a port", found.port_redirect))?;
    let path = match (&found.path_redirect, &found.prefix_rewrite) {
        (None, None) => None,
        (Some(path), None) => Some(RedirectPath::Full(path.clone())),
        (None, Some(prefix)) => Some(RedirectPath::Prefix(prefix.clone())),
        (Some(_), Some(_)) => return Err("path_redirect and prefix_rewrite are both there".to_owned()),
    };
    if let Some(RedirectPath::Full(text) | RedirectPath::Prefix(text)) = &path {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#".contains(&byte));
        if !text.starts_with('/') || !is_plain {
            return Err(format!("`{text}` is not a path without a query"));
        }
    }
    Ok(Redirect { https, hostname, port: Some(port).filter(|port| *port != 0), path, status })
}
