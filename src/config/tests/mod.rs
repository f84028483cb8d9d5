//! The configuration as a whole: shipped files, every kind of fault, and arbitrary text.

mod arbitrary;
mod certificates;
mod client_auth;
mod listeners;
mod policies;
mod process;
mod references;
mod resumption;
mod route_rules;
mod routes;
mod shipped;
mod syntax;
mod texts;
mod upstream_tls;
mod upstreams;
mod values;
