//! Handshakes of rustls with itself over memory, and the CPU time of the server's side of each.
//!
//! The counterpart is `openssl_memory.c`, which does the same with OpenSSL. The server is rustls as it
//! comes, with the settings that handfast gives it: this is what the library costs, without our driver
//! and without sockets.

use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::NoServerSessionStorage;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, ClientConnection, HandshakeKind, NamedGroup, ProtocolVersion,
    ServerConfig, ServerConnection,
};

use crate::arguments::Version;
use crate::client;

/// Handshakes before the first that counts.
const WARM_UP: u32 = 50;

/// Rounds in which each end may act; a handshake needs three.
const ROUNDS: u32 = 8;

/// What a library's program prints, as one line of JSON.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Spent {
    /// Of the library; empty where it does not say.
    pub(crate) version: String,
    /// How many counted.
    pub(crate) handshakes: u64,
    /// CPU time of all their server sides.
    pub(crate) nanoseconds: u64,
}

impl Spent {
    /// CPU microseconds of one.
    pub(crate) fn microseconds(&self) -> f64 {
        self.nanoseconds as f64 / 1e3 / self.handshakes.max(1) as f64
    }
}

/// Does handshakes for `milliseconds` and prints the [`Spent`].
///
/// # Errors
///
/// The certificate cannot be read, or a handshake is not the one wanted.
pub(crate) fn memory(
    certificate: &Path,
    version: Version,
    resume: bool,
    milliseconds: u64,
) -> io::Result<()> {
    let server = Arc::new(server(certificate)?);
    let client = Arc::new(client::config(version, resume).map_err(io::Error::other)?);
    let mut pipes = Pipes::default();
    for index in 0..WARM_UP {
        handshake(&server, &client, &mut pipes, version, resume && index > 0)?;
    }
    let end = Instant::now() + Duration::from_millis(milliseconds);
    let mut spent = Duration::ZERO;
    let mut handshakes = 0;
    loop {
        spent += handshake(&server, &client, &mut pipes, version, resume)?;
        handshakes += 1;
        if Instant::now() >= end {
            break;
        }
    }
    let line = serde_json::to_string(&Spent {
        version: String::new(),
        handshakes,
        nanoseconds: u64::try_from(spent.as_nanos()).unwrap_or(u64::MAX),
    })?;
    writeln!(io::stdout(), "{line}")
}

/// Stock rustls with the settings of handfast's default policy, and tickets alone.
fn server(certificate: &Path) -> io::Result<ServerConfig> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(certificate).map_err(io::Error::other)?;
    let mut provider = aws_lc_rs::default_provider();
    // AES-128 first, as the default policy has it.
    provider
        .cipher_suites
        .sort_by_key(|suite| !format!("{:?}", suite.suite()).contains("AES_128"));
    let mut config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&TLS12, &TLS13])
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.ignore_client_order = true;
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(io::Error::other)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 2;
    Ok(config)
}

/// What is on its way.
#[derive(Default)]
struct Pipes {
    to_server: Vec<u8>,
    to_client: Vec<u8>,
}

/// One handshake; the CPU time that its server's side took, from the making of the connection to its
/// drop.
fn handshake(
    server_config: &Arc<ServerConfig>,
    client_config: &Arc<ClientConfig>,
    pipes: &mut Pipes,
    version: Version,
    resumed: bool,
) -> io::Result<Duration> {
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    let mut client =
        ClientConnection::new(client_config.clone(), name).map_err(io::Error::other)?;
    let mut server = None;
    let mut spent = Duration::ZERO;
    let mut rounds = 0;
    loop {
        while client.wants_write() {
            client.write_tls(&mut pipes.to_server)?;
        }
        if pipes.to_server.is_empty() {
            break;
        }
        rounds += 1;
        if rounds > ROUNDS {
            return Err(io::Error::other("a handshake does not end"));
        }

        let from = cpu_time();
        let connection = match &mut server {
            Some(connection) => connection,
            none => {
                let made =
                    ServerConnection::new(server_config.clone()).map_err(io::Error::other)?;
                none.insert(made)
            }
        };
        let mut unread = pipes.to_server.as_slice();
        while !unread.is_empty() {
            connection.read_tls(&mut unread)?;
            connection.process_new_packets().map_err(io::Error::other)?;
        }
        while connection.wants_write() {
            connection.write_tls(&mut pipes.to_client)?;
        }
        spent += cpu_time().saturating_sub(from);

        pipes.to_server.clear();
        let mut unread = pipes.to_client.as_slice();
        while !unread.is_empty() {
            client.read_tls(&mut unread)?;
            client.process_new_packets().map_err(io::Error::other)?;
        }
        pipes.to_client.clear();
    }
    let Some(server) = server.filter(|server| !server.is_handshaking()) else {
        return Err(io::Error::other("a handshake did not end"));
    };
    if client.is_handshaking() || !is_wanted(&server, version, resumed) {
        return Err(io::Error::other("another handshake than the one wanted"));
    }
    let from = cpu_time();
    drop(server);
    Ok(spent + cpu_time().saturating_sub(from))
}

/// Whether it is of the version and kind that is measured, with AES-128-GCM and X25519.
fn is_wanted(server: &ServerConnection, version: Version, resumed: bool) -> bool {
    let protocol = match version {
        Version::Tls12 => ProtocolVersion::TLSv1_2,
        Version::Tls13 => ProtocolVersion::TLSv1_3,
    };
    let kind = if resumed {
        HandshakeKind::Resumed
    } else {
        HandshakeKind::Full
    };
    let suite = server.negotiated_cipher_suite().map(|suite| suite.suite());
    let suite = matches!(
        suite,
        Some(
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    );
    // TLS 1.2 does no key exchange when it resumes.
    let group = server.negotiated_key_exchange_group();
    let group = group.map_or(resumed && version == Version::Tls12, |group| {
        group.name() == NamedGroup::X25519
    });
    server.protocol_version() == Some(protocol)
        && server.handshake_kind() == Some(kind)
        && suite
        && group
}

/// The CPU time of this thread so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    Duration::from_secs(seconds) + Duration::from_nanos(u64::try_from(time.tv_nsec).unwrap_or(0))
}
