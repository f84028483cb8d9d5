//! Durations, sizes and addresses as they are written in the file.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::diagnostic::Diagnostic;
use super::model::ServerAddress;
use super::wording::quoted;
use crate::host;

/// What a duration looks like, for messages.
pub(super) const A_DURATION: &str = "a duration such as \"10s\"";

/// What a size looks like, for messages.
pub(super) const A_SIZE: &str = "a size such as \"16KiB\"";

/// What an address to listen on looks like, for messages.
pub(super) const AN_ADDRESS: &str = "an address such as \"[::]:443\"";

/// Units of durations in milliseconds, the greatest first, with what else is written for them.
const DURATION_UNITS: &[(&str, u64, &[&str])] = &[
    ("d", 86_400_000, &["day", "days"]),
    ("h", 3_600_000, &["hr", "hrs", "hour", "hours"]),
    ("m", 60_000, &["min", "mins", "minute", "minutes"]),
    ("s", 1000, &["sec", "secs", "second", "seconds"]),
    ("ms", 1, &["msec", "msecs", "millis", "milliseconds"]),
];

/// Units of sizes in bytes, the greatest first, with what else is written for them.
const SIZE_UNITS: &[(&str, u64, &[&str])] = &[
    ("TiB", 1 << 40, &["tib", "tb", "t"]),
    ("GiB", 1 << 30, &["gib", "gb", "g"]),
    ("MiB", 1 << 20, &["mib", "mb", "m"]),
    ("KiB", 1 << 10, &["kib", "kb", "k"]),
    ("B", 1, &["b", "byte", "bytes"]),
];

/// Reads `"500ms"`, `"10s"`, `"5m"`, `"12h"`, `"7d"`.
pub(super) fn duration(text: &str) -> Result<Duration, Diagnostic> {
    measure(text, DURATION_UNITS, "s", A_DURATION).map(Duration::from_millis)
}

/// Reads `"16KiB"` and the like, as bytes.
pub(super) fn size(text: &str) -> Result<u64, Diagnostic> {
    measure(text, SIZE_UNITS, "B", A_SIZE)
}

/// `duration` as it is written: in its greatest unit without a rest.
pub(super) fn write_duration(duration: Duration) -> String {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    write_measure(milliseconds, DURATION_UNITS, "s")
}

/// `bytes` as they are written: in their greatest unit without a rest.
pub(super) fn write_size(bytes: u64) -> String {
    write_measure(bytes, SIZE_UNITS, "B")
}

fn write_measure(number: u64, units: &[(&str, u64, &[&str])], none: &str) -> String {
    units
        .iter()
        .find(|(_, factor, _)| number >= *factor && number.is_multiple_of(*factor))
        .map_or_else(
            || format!("0{none}"),
            |(unit, factor, _)| format!("{}{unit}", number / factor),
        )
}

fn measure(
    text: &str,
    units: &[(&str, u64, &[&str])],
    usual: &str,
    expected: &str,
) -> Result<u64, Diagnostic> {
    let names = || {
        let names: Vec<_> = units.iter().rev().map(|(name, _, _)| *name).collect();
        format!("a whole number and one of the units {}", names.join(", "))
    };
    let refused = || Diagnostic::new(format!("expected {expected}, found {}", quoted(text)));
    let trimmed = text.trim();
    let end = trimmed
        .find(|char: char| !char.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let (digits, unit) = trimmed.split_at(end);
    if digits.is_empty() {
        return Err(refused().help(names()));
    }
    if unit.is_empty() {
        return Err(refused().help(format!("write \"{digits}{usual}\"")));
    }
    let Some((_, factor, _)) = units.iter().find(|(name, _, _)| *name == unit) else {
        return Err(refused().help(correction(digits, unit, units).unwrap_or_else(names)));
    };
    if trimmed.len() != text.len() {
        return Err(refused().help(format!("write \"{trimmed}\"")));
    }
    digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(*factor))
        .ok_or_else(|| Diagnostic::new(format!("{} is too much", quoted(text))))
}

/// What was probably meant by a wrong unit or a fraction.
fn correction(digits: &str, unit: &str, units: &[(&str, u64, &[&str])]) -> Option<String> {
    let (fraction, unit) = match unit.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|char: char| !char.is_ascii_digit())?;
            rest.split_at(end)
        }
        None => ("", unit),
    };
    let unit = unit.trim().to_ascii_lowercase();
    let (name, factor, _) = units
        .iter()
        .find(|(name, _, others)| name.eq_ignore_ascii_case(&unit) || others.contains(&&*unit))?;
    if fraction.is_empty() {
        return Some(format!("write \"{digits}{name}\""));
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let number = digits
        .parse::<u64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction.parse().ok()?)?
        .checked_mul(*factor)?;
    let exact = number.is_multiple_of(scale) && number > 0;
    exact.then(|| format!("write \"{}\"", write_measure(number / scale, units, name)))
}

