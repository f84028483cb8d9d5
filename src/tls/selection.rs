//! What is decided from the ClientHello before rustls sees it: site and version.

use std::sync::Arc;

use super::diagnosis;
use super::hello::ClientHello;
use super::sites::{Choice, Site, Sites};
use crate::config::Policy;
use crate::report::{Failure, ProtocolVersion, ServerNameLabel};

/// The site that serves `hello`, and the label of its server name.
///
/// # Errors
/// The name, or its absence, is refused.
pub(super) fn site(
    hello: &ClientHello,
    sites: &Sites,
) -> (Result<Arc<Site>, Failure>, ServerNameLabel) {
    let (choice, label) = sites.choose(hello);
    let chosen = match choice {
        Choice::Site(site) => Ok(site),
        Choice::UnknownName | Choice::MissingName => {
            Err(diagnosis::no_such_name(hello, sites.labels()))
        }
    };
    (chosen, label)
}

/// The version that is negotiated with `hello` under `policy`: the best in common.
///
/// # Errors
/// There is none, or the client says that it fell back without need (RFC 7507).
pub(super) fn version(hello: &ClientHello, policy: &Policy) -> Result<ProtocolVersion, Failure> {
    let allows = |version| policy.versions.contains(&version);
    let tls13 = hello.offers_tls13() && allows(ProtocolVersion::Tls13);
    let tls12 = hello.offers_tls12() && allows(ProtocolVersion::Tls12);
    if !tls12 && !tls13 {
        return Err(diagnosis::no_shared_version(hello, policy));
    }
    if hello.falls_back() && allows(ProtocolVersion::Tls13) {
        return Err(diagnosis::needless_fallback(hello, policy));
    }
    Ok(match tls13 {
        true => ProtocolVersion::Tls13,
        false => ProtocolVersion::Tls12,
    })
}
