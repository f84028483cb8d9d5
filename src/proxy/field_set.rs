//! Which of the fields that a proxy looks for a message has.

use http::HeaderMap;

/// The fields that a message has, of those that concern one hop or decide where it ends. One look
/// at each name costs less than a search for each field, and most messages have few of them.
///
/// What is taken out of the message later stays in the set: it says which fields there may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FieldSet(u16);

/// A field that a proxy looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Known {
    Connection = 1 << 0,
    ContentLength = 1 << 1,
    Cookie = 1 << 2,
    Expect = 1 << 3,
    Http2Settings = 1 << 4,
    KeepAlive = 1 << 5,
    ProxyConnection = 1 << 6,
    Te = 1 << 7,
    Trailer = 1 << 8,
    TransferEncoding = 1 << 9,
    Upgrade = 1 << 10,
}

impl FieldSet {
    /// What `headers` has.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let known = |name: &str| {
            Some(match name {
                "connection" => Known::Connection,
                "content-length" => Known::ContentLength,
                "cookie" => Known::Cookie,
                "expect" => Known::Expect,
                "http2-settings" => Known::Http2Settings,
                "keep-alive" => Known::KeepAlive,
                "proxy-connection" => Known::ProxyConnection,
                "te" => Known::Te,
                "trailer" => Known::Trailer,
                "transfer-encoding" => Known::TransferEncoding,
                "upgrade" => Known::Upgrade,
                _ => return None,
            })
        };
        let found = headers.keys().filter_map(|name| known(name.as_str()));
        Self(found.fold(0, |set, known| set | known as u16))
    }

    /// Whether there is such a field.
    pub(super) const fn has(self, known: Known) -> bool {
        self.0 & known as u16 != 0
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_there_is_found() {
        const ALL: [(&str, Known); 11] = [
            ("connection", Known::Connection),
            ("content-length", Known::ContentLength),
            ("cookie", Known::Cookie),
            ("expect", Known::Expect),
            ("http2-settings", Known::Http2Settings),
            ("keep-alive", Known::KeepAlive),
            ("proxy-connection", Known::ProxyConnection),
            ("te", Known::Te),
            ("trailer", Known::Trailer),
            ("transfer-encoding", Known::TransferEncoding),
            ("upgrade", Known::Upgrade),
        ];
        for (name, _) in ALL {
            let mut headers = HeaderMap::new();
            headers.insert("accept", HeaderValue::from_static("*/*"));
            assert_eq!(FieldSet::of(&headers), FieldSet::default());
            headers.insert(name, HeaderValue::from_static("x"));
            for (other, known) in ALL {
                assert_eq!(FieldSet::of(&headers).has(known), other == name, "{name}");
            }
        }
    }
}
