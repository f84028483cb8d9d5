//! Sockets of the service manager: served by name, kept over reloads and restarts.

use std::net::{TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use crate::support::{Activation, Daemon, Origin, Settings, Tool};

const SOON: Duration = Duration::from_secs(10);

fn settings(origin: &Origin) -> Settings {
    Settings::new(origin.address()).https("systemd:https")
}

#[test]
fn every_socket_of_a_name_is_served() {
    let origin = Origin::named("first");
    let (activation, addresses) = Activation::over_tcp(["https", "https"]);
    let mut daemon = Daemon::activate(&settings(&origin), &activation, ":");
    for address in addresses {
        daemon.knows("https", address);
        assert_eq!(daemon.curl("", "/").run().success().stdout, "first\n");
    }
    let status = daemon.command("status").run().success().stdout;
    let [first, second] = addresses;
    assert!(
        status.contains(&format!("https on {first}, {second}: ")),
        "{status}"
    );
    // The address of the connection itself is what upstreams and reports are told.
    let (_, handshake) = daemon.new_handshake(|| daemon.curl("", "/").run().success());
    assert_eq!(handshake.text("listener"), Some("https"));
}

#[test]
fn a_listener_keeps_its_sockets_while_it_is_away() {
    let origin = Origin::named("first");
    let (activation, [address]) = Activation::over_tcp(["https"]);
    let settings = settings(&origin);
    let mut daemon = Daemon::activate(&settings, &activation, ":");
    daemon.knows("https", address);
    let without = settings.clone().https("127.0.0.1:0").render(daemon.dir());
    daemon.rewrite(&without);
    daemon.command("reload").run().success();
    // It is connected all the same, and waits.
    let waiting = daemon.curl("", "/").start();
    daemon.rewrite(&settings.render(daemon.dir()));
    daemon.command("reload").run().success();
    assert_eq!(waiting.finish().success().stdout, "first\n");
    assert_eq!(daemon.curl("", "/").run().success().stdout, "first\n");
    daemon.assert_running();
}

#[test]
fn who_connects_between_two_daemons_is_served_by_the_second() {
    let origin = Origin::named("first");
    let (activation, [address]) = Activation::over_tcp(["https"]);
    let mut first = Daemon::activate(&settings(&origin), &activation, ":");
    first.knows("https", address);
    assert_eq!(first.curl("", "/").run().success().stdout, "first\n");
    first.signal("TERM");
    assert_eq!(first.wait_exit(SOON).code(), Some(0));
    let waiting = first.curl("--max-time 20", "/").start();
    let mut second = first.activate_again(&activation, ":");
    second.knows("https", address);
    assert_eq!(waiting.finish().success().stdout, "first\n");
    second.assert_running();
}

#[test]
fn a_unix_socket_is_inherited_and_its_file_left() {
    let origin = Origin::named("first");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in.sock");
    let socket = OwnedFd::from(UnixListener::bind(&path).unwrap());
    let activation = Activation::new([("plain", socket)]);
    let listener = "[[listeners]]\nname = \"plain\"\naddress = \"systemd:plain\"\ntls = false\n";
    let settings = Settings::new(origin.address()).more(listener);
    let mut daemon = Daemon::activate(&settings, &activation, ":");
    let answer = Tool::new("curl")
        .args(["-sS", "--unix-socket", path.to_str().unwrap()])
        .args(["http://example.test/"])
        .run()
        .success();
    assert_eq!(answer.stdout, "first\n");
    daemon.signal("TERM");
    assert_eq!(daemon.wait_exit(SOON).code(), Some(0));
    assert!(path.exists(), "it is the service manager's");
}

#[test]
fn what_is_not_passed_or_cannot_listen_is_a_located_error() {
    let origin = Origin::start();
    let (other, _) = Activation::over_tcp(["http", "http-alt"]);
    let (code, told) = Daemon::activate_in_vain(&settings(&origin), &other, ":");
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("handfast.toml:4:11"), "{told}");
    assert!(told.contains("passed no socket named `https`"), "{told}");
    assert!(told.contains("`http`, `http-alt`"), "{told}");

    // Meant for another process.
    let (activation, _) = Activation::over_tcp(["https"]);
    let (code, told) =
        Daemon::activate_in_vain(&settings(&origin), &activation, "export LISTEN_PID=1");
    assert_eq!(code, Some(78), "{told}");
    assert!(told.contains("it passed none"), "{told}");

    let datagrams = OwnedFd::from(UdpSocket::bind("127.0.0.1:0").unwrap());
    let (code, told) = Daemon::activate_in_vain(
        &settings(&origin),
        &Activation::new([("https", datagrams)]),
        ":",
    );
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("`https` of the service manager is no stream socket"),
        "{told}"
    );

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let connected = Activation::new([("https", OwnedFd::from(client))]);
    let (code, told) = Daemon::activate_in_vain(&settings(&origin), &connected, ":");
    assert_eq!(code, Some(78), "{told}");
    assert!(
        told.contains("`https` of the service manager does not listen"),
        "{told}"
    );
}

#[test]
fn a_reload_that_asks_for_another_name_is_refused() {
    let origin = Origin::named("first");
    let (activation, [address]) = Activation::over_tcp(["https"]);
    let settings = settings(&origin);
    let mut daemon = Daemon::activate(&settings, &activation, ":");
    daemon.knows("https", address);
    daemon.rewrite(&settings.https("systemd:htps").render(daemon.dir()));
    let refused = daemon.command("reload").run();
    assert_eq!(refused.code, 78);
    let told = format!("{}{}", refused.stdout, refused.stderr);
    assert!(told.contains("did you mean `https`?"), "{told}");
    assert_eq!(daemon.curl("", "/").run().success().stdout, "first\n");
    daemon.assert_running();
}
