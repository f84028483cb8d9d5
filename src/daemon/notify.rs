//! The service manager's side of the story: ready, reloading, stopping, alive (sd_notify(3)).
//!
//! Messages go to the socket that NOTIFY_SOCKET names, without waiting: a manager that does not
//! read loses them. The variable stays, because the daemon starts no other process.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::server::Heartbeat;

/// Tells the service manager, if there is one; cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Notifier(Option<Arc<Manager>>);

#[derive(Debug)]
struct Manager {
    socket: UnixDatagram,
    address: SocketAddr,
}

/// Why there is nobody to tell, although a socket is named.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotifyError {
    /// The value is neither a path nor the name of an abstract socket.
    #[error("NOTIFY_SOCKET is neither a path nor @ and the name of an abstract socket")]
    Address,
    /// There is no socket to send from.
    #[error("no socket to notify the service manager from")]
    Socket(#[source] io::Error),
}

impl Notifier {
    /// Whom NOTIFY_SOCKET names; nobody where it is not set.
    ///
    /// # Errors
    /// It makes no sense, or there are no descriptors left.
    pub(super) fn from_environment() -> Result<Self, NotifyError> {
        env::var_os("NOTIFY_SOCKET").map_or_else(|| Ok(Self::default()), Self::to)
    }

    fn to(name: OsString) -> Result<Self, NotifyError> {
        let name = name.into_vec();
        let address = match name.split_first() {
            Some((b'/', _)) => SocketAddr::from_pathname(OsString::from_vec(name)),
            Some((b'@', name)) => SocketAddr::from_abstract_name(name),
            _ => return Err(NotifyError::Address),
        };
        let address = address.map_err(|_| NotifyError::Address)?;
        let socket = UnixDatagram::unbound().and_then(|socket| {
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = socket.map_err(NotifyError::Socket)?;
        Ok(Self(Some(Arc::new(Manager { socket, address }))))
    }

    /// The listeners accept; also the end of a reload, however it went.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", one_line(status)));
    }

    /// A reload begins. [`Notifier::ready`] ends it.
    pub(super) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        // Both are never negative on this clock.
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reloading"
        ));
    }

    /// The shutdown begins.
    pub(super) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={}", one_line(status)));
    }

    /// What the daemon is about, for `systemctl status`.
    pub(super) fn status(&self, status: &str) {
        self.send(&format!("STATUS={}", one_line(status)));
    }

    fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        let Some(manager) = &self.0 else { return };
        let sent = manager
            .socket
            .send_to_addr(message.as_bytes(), &manager.address);
        if let Err(error) = sent {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }
}

/// Tells the service manager twice in the time of its watchdog (WATCHDOG_USEC) that the daemon is
/// alive, for as long as every accept loop answers. Returns at once where there is no watchdog.
pub(super) async fn watchdog(notifier: Notifier, heartbeat: Heartbeat) {
    if let Some(time) = watchdog_time(|name| env::var(name).ok()) {
        ping(notifier, heartbeat, time).await;
    }
}

async fn ping(notifier: Notifier, heartbeat: Heartbeat, time: Duration) {
    let every = time / 2;
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match timeout(every / 2, heartbeat.answered()).await {
            Ok(()) => notifier.alive(),
            Err(_) => tracing::error!(
                watchdog = ?time,
                "an accept loop does not answer: the service manager's watchdog is not told"
            ),
        }
    }
}

/// The watchdog's time, if it is ours (sd_watchdog_enabled(3)).
fn watchdog_time(variable: impl Fn(&str) -> Option<String>) -> Option<Duration> {
    let micros = variable("WATCHDOG_USEC")?.parse().ok()?;
    let ours = variable("WATCHDOG_PID").is_none_or(|it| it.parse() == Ok(std::process::id()));
    let time = Duration::from_micros(micros);
    // Of less than four milliseconds no timer makes a quarter.
    (ours && time >= Duration::from_millis(4)).then_some(time)
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 512];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    #[test]
    fn messages_reach_a_path_and_an_abstract_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let by_path = UnixDatagram::bind(&path).unwrap();
        let name = format!("handfast-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let by_name = UnixDatagram::bind_addr(&address).unwrap();
        for (socket, named) in [
            (by_path, path.into_os_string()),
            (by_name, format!("@{name}").into()),
        ] {
            let notifier = Notifier::to(named).unwrap();
            notifier.ready("one\ntwo");
            assert_eq!(received(&socket), "READY=1\nSTATUS=one two");
            notifier.reloading();
            let message = received(&socket);
            let micros = message
                .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
                .and_then(|rest| rest.strip_suffix("\nSTATUS=reloading"));
            let micros: u64 = micros.unwrap().parse().unwrap();
            let uptime = std::fs::read_to_string("/proc/uptime").unwrap();
            let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
            assert!(
                Duration::from_micros(micros).abs_diff(Duration::from_secs_f64(uptime))
                    < Duration::from_secs(5)
            );
        }
        assert!(matches!(
            Notifier::to("vsock:2:1234".into()),
            Err(NotifyError::Address)
        ));
        // Nobody reads: nothing waits.
        Notifier::to("/nowhere/at/all".into()).unwrap().alive();
    }

    #[tokio::test(start_paused = true)]
    async fn an_accept_loop_that_does_not_answer_ends_the_pings() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        let pings = || std::iter::from_fn(|| socket.recv(&mut [0; 64]).ok()).count();
        let (notifier, heartbeat) = (Notifier::to(path.into()).unwrap(), Heartbeat::default());
        let time = Duration::from_secs(30);
        let pinging = tokio::spawn(ping(notifier, heartbeat.clone(), time));
        tokio::time::sleep(5 * time).await;
        let count = pings();
        assert!((9..=11).contains(&count), "{count} in five times the time");
        // Nobody polls it.
        let _stuck = heartbeat.join();
        tokio::time::sleep(5 * time).await;
        assert!(pings() <= 1);
        pinging.abort();
    }

    #[test]
    fn a_watchdog_of_another_process_is_not_ours() {
        let of = |micros: &'static str, process: Option<String>| {
            watchdog_time(move |name| match name {
                "WATCHDOG_USEC" => Some(micros.to_owned()),
                _ => process.clone(),
            })
        };
        let own = std::process::id().to_string();
        assert_eq!(of("30000000", None), Some(Duration::from_secs(30)));
        assert_eq!(of("30000000", Some(own)), Some(Duration::from_secs(30)));
        assert_eq!(of("30000000", Some("1".into())), None);
        assert_eq!(of("soon", None), None);
        assert_eq!(of("0", None), None);
        assert_eq!(watchdog_time(|_| None), None);
    }
}
