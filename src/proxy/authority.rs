//! Whom a request is for: exactly one host, and a target that means one thing.

use std::borrow::Cow;

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::host::{self, HostError};
use crate::path;

/// Whom and what a request is for.
#[derive(Debug)]
pub(super) struct Target {
    /// The host alone, normalised; empty where an HTTP/1.0 client names none.
    pub(super) host: String,
    /// Host and port as received: what upstreams see as `Host`. `None` as above.
    pub(super) authority: Option<HeaderValue>,
    /// The target in origin form, or `*`.
    pub(super) uri: Uri,
}

/// Why a request's target is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TargetError {
    /// RFC 9112 section 3.2: HTTP/1.1 without `Host`; HTTP/2 without `:authority` too.
    #[error("no host")]
    NoHost,
    /// RFC 9112 section 3.2.
    #[error("more than one host")]
    SeveralHosts,
    /// RFC 9113 section 8.3.1: `:authority` and `Host` name two.
    #[error(":authority and host differ")]
    HostsDiffer,
    /// Not a host and an optional port.
    #[error("not a host")]
    NotAHost(#[source] HostError),
    /// Not a port number.
    #[error("not a port")]
    NotAPort,
    /// Neither `http` nor `https`.
    #[error("not a scheme of ours")]
    Scheme,
    /// Neither a path that begins with a slash nor `*` of OPTIONS, or not ASCII.
    #[error("not a path")]
    Path,
    /// A segment of the path is `.` or `..`, which clients take out before they ask (RFC 3986
    /// section 5.2.4): routes would be found by one path, and the upstream may serve another.
    #[error("a dot segment in the path")]
    DotSegment,
}

impl Target {
    /// Reads whom and what a request is for.
    ///
    /// An authority in the request target wins over `Host` (RFC 9112 section 3.2.2); in HTTP/2 the
    /// two must agree.
    ///
    /// # Errors
    /// The request is ambiguous or names nothing: 400.
    pub(super) fn read(
        version: Version,
        method: &Method,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<Self, TargetError> {
        let mut hosts = headers.get_all(HOST).iter();
        let field = hosts.next();
        if hosts.next().is_some() {
            return Err(TargetError::SeveralHosts);
        }
        let field = field.filter(|value| !value.is_empty());
        let authority = match (uri.authority(), field) {
            (Some(authority), field) => {
                let http2 = version == Version::HTTP_2;
                let text = authority.as_str();
                if let Some(field) = field
                    && http2
                    && !field.as_bytes().eq_ignore_ascii_case(text.as_bytes())
                {
                    return Err(TargetError::HostsDiffer);
                }
                // RFC 9112 section 3.2: the field is required in absolute form, too.
                match field {
                    None if version == Version::HTTP_11 => return Err(TargetError::NoHost),
                    // It is replaced, but what is no host is refused wherever it is.
                    Some(field) if !http2 => drop(host_of(field)?),
                    _ => {}
                }
                let value = HeaderValue::from_str(text)
                    .map_err(|_| TargetError::NotAHost(HostError::Character))?;
                Some(value)
            }
            (None, Some(field)) => Some(field.clone()),
            (None, None) if version < Version::HTTP_11 => None,
            (None, None) => return Err(TargetError::NoHost),
        };
        let host = match &authority {
            Some(value) => host_of(value)?,
            None => String::new(),
        };
        Ok(Self {
            host,
            authority,
            uri: origin_form(version, method, uri)?,
        })
    }

    /// The path that routes are found by; what is forwarded is the path as it came. `*` counts as
    /// the root.
    pub(super) fn path(&self) -> Cow<'_, str> {
        match self.uri.path() {
            "*" => Cow::Borrowed("/"),
            path => path::comparable(path),
        }
    }
}

/// The host of `host[:port]`, normalised. Userinfo, lists, blanks and slashes are refused.
fn host_of(authority: &HeaderValue) -> Result<String, TargetError> {
    let text = authority
        .to_str()
        .map_err(|_| TargetError::NotAHost(HostError::Character))?;
    // The colons of an IPv6 address are inside brackets.
    let bytes = text.as_bytes();
    let bracket = bytes.iter().rposition(|&byte| byte == b']');
    let name_end = bracket.map_or(0, |bracket| bracket + 1);
    let colon = bytes[name_end..].iter().position(|&byte| byte == b':');
    let (name, port) = match colon {
        Some(colon) => (&text[..name_end + colon], &text[name_end + colon + 1..]),
        None => (text, ""),
    };
    let is_port = port.bytes().all(|byte| byte.is_ascii_digit())
        && (port.is_empty() || port.parse::<u16>().is_ok());
    if !is_port {
        return Err(TargetError::NotAPort);
    }
    host::normalize(name).map_err(TargetError::NotAHost)
}

