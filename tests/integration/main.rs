//! Black-box tests: the daemon as a process, real sockets, other people's clients.
//!
//! The tools come from Debian: curl, openssl, gnutls-bin, nghttp2-client, wrk, chromium, haproxy,
//! nginx with libnginx-mod-stream. Where one is missing its tests fail. `HANDFAST_SOAK=1` moves the
//! full size at a limited rate as well.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "the helpers of tests fail as tests do"
)]

mod activation;
mod admin;
mod admin_socket;
mod certificates;
mod check;
mod client_auth;
mod dev;
mod diagnosis;
mod events;
mod explain;
mod failures;
mod false_start;
mod forwarding;
mod grpc;
mod guarded_reload;
mod h1_protocol;
mod h2_abuse;
mod h2_protocol;
mod h2_upstream;
mod h2_upstream_faults;
mod h2_websocket;
mod interop;
mod kept_certificate;
mod key_log;
mod limits;
mod load;
mod negotiation;
mod notify;
mod page;
mod phases;
mod probe;
mod proxy_protocol;
mod reload;
mod resumption;
mod routes;
mod seamless;
mod series;
mod server_name;
mod shutdown;
mod slow_clients;
mod soak;
mod storm;
mod streams;
mod support;
mod timeouts;
mod top;
mod true_waits;
mod tunnels;
mod unix_listeners;
mod unix_upstreams;
mod uploads;
mod upstream_faults;
mod upstream_health;
mod upstream_tls;
mod watch;
mod websocket;
mod what_if;
