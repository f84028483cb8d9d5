//! A kind of client that a change would turn away, for forecasts and for reloads that are refused.

use serde::{Deserialize, Serialize};

use crate::tls;

/// One kind of client that would fail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastFailure {
    /// The listener.
    pub listener: String,
    /// The server name's label.
    pub server_name: String,
    /// The client's fingerprint.
    pub ja4: String,
    /// Why it would fail.
    pub class: String,
    /// The same in words.
    pub diagnosis: String,
    /// Whether it fails now, too.
    pub already: bool,
    /// How many came.
    pub handshakes: u64,
}

impl From<&tls::ForecastFailure> for ForecastFailure {
    fn from(own: &tls::ForecastFailure) -> Self {
        Self {
            listener: own.client.listener.to_string(),
            server_name: own.client.server_name.as_str().to_owned(),
            ja4: own.client.ja4.to_string(),
            class: own.failure.class.name().to_owned(),
            diagnosis: own.failure.diagnosis.clone(),
            already: own.already,
            handshakes: own.handshakes,
        }
    }
}
