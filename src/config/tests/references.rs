//! References between tables, and paths, which start at the file.

use std::path::PathBuf;

use super::texts::{FULL, MINIMAL, config, with};
use crate::config::{ListenerMode, LogTarget, PemSource, RouteAction};
use crate::report::ProtocolVersion;

#[test]
fn references_resolve() {
    let full = config(FULL);
    let ListenerMode::Tls {
        policy,
        certificates,
    } = &full.listeners[0].mode
    else {
        panic!("the first listener speaks TLS");
    };
    assert_eq!(&*full.policy(*policy).name, "web");
    let names: Vec<_> = certificates
        .iter()
        .map(|id| &*full.certificates[id.0].name)
        .collect();
    assert_eq!(names, ["example", "apps"]);
    assert_eq!(full.listeners[1].mode, ListenerMode::Plain);
    let apps = &full.certificates[certificates[1].0];
    assert_eq!(apps.pairs.len(), 2);
    let strict = full.policy(apps.policy.unwrap());
    assert_eq!(strict.versions, [ProtocolVersion::Tls13]);
    let RouteAction::Upstream(api) = full.routes[0].action else {
        panic!("a route to an upstream");
    };
    assert_eq!(&*full.upstreams[api.0].name, "api");
    let RouteAction::Upstream(inline) = full.routes[1].action else {
        panic!("a route to an upstream");
    };
    assert_eq!(&*full.upstreams[inline.0].name, "http://127.0.0.1:3000");
    assert_eq!(&*full.routes[0].name, "example.com/api/");
    assert_eq!(&*full.routes[1].name, "*.apps.example.com/");
    assert_eq!(&*config(MINIMAL).routes[0].name, "*/");
}

#[test]
fn relative_paths_start_at_the_file() {
    let file = |source: &PemSource| match source {
        PemSource::File { path, .. } => path.clone(),
        PemSource::Memory(_) => panic!("a file"),
    };
    let pair = &with("").certificates[0].pairs[0];
    assert_eq!(file(&pair.chain), PathBuf::from("/etc/handfast/c.pem"));
    let pair = &config(MINIMAL).certificates[0].pairs[0];
    assert_eq!(file(&pair.key), PathBuf::from("/etc/handfast/privkey.pem"));
    let log = with("[log]\ntarget = \"log/handfast.log\"").log;
    assert_eq!(
        log.target,
        LogTarget::File("/etc/handfast/log/handfast.log".into())
    );
}
