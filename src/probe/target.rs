//! `HOST[:PORT]`: whom to probe.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use crate::host::{self, HostError};

/// A host, by name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name in lower case without a trailing dot, or an address without brackets.
    pub host: String,
    /// The port; 443 unless it is given.
    pub port: u16,
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The port is no number from 1 to 65535.
    #[error("the port is a number from 1 to 65535")]
    Port,
    /// An address of IPv6 is needed between the brackets.
    #[error("between brackets stands an IPv6 address, as in [::1]:443")]
    Brackets,
    /// The host is no name.
    #[error("the host is a name or an address")]
    Host(#[source] HostError),
}

const HTTPS: u16 = 443;

impl Target {
    /// The host's address, where it is one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if let Some(rest) = text.strip_prefix('[') {
            let (host, rest) = rest.split_once(']').ok_or(TargetError::Brackets)?;
            let address: Ipv6Addr = host.parse().map_err(|_| TargetError::Brackets)?;
            let port = match rest.strip_prefix(':') {
                Some(text) => port(text)?,
                None if rest.is_empty() => HTTPS,
                None => return Err(TargetError::Brackets),
            };
            let host = address.to_string();
            return Ok(Self { host, port });
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            let host = address.to_string();
            return Ok(Self { host, port: HTTPS });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, text)) => (host, port(text)?),
            None => (text, HTTPS),
        };
        let host = match host.parse::<IpAddr>() {
            Ok(address) => address.to_string(),
            Err(_) => host::normalize(host).map_err(TargetError::Host)?,
        };
        Ok(Self { host, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address() {
            Some(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            _ => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

fn port(text: &str) -> Result<u16, TargetError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = digits.then(|| text.parse().ok()).flatten();
    port.filter(|port| *port > 0).ok_or(TargetError::Port)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_ports_and_addresses() {
        for (text, written) in [
            ("Example.COM.", "example.com:443"),
            ("example.com:8443", "example.com:8443"),
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("::1", "[::1]:443"),
            ("[::1]", "[::1]:443"),
            ("[::1]:8443", "[::1]:8443"),
        ] {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), written);
        }
        for (text, error) in [
            ("a:0", TargetError::Port),
            ("a:+1", TargetError::Port),
            ("a:65536", TargetError::Port),
            ("[::1", TargetError::Brackets),
            ("[::1]443", TargetError::Brackets),
            ("[a]:1", TargetError::Brackets),
        ] {
            assert_eq!(text.parse::<Target>(), Err(error), "{text}");
        }
        for text in ["", "a b", "https://a", ":443"] {
            assert!(text.parse::<Target>().is_err(), "{text}");
        }
    }
}
