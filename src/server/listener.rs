//! Binding and taking over: socket options and the errors that an operator can mend.

use std::io;
use std::net::SocketAddr;

use rustix::net::{SocketFlags, acceptfrom_with};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::{TcpListener, UnixListener};

use super::inherited::{InheritedSocket, InheritedSockets};
use super::socket::AcceptedSocket;
use crate::config::ListenAddress;
use crate::report::Peer;
use crate::tls::{defer_accept, stamp_arrivals};
use crate::unix_socket::{SocketAccess, SocketError, SocketFile, bind_unix};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Over TCP.
    #[error("cannot listen on {address}{}", hint(source))]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// On a unix socket.
    #[error(transparent)]
    Unix(#[from] SocketError),
    /// On a socket of the service manager.
    #[error("cannot listen on {address}")]
    Inherited {
        /// The address, `systemd:NAME`.
        address: ListenAddress,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
}

/// What a listener listens with. Dropping it closes it; the file of a unix socket goes with it.
#[derive(Debug)]
pub enum ListenerSocket {
    /// Over TCP. Not tokio's own listener, which has every connection watched at once: some are
    /// refused before.
    Tcp(AsyncFd<std::net::TcpListener>),
    /// On a unix socket; without a file of ours where the service manager opened it.
    Unix(UnixListener, Option<SocketFile>),
}

impl ListenerSocket {
    /// Listens on `address`: with one socket, or with each of `inherited` that has the name.
    /// Everybody who reaches the directory of a unix socket of ours may connect, as everybody may
    /// over TCP.
    ///
    /// # Errors
    /// The system's, with what to do about the usual ones.
    pub fn open(
        address: &ListenAddress,
        backlog: u32,
        inherited: &InheritedSockets,
    ) -> Result<Vec<Self>, BindError> {
        match address {
            ListenAddress::Tcp(address) => {
                let listener = bind(*address, backlog)?.into_std().and_then(watch);
                let listener = listener.map_err(|source| BindError::Tcp {
                    address: *address,
                    source,
                })?;
                delay_acknowledgements(listener.get_ref());
                Ok(vec![Self::Tcp(listener)])
            }
            ListenAddress::Unix(path) => {
                let (listener, file) = bind_unix(path, SocketAccess::Everybody, backlog)?;
                Ok(vec![Self::Unix(listener, Some(file))])
            }
            ListenAddress::Systemd(name) => {
                let opened = inherited
                    .named(name)
                    .map(|socket| Self::inherit(socket, backlog));
                let opened: io::Result<Vec<_>> = opened.collect();
                opened.map_err(|source| BindError::Inherited {
                    address: address.clone(),
                    source,
                })
            }
        }
    }

    fn inherit(socket: &InheritedSocket, backlog: u32) -> io::Result<Self> {
        let socket = match socket.duplicate()? {
            InheritedSocket::Tcp(listener) => {
                tune(&SockRef::from(&listener))?;
                Self::Tcp(watch(listener)?)
            }
            InheritedSocket::Unix(listener) => Self::Unix(UnixListener::from_std(listener)?, None),
        };
        socket.backlog(backlog);
        if let Self::Tcp(listener) = &socket {
            delay_acknowledgements(listener.get_ref());
        }
        Ok(socket)
    }

    /// Where it listens: the port that it got instead of port 0.
    #[must_use]
    pub fn address(&self, asked: &ListenAddress) -> ListenAddress {
        match self {
            Self::Tcp(listener) => listener
                .get_ref()
                .local_addr()
                .map_or_else(|_| asked.clone(), ListenAddress::Tcp),
            Self::Unix(listener, None) => {
                let address = listener.local_addr().ok();
                let path = address.as_ref().and_then(|it| it.as_pathname());
                path.map_or_else(|| asked.clone(), |it| ListenAddress::Unix(it.to_owned()))
            }
            Self::Unix(_, Some(_)) => asked.clone(),
        }
    }

    /// Changes the backlog; Linux allows it at any time (listen(2)).
    pub fn backlog(&self, backlog: u32) {
        let socket = match self {
            Self::Tcp(listener) => SockRef::from(listener.get_ref()),
            Self::Unix(listener, _) => SockRef::from(listener),
        };
        if let Err(error) = socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX)) {
            tracing::warn!(%error, "backlog not changed");
        }
    }

    /// Whether connections wait in the kernel until their first bytes are there, a second at most.
    /// Unix sockets do not.
    pub(super) fn defer(&self, defer: bool) {
        if let Self::Tcp(listener) = self
            && let Err(error) = defer_accept(listener.get_ref(), defer)
        {
            // Then refusals cost more.
            tracing::debug!(%error, "TCP_DEFER_ACCEPT failed");
        }
    }

    /// The next connection, and who is at its other end. Cancel safe.
    ///
    /// # Errors
    /// The system's.
    pub(super) async fn accept(&self) -> io::Result<(AcceptedSocket, Peer)> {
        match self {
            Self::Tcp(listener) => {
                let accept = |listener: &std::net::TcpListener| {
                    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
                    Ok(acceptfrom_with(listener, flags)?)
                };
                let (stream, peer) = listener.async_io(Interest::READABLE, accept).await?;
                let peer = peer.ok_or(io::ErrorKind::InvalidData)?;
                let peer = SocketAddr::try_from(peer)?;
                Ok((AcceptedSocket::Tcp(stream.into()), Peer::Tcp(peer)))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok((AcceptedSocket::Unix(stream), Peer::Unix))
            }
        }
    }
}

