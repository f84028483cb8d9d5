//! handfast: a TLS-terminating reverse proxy that shows you the handshake.
//!
//! # Floors
//!
//! A file imports only from floors below its own; `tests/floors.rs` enforces the order.
//!
//! | floor | room | what it holds |
//! |---|---|---|
//! | 8 | `main.rs` | exit codes |
//! | 7 | [`daemon`] | command line, run, dev, reload, signals |
//! | 7 | [`admin`] | health, metrics and the JSON API |
//! | 6 | [`server`] | listeners, accept loops, connections |
//! | 5 | [`proxy`] | one request: checks, routing, forwarding, answers of our own |
//! | 4 | [`snapshot`] | one immutable generation of everything the configuration describes |
//! | 4 | [`probe`] | the probing client: one handshake with a server, step by step |
//! | 3 | [`tls`], [`upstream`], [`route`] | the handshake engine; clusters and pools; the route table |
//! | 2 | [`telemetry`] | metrics, events, access log, the ring of recent handshakes |
//! | 1 | [`config`] | TOML to a checked [`config::Config`], with located diagnostics |
//! | 0 | [`report`], [`bearer`], [`host`], [`path`], [`pem`], [`deadline`], [`drain`], [`proxy_protocol`], [`unix_socket`] | plain data and small mechanisms |
//!
//! # The way of a connection
//!
//! Listener, accept (a connection permit first), ClientHello read to its last byte, policy and
//! certificate chosen by server name, rustls handshake over [`tls::RecordIo`] timed phase by
//! phase, ALPN, hyper h1 or h2, request checked and normalised, route, upstream, response
//! streamed back. The finished [`report::HandshakeReport`], of failed handshakes too, goes to
//! metrics, the event log and the ring behind the admin API.
//!
//! # Invariants
//!
//! * The phases of a handshake add up to its independently measured total, to the nanosecond.
//! * Every await on a peer has a named deadline; every queue, pool and buffer has a bound.
//! * No metric label comes from the wire.
//! * Past [`snapshot::Snapshot::build`] nothing of the configuration is checked again.
//! * A failed reload leaves the previous generation serving.

pub mod admin;
pub mod bearer;
pub mod config;
pub mod daemon;
pub mod deadline;
pub mod drain;
pub mod host;
pub mod path;
pub mod pem;
pub mod probe;
pub mod proxy;
pub mod proxy_protocol;
pub mod report;
pub mod route;
pub mod server;
pub mod snapshot;
pub mod telemetry;
pub mod tls;
pub mod unix_socket;
pub mod upstream;
