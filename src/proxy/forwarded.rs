//! Whom a request is forwarded for: `X-Forwarded-*` and `Forwarded` (RFC 7239), and what is believed
//! of them.
//!
//! A proxy in `forwarding.trusted_proxies` is believed: what it says is kept and added to. What
//! any other peer says is replaced. Of the four fields that we know, those that are not in
//! `forwarding.headers` never pass: nobody would keep them true.

use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::connection_info::ConnectionInfo;
use super::headers::ClientFields;
use crate::config::{Forwarding, ForwardingHeader};
use crate::report::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Whether a peer's word about its clients counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trust {
    /// One of `forwarding.trusted_proxies`.
    Proxy,
    /// Anyone.
    Client,
}

/// The client of one request, and who says so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender<'a> {
    /// The connection.
    pub(super) connection: &'a ConnectionInfo,
    /// What is told of it.
    pub(super) fields: &'a ClientFields,
    /// Which fields tell them.
    pub(super) settings: &'a Forwarding,
    /// Whether the fields that the request has are believed.
    pub(super) trust: Trust,
}

impl Trust {
    /// Whether `peer` is one of `forwarding.trusted_proxies`.
    pub(super) fn of(peer: Peer, settings: &Forwarding) -> Self {
        match settings.trusted_proxies.contains(peer) {
            true => Self::Proxy,
            false => Self::Client,
        }
    }

    /// Whether the field `name`, which only proxies may send, passes from such a peer. Spelt with
    /// underscores it never does.
    pub(super) fn lets_pass(self, name: &str) -> bool {
        let forwarded = name.starts_with("x-forwarded-") || *name == FORWARDED;
        self == Self::Proxy && forwarded && !name.contains('_')
    }
}

/// The client that a trusted proxy speaks for: the last address of the chain that is not a trusted
/// proxy's own, or the first of all where all are. `None` where the chain is empty, or its end is
/// no address.
pub(super) fn client(settings: &Forwarding, headers: &HeaderMap) -> Option<IpAddr> {
    let chain = if settings.headers.contains(&ForwardingHeader::For) {
        headers.get_all(X_FORWARDED_FOR)
    } else if settings.headers.contains(&ForwardingHeader::Forwarded) {
        headers.get_all(FORWARDED)
    } else {
        return None;
    };
    let quotes = !settings.headers.contains(&ForwardingHeader::For);
    let mut hops: Vec<&str> = Vec::new();
    for value in chain {
        match value.to_str() {
            Ok(value) if !quotes => hops.extend(value.split(',')),
            Ok(value) if is_balanced(value) => hops.extend(split_unquoted(value, ',')),
            // Where a quote does not end, anybody may have begun it.
            Ok(_) | Err(_) => hops.push(""),
        }
    }
    let mut found = None;
    for hop in hops.into_iter().rev() {
        let text = if quotes {
            forwarded_for(hop)
        } else {
            Some(hop.trim())
        };
        let Some(address) = text.and_then(address) else {
            break;
        };
        found = Some(address);
        if !settings.trusted_proxies.contains_address(address) {
            break;
        }
    }
    found
}

/// The `for` of an element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<&str> {
    split_unquoted(element, ';').find_map(|pair| {
        let (name, value) = pair.split_once('=')?;
        let value = value.trim();
        let quoted = value.strip_prefix('"').and_then(|it| it.strip_suffix('"'));
        name.trim()
            .eq_ignore_ascii_case("for")
            .then_some(quoted.unwrap_or(value))
    })
}

/// The parts of `text` between separators that stand in no quoted string (RFC 9110 section 5.6.4).
fn split_unquoted(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quotes = Quotes::default();
    text.split(move |next| !quotes.holds(next) && next == separator)
}

/// Whether every quoted string of `text` ends.
fn is_balanced(text: &str) -> bool {
    let mut quotes = Quotes::default();
    for next in text.chars() {
        quotes.holds(next);
    }
    quotes == Quotes::Outside
}

/// Where a reader is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Quotes {
    #[default]
    Outside,
    Inside,
    /// Behind a backslash inside.
    Escaped,
}

impl Quotes {
    /// Goes past `next`; whether that belongs to a quoted string.
    fn holds(&mut self, next: char) -> bool {
        let before = *self;
        *self = match (before, next) {
            (Self::Outside, '"') | (Self::Escaped, _) => Self::Inside,
            (Self::Inside, '"') => Self::Outside,
            (Self::Inside, '\\') => Self::Escaped,
            (state, _) => state,
        };
        before != Self::Outside
    }
}

/// An address, maybe with a port; an IPv6 address may stand in brackets.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let bare = match text.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => text.split_once(':')?.0,
    };
    bare.parse()
        .ok()
        .map(|address: IpAddr| address.to_canonical())
}

/// Sets what upstreams are told of the client, after what may not pass has been removed.
pub(super) fn set(headers: &mut HeaderMap, sender: &Sender<'_>, authority: Option<&HeaderValue>) {
    let (settings, client) = (sender.settings, sender.fields);
    use ForwardingHeader::{For, Forwarded, Host, Proto};
    for header in [For, Proto, Host, Forwarded] {
        let name = match header {
            For => X_FORWARDED_FOR,
            Proto => X_FORWARDED_PROTO,
            Host => X_FORWARDED_HOST,
            Forwarded => FORWARDED,
        };
        let trust = sender.trust;
        if !settings.headers.contains(&header) {
            if trust == Trust::Proxy {
                headers.remove(name);
            }
            continue;
        }
        match header {
            For => {
                if let Some(address) = &client.forwarded_for {
                    append(headers, name, address.clone(), trust);
                }
            }
            Forwarded => append(headers, name, element(client, authority), trust),
            // The first proxy of a chain knows them.
            Proto => keep_or_set(headers, name, Some(&client.proto), trust),
            Host => keep_or_set(headers, name, authority, trust),
        }
    }
}

