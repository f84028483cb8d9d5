//! What a policy allows is what is negotiated; what it does not allow gets the right alert.

use tokio_rustls::rustls::AlertDescription;

use crate::support::{Client, Daemon, Facts, Handshake, Origin, Output, Settings, Tool, alert_of};

/// IANA's name, OpenSSL's name and the code point of each suite of TLS 1.3.
const SUITES_13: [(&str, &str, u16); 3] = [
    ("TLS_AES_128_GCM_SHA256", "TLS_AES_128_GCM_SHA256", 0x1301),
    ("TLS_AES_256_GCM_SHA384", "TLS_AES_256_GCM_SHA384", 0x1302),
    (
        "TLS_CHACHA20_POLY1305_SHA256",
        "TLS_CHACHA20_POLY1305_SHA256",
        0x1303,
    ),
];

/// The last words of each suite of TLS 1.2, by IANA and by OpenSSL.
const SUITES_12: [(&str, &str); 3] = [
    ("AES_128_GCM_SHA256", "AES128-GCM-SHA256"),
    ("AES_256_GCM_SHA384", "AES256-GCM-SHA384"),
    ("CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305"),
];

/// IANA's name and OpenSSL's.
const GROUPS: [(&str, &str); 3] = [
    ("X25519", "X25519"),
    ("secp256r1", "P-256"),
    ("secp384r1", "P-384"),
];

/// Debian's OpenSSL does not know these.
const HYBRIDS: [(&str, u16); 2] = [("X25519MLKEM768", 0x11ec), ("secp256r1MLKEM768", 0x11eb)];

/// The listener, the type in TLS 1.2 suites, how OpenSSL calls the signature, and the curve of the
/// key, which OpenSSL must offer as a group to accept it in TLS 1.2 (RFC 8422 section 5.1).
const CERTIFICATES: [(&str, &str, &str, &str); 4] = [
    ("https", "ECDSA", "ECDSA", "P-256"),
    ("rsa", "RSA", "RSA-PSS", ""),
    ("p384", "ECDSA", "ECDSA", "P-384"),
    ("ed25519", "ECDSA", "ed25519", ""),
];

const ALL_GROUPS: &str =
    r#"groups = ["X25519MLKEM768", "secp256r1MLKEM768", "X25519", "secp256r1", "secp384r1"]"#;

/// A daemon with these listeners besides: name, policy and certificates.
fn daemon(policy: &str, tables: &str, listeners: &[(&str, &str, &str)]) -> Daemon {
    let mut settings = Settings::new(Origin::start().address())
        .policy(policy)
        .more(tables);
    for (name, policy, certificates) in listeners {
        settings = settings.more(&format!(
            "[[listeners]]\nname = \"{name}\"\naddress = \"127.0.0.1:0\"\ntls = \"{policy}\"\n\
             certificates = [{certificates}]\n"
        ));
    }
    for name in ["p384", "ed25519"] {
        settings = settings.more(&format!(
            "[certificates.{name}]\nchain = \"{name}.pem\"\nkey = \"{name}.key\"\n"
        ));
    }
    let mut daemon = Daemon::run(&settings);
    for (name, ..) in listeners {
        daemon.wait_listening(name);
    }
    daemon
}

fn s_client(daemon: &Daemon, listener: &str, args: &str) -> Output {
    Tool::new("openssl")
        .words("s_client -servername example.test -verify_return_error")
        .args(["-CAfile", &daemon.ca()])
        .args(["-connect", &daemon.address(listener).to_string()])
        .words(args)
        .run()
}

#[track_caller]
fn assert_negotiated(handshake: &Handshake, version: &str, cipher: &str, group: &str) {
    handshake.assert_ok(Facts {
        version,
        kind: "full",
        hello_retry: false,
        cipher,
        group: Some(group),
    });
}

