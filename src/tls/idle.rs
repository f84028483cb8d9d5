//! What a stream gives back while its peer is not expected to send.
//!
//! rustls reads into a buffer of 4 KiB, which it keeps while there is nothing in it: more than a
//! quarter of what an idle connection costs. There is no call to free it, but rustls hands it to
//! whoever it reads from.

use std::io::{self, Read};

use tokio_rustls::server::TlsStream;

use super::kernel;

/// A stream that can wait for its peer with less memory.
pub trait Idle {
    /// Nothing is expected soon: gives back memory that only reading needs. What was read is kept,
    /// and the next read takes it back, at the cost of a page fault.
    fn idle(&mut self);
}

impl<S> Idle for TlsStream<S> {
    fn idle(&mut self) {
        let (_, connection) = self.get_mut();
        // Where there is plaintext to read yet, rustls reads nothing, and the buffer is in use.
        let read = connection.read_tls(&mut Nothing);
        debug_assert!(read.is_err() || matches!(read, Ok(0)), "nothing was read");
    }
}

impl<T: Idle> Idle for Box<T> {
    fn idle(&mut self) {
        (**self).idle();
    }
}

/// A peer that has sent nothing yet.
struct Nothing;

impl Read for Nothing {
    /// `buffer` is the room behind all that rustls has read and not used.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        kernel::give_back(buffer);
        // Not 0: that would be the end of the stream.
        Err(io::ErrorKind::WouldBlock.into())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::timeout;
    use tokio_rustls::rustls::crypto::aws_lc_rs;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, ServerConnection};
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    use super::*;
    use crate::report::ProtocolVersion;
    use crate::tls::fixture;

    type Client = tokio_rustls::client::TlsStream<DuplexStream>;

    /// A connection of TLS 1.3 over which each side has sent something. The pipe takes so many bytes.
    async fn connection(room: usize) -> (TlsStream<DuplexStream>, Client) {
        let (sites, roots) = fixture::trusted_sites(|_| {});
        let config = fixture::site(&sites).config(ProtocolVersion::Tls13).clone();
        let client = ClientConfig::builder_with_provider(aws_lc_rs::default_provider().into())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let (ours, theirs) = duplex(room);
        let name = ServerName::try_from("localhost").unwrap();
        let (server, client) = tokio::join!(
            TlsAcceptor::from(config).accept(ours),
            TlsConnector::from(Arc::new(client)).connect(name, theirs)
        );
        let (mut server, mut client) = (server.unwrap(), client.unwrap());
        let (ours, theirs) = tokio::join!(
            async {
                assert_eq!(read(&mut server).await, b"ask");
                server.write_all(b"answer").await?;
                server.flush().await
            },
            async {
                client.write_all(b"ask").await?;
                client.flush().await?;
                client.read_exact(&mut [0; 6]).await
            },
        );
        ours.unwrap();
        theirs.unwrap();
        (server, client)
    }

    async fn read(stream: &mut TlsStream<DuplexStream>) -> Vec<u8> {
        let mut bytes = vec![0; 100];
        let count = stream.read(&mut bytes).await.unwrap();
        bytes.truncate(count);
        bytes
    }

    #[tokio::test]
    async fn what_comes_later_is_read_and_so_is_the_end() {
        let (mut server, mut client) = connection(1 << 16).await;
        for text in [&b"first"[..], b"second"] {
            server.idle();
            server.idle();
            client.write_all(text).await.unwrap();
            assert_eq!(read(&mut server).await, text);
        }
        server.idle();
        client.shutdown().await.unwrap();
        assert_eq!(read(&mut server).await, b"");
        server.idle();
        assert_eq!(read(&mut server).await, b"");
    }

    #[tokio::test]
    async fn nothing_is_lost_of_a_record_that_came_in_part() {
        // The pipe has no room for a record as a whole.
        let (mut server, mut client) = connection(16).await;
        let sent = [5; 100];
        let write = tokio::spawn(async move {
            client.write_all(&sent).await?;
            client.flush().await?;
            io::Result::Ok(client)
        });
        let mut got = Vec::new();
        while got.len() < sent.len() {
            // Between any two pieces.
            server.idle();
            if let Ok(bytes) = timeout(Duration::from_millis(1), read(&mut server)).await {
                got.extend(bytes);
            }
        }
        assert_eq!(got, sent);
        drop(write.await.unwrap().unwrap());
    }

    #[tokio::test]
    async fn what_is_decrypted_and_not_read_stays() {
        let (mut server, mut client) = connection(1 << 16).await;
        client.write_all(b"twice").await.unwrap();
        let mut first = [0; 2];
        server.read_exact(&mut first).await.unwrap();
        server.idle();
        assert_eq!(first, *b"tw");
        assert_eq!(read(&mut server).await, b"ice");
    }

    /// What [`Idle`] stands on: the buffer that rustls keeps, it hands out whole.
    #[tokio::test]
    async fn rustls_hands_out_the_whole_buffer_that_it_keeps() {
        struct Probe(usize);
        impl Read for Probe {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                self.0 = buffer.len();
                Err(io::ErrorKind::WouldBlock.into())
            }
        }
        let (mut server, _client) = connection(1 << 16).await;
        let connection: &mut ServerConnection = server.get_mut().1;
        let mut probe = Probe(0);
        connection.read_tls(&mut probe).unwrap_err();
        assert_eq!(probe.0, 4096);
    }
}
