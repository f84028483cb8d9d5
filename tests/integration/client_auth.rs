//! Client certificates: who is let in, what those who are not are told, what upstreams learn, and
//! that neither sessions nor requests get around a policy.

use std::io::{BufReader, Write};
use std::time::Duration;

use crate::support::{
    Client, Daemon, Handshake, Origin, Output, Settings, Tool, read_response, wait_until,
};

const REQUEST: &str = "GET /head HTTP/1.1\r\nHost: example.test\r\nConnection: close\r\n\r\n";
const VERSIONS: [&str; 2] = ["1.2", "1.3"];

/// Listeners with a policy each. At `names`, `example.test` has no client certificates and
/// `a.wild.test` requires them.
const TABLES: &str = r#"
[tls.required]
client_auth = { mode = "required", ca = "clients-ca.pem", crl = "revoked.crl" }
[tls.optional]
client_auth = { mode = "optional", ca = "clients-ca.pem" }
[tls.allowed]
client_auth = { mode = "required", ca = "clients-ca.pem", allow = { san = ["*.partners.test"], cn = ["nobody"] } }
[tls.stale]
client_auth = { mode = "required", ca = "clients-ca.pem", crl = "expired.crl" }
[tls.resuming]
client_auth = { mode = "required", ca = "clients-ca.pem", crl = "empty.crl", resumption = true }

[certificates.partners]
chain = "wild.pem"
key = "wild.key"
tls = "required"

[certificates.secret]
chain = "secret.pem"
key = "secret.key"

[[listeners]]
name = "required"
address = "127.0.0.1:0"
tls = "required"
certificates = ["main", "secret"]
[[listeners]]
name = "optional"
address = "127.0.0.1:0"
tls = "optional"
certificates = ["main"]
[[listeners]]
name = "allowed"
address = "127.0.0.1:0"
tls = "allowed"
certificates = ["main"]
[[listeners]]
name = "stale"
address = "127.0.0.1:0"
tls = "stale"
certificates = ["main"]
[[listeners]]
name = "resuming"
address = "127.0.0.1:0"
tls = "resuming"
certificates = ["main"]
[[listeners]]
name = "names"
address = "127.0.0.1:0"
certificates = ["main", "partners"]
[[listeners]]
name = "plain"
address = "127.0.0.1:0"
tls = false

[forwarding]
tls_headers = ["version", "cipher", "group", "server-name", "kind", "verify", "subject", "san", "client-cert"]
"#;

const LISTENERS: [&str; 7] = [
    "required", "optional", "allowed", "stale", "resuming", "names", "plain",
];

fn settings() -> Settings {
    Settings::new(Origin::start().address()).more(TABLES)
}

fn daemon() -> Daemon {
    let mut daemon = Daemon::run(&settings());
    for listener in LISTENERS {
        daemon.wait_listening(listener);
    }
    daemon
}

fn s_client(daemon: &Daemon, listener: &str, version: &str, cert: &str, args: &str) -> Output {
    let mut tool = Tool::new("openssl")
        .words("s_client -ign_eof")
        .args(["-CAfile", &daemon.ca()])
        .args(["-connect", &daemon.address(listener).to_string()])
        .args([format!("-tls{}", version.replace('.', "_"))])
        .words(args);
    if !args.contains("-servername") {
        tool = tool.words("-servername example.test");
    }
    if !cert.is_empty() {
        let dir = daemon.dir().display();
        tool = tool.args(["-cert", &format!("{dir}/{cert}.pem")]);
        tool = tool.args(["-key", &format!("{dir}/{cert}.key")]);
    }
    tool.stdin(REQUEST).run()
}

fn curl(daemon: &Daemon, listener: &str, cert: &str, args: &str) -> Tool {
    let (port, dir) = (daemon.address(listener).port(), daemon.dir().display());
    let mut tool = Tool::new("curl")
        .args(["-sS", "--cacert", &daemon.ca()])
        .args(["--resolve", &format!("example.test:{port}:127.0.0.1")])
        .args(["--resolve", &format!("a.wild.test:{port}:127.0.0.1")]);
    if !cert.is_empty() {
        tool = tool.args(["--cert", &format!("{dir}/{cert}.pem")]);
        tool = tool.args(["--key", &format!("{dir}/{cert}.key")]);
    }
    tool.words(&args.replace("PORT", &port.to_string()))
}

