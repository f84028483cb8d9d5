//! `[[listeners]]`: where handfast listens, and what is spoken there.

use toml::de::DeValue;

use super::addresses::{self, AN_ADDRESS};
use super::certificates::Certificates;
use super::defaults;
use super::diagnostic::Diagnostic;
use super::listener::{ListenAddress, Listener, ListenerMode};
use super::model::{CertificateId, PolicyId};
use super::peer_set::peer_set;
use super::reading::Unique;
use super::redirect::redirect;
use super::references::References;
use super::table::{NAME_LENGTH, Table};
use super::value::{Text, Value};
use super::wording::quoted;

const A_POLICY: &str = "the name of a tls policy, or false for plain HTTP";

/// What is said where a TLS listener has no certificate.
const EXAMPLE_CERTIFICATE: &str = "add certificate = { chain = \"fullchain.pem\", key = \
                                   \"privkey.pem\" }, or tls = false for plain HTTP";

/// Reads `[[listeners]]`; at least one is required.
pub(super) fn listeners(
    root: &mut Table<'_>,
    policies: &References,
    certificates: &mut Certificates,
) -> Vec<Listener> {
    let given = root.value("listeners").is_some();
    let tables = root.tables("listeners");
    if tables.is_empty() && !given {
        let message = "at least one listener is required";
        let diagnostic = Diagnostic::at(root.location, message);
        root.reading
            .absent(diagnostic.help("add [[listeners]] with address = \"[::]:443\""));
    }
    let mut seen = Seen::default();
    tables
        .into_iter()
        .filter_map(|table| listener(table, policies, certificates, &mut seen))
        .collect()
}

#[derive(Default)]
struct Seen {
    names: Unique,
    addresses: Unique,
}

fn listener(
    mut table: Table<'_>,
    policies: &References,
    certificates: &mut Certificates,
    seen: &mut Seen,
) -> Option<Listener> {
    let address_text = table
        .required("address", "\"[::]:443\"")
        .and_then(|value| value.text(AN_ADDRESS));
    let address = address_text.and_then(|text| listen_address(&text));
    if let (Some(text), Some(address)) = (address_text, &address) {
        // Port 0 is a free port, another one each time.
        let first = (!address.is_ephemeral())
            .then(|| {
                seen.addresses
                    .insert(address.to_string(), text.value.location)
            })
            .flatten();
        if let Some(first) = first {
            let first = table.reading.place(first, text.value.location);
            let message = format!("another listener has the address {}", quoted(text.text));
            text.refuse(Diagnostic::new(message).help(format!("the first is in {first}")));
        }
    }

    let name_value = table.value("name");
    let name = name_value.and_then(listener_name).or_else(|| {
        // The address stands in; twice the same is reported above, but for port 0.
        address_text.map(|text| text.text)
    });
    if let Some(name) = name {
        let place = name_value.or_else(|| address_text.map(|text| text.value));
        let location = place.map_or(table.location, |place| place.location);
        let by_address =
            name_value.is_none() && address.as_ref().is_none_or(|it| !it.is_ephemeral());
        if let Some(first) = seen.names.insert(name, location)
            && !by_address
        {
            let message = format!("another listener has the name {}", quoted(name));
            let first = table.reading.place(first, location);
            let diagnostic = Diagnostic::at(location, message);
            let help = format!("the first is in {first}; give this one another `name`");
            table.reading.refuse(diagnostic.help(help));
        }
    }

    let tls = table.value("tls");
    let named = table.value("certificates");
    let inline = table.value("certificate");
    let quoted_false = tls.filter(|value| value.raw.as_str() == Some("false"));
    if let Some(value) = quoted_false {
        value.mismatch(A_POLICY, Some("write false without quotes".to_owned()));
    }
    let plain = quoted_false.is_some()
        || tls.is_some_and(|value| matches!(value.raw, DeValue::Boolean(false)));
    let mode = if plain {
        for (key, value) in [("certificates", named), ("certificate", inline)] {
            if let Some(value) = value {
                let message = format!("a plain listener has no use for `{key}`");
                let help = "leave it out, or leave `tls = false` out";
                value.refuse(Diagnostic::new(message).help(help));
            }
        }
        ListenerMode::Plain
    } else {
        ListenerMode::Tls {
            policy: tls
                .and_then(|value| policy(value, policies))
                .unwrap_or(PolicyId(0)),
            certificates: listener_certificates(
                &table,
                name.unwrap_or_default(),
                named,
                inline,
                certificates,
            ),
        }
    };

    let redirect_value = table.value("redirect");
    let redirect = redirect_value.and_then(|value| redirect(&table, value));
    if let (Some(value), false) = (redirect_value, plain) {
        let message = "only a plain listener redirects all its requests";
        let help = "a route can redirect: `redirect` in [[routes]]";
        value.refuse(Diagnostic::new(message).help(help));
    }

    let proxy_protocol_from = table
        .value("proxy_protocol_from")
        .map(peer_set)
        .unwrap_or_default();
    let backlog = table.integer("backlog", defaults::BACKLOG, &defaults::BACKLOG_RANGE);
    table.finish();
    Some(Listener {
        name: name?.into(),
        address: address?,
        location: address_text?.value.location,
        mode,
        redirect,
        proxy_protocol_from,
        backlog,
    })
}

