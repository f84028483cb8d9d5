//! The other end of the admin socket: one request, one answer.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use serde::Deserialize;

use super::cli::DEFAULT_CONFIG;
use crate::config;

/// Where the socket is looked for when nothing else is said.
const DEFAULT_SOCKET: &str = "/run/handfast/admin.sock";

/// How the daemon is found.
#[derive(Debug, Args)]
pub(super) struct SocketArgs {
    /// The admin socket [default: the one that the configuration names, or
    /// /run/handfast/admin.sock]
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    socket: Option<PathBuf>,
    /// The daemon's configuration, whose [admin] names the socket [default:
    /// /etc/handfast/handfast.toml]
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// How the daemon is found by who only looks.
#[derive(Debug, Args)]
pub(super) struct ViewArgs {
    #[command(flatten)]
    socket: SocketArgs,
    /// Ask the admin address instead of the socket.
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["socket", "config"])]
    address: Option<SocketAddr>,
    /// The file with the token of the admin address.
    #[arg(long, value_name = "FILE", requires = "address")]
    token_file: Option<PathBuf>,
}

/// A way to the daemon.
#[derive(Debug)]
pub(super) struct SocketClient {
    path: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// The unix socket at the path.
    Unix,
    /// The admin address, with its token.
    Tcp(SocketAddr, Option<String>),
}

/// What the daemon answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: u16,
    /// The body.
    pub(super) body: String,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// The configuration that was named cannot be read.
    #[error("cannot read {}", path.display())]
    Config {
        /// Its path.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// There is no daemon, or it has no socket there.
    #[error(
        "nobody listens on {}: is the daemon running, and is this what [admin] says?",
        .0.display()
    )]
    Nobody(PathBuf),
    /// The socket is another user's.
    #[error("no permission to use {}: it is for the user that the daemon runs as, and for root", .0.display())]
    Denied(PathBuf),
    /// The connection failed.
    #[error("the connection to {} failed", path.display())]
    Io {
        /// The path of the socket, or the address.
        path: PathBuf,
        /// What the operating system says.
        #[source]
        source: io::Error,
    },
    /// It is not our daemon.
    #[error("what listens on {} does not answer as handfast does", .0.display())]
    Answer(PathBuf),
}

/// For one read or write. A reload answers within 50 seconds.
const TIMEOUT: Duration = Duration::from_secs(60);
/// For a connection to the admin address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The largest answer.
const MAX_ANSWER: u64 = 64 << 20;

#[derive(Deserialize)]
struct Problem {
    error: String,
}

impl SocketClient {
    /// Finds the socket.
    ///
    /// # Errors
    /// The configuration that was named cannot be read.
    pub(super) fn find(args: &SocketArgs) -> Result<Self, ClientError> {
        if let Some(path) = &args.socket {
            return Ok(Self::unix(path.clone()));
        }
        let found = match &args.config {
            Some(file) => {
                config::find_admin_socket(file).map_err(|source| ClientError::Config {
                    path: file.clone(),
                    source,
                })?
            }
            // Nobody named it, so it need not be there.
            None => config::find_admin_socket(Path::new(DEFAULT_CONFIG)).unwrap_or_default(),
        };
        Ok(Self::unix(found.unwrap_or_else(|| DEFAULT_SOCKET.into())))
    }

    /// Finds the socket, or takes the address.
    ///
    /// # Errors
    /// The configuration or the token cannot be read.
    pub(super) fn view(args: &ViewArgs) -> Result<Self, ClientError> {
        let Some(address) = args.address else {
            return Self::find(&args.socket);
        };
        let token = args.token_file.as_ref().map(|path| {
            fs::read_to_string(path).map_err(|source| ClientError::Config {
                path: path.clone(),
                source,
            })
        });
        let token = token.transpose()?.map(|token| token.trim().to_owned());
        Ok(Self {
            path: address.to_string().into(),
            way: Way::Tcp(address, token),
        })
    }

    const fn unix(path: PathBuf) -> Self {
        Self {
            path,
            way: Way::Unix,
        }
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Errors
    /// Nobody listens, it is not permitted, or the answer is none.
    pub(super) fn ask(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> Result<Answer, ClientError> {
        let answer = self.exchange(method, target, body).map_err(|source| {
            let path = self.path.clone();
            match source.kind() {
                io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
                    ClientError::Nobody(path)
                }
                io::ErrorKind::PermissionDenied => ClientError::Denied(path),
                _ => ClientError::Io { path, source },
            }
        })?;
        parse(&answer).ok_or_else(|| ClientError::Answer(self.path.clone()))
    }

    /// The error for an answer that makes no sense.
    pub(super) fn nonsense(&self) -> ClientError {
        ClientError::Answer(self.path.clone())
    }

    fn exchange(&self, method: &str, target: &str, body: &[u8]) -> io::Result<Vec<u8>> {
        match &self.way {
            Way::Unix => {
                let stream = UnixStream::connect(&self.path)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                talk(stream, "localhost", None, method, target, body)
            }
            Way::Tcp(address, token) => {
                let stream = TcpStream::connect_timeout(address, CONNECT_TIMEOUT)?;
                stream.set_read_timeout(Some(TIMEOUT))?;
                stream.set_write_timeout(Some(TIMEOUT))?;
                let host = address.to_string();
                talk(stream, &host, token.as_deref(), method, target, body)
            }
        }
    }
}

/// One request on `stream`, and all that comes back.
fn talk(
    mut stream: impl Read + Write,
    host: &str,
    token: Option<&str>,
    method: &str,
    target: &str,
    body: &[u8],
) -> io::Result<Vec<u8>> {
    let token = match token {
        Some(token) => format!("Authorization: Bearer {token}\r\n"),
        None => String::new(),
    };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{token}\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat())?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

impl Answer {
    /// What the daemon says is wrong.
    pub(super) fn problem(&self) -> String {
        let problem: Result<Problem, _> = serde_json::from_str(&self.body);
        problem.map_or_else(
            |_| format!("the daemon answered {}", self.status),
            |problem| problem.error,
        )
    }
}

/// The daemon gives every answer a length and closes.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let ours = name.eq_ignore_ascii_case("content-length");
        ours.then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() == length).then(|| Answer {
        status,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_or_none() {
        let text =
            b"HTTP/1.1 422 Unprocessable Entity\r\ncontent-length: 14\r\n\r\n{\"error\":\"no\"}";
        let answer = parse(text).unwrap();
        assert_eq!((answer.status, answer.problem()), (422, "no".to_owned()));
        for cut in 0..text.len() {
            assert_eq!(parse(&text[..cut]), None, "cut at {cut}");
        }
        assert_eq!(parse(b"SSH-2.0-OpenSSH\r\n\r\n"), None);
    }
}
