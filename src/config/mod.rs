//! TOML to a checked configuration, with every fault located.
//!
//! `load` parses, `include` makes several files one, `validate` walks the tables in the order in which they refer to each other, a
//! file a section; `table` and `value` are the typed readers, `reading` gathers the faults. One
//! pass finds all of them: whoever reads a value reports what it refuses and goes on with a
//! default, and any fault makes the whole configuration an error.

mod addresses;
mod bounds;
mod certificate;
mod certificates;
mod client_auth;
pub mod defaults;
mod diagnostic;
mod field_edits;
mod files;
mod fixed_response;
mod forwarding;
mod include;
mod listener;
mod listeners;
mod load;
mod log;
mod measures;
mod model;
mod names;
mod peer_set;
mod policies;
mod policy;
mod policy_change;
mod process;
mod reading;
mod redirect;
mod references;
mod reload;
mod resumption;
mod route;
mod routes;
mod table;
mod unclosed;
mod upstream;
mod upstream_faults;
mod upstream_tls;
mod upstreams;
mod validate;
mod value;
mod wording;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod typos;

pub use certificate::*;
pub use certificates::MemoryCertificate;
pub use client_auth::{AllowList, ClientAuth, ClientAuthMode, SanPattern};
pub use diagnostic::{Diagnostic, Diagnostics, Location, Position, Source, Sources};
pub use field_edits::FieldEdits;
pub use files::{ConfigFiles, config_files};
pub use fixed_response::FixedResponse;
pub use forwarding::{Forwarding, ForwardingHeader, TlsHeader};
pub use listener::*;
pub use load::{Loaded, find_admin_socket, load, parse, parse_with};
pub use log::*;
pub use measures::duration as read_duration;
pub use model::*;
pub use names::{CertificateType, CipherSuite, Group, Preset};
pub use peer_set::PeerSet;
pub use policy::*;
pub use policy_change::{PolicyChange, PolicyChangeError, PolicyChangeText};
pub use redirect::{Redirect, RedirectTarget};
pub use reload::{Reload, Share};
pub use resumption::{KeyDirectory, Resumption, ResumptionMode, Rotation, TicketKeys};
pub use route::*;
pub use upstream::*;
pub use upstream_tls::UpstreamTls;
pub use wording::nearest;