/// An IP address and port, the path of a unix socket, or the name of inherited sockets.
fn listen_address(text: &Text<'_>) -> Option<ListenAddress> {
    if text.text.starts_with("systemd:") {
        return text
            .read(|it| addresses::descriptor_name(it).map(|name| name.into()))
            .map(ListenAddress::Systemd);
    }
    let Some(path) = addresses::unix_path(text) else {
        return text.read(addresses::listen_address).map(ListenAddress::Tcp);
    };
    addresses::unix_socket(text, path, "/run/handfast/in.sock").map(ListenAddress::Unix)
}

fn listener_name(value: Value<'_>) -> Option<&str> {
    let text = value.text("a name")?.text;
    let fits =
        (1..=NAME_LENGTH).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        value.refuse(Diagnostic::new(format!(
            "the name {} cannot be used: a name has 1 to {NAME_LENGTH} ASCII characters and no \
             space",
            quoted(text)
        )));
        return None;
    }
    Some(text)
}

fn policy(value: Value<'_>, policies: &References) -> Option<PolicyId> {
    match value.raw {
        DeValue::Boolean(true) => {
            let help = "leave `tls` out for the built-in policy";
            value.refuse(Diagnostic::new(format!("expected {A_POLICY}, found true")).help(help));
            None
        }
        DeValue::String(_) => {
            let name = value.text(A_POLICY)?;
            policies.resolve(&name).map(PolicyId)
        }
        _ => {
            value.mismatch(A_POLICY, None);
            None
        }
    }
}

fn listener_certificates(
    table: &Table<'_>,
    listener_name: &str,
    named: Option<Value<'_>>,
    inline: Option<Value<'_>>,
    certificates: &mut Certificates,
) -> Vec<CertificateId> {
    match (named, inline) {
        (None, None) => {
            let message = "a TLS listener needs `certificate` or `certificates`";
            let diagnostic = Diagnostic::at(table.location, message);
            table.reading.absent(diagnostic.help(EXAMPLE_CERTIFICATE));
            Vec::new()
        }
        (None, Some(value)) => certificates
            .read_inline(table, listener_name, value)
            .into_iter()
            .collect(),
        (Some(list), inline) => {
            if let Some(value) = inline {
                let message = "`certificate` and `certificates` exclude each other";
                let help = "give it a table [certificates.NAME] and add NAME to `certificates`";
                value.refuse(Diagnostic::new(message).help(help));
            }
            named_certificates(table, list, certificates)
        }
    }
}

fn named_certificates(
    table: &Table<'_>,
    list: Value<'_>,
    certificates: &Certificates,
) -> Vec<CertificateId> {
    let Some(elements) = list.list("a list of names of certificates") else {
        return Vec::new();
    };
    if elements.is_empty() {
        let message = "a TLS listener needs a certificate, found an empty list";
        list.refuse(Diagnostic::new(message).help(EXAMPLE_CERTIFICATE));
    }
    let mut ids: Vec<CertificateId> = Vec::new();
    for element in elements {
        let Some(name) = element.text("the name of a certificate") else {
            continue;
        };
        match certificates.references.resolve(&name).map(CertificateId) {
            Some(id) if ids.contains(&id) => {
                let message = format!("the certificate {} is given twice", quoted(name.text));
                name.refuse(Diagnostic::new(message));
            }
            Some(id) => ids.push(id),
            None => {}
        }
    }
    certificates.check_names(&ids, table.reading);
    ids
}