#[track_caller]
fn assert_refused(handshake: &Handshake, class: &str, alert: u8) {
    assert_eq!(handshake.class(), class, "{handshake}");
    assert_eq!(*handshake.failure("alert"), alert, "{handshake}");
    assert_eq!(handshake.failure("side"), "server", "{handshake}");
    assert_eq!(handshake.failure("phase"), "client_auth", "{handshake}");
    handshake.assert_sum();
    let verified = handshake.phase("client_auth") > 0;
    assert_eq!(verified, class != "client_cert_missing", "{handshake}");
}

#[test]
fn what_is_wrong_with_a_certificate_is_told() {
    let daemon = daemon();
    for (listener, cert, class, alert) in [
        ("required", "", "client_cert_missing", 116),
        ("required", "expired", "client_cert_expired", 45),
        ("required", "future", "client_cert_invalid", 45),
        ("required", "revoked", "client_cert_revoked", 44),
        ("required", "stranger", "client_cert_unknown_ca", 48),
        ("required", "namesake", "client_cert_unknown_ca", 48),
        ("required", "purpose", "client_cert_invalid", 43),
        ("required", "newline", "client_cert_invalid", 42),
        ("required", "nul", "client_cert_invalid", 42),
        ("optional", "stranger", "client_cert_unknown_ca", 48),
        ("optional", "expired", "client_cert_expired", 45),
        ("allowed", "other", "client_cert_not_allowed", 49),
        ("allowed", "", "client_cert_missing", 116),
        ("stale", "good", "client_cert_invalid", 48),
    ] {
        for version in VERSIONS {
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, listener, version, cert, ""));
            let told = format!("SSL alert number {alert}");
            assert!(output.stderr.contains(&told), "{cert} {version}: {output}");
            assert!(!output.stdout.contains("HTTP/1.1 200"), "{output}");
            assert_refused(&handshake, class, alert);
            if cert == "other" {
                let diagnosis = handshake.failure("diagnosis").as_str().unwrap();
                assert!(diagnosis.contains("(CN=other)"), "{diagnosis}");
            }
        }
    }
    let labels = [("class", "client_cert_revoked"), ("listener", "required")];
    daemon.wait_metric("tls_handshake_failures_total", &labels, 2.0);
    assert!(
        daemon.log().text().contains("revocation list has expired"),
        "the expired list is an operator's fault"
    );
}

#[test]
fn good_certificates_are_let_in_and_timed() {
    let daemon = daemon();
    for (listener, cert) in [
        ("required", "good"),
        ("required", "other"),
        ("optional", "good"),
        ("optional", ""),
        ("allowed", "good"),
    ] {
        for version in VERSIONS {
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, listener, version, cert, ""));
            assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
            assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
            handshake.assert_sum();
            let shown = !cert.is_empty();
            assert_eq!(handshake.phase("client_auth") > 0, shown, "{handshake}");
            let messages = handshake.messages();
            let has = |name: &str| messages.iter().any(|message| message.contains(name));
            assert!(has("certificaterequest"), "{handshake}");
            assert!(!has("continued"), "{handshake}");
            // The server's own in TLS 1.3.
            let verifies = messages.join(" ").matches("certificateverify").count();
            let of_server = usize::from(version == "1.3");
            assert_eq!(verifies, of_server + usize::from(shown), "{handshake}");
            // Sessions do not resume, so none are made.
            assert!(!has("newsessionticket"), "{handshake}");
        }
    }
}