/// Reads an IP address and port to listen on.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Diagnostic> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    for scheme in ["unix:", "systemd:"] {
        if text.starts_with(scheme) {
            return Err(Diagnostic::new(format!(
                "an address of the form `{scheme}…` is not supported yet"
            )));
        }
    }
    let refused = Diagnostic::new(format!("expected {AN_ADDRESS}, found {}", quoted(text)));
    Err(match address_correction(text) {
        Some(address) => refused.help(format!("write \"{address}\"")),
        None => refused.help("an IP address and a port, an IPv6 address in brackets"),
    })
}

/// The address that was probably meant: a port alone, a star, `localhost`, missing brackets.
fn address_correction(text: &str) -> Option<SocketAddr> {
    if let Ok(port) = text.parse::<u16>() {
        return Some(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok()?;
    let ip: IpAddr = match host {
        "" | "*" => Ipv6Addr::UNSPECIFIED.into(),
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        other => other.parse().ok()?,
    };
    Some(SocketAddr::new(ip, port))
}

/// Reads `host:port` of an upstream server.
pub(super) fn server_address(text: &str) -> Result<ServerAddress, Diagnostic> {
    if let Some(rest) = text.strip_prefix("http://") {
        return Err(Diagnostic::new(format!(
            "expected an address such as \"10.0.0.11:8080\", found {}",
            quoted(text)
        ))
        .help(format!("write \"{}\"", rest.trim_end_matches('/'))));
    }
    unsupported_scheme(text)?;
    authority(text, None)
}

/// Reads `http://host:port`, the inline form of an upstream; the port is 80 when left out.
pub(super) fn upstream_url(text: &str) -> Result<ServerAddress, Diagnostic> {
    unsupported_scheme(text)?;
    let Some(rest) = text.strip_prefix("http://") else {
        return Err(Diagnostic::new(format!(
            "expected an upstream such as \"http://127.0.0.1:3000\", found {}",
            quoted(text)
        )));
    };
    if let Some(end) = rest.find(['/', '?', '#']) {
        return Err(Diagnostic::new(format!(
            "an upstream has no path, found {}: requests keep theirs",
            quoted(&rest[end..])
        ))
        .help(format!("write \"http://{}\"", &rest[..end])));
    }
    authority(rest, Some(80))
}

fn unsupported_scheme(text: &str) -> Result<(), Diagnostic> {
    for scheme in ["https://", "unix:", "h2c://"] {
        if text.starts_with(scheme) {
            return Err(Diagnostic::new(format!(
                "an upstream of the form `{scheme}…` is not supported yet"
            )));
        }
    }
    Ok(())
}

fn authority(text: &str, default_port: Option<u16>) -> Result<ServerAddress, Diagnostic> {
    let refused = |reason: &str| {
        Diagnostic::new(format!(
            "expected an address such as \"10.0.0.11:8080\", found {}: {reason}",
            quoted(text)
        ))
    };
    if let Ok(ip) = text.parse::<Ipv6Addr>() {
        let port = default_port.unwrap_or(8080);
        return Err(refused("an IPv6 address stands in brackets")
            .help(format!("write \"{}\"", SocketAddr::new(ip.into(), port))));
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => {
            let number = port.bytes().all(|byte| byte.is_ascii_digit());
            match port.parse::<u16>() {
                Ok(port @ 1..) if number => (name, port),
                _ => return Err(refused("a port is a number from 1 to 65535")),
            }
        }
        _ => match default_port {
            Some(port) => (text, port),
            None => {
                return Err(
                    refused("the port is missing").help(format!("write \"{text}:8080\", say"))
                );
            }
        },
    };
    let host = host::normalize(name).map_err(|error| refused(&error.to_string()))?;
    let bracketed = name.starts_with('[');
    match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_ipv6() == bracketed => Ok(ServerAddress::Ip(SocketAddr::new(ip, port))),
        // `999.1.1.1` is neither an address nor a name that DNS could hold.
        Err(_) if host.rsplit('.').next().is_some_and(is_number) => {
            Err(refused("this is not an IP address"))
        }
        _ => Ok(ServerAddress::Name(host.into(), port)),
    }
}

fn is_number(label: &str) -> bool {
    !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn help<T: std::fmt::Debug>(result: Result<T, Diagnostic>) -> String {
        let refused = result.unwrap_err();
        refused.help.unwrap_or(refused.message)
    }

    #[test]
    fn durations_are_read() {
        for (text, milliseconds) in [
            ("0s", 0),
            ("500ms", 500),
            ("10s", 10_000),
            ("5m", 300_000),
            ("12h", 43_200_000),
            ("365d", 31_536_000_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)));
        }
        for (text, expected) in [
            ("10", "write \"10s\""),
            ("10 s", "write \"10s\""),
            (" 10s", "write \"10s\""),
            ("10sec", "write \"10s\""),
            ("5min", "write \"5m\""),
            ("1.5s", "write \"1500ms\""),
            ("0.5h", "write \"30m\""),
            ("10S", "write \"10s\""),
        ] {
            assert_eq!(help(duration(text)), expected, "{text}");
        }
        for text in [
            "", "s", "-1s", "1h30m", "10us", "ten", "1.s", "1.0", "٣s", "0.0001ms",
        ] {
            let units = "a whole number and one of the units ms, s, m, h, d";
            assert_eq!(help(duration(text)), units, "{text}");
        }
        for text in ["99999999999999999999s", "18446744073709551615d"] {
            assert!(help(duration(text)).ends_with("is too much"), "{text}");
        }
    }

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [
            ("1B", 1),
            ("16KiB", 16 << 10),
            ("1MiB", 1 << 20),
            ("2GiB", 2 << 30),
            ("3TiB", 3 << 40),
        ] {
            assert_eq!(size(text), Ok(bytes));
            assert_eq!(write_size(bytes), text);
        }
        for (text, expected) in [
            ("16", "write \"16B\""),
            ("16k", "write \"16KiB\""),
            ("16KB", "write \"16KiB\""),
            ("1 MiB", "write \"1MiB\""),
            ("1.5MiB", "write \"1536KiB\""),
        ] {
            assert_eq!(help(size(text)), expected, "{text}");
        }
        assert!(size("infinite").is_err());
        assert!(size("99999999999TiB").is_err());
    }

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["500ms", "10s", "5m", "12h", "365d", "90s", "36h", "0s"] {
            assert_eq!(write_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn listen_addresses_are_read() {
        for text in ["[::]:443", "127.0.0.1:0", "0.0.0.0:65535", "[fe80::1]:1"] {
            assert!(listen_address(text).is_ok(), "{text}");
        }
        for (text, expected) in [
            (":443", "write \"[::]:443\""),
            ("*:443", "write \"[::]:443\""),
            ("443", "write \"[::]:443\""),
            ("localhost:80", "write \"127.0.0.1:80\""),
            ("::1:443", "write \"[::1]:443\""),
        ] {
            assert_eq!(help(listen_address(text)), expected, "{text}");
        }
        for text in ["unix:/run/x", "systemd:https"] {
            assert!(help(listen_address(text)).ends_with("not supported yet"));
        }
        for text in ["", "example.com:443", "1.2.3.4", "1.2.3.4:99999", "[::]"] {
            assert!(help(listen_address(text)).contains("in brackets"), "{text}");
        }
    }

    #[test]
    fn server_addresses_are_read() {
        for (text, shown) in [
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("Apps.internal.:8443", "apps.internal:8443"),
            ("backend:1", "backend:1"),
        ] {
            assert_eq!(server_address(text).unwrap().to_string(), shown);
        }
        for (text, expected) in [
            ("10.0.0.1", "write \"10.0.0.1:8080\", say"),
            ("::1", "write \"[::1]:8080\""),
            ("http://a:1", "write \"a:1\""),
        ] {
            assert_eq!(help(server_address(text)), expected, "{text}");
        }
        for text in [
            "",
            ":80",
            "a:0",
            "a:65536",
            "a:+1",
            "a b:1",
            "999.1.1.1:80",
            "https://a:1",
            "unix:/x",
            "[::1:80",
            "a:",
            "*.a.b:1",
        ] {
            assert!(server_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upstream_urls_are_read() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://[::1]", "[::1]:80"),
            ("http://backend", "backend:80"),
        ] {
            assert_eq!(upstream_url(text).unwrap().to_string(), shown);
        }
        assert_eq!(help(upstream_url("http://a:1/")), "write \"http://a:1\"");
        assert_eq!(help(upstream_url("http://a:1/x?y")), "write \"http://a:1\"");
        for text in ["https://a", "unix:/run/a"] {
            assert!(help(upstream_url(text)).ends_with("not supported yet"));
        }
        for text in ["http://", "http://u:p@h:1", "ftp://a", "http://a:b"] {
            assert!(upstream_url(text).is_err(), "{text}");
        }
    }
}
