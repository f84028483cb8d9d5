//! Addresses as they are written in the file: to listen on, and of upstream servers.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::diagnostic::Diagnostic;
use super::upstream::ServerAddress;
use super::value::{Text, Value};
use super::wording::{nearest, quoted};
use crate::host;

/// What a unix socket's address holds beside its final zero (unix(7)).
const SOCKET_PATH: usize = 107;

/// As many characters a name of a descriptor has at most (systemd.socket(5)).
const DESCRIPTOR_NAME: usize = 255;

/// What an address to listen on looks like, for messages.
pub(super) const AN_ADDRESS: &str = "an address such as \"[::]:443\"";

/// Reads an IP address and port to listen on.
pub(super) fn listen_address(text: &str) -> Result<SocketAddr, Diagnostic> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    if text.starts_with("systemd:") {
        let message = "an address of the form `systemd:…` is for [[listeners]] alone";
        return Err(Diagnostic::new(message));
    }
    if text.starts_with("unix:") {
        let message = "an address of the form `unix:…` is for [[listeners]] and upstreams";
        return Err(Diagnostic::new(message));
    }
    let refused = Diagnostic::new(format!("expected {AN_ADDRESS}, found {}", quoted(text)));
    Err(match address_correction(text) {
        Some(address) => refused.help(format!("write \"{address}\"")),
        None => refused.help("an IP address and a port, an IPv6 address in brackets"),
    })
}

/// What follows `unix:`; `None`: it is another form of address.
pub(super) fn unix_path<'t>(text: &Text<'t>) -> Option<&'t str> {
    text.text.strip_prefix("unix:")
}

/// Reads `path`, which follows `unix:` in `text`, as that of a unix socket; where it is relative it
/// starts at the directory of the file. `example` is one for messages.
pub(super) fn unix_socket(text: &Text<'_>, path: &str, example: &str) -> Option<PathBuf> {
    if path.is_empty() || path.contains('\0') {
        let message = format!("{} has no path of a socket", quoted(text.text));
        let help = format!("write \"unix:{example}\", say");
        text.refuse(Diagnostic::new(message).help(help));
        return None;
    }
    let path = text.value.reading.resolve(text.value.location, path);
    // So that two spellings of one path are the same.
    let path = path.components().collect();
    socket_path(text.value, path)
}

/// Reads the name of inherited sockets: what follows `systemd:` in `text`, by the rules that systemd has
/// for `FileDescriptorName=` (systemd.socket(5)), and without spaces, which no name of a listener
/// has.
pub(super) fn descriptor_name(text: &str) -> Result<&str, Diagnostic> {
    let name = text.strip_prefix("systemd:").unwrap_or(text);
    let fits = (1..=DESCRIPTOR_NAME).contains(&name.len())
        && name
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && byte != b':');
    if fits {
        return Ok(name);
    }
    let message = format!("{} has no name of a descriptor", quoted(text));
    Err(Diagnostic::new(message).help(format!(
        "write \"systemd:https\", say, with FileDescriptorName=https in the socket unit: 1 to \
         {DESCRIPTOR_NAME} ASCII characters without space and colon"
    )))
}

/// `path` of a unix socket, given at `value`, unless it is too long for one.
pub(super) fn socket_path(value: Value<'_>, path: PathBuf) -> Option<PathBuf> {
    if path.as_os_str().len() > SOCKET_PATH {
        let message = format!(
            "{} is too long for the path of a socket",
            quoted(&path.to_string_lossy())
        );
        let help = format!("at most {SOCKET_PATH} bytes, the directory of this file included");
        value.refuse(Diagnostic::new(message).help(help));
        return None;
    }
    Some(path)
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

/// An upstream given as a URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct InlineUpstream {
    /// Whether it is spoken to over TLS: `https`.
    pub(super) tls: bool,
    pub(super) address: ServerAddress,
}

