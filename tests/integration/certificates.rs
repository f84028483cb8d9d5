//! Certificates: what is refused, what is warned of, what is stapled and compressed.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Client, Daemon, Origin, Output, Settings, Tool, certs, wait_until};

/// `handfast check` of a file with one certificate, whose table has these lines, and its place.
fn check(dir: &Path, lines: &str) -> Output {
    let file = dir.join("handfast.toml");
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\ncertificates = [\"it\"]\n\
         [[routes]]\nupstream = \"http://127.0.0.1:1\"\n\
         [certificates.it]\n{lines}\n"
    );
    std::fs::write(&file, text).unwrap();
    Tool::new(env!("CARGO_BIN_EXE_handfast"))
        .args(["check", "--config"])
        .args([&file])
        .run()
}

fn dir() -> TempDir {
    let dir = TempDir::new().unwrap();
    certs().write(dir.path());
    dir
}

fn openssl(dir: &Path, words: &str) -> Output {
    Tool::new("sh")
        .args([
            "-c",
            &format!("cd \"$0\" && openssl {words}"),
            &dir.display().to_string(),
        ])
        .run()
        .success()
}

/// Refused with exit code 78, at this line and column, with all of these words.
#[track_caller]
fn assert_refused(dir: &Path, lines: &str, place: &str, words: &[&str]) {
    let output = check(dir, lines);
    assert_eq!(output.code, 78, "{output}");
    assert!(
        output.stderr.contains(&format!("handfast.toml:{place}: ")),
        "{place}: {output}"
    );
    for word in words {
        assert!(output.stderr.contains(word), "{word:?}: {output}");
    }
}

#[test]
fn what_is_wrong_is_said_with_file_and_place() {
    let dir = dir();
    let dir = dir.path();
    let write = |name: &str, text: &str| std::fs::write(dir.join(name), text).unwrap();
    let (main, ca) = (&certs().main, &certs().ca);
    write("reversed.pem", &format!("{}{}", ca.pem, main.pem));
    openssl(
        dir,
        "pkcs8 -topk8 -in main.key -out encrypted.key -passout pass:secret",
    );
    openssl(
        dir,
        "rsa -aes128 -in rsa.key -out old.key -passout pass:secret -traditional",
    );
    openssl(
        dir,
        "req -x509 -newkey rsa:1024 -nodes -keyout weak.key -out weak.pem -subj /CN=weak.test \
         -addext subjectAltName=DNS:weak.test",
    );
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:secp256k1 -nodes -keyout koblitz.key \
         -out koblitz.pem -subj /CN=koblitz.test -addext subjectAltName=DNS:koblitz.test",
    );
    openssl(
        dir,
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout nameless.key \
         -out nameless.pem -subj /CN=nameless.test",
    );
    for (chain, key, place, words) in [
        (
            "reversed.pem",
            "main.key",
            "7:9",
            &[
                "belongs to certificate 2 of",
                "reversed.pem",
                "the leaf must come first",
            ][..],
        ),
        (
            "main.pem",
            "rsa.key",
            "8:7",
            &["rsa.key does not belong to", "main.pem"],
        ),
        (
            "main.pem",
            "encrypted.key",
            "8:7",
            &["encrypted.key", "encrypted private key"],
        ),
        (
            "rsa.pem",
            "old.key",
            "8:7",
            &["old.key", "encrypted private key"],
        ),
        ("main.pem", "rsa.pem", "8:7", &["rsa.pem", "swapped"]),
        ("main.key", "main.key", "7:9", &["swapped"]),
        (
            "main.pem",
            "absent.key",
            "8:7",
            &["cannot read", "absent.key"],
        ),
        (
            "weak.pem",
            "weak.key",
            "7:9",
            &["weak.pem", "an RSA key of 1024 bits"],
        ),
        (
            "koblitz.pem",
            "koblitz.key",
            "7:9",
            &["koblitz.pem", "the curve secp256k1"],
        ),
        (
            "nameless.pem",
            "nameless.key",
            "7:9",
            &[
                "nameless.pem",
                "no DNS name",
                "clients ignore the common name",
            ],
        ),
    ] {
        assert_refused(
            dir,
            &format!("chain = \"{chain}\"\nkey = \"{key}\""),
            place,
            words,
        );
    }
    assert_refused(
        dir,
        "names = [\"example.test\", \"other.test\"]\nchain = \"main.pem\"\nkey = \"main.key\"",
        "7:26",
        &[
            "is not for \"other.test\"",
            "main.pem",
            "it is for localhost, example.test",
        ],
    );
    // Wildcards cover one label, and only as such.
    check(
        dir,
        "names = [\"a.wild.test\"]\nchain = \"wild.pem\"\nkey = \"wild.key\"",
    )
    .success();
    assert_refused(
        dir,
        "names = [\"*.wild.test\", \"wild.test\"]\nchain = \"wild.pem\"\nkey = \"wild.key\"",
        "7:25",
        &["is not for \"wild.test\""],
    );
}

