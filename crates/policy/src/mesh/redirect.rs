//! Routes that lead nowhere but tell where to ask instead.

/// Where clients are sent instead (Gateway API `RequestRedirect`). What is `None` stays as the client asked; its query stays always.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// HTTPS, or plain HTTP.
    pub https: Option<bool>,
    /// Another host, lower case.
    pub hostname: Option<String>,
    /// Another port. `None`: that of the scheme if that is another, else the one the client asked.
    pub port: Option<u16>,
    /// Another path.
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308. Default 302.
    pub status: u16,
}

/// Another path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedirectPath {
    /// In place of the whole. Starts with `/`.
    Full(String),
    /// In place of the prefix that the route matched. Starts with `/`; without one at its end, unless it is nothing else.
    Prefix(String),
}
