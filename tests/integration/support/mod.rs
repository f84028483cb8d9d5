//! What the black-box tests stand on: the daemon as a process, certificates, upstreams, a relay,
//! clients. Nothing here imports the library under test.

mod activation;
mod browser;
mod certs;
mod client;
mod client_certs;
mod daemon;
mod early;
pub(crate) mod h2_frames;
mod h2_origin;
mod handshake;
mod http;
mod log;
mod metrics;
mod mortal;
mod origin;
mod payload;
mod raw_hello;
mod relay;
mod schema;
mod settings;
mod tls_origin;
mod tool;
mod turn;
mod wait;

pub(crate) use activation::{Activation, Manager};
pub(crate) use browser::Browser;
pub(crate) use certs::certs;
pub(crate) use client::{Client, TlsStream, alert_of};
pub(crate) use daemon::Daemon;
pub(crate) use early::EarlyClient;
pub(crate) use h2_origin::H2Origin;
pub(crate) use handshake::{CLIENT_PHASES, Facts, Handshake};
pub(crate) use http::{Head, Response, copy_body, get, read_head, read_response};
pub(crate) use mortal::{Life, Mortal};
pub(crate) use origin::{Origin, refusing_address};
pub(crate) use payload::{Pace, Payload, Sha256, sha256_of_payload};
pub(crate) use raw_hello::{RawHello, message, record};
pub(crate) use relay::{Point, Relay};
pub(crate) use schema::Schema;
pub(crate) use settings::Settings;
pub(crate) use tls_origin::{Demand, TlsOrigin};
pub(crate) use tool::{Output, Tool};
pub(crate) use wait::{pause, wait_for, wait_until};
