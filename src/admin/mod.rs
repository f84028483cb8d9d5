//! The admin listeners: health, metrics, a JSON API of recent handshakes, and commands.
//!
//! Plain HTTP/1.1 for whoever runs the daemon. Over TCP everything is read-only. Browsers on the
//! same machine are kept out by a check of the `Host` field, because a page from anywhere can make
//! them ask; other machines need the token, without which the address has to be a loopback one.
//! The health listener shows health and metrics to everybody. The unix socket takes commands as
//! well, for the user whose it is: they go to the daemon through a bounded queue, and the answer
//! waits for it.

mod access;
mod api;
mod command;
mod control;
mod forecast_failure;
mod health;
mod host;
mod kept_certificate;
mod listener;
mod metrics;
mod moment;
mod page;
mod query;
mod reload_report;
mod respond;
mod service;
mod state;
mod status;
mod summary;
mod upstream_summary;
mod what_if;
mod window;

pub use command::{Action, Command, commands};
pub use control::{KeyLogBody, ReloadBody};
pub use forecast_failure::ForecastFailure;
pub use health::Readiness;
pub use kept_certificate::KeptCertificateReport;
pub use listener::{AdminListener, serve};
pub use reload_report::{BrokenClients, ReloadCause, ReloadDiagnostic, ReloadReport, ReloadResult};
pub use state::AdminState;
pub use status::{DaemonStatus, Listening};
pub use summary::{
    DrainStage, DrainSummary, HandshakeCounts, KeyLogSummary, ListenerSummary, RingSummary, Summary,
};
pub use upstream_summary::{ServerSummary, UpstreamSummary};
pub use what_if::{Forecast, ForecastRefusal};
pub use window::{DurationSummary, WindowCounts, WindowSummary};
