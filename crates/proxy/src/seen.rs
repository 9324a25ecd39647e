//! Which of the fields that a proxy must look at are in a head. One look at each name is cheaper than a look-up for each field,
//! most of which no head has.

use http::HeaderMap;
use http::header::HeaderName;

/// A set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen(u32);

impl Seen {
    pub(crate) const CONNECTION: Self = Self(1);
    pub(crate) const CONTENT_TYPE: Self = Self(1 << 1);
    pub(crate) const COOKIE: Self = Self(1 << 2);
    pub(crate) const DATE: Self = Self(1 << 3);
    pub(crate) const EXPECT: Self = Self(1 << 4);
    pub(crate) const GRPC_STATUS: Self = Self(1 << 5);
    /// `grpc-timeout` or `x-envoy-expected-rq-timeout-ms`.
    pub(crate) const TIMEOUT: Self = Self(1 << 6);
    pub(crate) const CLIENT_CERT: Self = Self(1 << 7);
    pub(crate) const PRIORITY: Self = Self(1 << 8);
    pub(crate) const REASON: Self = Self(1 << 9);
    pub(crate) const REQUEST_ID: Self = Self(1 << 10);
    pub(crate) const RETRY_AFTER: Self = Self(1 << 11);
    /// `traceparent` or `tracestate`.
    pub(crate) const TRACE: Self = Self(1 << 12);
    pub(crate) const TE: Self = Self(1 << 13);
    pub(crate) const TRANSFER_ENCODING: Self = Self(1 << 14);
    /// What else belongs to one connection only (RFC 9110 §7.6.1).
    pub(crate) const HOP: Self = Self(1 << 15);
    /// `b3` or one of `x-b3-…`.
    pub(crate) const B3: Self = Self(1 << 16);

    /// The fields of this head.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        headers.keys().fold(Self(0), |seen, name| Self(seen.0 | Self::field(name).0))
    }

    /// Whether one of `fields` is there.
    pub(crate) const fn any(self, fields: Self) -> bool {
        self.0 & fields.0 != 0
    }

    /// By length first: most names have none of these.
    fn field(name: &HeaderName) -> Self {
        let name = name.as_str();
        match name.len() {
            2 if name == "te" => Self::TE,
            2 if name == "b3" => Self::B3,
            4 if name == "date" => Self::DATE,
            6 if name == "cookie" => Self::COOKIE,
            6 if name == "expect" => Self::EXPECT,
            7 if name == "upgrade" => Self::HOP,
            10 if name == "connection" => Self::CONNECTION,
            10 if name == "keep-alive" => Self::HOP,
            10 if name == "tracestate" => Self::TRACE,
            10 if name == "x-b3-flags" => Self::B3,
            11 if name == "traceparent" => Self::TRACE,
            11 if name == "grpc-status" => Self::GRPC_STATUS,
            11 if name == "retry-after" => Self::RETRY_AFTER,
            11 if name == "x-b3-spanid" => Self::B3,
            12 if name == "content-type" => Self::CONTENT_TYPE,
            12 if name == "grpc-timeout" => Self::TIMEOUT,
            12 if name == "x-request-id" => Self::REQUEST_ID,
            12 if name == "x-b3-traceid" => Self::B3,
            12 if name == "x-b3-sampled" => Self::B3,
            13 if name == "squall-reason" => Self::REASON,
            14 if name == "http2-settings" => Self::HOP,
            15 if name == "squall-priority" => Self::PRIORITY,
            16 if name == "proxy-connection" => Self::HOP,
            17 if name == "transfer-encoding" => Self::TRANSFER_ENCODING,
            17 if name == "x-b3-parentspanid" => Self::B3,
            18 if name == "proxy-authenticate" => Self::HOP,
            19 if name == "proxy-authorization" => Self::HOP,
            23 if name == "x-forwarded-client-cert" => Self::CLIENT_CERT,
            25 if name == "proxy-authentication-info" => Self::HOP,
            30 if name == "x-envoy-expected-rq-timeout-ms" => Self::TIMEOUT,
            _ => Self(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use http::header::HeaderValue;

    use super::*;
    use crate::{b3, headers};

    #[test]
    fn each_field_is_seen_and_nothing_else() {
        let names = [
            (Seen::CONNECTION, http::header::CONNECTION),
            (Seen::CONTENT_TYPE, http::header::CONTENT_TYPE),
            (Seen::COOKIE, http::header::COOKIE),
            (Seen::DATE, http::header::DATE),
            (Seen::EXPECT, http::header::EXPECT),
            (Seen::GRPC_STATUS, headers::GRPC_STATUS),
            (Seen::TIMEOUT, crate::deadline::GRPC_TIMEOUT),
            (Seen::TIMEOUT, crate::deadline::EXPECTED),
            (Seen::CLIENT_CERT, headers::CLIENT_CERT),
            (Seen::PRIORITY, headers::PRIORITY),
            (Seen::REASON, headers::REASON),
            (Seen::REQUEST_ID, headers::REQUEST_ID),
            (Seen::RETRY_AFTER, http::header::RETRY_AFTER),
            (Seen::TRACE, headers::TRACEPARENT),
            (Seen::TRACE, headers::TRACESTATE),
            (Seen::B3, b3::SINGLE),
            (Seen::TE, http::header::TE),
            (Seen::TRANSFER_ENCODING, http::header::TRANSFER_ENCODING),
        ];
        let hops = headers::OF_ONE_CONNECTION.into_iter().map(|name| (Seen::HOP, name));
        let several = b3::SEVERAL.into_iter().map(|name| (Seen::B3, name));
        for (seen, name) in names.into_iter().chain(hops).chain(several) {
            let mut map = HeaderMap::new();
            map.insert(http::header::ACCEPT, HeaderValue::from_static("x"));
            assert_eq!(Seen::of(&map), Seen(0));
            map.insert(name.clone(), HeaderValue::from_static("x"));
            assert_eq!(Seen::of(&map), seen, "{name}");
        }
    }
}
