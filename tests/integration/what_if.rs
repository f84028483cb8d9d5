//! `handfast what-if`: forecasts are compared with what really happens, with other people's clients
//! and a reload for each policy.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Daemon, Handshake, Origin, Output, Settings, Tool, wait_for};

/// A client, the certificate that it meets, and what it is started with.
const CLIENTS: [(&str, &str, &str); 30] = [
    ("openssl", "main", ""),
    ("openssl", "main", "-tls1_2"),
    ("openssl", "main", "-tls1_3"),
    ("openssl", "rsa", ""),
    (
        "openssl",
        "main",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-GCM-SHA384",
    ),
    (
        "openssl",
        "main",
        "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
    ),
    (
        "openssl",
        "main",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256 -groups P-256",
    ),
    (
        "openssl",
        "rsa",
        "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
    ),
    (
        "openssl",
        "main",
        "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
    ),
    ("openssl", "rsa", "-tls1_2 -cipher AES128-SHA"),
    (
        "openssl",
        "main",
        "-tls1_3 -ciphersuites TLS_AES_256_GCM_SHA384",
    ),
    (
        "openssl",
        "rsa",
        "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256 -groups X25519",
    ),
    ("openssl", "main", "-groups P-384"),
    ("openssl", "main", "-tls1_3 -groups P-256:P-384"),
    ("openssl", "main", "-groups P-521"),
    ("openssl", "main", "-groups X25519"),
    ("openssl", "main", "-alpn h2"),
    ("openssl", "main", "-alpn http/1.1 -tls1_2"),
    ("openssl", "main", "-alpn http/1.1,h2"),
    ("openssl", "main", "-tls1_3 -sigalgs RSA-PSS+SHA256"),
    ("openssl", "main", "-tls1_2 -fallback_scsv"),
    ("openssl", "main", "-tls1_1 -cipher DEFAULT@SECLEVEL=0"),
    ("curl", "main", ""),
    ("curl", "main", "--tls-max 1.2 --http1.1"),
    ("curl", "main", "--curves P-384 --http2"),
    ("gnutls", "main", "NORMAL"),
    (
        "gnutls",
        "rsa",
        "NORMAL:-VERS-ALL:+VERS-TLS1.2:-CIPHER-ALL:+AES-256-GCM",
    ),
    ("gnutls", "main", "NORMAL:-GROUP-ALL:+GROUP-SECP256R1"),
    ("rustls", "main", "--tls1.2"),
    ("rustls", "main", ""),
];

