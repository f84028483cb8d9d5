//! A client that uses False Start (RFC 7918): application data right behind its Finished.
//!
//! rustls's client never does, so its handshake is stopped when the last flight is ready; the
//! record of application data behind it is sealed here, with the keys that follow from the master
//! secret. Everything the server answers is checked by rustls again.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio_rustls::rustls::crypto::aws_lc_rs::cipher_suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 as SUITE;
use tokio_rustls::rustls::crypto::cipher::{
    AeadKey, MessageEncrypter, OutboundChunks, OutboundPlainMessage,
};
use tokio_rustls::rustls::{
    ClientConnection, ContentType, KeyLog, ProtocolVersion, StreamOwned, SupportedCipherSuite,
};

use super::client::{Client, TlsStream};

/// A handshake of TLS 1.2 in which it is the client's turn for the last time.
pub(crate) struct EarlyClient {
    connection: ClientConnection,
    socket: TcpStream,
    /// ClientKeyExchange, ChangeCipherSpec and Finished, as records.
    pub(crate) flight: Vec<u8>,
    sealer: Box<dyn MessageEncrypter>,
    sealed: u64,
}

/// The client random and master secret of one connection.
#[derive(Debug, Default)]
struct Secret(Mutex<Option<(Vec<u8>, Vec<u8>)>>);

impl KeyLog for Secret {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        if label == "CLIENT_RANDOM" {
            let found = (client_random.to_vec(), secret.to_vec());
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(found);
        }
    }
}

impl EarlyClient {
    /// Connects and goes on until the last flight is ready; sends nothing of it.
    pub(crate) fn connect(address: SocketAddr, alpn: &[&str]) -> io::Result<Self> {
        let secret = Arc::new(Secret::default());
        let client = Client::only("1.2", 0xcca9, 29)
            .alpn(alpn)
            .telling(secret.clone());
        let mut connection = client.connection();
        let mut socket = TcpStream::connect(address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(30)))?;
        connection.write_tls(&mut socket)?;
        let mut received = Vec::new();
        while !connection.wants_write() {
            let mut buffer = [0; 4096];
            let count = socket.read(&mut buffer)?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            received.extend(&buffer[..count]);
            let mut rest = &buffer[..count];
            while !rest.is_empty() {
                connection.read_tls(&mut rest)?;
                connection.process_new_packets().map_err(io::Error::other)?;
            }
        }
        let mut flight = Vec::new();
        while connection.wants_write() {
            connection.write_tls(&mut flight)?;
        }
        let secret = secret
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let (client_random, master) = secret.unwrap();
        // The random follows the headers of record and message and the version.
        let sealer = sealer(&client_random, &received[11..43], &master);
        Ok(Self {
            connection,
            socket,
            flight,
            sealer,
            sealed: 0,
        })
    }

    /// One record of application data.
    pub(crate) fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        // Finished was number 0.
        self.sealed += 1;
        let plain = OutboundPlainMessage {
            typ: ContentType::ApplicationData,
            version: ProtocolVersion::TLSv1_2,
            payload: OutboundChunks::Single(data),
        };
        self.sealer.encrypt(plain, self.sealed).unwrap().encode()
    }

    /// Sends bytes as they are, in one write.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Sends the last flight and `data` as one record, in one write.
    pub(crate) fn start_early(&mut self, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.flight.clone();
        bytes.extend(self.seal(data));
        self.send(&bytes)
    }

    /// Reads the server's last flight. The stream is good for reading only.
    pub(crate) fn finish(mut self) -> io::Result<TlsStream> {
        while self.connection.is_handshaking() {
            self.connection.complete_io(&mut self.socket)?;
        }
        Ok(StreamOwned::new(self.connection, self.socket))
    }
}

/// What seals the client's records (RFC 5246 section 6.3).
fn sealer(client_random: &[u8], server_random: &[u8], master: &[u8]) -> Box<dyn MessageEncrypter> {
    let SupportedCipherSuite::Tls12(suite) = SUITE else {
        panic!("a suite of TLS 1.2")
    };
    let seed = [server_random, client_random].concat();
    // Two keys of 32 bytes, two nonces of 12.
    let mut block = [0; 88];
    suite
        .prf_provider
        .for_secret(&mut block, master, b"key expansion", &seed);
    let key: [u8; 32] = block[..32].try_into().unwrap();
    suite
        .aead_alg
        .encrypter(AeadKey::from(key), &block[64..76], &[])
}