#[test]
fn an_expired_certificate_is_warned_of_and_served() {
    let place = dir();
    let output = check(
        place.path(),
        "chain = \"main-expired.pem\"\nkey = \"main-expired.key\"",
    )
    .success();
    assert!(
        output.stderr.contains("handfast.toml:7:9: warning: "),
        "{output}"
    );
    assert!(
        output.stderr.contains("certificate 1 expired at Jan"),
        "{output}"
    );
    let quiet = check(place.path(), "chain = \"main.pem\"\nkey = \"main.key\"").success();
    assert_eq!(quiet.stderr, "", "{quiet}");

    let tables = "[[listeners]]\nname = \"late\"\naddress = \"127.0.0.1:0\"\n\
                  certificate = { chain = \"main-expired.pem\", key = \"main-expired.key\" }";
    let mut daemon = Daemon::run(&Settings::new(Origin::start().address()).more(tables));
    let address = daemon.wait_listening("late");
    let warned = |daemon: &Daemon| {
        let records = daemon.log().records();
        let mut about = records.iter().filter(|record| {
            record["message"]
                .as_str()
                .is_some_and(|text| text.contains("expired at"))
        });
        about.any(|record| record["level"] == "WARN" && record["place"].is_string())
    };
    assert!(warned(&daemon), "{}", daemon.log().text());
    Tool::new("openssl")
        .words("s_client -servername example.test -connect")
        .args([address.to_string()])
        .run()
        .success();
}

/// Writes `NAME.ocsp` for `NAME.pem`, signed by the CA.
fn respond(dir: &Path, name: &str) {
    std::fs::write(dir.join("ca.key"), &certs().ca.key).unwrap();
    let serial = openssl(dir, &format!("x509 -in {name}.pem -noout -serial")).stdout;
    let serial = serial.trim().trim_start_matches("serial=").to_owned();
    std::fs::write(
        dir.join("index.txt"),
        format!("V\t491231235959Z\t\t{serial}\tunknown\t/CN=localhost\n"),
    )
    .unwrap();
    openssl(
        dir,
        &format!(
            "ocsp -index index.txt -CA ca.pem -rsigner ca.pem -rkey ca.key -issuer ca.pem \
             -cert {name}.pem -ndays 7 -respout {name}.ocsp"
        ),
    );
}

fn status(daemon: &Daemon, args: &str) -> Output {
    Tool::new("openssl")
        .words("s_client -servername example.test -verify_return_error")
        .args(["-CAfile", &daemon.ca()])
        .args(["-connect", &daemon.https().to_string()])
        .words(args)
        .run()
        .success()
}