/// Has the connections that come told; the socket does not block.
#[allow(
    deprecated,
    reason = "what came in its place is unsafe, and std's listener is what it says it is"
)]
fn watch(listener: std::net::TcpListener) -> io::Result<AsyncFd<std::net::TcpListener>> {
    AsyncFd::with_interest(listener, Interest::READABLE)
}

/// What the kernel takes for a connection ahead of sending it. Without a bound it takes megabytes,
/// and tells no progress before a third of them is sent: a client that is slow looks like one
/// that takes nothing, and its answer to a PING comes too late.
#[cfg(any(target_os = "android", target_os = "linux"))]
pub(super) const UNSENT: u32 = 256 * 1024;

/// Listens on `address`. An IPv6 wildcard serves IPv4 too (as nginx's `ipv6only=off` and every
/// other proxy's default); SO_REUSEADDR is set, so that a restart need not wait for TIME_WAIT.
/// # Errors
/// The system's, with what to do about the usual ones.
pub fn bind(address: SocketAddr, backlog: u32) -> Result<TcpListener, BindError> {
    let bound = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM.cloexec().nonblocking(),
            Some(Protocol::TCP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(!address.ip().is_unspecified())?;
        }
        socket.set_reuse_address(true)?;
        tune(&SockRef::from(&socket))?;
        socket.bind(&address.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|source| BindError::Tcp { address, source })
}

/// Sets what accepted sockets inherit. TCP_NODELAY: flights and the ends of responses are small
/// writes that must not wait for an ACK. So are TCP_NOTSENT_LOWAT, where the system has it, and that
/// the kernel stamps what comes, where it can.
fn tune(socket: &SockRef<'_>) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    if let Err(error) = stamp_arrivals(&**socket) {
        // Then time in our socket buffers is told as the client's.
        tracing::warn!(%error, "no receive time stamps");
    }
    #[cfg(any(target_os = "android", target_os = "linux"))]
    socket.set_tcp_notsent_lowat(UNSENT)?;
    Ok(())
}

/// Has accepted sockets acknowledge what comes with what they answer, as all do after their first
/// answer: else the kernel acknowledges a ClientHello with a segment of its own, just before the
/// server's flight. Where no answer follows soon, [`Transport::acknowledge`] undoes it, and the kernel
/// does after 40 ms. Listening would undo it, so it comes after that (tcp(7), TCP_QUICKACK).
///
/// [`Transport::acknowledge`]: crate::tls::Transport::acknowledge
fn delay_acknowledgements(listener: &std::net::TcpListener) {
    #[cfg(any(target_os = "android", target_os = "linux"))]
    if let Err(error) = SockRef::from(listener).set_tcp_quickack(false) {
        // It costs a segment for each connection, no more.
        tracing::debug!(%error, "TCP_QUICKACK failed");
    }
}

fn hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another socket listens there (`ss -ltnp` shows whose)",
        io::ErrorKind::PermissionDenied => {
            ": ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities= in the unit)"
        }
        io::ErrorKind::AddrNotAvailable => ": this machine has no such address",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_address_says_so() {
        let first = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
        let error = bind(first.local_addr().unwrap(), 16).unwrap_err();
        assert!(
            error.to_string().contains("another socket listens there"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn accepted_sockets_do_not_delay() {
        let listener = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (client, accepted) = tokio::join!(client, listener.accept());
        assert!(accepted.unwrap().0.nodelay().unwrap());
        assert!(!client.unwrap().nodelay().unwrap());
    }

    #[cfg(any(target_os = "android", target_os = "linux"))]
    #[tokio::test]
    async fn accepted_sockets_take_little_ahead() {
        let listener = bind(([127, 0, 0, 1], 0).into(), 16).unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap());
        let (_client, accepted) = tokio::join!(client, listener.accept());
        let (accepted, _) = accepted.unwrap();
        assert_eq!(
            SockRef::from(&accepted).tcp_notsent_lowat().unwrap(),
            UNSENT
        );
        let buffer = vec![0; 1 << 20];
        let mut taken = 0;
        while let Ok(more) = accepted.try_write(&buffer) {
            taken += more;
        }
        // What the client's side holds of it, and a write that began below the mark.
        assert!(taken < 1 << 20, "{taken}");
    }
}
