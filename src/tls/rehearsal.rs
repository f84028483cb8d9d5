//! A ClientHello answered in memory: would it get through?
//!
//! The same choices and the same rustls as for a real client, up to the server's first flight;
//! nothing is sent, and no session is looked up, consumed or made. So it proves what a change of
//! policy would do, for a client that failed or for one that was recorded.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_rustls::rustls::server::{AcceptedAlert, Acceptor, NoServerSessionStorage, ServerConfig};
use tokio_rustls::rustls::{Error, NoKeyLog};

use super::diagnosis::{self, Scene};
use super::hello::ClientHello;
use super::selection;
use super::sites::{Site, Sites};
use super::transcript::{ServerFacts, Transcript};
use super::wire::Reader;
use crate::config::{Alpn, CipherSuite, Group};
use crate::report::{Failure, Phase, ProtocolVersion};

/// What a ClientHello gets: the parameters of the server's first flight.
///
/// Nothing later is known: not whether the client accepts the certificate, nor whether it has one
/// of its own that the policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The version.
    pub version: ProtocolVersion,
    /// The cipher suite.
    pub cipher_suite: &'static CipherSuite,
    /// The key exchange group.
    pub group: &'static Group,
    /// The protocol negotiated with ALPN; `None` when nothing was.
    pub alpn: Option<Alpn>,
    /// Whether it costs another round trip: the client is asked for a share of `group` first (RFC
    /// 8446 section 4.1.4).
    pub hello_retry: bool,
}

/// Answers `message`, a whole ClientHello with its four-byte handshake header, as the listener
/// with `sites` would answer a client without a session. Takes as long as a full handshake
/// computes, and blocks for that time.
///
/// # Errors
/// The failure that the client would meet, diagnosed as ever; its phase is that of the work, and
/// its alert is the one that would be sent.
pub fn rehearse(message: &[u8], sites: &Sites) -> Result<Negotiated, Failure> {
    let hello = ClientHello::parse(message).map_err(diagnosis::of_hello_error)?;
    let (site, _) = selection::site(&hello, sites);
    rehearse_at(message, &hello, &*site?)
}

/// As [`rehearse`], at a site that is chosen already.
pub(super) fn rehearse_at(
    message: &[u8],
    hello: &ClientHello,
    site: &Site,
) -> Result<Negotiated, Failure> {
    let version = selection::version(hello, site.policy().spec())?;
    let mut config = ServerConfig::clone(site.config(version));
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.key_log = Arc::new(NoKeyLog {});
    let stage = Stage {
        hello,
        site,
        config: Arc::new(config),
    };
    let mut flight = stage.answer(message)?;
    let hello_retry = flight.server.retry_pending;
    if hello_retry {
        let share = flight
            .server
            .group
            .and_then(|group| stage.share_of(group))
            .and_then(|(group, share)| with_key_share(message, group, &share));
        let share = share.ok_or_else(|| stage.failure(&unexpected(), None))?;
        flight = stage.answer(&share)?;
    }
    let facts = (
        flight.server.version,
        flight.server.cipher_suite.and_then(CipherSuite::by_code),
        flight.server.group.and_then(Group::by_code),
    );
    let (Some(version), Some(cipher_suite), Some(group)) = facts else {
        return Err(stage.failure(&unexpected(), None));
    };
    Ok(Negotiated {
        version,
        cipher_suite,
        group,
        alpn: flight.alpn,
        hello_retry,
    })
}

/// Where one rehearsal takes place.
struct Stage<'a> {
    hello: &'a ClientHello,
    site: &'a Site,
    config: Arc<ServerConfig>,
}

/// The server's first flight.
struct Flight {
    server: ServerFacts,
    alpn: Option<Alpn>,
}

impl Stage<'_> {
    fn answer(&self, message: &[u8]) -> Result<Flight, Failure> {
        let mut acceptor = Acceptor::default();
        let mut records = records(message);
        let accepted = loop {
            let mut rest = &*records;
            let count = acceptor.read_tls(&mut rest).unwrap_or(0);
            records.drain(..count);
            match acceptor.accept() {
                Ok(Some(accepted)) => break accepted,
                // Our parser took it for whole, so rustls can want no more than there is.
                Ok(None) if count == 0 => return Err(self.failure(&unexpected(), None)),
                Ok(None) => {}
                Err((error, alert)) => return Err(self.failure(&error, clear_alert(alert))),
            }
        };
        let mut connection = accepted
            .into_connection(self.config.clone())
            .map_err(|(error, alert)| self.failure(&error, clear_alert(alert)))?;
        let mut flight = Vec::new();
        while connection.wants_write() {
            if connection.write_tls(&mut flight).is_err() {
                break;
            }
        }
        let now = Instant::now();
        let mut transcript = Transcript::new(now);
        transcript.bytes_out(&flight, now);
        let alpn = match connection.alpn_protocol() {
            Some(b"h2") => Some(Alpn::H2),
            Some(_) => Some(Alpn::Http11),
            None => None,
        };
        Ok(Flight {
            server: transcript.server(),
            alpn,
        })
    }

    /// A share that a client could send for `group`.
    fn share_of(&self, group: u16) -> Option<(u16, Vec<u8>)> {
        let groups = &self.config.crypto_provider().kx_groups;
        let known = groups.iter().find(|own| u16::from(own.name()) == group)?;
        let exchange = known.start().ok()?;
        Some((group, exchange.pub_key().to_vec()))
    }

    fn failure(&self, error: &Error, alert_sent: Option<u8>) -> Failure {
        diagnosis::of_tls(
            error,
            &Scene {
                phase: Phase::ServerFlight,
                hello: Some(self.hello),
                site: Some(self.site),
                alert_received: None,
                alert_sent,
                elapsed: Duration::ZERO,
            },
        )
    }
}