#[test]
fn curl_is_let_in_with_a_certificate_alone() {
    let daemon = daemon();
    for version in ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"] {
        for http in ["--http1.1", "--http2"] {
            let args = format!(
                "{version} {http} -o /dev/null -w %{{http_code}} https://example.test:PORT/"
            );
            let output = curl(&daemon, "required", "good", &args).run().success();
            assert_eq!(output.stdout, "200");
            let output = curl(&daemon, "required", "", &args).run();
            assert_ne!(output.code, 0, "{output}");
            assert_eq!(output.stdout, "000", "{output}");
        }
    }
}

/// The field of a request as the origin shows it.
fn field<'a>(head: &'a str, name: &str) -> Vec<&'a str> {
    let is_it = |line: &&str| line.to_lowercase().starts_with(&format!("{name}: "));
    head.lines()
        .filter(is_it)
        .map(|line| &line[name.len() + 2..])
        .collect()
}

#[test]
fn the_identity_goes_to_the_upstream_and_cannot_be_forged() {
    let daemon = daemon();
    let forged = "-H X-TLS-Client-Verify:success -H X-TLS-Client-Subject:CN=admin \
                  -H X_TLS_Client_SAN:DNS:admin -H Client-Cert::AAAA: -H Client-Cert-Chain::AAAA: \
                  -H X-Client-Cert:x -H X-TLS-Other:x -H X-Plain:1";
    for http in ["--http1.1", "--http2"] {
        let args = format!("{http} {forged} https://example.test:PORT/head");
        let head = curl(&daemon, "required", "good", &args).run().success();
        let head = head.stdout.as_str();
        assert_eq!(field(head, "x-tls-version"), ["1.3"], "{head}");
        assert_eq!(field(head, "x-tls-cipher"), ["TLS_AES_128_GCM_SHA256"]);
        assert_eq!(field(head, "x-tls-group"), ["X25519"]);
        assert_eq!(field(head, "x-tls-server-name"), ["example.test"]);
        assert_eq!(field(head, "x-tls-kind"), ["full"]);
        assert_eq!(field(head, "x-tls-client-verify"), ["success"]);
        let subject = r"CN=good,O=M\C3\BCller\, Inc";
        assert_eq!(field(head, "x-tls-client-subject"), [subject]);
        let san = "DNS:api.partners.test,URI:spiffe://partners/api";
        assert_eq!(field(head, "x-tls-client-san"), [san]);
        let pem = std::fs::read_to_string(daemon.dir().join("good.pem")).unwrap();
        let base64: String = pem.lines().filter(|it| !it.contains('-')).collect();
        assert_eq!(field(head, "client-cert"), [format!(":{base64}:")]);
        assert_eq!(field(head, "x-plain"), ["1"], "{head}");
        for name in [
            "client-cert-chain",
            "x-client-cert",
            "x-tls-other",
            "x_tls_client_san",
        ] {
            assert!(field(head, name).is_empty(), "{name}: {head}");
        }

        let head = curl(&daemon, "optional", "", &args).run().success();
        let head = head.stdout.as_str();
        assert_eq!(field(head, "x-tls-client-verify"), ["none"], "{head}");
        for name in ["x-tls-client-subject", "x-tls-client-san", "client-cert"] {
            assert!(field(head, name).is_empty(), "{name}: {head}");
        }
    }
    // Not even where nothing is told, as on a plain listener.
    let args = format!("{forged} http://example.test:PORT/head");
    let head = curl(&daemon, "plain", "", &args).run().success();
    let lower = head.stdout.to_lowercase();
    for name in ["x-tls", "x_tls", "client-cert"] {
        assert!(!lower.contains(name), "{head}");
    }
}

/// `args` of openssl that make it offer a session of each kind.
const SESSIONS: [(&str, &str); 3] = [("1.2", ""), ("1.2", "-no_ticket"), ("1.3", "")];

