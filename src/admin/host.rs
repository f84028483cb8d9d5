//! Whether a request was meant for this listener.
//!
//! A web page can have its visitor's browser ask any address, and by giving its own name that
//! address (DNS rebinding) read the answer. The browser then still sends the page's name as `Host`,
//! so only names that cannot be such a page's are accepted.

use std::net::IpAddr;

use http::header::HOST;
use http::uri::Authority;
use http::{Request, Version};

use crate::host::normalize;

/// What a request's `Host` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HostCheck {
    /// It names this listener.
    Ours,
    /// It names something else: 421.
    Foreign,
    /// None, several, or no host at all: 400 (RFC 9112 section 3.2).
    Invalid,
}

/// Checks the target's authority or else the `Host` field; ports do not matter. HTTP/1.0 needs
/// neither: no browser speaks it.
pub(super) fn check<B>(request: &Request<B>, bound: IpAddr) -> HostCheck {
    let mut fields = request.headers().get_all(HOST).iter();
    let field = match (fields.next(), fields.next()) {
        (_, Some(_)) => return HostCheck::Invalid,
        (Some(field), None) => match Authority::try_from(field.as_bytes()) {
            Ok(authority) => Some(authority),
            Err(_) => return HostCheck::Invalid,
        },
        (None, None) if request.version() == Version::HTTP_10 => None,
        (None, None) => return HostCheck::Invalid,
    };
    for authority in [request.uri().authority(), field.as_ref()]
        .into_iter()
        .flatten()
    {
        match of_authority(authority, bound) {
            HostCheck::Ours => {}
            other => return other,
        }
    }
    HostCheck::Ours
}

fn of_authority(authority: &Authority, bound: IpAddr) -> HostCheck {
    if authority.as_str().contains('@') {
        return HostCheck::Invalid;
    }
    let Ok(name) = normalize(authority.host()) else {
        return HostCheck::Invalid;
    };
    let ours = match name.parse::<IpAddr>() {
        Ok(address) => {
            let address = address.to_canonical();
            address.is_loopback() || address == bound.to_canonical()
        }
        // RFC 6761 section 6.3: these names are always the machine itself.
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    };
    if ours {
        HostCheck::Ours
    } else {
        HostCheck::Foreign
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(version: Version, target: &str, hosts: &[&str]) -> HostCheck {
        let mut request = Request::builder().version(version).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        check(&request.body(()).unwrap(), [10, 0, 0, 5].into())
    }

    #[test]
    fn only_names_of_this_machine_are_accepted() {
        for (host, result) in [
            ("localhost", HostCheck::Ours),
            ("LocalHost.:9180", HostCheck::Ours),
            ("a.localhost", HostCheck::Ours),
            ("127.0.0.1:9180", HostCheck::Ours),
            ("127.8.8.8", HostCheck::Ours),
            ("[::1]:9180", HostCheck::Ours),
            ("[::ffff:127.0.0.1]", HostCheck::Ours),
            ("10.0.0.5:9180", HostCheck::Ours),
            ("10.0.0.6:9180", HostCheck::Foreign),
            ("localhost.evil.example", HostCheck::Foreign),
            ("evil.example:9180", HostCheck::Foreign),
            ("notlocalhost", HostCheck::Foreign),
            ("", HostCheck::Invalid),
            ("localhost@evil.example", HostCheck::Invalid),
            ("a b", HostCheck::Invalid),
        ] {
            assert_eq!(
                checked(Version::HTTP_11, "/metrics", &[host]),
                result,
                "{host}"
            );
        }
    }

    #[test]
    fn there_is_exactly_one_host_and_the_target_counts_too() {
        let http11 = |target, hosts: &[&str]| checked(Version::HTTP_11, target, hosts);
        assert_eq!(http11("/", &[]), HostCheck::Invalid);
        assert_eq!(http11("/", &["localhost", "localhost"]), HostCheck::Invalid);
        assert_eq!(checked(Version::HTTP_10, "/", &[]), HostCheck::Ours);
        assert_eq!(http11("http://localhost/", &["localhost"]), HostCheck::Ours);
        assert_eq!(
            http11("http://evil.example/", &["localhost"]),
            HostCheck::Foreign
        );
        assert_eq!(
            http11("http://localhost/", &["evil.example"]),
            HostCheck::Foreign
        );
    }
}