/// Reads `host:port` of an upstream server.
pub(super) fn server_address(text: &str) -> Result<ServerAddress, Diagnostic> {
    for (scheme, tls) in [
        ("http://", ""),
        ("https://", ", and `tls = true` beside `servers`"),
    ] {
        if let Some(rest) = text.strip_prefix(scheme) {
            return Err(Diagnostic::new(format!(
                "expected an address such as \"10.0.0.11:8080\", found {}",
                quoted(text)
            ))
            .help(format!("write \"{}\"{tls}", rest.trim_end_matches('/'))));
        }
    }
    authority(text, None).map(ServerAddress::from)
}

/// Reads `http://host:port` or `https://host:port`, the inline form of an upstream; the port is 80
/// or 443 when left out.
pub(super) fn upstream_url(text: &str) -> Result<InlineUpstream, Diagnostic> {
    if text.starts_with("h2c://") {
        let message = "an upstream of the form `h2c://…` is not supported yet";
        return Err(Diagnostic::new(message));
    }
    let schemes = [("http://", false, 80), ("https://", true, 443)];
    let known = schemes
        .into_iter()
        .find_map(|(scheme, tls, port)| Some((scheme, tls, port, text.strip_prefix(scheme)?)));
    let Some((scheme, tls, port, rest)) = known else {
        return Err(Diagnostic::new(format!(
            "expected an upstream such as \"http://127.0.0.1:3000\", found {}",
            quoted(text)
        )));
    };
    if let Some(path) = rest.strip_prefix("unix:") {
        let message = format!("{} is not how a unix socket is written", quoted(text));
        // nginx ends the path with a colon.
        let path = path.split(':').next().unwrap_or(path);
        return Err(Diagnostic::new(message).help(match tls {
            false => format!("write \"unix:{path}\""),
            true => format!(
                "make a table [upstreams.NAME] with a server at \"unix:{path}\", and `tls` with \
                 `server_name`"
            ),
        }));
    }
    if let Some(end) = rest.find(['/', '?', '#']) {
        return Err(Diagnostic::new(format!(
            "an upstream has no path, found {}: requests keep theirs",
            quoted(&rest[end..])
        ))
        .help(format!("write \"{scheme}{}\"", &rest[..end])));
    }
    let address = authority(rest, Some(port))?.into();
    Ok(InlineUpstream { tls, address })
}

/// Reads `https://host:port` or `http://host:port`, where a redirect leads, and writes it as
/// clients do: the host normalised, the port left out where it is the scheme's own.
pub(super) fn origin(text: &str) -> Result<String, Diagnostic> {
    let schemes = [("http://", 80), ("https://", 443)];
    let known = schemes
        .into_iter()
        .find_map(|(scheme, port)| Some((scheme, port, text.strip_prefix(scheme)?)));
    let Some((scheme, default_port, rest)) = known else {
        let message = format!(
            "expected \"https\" or an origin such as \"https://example.com\", found {}",
            quoted(text)
        );
        let refused = Diagnostic::new(message);
        return Err(match host::normalize(text) {
            _ if nearest(text, ["https"]).is_some() => refused.help("did you mean `https`?"),
            Ok(host) if host.contains('.') => refused.help(format!("write \"https://{host}\"")),
            _ => refused,
        });
    };
    if let Some(end) = rest.find(['/', '?', '#']) {
        return Err(Diagnostic::new(format!(
            "a redirect has no path of its own, found {}: requests keep theirs",
            quoted(&rest[end..])
        ))
        .help(format!("write \"{scheme}{}\"", &rest[..end])));
    }
    let (host, port) = match authority(rest, Some(default_port))? {
        (Host::Ip(IpAddr::V6(ip)), port) => (format!("[{ip}]"), port),
        (Host::Ip(IpAddr::V4(ip)), port) => (ip.to_string(), port),
        (Host::Name(name), port) => (name.to_string(), port),
    };
    Ok(match port == default_port {
        true => format!("{scheme}{host}"),
        false => format!("{scheme}{host}:{port}"),
    })
}

/// The host in `host:port`.
enum Host {
    Ip(IpAddr),
    Name(Arc<str>),
}

impl From<(Host, u16)> for ServerAddress {
    fn from((host, port): (Host, u16)) -> Self {
        match host {
            Host::Ip(ip) => Self::Ip(SocketAddr::new(ip, port)),
            Host::Name(name) => Self::Name(name, port),
        }
    }
}

