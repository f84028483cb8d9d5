//! What a connection may do, by how it came.

use std::net::IpAddr;

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It came to the health listener: only what probes and scrapers need.
    Health,
    /// It came over TCP: anybody on this machine could be at the other end, or with a token
    /// whoever has it.
    ReadOnly {
        /// The address that it came to, which a `Host` may name.
        local: IpAddr,
    },
    /// It came through the unix socket, which only its owner (and root) can open.
    Full {
        /// The user at the other end, where the system tells.
        uid: Option<u32>,
    },
}
