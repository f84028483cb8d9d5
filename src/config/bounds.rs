//! `[timeouts]` and `[limits]`: what a client may take of time and of memory.

use super::defaults::{self, DEADLINE};
use super::model::{Budget, Limits, Timeouts};
use super::table::Table;
use super::value::Value;

/// Reads `[timeouts]`.
pub(super) fn timeouts(mut table: Table<'_>) -> Timeouts {
    let default = defaults::TIMEOUTS;
    let mut deadline = |key, default| table.duration(key, default, &DEADLINE);
    let timeouts = Timeouts {
        request_header: deadline("request_header", default.request_header),
        request_body_idle: deadline("request_body_idle", default.request_body_idle),
        response_idle: deadline("response_idle", default.response_idle),
        keep_alive: deadline("keep_alive", default.keep_alive),
        tunnel_idle: deadline("tunnel_idle", default.tunnel_idle),
        connection_max_age: deadline("connection_max_age", default.connection_max_age),
    };
    table.finish();
    timeouts
}

/// Reads `[limits]`.
pub(super) fn limits(mut table: Table<'_>) -> Limits {
    let default = defaults::LIMITS;
    let limits = Limits {
        connections: table.integer(
            "connections",
            default.connections,
            &defaults::CONNECTIONS_RANGE,
        ),
        connections_per_ip: table
            .value("connections_per_ip")
            .map_or(default.connections_per_ip, connections_per_ip),
        handshakes: table.integer(
            "handshakes",
            default.handshakes,
            &defaults::CONNECTIONS_RANGE,
        ),
        request_line: table.size(
            "request_line",
            default.request_line,
            &defaults::REQUEST_LINE_RANGE,
        ),
        request_headers: table.size(
            "request_headers",
            default.request_headers,
            &defaults::REQUEST_HEADERS_RANGE,
        ),
        request_header_count: table.integer(
            "request_header_count",
            default.request_header_count,
            &defaults::REQUEST_HEADER_COUNT_RANGE,
        ),
        request_body: table
            .value("request_body")
            .map_or(default.request_body, request_body),
        h2_streams: table.integer(
            "h2_streams",
            default.h2_streams,
            &defaults::H2_STREAMS_RANGE,
        ),
        h2_resets: budget(table.table("h2_resets"), default.h2_resets),
        h2_control_frames: budget(table.table("h2_control_frames"), default.h2_control_frames),
    };
    table.finish();
    limits
}

fn budget(mut table: Table<'_>, default: Budget) -> Budget {
    let budget = Budget {
        count: table.integer("count", default.count, &defaults::BUDGET_COUNT_RANGE),
        per: table.duration("per", default.per, &defaults::BUDGET_PER_RANGE),
    };
    table.finish();
    budget
}

fn connections_per_ip(value: Value<'_>) -> Option<usize> {
    if value.raw.as_str() == Some("unlimited") {
        return None;
    }
    let number = value.integer(&defaults::CONNECTIONS_RANGE);
    number.and_then(|number| usize::try_from(number).ok())
}

/// A size, or `"unlimited"`, which is `None`.
pub(super) fn request_body(value: Value<'_>) -> Option<u64> {
    if value.raw.as_str() == Some("unlimited") {
        return None;
    }
    value.size(&defaults::REQUEST_BODY_RANGE)
}