#[test]
fn whatever_the_policy_allows_is_negotiated() {
    let daemon = daemon(
        ALL_GROUPS,
        "",
        &[
            ("p384", "default", "\"p384\""),
            ("ed25519", "default", "\"ed25519\""),
        ],
    );
    for (listener, kind, signature, curve) in CERTIFICATES {
        let mut offers = Vec::new();
        for (cipher, openssl, _) in SUITES_13 {
            offers.push((
                "1.3",
                cipher.to_owned(),
                format!("-tls1_3 -ciphersuites {openssl}"),
            ));
        }
        for (cipher, openssl) in SUITES_12 {
            offers.push((
                "1.2",
                format!("TLS_ECDHE_{kind}_WITH_{cipher}"),
                format!("-tls1_2 -cipher ECDHE-{kind}-{openssl}"),
            ));
        }
        for (version, cipher, args) in offers {
            for (group, openssl) in GROUPS {
                let mut args = format!("{args} -groups {openssl}");
                if version == "1.2" && !curve.is_empty() && curve != openssl {
                    args.push_str(&format!(":{curve}"));
                }
                let (output, handshake) =
                    daemon.new_handshake(|| s_client(&daemon, listener, &args).success());
                assert_negotiated(&handshake, version, &cipher, group);
                let signed = format!("Peer signature type: {signature}\n");
                assert!(
                    output.stdout.contains(&signed),
                    "{listener} {args}: {output}"
                );
            }
        }
        for (cipher, _, suite) in SUITES_13 {
            for (group, code) in HYBRIDS {
                let client = Client::only("1.3", suite, code);
                let (stream, handshake) =
                    daemon.new_handshake(|| client.connect(daemon.address(listener)));
                stream.unwrap();
                assert_negotiated(&handshake, "1.3", cipher, group);
            }
        }
    }
}

/// What the policies of [`whatever_the_policy_does_not_allow_gets_its_alert`] leave out: listener,
/// arguments of OpenSSL, class, alert.
const REFUSED: [(&str, &str, &str, u8); 16] = [
    ("only-13", "-tls1_2", "no_shared_version", 70),
    ("only-12", "-tls1_3", "no_shared_version", 70),
    (
        "narrow",
        "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256",
        "no_shared_cipher",
        40,
    ),
    (
        "narrow",
        "-tls1_3 -ciphersuites TLS_CHACHA20_POLY1305_SHA256",
        "no_shared_cipher",
        40,
    ),
    (
        "narrow",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        "no_shared_cipher",
        40,
    ),
    (
        "narrow",
        "-tls1_2 -cipher ECDHE-ECDSA-CHACHA20-POLY1305",
        "no_shared_cipher",
        40,
    ),
    (
        "narrow",
        "-tls1_2 -cipher ECDHE-RSA-AES256-GCM-SHA384",
        "no_shared_cipher",
        40,
    ),
    // Never allowed: CBC, static RSA, DHE.
    (
        "https",
        "-tls1_2 -cipher ECDHE-ECDSA-AES256-SHA384",
        "no_shared_cipher",
        40,
    ),
    (
        "https",
        "-tls1_2 -cipher AES128-GCM-SHA256",
        "no_shared_cipher",
        40,
    ),
    (
        "rsa",
        "-tls1_2 -cipher DHE-RSA-AES128-GCM-SHA256",
        "no_shared_cipher",
        40,
    ),
    ("narrow", "-tls1_3 -groups X25519", "no_shared_group", 40),
    ("narrow", "-tls1_2 -groups P-256", "no_shared_group", 40),
    // The suites are in common, the key type is not.
    (
        "https",
        "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
        "cert_type_mismatch",
        40,
    ),
    (
        "rsa",
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        "cert_type_mismatch",
        40,
    ),
    (
        "https",
        "-tls1_3 -sigalgs rsa_pss_rsae_sha256",
        "no_shared_sigalg",
        40,
    ),
    (
        "rsa",
        "-tls1_3 -sigalgs ecdsa_secp256r1_sha256",
        "no_shared_sigalg",
        40,
    ),
];

#[test]
fn whatever_the_policy_does_not_allow_gets_its_alert() {
    let tables = r#"
[tls.only-13]
preset = "modern-5.8"
[tls.only-12]
versions = ["1.2"]
[tls.narrow]
cipher_suites = ["TLS_AES_256_GCM_SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"]
groups = ["secp384r1"]
"#;
    let daemon = daemon(
        "",
        tables,
        &[
            ("only-13", "only-13", "\"main\""),
            ("only-12", "only-12", "\"main\""),
            ("narrow", "narrow", "\"main\""),
        ],
    );
    for (listener, args, class, alert) in REFUSED {
        let (output, handshake) = daemon.new_handshake(|| s_client(&daemon, listener, args));
        assert_ne!(output.code, 0, "{listener} {args}: {output}");
        assert!(
            output.stderr.contains(&format!("SSL alert number {alert}")),
            "{listener} {args}: {output}"
        );
        assert_eq!(handshake.class(), class, "{args}: {handshake}");
        assert_eq!(*handshake.failure("alert"), alert, "{args}: {handshake}");
        assert_eq!(handshake.failure("side"), "server", "{args}: {handshake}");
        handshake.assert_sum();
    }
    for (_, code) in HYBRIDS {
        let client = Client::only("1.3", 0x1302, code);
        let (result, handshake) = daemon.new_handshake(|| client.connect(daemon.address("narrow")));
        let error = result.map(drop).unwrap_err();
        assert_eq!(
            alert_of(&error),
            Some(AlertDescription::HandshakeFailure),
            "{error}"
        );
        assert_eq!(handshake.class(), "no_shared_group", "{handshake}");
    }
    // What is left does work.
    for args in ["-tls1_3 -groups P-384", "-tls1_2 -groups P-384:P-256"] {
        s_client(&daemon, "narrow", args).success();
    }
}

