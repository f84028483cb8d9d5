//! False Start (RFC 7918): accepted, discouraged, refused; told right in every case.

use std::io::Read;
use std::time::Duration;

use tokio_rustls::rustls::AlertDescription;

use crate::support::{
    Client, Daemon, EarlyClient, Handshake, Origin, Point, Relay, Settings, TlsStream, Tool,
    alert_of, wait_until,
};

const GET: &str = "GET /c HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";

/// The listener `https` allows, the others are called like what they do.
fn daemon(origin: &Origin) -> Daemon {
    let mut tables = String::new();
    for mode in ["discourage", "refuse"] {
        tables.push_str(&format!(
            "[tls.{mode}]\nfalse_start = \"{mode}\"\n\
             [[listeners]]\nname = \"{mode}\"\naddress = \"127.0.0.1:0\"\ntls = \"{mode}\"\n\
             certificates = [\"main\"]\n"
        ));
    }
    let mut daemon = Daemon::run(&Settings::new(origin.address()).more(&tables));
    daemon.wait_listening("discourage");
    daemon.wait_listening("refuse");
    daemon
}

fn read_all(mut stream: TlsStream) -> String {
    let mut bytes = Vec::new();
    // However it ends: the stream cannot send a close_notify of its own.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).into_owned()
}

#[track_caller]
fn assert_false_start(handshake: &Handshake, outcome: &str, reason: Option<&str>) {
    assert_eq!(handshake.text("false_start"), Some(outcome), "{handshake}");
    assert_eq!(handshake.text("false_start_reason"), reason, "{handshake}");
    // Here the network is too near for anything but certainty.
    let confidence = (outcome == "used").then_some("definite");
    assert_eq!(
        handshake.text("false_start_confidence"),
        confidence,
        "{handshake}"
    );
}

#[track_caller]
fn assert_used(handshake: &Handshake) {
    assert_false_start(handshake, "used", None);
    assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
    assert_eq!(handshake.text("kind"), Some("full"), "{handshake}");
    assert_eq!(handshake.0["round_trips"], 1, "{handshake}");
    handshake.assert_sum();
}

#[test]
fn a_request_behind_finished_is_used_and_answered() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for alpn in [&["http/1.1"][..], &[]] {
        let (answer, handshake) = daemon.new_handshake(|| {
            let mut client = EarlyClient::connect(daemon.https(), alpn).unwrap();
            client.start_early(GET.as_bytes()).unwrap();
            read_all(client.finish().unwrap())
        });
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_used(&handshake);
    }
    daemon.wait_metric("tls_false_start_total", &[("result", "used")], 2.0);
}

