//! Idle connections, held by the own client in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout};
use tokio::time::timeout;

use crate::child::{Place, command};
use crate::failure::Failure;
use crate::machine;
use crate::tools::{count, spawn};

const NAME: &str = "the idle client";

/// How long all of its connections may take to be opened, or answered.
const PATIENCE: Duration = Duration::from_secs(90);

/// Connections that have asked once and are idle. They end when this is dropped.
pub(crate) struct Idlers {
    _child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    connections: usize,
}

impl Idlers {
    /// Opens `connections` and asks once on each; one that is not answered is a failure.
    pub(crate) async fn open(
        address: SocketAddr,
        connections: usize,
        place: Place,
    ) -> Result<Self, Failure> {
        let mut command = command(&machine::this_program()?, place);
        command
            .args(["idle", "--address", &address.to_string()])
            .args(["--connections", &connections.to_string()])
            .stdin(Stdio::piped());
        let mut child = spawn(NAME, command)?;
        let (Some(stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(Failure::Output {
                program: NAME.to_owned(),
                output: "no pipes".to_owned(),
            });
        };
        let mut idlers = Self {
            _child: child,
            stdin,
            stdout: BufReader::new(stdout),
            connections,
        };
        idlers.answered().await?;
        Ok(idlers)
    }

    /// Asks once more on each; one that is not answered is a failure.
    pub(crate) async fn ask(&mut self) -> Result<(), Failure> {
        let asked = self.stdin.write_all(b"\n").await;
        asked.map_err(Failure::io(NAME))?;
        self.answered().await
    }

    /// Waits for what it counts, and that it is all of them.
    async fn answered(&mut self) -> Result<(), Failure> {
        let mut line = String::new();
        timeout(PATIENCE, self.stdout.read_line(&mut line))
            .await
            .map_err(|_| Failure::Deadline {
                what: NAME.to_owned(),
                after: PATIENCE,
            })?
            .map_err(Failure::io(NAME))?;
        let count = count(&line)?;
        if count.requests < self.connections as u64 {
            return Err(Failure::Tool {
                program: format!("{} of {} connections", count.failed, self.connections),
                output: count.first_failure,
            });
        }
        Ok(())
    }
}
