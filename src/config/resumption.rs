//! `resumption` of a policy: its mode, its keys, and what they may take.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::defaults::{self, ROTATE_RANGE, ROTATIONS, SESSION_LIFETIME_RANGE};
use super::diagnostic::{Diagnostic, Location};
use super::measures::write_duration;
use super::policy::Policy;
use super::table::Table;
use super::value::Value;
use super::wording::quoted;

/// `resumption` of a policy
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resumption {
    /// `mode`, default [`ResumptionMode::Tickets`]
    pub mode: ResumptionMode,
    /// `lifetime`, default 12 h: from the full handshake on, however often the session was resumed
    /// since. Past it: a full handshake.
    pub lifetime: Duration,
    /// `tickets` sent after each full TLS 1.3 handshake, default 2, 0 to 8; after a resumed one it is
    /// one, if it is any.
    pub tickets: usize,
    /// `cache_size` in bytes, default 16 MiB: the session store. Past it: the oldest session goes.
    pub cache_size: usize,
}

/// `mode` of resumption, and the keys that one of them needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResumptionMode {
    /// `tickets`: state is sealed and given to the client (RFC 5077, RFC 8446 section 4.6.1); the
    /// store serves TLS 1.2 clients that take no tickets.
    Tickets(TicketKeys),
    /// `cache`: all state is in the store.
    Cache,
    /// `off`: every handshake is a full one.
    Off,
}

/// Where the keys of tickets come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TicketKeys {
    /// Made by the daemon, a new one each time; old ones open tickets as long as those live.
    Rotated(Rotation),
    /// `key_dir`: files, shared by a fleet.
    Directory(KeyDirectory),
}

impl TicketKeys {
    /// A new key `every` so often, which ends with the process.
    #[must_use]
    pub const fn rotated(every: Duration) -> Self {
        Self::Rotated(Rotation { every, file: None })
    }
}

/// How a policy's own keys change, and where they stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// `rotate`, default 6 h.
    pub every: Duration,
    /// A file of the policy's own in `runtime.state_dir`, where the keys outlive the process; `None`
    /// without such a directory.
    pub file: Option<PathBuf>,
}

/// `key_dir` and where it is given, which does not count when two are compared: a policy whose
/// text has moved is the same policy.
#[derive(Clone, Debug)]
pub struct KeyDirectory {
    /// The directory.
    pub path: PathBuf,
    /// Where it is given.
    pub location: Location,
}

impl PartialEq for KeyDirectory {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for KeyDirectory {}

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