#[test]
fn a_session_without_a_certificate_does_not_resume_where_one_is_required() {
    let daemon = daemon();
    let file = daemon.dir().join("session.pem").display().to_string();
    for (version, args) in SESSIONS {
        let make = format!("{args} -sess_out {file}");
        let made = s_client(&daemon, "names", version, "", &make);
        assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");
        // The control: it does resume where it was made.
        let again = format!("{args} -sess_in {file}");
        let (output, handshake) =
            daemon.new_handshake(|| s_client(&daemon, "names", version, "", &again));
        assert!(output.stdout.contains("Reused, "), "{output}");
        assert_eq!(handshake.text("kind"), Some("resumed"), "{handshake}");

        for (listener, name) in [
            ("names", "a.wild.test"),
            ("required", "example.test"),
            ("resuming", "example.test"),
        ] {
            let args = format!("{args} -sess_in {file} -servername {name}");
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, listener, version, "", &args));
            assert!(output.stderr.contains("alert number 116"), "{output}");
            assert_refused(&handshake, "client_cert_missing", 116);
            assert_ne!(handshake.text("resumption"), Some("not_offered"));

            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, listener, version, "good", &args));
            assert!(!output.stdout.contains("Reused, "), "{output}");
            assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
            assert_eq!(handshake.text("kind"), Some("full"), "{handshake}");
        }
    }
}

#[test]
fn a_session_from_before_a_reload_that_requires_certificates_does_not_resume() {
    let origin = Origin::start();
    let open = Settings::new(origin.address());
    let line = r#"client_auth = { mode = "required", ca = "clients-ca.pem", resumption = true }"#;
    let guarded = open.clone().policy(line);
    let daemon = Daemon::run(&open);
    let mut reloads = 0.0;
    for (version, args) in SESSIONS {
        let file = daemon.dir().join("session.pem").display().to_string();
        let made = s_client(
            &daemon,
            "https",
            version,
            "",
            &format!("{args} -sess_out {file}"),
        );
        assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");
        for settings in [&guarded, &open] {
            daemon.rewrite(&settings.render(daemon.dir()));
            daemon.signal("HUP");
            reloads += 1.0;
            daemon.wait_metric("config_reloads_total", &[("result", "ok")], reloads);
            let args = format!("{args} -sess_in {file}");
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, "https", version, "", &args));
            if std::ptr::eq(settings, &guarded) {
                assert_refused(&handshake, "client_cert_missing", 116);
            } else {
                assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
            }
        }
    }
}

#[test]
fn a_session_from_before_a_reload_that_changes_the_ca_is_of_another_scope() {
    let open = Settings::new(Origin::start().address());
    let trusting = |ca: &str| {
        open.clone().policy(&format!(
            r#"client_auth = {{ mode = "required", ca = "{ca}", resumption = true }}"#
        ))
    };
    let daemon = Daemon::run(&trusting("clients-ca.pem"));
    let file = |name: &str| daemon.dir().join(name);
    // The client is good before and after: only who else would be has changed.
    let more =
        ["clients-ca.pem", "ca.pem"].map(|name| std::fs::read_to_string(file(name)).unwrap());
    std::fs::write(file("more.pem"), more.concat()).unwrap();
    let sessions = SESSIONS.map(|(version, args)| {
        let kept = file(&format!("session{version}{args}.pem"));
        let make = format!("{args} -sess_out {}", kept.display());
        let made = s_client(&daemon, "https", version, "good", &make);
        assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");
        (version, format!("{args} -sess_in {}", kept.display()))
    });
    let offer = |kind: &str, reason: &str| {
        for (version, args) in &sessions {
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, "https", version, "good", args));
            assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
            assert_eq!(handshake.text("outcome"), Some("ok"), "{handshake}");
            assert_eq!(handshake.text("kind"), Some(kind), "{args}: {handshake}");
            assert_eq!(
                handshake.text("resumption"),
                Some(reason),
                "{args}: {handshake}"
            );
        }
    };
    offer("resumed", "hit");
    daemon.rewrite(&trusting("more.pem").render(daemon.dir()));
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    offer("full", "scope");
}

