//! Sockets that the service manager opened and passed on (sd_listen_fds(3)): taken over once, kept
//! for the life of the process.
//!
//! The manager keeps them too, so what waits in their queues survives a restart: nobody may call
//! shutdown(2) on one, and closing our own descriptor says nothing to anyone. A listener that a
//! reload removes gets the same ones when it comes back.

use std::env;
use std::fmt;
use std::io;
use std::net::TcpListener;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use socket2::SockRef;

use crate::config::{Diagnostic, ListenAddress, Listener, nearest};

/// The sockets that this process was started with, by name.
#[derive(Debug, Default)]
pub struct InheritedSockets(Vec<Inherited>);

#[derive(Debug)]
struct Inherited {
    name: String,
    socket: Result<InheritedSocket, Unusable>,
}

/// One of them. Stays open when what was made of it is closed.
#[derive(Debug)]
pub(super) enum InheritedSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// Why one cannot be listened on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum Unusable {
    #[error("is no stream socket over TCP or of a unix path (`ListenStream=` makes one)")]
    NotAStream,
    #[error("does not listen (`Accept=no` in the socket unit passes one that does)")]
    NotListening,
}

/// What systemd calls a socket that has no name, where it gives no names at all.
const UNNAMED: &str = "unknown";

impl InheritedSockets {
    /// Takes over what LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES pass to this very process; nothing
    /// when they are meant for another one. The first two are taken out of the environment, without
    /// which the third says nothing. To be called once, before there is a second thread.
    #[must_use]
    pub fn take() -> Self {
        let process = env::var("LISTEN_PID").ok();
        // listenfd would do without it, and take what a parent was meant to have.
        if process.and_then(|it| it.parse().ok()) != Some(std::process::id()) {
            return Self::default();
        }
        let names = env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':').filter(|_| !names.is_empty());
        let mut passed = ListenFd::from_env();
        let sockets = (0..passed.len()).map(|index| Inherited {
            name: names.next().unwrap_or(UNNAMED).to_owned(),
            socket: taken(&mut passed, index),
        });
        Self(sockets.collect())
    }

    /// What is wrong with the listeners that ask for a name: none of their sockets was passed, or
    /// one that cannot be listened on.
    #[must_use]
    pub fn faults(&self, listeners: &[Listener]) -> Vec<Diagnostic> {
        let faults = listeners.iter().filter_map(|listener| {
            let ListenAddress::Systemd(name) = &listener.address else {
                return None;
            };
            let mut found = self.0.iter().filter(|it| *it.name == **name).peekable();
            if found.peek().is_none() {
                let message = format!("the service manager passed no socket named `{name}`");
                let diagnostic = Diagnostic::at(listener.location, message);
                return Some(diagnostic.help(self.passed(name)));
            }
            let unusable = found.find_map(|it| it.socket.as_ref().err())?;
            let message = format!("the socket `{name}` of the service manager {unusable}");
            Some(Diagnostic::at(listener.location, message))
        });
        faults.collect()
    }

    /// Names that no listener asks for: their clients would wait for ever.
    pub fn unused<'a>(&'a self, listeners: &'a [Listener]) -> impl Iterator<Item = &'a str> {
        let wanted = |name: &str| {
            let mut addresses = listeners.iter().map(|listener| &listener.address);
            addresses.any(|it| matches!(it, ListenAddress::Systemd(own) if **own == *name))
        };
        let names = self.0.iter().map(|it| &*it.name);
        names.filter(move |name| !wanted(name))
    }

    /// Those called `name` that can be listened on.
    pub(super) fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a InheritedSocket> {
        let named = self.0.iter().filter(move |it| it.name == name);
        named.filter_map(|it| it.socket.as_ref().ok())
    }

    fn passed(&self, wanted: &str) -> String {
        if self.0.is_empty() {
            return "it passed none: start handfast through its socket unit, or listen on an \
                    address"
                .to_owned();
        }
        let mut names: Vec<&str> = self.0.iter().map(|it| &*it.name).collect();
        names.dedup();
        let passed = names.join("`, `");
        match nearest(wanted, names.iter().copied()) {
            Some(name) => format!("did you mean `{name}`? it passed `{passed}`"),
            None => {
                format!("it passed `{passed}`; FileDescriptorName= in a socket unit names them")
            }
        }
    }
}

