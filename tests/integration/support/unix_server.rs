//! A server at a unix socket: a way to another upstream, which can be cut off.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

/// Ends with its runtime.
#[derive(Debug)]
pub(crate) struct UnixServer {
    path: PathBuf,
    origin: SocketAddr,
    connections: Arc<AtomicUsize>,
    accepting: Mutex<JoinSet<()>>,
}

impl UnixServer {
    /// A way from the socket `path`, which is made, to `origin`.
    pub(crate) async fn start(path: impl Into<PathBuf>, origin: SocketAddr) -> Self {
        let server = Self {
            path: path.into(),
            origin,
            connections: Arc::default(),
            accepting: Mutex::default(),
        };
        server.restart().await;
        server
    }

    /// Its address as the configuration has it.
    pub(crate) fn address(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    /// Closes its connections, and listens no more. As of a killed process the socket's file stays.
    pub(crate) async fn kill(&self) {
        self.accepting.lock().await.shutdown().await;
    }

    /// Listens again: a new socket takes the place of the old one.
    pub(crate) async fn restart(&self) {
        self.remove();
        let listener = UnixListener::bind(&self.path).unwrap();
        let (origin, connections) = (self.origin, self.connections.clone());
        self.accepting.lock().await.spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                open.spawn(serve(stream, origin));
            }
        });
    }

    /// Removes the socket's file, if there is one.
    pub(crate) fn remove(&self) {
        if self.path.exists() {
            std::fs::remove_file(&self.path).unwrap();
        }
    }
}

async fn serve(mut stream: UnixStream, origin: SocketAddr) {
    let mut other = TcpStream::connect(origin).await.unwrap();
    other.set_nodelay(true).unwrap();
    // Its peers breaking off is part of the script.
    let _ = copy_bidirectional(&mut stream, &mut other).await;
}
