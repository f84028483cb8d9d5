//! The stream below a handshake: bytes, and what the kernel knows of them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use rustix::net::{SendFlags, send};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::TcpStream;

use super::kernel::{self, TcpFacts};

/// A stream that a handshake can be made over.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// What is written from now on ends the handshake and nobody waits for it (the tickets of TLS
    /// 1.3): a stream that gathers writes may keep it until there is more to send. By default
    /// nothing is kept.
    fn defer(&mut self) {}

    /// What is written from now on are the last words, and the stream is dropped after them: it may
    /// keep them to send them with its end, which saves a packet and the peer's second waking. By
    /// default nothing is kept.
    fn end(&mut self) {}

    /// What came is acknowledged now, and what comes as the system likes. To be called where no
    /// answer follows soon that an acknowledgement could go with: the client may wait for it before
    /// it sends the rest (RFC 896). By default nothing is done.
    fn acknowledge(&self) {}

    /// Writes as [`AsyncWrite::poll_write`] does what is shut down after: a stream may keep it to
    /// send it with its end, as [`Transport::end`] says. By default nothing is kept.
    ///
    /// # Errors
    /// The stream's own.
    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Reads as [`AsyncRead::poll_read`] does, and tells when the last of these bytes came, where
    /// that is known. By default it is not.
    ///
    /// # Errors
    /// The stream's own.
    fn poll_read_at(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Instant>>> {
        Pin::new(self).poll_read(cx, buffer).map_ok(|()| None)
    }

    /// What the kernel knows of the connection, at the cost of a system call; `None` by default.
    fn tcp_facts(&self) -> Option<TcpFacts> {
        None
    }
}

impl Transport for DuplexStream {}

impl Transport for TcpStream {
    fn end(&mut self) {
        // Closing sends what the kernel keeps.
        if let Err(error) = socket2::SockRef::from(&*self).set_tcp_cork(true) {
            tracing::debug!(%error, "TCP_CORK failed");
        }
    }

    fn acknowledge(&self) {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Err(error) = socket2::SockRef::from(self).set_tcp_quickack(true) {
            tracing::debug!(%error, "TCP_QUICKACK failed");
        }
    }

    fn poll_write_last(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        // The last segment then waits for the FIN, which shutting down or closing sends with it.
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        loop {
            ready!(self.poll_write_ready(cx))?;
            let result = self.try_io(Interest::WRITABLE, || Ok(send(&*self, bytes, flags)?));
            match result {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }

    fn poll_read_at(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Option<Instant>>> {
        loop {
            ready!(self.poll_read_ready(cx))?;
            let mut received = None;
            let result = self.try_io(Interest::READABLE, || {
                let (count, arrival) = kernel::receive(self, buffer)?;
                received = Some(arrival);
                // Less than there was room for: nothing more is there, and the next read need not
                // ask. To say so is the one way to have the readiness cleared, as `poll_read` does.
                match count {
                    0 => Ok(()),
                    _ if buffer.remaining() > 0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            match (received, result) {
                (Some(arrival), _) => return Poll::Ready(Ok(arrival)),
                (None, Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                    return Poll::Ready(Err(error));
                }
                // Not ready after all: ask to be woken.
                (None, _) => {}
            }
        }
    }

    fn tcp_facts(&self) -> Option<TcpFacts> {
        kernel::tcp_facts(self)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn tcp_streams_read_with_arrivals_to_their_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        kernel::stamp_arrivals(&listener).unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut client, mut server) = (client.unwrap(), accepted.unwrap().0);
        // The kernel takes a moment to begin.
        loop {
            client.write_all(b"?").await.unwrap();
            let mut space = [0];
            let mut buffer = ReadBuf::new(&mut space);
            if poll_fn(|cx| server.poll_read_at(cx, &mut buffer))
                .await
                .unwrap()
                .is_some()
            {
                break;
            }
        }
        for size in [1_usize, 5, 8, 100] {
            let before = Instant::now();
            let sent = vec![7; size];
            client.write_all(&sent).await.unwrap();
            let mut got = 0;
            while got < size {
                let mut space = [0; 8];
                let mut buffer = ReadBuf::new(&mut space);
                let arrival = poll_fn(|cx| server.poll_read_at(cx, &mut buffer))
                    .await
                    .unwrap();
                assert!(arrival.unwrap() <= Instant::now());
                assert!(arrival.unwrap() + std::time::Duration::from_millis(20) >= before);
                got += buffer.filled().len();
                assert_eq!(buffer.filled(), &sent[..buffer.filled().len()]);
            }
        }
        drop(client);
        let mut space = [0; 8];
        let mut buffer = ReadBuf::new(&mut space);
        let arrival = poll_fn(|cx| server.poll_read_at(cx, &mut buffer))
            .await
            .unwrap();
        assert_eq!((arrival, buffer.filled().len()), (None, 0));
    }

    #[tokio::test]
    async fn the_last_bytes_go_with_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut client = client.unwrap().into_std().unwrap();
        let mut server = accepted.unwrap().0;
        let written = poll_fn(|cx| server.poll_write_last(cx, b"bye")).await;
        assert_eq!(written.unwrap(), 3);
        // Over loopback what is sent has come when the call returns.
        let early = io::Read::read(&mut client, &mut [0; 8]).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::WouldBlock);
        server.shutdown().await.unwrap();
        client.set_nonblocking(false).unwrap();
        let mut all = String::new();
        io::Read::read_to_string(&mut client, &mut all).unwrap();
        assert_eq!(all, "bye");
    }

    /// A client that sends its first words in pieces, and each when the last is acknowledged.
    #[tokio::test]
    async fn what_has_no_answer_is_acknowledged_when_asked() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let quiet = socket2::SockRef::from(&listener).set_tcp_quickack(false);
        quiet.unwrap();
        let address = listener.local_addr().unwrap();
        // The kernel does it too, after 40 ms: sooner once is ours, on a machine that may be slow.
        for _ in 0..20 {
            let (client, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
            let (mut client, mut server) = (client.unwrap(), accepted.unwrap().0);
            client.set_nodelay(false).unwrap();
            client.write_all(b"a").await.unwrap();
            let mut got = [0];
            server.read_exact(&mut got).await.unwrap();
            let began = Instant::now();
            client.write_all(b"b").await.unwrap();
            server.acknowledge();
            server.read_exact(&mut got).await.unwrap();
            assert_eq!(&got, b"b");
            if began.elapsed() < std::time::Duration::from_millis(20) {
                return;
            }
        }
        panic!("it was acknowledged late, always");
    }
}