#[test]
fn a_stored_session_of_tls_1_3_without_a_certificate_never_gets_around_one() {
    let guard = r#"client_auth = { mode = "required", ca = "clients-ca.pem", resumption = true }"#;
    let cache = r#"resumption = { mode = "cache" }"#;
    let open = Settings::new(Origin::start().address())
        .policy(cache)
        .more(&format!(
            "[tls.guarded]\n{guard}\n{cache}\n[[listeners]]\nname = \"guarded\"\n\
         address = \"127.0.0.1:0\"\ntls = \"guarded\"\ncertificates = [\"main\"]\n"
        ));
    let closed = open.clone().policy(&format!("{guard}\n{cache}"));
    let mut daemon = Daemon::run(&open);
    daemon.wait_listening("guarded");
    let file = daemon.dir().join("session.pem").display().to_string();
    let make = || {
        let made = s_client(&daemon, "https", "1.3", "", &format!("-sess_out {file}"));
        assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");
    };
    let offer = |listener: &str, cert: &str| {
        let args = format!("-sess_in {file}");
        daemon.new_handshake(|| s_client(&daemon, listener, "1.3", cert, &args))
    };
    let assert_guarded = |listener: &str| {
        let (output, handshake) = offer(listener, "");
        assert!(output.stderr.contains("alert number 116"), "{output}");
        assert_refused(&handshake, "client_cert_missing", 116);
        let (output, handshake) = offer(listener, "good");
        assert!(output.stdout.contains("HTTP/1.1 200"), "{output}");
        assert_eq!(handshake.text("kind"), Some("full"), "{handshake}");
        assert_ne!(handshake.text("resumption"), Some("not_offered"));
    };
    // The control: it does resume where it was made.
    make();
    let (_, handshake) = offer("https", "");
    assert_eq!(handshake.text("kind"), Some("resumed"), "{handshake}");

    make();
    assert_guarded("guarded");
    make();
    daemon.rewrite(&closed.render(daemon.dir()));
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    assert_guarded("https");
}

#[test]
fn a_connection_from_before_a_reload_that_requires_certificates_is_misdirected() {
    let open = Settings::new(Origin::start().address());
    let line = r#"client_auth = { mode = "required", ca = "clients-ca.pem" }"#;
    let daemon = Daemon::run(&open);
    let mut stream = BufReader::new(Client::new().connect(daemon.https()).unwrap());
    let mut status = || {
        let request = "GET / HTTP/1.1\r\nHost: example.test\r\n\r\n";
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        read_response(&mut stream).unwrap().head.status()
    };
    assert_eq!(status(), 200);
    let changed = r#"handshake_timeout = "9s""#;
    for (count, (lines, code)) in [(changed, 200), (line, 421), ("", 200)]
        .into_iter()
        .enumerate()
    {
        let settings = open.clone().policy(lines);
        daemon.rewrite(&settings.render(daemon.dir()));
        daemon.signal("HUP");
        let reloads = u32::try_from(count + 1).unwrap();
        daemon.wait_metric("config_reloads_total", &[("result", "ok")], reloads.into());
        assert_eq!(status(), code, "{lines}");
    }
}

#[test]
fn sessions_resume_with_their_certificate_where_that_is_wanted() {
    let daemon = daemon();
    let file = daemon.dir().join("session.pem").display().to_string();
    for version in VERSIONS {
        for (listener, resumes) in [("resuming", true), ("required", false)] {
            let _ = std::fs::remove_file(&file);
            let make = format!("-sess_out {file}");
            let made = s_client(&daemon, listener, version, "good", &make);
            assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");
            if !std::path::Path::new(&file).exists() {
                assert!(!resumes, "{made}");
                continue;
            }
            let args = format!("-sess_in {file}");
            let (output, handshake) =
                daemon.new_handshake(|| s_client(&daemon, listener, version, "good", &args));
            let kind = if resumes { "resumed" } else { "full" };
            assert_eq!(handshake.text("kind"), Some(kind), "{handshake}");
            assert_eq!(output.stdout.contains("Reused, "), resumes, "{output}");
            assert!(handshake.phase("client_auth") > 0, "{handshake}");
            assert_eq!(field(&output.stdout, "x-tls-kind"), [kind]);
            let verify = field(&output.stdout, "x-tls-client-verify");
            assert_eq!(verify, ["success"], "{output}");
        }
    }
}

