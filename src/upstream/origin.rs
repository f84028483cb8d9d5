//! Scripted origin servers for tests: raw TCP, so that they can do what no HTTP library does.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use crate::config::ServerAddress;

/// An origin that serves every connection by the same script. Ends when dropped.
pub(crate) struct Origin {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

/// One connection at an origin.
pub(crate) struct Served {
    /// 0 for the first connection.
    pub(crate) number: usize,
    stream: BufReader<TcpStream>,
}

impl Origin {
    /// Serves every connection by `script`; a script that ends closes its connection, and one
    /// that fails has found the connection closed.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Served) -> Fut + Send + 'static,
        Fut: Future<Output = io::Result<()>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(script(Served {
                    number: count.fetch_add(1, Ordering::SeqCst),
                    stream: BufReader::new(stream),
                }));
            }
        })
        .abort_handle();
        Self {
            address,
            accepted,
            task,
        }
    }

    /// Answers every request with the connection's number.
    pub(crate) async fn numbered() -> Self {
        Self::start(|mut served| async move {
            while served.head().await.is_some() {
                let number = served.number.to_string();
                served.respond(&number).await?;
            }
            Ok(())
        })
        .await
    }

    /// An address where nobody listens.
    pub(crate) async fn closed_address() -> ServerAddress {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        ServerAddress::Ip(listener.local_addr().unwrap())
    }

    /// The origin's address.
    pub(crate) fn address(&self) -> ServerAddress {
        ServerAddress::Ip(self.address)
    }

    /// How many connections were made to it.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Served {
    /// The next request's head with its final empty line; `None` when the connection ended.
    pub(crate) async fn head(&mut self) -> Option<String> {
        let mut head = String::new();
        loop {
            let read = self.stream.read_line(&mut head).await.ok()?;
            if read == 0 {
                return None;
            }
            if head.ends_with("\r\n\r\n") {
                return Some(head);
            }
        }
    }

    /// Exactly so many bytes.
    pub(crate) async fn read(&mut self, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    /// A whole chunked body, decoded.
    pub(crate) async fn chunked(&mut self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let mut size = String::new();
            self.stream.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim(), 16).map_err(io::Error::other)?;
            let chunk = self.read(size + 2).await?;
            if size == 0 {
                return Ok(body);
            }
            body.extend_from_slice(&chunk[..size]);
        }
    }

    /// Whatever comes next; empty at the end.
    pub(crate) async fn some(&mut self) -> io::Result<Vec<u8>> {
        let bytes = self.stream.fill_buf().await?.to_vec();
        self.stream.consume(bytes.len());
        Ok(bytes)
    }

    /// Waits until the other side has closed, reading what is left.
    pub(crate) async fn closed(&mut self) {
        while self.some().await.is_ok_and(|bytes| !bytes.is_empty()) {}
    }

    /// Sends raw text.
    pub(crate) async fn send(&mut self, text: &str) -> io::Result<()> {
        self.send_bytes(text.as_bytes()).await
    }

    /// Sends raw bytes.
    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes).await
    }

    /// Sends a 200 with `body`.
    pub(crate) async fn respond(&mut self, body: &str) -> io::Result<()> {
        let length = body.len();
        self.send(&format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }

    /// Closes with a reset.
    pub(crate) fn reset(self) -> io::Result<()> {
        self.stream.get_ref().set_zero_linger()
    }
}
