//! The daemon of these tests: a policy for each listener, whose name says what it allows.

use std::fmt::Write as _;

use crate::support::{Daemon, Origin, Settings};

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

pub(super) fn settings() -> Settings {
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

pub(super) fn daemon(settings: &Settings) -> Daemon {
    let mut daemon = Daemon::run(settings);
    for (name, _, _) in POLICIES {
        daemon.wait_listening(name);
    }
    daemon
}
