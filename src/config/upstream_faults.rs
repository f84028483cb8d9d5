//! `retries`, `eject` and `health` of `[upstreams.NAME]`: what is done about servers that fail.

use std::time::Duration;

use http::Method;
use http::uri::PathAndQuery;
use toml::de::DeValue;

use super::defaults::{self, DEADLINE};
use super::diagnostic::Diagnostic;
use super::table::Table;
use super::upstream::{Eject, HealthCheck, Retries};
use super::value::{Text, Value};
use super::wording::{listed, quoted};

/// The idempotent methods (RFC 9110 section 9.2.2).
const REPEATABLE: [&str; 6] = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"];

/// Reads `retries` of `upstream`.
pub(super) fn retries(upstream: &mut Table<'_>) -> Retries {
    let mut table = upstream.table("retries");
    let attempts = table.integer(
        "attempts",
        defaults::RETRY_ATTEMPTS,
        &defaults::RETRY_ATTEMPTS_RANGE,
    );
    let methods = table.value("methods").and_then(methods);
    table.finish();
    Retries {
        attempts,
        methods: methods.unwrap_or_else(|| defaults::RETRY_METHODS.to_vec()),
    }
}

fn methods(value: Value<'_>) -> Option<Vec<Method>> {
    let expected = "a list of methods such as [\"GET\", \"HEAD\"]";
    let elements = value.list(expected)?.into_iter();
    let texts = elements.filter_map(|element| element.text("a method such as \"GET\""));
    let mut methods = texts.filter_map(method).collect::<Vec<_>>();
    methods.sort_by(|left, right| left.as_str().cmp(right.as_str()));
    methods.dedup();
    Some(methods)
}

fn method(text: Text<'_>) -> Option<Method> {
    text.read(|text| {
        let refused = |help: String| {
            Diagnostic::new(format!("{} is not sent twice", quoted(text))).help(help)
        };
        if let Some(name) = REPEATABLE.iter().find(|name| **name == text) {
            return Method::from_bytes(name.as_bytes())
                .map_err(|_| refused("it is no method".to_owned()));
        }
        let upper = text.to_ascii_uppercase();
        Err(refused(match REPEATABLE.contains(&&*upper) {
            true => format!("write \"{upper}\""),
            false => format!("the idempotent methods: {}", listed(REPEATABLE)),
        }))
    })
}

/// Reads `eject` of `upstream`; `None`: `false`.
pub(super) fn eject(upstream: &mut Table<'_>) -> Option<Eject> {
    let default = defaults::EJECT;
    let Some(value) = upstream.value("eject") else {
        return Some(default);
    };
    match value.raw {
        DeValue::Boolean(given) => return given.then_some(default),
        DeValue::Table(_) => {}
        _ => {
            value.mismatch("a table or false", None);
            return None;
        }
    }
    let mut table = upstream.inline("eject", value)?;
    let eject = Eject {
        failures: table.integer("failures", default.failures, &defaults::IN_A_ROW_RANGE),
        period: table.duration("for", default.period, &defaults::EJECT_RANGE),
    };
    table.finish();
    Some(eject)
}

/// Reads `health` of `upstream`; `None`: there is none.
pub(super) fn health(upstream: &mut Table<'_>) -> Option<HealthCheck> {
    let value = upstream.value("health")?;
    let mut table = upstream.inline("health", value)?;
    let path = table
        .required("path", "\"/healthz\"")
        .and_then(|value| value.text("a path such as \"/healthz\""))
        .and_then(path);
    let mut time = |key, default: Duration| table.duration(key, default, &DEADLINE);
    let interval = time("interval", defaults::HEALTH_INTERVAL);
    let timeout = time("timeout", defaults::HEALTH_TIMEOUT);
    let mut in_a_row = |key, default| table.integer(key, default, &defaults::IN_A_ROW_RANGE);
    let healthy_after = in_a_row("healthy_after", defaults::HEALTHY_AFTER);
    let unhealthy_after = in_a_row("unhealthy_after", defaults::UNHEALTHY_AFTER);
    table.finish();
    Some(HealthCheck {
        path: path?.into(),
        interval,
        timeout,
        healthy_after,
        unhealthy_after,
    })
}

fn path(text: Text<'_>) -> Option<String> {
    text.read(|text| {
        let whole = text.parse::<PathAndQuery>().is_ok() && !text.contains('#');
        if text.starts_with('/') && whole {
            return Ok(text.to_owned());
        }
        let refused = format!(
            "expected a path such as \"/healthz\", found {}",
            quoted(text)
        );
        Err(Diagnostic::new(refused))
    })
}
