//! The connection of a client as the system has it: over TCP or a unix socket.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use rustix::net::{RecvFlags, recv};
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use crate::tls::{TcpFacts, Transport};

/// A connection as it was accepted: over TCP in no event loop yet.
#[derive(Debug)]
pub(super) enum AcceptedSocket {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

impl AcceptedSocket {
    /// Has its events told, which costs a system call now and one at its end.
    ///
    /// # Errors
    /// The system's, where it has no memory for it.
    pub(super) fn watch(self) -> io::Result<ClientSocket> {
        Ok(match self {
            Self::Tcp(tcp) => ClientSocket::Tcp(TcpStream::from_std(tcp)?),
            Self::Unix(unix) => ClientSocket::Unix(unix),
        })
    }
}

impl AsFd for AcceptedSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

/// An accepted connection.
#[derive(Debug)]
pub(super) enum ClientSocket {
    Tcp(TcpStream),
    /// Of which the kernel knows no times and no network.
    Unix(UnixStream),
}

impl ClientSocket {
    /// Our end; `None` for a unix socket.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(tcp) => tcp.local_addr().ok(),
            Self::Unix(_) => None,
        }
    }

    /// Waits for bytes and shows them without taking them; 0 at the end.
    ///
    /// # Errors
    /// The system's.
    pub(super) async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(tcp) => tcp.peek(buffer).await,
            Self::Unix(unix) => {
                let look = || Ok(recv(unix, &mut *buffer, RecvFlags::PEEK)?.0);
                unix.async_io(Interest::READABLE, look).await
            }
        }
    }
}

impl AsFd for ClientSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(tcp) => tcp.as_fd(),
            Self::Unix(unix) => unix.as_fd(),
        }
    }
}

impl Transport for ClientSocket {
    fn acknowledge(&self) {
        match self {
            Self::Tcp(tcp) => tcp.acknowledge(),
            Self::Unix(_) => {}
        }
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_write_last(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
        }
    }

    fn poll_read_at(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Instant>>> {
        match self {
            Self::Tcp(tcp) => tcp.poll_read_at(cx, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buffer).map_ok(|()| None),
        }
    }

    fn tcp_facts(&self) -> Option<TcpFacts> {
        match self {
            Self::Tcp(tcp) => tcp.tcp_facts(),
            Self::Unix(_) => None,
        }
    }

    fn end(&mut self) {
        match self {
            Self::Tcp(tcp) => tcp.end(),
            Self::Unix(_) => {}
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Unix(unix) => Pin::new(unix).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Unix(unix) => Pin::new(unix).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Self::Unix(unix) => Pin::new(unix).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_flush(cx),
            Self::Unix(unix) => Pin::new(unix).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Unix(unix) => Pin::new(unix).poll_shutdown(cx),
        }
    }
}