fn keep_or_set(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: Option<&HeaderValue>,
    trust: Trust,
) {
    // Of anyone but a trusted proxy there is none left.
    if let Some(value) = value
        && (trust == Trust::Client || !headers.contains_key(&name))
    {
        headers.insert(name, value.clone());
    }
}

/// Adds `value` to the end of a list, which becomes one field.
fn append(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue, trust: Trust) {
    if trust == Trust::Client || !headers.contains_key(&name) {
        headers.insert(name, value);
        return;
    }
    let list = headers
        .get_all(&name)
        .iter()
        .chain([&value])
        .map(HeaderValue::as_bytes)
        .collect::<Vec<_>>()
        .join(&b", "[..]);
    // Joining what was valid is valid.
    if let Ok(list) = HeaderValue::from_bytes(&list) {
        headers.insert(name, list);
    }
}

/// Our element of `Forwarded` (RFC 7239 section 4).
fn element(client: &ClientFields, authority: Option<&HeaderValue>) -> HeaderValue {
    let address = client.forwarded_for.as_ref().map_or("unknown", text);
    let address = if address.contains(':') {
        format!("\"[{address}]\"")
    } else {
        address.to_owned()
    };
    let proto = text(&client.proto);
    let element = match authority {
        // Checked: it has no quotes and no backslashes.
        Some(host) => format!("for={address};host=\"{}\";proto={proto}", text(host)),
        None => format!("for={address};proto={proto}"),
    };
    HeaderValue::try_from(element).unwrap_or(HeaderValue::from_static("for=unknown"))
}

fn text(value: &HeaderValue) -> &str {
    value.to_str().unwrap_or("unknown")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::PeerSet;

    fn settings(headers: &[ForwardingHeader]) -> Forwarding {
        Forwarding {
            trusted_proxies: PeerSet {
                networks: vec![
                    "10.0.0.0/8".parse().unwrap(),
                    "2001:db8::/32".parse().unwrap(),
                ],
                unix: false,
            },
            headers: headers.to_vec(),
            ..Forwarding::default()
        }
    }

    fn found(header: ForwardingHeader, name: &'static str, values: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        client(&settings(&[header]), &headers)
            .map_or_else(String::new, |address| address.to_string())
    }

    #[test]
    fn the_client_is_the_last_address_that_is_not_trusted() {
        let found = |values: &[&str]| found(ForwardingHeader::For, "x-forwarded-for", values);
        assert_eq!(found(&["192.0.2.1"]), "192.0.2.1");
        assert_eq!(found(&["6.6.6.6, 192.0.2.1, 10.0.0.2"]), "192.0.2.1");
        assert_eq!(found(&["6.6.6.6", "192.0.2.1", "10.0.0.2"]), "192.0.2.1");
        assert_eq!(found(&["10.0.0.1, 10.0.0.2"]), "10.0.0.1");
        assert_eq!(found(&["192.0.2.1:4000, [2001:db8::1]:5"]), "192.0.2.1");
        assert_eq!(found(&["::ffff:192.0.2.1"]), "192.0.2.1");
        // What is no address says nothing of what stands before it.
        assert_eq!(found(&["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(found(&["6.6.6.6, unknown"]), "");
        assert_eq!(found(&[]), "");
    }

    #[test]
    fn forwarded_is_read_too() {
        let found = |values: &[&str]| found(ForwardingHeader::Forwarded, "forwarded", values);
        assert_eq!(
            found(&["for=6.6.6.6, For=\"192.0.2.1:80\";proto=http, host=a;for=\"[2001:db8::1]\""]),
            "192.0.2.1"
        );
        assert_eq!(found(&["for=_hidden"]), "");
        // What stands in quotes is text, and a quote that does not end may be anybody's.
        for forged in [
            r#"for=192.0.2.1;host="a, for=6.6.6.6""#,
            r#"host="a;for=6.6.6.6";for=192.0.2.1"#,
            r#"for=192.0.2.1;host="\", for=6.6.6.6""#,
            r#"for=192.0.2.1;host="a,b""#,
        ] {
            assert_eq!(found(&[forged]), "192.0.2.1", "{forged}");
        }
        assert_eq!(found(&[r#"for=6.6.6.6;host="a, for=192.0.2.1"#]), "");
        assert_eq!(found(&["for=192.0.2.1\""]), "");
    }

    #[test]
    fn only_trusted_peers_may_speak_of_clients() {
        let settings = settings(&[]);
        let trust = |text: &str| Trust::of(Peer::Tcp(text.parse().unwrap()), &settings);
        assert_eq!(trust("10.1.2.3:4"), Trust::Proxy);
        assert_eq!(trust("[::ffff:10.1.2.3]:4"), Trust::Proxy);
        assert_eq!(trust("[2001:db8:1::1]:4"), Trust::Proxy);
        assert_eq!(trust("192.0.2.1:4"), Trust::Client);
        assert_eq!(Trust::of(Peer::Unix, &settings), Trust::Client);
        let mut settings = settings.clone();
        settings.trusted_proxies.unix = true;
        assert_eq!(Trust::of(Peer::Unix, &settings), Trust::Proxy);
        assert!(Trust::Proxy.lets_pass("x-forwarded-port"));
        assert!(Trust::Proxy.lets_pass("forwarded"));
        assert!(!Trust::Proxy.lets_pass("x-forwarded_for"));
        assert!(!Trust::Proxy.lets_pass("x-tls-version"));
        assert!(!Trust::Client.lets_pass("x-forwarded-for"));
    }
}
