//! Offers that miss: the client and the policy have nothing in common, and what would help.

use super::case::Remedy::{self, NotSought, Proven};
use super::case::{Case, assert_all, server};
use super::clients::{curl, gnutls, openssl, raw, rustls};
use crate::support::{Client, EarlyClient, RawHello};

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

#[test]
fn offers_that_miss_are_diagnosed_and_remedied() {
    let cases = offers();
    assert!(cases.len() >= 40);
    assert_all(&cases);
}