/// The target as an origin server sees it (RFC 9112 section 3.2.1), unchanged where it has that
/// form already: what is routed by is what is forwarded.
fn origin_form(version: Version, method: &Method, uri: &Uri) -> Result<Uri, TargetError> {
    if uri
        .scheme_str()
        .is_some_and(|scheme| scheme != "http" && scheme != "https")
    {
        return Err(TargetError::Scheme);
    }
    let target = uri.path_and_query().ok_or(TargetError::Path)?;
    if path::has_dot_segment(target.path()) {
        return Err(TargetError::DotSegment);
    }
    // RFC 3986 section 2; HTTP/1.1 is checked by the byte before it comes here.
    if !target.as_str().is_ascii() {
        return Err(TargetError::Path);
    }
    if target.as_str() == "*" {
        return if *method == Method::OPTIONS {
            Ok(Uri::from(target.clone()))
        } else {
            Err(TargetError::Path)
        };
    }
    if target.as_str().starts_with('/') {
        return Ok(if uri.authority().is_none() && uri.scheme().is_none() {
            uri.clone()
        } else {
            Uri::from(target.clone())
        });
    }
    // `http://host?query`; `:path` has its slash (RFC 9113 section 8.3.1).
    let absolute = uri.scheme().is_some() && version < Version::HTTP_2;
    if target.as_str().starts_with('?') && absolute {
        return PathAndQuery::try_from(format!("/{}", target.as_str()))
            .map(Uri::from)
            .map_err(|_| TargetError::Path);
    }
    Err(TargetError::Path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(
        version: Version,
        method: &str,
        uri: &str,
        hosts: &[&str],
    ) -> Result<Target, TargetError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_str(host).unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        Target::read(version, &method, &uri.parse().unwrap(), &headers)
    }

    fn http1(uri: &str, hosts: &[&str]) -> Result<Target, TargetError> {
        read(Version::HTTP_11, "GET", uri, hosts)
    }

    #[test]
    fn routes_are_found_by_what_a_path_means() {
        let target = http1("//%61dmin/x", &["a"]).unwrap();
        assert_eq!(
            (&*target.path(), target.uri.path()),
            ("/admin/x", "//%61dmin/x")
        );
        let refused = http1("/x/%2e./y", &["a"]).unwrap_err();
        assert_eq!(refused, TargetError::DotSegment);
    }

    #[test]
    fn one_host_is_needed() {
        assert_eq!(http1("/", &[]).unwrap_err(), TargetError::NoHost);
        assert_eq!(http1("/", &[""]).unwrap_err(), TargetError::NoHost);
        assert_eq!(
            http1("/", &["a", "a"]).unwrap_err(),
            TargetError::SeveralHosts
        );
        let target = http1("/x?y", &["Example.COM.:8443"]).unwrap();
        assert_eq!(target.host, "example.com");
        assert_eq!(target.authority.unwrap(), "Example.COM.:8443");
        assert_eq!(target.uri, "/x?y");
    }

    #[test]
    fn http10_may_name_no_host() {
        let target = read(Version::HTTP_10, "GET", "/", &[]).unwrap();
        assert_eq!(target.host, "");
        assert!(target.authority.is_none());
        assert!(read(Version::HTTP_10, "GET", "/", &["a", "b"]).is_err());
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for host in [
            "a.test, b.test",
            "a.test b.test",
            "a.test/x",
            "user@a.test",
            "u:p@a.test",
            "a:b",
            "a:1:2",
            "a:65536",
            "a:+1",
            "[::1",
            "::1",
            "[::1]x",
            "a..b",
            "a%2eb",
            "-\u{e4}",
            "a?b",
            "a#b",
            "a\\b",
        ] {
            assert!(http1("/", &[host]).is_err(), "{host}");
        }
        assert_eq!(http1("/", &["[::1]:443"]).unwrap().host, "::1");
        assert_eq!(http1("/", &["127.0.0.1:1"]).unwrap().host, "127.0.0.1");
        assert_eq!(http1("/", &["a:"]).unwrap().host, "a");
    }

    #[test]
    fn absolute_form_wins_over_host() {
        let target = http1("http://other.test/c?d", &["localhost"]).unwrap();
        assert_eq!(target.host, "other.test");
        assert_eq!(target.authority.as_ref().unwrap(), "other.test");
        assert_eq!(target.uri, "/c?d");
        assert!(target.uri.authority().is_none());
        assert_eq!(http1("http://a", &["a"]).unwrap().uri, "/");
        assert_eq!(http1("http://a?b=c", &["a"]).unwrap().uri, "/?b=c");
        assert_eq!(http1("http://a/", &[]).unwrap_err(), TargetError::NoHost);
        assert_eq!(http1("ftp://a/", &["a"]).unwrap_err(), TargetError::Scheme);
        assert!(http1("http://u@a/", &["a"]).is_err());
    }

    #[test]
    fn http2_authority_and_host_must_agree() {
        let http2 = |uri, hosts: &[&str]| read(Version::HTTP_2, "GET", uri, hosts);
        assert_eq!(http2("https://a/", &[]).unwrap().host, "a");
        assert_eq!(http2("https://a/", &["A"]).unwrap().host, "a");
        assert_eq!(
            http2("https://a/", &["b"]).unwrap_err(),
            TargetError::HostsDiffer
        );
        assert_eq!(http2("/", &["b"]).unwrap().host, "b");
        assert_eq!(http2("/", &[]).unwrap_err(), TargetError::NoHost);
    }

    #[test]
    fn targets_begin_with_a_slash() {
        // What hyper reads from `GET foo HTTP/1.1`: an authority alone.
        assert_eq!(http1("foo", &["a"]).unwrap_err(), TargetError::Path);
        assert_eq!(http1("*", &["a"]).unwrap_err(), TargetError::Path);
        assert_eq!(http1("/\u{e9}", &["a"]).unwrap_err(), TargetError::Path);
        let star = read(Version::HTTP_11, "OPTIONS", "*", &["a"]).unwrap();
        assert_eq!(star.uri, "*");
        assert_eq!(star.path(), "/");
    }
}
