//! Settings of who may ask an application for what.

/// Who may ask the application for what, in the order of decision: what `deny` names is refused; else what `allow` names is
/// allowed; else it is refused if there is an `allow`, and allowed if there is none. `audit` decides nothing.
///
/// Source: Istio's AuthorizationPolicy, whose words and order these are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Authorization {
    /// Refused, whatever else is said.
    pub deny: Vec<AccessRule>,
    /// `None`: all that is not denied. Empty: nobody.
    pub allow: Option<Vec<AccessRule>>,
    /// What fits is told, and not decided about.
    pub audit: Vec<AccessRule>,
}

/// Requests of some callers for some things.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessRule {
    /// For logs and metrics: `namespace/policy rule 0`. Not empty.
    pub name: String,
    /// One of these is the caller; empty: whoever it is, also one that proved nothing.
    pub from: Vec<Caller>,
    /// One of these is asked for; empty: whatever it is.
    pub to: Vec<Operation>,
}

/// Callers. Each list that is not empty must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// One of these is its identity, without `spiffe://`: `cluster.local/ns/shop/sa/web`.
    pub principals: Vec<TextMatch>,
    /// None of these is; fits a caller without an identity.
    pub not_principals: Vec<TextMatch>,
    /// One of these is the namespace in its identity.
    pub namespaces: Vec<TextMatch>,
    /// None of these is; fits a caller without an identity.
    pub not_namespaces: Vec<TextMatch>,
}

/// Things to ask for. Each list that is not empty must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Operation {
    /// One of these is the method.
    pub methods: Vec<TextMatch>,
    /// None of these is.
    pub not_methods: Vec<TextMatch>,
    /// One of these is the path, without query.
    pub paths: Vec<TextMatch>,
    /// None of these is.
    pub not_paths: Vec<TextMatch>,
}

/// A text, or its beginning or end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextMatch {
    /// `*`: anything that is there.
    Any,
    /// All of it.
    Exact(String),
    /// `/admin/*`: it begins so.
    Prefix(String),
    /// `*/sa/web`: it ends so.
    Suffix(String),
}