#[test]
fn early_data_in_any_pieces_stays_in_order() {
    let origin = Origin::start();
    let daemon = daemon(&origin);

    let (answer, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
        let mut bytes = client.flight.clone();
        for piece in GET.as_bytes().chunks(5) {
            bytes.extend(client.seal(piece));
        }
        client.send(&bytes).unwrap();
        read_all(client.finish().unwrap())
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_used(&handshake);

    // Of the early record the first bytes only; the rest when the handshake is over.
    let (answer, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
        let record = client.seal(GET.as_bytes());
        let mut bytes = client.flight.clone();
        bytes.extend(&record[..9]);
        client.send(&bytes).unwrap();
        let mut stream = client.finish().unwrap();
        std::io::Write::write_all(&mut stream.sock, &record[9..]).unwrap();
        read_all(stream)
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_used(&handshake);

    let (answer, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
        let head = "POST /sink HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\
                    Content-Length: 60000\r\n\r\n";
        let mut bytes = client.flight.clone();
        bytes.extend(client.seal(head.as_bytes()));
        for _ in 0..4 {
            bytes.extend(client.seal(&[b'x'; 15_000]));
        }
        client.send(&bytes).unwrap();
        read_all(client.finish().unwrap())
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("60000"), "{answer}");
    assert_used(&handshake);

    // In segments of their own, early or not by a hair: answered all the same.
    let (answer, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
        let record = client.seal(GET.as_bytes());
        let flight = client.flight.clone();
        client.send(&flight).unwrap();
        client.send(&record).unwrap();
        read_all(client.finish().unwrap())
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let outcome = handshake.text("false_start").unwrap();
    assert!(
        ["used", "eligible_unused"].contains(&outcome),
        "{handshake}"
    );
}

#[test]
fn the_preface_of_http_2_may_come_early() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let (first, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["h2"]).unwrap();
        client
            .start_early(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .unwrap();
        let mut stream = client.finish().unwrap();
        let mut frame = [0; 9];
        stream.read_exact(&mut frame).unwrap();
        frame
    });
    assert_eq!(first[3], 4, "SETTINGS comes first: {first:?}");
    assert_eq!(handshake.text("alpn"), Some("h2"), "{handshake}");
    assert_used(&handshake);
}

#[test]
fn early_data_behind_a_bad_finished_is_never_read() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let (result, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(daemon.https(), &["http/1.1"]).unwrap();
        *client.flight.last_mut().unwrap() ^= 1;
        client.start_early(GET.as_bytes()).unwrap();
        client.finish().map(drop)
    });
    assert_eq!(
        alert_of(&result.unwrap_err()),
        Some(AlertDescription::BadRecordMac)
    );
    assert_eq!(handshake.class(), "decrypt_error", "{handshake}");
    assert_false_start(&handshake, "not_applicable", None);
    assert_eq!(origin.requests(), 0);
}

#[test]
fn refuse_closes_and_counts() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let address = daemon.address("refuse");
    let (result, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(address, &["http/1.1"]).unwrap();
        client.start_early(GET.as_bytes()).unwrap();
        client.finish().map(drop)
    });
    assert_eq!(
        alert_of(&result.unwrap_err()),
        Some(AlertDescription::UnexpectedMessage)
    );
    assert_eq!(handshake.class(), "false_start_refused", "{handshake}");
    assert_eq!(handshake.failure("side"), "server", "{handshake}");
    assert_eq!(*handshake.failure("alert"), 10, "{handshake}");
    assert_false_start(&handshake, "used", None);
    handshake.assert_sum();
    assert_eq!(origin.requests(), 0);
    let labels = [("class", "false_start_refused"), ("listener", "refuse")];
    daemon.wait_metric("tls_handshake_failures_total", &labels, 1.0);

    // Whoever waits is served, with h2 too.
    let (answer, handshake) =
        daemon.new_handshake(|| Client::of_version("1.2").get_raw(address, "/").unwrap());
    assert!(answer.starts_with(b"HTTP/1.1 200"), "{handshake}");
    assert_eq!(handshake.text("alpn"), Some("http/1.1"), "{handshake}");
    assert_false_start(&handshake, "eligible_unused", None);
}

#[test]
fn discourage_leaves_alpn_out_of_tls_1_2_alone() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let address = daemon.address("discourage");
    for (version, alpn, outcome, reason) in [
        ("1.2", None, "ineligible", Some("discouraged")),
        ("1.3", Some("http/1.1"), "not_applicable", None),
    ] {
        let (answer, handshake) =
            daemon.new_handshake(|| Client::of_version(version).get_raw(address, "/").unwrap());
        assert!(answer.starts_with(b"HTTP/1.1 200"), "{handshake}");
        assert_eq!(handshake.text("alpn"), alpn, "{handshake}");
        assert_false_start(&handshake, outcome, reason);
    }
    // A client that does it all the same is accepted.
    let (answer, handshake) = daemon.new_handshake(|| {
        let mut client = EarlyClient::connect(address, &["http/1.1"]).unwrap();
        client.start_early(GET.as_bytes()).unwrap();
        read_all(client.finish().unwrap())
    });
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_used(&handshake);
}

