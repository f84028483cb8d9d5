//! Clients that really fail: what the report says of each, and that a change of the policy that it
//! proposes lets the same client in.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use crate::support::{
    Client, Daemon, EarlyClient, Handshake, Origin, RawHello, Settings, Tool, message, record,
};

/// A policy for each listener of the same name; all have the certificate `main` but the last ones.
const POLICIES: [(&str, &str, &str); 14] = [
    ("only12", "versions = [\"1.2\"]", "main"),
    ("only13", "versions = [\"1.3\"]", "main"),
    ("h1", "alpn = [\"http/1.1\"]", "main"),
    ("h2", "alpn = [\"h2\"]", "main"),
    ("p384", "groups = [\"P-384\"]", "main"),
    (
        "chacha",
        "cipher_suites = [\"TLS_CHACHA20_POLY1305_SHA256\", \
         \"TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256\"]",
        "main",
    ),
    (
        "rsa-suites",
        "cipher_suites = [\"TLS_AES_128_GCM_SHA256\", \"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]",
        "main",
    ),
    ("named", "missing_sni = \"reject\"", "main"),
    ("no-early", "false_start = \"refuse\"", "main"),
    ("quick", "handshake_timeout = \"300ms\"", "main"),
    (
        "mutual",
        "client_auth.mode = \"required\"\nclient_auth.ca = \"clients-ca.pem\"",
        "main",
    ),
    (
        "narrow",
        "versions = [\"1.3\"]\ncipher_suites = [\"TLS_AES_128_GCM_SHA256\"]\n\
         groups = [\"P-384\"]\nalpn = [\"h2\"]",
        "main",
    ),
    ("edwards", "", "ed25519"),
    ("old", "", "expired"),
];

fn settings() -> Settings {
    let mut tables = String::new();
    for (name, file) in [("ed25519", "ed25519"), ("expired", "main-expired")] {
        let _ = writeln!(
            tables,
            "[certificates.{name}]\nchain = \"{file}.pem\"\nkey = \"{file}.key\""
        );
    }
    for (name, policy, certificate) in POLICIES {
        let _ = writeln!(
            tables,
            "[tls.{name}]\n{policy}\n[[listeners]]\nname = \"{name}\"\n\
             address = \"127.0.0.1:0\"\ntls = \"{name}\"\ncertificates = [\"{certificate}\"]"
        );
    }
    Settings::new(Origin::start().address()).more(&tables)
}

fn daemon(settings: &Settings) -> Daemon {
    let mut daemon = Daemon::run(settings);
    for (name, _, _) in POLICIES {
        daemon.wait_listening(name);
    }
    daemon
}

type Run = Box<dyn Fn(&Daemon, SocketAddr)>;

