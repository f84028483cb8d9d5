//! Faults of the text itself: all of them in one pass, each told for what it is.

use super::texts::{BASE, MINIMAL, extra, faults, heads, one};
use crate::config::{defaults, load};

#[test]
fn one_pass_finds_every_fault() {
    let text = "\
[[listeners]]
adress = \"[::]:80\"
address = \"[::]:443\"
certificates = [\"exmaple\"]
backlog = \"4096\"

[tls.default]
preset = \"custom\"
versions = [\"1.2\"]
cipher_suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]
groups = [\"X25519\"]

[certificates.example]
chain = \"c.pem\"
key = \"k.pem\"

[limits]
h2_stream = 7

[[routes]]
upstream = \"http://127.0.0.1:3000\"
";
    let faults = faults(text);
    assert_eq!(
        faults.to_string(),
        "\
t.toml:2:1: unknown key `adress` in [[listeners]]
  |
2 | adress = \"[::]:80\"
  | ^^^^^^
  help: did you mean `address`? (known here: `address`, `name`, `tls`, `certificates`, `certificate`, `redirect`, `proxy_protocol_from`, `backlog`)

t.toml:4:17: certificate `exmaple` is not defined
  |
4 | certificates = [\"exmaple\"]
  |                 ^^^^^^^^^
  help: did you mean `example`? (defined: `example`)

t.toml:5:11: expected an integer, found string
  |
5 | backlog = \"4096\"
  |           ^^^^^^
  help: write 4096 without quotes

t.toml:10:18: cipher suite `TLS_RSA_WITH_AES_128_CBC_SHA` can never be negotiated: static RSA and static ECDH key exchange has no forward secrecy
   |
10 | cipher_suites = [\"TLS_RSA_WITH_AES_128_CBC_SHA\"]
   |                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
   help: the nearest that works is `TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256`

t.toml:18:1: unknown key `h2_stream` in [limits]
   |
18 | h2_stream = 7
   | ^^^^^^^^^
   help: did you mean `h2_streams`? (known here: `connections`, `connections_per_ip`, `handshakes`, `request_line`, `request_headers`, `request_header_count`, `request_body`, `h2_streams`, `h2_resets`, `h2_control_frames`)"
    );
    assert_eq!(faults.len(), 5);
}

#[test]
fn syntax_errors_are_found_with_other_faults() {
    let text = "\
[limits]
connections = 
h2_stream = 1
[limits]
[timeouts]
keep_alive = \"75s
[certificates.a]
chain = \"c\"
";
    let found = heads(text);
    let places: Vec<_> = found
        .iter()
        .map(|fault| fault.split(' ').next().unwrap())
        .collect();
    assert_eq!(places, ["2:15", "3:1", "4:2", "6:18"], "{found:#?}");
    assert!(found[2].contains("`limits` is defined twice"), "{found:#?}");
    assert_eq!(found[0], "2:15 the value is missing");
    // Neither the missing key nor the missing listeners: they may be in what could not be read.
    assert_eq!(found.len(), 4, "{found:#?}");
}

#[test]
fn a_string_without_quotes_is_shown_with_them() {
    assert_eq!(
        one("[admin]\naddress = localhost:9180"),
        "2:11 a string stands in quotes | write \"localhost:9180\""
    );
}

#[test]
fn a_key_defined_twice_is_located() {
    assert_eq!(
        one("[limits]\nconnections = 1\nconnections = 2"),
        "3:1 `connections` is defined twice"
    );
}

#[test]
fn slips_of_punctuation_are_told_for_what_they_are() {
    // One fault, not one for each line that follows.
    let open = BASE.replace("\"k.pem\" }", "\"k.pem\"");
    assert_eq!(
        heads(&open),
        ["3:15 this table has no end | close it with `}`"]
    );
    let list = format!("{BASE}[tls.a]\nalpn = [\"h2\"\nmissing_sni = \"reject\"\n[tls.b]\n");
    let told = heads(&list);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("8:") && told[0].ends_with("in line 7 has no end: close it with `]`"),
        "{told:?}"
    );
    for (value, help) in [
        (
            "tls/k.pem",
            "a string stands in quotes | write \"tls/k.pem\"",
        ),
        ("[::]:443", "a string stands in quotes | write \"[::]:443\""),
        ("ture", "`ture` is no value | did you mean `true`?"),
    ] {
        let told = extra(&format!("[admin]\nsocket = {value}"));
        assert!(told.iter().any(|it| it.ends_with(help)), "{told:?}");
    }
    let listener =
        |more: &str| format!("{BASE}[[listeners]]\naddress = \"127.0.0.1:80\"\n{more}\n");
    let told = heads(&listener("tls = \"false\""));
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].ends_with("found string | write false without quotes"),
        "{told:?}"
    );
    let told = heads(&listener("tls = false\nredirect = { to = \"htttps\" }"));
    assert!(told[0].ends_with("| did you mean `https`?"), "{told:?}");
    let told = extra("[tls.a]\ncipher_suites = [\"TSL_CHACHA20_POLY1305_SHA256\"]");
    assert!(
        told[0].contains("did you mean `TLS_CHACHA20_POLY1305_SHA256`?"),
        "{told:?}"
    );
    let told = extra("[tls.a]\ncipher_suites = [\"TLS_ECDH_RSA_WITH_AES_128_GCM_SHA256\"]");
    assert!(told[0].contains("can never be negotiated"), "{told:?}");
}

#[test]
fn files_that_cannot_be_read_are_named() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("handfast.toml");
    let shown = load(&path).unwrap_err().to_string();
    assert!(
        shown.starts_with(&format!("cannot read {}: ", path.display())),
        "{shown}"
    );

    std::fs::write(&path, b"# \xff\n").unwrap();
    let shown = load(&path).unwrap_err().to_string();
    let head = format!("{}:1:3: the file is not UTF-8\n", path.display());
    assert!(shown.starts_with(&head), "{shown}");

    let size = usize::try_from(defaults::FILE_SIZE).unwrap();
    std::fs::write(&path, vec![b'\n'; size + 1]).unwrap();
    let shown = load(&path).unwrap_err().to_string();
    assert!(shown.ends_with("it is larger than 4 MiB"), "{shown}");

    std::fs::write(&path, MINIMAL).unwrap();
    let loaded = load(&path).unwrap();
    let listener = &loaded.config.listeners[0];
    let position = loaded.sources.position(listener.location).unwrap();
    assert_eq!((position.line, position.column), (2, 11));
}