fn authority(text: &str, default_port: Option<u16>) -> Result<(Host, u16), Diagnostic> {
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
        Ok(ip) if ip.is_ipv6() == bracketed => Ok((Host::Ip(ip), port)),
        // `999.1.1.1` is neither an address nor a name that DNS could hold.
        Err(_) if host.rsplit('.').next().is_some_and(is_number) => {
            Err(refused("this is not an IP address"))
        }
        _ => Ok((Host::Name(host.into()), port)),
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
        assert!(help(listen_address("systemd:https")).ends_with("for [[listeners]] alone"));
        assert!(help(listen_address("unix:/run/x")).ends_with("for [[listeners]] and upstreams"));
        for text in ["", "example.com:443", "1.2.3.4", "1.2.3.4:99999", "[::]"] {
            assert!(help(listen_address(text)).contains("in brackets"), "{text}");
        }
    }

    #[test]
    fn names_of_descriptors_are_read() {
        for name in ["https", "handfast.socket", "v4-and_6"] {
            assert_eq!(descriptor_name(&format!("systemd:{name}")).unwrap(), name);
        }
        for name in ["", "a:b", "a b", "é", "\u{7f}", &"x".repeat(256)] {
            let told = help(descriptor_name(&format!("systemd:{name}")));
            assert!(told.contains("FileDescriptorName="), "{name}: {told}");
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
            (
                "https://a:1/",
                "write \"a:1\", and `tls = true` beside `servers`",
            ),
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
    fn origins_are_read() {
        for (text, shown) in [
            ("https://Example.com.", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://example.com:8443", "https://example.com:8443"),
            ("http://example.com:443", "http://example.com:443"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("https://127.0.0.1", "https://127.0.0.1"),
        ] {
            assert_eq!(origin(text).unwrap(), shown, "{text}");
        }
        for (text, expected) in [
            ("example.com", "write \"https://example.com\""),
            ("https://a.test/", "write \"https://a.test\""),
            ("https://a.test/x?y", "write \"https://a.test\""),
        ] {
            assert_eq!(help(origin(text)), expected, "{text}");
        }
        for text in [
            "http",
            "",
            "ftp://a",
            "https://",
            "https://u@a",
            "https://a b",
            "https://a\r\nX: y",
        ] {
            assert!(origin(text).is_err(), "{text}");
        }
    }

    #[test]
    fn upstream_urls_are_read() {
        for (text, shown) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3000"),
            ("http://[::1]:3000", "[::1]:3000"),
            ("http://[::1]", "[::1]:80"),
            ("http://backend", "backend:80"),
            ("https://127.0.0.1:3000", "127.0.0.1:3000 tls"),
            ("https://[::1]", "[::1]:443 tls"),
            ("https://backend", "backend:443 tls"),
        ] {
            let InlineUpstream { tls, address } = upstream_url(text).unwrap();
            let tls = if tls { " tls" } else { "" };
            assert_eq!(format!("{address}{tls}"), shown);
        }
        assert_eq!(help(upstream_url("https://a/x")), "write \"https://a\"");
        assert_eq!(help(upstream_url("http://a:1/")), "write \"http://a:1\"");
        assert_eq!(help(upstream_url("http://a:1/x?y")), "write \"http://a:1\"");
        for (text, expected) in [
            ("http://unix:/run/a", "write \"unix:/run/a\""),
            ("http://unix:/run/a.sock:/b", "write \"unix:/run/a.sock\""),
            (
                "https://unix:/run/a:",
                "make a table [upstreams.NAME] with a server at \"unix:/run/a\", and `tls` with \
                 `server_name`",
            ),
        ] {
            assert_eq!(help(upstream_url(text)), expected, "{text}");
        }
        assert!(help(upstream_url("h2c://a:1")).ends_with("not supported yet"));
        for text in ["http://", "http://u:p@h:1", "ftp://a", "http://a:b"] {
            assert!(upstream_url(text).is_err(), "{text}");
        }
    }
}