impl InheritedSocket {
    /// Its descriptor once more, closed on exec and not blocking.
    ///
    /// # Errors
    /// No descriptor is left.
    pub(super) fn duplicate(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Self::Tcp(listener)
            }
            Self::Unix(listener) => {
                let listener = listener.try_clone()?;
                listener.set_nonblocking(true)?;
                Self::Unix(listener)
            }
        })
    }
}

impl fmt::Display for InheritedSockets {
    /// The names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|it| &*it.name).collect();
        f.write_str(&names.join(", "))
    }
}

/// The socket at `index`, which is closed on exec from here on.
fn taken(passed: &mut ListenFd, index: usize) -> Result<InheritedSocket, Unusable> {
    let socket = match passed.take_tcp_listener(index) {
        Ok(Some(listener)) => InheritedSocket::Tcp(listener),
        _ => match passed.take_unix_listener(index) {
            Ok(Some(listener)) => InheritedSocket::Unix(listener),
            _ => return Err(Unusable::NotAStream),
        },
    };
    let listens = match &socket {
        InheritedSocket::Tcp(listener) => SockRef::from(listener).is_listener(),
        InheritedSocket::Unix(listener) => SockRef::from(listener).is_listener(),
    };
    match listens {
        Ok(true) => Ok(socket),
        Ok(false) | Err(_) => Err(Unusable::NotListening),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config;

    fn inherited(name: &str, socket: Result<InheritedSocket, Unusable>) -> Inherited {
        let name = name.to_owned();
        Inherited { name, socket }
    }

    fn tcp() -> Result<InheritedSocket, Unusable> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Ok(InheritedSocket::Tcp(listener))
    }

    fn listeners(names: &[&str]) -> Vec<Listener> {
        let mut text = String::from("[[routes]]\nupstream = \"http://127.0.0.1:1\"\n");
        for name in names {
            text += &format!("[[listeners]]\naddress = \"systemd:{name}\"\ntls = false\n");
        }
        let loaded = config::parse(&text, Path::new("test.toml"));
        loaded.unwrap().config.listeners
    }

    #[test]
    fn what_is_missing_or_cannot_be_used_is_told_all_at_once() {
        let sockets = InheritedSockets(vec![
            inherited("https", tcp()),
            inherited("https", tcp()),
            inherited("dns", Err(Unusable::NotAStream)),
        ]);
        let listeners = listeners(&["https", "http", "dns", "other"]);
        let faults = sockets.faults(&listeners);
        let told: Vec<String> = faults
            .into_iter()
            .map(|it| format!("{} | {}", it.message, it.help.unwrap_or_default()))
            .collect();
        assert_eq!(
            told,
            [
                "the service manager passed no socket named `http` | did you mean `https`? it \
                 passed `https`, `dns`",
                "the socket `dns` of the service manager is no stream socket over TCP or of a \
                 unix path (`ListenStream=` makes one) | ",
                "the service manager passed no socket named `other` | it passed `https`, `dns`; \
                 FileDescriptorName= in a socket unit names them",
            ]
        );
        assert_eq!(sockets.named("https").count(), 2);
        assert_eq!(
            sockets.unused(&listeners[1..]).collect::<Vec<_>>(),
            ["https", "https"]
        );
        let none = InheritedSockets::default().faults(&listeners[..1]);
        assert!(none[0].help.as_ref().unwrap().starts_with("it passed none"));
    }

    #[test]
    fn variables_of_another_process_are_left_alone() {
        // The test itself was not started by a socket unit.
        assert!(InheritedSockets::take().0.is_empty());
    }
}
