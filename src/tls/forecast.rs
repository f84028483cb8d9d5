//! Which of the clients that came would be turned away by other policies and certificates.

use std::collections::HashMap;
use std::sync::Arc;

use super::hello_ring::{HelloCensus, HelloSample};
use super::rehearsal::rehearse;
use super::sites::Sites;
use crate::report::Failure;

/// What a change would do to the clients that came.
#[derive(Clone, Debug, Default)]
pub struct Forecast {
    /// ClientHellos of the kinds that are kept, since the start.
    pub handshakes: u64,
    /// The kinds of clients that they came from.
    pub kinds: usize,
    /// ClientHellos of kinds that are not kept any more, or came to listeners that are not on both
    /// sides of the change.
    pub forgotten: u64,
    /// Of `handshakes`, those that get through now.
    pub get_through: u64,
    /// Of `get_through`, those that would fail.
    pub would_fail: u64,
    /// Of `handshakes`, those that fail now and would fail.
    pub fail_already: u64,
    /// Who would fail: first those that get through now, and of both the most frequent first.
    pub failures: Vec<ForecastFailure>,
}

/// One kind of client that would fail.
#[derive(Clone, Debug)]
pub struct ForecastFailure {
    /// The kind.
    pub client: Arc<HelloSample>,
    /// How it would fail.
    pub failure: Failure,
    /// Whether it fails now, too.
    pub already: bool,
    /// How many came.
    pub handshakes: u64,
}

impl Forecast {
    /// Answers every kind of `census` in memory, at the sites that serve and at those that would,
    /// which `sites` has by listener. Blocks for two full handshakes of each kind, 512 at most.
    #[must_use]
    pub fn make(census: HelloCensus, sites: &HashMap<&str, (&Sites, &Sites)>) -> Self {
        let mut forecast = Self {
            forgotten: census.forgotten,
            ..Self::default()
        };
        for (client, handshakes) in census.kinds {
            let Some((now, then)) = sites.get(&*client.listener) else {
                forecast.forgotten += handshakes;
                continue;
            };
            forecast.kinds += 1;
            forecast.handshakes += handshakes;
            let already = rehearse(&client.message, now).is_err();
            if !already {
                forecast.get_through += handshakes;
            }
            let Err(failure) = rehearse(&client.message, then) else {
                continue;
            };
            match already {
                true => forecast.fail_already += handshakes,
                false => forecast.would_fail += handshakes,
            }
            forecast.failures.push(ForecastFailure {
                client,
                failure,
                already,
                handshakes,
            });
        }
        // Stable: the census has the most frequent first.
        forecast.failures.sort_by_key(|failure| failure.already);
        forecast
    }
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, X25519};

    use super::super::fixture::{self, hello_of};
    use super::super::hello::ClientHello;
    use super::super::hello_ring::HelloRing;
    use super::*;
    use crate::report::{FailureClass, ProtocolVersion, ServerNameLabel};

    #[test]
    fn clients_that_fail_already_are_told_from_those_that_would() {
        let ring = HelloRing::default();
        let came = [
            (hello_of(&["1.2"], &[X25519], "localhost"), "https", 3),
            (hello_of(&["1.3"], &[X25519], "localhost"), "https", 4),
            (hello_of(&["1.3"], &[SECP256R1], "localhost"), "https", 2),
            (hello_of(&["1.3"], &[X25519], "localhost"), "gone", 5),
        ];
        for (message, listener, count) in &came {
            let hello = ClientHello::parse(message).unwrap();
            for _ in 0..*count {
                ring.saw(message, &hello, &(*listener).into(), &ServerNameLabel::None);
            }
        }
        let now = fixture::sites(|_| {});
        let then = fixture::sites(|policy| policy.versions = vec![ProtocolVersion::Tls13]);
        let sites = HashMap::from([("https", (&now, &then))]);
        let forecast = Forecast::make(ring.census(), &sites);
        assert_eq!((forecast.handshakes, forecast.kinds), (9, 3));
        assert_eq!((forecast.get_through, forecast.would_fail), (7, 3));
        assert_eq!((forecast.fail_already, forecast.forgotten), (2, 5));
        let classes: Vec<_> = forecast
            .failures
            .iter()
            .map(|own| (own.failure.class, own.already, own.handshakes))
            .collect();
        assert_eq!(
            classes,
            [
                (FailureClass::NoSharedVersion, false, 3),
                (FailureClass::NoSharedGroup, true, 2)
            ]
        );
    }
}