/// The alert that rustls would send, unless it is encrypted or there is none.
fn clear_alert(mut alert: AcceptedAlert) -> Option<u8> {
    let now = Instant::now();
    let mut sent = Vec::new();
    alert.write_all(&mut sent).ok()?;
    let mut transcript = Transcript::new(now);
    transcript.bytes_out(&sent, now);
    transcript.alert_sent()
}

fn unexpected() -> Error {
    Error::General("the rehearsal came to no end".into())
}

/// `message` as records, each as long as one may be.
fn records(message: &[u8]) -> Vec<u8> {
    const MAX_FRAGMENT: usize = 1 << 14;
    let mut records = Vec::with_capacity(message.len() + 16);
    for fragment in message.chunks(MAX_FRAGMENT) {
        let length = u16::try_from(fragment.len()).unwrap_or(u16::MAX);
        records.extend([22, 3, 1]);
        records.extend(length.to_be_bytes());
        records.extend(fragment);
    }
    records
}

/// The ClientHello that answers a HelloRetryRequest for `group` (RFC 8446 section 4.1.2), as far
/// as the server's choices depend on it: one share in place of those that were sent, and nothing
/// that resumes.
fn with_key_share(message: &[u8], group: u16, share: &[u8]) -> Option<Vec<u8>> {
    const PRE_SHARED_KEY: u16 = 41;
    const EARLY_DATA: u16 = 42;
    const KEY_SHARE: u16 = 51;

    let mut reader = Reader::new(message);
    // Header, version and random; session ID, suites and compression methods.
    reader.take(4 + 2 + 32)?;
    reader.vec8()?;
    reader.vec16()?;
    reader.vec8()?;
    let before = message.get(4..message.len() - reader.rest().len())?;
    let mut extensions = reader.vec16()?;
    let mut changed = Vec::new();
    while !extensions.is_empty() {
        let number = extensions.u16()?;
        let body = extensions.vec16()?.rest();
        match number {
            PRE_SHARED_KEY | EARLY_DATA => {}
            KEY_SHARE => {
                let length = u16::try_from(share.len()).ok()?;
                let entry = [&group.to_be_bytes(), &length.to_be_bytes(), share].concat();
                let length = u16::try_from(entry.len()).ok()?;
                let list = [&length.to_be_bytes(), &*entry].concat();
                extension(&mut changed, number, &list)?;
            }
            _ => extension(&mut changed, number, body)?,
        }
    }
    let length = u16::try_from(changed.len()).ok()?;
    let body = [before, &length.to_be_bytes(), &changed].concat();
    let [0, length @ ..] = u32::try_from(body.len()).ok()?.to_be_bytes() else {
        return None;
    };
    Some([&[1], &length[..], &body].concat())
}

fn extension(out: &mut Vec<u8>, number: u16, body: &[u8]) -> Option<()> {
    out.extend(number.to_be_bytes());
    out.extend(u16::try_from(body.len()).ok()?.to_be_bytes());
    out.extend(body);
    Some(())
}

#[cfg(test)]
mod tests {
    use tokio_rustls::rustls::crypto::aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519};

    use super::super::fixture::{self, hello_of};
    use super::*;
    use crate::report::FailureClass;

    #[test]
    fn what_gets_through_is_told() {
        let sites = fixture::sites(|_| {});
        for (versions, groups, version, retry) in [
            (&["1.3"][..], &[X25519][..], ProtocolVersion::Tls13, false),
            (&["1.2"], &[X25519], ProtocolVersion::Tls12, false),
            (
                &["1.2", "1.3"],
                &[SECP384R1, X25519],
                ProtocolVersion::Tls13,
                true,
            ),
        ] {
            let message = hello_of(versions, groups, "localhost");
            let negotiated = rehearse(&message, &sites).unwrap();
            assert_eq!(negotiated.version, version);
            assert_eq!(negotiated.cipher_suite.version, version);
            assert_eq!(negotiated.group.name, "X25519");
            assert_eq!(negotiated.alpn, Some(Alpn::H2));
            assert_eq!(negotiated.hello_retry, retry);
        }
    }

    #[test]
    fn what_does_not_fails_as_it_would_for_a_client() {
        let sites = fixture::sites(|_| {});
        let failed = |message: &[u8]| {
            let failure = rehearse(message, &sites).unwrap_err();
            (failure.class, failure.alert)
        };
        let message = hello_of(&["1.3"], &[SECP256R1], "localhost");
        assert_eq!(failed(&message), (FailureClass::NoSharedGroup, Some(40)));
        let message = hello_of(&["1.3"], &[X25519], "other.example");
        assert_eq!(failed(&message), (FailureClass::UnknownSni, Some(112)));
        assert_eq!(failed(&message[..50]), (FailureClass::Malformed, Some(50)));
        let sites = fixture::sites(|policy| policy.versions = vec![ProtocolVersion::Tls13]);
        let message = hello_of(&["1.2"], &[X25519], "localhost");
        let failure = rehearse(&message, &sites).unwrap_err();
        assert_eq!(failure.class, FailureClass::NoSharedVersion);
    }

    #[test]
    fn a_retry_that_could_not_succeed_is_a_failure() {
        // P-384 is asked for, and then there is no protocol in common.
        let sites = fixture::sites(|policy| policy.alpn = vec![Alpn::Http11]);
        let message = hello_of(&["1.3"], &[SECP384R1, X25519], "localhost");
        let failure = rehearse(&message, &sites).unwrap_err();
        assert_eq!(failure.class, FailureClass::NoSharedAlpn);
        assert_eq!(failure.alert, Some(120));
    }
}
