//! The servers under comparison, started alike.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::ChildStdout;
use tokio::time::{Instant, sleep, timeout};

use crate::certificates::Key;
use crate::child::{LOAD_CORE, PROXY_CORE, Place, Running, command};
use crate::failure::Failure;
use crate::machine;

/// How long a server may take to listen.
const START: Duration = Duration::from_secs(10);

/// A server under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Peer {
    /// This project.
    Handfast,
    /// nginx.
    Nginx,
    /// HAProxy.
    Haproxy,
}

impl Peer {
    /// In the order they are measured.
    pub(crate) const ALL: [Self; 3] = [Self::Handfast, Self::Nginx, Self::Haproxy];

    /// What the tables call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Handfast => "handfast",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
        }
    }

    const fn template(self) -> (&'static str, &'static str) {
        match self {
            Self::Handfast => ("handfast.toml", include_str!("handfast.toml")),
            Self::Nginx => ("nginx.conf", include_str!("nginx.conf")),
            Self::Haproxy => ("haproxy.cfg", include_str!("haproxy.cfg")),
        }
    }
}

/// Whether the servers have one worker on a core of their own, or two wherever the kernel likes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bed {
    /// One worker, pinned; clients and upstream on another core.
    Pinned,
    /// Two workers; nothing is pinned.
    TwoWorkers,
}

impl Bed {
    /// Where a server runs.
    pub(crate) const fn server(self) -> Place {
        match self {
            Self::Pinned => Place::Core(PROXY_CORE),
            Self::TwoWorkers => Place::Anywhere,
        }
    }

    /// Where load clients and upstream run.
    pub(crate) const fn load(self) -> Place {
        match self {
            Self::Pinned => Place::Core(LOAD_CORE),
            Self::TwoWorkers => Place::Anywhere,
        }
    }

    const fn workers(self) -> u32 {
        match self {
            Self::Pinned => 1,
            Self::TwoWorkers => 2,
        }
    }
}

/// What all servers of a run share.
pub(crate) struct Ground {
    /// The directory of certificates, configurations and logs.
    pub(crate) directory: PathBuf,
    /// The handfast that is measured.
    pub(crate) handfast: PathBuf,
}

/// A running server.
pub(crate) struct Server {
    /// Which one.
    pub(crate) peer: Peer,
    running: Running,
    p256: u16,
    rsa: u16,
    admin: u16,
}

impl Server {
    /// Starts a server in front of the upstream at `upstream` and waits until it listens.
    pub(crate) async fn start(
        peer: Peer,
        bed: Bed,
        ground: &Ground,
        upstream: u16,
    ) -> Result<Self, Failure> {
        let [p256, rsa, admin] = free_ports()?;
        let (file, template) = peer.template();
        let user = if machine::is_root() { "user root;" } else { "" };
        let directory = ground.directory.display().to_string();
        let config = template
            .replace("@USER@", user)
            .replace("@WORKERS@", &bed.workers().to_string())
            .replace("@DIRECTORY@", &directory)
            .replace("@UPSTREAM@", &upstream.to_string())
            .replace("@P256@", &p256.to_string())
            .replace("@RSA@", &rsa.to_string())
            .replace("@ADMIN@", &admin.to_string());
        let path = ground.directory.join(file);
        fs::write(&path, config).map_err(Failure::io(path.display().to_string()))?;
        let command = match peer {
            Peer::Handfast => {
                let mut command = command(&ground.handfast, bed.server());
                command.args(["run", "--config"]).arg(&path);
                command
            }
            Peer::Nginx => {
                let mut command = command(&machine::program("nginx")?, bed.server());
                command.args(["-e", "stderr", "-p"]).arg(&ground.directory);
                command.arg("-c").arg(&path);
                command
            }
            Peer::Haproxy => {
                let mut command = command(&machine::program("haproxy")?, bed.server());
                command.args(["-db", "-q", "-f"]).arg(&path);
                command
            }
        };
        let log = ground.directory.join(format!("{file}.log"));
        let running = Running::start(peer.name(), with_no_output(command), &log)?;
        let mut server = Self {
            peer,
            running,
            p256,
            rsa,
            admin,
        };
        server.listening().await?;
        Ok(server)
    }

    /// Where it listens with a certificate of `key`.
    pub(crate) fn address(&self, key: Key) -> SocketAddr {
        let port = match key {
            Key::P256 => self.p256,
            Key::Rsa2048 => self.rsa,
        };
        (Ipv4Addr::LOCALHOST, port).into()
    }

    /// Where handfast serves its metrics.
    pub(crate) fn admin(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.admin).into()
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.running.id()
    }

    /// Fails when it has ended.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        self.running.check()
    }

    async fn listening(&mut self) -> Result<(), Failure> {
        let end = Instant::now() + START;
        for key in [Key::P256, Key::Rsa2048] {
            while TcpStream::connect(self.address(key)).await.is_err() {
                self.running.check()?;
                if Instant::now() > end {
                    return Err(Failure::Deadline {
                        what: format!("the start of {}", self.peer.name()),
                        after: START,
                    });
                }
                sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }
}

/// The upstream of a bed.
pub(crate) struct Upstream {
    _running: Running,
    /// Its port on 127.0.0.1.
    pub(crate) port: u16,
}

impl Upstream {
    /// Starts it and learns its port.
    pub(crate) async fn start(bed: Bed, directory: &Path) -> Result<Self, Failure> {
        let mut command = command(&machine::this_program()?, bed.load());
        command.arg("upstream").stdout(Stdio::piped());
        let mut running = Running::start("the upstream", command, &directory.join("upstream.log"))?;
        let output = || Failure::Output {
            program: "the upstream".to_owned(),
            output: "no port".to_owned(),
        };
        let stdout = running.child().stdout.take().ok_or_else(output)?;
        let stdout = ChildStdout::from_std(stdout).map_err(Failure::io("the upstream"))?;
        let mut line = String::new();
        let mut stdout = BufReader::new(stdout);
        timeout(START, stdout.read_line(&mut line))
            .await
            .map_err(|_| Failure::Deadline {
                what: "the start of the upstream".to_owned(),
                after: START,
            })?
            .map_err(Failure::io("the upstream"))?;
        let port = line.trim().parse().map_err(|_| output())?;
        Ok(Self {
            _running: running,
            port,
        })
    }
}

fn with_no_output(mut command: std::process::Command) -> std::process::Command {
    command.stdout(Stdio::null());
    command
}

/// Ports that nobody listens on. Another program may take one before the server does; then the
/// server says so and the run fails.
fn free_ports() -> Result<[u16; 3], Failure> {
    let failure = || Failure::io("cannot find free ports");
    let mut held = Vec::new();
    let mut ports = [0; 3];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(failure())?;
        *port = listener.local_addr().map_err(failure())?.port();
        held.push(listener);
    }
    Ok(ports)
}
