//! `handfast dev`: everything in memory, to see a handshake within a minute.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use socket2::SockRef;
use tokio::net::TcpListener;

use super::cli::{complain, say};
use super::demo;
use super::exit::Exit;
use super::run::{ConfigSource, run_loaded};
use super::watch::Watch;
use super::watched_files::Sight;
use crate::config::{self, Loaded, MemoryCertificate};
use crate::server::InheritedSockets;
use crate::telemetry::Telemetry;

/// Serves `listen` with a certificate made in memory, forwarding to `to` or to a demo upstream.
pub(super) fn dev(to: Option<SocketAddr>, listen: SocketAddr, admin: Option<SocketAddr>) -> Exit {
    let prepared = prepare(to, listen, admin);
    let Prepared {
        loaded,
        upstream,
        listen,
        admin,
    } = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            complain(&format!("handfast dev: {error}"));
            return Exit::Failure;
        }
    };
    let reloaded = loaded.clone();
    let inherited = InheritedSockets::default();
    let source = ConfigSource {
        reload: &move || Ok(reloaded.clone()),
        watch: Watch::new(None),
        seen: Sight::default(),
    };
    run_loaded(loaded, inherited, source, |telemetry| {
        start_demo(upstream, telemetry)?;
        say("handfast dev: a certificate made in memory, valid for this run. Try:");
        say("");
        say(&format!(
            "curl --insecure --http2 https://{}/hello",
            shown(listen)
        ));
        say("");
        say(&format!("the page of its handshake: http://{admin}/"));
        say(&format!(
            "recent handshakes: curl http://{admin}/api/handshakes"
        ));
        Ok(())
    })
}

struct Prepared {
    loaded: Loaded,
    /// The socket of the demo upstream.
    upstream: Option<std::net::TcpListener>,
    listen: SocketAddr,
    admin: SocketAddr,
}

/// The admin address while nobody asks for another and it is free.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9180);

fn prepare(
    to: Option<SocketAddr>,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
) -> Result<Prepared, Box<dyn Error>> {
    let listen = with_port(listen)?;
    let admin = match admin {
        Some(admin) => with_port(admin)?,
        None if std::net::TcpListener::bind(ADMIN).is_ok() => ADMIN,
        None => with_port(SocketAddr::new(ADMIN.ip(), 0))?,
    };
    let (upstream, to) = match to {
        Some(to) => (None, to),
        None => {
            let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            SockRef::from(&listener).listen(i32::try_from(demo::CONNECTIONS)?)?;
            listener.set_nonblocking(true)?;
            let address = listener.local_addr()?;
            (Some(listener), address)
        }
    };
    let names = [
        "localhost".to_owned(),
        "127.0.0.1".to_owned(),
        "::1".to_owned(),
    ];
    let made = rcgen::generate_simple_self_signed(names)?;
    let certificate = MemoryCertificate {
        name: "dev".into(),
        chain: made.cert.pem().into(),
        key: made.signing_key.serialize_pem().into(),
    };
    let text = format!(
        "[[listeners]]\nname = \"dev\"\naddress = \"{listen}\"\ntls = \"dev\"\n\
         certificates = [\"dev\"]\n\n\
         [tls.dev]\nunknown_sni = \"default-certificate\"\n\n\
         [[routes]]\nupstream = \"http://{to}\"\n\n\
         [log]\nhandshake = {{ events = \"all\", sample = 1.0 }}\n\n\
         [admin]\naddress = \"{admin}\"\n"
    );
    let mut loaded = config::parse_with(&text, Path::new("(handfast dev)"), &[certificate])?;
    loaded.config.forwarding.connection_id = upstream.is_some();
    Ok(Prepared {
        loaded,
        upstream,
        listen,
        admin,
    })
}

/// Port 0 is settled here: the printed line has to name the port. The socket is bound again a
/// moment later; on loopback nobody else takes a port that was just given out.
fn with_port(listen: SocketAddr) -> Result<SocketAddr, std::io::Error> {
    if listen.port() != 0 {
        return Ok(listen);
    }
    std::net::TcpListener::bind(listen)?.local_addr()
}

fn start_demo(
    upstream: Option<std::net::TcpListener>,
    telemetry: &Telemetry,
) -> Result<(), Box<dyn Error>> {
    if let Some(listener) = upstream {
        let listener = TcpListener::from_std(listener)?;
        tokio::spawn(demo::serve(listener, telemetry.ring.clone()));
    }
    Ok(())
}

/// The address for a client on this machine: by name where the certificate has it.
fn shown(listen: SocketAddr) -> String {
    match listen.ip() {
        IpAddr::V4(ip) if ip.is_loopback() => format!("localhost:{}", listen.port()),
        IpAddr::V4(ip) if ip.is_unspecified() => format!("localhost:{}", listen.port()),
        IpAddr::V6(ip) if ip.is_unspecified() => format!("localhost:{}", listen.port()),
        _ => listen.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_a_pool_opens_at_once_waits_at_the_demo() {
        // More than the standard library lets wait, and fewer than files may be open anywhere.
        const AT_ONCE: usize = 400;
        // The kernel asks again after a second.
        const SOON: Duration = Duration::from_millis(900);
        let any = SocketAddr::new(ADMIN.ip(), 0);
        let prepared = prepare(None, any, Some(any)).unwrap();
        // Nobody accepts.
        let upstream = prepared.upstream.unwrap();
        let address = upstream.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, SOON);
        let waiting: Result<Vec<_>, _> = (0..AT_ONCE).map(connect).collect();
        assert_eq!(waiting.unwrap().len(), AT_ONCE);
    }
}
