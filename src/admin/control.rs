//! The commands: read from a request, handed to the daemon, answered when they are done.

use std::error::Error;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Limited};
use hyper::body::Body;
use ipnet::IpNet;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::command::{Action, Command};
use super::reload_report::ReloadResult;
use super::respond::{self, Reply};
use super::state::AdminState;
use super::summary::KeyLogSummary;
use super::what_if;
use crate::config::{self, LogLevel, PolicyChangeText};
use crate::tls::{KeyLogError, KeyLogRequest};

/// The largest body of a command.
const MAX_BODY: usize = 16 << 10;
/// For a body to come.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);
/// For the daemon to answer: a reload reads files, which can be slow.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(50);

/// The longest change of the log level that ends by itself.
const LONGEST_LEVEL: Duration = Duration::from_secs(24 * 60 * 60);

/// The body of `POST /api/key-log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLogBody {
    /// The clients' network, or one address.
    pub client: String,
    /// Whether the network may be everybody; default false.
    #[serde(default)]
    pub any: bool,
    /// For how long, at most `"1h"`.
    pub duration: String,
    /// The file to create: an absolute path.
    pub file: PathBuf,
}

/// The body of `POST /api/reload`, which may have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReloadBody {
    /// Whether to reload also when `reload.max_broken_clients` forbids it; default false.
    #[serde(default)]
    pub force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct LogLevelBody {
    level: String,
    duration: Option<String>,
}

/// What was done.
#[derive(Serialize)]
struct Done {
    result: &'static str,
}

/// Why a command is not carried out.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// The body is too long, too slow or cut.
    #[error(
        "the body cannot be read: it has {MAX_BODY} bytes at most and {BODY_TIMEOUT:?} to come"
    )]
    Body,
    /// The body is not what the command takes.
    #[error("the body is not what this command takes: {0}")]
    Json(#[source] serde_json::Error),
    /// No level of the log.
    #[error("`{0}` is no level; there are: error, warn, info, debug, trace")]
    Level(String),
    /// No duration.
    #[error("`duration`: {0}")]
    Duration(String),
    /// A duration out of bounds.
    #[error("`duration` is between 1 ms and 24 h")]
    Bounds,
    /// No network.
    #[error("`client` is a network such as `10.0.0.0/8` or an address, not `{0}`")]
    Client(String),
    /// The daemon is ending.
    #[error("the daemon is shutting down")]
    Ending,
    /// The daemon does not answer.
    #[error("the daemon did not answer within {ANSWER_TIMEOUT:?}; it may still do what was asked")]
    Silent,
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::Ending => StatusCode::SERVICE_UNAVAILABLE,
            Self::Silent => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

/// To whoever sends a command over TCP.
pub(super) fn forbidden(state: &AdminState) -> Reply {
    let text = match &state.socket {
        Some(path) => format!(
            "this listener is read-only: commands go through the unix socket {}",
            path.display()
        ),
        None => "this listener is read-only: commands go through a unix socket, which `socket` \
                 in [admin] opens"
            .to_owned(),
    };
    respond::problem(StatusCode::FORBIDDEN, &text)
}

/// `POST /api/reload`: 200 with the report when the new configuration serves, with certificates
/// that are kept as they were maybe; 422 with the report when it is wrong, 409 when it would turn
/// away too many clients, 500 when it cannot be served, 503 while the daemon shuts down.
pub(super) async fn reload<B>(state: &AdminState, uid: Option<u32>, body: B) -> Reply
where
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    replied(
        async {
            let ReloadBody { force } = read_if_any(body).await?;
            let action = |answer| Action::Reload { force, answer };
            let report = ask(state, uid, action).await?.ok_or(Refusal::Ending)?;
            let status = match report.result {
                ReloadResult::Ok | ReloadResult::Partial => StatusCode::OK,
                ReloadResult::Guarded => StatusCode::CONFLICT,
                ReloadResult::Failed if report.diagnostics.is_empty() => {
                    StatusCode::INTERNAL_SERVER_ERROR
                }
                ReloadResult::Failed => StatusCode::UNPROCESSABLE_ENTITY,
            };
            Ok(respond::json(status, &report))
        }
        .await,
    )
}

/// `POST /api/drain`: 202 when the shutdown has begun.
pub(super) async fn drain(state: &AdminState, uid: Option<u32>) -> Reply {
    let asked = ask(state, uid, Action::Drain).await;
    replied(asked.map(|()| respond::json(StatusCode::ACCEPTED, &Done { result: "draining" })))
}