#[test]
fn the_order_of_the_suites_is_the_servers() {
    let tables = r#"
[tls.ordered]
cipher_suites = ["TLS_CHACHA20_POLY1305_SHA256", "TLS_AES_128_GCM_SHA256",
    "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES128-GCM-SHA256"]
"#;
    let daemon = daemon("", tables, &[("ordered", "ordered", "\"main\"")]);
    for (args, cipher) in [
        (
            "-tls1_3 -ciphersuites TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256",
            "TLS_CHACHA20_POLY1305_SHA256",
        ),
        (
            "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
            "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        ),
    ] {
        let (_, handshake) = daemon.new_handshake(|| s_client(&daemon, "ordered", args).success());
        assert_eq!(handshake.text("cipher"), Some(cipher), "{handshake}");
    }
}

/// Two certificates for one name: what the client offers, and the signature it gets where the
/// ECDSA pair comes first and where the RSA pair does.
const DUAL: [(&str, &str, &str); 12] = [
    ("-tls1_2", "ECDSA", "RSA-PSS"),
    ("-tls1_3", "ECDSA", "RSA-PSS"),
    ("-tls1_2 -sigalgs rsa_pss_rsae_sha256", "RSA-PSS", "RSA-PSS"),
    ("-tls1_3 -sigalgs rsa_pss_rsae_sha256", "RSA-PSS", "RSA-PSS"),
    ("-tls1_2 -sigalgs ecdsa_secp256r1_sha256", "ECDSA", "ECDSA"),
    ("-tls1_3 -sigalgs ecdsa_secp256r1_sha256", "ECDSA", "ECDSA"),
    ("-tls1_2 -sigalgs RSA+SHA256", "RSA", "RSA"),
    (
        "-tls1_2 -cipher ECDHE-RSA-AES128-GCM-SHA256",
        "RSA-PSS",
        "RSA-PSS",
    ),
    (
        "-tls1_2 -cipher ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDSA",
        "ECDSA",
    ),
    // The curve of the ECDSA key is none of the client's in TLS 1.2, and no matter in TLS 1.3.
    ("-tls1_2 -groups X25519", "RSA-PSS", "RSA-PSS"),
    ("-tls1_3 -groups X25519", "ECDSA", "RSA-PSS"),
    // PKCS #1 v1.5 is no signature of a TLS 1.3 handshake.
    (
        "-tls1_3 -sigalgs RSA+SHA256:ecdsa_secp256r1_sha256",
        "ECDSA",
        "ECDSA",
    ),
];

#[test]
fn of_two_key_types_the_client_gets_one_that_it_can_verify() {
    let mut tables = String::new();
    for (name, first, second) in [("dual-ec", "main", "rsa"), ("dual-rsa", "rsa", "main")] {
        tables.push_str(&format!(
            "[certificates.{name}]\npairs = [\n\
             {{ chain = \"{first}.pem\", key = \"{first}.key\" }},\n\
             {{ chain = \"{second}.pem\", key = \"{second}.key\" }},\n]\n"
        ));
    }
    let daemon = daemon(
        "",
        &tables,
        &[
            ("ec-first", "default", "\"dual-ec\""),
            ("rsa-first", "default", "\"dual-rsa\""),
        ],
    );
    for (args, ec_first, rsa_first) in DUAL {
        for (listener, signature) in [("ec-first", ec_first), ("rsa-first", rsa_first)] {
            let output = s_client(&daemon, listener, args);
            let signed = format!("Peer signature type: {signature}\n");
            assert!(
                output.stdout.contains(&signed),
                "{listener} {args}: {output}"
            );
            assert_eq!(output.code, 0, "{listener} {args}: {output}");
        }
    }
}
