//! `[upstreams.NAME]`, and the upstream given inline at a route.

use std::collections::HashMap;

use super::addresses::{self, InlineUpstream};
use super::defaults::{self, DEADLINE};
use super::diagnostic::Diagnostic;
use super::model::UpstreamId;
use super::references::References;
use super::table::{Named, Table};
use super::upstream::{
    Balance, Pool, Retries, ServerAddress, Upstream, UpstreamProtocol, UpstreamServer,
    UpstreamTimeouts,
};
use super::upstream_faults::{eject, health, retries};
use super::upstream_tls::{UpstreamTls, upstream_tls};
use super::value::{Text, Value};
use super::wording::quoted;

/// What servers are spoken to in.
const PROTOCOLS: &[(&str, UpstreamProtocol)] = &[
    ("http1", UpstreamProtocol::Http1),
    ("http2", UpstreamProtocol::Http2),
    ("auto", UpstreamProtocol::Auto),
];

/// How servers are chosen.
const BALANCE: &[(&str, Balance)] = &[
    ("round-robin", Balance::RoundRobin),
    ("least-connections", Balance::LeastConnections),
    ("random-two", Balance::RandomTwo),
    ("hash:client-ip", Balance::HashClientIp),
];

/// The upstreams read so far.
pub(super) struct Upstreams {
    pub(super) list: Vec<Upstream>,
    references: References,
    inline: HashMap<InlineUpstream, UpstreamId>,
}

impl Upstreams {
    /// Reads `[upstreams.NAME]`.
    pub(super) fn read(root: &mut Table<'_>) -> Self {
        let mut upstreams = Self {
            list: Vec::new(),
            references: References::new("upstream", "upstreams"),
            inline: HashMap::new(),
        };
        for Named { name, table, .. } in root.named_tables("upstreams", "api") {
            upstreams.references.insert(name, upstreams.list.len());
            upstreams.list.push(upstream(name, table));
        }
        upstreams
    }

    /// What `upstream` of a route means: the name of a table, a URL, or `unix:PATH`. Routes with
    /// the same of these share an upstream.
    pub(super) fn resolve(&mut self, text: &Text<'_>) -> Option<UpstreamId> {
        let unix = addresses::unix_path(text);
        if !text.text.contains("://") && unix.is_none() {
            // An address where a name or URL is expected lacks its scheme.
            let address = text
                .text
                .contains(':')
                .then(|| addresses::server_address(text.text));
            if let Some(Ok(_)) = address {
                let message = format!("upstream {} is not defined", quoted(text.text));
                let help = format!("write \"http://{}\"", text.text);
                text.refuse(Diagnostic::new(message).help(help));
                return None;
            }
            return self.references.resolve(text).map(UpstreamId);
        }
        let inline = match unix {
            Some(path) => InlineUpstream {
                tls: false,
                address: unix_address(text, path)?,
            },
            None => text.read(addresses::upstream_url)?,
        };
        if let Some(id) = self.inline.get(&inline) {
            return Some(*id);
        }
        let id = UpstreamId(self.list.len());
        self.inline.insert(inline.clone(), id);
        let server = UpstreamServer {
            address: inline.address,
            weight: defaults::WEIGHT,
        };
        self.list.push(Upstream {
            tls: inline.tls.then(|| UpstreamTls::at(text.value.location)),
            ..Upstream::of(text.text, vec![server])
        });
        Some(id)
    }
}

impl Upstream {
    /// The upstream called `name`, of these servers, with all defaults.
    #[must_use]
    pub fn of(name: &str, servers: Vec<UpstreamServer>) -> Self {
        Self {
            name: name.into(),
            servers,
            protocol: UpstreamProtocol::Http1,
            balance: defaults::BALANCE,
            timeouts: defaults::UPSTREAM_TIMEOUTS,
            pool: defaults::POOL,
            retries: Retries {
                attempts: defaults::RETRY_ATTEMPTS,
                methods: defaults::RETRY_METHODS.to_vec(),
            },
            eject: Some(defaults::EJECT),
            health: None,
            resolve_interval: defaults::RESOLVE_INTERVAL,
            tls: None,
        }
    }
}

