//! The tables of the file in the order in which they refer to each other, and the rules that
//! span several.

use std::path::Path;

use toml::de::DeTable;

use super::bounds;
use super::certificates::{Certificates, MemoryCertificate};
use super::diagnostic::Diagnostic;
use super::forwarding;
use super::listener::{ListenAddress, Listener};
use super::listeners;
use super::model::Config;
use super::policies;
use super::process;
use super::reading::Reading;
use super::reload;
use super::resumption;
use super::routes;
use super::table::Table;
use super::upstreams::Upstreams;

/// Tables and keys of the whole file that are planned.
const LATER: &[&str] = &[];

/// Reads the whole file. Whatever is wrong is pushed into `reading`, and the result is worth
/// something only when nothing was. `state_dir` is the default of `runtime.state_dir`.
pub(super) fn config<'t>(
    entries: &'t DeTable<'t>,
    reading: &'t Reading<'t>,
    memory: &[MemoryCertificate],
    state_dir: Option<&Path>,
) -> Config {
    let mut root = Table::root(entries, reading);
    // Done by now.
    let _ = root.value("include");
    let (runtime, own_state_dir) = process::runtime(root.table("runtime"));
    let (mut policies, policy_names) = policies::policies(&mut root);
    if let Some(directory) = own_state_dir.as_deref().or(state_dir) {
        for policy in &mut policies {
            resumption::keep_keys(policy, directory);
        }
    }
    let mut certificates = Certificates::read(&mut root, &policy_names, memory);
    let listeners = listeners::listeners(&mut root, &policy_names, &mut certificates);
    let mut upstreams = Upstreams::read(&mut root);
    let routes = routes::routes(&mut root, &mut upstreams);
    let config = Config {
        runtime,
        listeners,
        policies,
        certificates: certificates.list,
        routes,
        upstreams: upstreams.list,
        timeouts: bounds::timeouts(root.table("timeouts")),
        limits: bounds::limits(root.table("limits")),
        forwarding: forwarding::forwarding(root.table("forwarding")),
        reload: reload::reload(root.table("reload")),
        shutdown: process::shutdown(root.table("shutdown")),
        log: process::log(root.table("log")),
        metrics: process::metrics(root.table("metrics")),
        admin: process::admin(root.table("admin")),
        health: process::health(root.table("health")),
    };
    root.later(LATER);
    root.finish();
    own_addresses_are_free(&config, reading);
    config
}

/// The admin and the health listener have addresses that nothing else has.
fn own_addresses_are_free(config: &Config, reading: &Reading<'_>) {
    let admin = config.admin.address.as_ref();
    let health = config.health.address.as_ref();
    for own in [admin, health].into_iter().flatten() {
        let address = ListenAddress::Tcp(own.address);
        let same = |listener: &&Listener| listener.address == address && !address.is_ephemeral();
        if let Some(listener) = config.listeners.iter().find(same) {
            let place = reading.place(listener.location, own.location);
            let diagnostic = Diagnostic::at(own.location, "a listener has this address already");
            reading.refuse(diagnostic.help(format!("the listener is in {place}")));
        }
    }
    let socket = config.admin.socket.clone().map(ListenAddress::Unix);
    let same = |listener: &&Listener| Some(&listener.address) == socket.as_ref();
    if let Some(listener) = config.listeners.iter().find(same) {
        let message = "the admin socket has this path already";
        reading.refuse(Diagnostic::at(listener.location, message));
    }
    if let (Some(admin), Some(health)) = (admin, health)
        && admin.address == health.address
        && health.address.port() != 0
    {
        let message = "the admin interface has this address already";
        let help = "it serves health and metrics too";
        reading.refuse(Diagnostic::at(health.location, message).help(help));
    }
}