/// `openssl s_client` with these arguments, as `example.test` unless they say otherwise.
fn openssl(args: &'static str) -> Run {
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
fn curl(args: &'static str, trusting: bool) -> Run {
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
fn gnutls(priority: &'static str) -> Run {
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
fn rustls(client: Client) -> Run {
    Box::new(move |_, address| {
        // The outcome is what the report is about.
        let _ = client.get_raw(address, "/head");
    })
}

/// These bytes, then whatever comes until the end.
fn raw(bytes: impl Into<Vec<u8>>) -> Run {
    let bytes = bytes.into();
    Box::new(move |_, address| {
        let mut socket = connect(address);
        socket.write_all(&bytes).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    })
}

/// These bytes, the server's flight, and then something.
fn after_flight(bytes: Vec<u8>, then: impl Fn(TcpStream) + 'static) -> Run {
    Box::new(move |_, address| {
        let mut socket = connect(address);
        socket.write_all(&bytes).unwrap();
        // The flight has begun to come, so the server waits for the client's.
        socket.read_exact(&mut [0]).unwrap();
        then(socket);
    })
}

fn sending(bytes: &'static [u8]) -> impl Fn(TcpStream) {
    move |mut socket| {
        socket.write_all(bytes).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    let limit = Some(Duration::from_secs(10));
    socket.set_read_timeout(limit).unwrap();
    socket
}

/// What becomes of the search for a remedy.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Remedy {
    Proven,
    None,
    NotSought,
}
use Remedy::{NotSought, Proven};

/// A client, where it goes, and what is to be said of it.
struct Case {
    name: &'static str,
    listener: &'static str,
    run: Run,
    class: &'static str,
    phase: &'static str,
    side: &'static str,
    alert: Option<u8>,
    remedy: Remedy,
}

fn server(
    name: &'static str,
    listener: &'static str,
    run: Run,
    (class, phase, alert): (&'static str, &'static str, u8),
    remedy: Remedy,
) -> Case {
    Case {
        name,
        listener,
        run,
        class,
        phase,
        side: "server",
        alert: Some(alert),
        remedy,
    }
}

fn other(
    name: &'static str,
    listener: &'static str,
    run: Run,
    (class, phase, side, alert): (&'static str, &'static str, &'static str, Option<u8>),
) -> Case {
    Case {
        name,
        listener,
        run,
        class,
        phase,
        side,
        alert,
        remedy: NotSought,
    }
}

const VERSION: (&str, &str, u8) = ("no_shared_version", "select", 70);
const CIPHER: (&str, &str, u8) = ("no_shared_cipher", "server_flight", 40);
const KEY_TYPE: (&str, &str, u8) = ("cert_type_mismatch", "server_flight", 40);
const GROUP: (&str, &str, u8) = ("no_shared_group", "server_flight", 40);
const SIGALG: (&str, &str, u8) = ("no_shared_sigalg", "server_flight", 40);
const ALPN: (&str, &str, u8) = ("no_shared_alpn", "server_flight", 120);
const UNKNOWN: (&str, &str, u8) = ("unknown_sni", "select", 112);

fn offers() -> Vec<Case> {
    let none = Remedy::None;
    let hello = RawHello::new;
    vec![
        server(
            "openssl, TLS 1.1",
            "https",
            openssl("-tls1_1 -cipher ALL:@SECLEVEL=0"),
            VERSION,
            none,
        ),
        server(
            "openssl, TLS 1.0",
            "https",
            openssl("-tls1 -cipher ALL:@SECLEVEL=0"),
            VERSION,
            none,
        ),
        server(
            "gnutls, TLS 1.1",
            "https",
            gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.1"),
            VERSION,
            none,
        ),
        server(
            "raw, SSL 3.0",
            "https",
            raw(hello().version([3, 0]).bytes()),
            VERSION,
            none,
        ),
        server(
            "openssl, TLS 1.2 alone",
            "only13",
            openssl("-tls1_2"),
            VERSION,
            Proven,
        ),
        server(
            "openssl, TLS 1.3 alone",
            "only12",
            openssl("-tls1_3"),
            VERSION,
            Proven,
        ),
        server(
            "curl, TLS 1.2 alone",
            "only13",
            curl("--tlsv1.2 --tls-max 1.2", true),
            VERSION,
            Proven,
        ),
        server(
            "gnutls, TLS 1.3 alone",
            "only12",
            gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.3"),
            VERSION,
            Proven,
        ),
        server(
            "rustls, TLS 1.2 alone",
            "only13",
            rustls(Client::of_version("1.2")),
            VERSION,
            Proven,
        ),
        server(
            "openssl, a needless fallback",
            "https",
            openssl("-tls1_2 -fallback_scsv"),
            ("no_shared_version", "select", 86),
            none,
        ),
        server(
            "openssl, four things at once",
            "narrow",
            openssl("-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384 -groups P-256 -alpn http/1.1"),
            VERSION,
            Proven,
        ),
        server(
            "openssl, CBC alone",
            "https",
            openssl("-tls1_2 -cipher ECDHE-ECDSA-AES128-SHA"),
            CIPHER,
            none,
        ),
        server(
            "openssl, static RSA alone",
            "rsa",
            openssl("-tls1_2 -cipher AES128-GCM-SHA256"),
            CIPHER,
            none,
        ),
        server(
            "openssl, DHE alone",
            "rsa",
            openssl("-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256"),
            CIPHER,
            none,
        ),
        server(
            "openssl, CCM alone",
            "https",
            openssl("-tls1_3 -ciphersuites TLS_AES_128_CCM_SHA256"),
            CIPHER,
            none,
        ),
        server(
            "gnutls, CBC alone",
            "https",
            gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-CBC"),
            CIPHER,
            none,
        ),
        server(
            "openssl, AES alone, TLS 1.2",
            "chacha",
            openssl("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"),
            CIPHER,
            Proven,
        ),
        server(
            "openssl, AES alone, TLS 1.3",
            "chacha",
            openssl("-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256"),
            CIPHER,
            Proven,
        ),
        server(
            "rustls, AES-256 alone",
            "chacha",
            rustls(Client::only("1.3", 0x1302, 29)),
            CIPHER,
            Proven,
        ),
        server(
            "raw, unknown suites alone",
            "https",
            raw(hello().suites(&[0x7777, 0x0a0a]).bytes()),
            CIPHER,
            none,
        ),
        server(
            "openssl, RSA alone",
            "https",
            openssl("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256"),
            KEY_TYPE,
            none,
        ),
        server(
            "openssl, ECDSA alone",
            "rsa",
            openssl("-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256"),
            KEY_TYPE,
            none,
        ),
        server(
            "openssl, both, of which the policy has the wrong one",
            "rsa-suites",
            openssl("-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256"),
            KEY_TYPE,
            Proven,
        ),
        server(
            "openssl, X25519 alone",
            "p384",
            openssl("-tls1_3 -groups X25519"),
            GROUP,
            Proven,
        ),
        server(
            "openssl, P-256 alone, TLS 1.2",
            "p384",
            openssl("-tls1_2 -groups P-256"),
            GROUP,
            Proven,
        ),
        server(
            "openssl, P-521 alone",
            "https",
            openssl("-tls1_3 -groups P-521"),
            GROUP,
            none,
        ),
        server(
            "gnutls, a finite field alone",
            "https",
            gnutls("NORMAL:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:+GROUP-FFDHE2048"),
            GROUP,
            none,
        ),
        server(
            "rustls, a hybrid alone",
            "p384",
            rustls(Client::only("1.3", 0x1301, 0x11ec)),
            GROUP,
            Proven,
        ),
        server(
            "raw, no groups",
            "https",
            raw(hello().extension(10, vec![0, 0]).bytes()),
            ("malformed", "server_flight", 50),
            NotSought,
        ),
        server(
            "openssl, RSA signatures alone",
            "https",
            openssl("-tls1_3 -sigalgs rsa_pss_rsae_sha256"),
            SIGALG,
            none,
        ),
        server(
            "openssl, ECDSA signatures alone",
            "rsa",
            openssl("-tls1_3 -sigalgs ECDSA+SHA256"),
            SIGALG,
            none,
        ),
        server(
            "openssl, no Ed25519",
            "edwards",
            openssl("-tls1_3 -sigalgs ECDSA+SHA256"),
            SIGALG,
            none,
        ),
        server(
            "openssl, a foreign protocol",
            "https",
            openssl("-alpn foo"),
            ALPN,
            none,
        ),
        server(
            "openssl, h2 alone",
            "h1",
            openssl("-tls1_2 -alpn h2"),
            ALPN,
            Proven,
        ),
        server(
            "rustls, h2 alone",
            "h1",
            rustls(Client::new().alpn(&["h2"])),
            ALPN,
            Proven,
        ),
        server(
            "openssl, http/1.1 alone",
            "h2",
            openssl("-alpn http/1.1"),
            ALPN,
            Proven,
        ),
        server(
            "openssl, another name",
            "https",
            openssl("-servername unknown.example"),
            UNKNOWN,
            Proven,
        ),
        server(
            "raw, a name that is none",
            "https",
            raw(hello().name("a b").bytes()),
            UNKNOWN,
            none,
        ),
        server(
            "openssl, no name",
            "named",
            openssl("-noservername"),
            ("missing_sni", "select", 112),
            Proven,
        ),
        server(
            "rustls, no name",
            "named",
            rustls(Client::new().without_sni()),
            ("missing_sni", "select", 112),
            Proven,
        ),
        server(
            "an early request",
            "no-early",
            Box::new(|_, address| {
                let mut client = EarlyClient::connect(address, &["http/1.1"]).unwrap();
                client
                    .start_early(b"GET /head HTTP/1.1\r\nHost: example.test\r\n\r\n")
                    .unwrap();
                let _ = client.finish();
            }),
            ("false_start_refused", "client_finished", 10),
            Proven,
        ),
        server(
            "openssl, no certificate, TLS 1.2",
            "mutual",
            openssl("-tls1_2"),
            ("client_cert_missing", "client_auth", 116),
            Proven,
        ),
        server(
            "openssl, no certificate, TLS 1.3",
            "mutual",
            openssl("-tls1_3"),
            ("client_cert_missing", "client_auth", 116),
            Proven,
        ),
        server(
            "openssl, a certificate of another CA",
            "mutual",
            openssl("-tls1_3 -cert stranger.pem -key stranger.key"),
            ("client_cert_unknown_ca", "client_auth", 48),
            NotSought,
        ),
    ]
}

fn endings() -> Vec<Case> {
    let hello = || RawHello::new().bytes();
    let wait = "client_flight_wait";
    let read = "client_hello_read";
    let reset = |socket: TcpStream| {
        socket2::SockRef::from(&socket)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let twice = {
        let mut hello = RawHello::new();
        hello.extensions.push((11, vec![1, 0]));
        hello.bytes()
    };
    let half = hello()[..40].to_vec();
    vec![
        other(
            "curl, TLS 1.2, no trust",
            "https",
            curl("--tls-max 1.2", false),
            ("client_rejected_cert", wait, "client", Some(48)),
        ),
        other(
            "curl, TLS 1.3, no trust",
            "https",
            curl("--tlsv1.3", false),
            ("client_rejected_cert", wait, "client", Some(48)),
        ),
        other(
            "curl, an expired certificate",
            "old",
            curl("", true),
            ("client_rejected_cert", wait, "client", Some(45)),
        ),
        other(
            "HTTP",
            "https",
            raw(*b"GET / HTTP/1.1\r\nHost: example.test\r\n\r\n"),
            ("plain_http", read, "server", None),
        ),
        other(
            "SSH",
            "https",
            raw(*b"SSH-2.0-OpenSSH_9.2p1\r\n"),
            ("not_tls", read, "server", None),
        ),
        other(
            "SSL 2.0",
            "https",
            raw(*b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10"),
            ("not_tls", read, "server", None),
        ),
        other(
            "application data first",
            "https",
            raw(record(23, b"x")),
            ("protocol_violation", read, "server", Some(10)),
        ),
        other(
            "another message first",
            "https",
            raw(record(22, &message(0, b""))),
            ("protocol_violation", read, "server", Some(10)),
        ),
        other(
            "an extension twice",
            "https",
            raw(twice),
            ("protocol_violation", read, "server", Some(47)),
        ),
        other(
            "a ClientHello of five bytes",
            "https",
            raw(record(22, &message(1, b"12345"))),
            ("malformed", read, "server", Some(50)),
        ),
        other(
            "an empty record",
            "https",
            raw(record(22, b"")),
            ("malformed", read, "server", Some(50)),
        ),
        other(
            "half a ClientHello, then closed",
            "https",
            Box::new(move |_, address| {
                let mut socket = connect(address);
                socket.write_all(&half).unwrap();
                socket.shutdown(Shutdown::Write).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            }),
            ("client_closed", read, "client", None),
        ),
        other(
            "closed after our flight",
            "https",
            after_flight(hello(), |mut socket| {
                socket.shutdown(Shutdown::Write).unwrap();
                let _ = socket.read_to_end(&mut Vec::new());
            }),
            ("client_closed", wait, "client", None),
        ),
        other(
            "reset after our flight",
            "https",
            after_flight(hello(), reset),
            ("reset", wait, "network", None),
        ),
        other(
            "half a ClientHello, then silence",
            "quick",
            raw(hello()[..40].to_vec()),
            ("timeout", read, "server", None),
        ),
        other(
            "a ClientHello, then silence",
            "quick",
            raw(hello()),
            ("timeout", wait, "server", None),
        ),
        other(
            "cancelled",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x5a")),
            ("client_cancelled", wait, "client", Some(90)),
        ),
        other(
            "an alert of another kind",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x28")),
            ("client_alert", wait, "client", Some(40)),
        ),
        other(
            "an alert that something does not verify",
            "https",
            after_flight(hello(), sending(b"\x15\x03\x03\0\x02\x02\x33")),
            ("decrypt_error", wait, "client", Some(51)),
        ),
        other(
            "a message out of turn",
            "https",
            after_flight(hello(), sending(b"\x16\x03\x03\0\x04\x14\0\0\0")),
            ("protocol_violation", "client_finished", "server", Some(10)),
        ),
    ]
}

/// What is wrong with what is said of `case`.
fn faults(case: &Case, handshake: &Handshake) -> Vec<String> {
    let said = |field: &str| handshake.failure(field).clone();
    let remedy = match case.remedy {
        Proven => "proven",
        Remedy::None => "none",
        NotSought => "not_sought",
    };
    let mut faults = Vec::new();
    for (field, expected) in [
        ("class", serde_json::json!(case.class)),
        ("phase", serde_json::json!(case.phase)),
        ("side", serde_json::json!(case.side)),
        ("alert", serde_json::json!(case.alert)),
        ("remedy", serde_json::json!(remedy)),
    ] {
        if said(field) != expected {
            faults.push(format!(
                "{}: {field} is {}, not {expected}: {}",
                case.name,
                said(field),
                said("diagnosis")
            ));
        }
    }
    let proven = said("would_succeed_with").is_string();
    if proven != (remedy == "proven") {
        faults.push(format!(
            "{}: remedy {remedy} and text do not agree",
            case.name
        ));
    }
    faults
}

/// The configuration with the lines of a remedy instead of those that it replaces.
fn applied(text: &str, remedy: &str) -> String {
    let mut lines = remedy.lines();
    let table = lines.next().unwrap();
    let lines: Vec<&str> = lines.collect();
    let keys: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split(' ').next())
        .collect();
    let mut out = String::new();
    let mut inside = false;
    for line in text.lines() {
        if line.starts_with('[') {
            inside = line == table;
        }
        let replaced = line
            .split(' ')
            .next()
            .is_some_and(|key| keys.contains(&key));
        if !(inside && replaced) {
            let _ = writeln!(out, "{line}");
        }
        if line == table {
            let _ = writeln!(out, "{}", lines.join("\n"));
        }
    }
    out
}

fn assert_all(cases: &[Case]) {
    let settings = settings();
    let daemon = daemon(&settings);
    let text = settings.render(daemon.dir());
    let mut all = Vec::new();
    for case in cases {
        let address = daemon.address(case.listener);
        let (_, handshake) = daemon.new_handshake(|| (case.run)(&daemon, address));
        handshake.assert_sum();
        let faults = faults(case, &handshake);
        let remedy = handshake.failure("would_succeed_with").as_str();
        if faults.is_empty()
            && let Some(remedy) = remedy
        {
            daemon.rewrite(&applied(&text, remedy));
            let reload = daemon.command("reload").run();
            let (_, after) = daemon.new_handshake(|| (case.run)(&daemon, address));
            let connects = after.text("outcome") == Some("ok");
            if reload.code != 0 || !connects {
                all.push(format!(
                    "{}: {remedy}does not help: {reload}\n{after}",
                    case.name
                ));
            }
            daemon.rewrite(&text);
            daemon.command("reload").run().success();
        }
        all.extend(faults);
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn offers_that_miss_are_diagnosed_and_remedied() {
    let cases = offers();
    assert!(cases.len() >= 40);
    assert_all(&cases);
}

#[test]
fn every_other_ending_has_its_class() {
    assert_all(&endings());
}

#[test]
fn both_sides_are_told_by_name() {
    let daemon = daemon(&settings());
    let hello = RawHello::new()
        .suites(&[0x7777, 0x002f, 0x0a0a, 0xc013])
        .extension(10, vec![0, 4, 0x6a, 0x6a, 0, 30])
        .extension(16, b"\0\x04\x03foo".to_vec());
    let run = raw(hello.bytes());
    let (_, handshake) = daemon.new_handshake(|| run(&daemon, daemon.https()));
    let details = handshake.failure("details");
    let offered = |field: &str| details[field]["offered"].clone();
    assert_eq!(
        offered("cipher_suites"),
        serde_json::json!([
            "TLS_RSA_WITH_AES_128_CBC_SHA",
            "0x7777",
            "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA"
        ])
    );
    assert_eq!(offered("groups"), serde_json::json!(["x448"]));
    assert_eq!(offered("alpn"), serde_json::json!(["foo"]));
    assert_eq!(
        details["alpn"]["allowed"],
        serde_json::json!(["h2", "http/1.1"])
    );
    assert_eq!(
        details["versions"]["shared"],
        serde_json::json!(["TLS 1.2"])
    );
    assert_eq!(details["certificate_types"], serde_json::json!(["ecdsa"]));
    assert_eq!(details["undetermined"], false);
    let ja4 = handshake.text("ja4").unwrap();
    assert!(ja4.starts_with("t12d0305fo_"), "{ja4}");
}

#[test]
fn what_was_waited_for_is_told_and_what_is_not_known() {
    let daemon = daemon(&settings());
    let hello = RawHello::new().bytes();
    for (bytes, awaited) in [
        (&hello[..40], "the rest of the ClientHello"),
        (&hello[..], "the client's answer to our flight"),
    ] {
        let close = |mut socket: TcpStream| {
            socket.write_all(bytes).unwrap();
            socket.shutdown(Shutdown::Write).unwrap();
            let _ = socket.read_to_end(&mut Vec::new());
        };
        let (_, handshake) = daemon.new_handshake(|| close(connect(daemon.https())));
        assert_eq!(handshake.class(), "client_closed", "{handshake}");
        let details = handshake.failure("details");
        assert_eq!(details["undetermined"], true, "{handshake}");
        assert_eq!(details["waited_for"], awaited, "{handshake}");
        let run = raw(bytes);
        let quick = daemon.address("quick");
        let (_, handshake) = daemon.new_handshake(|| run(&daemon, quick));
        assert_eq!(handshake.class(), "timeout", "{handshake}");
        let details = handshake.failure("details");
        assert_eq!(details["undetermined"], false, "{handshake}");
        assert_eq!(details["waited_for"], awaited, "{handshake}");
    }
    daemon.wait_metric("tls_handshake_undetermined_total", &[], 2.0);
}

#[test]
fn a_refused_chain_is_shown() {
    let daemon = daemon(&settings());
    let run = curl("", false);
    let (_, handshake) = daemon.new_handshake(|| run(&daemon, daemon.https()));
    let leaf = &handshake.failure("details")["chain"][0];
    assert!(
        leaf["subject"].as_str().unwrap().contains("CN=localhost"),
        "{handshake}"
    );
    assert!(
        leaf["issuer"]
            .as_str()
            .unwrap()
            .contains("handfast test CA"),
        "{handshake}"
    );
    assert!(
        leaf["not_after"].as_str().unwrap().ends_with('Z'),
        "{handshake}"
    );
    let diagnosis = handshake.failure("diagnosis").as_str().unwrap();
    assert!(
        diagnosis.contains("does not know the issuer"),
        "{diagnosis}"
    );
    assert!(diagnosis.contains("handfast test CA"), "{diagnosis}");
}

#[test]
fn alerts_arrive_though_there_is_more_to_read() {
    let daemon = daemon(&settings());
    let hello = RawHello::new();
    for (listener, bytes, alert) in [
        ("https", hello.clone().version([3, 1]).bytes(), 70),
        ("https", hello.clone().suites(&[0x002f]).bytes(), 40),
        ("https", hello.clone().suites(&[0xc02f]).bytes(), 40),
        (
            "https",
            hello.clone().extension(10, vec![0, 2, 0, 25]).bytes(),
            40,
        ),
        (
            "https",
            hello.clone().extension(13, vec![0, 2, 8, 4]).bytes(),
            40,
        ),
        (
            "https",
            hello
                .clone()
                .extension(16, b"\0\x04\x03foo".to_vec())
                .bytes(),
            120,
        ),
        ("https", hello.clone().name("unknown.example").bytes(), 112),
        ("only13", hello.bytes(), 70),
        ("https", record(23, b"x"), 10),
        ("https", record(22, b""), 50),
        ("https", record(22, &message(1, b"12345")), 50),
    ] {
        let mut socket = connect(daemon.address(listener));
        // What nobody reads would make a close an RST.
        socket
            .write_all(&[bytes, vec![0x16; 20_000]].concat())
            .unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).unwrap();
        assert_eq!(answer, [21, 3, 3, 0, 2, 2, alert], "{listener} {alert}");
    }
}
