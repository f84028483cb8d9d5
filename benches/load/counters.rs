//! handfast's own counters, read before and after a run and held against the client's.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::arguments::Version;
use crate::client::Count;
use crate::failure::Failure;

/// How long a scrape may take.
const SCRAPE: Duration = Duration::from_secs(5);

/// How long the counters may take to follow the last handshake.
const SETTLE: Duration = Duration::from_secs(2);

/// The counters of one TLS version, over all listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counters {
    /// `tls_handshakes_total{kind="full"}`
    pub(crate) full: u64,
    /// `tls_handshakes_total{kind="resumed"}`
    pub(crate) resumed: u64,
    /// `tls_resumption_total{result="hit"}`
    pub(crate) hits: u64,
    /// `tls_handshake_failures_total`, all versions.
    pub(crate) failures: u64,
}

impl Counters {
    /// Those of a version, now.
    pub(crate) async fn now(admin: SocketAddr, version: Version) -> Result<Self, Failure> {
        let text = timeout(SCRAPE, scrape(admin))
            .await
            .map_err(|_| Failure::Deadline {
                what: "a scrape of handfast".to_owned(),
                after: SCRAPE,
            })?
            .map_err(Failure::io("a scrape of handfast"))?;
        let version = format!("version=\"{}\"", version.name());
        let sum = |name: &str, labels: &[&str]| -> u64 {
            text.lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'))
                .filter_map(|line| line.rsplit_once("} "))
                .filter(|(given, _)| labels.iter().all(|label| given.contains(label)))
                .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
                .sum()
        };
        let handshakes = "handfast_tls_handshakes_total";
        Ok(Self {
            full: sum(handshakes, &[&version, "kind=\"full\""]),
            resumed: sum(handshakes, &[&version, "kind=\"resumed\""]),
            hits: sum(
                "handfast_tls_resumption_total",
                &[&version, "result=\"hit\""],
            ),
            failures: sum("handfast_tls_handshake_failures_total", &[]),
        })
    }

    /// Waits until what was counted since `self` agrees with the client, and gives it.
    pub(crate) async fn agree(
        self,
        admin: SocketAddr,
        version: Version,
        client: &Count,
    ) -> Result<Self, Failure> {
        let end = Instant::now() + SETTLE;
        loop {
            let now = Self::now(admin, version).await?;
            let since = Self {
                full: now.full - self.full,
                resumed: now.resumed - self.resumed,
                hits: now.hits - self.hits,
                failures: now.failures - self.failures,
            };
            let agrees = since.full == client.full + client.retried
                && since.resumed == client.resumed
                && since.hits == client.resumed
                && since.failures == 0;
            if agrees {
                return Ok(since);
            }
            if Instant::now() > end {
                return Err(Failure::Disagreement(format!(
                    "full {}, resumed {}, tickets accepted {}, failed {}; the client: full {}, resumed {}, failed {}",
                    since.full,
                    since.resumed,
                    since.hits,
                    since.failures,
                    client.full + client.retried,
                    client.resumed,
                    client.failed,
                )));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn scrape(admin: SocketAddr) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(admin).await?;
    stream
        .write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    if answer.starts_with("HTTP/1.") && answer.contains(" 200 OK\r\n") {
        Ok(answer)
    } else {
        Err(std::io::Error::other(
            answer.lines().next().unwrap_or("nothing").to_owned(),
        ))
    }
}
