//! What a cluster does by itself: resolve names again, check its servers, end ejections.

use std::sync::{Arc, Weak};

use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::cluster::Cluster;
use super::health_check;
use super::servers::Servers;

/// As many servers are checked at once.
const CHECKS: usize = 64;

/// Starts it. Each of the tasks ends when the cluster is retired or dropped.
pub(super) fn start(cluster: &Arc<Cluster>, servers: &Arc<Servers>, runtime: &Handle) {
    if servers.spec().eject.is_some() {
        runtime.spawn(readmit(servers.clone()));
    }
    if servers.has_names() {
        runtime.spawn(resolve(servers.clone()));
    }
    if servers.spec().health.is_some() {
        runtime.spawn(check(Arc::downgrade(cluster)));
    }
}

async fn readmit(servers: Arc<Servers>) {
    loop {
        // Made first, so that nothing is missed between the look and the wait.
        let changed = servers.changed();
        if servers.is_retired() {
            return;
        }
        match servers.readmit(Instant::now()) {
            // Whichever comes first.
            Some(next) => drop(timeout_at(next, changed).await),
            None => changed.await,
        }
    }
}

async fn resolve(servers: Arc<Servers>) {
    loop {
        let next = Instant::now() + servers.spec().resolve_interval;
        {
            let _asking = servers.asking.lock().await;
            // Failures are told already.
            let _ = servers.resolve().await;
        }
        if servers.retired_before(next).await {
            return;
        }
    }
}

async fn check(cluster: Weak<Cluster>) {
    loop {
        let Some(cluster) = cluster.upgrade() else {
            return;
        };
        let servers = cluster.servers().clone();
        let Some(health) = &servers.spec().health else {
            return;
        };
        let next = Instant::now() + health.interval;
        let roster = servers.roster();
        let mut checks = JoinSet::new();
        for server in roster.servers() {
            if checks.len() == CHECKS {
                checks.join_next().await;
            }
            let (cluster, server) = (cluster.clone(), server.clone());
            checks.spawn(async move {
                if let Some(health) = &cluster.servers().spec().health {
                    let result = health_check::check(&cluster, &server, health).await;
                    cluster.servers().checked(&server, result);
                }
            });
        }
        while checks.join_next().await.is_some() {}
        drop(roster);
        drop(cluster);
        if servers.retired_before(next).await {
            return;
        }
    }
}
