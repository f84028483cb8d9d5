//! The tables about the process: `[runtime]`, `[shutdown]`, `[log]`, `[metrics]`, `[admin]`, `[health]`.

use std::path::PathBuf;

use super::addresses::{self, AN_ADDRESS};
use super::defaults;
use super::diagnostic::Diagnostic;
use super::log::{
    AccessFormat, ClientIp, HandshakeEvents, HandshakeLog, Log, LogFormat, LogLevel, LogTarget,
};
use super::model::{
    Admin, AdminAddress, Config, Health, Metrics, PerSni, Runtime, Shutdown, TokenFile,
};
use super::table::Table;
use super::value::Value;
use super::wording::{nearest, quoted};

/// Reads `[runtime]`, and `state_dir` in it.
pub(super) fn runtime(mut table: Table<'_>) -> (Runtime, Option<PathBuf>) {
    let workers = table.integer("workers", defaults::WORKERS, &defaults::WORKERS_RANGE);
    let state_dir = table.value("state_dir").and_then(|value| value.path());
    table.finish();
    (Runtime { workers }, state_dir)
}

/// Reads `[shutdown]`.
pub(super) fn shutdown(mut table: Table<'_>) -> Shutdown {
    let drain_delay = table
        .value("drain_delay")
        .and_then(|value| value.duration(&defaults::DELAY));
    let drain_timeout = table.duration(
        "drain_timeout",
        defaults::DRAIN_TIMEOUT,
        &defaults::DEADLINE,
    );
    table.finish();
    Shutdown {
        drain_delay,
        drain_timeout,
    }
}

/// Reads `[log]`.
pub(super) fn log(mut table: Table<'_>) -> Log {
    let default = defaults::LOG;
    let level = table.choice(
        "level",
        default.level,
        &[
            ("error", LogLevel::Error),
            ("warn", LogLevel::Warn),
            ("info", LogLevel::Info),
            ("debug", LogLevel::Debug),
            ("trace", LogLevel::Trace),
        ],
        &[],
    );
    let format = table.choice(
        "format",
        default.format,
        &[
            ("auto", LogFormat::Auto),
            ("human", LogFormat::Human),
            ("json", LogFormat::Json),
        ],
        &[],
    );
    let target = table
        .value("target")
        .and_then(log_target)
        .unwrap_or(default.target);

    let access = access_log(table.table("access"));
    let handshake = handshake_log(table.table("handshake"));
    table.finish();
    Log {
        level,
        format,
        target,
        access,
        handshake,
    }
}

fn access_log(mut table: Table<'_>) -> Option<AccessFormat> {
    let enabled = table.value("enabled").and_then(|value| value.boolean());
    let format = table.choice(
        "format",
        AccessFormat::Json,
        &[
            ("json", AccessFormat::Json),
            ("combined", AccessFormat::Combined),
        ],
        &[],
    );
    table.finish();
    match enabled {
        Some(enabled) => enabled.then_some(format),
        None => defaults::LOG.access.and(Some(format)),
    }
}

fn handshake_log(mut table: Table<'_>) -> HandshakeLog {
    let default = defaults::LOG.handshake;
    let events = table.choice(
        "events",
        default.events,
        &[
            ("all", HandshakeEvents::All),
            ("failures", HandshakeEvents::Failures),
            ("off", HandshakeEvents::Off),
        ],
        &[],
    );
    let sample = table
        .value("sample")
        .and_then(|value| value.millionths())
        .unwrap_or(default.sample);
    let client_ip = table.choice(
        "client_ip",
        default.client_ip,
        &[("full", ClientIp::Full), ("truncate", ClientIp::Truncate)],
        &[],
    );
    let failures_per_second = match table.value("failures_per_second") {
        None => default.failures_per_second,
        Some(value) if value.raw.as_str() == Some("unlimited") => None,
        Some(value) => value
            .integer(&defaults::FAILURES_PER_SECOND_RANGE)
            .and_then(|number| u32::try_from(number).ok()),
    };
    table.finish();
    HandshakeLog {
        events,
        sample,
        client_ip,
        failures_per_second,
    }
}

fn log_target(value: Value<'_>) -> Option<LogTarget> {
    let text = value.text("`stderr`, `stdout` or the path of a file")?;
    match text.text {
        "stderr" => return Some(LogTarget::Stderr),
        "stdout" => return Some(LogTarget::Stdout),
        _ => {}
    }
    // A misspelt stream must not become a file of that name.
    if let Some(stream) = nearest(text.text, ["stderr", "stdout"]) {
        let message = format!("{} is no target of the log", quoted(text.text));
        let help = format!("did you mean `{stream}`? the path of a file can begin with ./");
        text.refuse(Diagnostic::new(message).help(help));
        return None;
    }
    text.path().map(LogTarget::File)
}

/// Reads `[metrics]`.
pub(super) fn metrics(mut table: Table<'_>) -> Metrics {
    let default = defaults::METRICS;
    let per_sni = table.choice(
        "per_sni",
        default.per_sni,
        &[("configured", PerSni::Configured), ("off", PerSni::Off)],
        &[],
    );
    let exemplars = table
        .value("exemplars")
        .and_then(|value| value.boolean())
        .unwrap_or(default.exemplars);
    table.finish();
    Metrics { per_sni, exemplars }
}

/// Reads `[admin]`.
pub(super) fn admin(mut table: Table<'_>) -> Admin {
    let token_file = table.value("token_file").and_then(|value| {
        Some(TokenFile {
            path: value.path()?,
            location: value.location,
        })
    });
    let protected = table.has("token_file");
    let address = table
        .value("address")
        .and_then(|value| admin_address(value, protected));
    let socket = admin_socket(&mut table);
    table.finish();
    Admin {
        address,
        token_file,
        socket,
    }
}

/// Reads `[health]`.
pub(super) fn health(mut table: Table<'_>) -> Health {
    let address = table.value("address").and_then(address);
    table.finish();
    Health { address }
}

/// Reads `socket` of `[admin]`.
pub(super) fn admin_socket(table: &mut Table<'_>) -> Option<PathBuf> {
    let value = table.value("socket")?;
    let path = value.path()?;
    addresses::socket_path(value, path)
}

fn admin_address(value: Value<'_>, protected: bool) -> Option<AdminAddress> {
    let found = address(value)?;
    let address = found.address;
    if !protected && !Config::is_private_admin(address.ip()) {
        let message = format!(
            "the admin interface cannot listen on {address} without `token_file`: it would show \
             every connection to whoever reaches it"
        );
        let help = format!(
            "write \"127.0.0.1:{}\", or add token_file; [health] can serve the metrics alone",
            address.port()
        );
        value.refuse(Diagnostic::new(message).help(help));
        return None;
    }
    Some(found)
}

fn address(value: Value<'_>) -> Option<AdminAddress> {
    let text = value.text(AN_ADDRESS)?;
    Some(AdminAddress {
        address: text.read(addresses::listen_address)?,
        location: value.location,
    })
}