#[test]
fn a_changed_revocation_list_holds_for_sessions_of_before() {
    let daemon = daemon();
    let file = daemon.dir().join("session.pem").display().to_string();
    let make = format!("-sess_out {file}");
    let made = s_client(&daemon, "resuming", "1.3", "revoked", &make);
    assert!(made.stdout.contains("HTTP/1.1 200"), "{made}");

    let copy = |from: &str, to: &str| {
        std::fs::copy(daemon.dir().join(from), daemon.dir().join(to)).unwrap();
    };
    copy("revoked.crl", "empty.crl");
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "ok")], 1.0);
    let args = format!("-sess_in {file}");
    let (_, handshake) =
        daemon.new_handshake(|| s_client(&daemon, "resuming", "1.3", "revoked", &args));
    assert_refused(&handshake, "client_cert_revoked", 44);

    // A file that is no list changes nothing.
    copy("good.pem", "empty.crl");
    daemon.signal("HUP");
    daemon.wait_metric("config_reloads_total", &[("result", "failed")], 1.0);
    let text = daemon.log().text();
    assert!(text.contains("empty.crl: has no revocation list"), "{text}");
    let (_, handshake) =
        daemon.new_handshake(|| s_client(&daemon, "resuming", "1.3", "revoked", ""));
    assert_refused(&handshake, "client_cert_revoked", 44);
}

#[test]
fn requests_for_names_of_another_policy_are_misdirected() {
    let daemon = daemon();
    for http in ["--http1.1", "--http2"] {
        let format = format!("{http} -o /dev/null -w %{{http_code}},");
        let own = format!("{format} https://example.test:PORT/");
        let other = format!("{format} -H Host:a.wild.test https://example.test:PORT/");
        // On one connection, before and after others that are right.
        let args = format!("{own} --next {other} --next {own} --next {other}");
        let args = args.replace("--next", &format!("--next --cacert {} -sS", daemon.ca()));
        let (output, _) =
            daemon.new_handshake(|| curl(&daemon, "names", "", &args).run().success());
        assert_eq!(output.stdout, "200,421,200,421,", "{http}");

        // The stricter connection does not serve the laxer name either.
        let args = format!(
            "{format} https://a.wild.test:PORT/ {format} -H Host:example.test https://a.wild.test:PORT/"
        );
        let output = curl(&daemon, "names", "good", &args).run().success();
        assert_eq!(output.stdout, "421,421,", "both carry the field: {http}");
        let args = format!("{format} https://a.wild.test:PORT/");
        let output = curl(&daemon, "names", "good", &args).run().success();
        assert_eq!(output.stdout, "200,");
        // Case, a final dot and a port do not matter.
        let args = format!("{format} -H Host:A.Wild.Test.:1 https://example.test:PORT/");
        let output = curl(&daemon, "names", "", &args).run().success();
        assert_eq!(output.stdout, "421,");
    }
    // Neither another listener nor none of TLS is a way around.
    for (listener, url) in [
        ("https", "https://example.test:PORT/"),
        ("plain", "http://example.test:PORT/"),
    ] {
        // `a.wild.test` is open to all at the listener `https`.
        for (host, code) in [
            ("example.test", "200"),
            ("a.wild.test", "200"),
            ("unknown.test", "200"),
            ("secret.test", "421"),
        ] {
            let args = format!("-o /dev/null -w %{{http_code}} -H Host:{host} {url}");
            let output = curl(&daemon, listener, "", &args).run().success();
            assert_eq!(output.stdout, code, "{listener} {host}");
        }
    }
    let labels = [("listener", "plain"), ("code", "4xx")];
    assert!(daemon.metric("http_requests_total", &labels) >= 1.0);
    wait_until(Duration::from_secs(10), "the reason is logged", || {
        daemon.log().text().contains("misdirected")
    });
}
