//! Clients that fail: those of others, and bytes by hand.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{Client, Daemon, Tool};

pub(super) type Run = Box<dyn Fn(&Daemon, SocketAddr)>;

/// `openssl s_client` with these arguments, as `example.test` unless they say otherwise.
pub(super) fn openssl(args: &'static str) -> Run {
    Box::new(move |daemon, address| {
        let mut tool = Tool::new("openssl")
            .words("s_client -ign_eof")
            .args(["-CAfile", &daemon.ca()])
            .args(["-connect", &address.to_string()])
            .words(args)
            .stdin("GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n");
        if !args.contains("servername") {
            tool = tool.words("-servername example.test");
        }
        if args.contains("-cert") {
            tool = tool.current_dir(daemon.dir());
        }
        tool.run();
    })
}

/// curl with these arguments, to `localhost`, and the CA where `trusting`.
pub(super) fn curl(args: &'static str, trusting: bool) -> Run {
    Box::new(move |daemon, address| {
        let mut tool = Tool::new("curl").words("-sS -o /dev/null").words(args);
        if trusting {
            tool = tool.args(["--cacert", &daemon.ca()]);
        }
        tool.args([format!("https://localhost:{}/head", address.port())])
            .run();
    })
}

/// `gnutls-cli` with this priority string.
pub(super) fn gnutls(priority: &'static str) -> Run {
    Box::new(move |daemon, address| {
        Tool::new("gnutls-cli")
            .args(["--x509cafile", &daemon.ca()])
            .words("--sni-hostname example.test --verify-hostname example.test")
            .args(["--priority", priority])
            .args(["--port", &address.port().to_string(), "127.0.0.1"])
            .stdin("GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n")
            .run();
    })
}

/// A rustls client.
pub(super) fn rustls(client: Client) -> Run {
    Box::new(move |_, address| {
        // The outcome is what the report is about.
        let _ = client.get_raw(address, "/head");
    })
}

/// These bytes, then whatever comes until the end.
pub(super) fn raw(bytes: impl Into<Vec<u8>>) -> Run {
    let bytes = bytes.into();
    Box::new(move |_, address| {
        let mut socket = connect(address);
        socket.write_all(&bytes).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    })
}

/// These bytes, the server's flight, and then something.
pub(super) fn after_flight(bytes: Vec<u8>, then: impl Fn(TcpStream) + 'static) -> Run {
    Box::new(move |_, address| {
        let mut socket = connect(address);
        socket.write_all(&bytes).unwrap();
        // The flight has begun to come, so the server waits for the client's.
        socket.read_exact(&mut [0]).unwrap();
        then(socket);
    })
}

pub(super) fn sending(bytes: &'static [u8]) -> impl Fn(TcpStream) {
    move |mut socket| {
        socket.write_all(bytes).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

pub(super) fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(10));
    socket.set_read_timeout(limit).unwrap();
    socket
}