fn upstream(name: &str, mut table: Table<'_>) -> Upstream {
    let servers = table
        .required("servers", "[{ address = \"10.0.0.11:8080\" }]")
        .map(|value| servers(&table, value))
        .unwrap_or_default();
    let chosen = table.value("protocol");
    let protocol = chosen
        .and_then(|value| value.choice(PROTOCOLS, &[]))
        .unwrap_or(UpstreamProtocol::Http1);
    let balance = table.choice("balance", defaults::BALANCE, BALANCE, &[]);

    let timeouts = timeouts(table.table("timeouts"), &defaults::UPSTREAM_TIMEOUTS);

    let default = defaults::POOL;
    let mut given = table.table("pool");
    let pool = Pool {
        max_connections: given.integer(
            "max_connections",
            default.max_connections,
            &defaults::CONNECTIONS_RANGE,
        ),
        max_idle: given.integer("max_idle", default.max_idle, &defaults::MAX_IDLE_RANGE),
        idle_timeout: given.duration("idle_timeout", default.idle_timeout, &DEADLINE),
        wait: given.duration("wait", default.wait, &DEADLINE),
        max_waiting: given.integer(
            "max_waiting",
            default.max_waiting,
            &defaults::MAX_WAITING_RANGE,
        ),
    };
    given.finish();
    let retries = retries(&mut table);
    let eject = eject(&mut table);
    let health = health(&mut table);
    let resolve_interval =
        table.duration("resolve_interval", defaults::RESOLVE_INTERVAL, &DEADLINE);

    let nameless = |server: &UpstreamServer| matches!(server.address, ServerAddress::Unix(_));
    let tls = upstream_tls(&mut table, servers.iter().any(nameless));
    if let (UpstreamProtocol::Auto, None, Some(value)) = (protocol, &tls, chosen) {
        value.refuse(
            Diagnostic::new("`protocol = \"auto\"` needs `tls`: it is chosen by ALPN")
                .help("write \"http1\" or \"http2\", or set `tls`"),
        );
    }
    table.finish();
    Upstream {
        name: name.into(),
        servers,
        protocol,
        balance,
        timeouts,
        pool,
        retries,
        eject,
        health,
        resolve_interval,
        tls,
    }
}

/// Reads `timeouts` of an upstream or a route.
pub(super) fn timeouts(mut given: Table<'_>, default: &UpstreamTimeouts) -> UpstreamTimeouts {
    let timeouts = UpstreamTimeouts {
        connect: given.duration("connect", default.connect, &DEADLINE),
        first_byte: given.duration("first_byte", default.first_byte, &DEADLINE),
        idle: given.duration("idle", default.idle, &DEADLINE),
    };
    given.finish();
    timeouts
}

fn unix_address(text: &Text<'_>, path: &str) -> Option<ServerAddress> {
    addresses::unix_socket(text, path, "/run/app.sock").map(ServerAddress::Unix)
}

fn servers(upstream: &Table<'_>, value: Value<'_>) -> Vec<UpstreamServer> {
    let expected = "a list of servers such as [{ address = \"10.0.0.11:8080\" }]";
    let Some(elements) = value.list(expected) else {
        return Vec::new();
    };
    if elements.is_empty() {
        value.refuse(Diagnostic::new(
            "an upstream needs a server, found an empty list",
        ));
    }
    let mut servers: Vec<UpstreamServer> = Vec::new();
    for element in elements {
        if let Some(text) = element.raw.as_str() {
            let help = format!("write {{ address = \"{text}\" }}");
            element.mismatch("a table", Some(help));
            continue;
        }
        let Some(mut table) = upstream.element("servers", element) else {
            continue;
        };
        let text = table
            .required("address", "\"10.0.0.11:8080\"")
            .and_then(|value| value.text("an address such as \"10.0.0.11:8080\""));
        let address = text.and_then(|text| match addresses::unix_path(&text) {
            Some(path) => unix_address(&text, path),
            None => text.read(addresses::server_address),
        });
        let weight = table.integer("weight", defaults::WEIGHT, &defaults::WEIGHT_RANGE);
        table.finish();
        let (Some(text), Some(address)) = (text, address) else {
            continue;
        };
        if servers.iter().any(|server| server.address == address) {
            let message = format!("the server {} is given twice", quoted(text.text));
            text.refuse(Diagnostic::new(message).help("`weight` gives it a larger share"));
            continue;
        }
        servers.push(UpstreamServer { address, weight });
    }
    servers
}