/// What `what-if` is asked, and the lines of the policy that say the same.
const POLICIES: [(&str, &str); 10] = [
    ("--min-version 1.3", r#"versions = ["1.3"]"#),
    ("--groups X25519", r#"groups = ["X25519"]"#),
    ("--groups P-256", r#"groups = ["P-256"]"#),
    (
        "--groups secp384r1,X25519MLKEM768",
        r#"groups = ["secp384r1", "X25519MLKEM768"]"#,
    ),
    (
        "--cipher-suites TLS_AES_256_GCM_SHA384:ECDHE-ECDSA-AES256-GCM-SHA384",
        r#"cipher_suites = ["TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"]"#,
    ),
    (
        "--cipher-suites TLS_CHACHA20_POLY1305_SHA256,ECDHE-RSA-CHACHA20-POLY1305",
        r#"cipher_suites = ["TLS_CHACHA20_POLY1305_SHA256", "ECDHE-RSA-CHACHA20-POLY1305"]"#,
    ),
    (
        "--cipher-suites TLS_AES_128_GCM_SHA256,ECDHE-RSA-AES128-GCM-SHA256",
        r#"cipher_suites = ["TLS_AES_128_GCM_SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]"#,
    ),
    ("--alpn h2", r#"alpn = ["h2"]"#),
    ("--alpn http/1.1", r#"alpn = ["http/1.1"]"#),
    (
        "--min-version 1.3 --groups P-384 --cipher-suites TLS_AES_256_GCM_SHA384",
        "versions = [\"1.3\"]\ngroups = [\"P-384\"]\ncipher_suites = [\"TLS_AES_256_GCM_SHA384\"]",
    ),
];

fn settings() -> Settings {
    let mut settings = Settings::new(Origin::start().address());
    for (index, (_, certificate, _)) in CLIENTS.iter().enumerate() {
        settings = settings.more(&format!(
            "[[listeners]]\nname = \"c{index}\"\naddress = \"127.0.0.1:0\"\n\
             certificates = [\"{certificate}\"]"
        ));
    }
    settings
}

/// Runs a client at its own listener, so that its handshakes are known from others.
fn run(daemon: &Daemon, index: usize) -> Output {
    let (program, _, args) = CLIENTS[index];
    let address = daemon.address(&format!("c{index}"));
    let port = address.port();
    match program {
        "openssl" => Tool::new("openssl")
            .words("s_client -servername example.test")
            .args(["-connect", &address.to_string()])
            .words(args)
            .run(),
        "curl" => Tool::new("curl")
            .words("-sSk")
            .words(args)
            .args(["--resolve", &format!("example.test:{port}:127.0.0.1")])
            .args([format!("https://example.test:{port}/")])
            .run(),
        "gnutls" => Tool::new("gnutls-cli")
            .words("--insecure --sni-hostname example.test")
            .args(["--priority", args, "-p", &port.to_string(), "127.0.0.1"])
            .run(),
        _ => Tool::new(env!("CARGO_BIN_EXE_handfast"))
            .args(["probe", &address.to_string()])
            .words("--insecure --server-name example.test")
            .words(args)
            .run(),
    }
}

/// The class of a client's handshake, `None` if it succeeds. Asks for one handshake at a time: there
/// are hundreds.
#[track_caller]
fn live(daemon: &Daemon, index: usize) -> Option<String> {
    let newest = || {
        let answer = daemon.admin("/api/handshakes?limit=1");
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        body["handshakes"].get(0).cloned()
    };
    let known = newest();
    let output = run(daemon, index);
    let handshake = wait_for(Duration::from_secs(10), "the handshake is told", || {
        newest().filter(|newest| {
            known
                .as_ref()
                .is_none_or(|known| known["id"] != newest["id"])
        })
    });
    assert_eq!(handshake["listener"], format!("c{index}"), "{handshake:#}");
    match handshake["outcome"].as_str() {
        Some("ok") => None,
        Some("failed") => Some(Handshake(handshake).class().to_owned()),
        other => panic!("{other:?}: {handshake:#}\n{output}"),
    }
}

#[track_caller]
fn forecast(daemon: &Daemon, args: &str) -> Value {
    let output = daemon.command(&format!("what-if --json {args}")).run();
    serde_json::from_str(&output.success().stdout).unwrap()
}

#[test]
fn forecasts_are_what_happens() {
    let mut settings = settings();
    let mut daemon = Daemon::run(&settings);
    for index in 0..CLIENTS.len() {
        daemon.wait_listening(&format!("c{index}"));
    }
    let before: Vec<_> = (0..CLIENTS.len())
        .map(|index| live(&daemon, index))
        .collect();
    assert!(before.iter().any(Option::is_some), "{before:?}");

    let mut forecasts = Vec::new();
    for (args, _) in POLICIES {
        let forecast = forecast(&daemon, args);
        assert_eq!(forecast["handshakes"], CLIENTS.len(), "{forecast:#}");
        assert_eq!(forecast["forgotten"], 0);
        let mut classes = HashMap::new();
        let (mut new, mut old) = (0, 0);
        for failure in forecast["failures"].as_array().unwrap() {
            assert_eq!(failure["server_name"], "example.test", "{forecast:#}");
            let index: usize = failure["listener"].as_str().unwrap()[1..].parse().unwrap();
            let already = failure["already"] == true;
            assert_eq!(
                already,
                before[index].is_some(),
                "{}: {failure:#}",
                CLIENTS[index].2
            );
            *if already { &mut old } else { &mut new } += 1;
            classes.insert(index, failure["class"].as_str().unwrap().to_owned());
        }
        assert_eq!(forecast["would_fail"], new, "{forecast:#}");
        assert_eq!(forecast["fail_already"], old, "{forecast:#}");
        forecasts.push(classes);
    }

    let mut pairs = 0;
    let mut wrong = Vec::new();
    for ((args, lines), mut expected) in POLICIES.into_iter().zip(forecasts) {
        settings = settings.policy(lines);
        daemon.rewrite(&settings.render(daemon.dir()));
        daemon.command("reload").run().success();
        for (index, client) in CLIENTS.iter().enumerate() {
            let happened = live(&daemon, index);
            let expected = expected.remove(&index);
            pairs += 1;
            if happened != expected {
                wrong.push(format!(
                    "{client:?} with {args}: {expected:?}, but {happened:?}"
                ));
            }
        }
    }
    assert!(pairs >= 200, "{pairs}");
    assert!(
        wrong.is_empty(),
        "{} of {pairs}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn sessions_do_not_make_a_client_safe() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    let session = daemon.dir().join("session.pem").display().to_string();
    let connect = |args: &str| {
        daemon.new_handshake(|| {
            Tool::new("openssl")
                .words("s_client -tls1_2 -groups X25519 -servername example.test")
                .args(["-connect", &daemon.address("rsa").to_string()])
                .words(args)
                .run()
        })
    };
    connect(&format!("-sess_out {session}"));
    let (_, resumed) = connect(&format!("-sess_in {session}"));
    assert_eq!(resumed.text("kind"), Some("resumed"), "{resumed}");
    let forecast = forecast(&daemon, "--groups P-384 --policy default");
    // One kind, however it came.
    assert_eq!(forecast["handshakes"], 2, "{forecast:#}");
    assert_eq!(forecast["kinds"], 1, "{forecast:#}");
    assert_eq!(forecast["would_fail"], 2, "{forecast:#}");
    assert_eq!(
        forecast["failures"][0]["class"], "no_shared_group",
        "{forecast:#}"
    );
}

#[test]
fn it_says_when_it_knows_nothing_and_what_makes_no_sense() {
    let daemon = Daemon::run(&Settings::new(Origin::start().address()));
    let output = daemon.command("what-if --min-version 1.3").run().success();
    assert!(output.stdout.contains("nothing is known"), "{output}");

    daemon.curl("--tls-max 1.2", "/").run().success();
    daemon.curl("", "/").run().success();
    daemon.curl("", "/").run().success();
    let output = daemon.command("what-if --min-version 1.3").run().success();
    let text = output.stdout;
    assert!(
        text.contains("3 handshakes by 2 kinds of clients"),
        "{text}"
    );
    assert!(
        text.contains("1 (33.34 %) get through now and would fail"),
        "{text}"
    );
    assert!(
        text.contains("example.test         no_shared_version    t12"),
        "{text}"
    );

    for (args, said) in [
        ("", "--min-version"),
        ("--min-version 1.1", "what-if:1:15: TLS version"),
        (
            "--cipher-suites ECDHE-RSA-AES128-GCM-SHA257",
            "ECDHE-RSA-AES128-GCM-SHA256",
        ),
        ("--cipher-suites AES128-SHA", "can never be negotiated"),
        ("--groups X25518", "unknown group"),
        ("--groups X25519,X25519", "given twice"),
        ("--alpn h3", "h3"),
        (
            "--min-version 1.3 --policy nobody",
            "no tls policy `nobody`",
        ),
        (
            "--cipher-suites TLS_AES_128_GCM_SHA256",
            "no cipher suite for TLS 1.2",
        ),
    ] {
        let output = daemon.command(&format!("what-if {args}")).run();
        assert_eq!(output.code, 2, "{args}: {output}");
        assert!(output.stderr.contains(said), "{args}: {output}");
    }
    let (status, answer) = daemon.socket("POST", "/api/what-if", r#"{"min_version": "1.9"}"#);
    assert_eq!(status, 422, "{answer:#}");
    assert_eq!(answer["diagnostics"][0]["line"], 1, "{answer:#}");
    let (status, _) = daemon.socket("POST", "/api/what-if", r#"{"minimum": 1}"#);
    assert_eq!(status, 400);
}
