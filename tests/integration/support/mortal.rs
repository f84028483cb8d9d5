//! An upstream that dies and comes back: a way to another one, which can be cut off.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

/// What becomes of its connections, open and new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Life {
    /// They lead to the other upstream.
    Alive,
    /// They end with RST.
    Resets,
    /// They end with FIN.
    Closes,
    /// Open ones end with RST, nothing listens.
    Gone,
    /// Nothing moves any more.
    Hangs,
}

/// Starts alive; ends with its runtime.
#[derive(Debug)]
pub(crate) struct Mortal {
    address: SocketAddr,
    origin: SocketAddr,
    /// Keeps the port while nothing listens.
    _port: Socket,
    life: watch::Sender<Life>,
    accepting: Mutex<JoinSet<()>>,
}

impl Mortal {
    /// A way to `origin`.
    pub(crate) async fn start(origin: SocketAddr) -> Self {
        let port = bind("127.0.0.1:0".parse().unwrap());
        let mortal = Self {
            address: port.local_addr().unwrap().as_socket().unwrap(),
            origin,
            _port: port,
            life: watch::Sender::new(Life::Gone),
            accepting: Mutex::default(),
        };
        mortal.live(Life::Alive).await;
        mortal
    }

    /// Where it listens.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets it die, or come back.
    pub(crate) async fn live(&self, life: Life) {
        let mut accepting = self.accepting.lock().await;
        self.life.send_replace(life);
        if life == Life::Gone {
            while accepting.join_next().await.is_some() {}
        } else if accepting.is_empty() {
            let socket = bind(self.address);
            socket.listen(1024).unwrap();
            let listener = TcpListener::from_std(socket.into()).unwrap();
            accepting.spawn(accept(listener, self.origin, self.life.subscribe()));
        }
    }
}

fn bind(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    // Beside the socket that keeps the port.
    socket.set_reuse_address(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}

async fn accept(listener: TcpListener, origin: SocketAddr, life: watch::Receiver<Life>) {
    let mut gone = life.clone();
    loop {
        let (stream, _) = tokio::select! {
            _ = gone.wait_for(|life| *life == Life::Gone) => return,
            accepted = listener.accept() => accepted.unwrap(),
        };
        let life = life.clone();
        // Its peers breaking off is part of the script.
        tokio::spawn(async move { serve(stream, origin, life).await.is_ok() });
    }
}

async fn serve(
    mut stream: TcpStream,
    origin: SocketAddr,
    mut life: watch::Receiver<Life>,
) -> io::Result<()> {
    let mut now = *life.borrow_and_update();
    if now == Life::Alive {
        let mut other = TcpStream::connect(origin).await?;
        stream.set_nodelay(true)?;
        other.set_nodelay(true)?;
        tokio::select! {
            _ = life.changed() => {}
            copied = copy_bidirectional(&mut stream, &mut other) => return copied.map(drop),
        }
        now = *life.borrow_and_update();
    }
    match now {
        Life::Alive => {}
        Life::Resets | Life::Gone => SockRef::from(&stream).set_linger(Some(Duration::ZERO))?,
        Life::Closes => {
            stream.shutdown().await?;
            // Unread bytes would make it an RST.
            while stream.read(&mut [0; 4096]).await? > 0 {}
        }
        Life::Hangs => {
            let _ = life.changed().await;
        }
    }
    Ok(())
}
