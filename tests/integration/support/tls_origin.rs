//! An upstream behind TLS that tells what it saw of each handshake.
//!
//! | path | answer |
//! |---|---|
//! | `/facts` | `version kind server-name alpn client-certificate`, and the connection is closed |
//! | `/kept` | the number of the connection, which stays |
//! | `/whole` | a body that ends with the connection, properly |
//! | `/truncated` | a body that ends with the connection, without close_notify |

use std::io::{self, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{
    HandshakeKind, RootCertStore, ServerConfig, ServerConnection, StreamOwned,
};

use super::certs::Leaf;
use super::client::version_of;
use super::client_certs::client_certs;
use super::http::read_head;

/// A running upstream; serves until the process ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TlsOrigin {
    address: SocketAddr,
}

/// Whether an upstream asks for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// It does not.
    Nothing,
    /// One of the clients' CA, or the handshake fails.
    ClientCertificate,
}

impl TlsOrigin {
    /// An upstream with the certificate `leaf` that speaks `versions` only.
    pub(crate) fn start(leaf: &Leaf, versions: &[&str], demand: Demand) -> Self {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions: Vec<_> = versions.iter().map(|one| version_of(one)).collect();
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&versions)
            .unwrap();
        let builder = match demand {
            Demand::Nothing => builder.with_no_client_auth(),
            Demand::ClientCertificate => {
                let mut roots = RootCertStore::empty();
                let ca = client_certs().file("clients-ca.pem").as_bytes();
                roots
                    .add(CertificateDer::from_pem_slice(ca).unwrap())
                    .unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
        let mut config = builder
            .with_single_cert(vec![leaf.der.clone()], key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut number = 0;
            while let Ok((stream, _)) = listener.accept() {
                let config = config.clone();
                std::thread::spawn(move || {
                    let mut tcp = stream.try_clone().unwrap();
                    if serve(stream, config, number).is_err() {
                        // Closing with bytes unread would reset, which can destroy our alert.
                        // The peer breaking off is part of the script.
                        let _ = tcp.shutdown(Shutdown::Write);
                        let _ = io::copy(&mut tcp, &mut io::sink());
                    }
                });
                number += 1;
            }
        });
        Self { address }
    }

    /// Where it listens.
    pub(crate) fn address(self) -> SocketAddr {
        self.address
    }
}

fn serve(tcp: TcpStream, config: Arc<ServerConfig>, number: usize) -> io::Result<()> {
    tcp.set_nodelay(true)?;
    tcp.set_read_timeout(Some(Duration::from_secs(60)))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut reader = BufReader::new(StreamOwned::new(connection, tcp));
    while let Some(head) = read_head(&mut reader)? {
        let stream = reader.get_mut();
        let path = head.start.split(' ').nth(1).unwrap_or_default();
        match path {
            "/facts" => {
                respond(stream, "Connection: close\r\n", &facts(&stream.conn))?;
                return end(stream);
            }
            "/kept" => respond(stream, "", &number.to_string())?,
            _ => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello")?;
                stream.flush()?;
                return match path {
                    "/whole" => end(stream),
                    // Dropping it sends FIN alone.
                    _ => Ok(()),
                };
            }
        }
    }
    Ok(())
}

fn facts(connection: &ServerConnection) -> String {
    let version = connection.protocol_version().unwrap();
    let kind = match connection.handshake_kind() {
        Some(HandshakeKind::Resumed) => "resumed",
        _ => "full",
    };
    let name = connection.server_name().unwrap_or("-");
    let alpn = connection.alpn_protocol().unwrap_or(b"-");
    let alpn = String::from_utf8_lossy(alpn);
    let shown = connection.peer_certificates().map_or(0, <[_]>::len);
    format!("{version:?} {kind} {name} {alpn} {shown}\n")
}

type Stream = StreamOwned<ServerConnection, TcpStream>;

fn respond(stream: &mut Stream, fields: &str, body: &str) -> io::Result<()> {
    let length = body.len();
    let text = format!("HTTP/1.1 200 OK\r\n{fields}Content-Length: {length}\r\n\r\n{body}");
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn end(stream: &mut Stream) -> io::Result<()> {
    stream.conn.send_close_notify();
    stream.flush()
}