/// `PUT /api/log-level`: 200 when the daemon logs at the level.
pub(super) async fn log_level<B>(state: &AdminState, uid: Option<u32>, body: B) -> Reply
where
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    replied(
        async {
            let LogLevelBody { level, duration } = read(body).await?;
            let mut levels = LogLevel::ALL.into_iter();
            let level = levels
                .find(|it| it.name() == level)
                .ok_or(Refusal::Level(level))?;
            let duration = duration.as_deref().map(self::duration).transpose()?;
            let bounds = Duration::from_millis(1)..=LONGEST_LEVEL;
            if duration.is_some_and(|duration| !bounds.contains(&duration)) {
                return Err(Refusal::Bounds);
            }
            let action = |answer| Action::LogLevel {
                level,
                duration,
                answer,
            };
            let () = ask(state, uid, action).await?;
            Ok(respond::json(StatusCode::OK, &Done { result: "ok" }))
        }
        .await,
    )
}

/// `POST /api/key-log`: 201 with the running key log; 409 when one runs already, 400 when it is
/// not to be had like this.
pub(super) async fn start_key_log<B>(state: &AdminState, uid: Option<u32>, body: B) -> Reply
where
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    replied(
        async {
            let body: KeyLogBody = read(body).await?;
            let request = KeyLogRequest {
                clients: network(body.client)?,
                any_client: body.any,
                duration: duration(&body.duration)?,
                file: body.file,
                uid,
            };
            let action = |answer| Action::StartKeyLog { request, answer };
            Ok(match ask(state, uid, action).await? {
                Ok(()) => {
                    let running = state.key_log.status().map(KeyLogSummary::from);
                    respond::json(StatusCode::CREATED, &running)
                }
                Err(error) => {
                    let status = match &error {
                        KeyLogError::Running(_) => StatusCode::CONFLICT,
                        KeyLogError::Thread(_) => StatusCode::INTERNAL_SERVER_ERROR,
                        _ => StatusCode::BAD_REQUEST,
                    };
                    let cause = error.source();
                    let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
                    respond::problem(status, &format!("{error}{cause}"))
                }
            })
        }
        .await,
    )
}

/// `DELETE /api/key-log`: 200 with the key log as it ended; 404 when none ran.
pub(super) async fn stop_key_log(state: &AdminState, uid: Option<u32>) -> Reply {
    let asked = ask(state, uid, Action::StopKeyLog).await;
    replied(asked.map(|ended| match ended.map(KeyLogSummary::from) {
        Some(ended) => respond::json(StatusCode::OK, &ended),
        None => respond::problem(StatusCode::NOT_FOUND, "no key log runs"),
    }))
}

/// `POST /api/what-if`: 200 with the forecast; 422 when the change makes no sense, 409 while another
/// is being made.
pub(super) async fn what_if<B>(state: &AdminState, body: B) -> Reply
where
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    match read::<PolicyChangeText, B>(body).await {
        Ok(change) => what_if::what_if(state, &change).await,
        Err(refusal) => replied(Err(refusal)),
    }
}

fn replied(result: Result<Reply, Refusal>) -> Reply {
    result.unwrap_or_else(|refusal| respond::problem(refusal.status(), &refusal.to_string()))
}

/// Hands an action to the daemon and waits for its answer.
async fn ask<T>(
    state: &AdminState,
    uid: Option<u32>,
    action: impl FnOnce(oneshot::Sender<T>) -> Action,
) -> Result<T, Refusal> {
    let (sender, answer) = oneshot::channel();
    let action = action(sender);
    let asked = async {
        let command = Command { uid, action };
        let sent = state.commands.send(command).await;
        sent.map_err(|_| Refusal::Ending)?;
        answer.await.map_err(|_| Refusal::Ending)
    };
    timeout(ANSWER_TIMEOUT, asked)
        .await
        .unwrap_or(Err(Refusal::Silent))
}

async fn read<T, B>(body: B) -> Result<T, Refusal>
where
    T: DeserializeOwned,
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    serde_json::from_slice(&whole(body).await?).map_err(Refusal::Json)
}

/// As [`read`], for commands that may have no body.
async fn read_if_any<T, B>(body: B) -> Result<T, Refusal>
where
    T: DeserializeOwned + Default,
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    let bytes = whole(body).await?;
    match bytes.is_empty() {
        true => Ok(T::default()),
        false => serde_json::from_slice(&bytes).map_err(Refusal::Json),
    }
}

async fn whole<B>(body: B) -> Result<Bytes, Refusal>
where
    B: Body,
    B::Error: Error + Send + Sync + 'static,
{
    let collected = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect()).await;
    match collected {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(_)) | Err(_) => Err(Refusal::Body),
    }
}

fn duration(text: &str) -> Result<Duration, Refusal> {
    config::read_duration(text).map_err(|refused| {
        let help = refused.help.map(|help| format!(": {help}"));
        Refusal::Duration(refused.message + &help.unwrap_or_default())
    })
}

fn network(text: String) -> Result<IpNet, Refusal> {
    let address = |_| text.parse::<IpAddr>().map(IpNet::from);
    text.parse()
        .or_else(address)
        .map_err(|_| Refusal::Client(text))
}