#[test]
fn an_ocsp_response_is_stapled_and_reloaded() {
    let settings = Settings::new(Origin::start().address());
    let daemon = Daemon::run(&settings);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = status(&daemon, &format!("{version} -status"));
        assert!(
            output.stdout.contains("OCSP response: no response sent"),
            "{output}"
        );
    }
    respond(daemon.dir(), "main");
    let text = settings.render(daemon.dir());
    daemon.rewrite(&text.replace(
        "[certificates.main]",
        "[certificates.main]\nocsp = \"main.ocsp\"",
    ));
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    for version in ["-tls1_2", "-tls1_3"] {
        let output = status(&daemon, &format!("{version} -status"));
        assert!(
            output.stdout.contains("OCSP Response Status: successful"),
            "{output}"
        );
        assert!(output.stdout.contains("Cert Status: good"), "{output}");
        let output = status(&daemon, version);
        assert!(!output.stdout.contains("OCSP"), "{output}");
    }
}

#[test]
fn an_ocsp_response_that_is_none_or_anothers_is_refused() {
    let dir = dir();
    let dir = dir.path();
    respond(dir, "main");
    std::fs::write(dir.join("later.ocsp"), [0x30, 3, 0x0a, 1, 3]).unwrap();
    for (name, file, words) in [
        (
            "rsa",
            "main.ocsp",
            &["main.ocsp", "is about another certificate"][..],
        ),
        ("main", "main.pem", &["main.pem", "is not an OCSP response"]),
        (
            "main",
            "later.ocsp",
            &["later.ocsp", "refusal of a responder (tryLater)"],
        ),
        ("main", "absent.ocsp", &["cannot read", "absent.ocsp"]),
    ] {
        let lines = format!("chain = \"{name}.pem\"\nkey = \"{name}.key\"\nocsp = \"{file}\"");
        // A file that stands twice is told at its first place.
        let place = if file == "main.pem" { "7:9" } else { "9:8" };
        assert_refused(dir, &lines, place, words);
    }
    check(
        dir,
        "chain = \"main.pem\"\nkey = \"main.key\"\nocsp = \"main.ocsp\"",
    )
    .success();
}

#[test]
fn certificates_are_compressed_for_clients_that_ask() {
    let mut settings = Settings::new(Origin::start().address());
    for (name, value) in [("small", true), ("large", false)] {
        settings = settings.more(&format!(
            "[tls.{name}]\ncertificate_compression = {value}\n\
             [[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\ntls = \"{name}\"\n\
             certificate = {{ chain = \"main.pem\", key = \"main.key\" }}\n"
        ));
    }
    let mut daemon = Daemon::run(&settings);
    // The same certificate twice is what any compressor makes smaller.
    let twice = format!("{0}{0}", certs().main.pem);
    std::fs::write(daemon.dir().join("main.pem"), twice).unwrap();
    daemon.wait_listening("small");
    daemon.wait_listening("large");
    daemon.signal("HUP");
    wait_until(Duration::from_secs(10), "the reload is counted", || {
        daemon.metric("config_reloads_total", &[("result", "ok")]) > 0.0
    });
    let flight = |listener: &str, version: &str| {
        let client = Client::of_version(version);
        let (stream, handshake) = daemon.new_handshake(|| client.connect(daemon.address(listener)));
        stream.unwrap();
        let messages = handshake.0["messages"].as_array().unwrap();
        let bytes = messages
            .iter()
            .filter(|message| message["direction"] == "out")
            .filter(|message| message["name"].as_str().unwrap().contains("Certificate"))
            .map(|message| message["bytes"].as_u64().unwrap());
        bytes.sum::<u64>()
    };
    let (small, large) = (flight("small", "1.3"), flight("large", "1.3"));
    assert!(small + 300 < large, "{small} is not well below {large}");
    // And again, from what was kept.
    assert_eq!(flight("small", "1.3").abs_diff(small) / 16, 0);
    assert!(
        flight("small", "1.2") > large - 300,
        "TLS 1.2 has no compression"
    );
}