#[test]
fn openssl_is_eligible_and_waits() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for (args, outcome, reason) in [
        ("-alpn http/1.1", "eligible_unused", None),
        ("", "ineligible", Some("no_alpn")),
    ] {
        let (output, handshake) = daemon.new_handshake(|| {
            Tool::new("openssl")
                .words("s_client -tls1_2 -ign_eof -servername example.test -connect")
                .args([daemon.https().to_string()])
                .words(args)
                .stdin(GET)
                .run()
                .success()
        });
        assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
        assert_false_start(&handshake, outcome, reason);
    }
}

/// A browser as it is, over a network that takes longer than the browser: its request is on its
/// way before our Finished can be.
#[test]
fn chromium_starts_early_in_tls_1_2_and_is_answered() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    for (version, outcome) in [("1.2", "used"), ("1.3", "not_applicable")] {
        let delay = Duration::from_millis(300);
        let relay = Relay::start(daemon.https(), Point::BeforeFlight, delay);
        let profile = tempfile::TempDir::new().unwrap();
        let port = relay.address().port();
        let known = daemon.handshakes().len();
        let output = Tool::new("chromium")
            .words("--headless --no-sandbox --disable-gpu --disable-quic --no-first-run")
            .words("--disable-background-networking --disable-component-update --disable-sync")
            .words("--ignore-certificate-errors --dump-dom")
            .args([format!("--user-data-dir={}", profile.path().display())])
            .args([format!("--ssl-version-max=tls{version}")])
            .args(["--host-resolver-rules=MAP * 127.0.0.1"])
            .args([format!("https://example.test:{port}/c")])
            .limit(Duration::from_secs(60))
            .run()
            .success();
        assert!(output.stdout.contains("origin"), "{output}");
        // Others may be made in advance, and carry nothing.
        let mut carried = None;
        wait_until(Duration::from_secs(10), "the handshake is told", || {
            let mut new = daemon.handshakes();
            new.truncate(new.len() - known);
            new.retain(|it| it.text("false_start") == Some(outcome));
            carried = new.pop();
            carried.is_some()
        });
        let handshake = carried.unwrap();
        assert_eq!(handshake.text("version"), Some(version), "{handshake}");
        assert_eq!(handshake.text("alpn"), Some("h2"), "{handshake}");
        if outcome == "used" {
            assert_used(&handshake);
        }
    }
}

#[test]
fn a_thousand_mixed_handshakes_are_told_apart() {
    let origin = Origin::start();
    let daemon = daemon(&origin);
    let address = daemon.https();
    let resuming = Client::of_version("1.2");
    resuming.connect(address).unwrap();
    daemon.wait_metric("tls_handshakes_total", &[("listener", "https")], 1.0);
    for _ in 0..10 {
        let ((), handshakes) = daemon.new_handshakes(100, || {
            for _ in 0..20 {
                let mut client = EarlyClient::connect(address, &["http/1.1"]).unwrap();
                client.start_early(GET.as_bytes()).unwrap();
                client.finish().unwrap();
                // The request follows at once, but never before the server's Finished.
                let answer = Client::of_version("1.2").get_raw(address, "/").unwrap();
                assert!(answer.starts_with(b"HTTP/1.1 200"));
                Client::of_version("1.2")
                    .alpn(&[])
                    .connect(address)
                    .unwrap();
                Client::of_version("1.3").connect(address).unwrap();
                resuming.connect(address).unwrap();
            }
        });
        for five in handshakes.chunks(5) {
            for (handshake, outcome) in five.iter().zip([
                "used",
                "eligible_unused",
                "ineligible",
                "not_applicable",
                "not_applicable",
            ]) {
                assert_eq!(handshake.text("false_start"), Some(outcome), "{handshake}");
            }
        }
    }
    for (result, count) in [
        ("used", 200.0),
        // And the one that made the session.
        ("eligible_unused", 201.0),
        ("ineligible", 200.0),
        ("not_applicable", 400.0),
    ] {
        let labels = [("listener", "https"), ("result", result)];
        assert_eq!(
            daemon.metric("tls_false_start_total", &labels),
            count,
            "{result}"
        );
    }
}
