//! Makes the connections.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::{
    ClientConfig, Resumption, VerifierBuilderError, WebPkiServerVerifier,
};
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self};

use super::attempt::Attempt;
use super::ending::{Ending, progress};
use super::judge::Judge;
use super::script::Script;
use super::secrets::Secrets;
use super::tape::{Tape, TapedIo};
use super::target::Target;
use crate::config::{Location, PemSource};
use crate::report::ProtocolVersion;
use crate::tls::client_provider;
use crate::upstream::{ClientTlsError, trusted_roots};

/// What to probe, and how.
#[derive(Clone, Debug)]
pub struct ProbeSettings {
    /// Whom.
    pub target: Target,
    /// The versions to offer; must not be empty.
    pub versions: Vec<ProtocolVersion>,
    /// The name to ask for and to find in the certificate, instead of the target's host.
    pub server_name: Option<String>,
    /// Who is trusted instead of the system's trust store: a file of PEM certificates.
    pub ca: Option<PathBuf>,
    /// Whether to go on with a server that is not trusted.
    pub insecure: bool,
    /// The protocols to offer with ALPN; none offers no ALPN.
    pub alpn: Vec<String>,
    /// For one connection, from its name to its end.
    pub timeout: Duration,
}

/// Why nothing can be probed.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The server name is none.
    #[error("`{name}` is no server name")]
    Name {
        /// It.
        name: String,
        /// Why.
        #[source]
        source: InvalidDnsNameError,
    },
    /// Nobody can be trusted.
    #[error("there is nothing to verify the server with")]
    Trust(#[source] ClientTlsError),
    /// rustls does not take the trusted certificates.
    #[error("the trusted certificates cannot be used")]
    Verifier(#[source] VerifierBuilderError),
    /// rustls has no suite for a version; it has.
    #[error("tls cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// Makes connections to one target. They share their sessions: the second resumes the first if
/// the server lets it.
#[derive(Debug)]
pub struct Prober {
    target: Target,
    timeout: Duration,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
    judge: Arc<Judge>,
    secrets: Arc<Secrets>,
}

/// Addresses of a name that are tried.
const MAX_ADDRESSES: usize = 8;
/// Sessions that are kept: one target needs one.
const SESSIONS: usize = 8;

impl Prober {
    /// Reads what is trusted.
    ///
    /// # Errors
    /// The name is none, or nobody can be trusted and `insecure` is not set.
    pub fn new(settings: &ProbeSettings) -> Result<Self, ProbeError> {
        let target = settings.target.clone();
        let host = settings.server_name.as_ref().unwrap_or(&target.host);
        let name = ServerName::try_from(host.clone()).map_err(|source| ProbeError::Name {
            name: host.clone(),
            source,
        })?;
        let provider = client_provider();
        let ca = settings.ca.as_ref().map(|path| PemSource::File {
            path: path.clone(),
            location: Location::default(),
        });
        let verifier = match trusted_roots(ca.as_ref()) {
            Ok(roots) => {
                let builder =
                    WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone());
                Some(builder.build().map_err(ProbeError::Verifier)?)
            }
            Err(ClientTlsError::NoSystemRoots) if settings.insecure => None,
            Err(error) => return Err(ProbeError::Trust(error)),
        };
        let judge = Arc::new(Judge::new(provider.clone(), verifier, settings.insecure));
        let secrets = Arc::new(Secrets::default());
        let versions = settings.versions.iter().map(|version| match version {
            ProtocolVersion::Tls12 => &TLS12,
            ProtocolVersion::Tls13 => &TLS13,
        });
        let versions: Vec<_> = versions.collect();
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(ProbeError::Setup)?
            .dangerous()
            .with_custom_certificate_verifier(judge.clone())
            .with_no_client_auth();
        let alpn = settings.alpn.iter();
        config.alpn_protocols = alpn.map(|name| name.as_bytes().to_vec()).collect();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        config.key_log = secrets.clone();
        Ok(Self {
            target,
            timeout: settings.timeout,
            name,
            config: Arc::new(config),
            judge,
            secrets,
        })
    }

    /// The name that is asked for and looked for in the certificate.
    #[must_use]
    pub fn server_name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// Makes one connection, within the time that is given.
    pub async fn attempt(&self) -> Attempt {
        let mut attempt = Attempt::default();
        let end = Instant::now() + self.timeout;
        let tcp = match self.connect(&mut attempt, end).await {
            Ok(tcp) => tcp,
            Err(ending) => {
                attempt.failure = Some(ending);
                return attempt;
            }
        };
        let began = Instant::now();
        let tape = Arc::new(Mutex::new(Tape::new(began.into_std())));
        let io = TapedIo::new(tcp, tape.clone());
        let connector = TlsConnector::from(self.config.clone());
        let connecting = Box::pin(connector.connect(self.name.clone(), io));
        let error = match timeout_at(end, connecting).await {
            Ok(Ok(mut stream)) => {
                attempt.handshake = Some(began.elapsed());
                self.settle(&mut stream, &attempt, end).await.err()
            }
            Ok(Err(error)) => Some(error),
            Err(_) => Some(io::ErrorKind::TimedOut.into()),
        };
        let tape = locked(&tape);
        let script = Script::read(&tape, &self.secrets.take());
        attempt.verification = self.judge.take();
        attempt.failure = error.map(|error| match error.kind() {
            io::ErrorKind::TimedOut if error.get_ref().is_none() => {
                let waited = match (tape.heard(), script.lines.last()) {
                    (false, _) | (_, None) => "the ServerHello: the server has sent nothing",
                    _ => "more of the server",
                };
                let far = match tape.heard() {
                    true => format!("{waited} {}", progress(&script)),
                    false => waited.to_owned(),
                };
                Ending::timeout(self.timeout, &far)
            }
            _ => Ending::handshake(&error, &script, tape.alien(), attempt.verification.as_ref()),
        });
        if attempt.failure.is_some() {
            attempt.handshake = None;
        }
        attempt.tell(&script);
        attempt
    }

    /// Finds the address and connects to it.
    async fn connect(&self, attempt: &mut Attempt, end: Instant) -> Result<TcpStream, Ending> {
        let Target { host, port } = &self.target;
        let addresses: Vec<_> = match timeout_at(end, lookup_host((host.as_str(), *port))).await {
            Ok(Ok(addresses)) => addresses.take(MAX_ADDRESSES).collect(),
            Ok(Err(error)) => return Err(Ending::no_address(&self.target, Some(&error))),
            Err(_) => return Err(Ending::timeout(self.timeout, "the name to be resolved")),
        };
        let mut failed = Ending::no_address(&self.target, None);
        let mut left = addresses.len();
        for address in addresses {
            let began = Instant::now();
            // What one address does not use, the others have.
            let share = end.saturating_duration_since(began) / u32::try_from(left).unwrap_or(1);
            left -= 1;
            attempt.address = Some(address);
            match timeout_at(began + share, connect(address)).await {
                Ok(Ok(tcp)) => {
                    attempt.tcp_connect = Some(began.elapsed());
                    return Ok(tcp);
                }
                Ok(Err(error)) => failed = Ending::connect(address, &error),
                Err(_) => {
                    let waited = format!("{address} to take the connection");
                    failed = Ending::timeout(self.timeout, &waited);
                }
            }
        }
        Err(failed)
    }

    /// Waits for what TLS 1.3 sends after the handshake: tickets, or the alert with which the
    /// server refuses a client without a certificate. Then closes in order.
    async fn settle(
        &self,
        stream: &mut TlsStream<TapedIo<TcpStream>>,
        attempt: &Attempt,
        end: Instant,
    ) -> io::Result<()> {
        /// For servers that say nothing more.
        const LEAST: Duration = Duration::from_millis(250);
        /// For the first answer of HTTP, which may have to come from far behind the server.
        const ANSWER: Duration = Duration::from_secs(2);

        let (_, connection) = stream.get_ref();
        if connection.protocol_version() == Some(rustls::ProtocolVersion::TLSv1_3) {
            // Some servers, ours too, send tickets with their first answer.
            let http = connection.alpn_protocol() == Some(b"http/1.1");
            if http {
                let request = format!(
                    "HEAD / HTTP/1.1\r\nHost: {}\r\nUser-Agent: handfast-probe\r\n\
                     Connection: close\r\n\r\n",
                    self.name.to_str()
                );
                // A server that has gone by now has said why: it is read below.
                let _ = stream.write_all(request.as_bytes()).await;
            }
            let trip = attempt.tcp_connect.unwrap_or_default();
            let patience = match http {
                true => end.min(Instant::now() + ANSWER),
                false => end.min(Instant::now() + LEAST + 3 * trip),
            };
            let mut buffer = [0; 1024];
            match timeout_at(patience, stream.read(&mut buffer)).await {
                // Servers may close as they like, and be silent as they like.
                Ok(Err(error)) if is_alert(&error) => return Err(error),
                Ok(Ok(_) | Err(_)) | Err(_) => {}
            }
        }
        // The handshake is done; how the connection ends is of no interest.
        let _ = timeout_at(end, stream.shutdown()).await;
        Ok(())
    }
}

async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    Ok(tcp)
}

fn is_alert(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    matches!(inner, Some(rustls::Error::AlertReceived(_)))
}

fn locked(tape: &Mutex<Tape>) -> MutexGuard<'_, Tape> {
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}
