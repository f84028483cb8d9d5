//! The files that are shipped: they parse, show the defaults, and leave no key out.

use super::texts::{FULL, MINIMAL, config, faults};
use crate::config::{Diagnostic, Policy, ResumptionMode, TicketKeys, defaults};

#[test]
fn the_shipped_files_parse() {
    let full = config(FULL);
    assert_eq!(full.listeners.len(), 3);
    assert_eq!(full.policies.len(), 3);
    assert_eq!(full.certificates.len(), 3);
    assert_eq!(full.routes.len(), 6);
    assert_eq!(full.upstreams.len(), 5);
    let minimal = config(MINIMAL);
    let lines = MINIMAL.lines().filter(|line| !line.trim().is_empty());
    assert_eq!(lines.count(), 5);
    assert_eq!(minimal.listeners[0].address.to_string(), "[::]:443");
}

#[test]
fn the_full_file_shows_the_defaults() {
    let full = config(FULL);
    let minimal = config(MINIMAL);
    assert_eq!(full.runtime, minimal.runtime);
    assert_eq!(full.timeouts, minimal.timeouts);
    assert_eq!(full.limits, minimal.limits);
    assert_eq!(full.log, minimal.log);
    assert_eq!(full.forwarding, minimal.forwarding);
    assert_eq!(full.shutdown.drain_delay, Some(defaults::DRAIN_DELAY));
    assert_eq!(full.shutdown.drain_timeout, minimal.shutdown.drain_timeout);
    assert_eq!(full.listeners[0].backlog, minimal.listeners[0].backlog);
    assert_eq!(full.upstreams[0].timeouts, minimal.upstreams[0].timeouts);
    assert_eq!(full.upstreams[0].pool, minimal.upstreams[0].pool);
    assert_eq!(full.upstreams[0].balance, minimal.upstreams[0].balance);
    assert_eq!(full.upstreams[0].retries, minimal.upstreams[0].retries);
    assert_eq!(full.upstreams[0].eject, minimal.upstreams[0].eject);
    assert_eq!(
        full.upstreams[0].resolve_interval,
        minimal.upstreams[0].resolve_interval
    );
    let health = full.upstreams[0].health.as_ref().unwrap();
    assert_eq!(health.interval, defaults::HEALTH_INTERVAL);
    assert_eq!(health.timeout, defaults::HEALTH_TIMEOUT);
    assert_eq!(health.healthy_after, defaults::HEALTHY_AFTER);
    assert_eq!(health.unhealthy_after, defaults::UNHEALTHY_AFTER);
    assert_eq!(minimal.upstreams[0].health, None);
    let mut web = Policy {
        name: defaults::POLICY.into(),
        ..full.policies[1].clone()
    };
    // As under systemd.
    let ResumptionMode::Tickets(TicketKeys::Rotated(rotation)) = &mut web.resumption.mode else {
        panic!("{web:?}");
    };
    let file = rotation.file.take();
    assert_eq!(file, Some("/var/lib/handfast/ticket-keys-web".into()));
    assert_eq!(web, minimal.policies[0]);
}

/// Every key, as the messages about an unknown one in each table list them.
fn known_keys() -> Vec<String> {
    let pair = "chain = \"c\", key = \"k\", zz = 1";
    let text = format!(
        "zz = 1
        [runtime]\nzz = 1
        [[listeners]]\naddress = \"[::]:1\"\ncertificate = {{ {pair} }}\nzz = 1
        [tls.a]\nzz = 1\nresumption.zz = 1
        client_auth = {{ mode = \"optional\", ca = \"c\", allow = {{ zz = 1 }}, zz = 1 }}
        [certificates.a]\npairs = [{{ {pair} }}]\nzz = 1
        [[routes]]\nupstream = \"a\"\nzz = 1\nrequest_headers.zz = 1
        [[routes]]\npath = \"/a\"\nredirect = {{ to = \"https\", zz = 1 }}
        [[routes]]\npath = \"/b\"\nrespond = {{ status = 200, zz = 1 }}
        [upstreams.a]\nservers = [{{ address = \"a:1\", zz = 1 }}]\nzz = 1
        timeouts.zz = 1\npool.zz = 1\nretries.zz = 1\neject.zz = 1\nhealth = {{ path = \"/\", zz = 1 }}
        [timeouts]\nzz = 1
        [limits]\nzz = 1
        [forwarding]\nzz = 1
        [reload]\nzz = 1
        [shutdown]\nzz = 1
        [log]\nzz = 1\naccess.zz = 1\nhandshake.zz = 1
        [admin]\nzz = 1"
    );
    let faults = faults(&text);
    assert_eq!(faults.len(), 30, "{faults}");
    let help = |item: &Diagnostic| item.help.clone().unwrap();
    let helps: Vec<_> = faults.items.iter().map(help).collect();
    let keys = helps.iter().flat_map(|help| {
        assert!(!help.ends_with(" more"), "{help}");
        help.split('`').skip(1).step_by(2)
    });
    keys.map(str::to_owned).collect()
}

#[test]
fn the_full_file_and_the_manual_show_every_key() {
    const MANUAL: &str = include_str!("../../../docs/configuration.md");
    let keys = known_keys();
    assert!(keys.len() > 60, "{keys:?}");
    for key in keys {
        let shown = FULL.lines().any(|line| {
            let code = line.split('#').next().unwrap();
            let mut words = code.split(|char: char| !(char.is_alphanumeric() || char == '_'));
            words.any(|word| word == key)
        });
        assert!(shown, "{key} is not in the full file");
        let marks = [
            format!("`{key}`"),
            format!("[{key}]"),
            format!("[{key}.NAME]"),
        ];
        assert!(
            marks.iter().any(|mark| MANUAL.contains(mark)),
            "{key} is not in the manual"
        );
    }
}
