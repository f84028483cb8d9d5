//! Clients that are far away: what is acknowledged at once, and what came sooner than it can.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio_rustls::rustls::pki_types::ServerName as ClientSideName;
use tokio_rustls::rustls::version::{TLS12, TLS13};

use super::peers::{Rig, hello, incoming};
use crate::report::{Confidence, FalseStart};
use crate::tls::{Admission, TcpFacts, Transport, accept};

/// A pipe that says it is a far connection.
#[derive(Debug)]
struct Far {
    io: DuplexStream,
    min_rtt: Duration,
    acknowledged: Arc<AtomicUsize>,
}

impl Far {
    fn new(io: DuplexStream, min_rtt: Duration) -> Self {
        Self {
            io,
            min_rtt,
            acknowledged: Arc::default(),
        }
    }
}

impl Transport for Far {
    fn acknowledge(&self) {
        self.acknowledged.fetch_add(1, Ordering::Relaxed);
    }

    fn tcp_facts(&self) -> Option<TcpFacts> {
        Some(TcpFacts {
            min_rtt: Some(self.min_rtt),
            ..TcpFacts::default()
        })
    }
}

impl AsyncRead for Far {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Far {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A client that sends its ClientHello in pieces may wait for an acknowledgement of the first.
#[tokio::test]
async fn a_piece_of_a_hello_is_acknowledged_at_once() {
    let rig = Rig::new(|_| ());
    for (pieces, expected) in [(1, 0), (2, 1), (4, 1)] {
        let mut bytes = Vec::new();
        hello(&rig.client(&TLS13, false))
            .write_tls(&mut bytes)
            .unwrap();
        let piece = bytes.len().div_ceil(pieces);
        // There is no room for the next one before the last is read.
        let (ours, mut theirs) = tokio::io::duplex(piece);
        let io = Far::new(ours, Duration::ZERO);
        let acknowledged = io.acknowledged.clone();
        let incoming = incoming();
        let admission = Admission::new(1, 16);
        let accepted = accept(io, &incoming, &rig.sites, &rig.metrics, &admission);
        let (_, ()) = tokio::join!(accepted, async {
            theirs.write_all(&bytes).await.unwrap();
            // The server's flight is here: the ClientHello was whole.
            theirs.read_exact(&mut [0; 5]).await.unwrap();
            drop(theirs);
        });
        assert_eq!(acknowledged.load(Ordering::Relaxed), expected, "{pieces}");
    }
}

/// A request that comes at once after our Finished: too soon for where the client says it is,
/// or not.
#[tokio::test]
async fn data_sooner_than_a_round_trip_is_probably_false_start() {
    const PROBABLE: FalseStart = FalseStart::Used(Confidence::Probable);
    let rig = Rig::new(|_| ());
    for (version, min_rtt, late, expected) in [
        (&TLS12, 5000, 0, PROBABLE),
        (&TLS12, 0, 0, FalseStart::EligibleUnused),
        (&TLS12, 20, 200, FalseStart::EligibleUnused),
        (&TLS13, 5000, 0, FalseStart::NotApplicable),
    ] {
        let (io, theirs) = tokio::io::duplex(1 << 16);
        let min_rtt = Duration::from_millis(min_rtt);
        let client = rig.client(version, false);
        let name = ClientSideName::try_from("localhost").unwrap();
        let admission = Admission::new(1, 16);
        let incoming = incoming();
        let (established, ()) = tokio::join!(
            async {
                let io = Far::new(io, min_rtt);
                let accepted = accept(io, &incoming, &rig.sites, &rig.metrics, &admission);
                let mut established = accepted.await.unwrap();
                let mut request = [0; 7];
                established.stream.read_exact(&mut request).await.unwrap();
                assert_eq!(&request, b"request");
                established
            },
            async {
                let mut stream = client.connect(name, theirs).await.unwrap();
                tokio::time::sleep(Duration::from_millis(late)).await;
                stream.write_all(b"request").await.unwrap();
                stream.flush().await.unwrap();
            }
        );
        let report = established.report;
        assert_eq!(report.false_start, expected, "{min_rtt:?}");
        let waited = expected == FalseStart::EligibleUnused;
        assert_eq!(
            report.round_trips(),
            1 + usize::from(waited),
            "{expected:?}"
        );
        assert_eq!(u128::from(report.phases.sum()), report.total.as_nanos());
    }
}
