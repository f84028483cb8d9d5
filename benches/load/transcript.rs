//! What a user sees who pastes the two lines of the README.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{Instant, sleep, timeout};

use crate::child::{Place, Running, command};
use crate::failure::{Failure, tail};
use crate::peers::Ground;

/// The lines, as they stand in the README.
const LINES: [&str; 2] = [
    "wrk -t1 -c64 -d10s --latency https://localhost:8443/",
    "h2load -t1 -c16 -m32 -D10 https://localhost:8443/",
];

/// How long the server may take to listen, and a line beyond its ten seconds.
const SLACK: Duration = Duration::from_secs(10);

/// Starts `handfast dev` and runs the lines against it, as a user would: nothing pinned, every
/// default as it is.
pub(crate) async fn take(ground: &Ground) -> Result<String, Failure> {
    let mut dev = command(&ground.handfast, Place::Anywhere);
    dev.arg("dev").stdout(Stdio::null());
    let log = ground.directory.join("dev.log");
    let mut server = Running::start("handfast dev", dev, &log)?;
    let address: SocketAddr = (Ipv4Addr::LOCALHOST, 8443).into();
    let end = Instant::now() + SLACK;
    while TcpStream::connect(address).await.is_err() {
        server.check()?;
        if Instant::now() > end {
            return Err(Failure::Deadline {
                what: "the start of handfast dev".to_owned(),
                after: SLACK,
            });
        }
        sleep(Duration::from_millis(20)).await;
    }
    let mut text = String::new();
    for line in LINES {
        let mut words = line.split(' ');
        let program = words.next().unwrap_or_default();
        let after = SLACK + SLACK;
        let output = Command::new(program)
            .args(words)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = timeout(after, output)
            .await
            .map_err(|_| Failure::Deadline {
                what: program.to_owned(),
                after,
            })?
            .map_err(Failure::io(program))?;
        let printed = tail(&String::from_utf8_lossy(&output.stdout), 4000);
        writeln!(text, "    $ {line}").ok();
        for line in printed
            .lines()
            .filter(|line| !line.starts_with("progress:"))
        {
            writeln!(text, "    {line}").ok();
        }
        text.push('\n');
    }
    Ok(text)
}
