//! `resumption` of a policy: its mode, its keys, and what they may take.

use std::path::Path;
use std::time::Duration;

use super::defaults::{self, ROTATE_RANGE, ROTATIONS, SESSION_LIFETIME_RANGE};
use super::diagnostic::Diagnostic;
use super::measures::write_duration;
use super::model::{KeyDirectory, Policy, Resumption, ResumptionMode, TicketKeys};
use super::table::Table;
use super::value::Value;
use super::wording::quoted;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Tickets,
    Cache,
    Off,
}

const MODES: &[(&str, Mode)] = &[
    ("tickets", Mode::Tickets),
    ("cache", Mode::Cache),
    ("off", Mode::Off),
];

/// What a policy does that says nothing of resumption.
pub(super) const fn built_in() -> Resumption {
    Resumption {
        mode: ResumptionMode::Tickets(TicketKeys::rotated(defaults::ROTATE)),
        lifetime: defaults::SESSION_LIFETIME,
        tickets: defaults::TICKETS,
        cache_size: defaults::CACHE_SIZE,
    }
}

/// Gives the keys that `policy` makes itself a file of their own in `directory`.
pub(super) fn keep_keys(policy: &mut Policy, directory: &Path) {
    if let ResumptionMode::Tickets(TicketKeys::Rotated(rotation)) = &mut policy.resumption.mode {
        // A name has no slash.
        rotation.file = Some(directory.join(format!("ticket-keys-{}", policy.name)));
    }
}

/// Reads `resumption`.
pub(super) fn resumption(mut table: Table<'_>) -> Resumption {
    let mode = table.choice("mode", Mode::Tickets, MODES, &[]);
    let rotate = table.value("rotate");
    let key_dir = table.value("key_dir");
    let lifetime_given = table.value("lifetime");
    let others = [
        ("lifetime", lifetime_given),
        ("tickets", table.value("tickets")),
        ("cache_size", table.value("cache_size")),
    ];
    match mode {
        Mode::Tickets => {}
        Mode::Cache => {
            for (key, value) in [("rotate", rotate), ("key_dir", key_dir)] {
                idle(key, value, "cache", "set mode = \"tickets\"");
            }
        }
        Mode::Off => {
            let keys = [("rotate", rotate), ("key_dir", key_dir)];
            for (key, value) in others.into_iter().chain(keys) {
                idle(key, value, "off", "choose another mode");
            }
        }
    }
    let lifetime = table.duration(
        "lifetime",
        defaults::SESSION_LIFETIME,
        &SESSION_LIFETIME_RANGE,
    );
    let mode = match mode {
        Mode::Tickets => ResumptionMode::Tickets(keys(rotate, key_dir, lifetime)),
        Mode::Cache => ResumptionMode::Cache,
        Mode::Off => ResumptionMode::Off,
    };
    let resumption = Resumption {
        mode,
        lifetime,
        tickets: table.integer("tickets", defaults::TICKETS, &defaults::TICKETS_RANGE),
        cache_size: table.size(
            "cache_size",
            defaults::CACHE_SIZE,
            &defaults::CACHE_SIZE_RANGE,
        ),
    };
    table.finish();
    resumption
}

/// Reports a key that the mode does not use.
fn idle(key: &str, value: Option<Value<'_>>, mode: &str, instead: &str) {
    if let Some(value) = value {
        let message = format!(
            "{} has no effect with the mode {}",
            quoted(key),
            quoted(mode)
        );
        value.refuse(Diagnostic::new(message).help(format!("leave it out, or {instead}")));
    }
}

fn keys(rotate: Option<Value<'_>>, key_dir: Option<Value<'_>>, lifetime: Duration) -> TicketKeys {
    if let Some(directory) = key_dir {
        if let Some(rotate) = rotate {
            rotate.refuse(
                Diagnostic::new("`rotate` has no effect beside `key_dir`")
                    .help("run `handfast ticket-key rotate DIR` instead, by a timer for example"),
            );
        }
        if let Some(path) = directory.path() {
            let location = directory.location;
            return TicketKeys::Directory(KeyDirectory { path, location });
        }
    }
    let every = rotate.and_then(|value| value.duration(&ROTATE_RANGE));
    let every = every.unwrap_or(defaults::ROTATE);
    let rotations = lifetime.as_millis().div_ceil(every.as_millis());
    if let Some(value) = rotate.filter(|_| rotations > ROTATIONS) {
        let least = lifetime.as_secs().div_ceil(ROTATIONS as u64 * 60).max(1) * 60;
        let least = write_duration(Duration::from_secs(least));
        value.refuse(
            Diagnostic::new(format!(
                "a new key every {} makes {rotations} of them within the lifetime of {}, and \
                 {ROTATIONS} at most are kept",
                write_duration(every),
                write_duration(lifetime),
            ))
            .help(format!("write \"{least}\" or more, or shorten `lifetime`")),
        );
    }
    TicketKeys::rotated(every)
}
